"""The dashboard in a real Chromium, from Overview to the images of a unit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from probe.plots.theme import DARK, LIGHT
from tests.app.making import DATASETS, DETECTORS
from tests.browser.conftest import Watch, patient

pytestmark = pytest.mark.browser

#: Color of legends.
INK = {"light": LIGHT.muted, "dark": DARK.muted}


def rows_of(page: Page, column: str) -> list[str]:
    """Texts of a column of the list in the order that is seen."""
    cells = page.locator(f".ag-row [col-id='{column}']")
    placed = [
        (float(cell.evaluate("e => e.closest('.ag-row').getAttribute('row-index')")), text)
        for cell, text in zip(cells.all(), cells.all_inner_texts(), strict=True)
    ]
    return [text.strip() for _, text in sorted(placed)]


def test_from_the_matrix_to_the_images_of_a_unit(
    address: str, browser: Browser, tmp_path: Path
) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = watch.over(context.new_page())

    # Overview: the matrix, another metric, the table as a file.
    page.goto(address)
    page.get_by_text("Zero-shot matrix").wait_for()
    page.locator("a.matrix-cell").first.wait_for()
    assert page.locator("a.matrix-cell").count() == len(DETECTORS) * len(DATASETS)
    before = page.locator("a.matrix-cell").first.text_content()
    page.get_by_text("EER", exact=True).first.click()
    page.wait_for_function(
        "before => document.querySelector('a.matrix-cell').textContent !== before",
        arg=before,
    )
    page.wait_for_url(re.compile("metric=eer"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Export zero shot matrix").click()
        page.get_by_role("menuitem", name="CSV").click()
    table = tmp_path / "matrix.csv"
    download.value.save_as(table)
    assert table.read_text().startswith("detector,dataset,level,metric,value,low,high,n_samples")

    # Neurons: sort by unit, select one, see its images.
    page.get_by_role("link", name="Neurons").click()
    page.locator(".ag-row").first.wait_for()
    page.locator(".ag-header-cell[col-id='unit']").click()
    page.locator(".ag-row[row-index='0'] [col-id='unit']", has_text="11").wait_for()
    assert rows_of(page, "unit")[:2] == ["11", "10"]
    # The first unit's images stay, faded, until those of the chosen one are there.
    images = page.locator("img[src^='/thumb/']")
    images.first.wait_for()
    earlier = images.first.get_attribute("src")
    page.locator(".ag-row[row-index='4'] [col-id='unit']").click()
    page.wait_for_url(re.compile("unit=7"))
    page.get_by_text("Unit 7", exact=False).first.wait_for()
    page.wait_for_function(
        "old => { const i = document.querySelector(\"img[src^='/thumb/']\");"
        " return i && i.getAttribute('src') !== old; }",
        arg=earlier,
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)"
    )
    assert page.locator(".js-plotly-plot").count() == 5
    sources = [image.get_attribute("src") for image in images.all()]
    assert len(sources) == len(DATASETS) * 2 * 4

    # The figure for the paper, and the fourth click of the story.
    page.get_by_role("button", name="Export unit doses").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="PDF").click()
    assert download.value.suggested_filename == "unit-doses-7.pdf"
    download.value.save_as(tmp_path / "unit.pdf")
    assert (tmp_path / "unit.pdf").read_bytes().startswith(b"%PDF")

    # A link reproduces the view, in another browser session.
    link = page.url
    other = watch.over(browser.new_context().new_page())
    other.goto(link)
    other.locator("img[src^='/thumb/']").first.wait_for()
    other.get_by_text("Unit 7", exact=False).first.wait_for()
    again = [image.get_attribute("src") for image in other.locator("img[src^='/thumb/']").all()]
    assert again == sources
    assert "7" in other.locator(".ag-row-selected [col-id='unit']").all_inner_texts()

    # "Back" leads back to the matrix, as it was left.
    page.go_back()
    page.wait_for_load_state("networkidle")
    while "/neurons" in page.url:
        page.go_back()
        page.wait_for_load_state("networkidle")
    page.get_by_text("Zero-shot matrix").wait_for()

    assert watch.complaints == []
    assert watch.hosts == {"127.0.0.1"}


def assert_drawn_for(page: Page, scheme: str, names: int = 6) -> None:
    """Wait until the legends of all figures, of so many names or more, have the scheme's color."""
    red, green, blue = (int(INK[scheme][i : i + 2], 16) for i in (1, 3, 5))
    page.wait_for_function(
        """([color, least]) => {
          const names = [...document.querySelectorAll('.js-plotly-plot .legendtext')];
          return names.length >= least && names.every(n => getComputedStyle(n).fill === color);
        }""",
        arg=[f"rgb({red}, {green}, {blue})", names],
        timeout=15_000,
    )


