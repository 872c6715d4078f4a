"""The menus of cards in a real browser: files, the clipboard, the keyboard, a refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.app.making import DETECTORS
from tests.browser.conftest import Watch

pytestmark = pytest.mark.browser


def opened(context: BrowserContext, watch: Watch, address: str) -> Page:
    page = watch.over(context.new_page())
    page.goto(address)
    page.locator("[data-menu]").first.wait_for()
    return page


def test_a_figure_its_table_and_its_code_are_taken_away(
    address: str, browser: Browser, tmp_path: Path
) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page = opened(context, watch, f"{address}/neurons?detector={DETECTORS[1]}&unit=7")

    menu = page.get_by_role("button", name="Export unit doses")
    assert menu.get_attribute("aria-haspopup") == "menu"
    # By keyboard alone: open, walk, choose.
    menu.focus()
    page.keyboard.press("Enter")
    page.get_by_role("menuitem", name="PDF").wait_for()
    page.keyboard.press("ArrowDown")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "unit-doses-meso4-shallow-7.pdf"
    download.value.save_as(tmp_path / "unit.pdf")
    assert (tmp_path / "unit.pdf").read_bytes().startswith(b"%PDF")
    said = page.get_by_role("status").filter(has_text="Downloaded")
    said.wait_for()

    # The code is of what the page shows now.
    menu.click()
    page.get_by_role("menuitem", name="Copy as Python").click()
    page.get_by_role("status").filter(has_text="Copied").wait_for()
    code = page.evaluate("navigator.clipboard.readText()")
    assert f"run.neurons({DETECTORS[1]!r})" in code and "unit=7" in code
    assert not watch.complaints and watch.hosts == {"127.0.0.1"}


def test_a_closed_clipboard_gives_the_code_to_copy_by_hand(address: str, browser: Browser) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {get: () => undefined});"
    )
    page = opened(context, watch, address)
    page.get_by_role("button", name="Export zero shot matrix").click()
    page.get_by_role("menuitem", name="Copy as Python").click()
    area = page.get_by_role("dialog", name="Python to copy").get_by_role("textbox")
    area.wait_for()
    assert "plot_matrix" in area.input_value()
    chosen = area.evaluate("a => a.value.slice(a.selectionStart, a.selectionEnd)")
    assert chosen == area.input_value()
    page.keyboard.press("Escape")
    area.wait_for(state="detached")
    assert not watch.complaints


@pytest.mark.slow
def test_what_cannot_be_had_is_said(address: str, browser: Browser) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = opened(context, watch, f"{address}/neurons?detector={DETECTORS[1]}")
    page.get_by_role("button", name="Export ablation").click()
    page.get_by_role("menuitem", name="PDF").click()
    page.locator("#export-said").filter(has_text="Nothing was taken out").wait_for()
    # The browser itself notes the refusal; nothing else is complained of.
    assert all("404" in one for one in watch.complaints)
    assert page.url.startswith(address) and re.search("/neurons", page.url)
