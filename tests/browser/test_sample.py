"""The Sample page in a real Chromium: from a gallery to an image, and an image of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app import uploads
from app.jobs import Jobs
from tests.app.making import DETECTORS, make_run
from tests.app.scoring import card_weights, fake_scoring
from tests.browser.conftest import Watch, served
from tests.browser.test_findings import SHIFTED

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """A worker that answers at once, unless a file tells it to wait."""
    found = fake_scoring(tmp_path_factory.mktemp("sample") / "jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "jobs_of", lambda run: found)
        yield found
        (found.root / "hold").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def place(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = make_run(tmp_path_factory.mktemp("sample-run") / "run")
    card_weights(run.root, *DETECTORS)
    with served(run.root) as address:
        yield address


def open_page(context: BrowserContext, watch: Watch, address: str) -> Page:
    page = watch.over(context.new_page())
    page.goto(address)
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page


def test_from_a_gallery_through_a_video_to_a_unit(place: str, browser: Browser) -> None:
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = open_page(context, watch, f"{place}/neurons?unit=3")
    page.locator(".gallery .frame-link").first.click()
    page.wait_for_url(re.compile(r"/sample\?unit=3&sample=[0-9a-f]{24}"))
    page.locator(".sample-facts").get_by_text("image 1 of 2", exact=False).or_(
        page.locator(".sample-facts").get_by_text("image 2 of 2", exact=False)
    ).wait_for()
    image = page.locator("div.sample-image img.whole-image")
    assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") == 16
    before = page.url
    other = page.locator("a.move", has_text=re.compile("Previous frame|Next frame"))
    other.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("before => location.href !== before", arg=before)
    page.locator("#sample-search-text").fill("beta fake v3")
    page.locator(".hits a").first.click()
    page.locator(".sample-facts").get_by_text("beta-3-1-0").wait_for()
    page.get_by_text("median of 12 real images of beta", exact=False).first.wait_for()
    # The outline is kept in the address, and the rest of it stays.
    page.get_by_label("Outline the forged region").click()
    page.wait_for_url(re.compile("unit=3.*outline=off"))
    page.locator("div.sample-image:not(.outlined)").wait_for()
    page.go_back()
    page.locator("div.sample-image.outlined").wait_for()
    expect(page.get_by_label("Outline the forged region")).to_be_checked()
    page.locator("section.sample-units a").first.click()
    page.wait_for_url(re.compile(r"/neurons\?.*unit=\d+.*sample="))
    page.go_back()
    page.locator(".sample-facts").get_by_text("beta-3-1-0").wait_for()
    assert not watch.complaints and watch.hosts == {"127.0.0.1"}


def test_an_image_of_ones_own_is_scored_and_removed(
    place: str, browser: Browser, jobs: Jobs, tmp_path: Path
) -> None:
    file = tmp_path / "..%2f<img src=x onerror=alert(1)>.jpg"
    pixels = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    jobs.root.mkdir(exist_ok=True)
    (jobs.root / "hold").touch()
    watch = Watch()
    context = browser.new_context(viewport={"width": 1280, "height": 2000})
    page = open_page(context, watch, f"{place}/sample")
    assert page.evaluate(SHIFTED) < 0.1
    # By keyboard too: the button opens the browser's own dialogue.
    assert page.get_by_label("Image file").get_attribute("tabindex") == "-1"
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file").press("Enter")
    chooser.value.set_files(file)
    page.wait_for_url(re.compile("dropped=[0-9a-f]{32}"))
    page.locator(".upload-room [role=progressbar]").wait_for()
    page.get_by_text("JPEG, 80 × 60 pixels").wait_for()
    (jobs.root / "hold").unlink()
    page.get_by_text("Scored; see the cards").wait_for()
    page.get_by_text("Not from this run's datasets").wait_for()
    page.get_by_text("no label is known", exact=False).wait_for()
    page.get_by_text("real images of all datasets", exact=False).first.wait_for()
    shown = page.locator("div.sample-image img.whole-image")
    assert shown.evaluate("i => i.decode().then(() => i.naturalWidth)") == 80
    # The link shows the same, and Remove leaves nothing.
    page.reload()
    page.get_by_text("no label is known", exact=False).wait_for()
    page.locator("#sample-upload-remove").click()
    page.get_by_text("Removed, with all that was made of it").wait_for()
    expect(page).to_have_url(re.compile(r"/sample(?!.*dropped)"))
    page.locator(".sample-facts").get_by_text("gets most wrong", exact=False).wait_for()
    assert not [path for path in jobs.root.iterdir() if path.is_dir()]
    assert not watch.complaints and watch.hosts == {"127.0.0.1"}


def test_what_cannot_be_read_is_said(place: str, browser: Browser, tmp_path: Path) -> None:
    watch = Watch()
    page = open_page(browser.new_context(), watch, f"{place}/sample")
    refused = page.locator("#sample-upload-refused")
    expect(refused).to_be_hidden()
    choose = page.locator("#sample-upload input[type=file]")
    text = tmp_path / "notes.txt"
    text.write_text("<script>alert(1)</script>")
    choose.set_input_files(text)
    expect(refused).to_be_visible()
    disguised = tmp_path / "notes.png"
    disguised.write_text("<script>alert(1)</script>")
    choose.set_input_files(disguised)
    page.get_by_text("no PNG, JPEG or WebP image").wait_for()
    expect(refused).to_be_hidden()
    assert not watch.complaints
