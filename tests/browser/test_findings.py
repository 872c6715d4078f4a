"""Separability and Artifacts in a real Chromium: points to images, links to views."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.app.making import DETECTORS, LAYERS, make_run
from tests.browser.conftest import Watch, served

pytestmark = pytest.mark.browser

#: What moved although nobody touched the page, summed as browsers do it; 0.1 counts as good.
SHIFTED = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => { for (const e of list.getEntries()) sum += e.value; })
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 300);
})"""


def open_page(context: BrowserContext, watch: Watch, address: str) -> Page:
    page = watch.over(context.new_page())
    page.goto(address)
    page.locator(".js-plotly-plot .main-svg, .matrix-cell").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page


def click_on(page: Page, point: Locator) -> None:
    """Point at the middle of what is drawn, as a hand does, and click."""
    point.wait_for(state="attached")
    point.evaluate("element => element.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(200)
    box = point.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.wait_for_timeout(200)
    page.mouse.click(x, y)


def choose(page: Page, select: str, option: str) -> None:
    page.locator(f"#{select}").click()
    page.get_by_role("option", name=option, exact=True).click()


def control(page: Page, label: str) -> Locator:
    return page.get_by_role("textbox", name=label, exact=True)


def pick(page: Page, label: str, option: str) -> None:
    """Choose an option of a control that is found by its label."""
    page.get_by_role("textbox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def saved(page: Page, name: str, out: Path) -> str:
    page.locator(f"[data-menu='{name}']").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="CSV").click()
    download.value.save_as(out)
    return out.read_text()


@pytest.mark.slow
def test_from_a_point_to_its_image_and_back_by_a_link(
    address: str, browser: Browser, tmp_path: Path
) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{address}/separability")
    page.get_by_text("the layer tells more than the head uses").wait_for()

    page.get_by_text("UMAP", exact=True).click()
    page.wait_for_url(re.compile("embedding=umap"))
    page.get_by_text("UMAP of leaky", exact=False).wait_for()
    page.locator("section.embedding").get_by_text("Method", exact=True).click()
    page.wait_for_url(re.compile("color=method"))
    page.locator("section.embedding .legendtext", has_text="beta").wait_for()

    click_on(page, page.locator("section.embedding .scatterlayer .point").nth(20))
    page.wait_for_url(re.compile("sample=[0-9a-f]{24}"))
    image = page.locator("section.picked img.thumb")
    image.wait_for()
    source = image.get_attribute("src")
    assert source and source.split("/")[-1] in page.url
    page.wait_for_function("() => document.querySelector('img.thumb').naturalWidth > 0")
    panel = page.locator("section.picked").inner_text()
    assert "P(fake)" in panel and "Dataset" in panel

    # A unit of the scatter colors the picture, and its value stands under the image.
    click_on(page, page.locator("section.unit-knowledge .scatterlayer .point").nth(1))
    page.wait_for_url(re.compile("color=unit"))
    unit = re.findall(r"unit=(\d+)", page.url)[0]
    page.locator("section.picked").get_by_text(f"Unit {unit}").wait_for()
    panel = page.locator("section.picked").inner_text()

    other = open_page(browser.new_context(), watch, page.url)
    other.locator("section.picked").get_by_text(f"Unit {unit}").wait_for()
    assert other.locator("section.picked img.thumb").get_attribute("src") == source
    assert other.locator("section.picked").inner_text() == panel
    assert other.get_by_role("textbox", name="Unit to color by", exact=True).input_value() == unit
    other.get_by_text("UMAP of leaky", exact=False).wait_for()

    text = saved(page, "separability", tmp_path / "measures.csv")
    assert text.startswith("layer,dataset,measure,value,low,high,p,q,n_samples")
    text = saved(page, "embedding", tmp_path / "picture.csv")
    assert f"unit_{unit}" in text.splitlines()[0]
    assert watch.complaints == [] and watch.hosts == {"127.0.0.1"}


@pytest.mark.slow
def test_a_layer_is_chosen_by_hand_or_by_its_point_and_back_undoes_it(
    address: str, browser: Browser
) -> None:
    watch = Watch()
    page = open_page(browser.new_context(), watch, f"{address}/separability?unit=3&color=unit")
    pick(page, "Layer", LAYERS[0])
    page.wait_for_url(re.compile(f"layer={LAYERS[0]}"))
    assert "unit=3" not in page.url
    page.get_by_text("were not kept").wait_for()
    page.go_back()
    page.wait_for_url(re.compile("unit=3"))
    page.get_by_text(f"PCA of {LAYERS[1]}").wait_for()
    assert page.get_by_role("textbox", name="Layer", exact=True).input_value() == LAYERS[1]
    page.wait_for_load_state("networkidle")
    click_on(page, page.locator("section.depth .scatterlayer .point").first)
    page.wait_for_url(re.compile(f"layer={LAYERS[0]}"))

    pick(page, "Detector", DETECTORS[1])
    page.wait_for_url(re.compile("detector=meso4%2Fshallow"))
    expect(page.get_by_role("textbox", name="Layer", exact=True)).to_have_value(LAYERS[1])
    # Layers mean nothing to the Neurons page, detectors do.
    page.get_by_role("link", name="Neurons").click()
    page.locator(".ag-row").first.wait_for()
    assert "layer=" not in page.url and "detector=meso4%2Fshallow" in page.url
    assert watch.complaints == []


def test_artifacts_from_a_dataset_to_the_dose_of_a_unit(
    address: str, browser: Browser, tmp_path: Path
) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{address}/artifacts")
    page.get_by_text("alone tells fake from real").wait_for()
    pick(page, "Dataset", "beta")
    page.wait_for_url(re.compile("dataset=beta"))
    page.get_by_text("No covariate tells fake from real").wait_for()
    page.wait_for_load_state("networkidle")

    click_on(page, page.locator("section.responses .heatmaplayer image").first)
    page.wait_for_url(re.compile(r"unit=\d+"))
    unit = re.findall(r"unit=(\d+)", page.url)[0]
    pick(page, "Artifact", "blending")
    page.wait_for_url(re.compile("artifact=blending"))
    page.locator("section.unit-responses").get_by_text(f"change of unit {unit}").wait_for()

    other = open_page(browser.new_context(), watch, page.url)
    other.locator("section.unit-responses").get_by_text(f"change of unit {unit}").wait_for()
    other.locator("section.unit-responses").get_by_text("dose of blending").wait_for()
    assert control(other, "Dataset").input_value() == "beta"
    assert control(other, "Artifact").input_value() == "blending"
    assert control(other, "Unit").input_value() == unit

    text = saved(page, "artifact-effects", tmp_path / "effects.csv")
    assert set(re.findall(r"^\w+", text, re.M)[1:]) == {"beta"}

    # A detector that was not dosed says so, in place of empty figures.
    pick(page, "Detector", DETECTORS[1])
    page.get_by_text("No doses were turned", exact=True).wait_for()
    assert control(page, "Artifact").is_disabled()
    assert watch.complaints == [] and watch.hosts == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/separability", "/artifacts"])
@pytest.mark.slow
def test_nothing_jumps_while_it_loads(address: str, browser: Browser, path: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, Watch(), address + path)
    page.locator(".js-plotly-plot .legendtext").first.wait_for()
    assert page.evaluate(SHIFTED) < 0.02


@pytest.mark.parametrize(
    ("path", "said"),
    [
        pytest.param("/separability?layer=leeky", "Did you mean 'leaky'", marks=pytest.mark.slow),
        pytest.param(
            "/separability?detector=meso5/base", "Did you mean 'meso4/base'", marks=pytest.mark.slow
        ),
        pytest.param("/separability?sample=0", "not in this run", marks=pytest.mark.slow),
        pytest.param(
            "/separability?color=unit&unit=99", "is not in this table", marks=pytest.mark.slow
        ),
        pytest.param("/artifacts?dataset=alpa", "Did you mean 'alpha'", marks=pytest.mark.slow),
        pytest.param(
            "/artifacts?artifact=blendin", "Did you mean 'blending'", marks=pytest.mark.slow
        ),
        ("/artifacts?unit=99", "is not in this table"),
    ],
)
def test_a_link_to_what_is_not_there_says_so(
    address: str, browser: Browser, path: str, said: str
) -> None:
    watch = Watch()
    page = watch.over(browser.new_page())
    page.goto(address + path)
    page.get_by_text(said).first.wait_for()
    assert watch.complaints == []


@pytest.mark.slow
def test_a_wrong_link_is_mended_by_a_choice(address: str, browser: Browser) -> None:
    watch = Watch()
    page = watch.over(browser.new_page())
    page.goto(f"{address}/separability?layer=leeky")
    page.get_by_text("Did you mean 'leaky'").first.wait_for()
    pick(page, "Layer", LAYERS[0])
    page.wait_for_url(re.compile(f"layer={LAYERS[0]}"))
    page.get_by_text("Through the layers").wait_for()
    page.goto(f"{address}/artifacts?dataset=alpa")
    page.get_by_text("Did you mean 'alpha'").first.wait_for()
    pick(page, "Dataset", "beta")
    page.wait_for_url(re.compile("dataset=beta"))
    page.get_by_text("What else differs?").wait_for()
    assert watch.complaints == []


@pytest.mark.slow
def test_a_run_without_these_tables_says_what_makes_them(browser: Browser, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", reports=False)
    watch = Watch()
    with served(run.root) as address:
        for path, cards in (("/separability", 3), ("/artifacts", 2)):
            page = watch.over(browser.new_page())
            page.goto(address + path)
            page.get_by_text("Not computed yet").first.wait_for()
            page.wait_for_load_state("networkidle")
            assert page.get_by_text("Not computed yet").count() == cards
            assert page.get_by_text("probe demo --out somewhere").count() == cards
    assert watch.complaints == []
