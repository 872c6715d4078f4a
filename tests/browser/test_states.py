"""Runs that are written, empty, damaged or hostile, and the login, in a real Chromium."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from app import progress
from app.pages import PAGES
from probe.run import RunFolder
from tests.app import making
from tests.app.attacking import IMAGE, SCRIPT
from tests.app.making import MadeRun, make_run, write_manifest
from tests.browser.conftest import Watch, patient, served, settle

pytestmark = pytest.mark.browser

#: Milliseconds between two looks of a page at its run, in place of five seconds.
EVERY = 300
TOKEN = "correct horse battery staple"
STAGES = ["data", "audit", "detectors", "evaluation"]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("states") / "run")


@pytest.fixture
def own(drawn: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeRun:
    """A run that the test may change, looked at more often."""
    monkeypatch.setattr(progress, "EVERY", EVERY)
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(drawn.root, folder.root)
    return replace(drawn, folder=folder)


def write(folder: RunFolder, done: int) -> None:
    """Write the manifest of a run of which so many stages are done."""
    stages = [
        {"name": name, "done": at < done, "seconds": 1.0 if at < done else 0.0}
        for at, name in enumerate(STAGES[: done + 1])
    ]
    write_manifest(folder, complete=done == len(STAGES), stages=stages, planned=STAGES)


def test_a_run_that_is_written_shows_how_far_it_is(own: MadeRun, browser: Browser) -> None:
    table, away = own.folder.path("evaluation"), own.root.parent / "away.zarr"
    table.rename(away)
    write(own.folder, 3)
    with served(own.root) as address:
        watch = Watch()
        page = watch.over(browser.new_context(viewport={"width": 1280, "height": 800}).new_page())
        page.goto(address)
        page.get_by_text("3 of 4 stages are done").wait_for()
        page.get_by_text("This run holds no zero-shot matrix yet").wait_for()
        bar = page.get_by_role("progressbar", name="Stages done")
        assert float(bar.get_attribute("value")) == pytest.approx(0.75)
        button = page.get_by_role("button", name="Show them")
        assert button.count() == 0  # Not there for anybody until there is news.

        settle(page)  # Other cards come when they come.

        # What is being looked at stays as it is while the run goes on.
        page.evaluate("window.scrollTo(0, 200); document.querySelector('h1').dataset.mine = 'x'")
        height = page.evaluate("document.documentElement.scrollHeight")
        away.rename(table)
        button.wait_for()
        page.get_by_text("New results are there").wait_for()
        assert page.locator("h1[data-mine='x']").count() == 1
        assert page.get_by_text("This run holds no zero-shot matrix yet").count() == 1
        assert page.evaluate("window.scrollY") == 200
        assert page.evaluate("document.documentElement.scrollHeight") == height

        button.click()
        page.locator(".matrix-cell").first.wait_for()
        page.get_by_text("3 of 4 stages are done").wait_for()
        button.wait_for(state="detached")

        write(own.folder, 4)
        page.get_by_text("The run is complete").wait_for()
        button.click()
        page.locator(".notice.incomplete").wait_for(state="detached")
        page.locator(".matrix-cell").first.wait_for()
        # No more questions of a run that does not change any more.
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_load_state("networkidle")
        asked.clear()
        page.wait_for_timeout(3 * EVERY)
        assert asked == [] and watch.complaints == []


def test_what_is_not_there_yet_appears_by_itself(own: MadeRun, browser: Browser) -> None:
    manifest = own.root / "run.json"
    text = manifest.read_text()
    manifest.unlink()
    with served(own.root) as address:
        watch = Watch()
        page = watch.over(browser.new_page())
        page.goto(address)
        page.get_by_text("No run here yet").wait_for()
        manifest.write_text("{")
        page.get_by_text("is damaged").wait_for()
        assert '"schema_version": 2' in text
        manifest.write_text(text.replace('"schema_version": 2', '"schema_version": 99'))
        page.get_by_text("A run of another version").wait_for()
        page.get_by_text("has schema version 99").wait_for()
        page.get_by_role("link", name="Neurons").click()
        page.get_by_text("A run of another version").wait_for()
        manifest.write_text(text)
        page.locator(".ag-row").first.wait_for()
        assert watch.complaints == []


def test_the_token_opens_the_dashboard(drawn: MadeRun, browser: Browser) -> None:
    with served(drawn.root, token=TOKEN) as address:
        context = browser.new_context()
        page = patient(context.new_page())
        page.goto(f"{address}/neurons?unit=3")
        page.get_by_label("Token").fill("something else entirely")
        page.get_by_role("button", name="Open the dashboard").click()
        page.get_by_text("not the token of this dashboard").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        watch = Watch()
        watch.over(page)
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/neurons\?unit=3$"))
        page.locator(".ag-row").first.wait_for()
        # Scripts do not see the login.
        assert page.evaluate("document.cookie") == ""
        assert watch.complaints == []

        # By the printed address, and by a link on another site ("localhost" is one).
        for url in (f"{address}/?token={TOKEN}", f"{address}/neurons?unit=3"):
            page = patient((browser.new_context() if "token" in url else page.context).new_page())
            page.goto(url) if "token" in url else _follow(page, drawn, url)
            page.wait_for_url(re.compile(r"/$|/neurons\?unit=3$"))
            page.locator(".js-plotly-plot, .ag-row, .matrix-cell").first.wait_for()


def _follow(page: Page, run: MadeRun, url: str) -> None:
    """Follow a link on a page of another site."""
    page.route(
        "http://elsewhere.example/",
        lambda route: route.fulfill(content_type="text/html", body=f"<a href='{url}'>there</a>"),
    )
    page.goto("http://elsewhere.example/")
    page.get_by_text("there").click()


#: Names that would run a script wherever they were taken for HTML.
NAMES = (SCRIPT, IMAGE, "two\nlines</title></script><svg onload=window.__hit=1>")


@pytest.mark.slow
def test_names_are_never_taken_for_html(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    detectors = ("<img src=x onerror=window.__hit=1>/base", f"{IMAGE}/shallow")
    monkeypatch.setattr(making, "DATASETS", NAMES)
    monkeypatch.setattr(making, "DETECTORS", detectors)
    title = f"{SCRIPT}{IMAGE}"
    run = make_run(tmp_path / "run", title=title, command=f"probe {IMAGE}", source=NAMES[0])
    with served(run.root) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 2000})
        # Beside what runs, what is made of names counts: no element of ours is called so.
        context.add_init_script("window.__hit = undefined")
        page = patient(context.new_page())
        watch = Watch()
        watch.over(page)
        for path in PAGES:
            page.goto(f"{address}{path}?unit=3")
            page.locator("h1, h2, .message").first.wait_for()
            page.wait_for_load_state("networkidle")
            boxes = page.evaluate(
                "[...document.querySelectorAll('.js-plotly-plot .nsewdrag')].slice(0, 4)"
                ".map(e => e.getBoundingClientRect()).map(b => [b.x + b.width / 2, b.y + 9])"
            )
            for x, y in boxes:
                page.mouse.move(x, y)
            found = page.evaluate(
                "[window.__hit, document.querySelectorAll('img[src=x], svg[onload]').length]"
            )
            assert found == [None, 0], path
            text = page.locator("body").inner_text()
            assert "window.__hit=1" in text or path != "/"
        assert watch.hosts == {"127.0.0.1"}
        # A policy that had to step in would have said so here.
        assert not [c for c in watch.complaints if "Content Security Policy" in c]
        assert watch.complaints == []
        page.goto(address)
        with page.expect_download() as download:
            page.evaluate("fetch('/').then(() => 0)")
            page.get_by_role("button", name="Export").first.click()
            page.get_by_role("menuitem", name="CSV").first.click()
        assert re.fullmatch(r"[\w.-]+", download.value.suggested_filename)
