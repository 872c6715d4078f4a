"""The list of units in a real Chromium: blocks of rows, a unit far down, the heatmap."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks._dashboard_run import Size, write_run
from probe.neurons import NeuronTable
from probe.run import RunFolder
from tests.browser.conftest import Watch, served

pytestmark = pytest.mark.browser

#: Many more units than a block of rows, so that most are not in the page.
UNITS = 1000
LABEL = "large/base"
#: Milliseconds until something has to be there on a busy machine.
PATIENCE = 20_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("units") / "run"
    write_run(root, Size(samples=96, stored=UNITS, units=UNITS, datasets=3))
    return RunFolder(root)


@pytest.fixture(scope="module")
def address(run: RunFolder) -> Iterator[str]:
    with served(run.root) as found:
        yield found


@pytest.fixture(autouse=True)
def _patient() -> Iterator[None]:
    expect.set_options(timeout=PATIENCE)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    watch = Watch()
    page = watch.over(browser.new_page(viewport={"width": 1280, "height": 800}))
    yield page
    assert watch.complaints == [] and watch.hosts == {"127.0.0.1"}


def cell(page: Page, row: int, column: str) -> str:
    found = page.locator(f".ag-row[row-index='{row}'] [col-id='{column}']")
    expect(found).to_have_text(re.compile("."))
    return found.inner_text().strip()


def test_rows_come_in_blocks_sorted_and_filtered_by_the_server(
    address: str, run: RunFolder, page: Page
) -> None:
    effect = NeuronTable.open(run.path("neurons", LABEL)).data["effect"].values
    page.goto(f"{address}/neurons")
    cell(page, 0, "unit")
    page.locator(".ag-header-cell[col-id='e1']").click()
    strongest = np.argsort(-effect[1])
    expect(page.locator(".ag-row[row-index='0'] [col-id='unit']")).to_have_text(str(strongest[0]))
    page.locator(".ag-body-viewport").evaluate("e => { e.scrollTop = 34 * 600 }")
    expect(page.locator(".ag-row[row-index='605'] [col-id='unit']")).to_have_text(
        str(strongest[605])
    )
    page.locator(".ag-header-cell[col-id='unit']").hover()
    page.locator(".ag-header-cell[col-id='unit'] .ag-header-cell-filter-button").click()
    page.locator(".ag-filter input[type='number']:visible").first.fill("77")
    place = page.locator("#neurons-place")
    expect(place).to_contain_text("1 units pass the filter")
    expect(page.locator(".ag-row[row-index='0'] [col-id='unit']")).to_have_text("77")


@pytest.mark.slow
def test_a_link_to_a_unit_far_down_shows_it_and_the_heatmap_chooses_another(
    address: str, page: Page
) -> None:
    page.goto(f"{address}/neurons?unit=777")
    marked = page.locator(".ag-row-selected [col-id='unit']")
    expect(marked).to_have_text("777")
    expect(marked).to_be_in_viewport()
    page.locator("section.unit-shares .hm").first.wait_for()
    heat = page.locator("section.unit-shares .nsewdrag").first
    heat.scroll_into_view_if_needed()
    box = heat.bounding_box()
    assert box
    for part in (2.4, 2.5):
        page.mouse.move(box["x"] + box["width"] * part / 40, box["y"] + box["height"] / 6)
    page.locator("section.unit-shares .hovertext").first.wait_for()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_url(re.compile(r"unit=(?!777)\d+"))
    chosen = re.search(r"unit=(\d+)", page.url)
    assert chosen
    expect(marked).to_have_text(chosen[1])
    assert cell(page, 2, "unit") == chosen[1]
    page.get_by_text(f"Unit {chosen[1]} is in row 3.").wait_for()
