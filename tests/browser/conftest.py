"""A served run, a Chromium, and what watches its pages."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from waitress.server import create_server

from app import create_app
from tests.app.making import make_run

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what fails in a browser once more; `-rR` names what needed it.

    A busy machine delays pages beyond what a test can foresee. A steady fault of the page fails
    twice; a passing one may be among the names, which are to be looked at.
    """
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


def patient(page: Page) -> Page:
    """Wait longer than thirty seconds: two browsers may share two busy cores."""
    page.set_default_timeout(90_000)
    return page


@dataclass
class Watch:
    """What a page complained of and where it sent requests."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def over(self, page: Page) -> Page:
        patient(page).on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._request(request.url))
        page.on("response", self._response)
        return page

    def _console(self, message: object) -> None:
        if getattr(message, "type", "") == "error":
            self.complaints.append(getattr(message, "text", ""))

    def _response(self, response: object) -> None:
        if getattr(response, "status", 0) >= 400:
            self.complaints.append(f"{response.status} {response.url}")  # type: ignore[attr-defined]

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob"):
            self.hosts.add(parts.hostname or url)


#: Whether nothing is being fetched into the page and it stands as it stood two seconds ago.
#: Looking at a run that is written is not counted: it goes on as long as the page is open.
_SETTLED = """() => {
    const page = document.getElementById('page');
    const stands = [
        document.documentElement.scrollHeight,
        page.querySelectorAll('[data-dash-is-loading]:not([id^=progress])').length,
        page.querySelectorAll('*').length,
    ].join();
    if (window.stood !== stands) { window.stood = stands; window.stoodSince = Date.now(); }
    return stands.split(',')[1] === '0' && Date.now() - window.stoodSince > 2000;
}"""


def settle(page: Page) -> None:
    """Wait until a page stands still; one that looks at its run again never has an idle network."""
    page.wait_for_function(_SETTLED, polling=100)


@contextmanager
def served(root: Path, **given: Any) -> Iterator[str]:
    """Serve a run as users are served, by waitress on a free port."""
    server = create_server(create_app(root, **given).server, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a drawn run is served."""
    run = make_run(tmp_path_factory.mktemp("browser") / "run")
    with served(run.root) as address:
        yield address


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    yield chromium
    # Pages left open keep their connections, and waitress takes a hundred.
    for context in chromium.contexts:
        context.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()
