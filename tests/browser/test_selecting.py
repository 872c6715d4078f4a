"""Selecting in the picture of a layer in a real Chromium: lasso to images to units, by a link."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from probe.plots import embedding as pictures
from tests.app.making import IDENTITIES
from tests.browser.conftest import Watch, settle
from tests.browser.test_findings import open_page

pytestmark = pytest.mark.browser

PICTURE = "section.embedding"
SELECTED = "section.selection"
UNIT = f"{PICTURE} input[aria-label='Unit to color by']"
#: How wide the axis is.
WIDE = f"""() => {{
  const [a, b] = document.querySelector('{PICTURE} .js-plotly-plot')._fullLayout.xaxis.range;
  return b - a;
}}"""


def pull(page: Page, *way: tuple[float, float]) -> None:
    """Drag over the picture, along places in shares of its width and height."""
    ground = page.locator(f"{PICTURE} .nsewdrag").first
    ground.evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(200)
    box = ground.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in way]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def drag_by(page: Page, name: str) -> None:
    page.locator(PICTURE).get_by_text(name, exact=True).click()
    page.wait_for_timeout(300)


@pytest.mark.slow
def test_a_lasso_leads_to_images_and_units_and_a_link_to_all_of_it(
    address: str, browser: Browser
) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{address}/separability?embedding=tsne")
    page.locator(SELECTED).get_by_text("draw round some samples").wait_for()

    drag_by(page, "Lasso")
    pull(page, (0.1, 0.1), (0.6, 0.1), (0.6, 0.6), (0.1, 0.6), (0.1, 0.12))
    page.wait_for_url(re.compile("lasso=p"))
    page.locator(SELECTED).get_by_text("samples are selected").wait_for()
    text = page.locator(SELECTED).inner_text()
    images = page.locator(f"{SELECTED} img.thumb")
    images.first.wait_for()
    page.wait_for_function("() => document.querySelector('.selected-strip img').naturalWidth > 0")
    units = page.locator("section.selection-units .unit-button")
    units.first.wait_for()
    assert units.count() == 12
    assert page.get_by_text("no p-value would mean anything").is_visible()

    # A unit of the table colors the picture, by keyboard too, and the selection stays.
    units.nth(2).focus()
    page.keyboard.press("Enter")
    unit = units.nth(2).inner_text()
    page.wait_for_url(re.compile(rf"[?&]unit={unit}(&|$)"))
    page.locator(f".unit-button.chosen >> text={unit}").wait_for()
    assert page.locator(UNIT).input_value() == unit

    other = open_page(browser.new_context(), watch, page.url)
    other.locator(SELECTED).get_by_text("samples are selected").wait_for()
    assert other.locator(SELECTED).inner_text() == text
    other.locator(f".unit-button.chosen >> text={unit}").wait_for()
    # The outline is drawn again.
    other.locator(f"{PICTURE} .selectionlayer path").first.wait_for(state="attached")
    given = parse_qs(urlsplit(other.url).query)["lasso"]
    assert given == parse_qs(urlsplit(page.url).query)["lasso"] and len(given[0]) < 200

    # Another picture is not the one that it was drawn on.
    other.get_by_text("UMAP", exact=True).click()
    other.locator(SELECTED).get_by_text("draw round some samples").wait_for()
    assert watch.complaints == [] and watch.hosts == {"127.0.0.1"}


def test_a_rule_selects_without_a_mouse(address: str, browser: Browser) -> None:
    watch = Watch()
    page = open_page(browser.new_context(), watch, f"{address}/separability")
    settle(page)  # A card that is drawn anew forgets what is typed into it.
    label, fake = page.locator("#rule-label"), page.get_by_role("option", name="fake")
    label.press("ArrowDown")
    fake.wait_for()
    # Once per option at most; a key that comes before the list is open chooses nothing.
    for _ in range(2):
        if not fake.get_attribute("data-combobox-selected"):
            label.press("ArrowDown")
    label.press("Enter")
    expect(label).to_have_value("fake")
    page.locator("#rule-select").press("Enter")
    page.wait_for_url(re.compile("lasso=r"))
    page.locator(SELECTED).get_by_text("samples are selected").wait_for()
    assert "36 of 72" in page.locator(SELECTED).inner_text()
    expect(page.locator(f"{SELECTED} img.thumb")).to_have_count(3 * IDENTITIES)
    # All fakes are selected and no real: there is nothing to compare within a label.
    page.get_by_text("nothing can be compared within them").wait_for()
    page.locator(SELECTED).get_by_text("Clear", exact=True).click()
    page.locator(SELECTED).get_by_text("draw round some samples").wait_for()
    # The address follows the page, not the other way round.
    page.wait_for_url(lambda url: "lasso" not in url)
    assert watch.complaints == []


@pytest.mark.slow
def test_density_becomes_points_where_one_zooms_in(
    address: str, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_POINTS", 30)
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{address}/separability?embedding=tsne")
    page.get_by_text("72 samples, drawn as density").wait_for()
    page.locator(f"{PICTURE} .heatmaplayer image").wait_for(state="attached")
    whole = page.evaluate(WIDE)

    pull(page, (0.1, 0.1), (0.5, 0.5))
    page.get_by_text("of 72 samples are in view").wait_for()
    page.wait_for_function(f"() => !document.querySelector('{PICTURE} .heatmaplayer image')")
    assert page.evaluate(WIDE) < 0.6 * whole

    # A box over the density holds what lies in it, drawn or not.
    page.mouse.dblclick(*middle(page))
    page.get_by_text("72 samples, drawn as density").wait_for()
    assert page.evaluate(WIDE) == pytest.approx(whole, rel=0.05)
    drag_by(page, "Box")
    pull(page, (0.02, 0.02), (0.98, 0.98))
    page.wait_for_url(re.compile("lasso=b"))
    page.locator(SELECTED).get_by_text("samples are selected").wait_for()
    assert watch.complaints == []


def middle(page: Page) -> tuple[float, float]:
    box = page.locator(f"{PICTURE} .nsewdrag").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
