"""Attribution in a real Chromium: from the worst error to its maps and what speaks for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.app.drawing_maps import METHODS
from tests.app.making import DETECTORS
from tests.browser.conftest import Watch

pytestmark = pytest.mark.browser

GRADCAM, COMPLETE = METHODS
DRAWN = "() => [...document.querySelectorAll('img.drawn')].every(one => one.naturalWidth > 0)"
#: What moved although nobody touched the page, summed as browsers do it; 0.1 counts as good.
SHIFTED = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; })
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 300);
})"""


def opened(browser: Browser, watch: Watch, address: str) -> Page:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = watch.over(context.new_page())
    page.goto(address)
    page.locator("img.drawn").first.wait_for()
    page.locator(".attention-by-region .main-svg").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page


def sources(page: Page) -> list[str | None]:
    page.wait_for_function(DRAWN)
    return [one.get_attribute("src") for one in page.locator("img.drawn").all()]


def test_from_the_worst_error_to_its_maps_and_back_by_a_link(
    address: str, browser: Browser, tmp_path: Path
) -> None:
    watch = Watch()
    page = opened(browser, watch, f"{address}/attribution")
    assert page.evaluate(SHIFTED) < 0.1
    assert len(page.locator(".explained-one").all()) == 16
    # Two methods of the first detector, one of the second, and a place that says why.
    assert len(sources(page)) == 3
    page.get_by_text("Not in this run.").wait_for()

    page.locator(".explained-images").get_by_text("Missed fakes").click()
    page.wait_for_url(re.compile("images=missed"))
    page.get_by_text("missed fakes of 36").wait_for()
    # By keyboard: the second image of the list.
    page.locator(".explained-one").nth(1).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("sample=[0-9a-f]{24}"))
    token = page.url.split("sample=")[1][:24]
    page.locator(f'.original img[src="/thumb/{token}"]').wait_for()
    page.locator(".explained-one.chosen").nth(0).wait_for()
    page.wait_for_function(
        "() => document.querySelectorAll('.explained-one')[1].ariaCurrent === 'true'"
    )

    page.get_by_text("Over the image").click()
    page.wait_for_url(re.compile("overlay=overlay"))
    page.locator('img.drawn[src*="as=overlay"]').first.wait_for()
    page.locator(".maps-cell img.outline").first.wait_for()
    page.get_by_role("switch", name="Outline").press("Space")
    page.wait_for_url(re.compile("outline=off"))
    page.wait_for_function("() => !document.querySelector('.maps-cell img.outline')")
    seen = sources(page)
    assert all(token in str(source) for source in seen)

    again = opened(browser, watch, page.url)
    assert sources(again) == seen
    assert again.get_by_role("switch", name="Outline").is_checked() is False
    page.go_back()
    page.wait_for_url(re.compile("overlay=overlay$"))
    page.locator(".maps-cell img.outline").first.wait_for()
    assert page.get_by_role("switch", name="Outline").is_checked()
    assert not watch.complaints
    assert watch.hosts == {"127.0.0.1"}


@pytest.mark.slow
def test_a_badge_opens_its_checks(address: str, browser: Browser) -> None:
    watch = Watch()
    page = opened(browser, watch, f"{address}/attribution?methods={GRADCAM}")
    badge = page.locator("a.trust")
    assert badge.inner_text() == "1 of 3 checks"
    assert "not better than shifted" in str(badge.get_attribute("aria-label"))
    badge.focus()
    page.keyboard.press("Enter")
    window = page.get_by_role("dialog")
    window.get_by_text("tested checks passed").wait_for()
    assert f"{GRADCAM} of {DETECTORS[0]}" in window.inner_text()
    assert "networks of random weights reach it" in window.inner_text()
    link = page.url
    page.keyboard.press("Escape")
    window.wait_for(state="hidden")
    page.wait_for_url(re.compile(f"methods={GRADCAM}$"))
    # Whoever came by keyboard goes on where the window was opened.
    page.wait_for_function("() => document.activeElement.matches('a.trust')")
    again = opened(browser, watch, link)
    again.get_by_role("dialog").get_by_text("tested checks passed").wait_for()
    assert not watch.complaints


@pytest.mark.slow
def test_the_list_has_parts_and_other_lists_begin_at_their_beginning(
    address: str, browser: Browser
) -> None:
    watch = Watch()
    page = opened(browser, watch, f"{address}/attribution")
    page.get_by_label("Part 3", exact=True).click()
    page.wait_for_url(re.compile("page=3"))
    page.get_by_text("part 3 of 3").wait_for()
    assert page.locator(".explained-one").count() == 4
    page.get_by_role("textbox", name="Dataset").click()
    page.get_by_role("option", name="beta").click()
    page.wait_for_url(re.compile(r"\?dataset=beta$"))
    page.get_by_text("12 images of 36").wait_for()
    page.get_by_role("textbox", name="Dataset").click()
    page.get_by_role("option", name="All datasets").click()
    page.wait_for_url(re.compile("/attribution$"))
    assert not watch.complaints


@pytest.mark.slow
def test_methods_are_chosen_and_none_shows_the_first_again(address: str, browser: Browser) -> None:
    watch = Watch()
    page = opened(browser, watch, f"{address}/attribution")
    pills = page.locator(".maps-methods .mantine-Pill-label")
    assert pills.count() == 2
    page.locator(".maps-methods .mantine-Pill-remove").first.click()
    page.wait_for_url(re.compile(f"methods={COMPLETE}$"))
    page.wait_for_function("() => document.querySelectorAll('img.drawn').length === 1")
    page.locator(".maps-methods .mantine-Pill-remove").first.click()
    page.wait_for_url(re.compile("/attribution$"))
    page.wait_for_function("() => document.querySelectorAll('img.drawn').length === 3")
    page.wait_for_function(
        "() => document.querySelectorAll('.maps-methods .mantine-Pill-label').length === 2"
    )
    assert not watch.complaints


@pytest.mark.slow
def test_switches_of_findings_and_another_detector(address: str, browser: Browser) -> None:
    watch = Watch()
    page = opened(browser, watch, f"{address}/attribution")
    page.get_by_text("The study’s way").click()
    page.wait_for_url(re.compile("mode=authors"))
    page.get_by_text("drawn, authors").wait_for()
    page.get_by_text("Change from real").click()
    page.wait_for_url(re.compile("what=change"))
    page.get_by_text("changes from the real frame").wait_for()
    page.get_by_role("textbox", name="Detector").click()
    page.get_by_role("option", name=DETECTORS[1], exact=True).click()
    page.wait_for_url(re.compile("detector=meso4%2Fshallow"))
    page.locator(".attention-by-region").get_by_text("Not computed yet").wait_for()
    page.locator(".maps-head").first.get_by_text("shallow").wait_for()
    page.get_by_text("drawn, authors").wait_for()
    assert not watch.complaints
