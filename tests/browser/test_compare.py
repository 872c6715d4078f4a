"""Compare in a real Chromium: from a cell of the matrix to the images that differ most."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page

from tests.app.making import DETECTORS
from tests.browser.conftest import Watch
from tests.browser.test_findings import SHIFTED, open_page

pytestmark = pytest.mark.browser

BASE, SHALLOW = DETECTORS


SCORES, IMAGES = "section.compare-scores", "section.compare-images"


def heading(page: Page, text: str) -> None:
    page.locator(SCORES).get_by_text(text).first.wait_for()


def pick(page: Page, control: str, option: str) -> None:
    """Choose a detector in the head."""
    page.get_by_role("textbox", name=control, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_from_the_matrix_to_the_images_that_differ(address: str, browser: Browser) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = open_page(context, watch, f"{address}/")
    page.locator("section.zero-shot-matrix .matrix-cell").first.wait_for()
    page.get_by_role("textbox", name="Values, or differences to a detector").click()
    page.get_by_role("option", name=f"Against {BASE}", exact=True).click()
    page.wait_for_url(re.compile("against=meso4%2Fbase"))
    page.locator("section.zero-shot-matrix .matrix-cell", has_text="reference").first.wait_for()
    page.get_by_text("AUROC less that of meso4/base").wait_for()

    page.locator("section.zero-shot-matrix a.matrix-cell").nth(1).click()
    page.wait_for_url(re.compile("/compare.*detector=meso4%2Fshallow.*dataset=beta"))
    heading(page, "of 3 datasets")
    assert page.get_by_role("textbox", name="Dataset of the images").input_value() == "beta"
    page.locator(f"{IMAGES} img.thumb").nth(7).wait_for()

    page.get_by_role("link", name="Exchange the two").click()
    page.wait_for_url(re.compile("detector=meso4%2Fbase.*other=meso4%2Fshallow"))
    heading(page, f"of {BASE} differs from that of {SHALLOW}")
    page.get_by_text("Per video", exact=True).click()
    page.wait_for_url(re.compile("level=video"))
    page.locator(SCORES).get_by_text("12 videos").first.wait_for()

    # A link reproduces the view, and an image opens on its own page.
    again = open_page(context, watch, page.url)
    heading(again, f"of {BASE} differs from that of {SHALLOW}")
    again.locator(SCORES).get_by_text("12 videos").first.wait_for()
    again.locator(f"{IMAGES} img.thumb").first.click()
    again.wait_for_url(re.compile("/sample.*sample=[0-9a-f]{24}"))
    page.go_back()
    page.wait_for_url(re.compile("^((?!level=video).)*$"))
    assert watch.complaints == [] and watch.hosts == {"127.0.0.1"}


@pytest.mark.slow
def test_nothing_jumps_and_a_wrong_link_says_so(address: str, browser: Browser) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{address}/compare")
    page.locator(f"{IMAGES} img.thumb").first.wait_for()
    assert page.evaluate(SHIFTED) < 0.02
    page.goto(f"{address}/compare?other=meso4/bas")
    page.get_by_text("Did you mean 'meso4/base'").first.wait_for()
    pick(page, "Detector", BASE)
    page.wait_for_url(re.compile("detector=meso4%2Fbase"))
    pick(page, "Compared with", SHALLOW)
    heading(page, f"of {BASE} differs from that of {SHALLOW}")
    assert watch.complaints == []


@pytest.mark.slow
def test_choosing_the_other_one_exchanges_them(address: str, browser: Browser) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{address}/compare?unit=3")
    heading(page, f"of {SHALLOW} differs from that of {BASE}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    pick(page, "Detector", BASE)
    heading(page, f"of {BASE} differs from that of {SHALLOW}")
    # Units are those of one detector.
    page.wait_for_url(re.compile(r"other=meso4%2Fshallow&detector=meso4%2Fbase$"))
    pick(page, "Compared with", BASE)
    heading(page, f"of {SHALLOW} differs from that of {BASE}")
    page.wait_for_load_state("networkidle")
    # Twice the navigation, the page and its seven cards.
    assert sum("_dash-update-component" in url for url in asked) <= 22
    assert watch.complaints == []
