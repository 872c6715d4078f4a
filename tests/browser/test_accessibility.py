"""Axe-core on every page in both schemes: no violation that it calls serious or critical."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from app.pages import PAGES
from tests.browser.conftest import patient

pytestmark = pytest.mark.browser


def violations(page: Page) -> list[str]:
    """What axe finds that keeps people out, each with the elements that it is about."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: "
        + "; ".join(
            f"{' '.join(map(str, node['target']))} {node['html'][:160]}"
            for node in one["nodes"][:4]
        )
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


# The same is asked of the demo's run by `make tour`.
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", list(PAGES))
def test_no_serious_violation(address: str, browser: Browser, path: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = patient(context.new_page())
    page.goto(address + path)
    page.locator(".page h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    assert violations(page) == []


def test_axe_would_find_one(browser: Browser) -> None:
    page = patient(browser.new_page())
    page.set_content("<html lang='en'><title>t</title><main><button></button></main></html>")
    assert any("button-name" in one for one in violations(page))
