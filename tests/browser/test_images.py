"""Images that lie elsewhere, on every page in a real Chromium: there, moved and gone."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.pages import PAGES
from probe.study import parse_study, run_study
from tests.app.making import make_run, take_out_images
from tests.browser.conftest import Watch, patient, served

pytestmark = pytest.mark.browser

#: Pages that show images of the data themselves.
WITH_IMAGES = ("/neurons", "/attribution", "/compare", "/sample")

#: Images on the page, those that are broken, and those that stand for one that is not shown.
COUNT = """() => {
    const all = [...document.images];
    return [all.length, all.filter(one => one.complete && !one.naturalWidth).length];
}"""


def walk(
    browser: Browser,
    root: Path,
    words: str = "",
    images: tuple[Path, ...] = (),
    prefix: str = "",
) -> None:
    """Open every page: no broken icon, no error, and where nothing is shown, the reason."""
    with served(root, images=images, prefix=prefix) as address:
        watch = Watch()
        page = watch.over(browser.new_context(viewport={"width": 1280, "height": 900}).new_page())
        for place in PAGES:
            page.goto(address + prefix.rstrip("/") + place, wait_until="networkidle")
            # What lies below is loaded when it is scrolled to.
            for _ in range(4):
                page.mouse.wheel(0, 900)
                page.wait_for_timeout(250)
                page.wait_for_load_state("networkidle")
            if place in WITH_IMAGES:
                page.wait_for_function("() => document.images.length > 0", timeout=60_000)
                page.wait_for_load_state("networkidle")
            shown, broken = page.evaluate(COUNT)
            assert not broken, place
            if place in WITH_IMAGES:
                assert shown and words in page.locator("main").inner_text(), place
        page.context.close()
    assert not watch.complaints


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_page_shows_images_that_lie_elsewhere(browser: Browser, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run")
    take_out_images(made, tmp_path / "pictures")
    walk(browser, made.root)
    made.root.rename(tmp_path / "moved")
    walk(browser, tmp_path / "moved")
    (tmp_path / "pictures").rename(tmp_path / "away")
    walk(browser, tmp_path / "moved", "does not exist any more")
    walk(browser, tmp_path / "moved", images=(tmp_path / "away",))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_page_works_behind_a_prefix(browser: Browser, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run")
    prefix = "/user/me/proxy/8050/"
    walk(browser, made.root, prefix=prefix)
    with served(made.root, prefix=prefix) as address:
        page = patient(browser.new_page())
        page.goto(address + prefix, wait_until="networkidle")
        page.get_by_role("link", name="Neurons", exact=True).click()
        page.wait_for_url(f"**{prefix}neurons*")
        page.get_by_role("heading", level=1, name="Neurons").wait_for()
        for link in page.locator("a[href^='/']").all():
            assert str(link.get_attribute("href")).startswith(prefix)
        page.get_by_role("button", name=re.compile("^Export")).first.click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name="CSV").first.click()
        assert download.value.suggested_filename.endswith(".csv")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_names_files_of_others_shows_why_not(browser: Browser, tmp_path: Path) -> None:
    """Roots that nobody sealed are no roots: neither /etc nor what lies above is opened."""
    made = make_run(tmp_path / "run")
    take_out_images(made, tmp_path / "pictures")
    table = made.data.samples.table.assign(path="/etc/passwd")
    table.to_parquet(made.folder.data / "samples.parquet", index=False)
    walk(browser, made.root, "not shown")
    table.assign(path=str(tmp_path / "pictures/../../secret.png")).to_parquet(
        made.folder.data / "samples.parquet", index=False
    )
    walk(browser, made.root, "not shown")


STUDY = """
title = "Real forgeries, in place"
seeds = [0, 1]

[[datasets]]
name = "dfdc"
layout = "folder"
root = "REAL/dfdc"
splits = "cut"

[[datasets]]
name = "stylegan1"
layout = "folder"
root = "REAL/stylegan1"
splits = "cut"

[detectors]
names = ["meso4"]
variants = ["base"]
input_size = 64
source = "stylegan1"

[detectors.base]
epochs = 1

[evaluation]
resamples = 100

[neurons]
untrained = 1
random = 2

[separability]
controls = 1
pictures = ["pca"]

[attribution]
methods = ["gradcam"]
images = 2
checks = ["deletion_mean"]
random = 1

[artifacts]
doses = false
"""


@pytest.mark.real
@pytest.mark.slow
def test_every_page_shows_real_images_used_in_place(
    browser: Browser, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(real_data / "real-mini", tmp_path / "mini")
    text = STUDY.replace("REAL", str(tmp_path / "mini"))
    run_study(parse_study(text, tmp_path / "study.toml", tmp_path / "run"))
    walk(browser, tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    walk(browser, tmp_path / "moved")
    # Thumbnails went with the run; what has none says so.
    (tmp_path / "mini").rename(tmp_path / "away")
    walk(browser, tmp_path / "moved")
    walk(browser, tmp_path / "moved", images=(tmp_path / "away",))
