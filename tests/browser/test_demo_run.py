"""The dashboard of a finished `make demo`, in a real Chromium: what a visitor of the lab sees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from app.pages import PAGES
from tests.browser.conftest import Watch, served, settle
from tests.browser.test_accessibility import violations

#: A run folder that `make demo` made.
DEMO = os.environ.get("PROBE_DEMO_RUN", "")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not DEMO, reason="PROBE_DEMO_RUN names no run of `make demo`"),
]


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    with served(Path(DEMO)) as address:
        yield address


def settled(page: Page) -> None:
    page.locator(".page h1").first.wait_for()
    settle(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", list(PAGES))
def test_every_page_loads_alone_and_is_accessible(
    demo: str, browser: Browser, path: str, scheme: str
) -> None:
    watch = Watch()
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = watch.over(context.new_page())
    page.goto(demo + path)
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    # Whatever the run holds is shown: a card that says "damaged" is a bug, here.
    assert page.locator(".message-mark.damaged").count() == 0
    assert violations(page) == []
    assert watch.complaints == []
    assert watch.hosts == {"127.0.0.1"}


def test_from_a_poor_score_to_the_artifact_in_four_clicks(
    demo: str, browser: Browser, tmp_path: Path
) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = watch.over(context.new_page())
    page.goto(demo)
    settled(page)

    # One: the cell of the worst AUROC, where the question begins.
    cells = page.locator("section.zero-shot-matrix a.matrix-cell")
    scores = [_first_number(text) for text in cells.all_text_contents()]
    worst = min((score, i) for i, score in enumerate(scores) if score is not None)[1]
    cells.nth(worst).click()
    page.wait_for_url(re.compile(r"/neurons\?.*dataset="))

    # Two: a unit near the top of the list; its images and what moves it stand below.
    page.locator(".ag-row[row-index='1'] [col-id='unit']:not(:empty)").click()
    page.wait_for_url(re.compile("unit="))
    onward = page.locator(".unit-answer a")
    onward.wait_for()
    images = page.locator(".gallery img.thumb")
    images.first.wait_for()
    assert images.count() >= 8

    # Three: the artifact that it looks at.
    onward.click()
    page.wait_for_url(re.compile("/artifacts"))
    page.locator("section.unit-responses .main-svg").first.wait_for()
    assert "unit=" in page.url and "detector=" in page.url

    # Four: the figure as a PDF. The menu also has the Python that made it.
    card = page.locator("section.unit-responses")
    card.get_by_role("button", name=re.compile("Export")).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="PDF").click()
    figure = tmp_path / "figure.pdf"
    download.value.save_as(figure)
    assert figure.read_bytes().startswith(b"%PDF")
    assert watch.complaints == []


def _first_number(text: str | None) -> float | None:
    found = re.search(r"\d?\.\d+", text or "")
    return float(found.group()) if found else None