@pytest.mark.parametrize(
    ("path", "names"),
    [
        pytest.param("/neurons", 6, marks=pytest.mark.slow),
        pytest.param("/separability", 11, marks=pytest.mark.slow),
        pytest.param("/artifacts", 9, marks=pytest.mark.slow),
    ],
)
def test_both_schemes_by_switch_and_by_preference(
    address: str, browser: Browser, path: str, names: int
) -> None:
    watch = Watch()
    for preferred in ("light", "dark"):
        context = browser.new_context(color_scheme=preferred)
        page = watch.over(context.new_page())
        page.goto(f"{address}{path}")
        page.wait_for_selector(f"html[data-mantine-color-scheme='{preferred}']")
        assert_drawn_for(page, preferred, names)
        page.get_by_role("button", name="Switch between light and dark").click()
        switched = {"light": "dark", "dark": "light"}[preferred]
        page.wait_for_selector(f"html[data-mantine-color-scheme='{switched}']")
        assert_drawn_for(page, switched, names)
    assert watch.complaints == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/neurons",
        pytest.param("/separability", marks=pytest.mark.slow),
        pytest.param("/artifacts", marks=pytest.mark.slow),
    ],
)
def test_nothing_reaches_beyond_the_window(address: str, browser: Browser, path: str) -> None:
    page = patient(browser.new_context(viewport={"width": 1920, "height": 1080}).new_page())
    page.goto(address + path)
    page.locator(".js-plotly-plot .main-svg, .matrix-cell").first.wait_for()
    for width in (1920, 1280, 1024, 390):
        page.set_viewport_size({"width": width, "height": 800})
        # Figures follow the window in a moment; then it fits, or never.
        page.wait_for_function("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_a_link_to_what_is_not_there_says_so(address: str, browser: Browser) -> None:
    page = patient(browser.new_page())
    page.goto(f"{address}/neurons?detector=meso5/base")
    page.get_by_text("Did you mean 'meso4/base'").first.wait_for()


def test_the_keyboard_reaches_the_pages_the_switch_and_the_list(
    address: str, browser: Browser
) -> None:
    page = patient(browser.new_page())
    page.goto(f"{address}/neurons")
    page.locator(".ag-row").first.wait_for()
    page.wait_for_load_state("networkidle")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.closest('nav, .ag-root-wrapper')?.tagName")
        )
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-label') || ''"))
    assert {"NAV", "DIV", "Switch between light and dark"} <= reached


def test_cells_are_links_in_both_schemes(address: str, browser: Browser) -> None:
    watch = Watch()
    page = watch.over(browser.new_context(color_scheme="dark").new_page())
    page.goto(address)
    cell = page.locator("a.matrix-cell").first
    cell.wait_for()
    for scheme in ("dark", "light"):
        page.wait_for_selector(f"html[data-mantine-color-scheme='{scheme}']")
        # What the cell asks for, and what it has.
        for name, kind in (("", "backgroundColor"), ("-ink", "color")):
            asked, has = cell.evaluate(
                """(e, [name, kind]) => {
                  const probe = document.createElement('i');
                  probe.style.color = e.style.getPropertyValue(name);
                  document.body.append(probe);
                  return [getComputedStyle(probe).color, getComputedStyle(e)[kind]];
                }""",
                [f"--{scheme}{name}", kind],
            )
            assert asked == has
        page.get_by_role("button", name="Switch between light and dark").click()

    # No figure stands on this page; what draws them is read ahead of the next one.
    page.wait_for_function("() => typeof window.Plotly === 'object'")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('matrix-cell')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/neurons\?detector=meso4%2Fbase&dataset=alpha$"))
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.locator(".ag-row").first.wait_for()
    assert watch.complaints == [] and watch.hosts == {"127.0.0.1"}
