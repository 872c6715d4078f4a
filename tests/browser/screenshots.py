"""Screenshots of all pages in both schemes: ``python -m tests.browser.screenshots RUN OUT``."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from waitress.server import create_server

from app import create_app

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

#: Page to its address and the height in pixels that is shown, from the top.
PAGES = {
    "overview": ("/", 1560),
    "neurons": ("/neurons", 2500),
    "separability": ("/separability?embedding=umap", 3000),
    "attribution": ("/attribution?images=missed", 2300),
    "artifacts": ("/artifacts?dataset=face2face", 2640),
    "compare": ("/compare?detector=mesoinception4/deep&other=mesoinception4/base", 2900),
    "sample": ("/sample", 2800),
}
WIDTH = 1280

#: Images below the window would otherwise be loaded only when they are scrolled to.
LOAD_ALL = """async () => {
  for (const image of document.images) image.loading = 'eager';
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
}"""


def take(run: Path, out: Path) -> list[Path]:
    """Write ``dashboard-<page>-<scheme>.png`` for each page and scheme."""
    out.mkdir(parents=True, exist_ok=True)
    server = create_server(create_app(run).server, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    address = f"http://127.0.0.1:{server.effective_port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        taken = [
            _take_one(
                browser, address + path, height, scheme, out / f"dashboard-{name}-{scheme}.png"
            )
            for name, (path, height) in PAGES.items()
            for scheme in ("light", "dark")
        ]
        browser.close()
    server.close()
    return taken


def _take_one(browser: Browser, address: str, height: int, scheme: str, file: Path) -> Path:
    page: Page = browser.new_page(
        viewport={"width": WIDTH, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(address)
    page.locator(".js-plotly-plot .main-svg, .matrix-cell").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.evaluate(LOAD_ALL)
    # Figures fade and grids settle for a moment after the last request.
    page.wait_for_timeout(1000)
    page.screenshot(path=file)
    page.close()
    return file


if __name__ == "__main__":
    for written in take(Path(sys.argv[1]), Path(sys.argv[2])):
        print(written)
