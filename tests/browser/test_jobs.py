"""A long computation in a real Chromium: started, watched, reloaded and cancelled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.pages import neurons
from tests.app.faking import fake_jobs, starts
from tests.app.making import DETECTORS, make_run
from tests.app.scoring import card_weights
from tests.browser.conftest import Watch, served

pytestmark = pytest.mark.browser


def test_a_job_is_followed_over_a_reload_and_cancelled(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_run(tmp_path / "run", reports=False)
    card_weights(made.root, *DETECTORS)
    jobs = fake_jobs(tmp_path / "jobs", seconds=600)
    monkeypatch.setattr("app.card.jobs_of", lambda run: jobs)
    monkeypatch.setattr(neurons, "jobs_of", lambda run: jobs)
    watch = Watch()
    with served(made.root) as address:
        page = watch.over(browser.new_page(viewport={"width": 1280, "height": 800}))
        page.goto(f"{address}/neurons")
        start = page.get_by_role("button", name="Take them out")
        cancel = page.get_by_role("button", name="Cancel")
        card = page.locator("section.taken-out")
        card.get_by_text("Not computed yet").wait_for()
        field = card.get_by_label("Set of units")
        field.fill("7")
        field.press("Enter")
        page.wait_for_url(re.compile(r"units=0%2C3%2C6%2C9%2C7"))
        room = card.locator(".job-room")
        # The card may be drawn anew at this moment.
        found = page.wait_for_function(
            "() => document.querySelector('.taken-out .job-room')?.getBoundingClientRect().height"
        )
        height = found.json_value()

        expect(start).to_be_enabled()
        start.click()
        bar = room.get_by_role("progressbar")
        bar.wait_for()
        expect(room).to_contain_text(re.compile(r"\d+ of 600 · .+/s · .+ left"))
        before = int(bar.get_attribute("aria-valuenow") or 0)
        expect(bar).not_to_have_attribute("aria-valuenow", str(before), timeout=8000)
        assert (room.bounding_box() or {})["height"] == height

        # Nothing of it hangs on this page.
        page.reload()
        bar.wait_for()
        cancel.click()
        room.get_by_text("Cancelled").wait_for()
        expect(start).to_be_enabled()
        assert len(starts(jobs.root)) == 1
        # The server is alive and the rest of the page works on.
        page.locator(".gallery-row").first.wait_for()
        page.goto(f"{address}/")
        page.get_by_role("heading", name="A drawn run").wait_for()
    assert not watch.complaints and watch.hosts == {"127.0.0.1"}
