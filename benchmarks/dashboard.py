"""A large run in the dashboard: seconds of callbacks, bytes of answers, and memory of the server.

The run has 200,000 samples × 4,000 stored units of one detector, and tables of 20,000 units × 6
datasets of three. It is served by `probe dashboard`; visitors on the same machine ask what
browsers would ask. Times are from question to answer, so they hold the waiting for other visitors.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from waitress.server import create_server

from app import create_app
from benchmarks._dashboard_run import DETECTORS, LAYER, Size, write_run
from benchmarks._visitor import Asked, Visitor

#: Port, process and seconds until it answered.
Served = tuple[int, int, float]

FULL = Size(200_000, 4_000, 20_000, 6)
TINY = Size(600, 12, 40, 3)

#: What is asked for: seconds of the first page and of 95% of callbacks, bytes of an answer and
#: of the server's memory.
FIRST, USUAL, ANSWER, MEMORY = 2.0, 0.3, 2e6, 1.5e9
#: Text under the heatmap that follows the list of units.
_SHARES = "neurons-shares-text.children"
#: Seconds between two actions of a visitor, on average.
PAUSE = 1.0


@dataclass(frozen=True)
class Walked:
    """What some visitors at a time saw.

    Attributes
    ----------
    visitors : int
        How many.
    asked : list of Asked
        All callbacks.
    images : list of float
        Seconds of each thumbnail.
    """

    visitors: int
    asked: list[Asked]
    images: list[float]

    def quantile(self, q: float) -> float:
        """Seconds within which that share of the callbacks was answered."""
        return float(np.quantile([one.seconds for one in self.asked], q))


@dataclass
class Measured:
    """All figures.

    Attributes
    ----------
    size : Size
        Of the run.
    started : float
        Seconds until the server answered.
    first : float
        Seconds from the first question of the first visitor until its page was there.
    in_chromium : float
        The same in a real Chromium, from an address to the matrix drawn; NaN without one.
    arranged : float
        Seconds until the store was arranged by unit, which happens once.
    walks : list of Walked
        By number of visitors.
    memory : float
        Highest resident bytes of the server.
    """

    size: Size
    started: float = 0.0
    first: float = 0.0
    in_chromium: float = float("nan")
    arranged: float = 0.0
    walks: list[Walked] = field(default_factory=list)
    memory: float = 0.0

    @property
    def broken(self) -> list[str]:
        """Limits that do not hold."""
        found = []
        if max(self.first, np.nan_to_num(self.in_chromium)) > FIRST:
            found.append("first page")
        for walk in self.walks:
            if walk.quantile(0.95) > USUAL:
                found.append(f"95% of callbacks with {walk.visitors} visitors")
            if max(one.size for one in walk.asked) > ANSWER:
                found.append(f"bytes of an answer with {walk.visitors} visitors")
        return found + (["memory"] if self.memory > MEMORY else [])


def run(tiny: bool) -> None:
    """Measure and print."""
    show(measure(TINY, (2,), pause=0.0, apart=False) if tiny else measure(FULL, (1, 8)))


def measure(
    size: Size, visitors: tuple[int, ...], pause: float = PAUSE, apart: bool = True
) -> Measured:
    """Write a run, serve it and walk through it; apart: in a process of its own, as users do."""
    with tempfile.TemporaryDirectory(prefix="probe-dashboard-") as folder:
        root = Path(folder) / "run"
        write_run(root, size)
        found = Measured(size)
        serve = served(root, Path(folder) / "cache") if apart else served_here(root)
        with serve as (port, pid, started):
            found.started = started
            visitor = Visitor(port)
            began = time.perf_counter()
            visitor.open("/")
            found.first = time.perf_counter() - began
            if apart:
                found.in_chromium = in_chromium(port)
            found.arranged = wait_for_units(visitor)
            for number in visitors:
                found.walks.append(walk(port, number, size, pause))
            found.memory = resident(pid)
    return found


@contextmanager
def served(root: Path, cache: Path) -> Iterator[Served]:
    """Serve a run as users do; give the port, the process, and the seconds that it took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "probe", "dashboard", str(root), "--port", str(port)],
        env={**os.environ, "PROBE_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - began > 120:
                    raise RuntimeError("The dashboard did not start.") from None
                time.sleep(0.05)
        yield port, process.pid, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def served_here(root: Path) -> Iterator[Served]:
    """Serve a run by a thread of this process, which is soon there."""
    server = create_server(create_app(root).server, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield server.effective_port, os.getpid(), 0.0
    finally:
        server.close()


def in_chromium(port: int) -> float:
    """Open the first page in a Chromium that was never there; NaN where there is none."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return float("nan")
    if not chromium:
        return float("nan")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        began = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator(".matrix-cell").first.wait_for()
        took = time.perf_counter() - began
        browser.close()
    return took


def wait_for_units(visitor: Visitor) -> float:
    """Ask for a unit's images until the store is arranged by unit."""
    began = time.perf_counter()
    visitor.open("/neurons", "?unit=1")
    while "arranged by unit" in str(visitor.card("unit-images")):
        time.sleep(0.5)
        visitor.draw("unit-images")
    return time.perf_counter() - began


def walk(port: int, visitors: int, size: Size, pause: float) -> Walked:
    """Let some visitors walk at the same time, each its own way."""
    walkers = [Visitor(port) for _ in range(visitors)]
    images: list[float] = []
    errors: list[Exception] = []

    def go(number: int) -> None:
        try:
            images.extend(_walk(walkers[number], np.random.default_rng(number), size, pause))
        except Exception as error:  # told by the caller, not lost with the thread
            errors.append(error)

    threads = [threading.Thread(target=go, args=(i,)) for i in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Walked(visitors, [one for each in walkers for one in each.asked], images)


def _walk(visitor: Visitor, rng: np.random.Generator, size: Size, pause: float) -> list[float]:
    """Look at every page as an analyst would, and at things that others do not look at."""
    images: list[float] = []
    detector = f"detector={DETECTORS[0]}"

    def rest() -> None:
        time.sleep(float(rng.exponential(pause)) if pause else 0.0)

    visitor.open("/")
    for metric in ("ap", "eer"):
        rest()
        visitor.change(metric=metric)
    visitor.open("/neurons")
    for request in _requests(rng, size):
        rest()
        given = {"neurons-of.data": DETECTORS[0], "neurons-units.getRowsRequest": request}
        order = {name: request[name] for name in ("sortModel", "filterModel")}
        given |= {"neurons-order.data": order, "url.search": "?unit=1"}
        for output in ("neurons-units.getRowsResponse", "neurons-marked.data", _SHARES):
            visitor.ask(output, given)
    for _ in range(5):
        rest()
        unit = int(rng.integers(size.stored))
        visitor.change(unit=unit)
        images += visitor.images(12)
    rest()
    visitor.open("/neurons", f"?detector={DETECTORS[1 + int(rng.integers(2))]}")
    visitor.open("/separability", f"?{detector}&layer={LAYER}")
    for embedding, color in (("umap", "dataset"), ("tsne", "score"), ("pca", "unit")):
        rest()
        query = f"?{detector}&layer={LAYER}&embedding={embedding}&color={color}"
        visitor.open("/separability", f"{query}&unit={int(rng.integers(size.stored))}")
    for layer in ("stage1", "stage2"):
        rest()
        visitor.open("/separability", f"?{detector}&layer={layer}")
    for name in size.names[:3]:
        rest()
        visitor.open("/artifacts", f"?{detector}&dataset={name}&unit={int(rng.integers(4))}")
    for path in ("/attribution", "/compare", "/sample"):
        rest()
        visitor.open(path, f"?{detector}")
    return images


def _requests(rng: np.random.Generator, size: Size) -> list[dict[str, Any]]:
    """Ask as the grid does for its first rows, further ones, sorted, filtered."""
    start = 100 * int(rng.integers(max(1, size.units // 100)))
    mean = [{"colId": "mean_effect", "sort": "desc"}]
    two = [{"colId": "n_datasets", "sort": "desc"}, {"colId": "e1", "sort": "asc"}]
    some = {"filterType": "number", "type": "greaterThan", "filter": float(rng.uniform(0, 2))}
    either = {"filterType": "number", "operator": "OR", "conditions": [some, {"type": "blank"}]}
    base: dict[str, Any] = {"startRow": 0, "endRow": 100, "sortModel": [], "filterModel": {}}
    return [
        base,
        base | {"startRow": start, "endRow": start + 100},
        base | {"sortModel": mean},
        base | {"sortModel": two, "filterModel": {"e0": some, "q": either}},
        base | {"sortModel": two, "startRow": start, "endRow": start + 100},
    ]


def resident(pid: int) -> float:
    """Highest resident bytes of a process so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def show(found: Measured) -> None:
    """Print what visitors waited for, what they got, and the limits."""
    size = found.size
    console = Console(width=110)
    table = Table(
        title=f"{size.samples:,} samples × {size.stored:,} stored units; tables of {size.units:,} "
        f"units × {size.datasets} datasets for {len(DETECTORS)} detectors"
    )
    for heading in ("visitors", "callbacks", "median", "95%", "longest", "largest", "thumbnail"):
        table.add_column(heading, justify="right")
    for walk in found.walks:
        table.add_row(
            str(walk.visitors),
            f"{len(walk.asked):,}",
            *(f"{1e3 * walk.quantile(q):,.0f} ms" for q in (0.5, 0.95, 1)),
            f"{max(one.size for one in walk.asked) / 1e6:.2f} MB",
            f"{1e3 * float(np.median(walk.images or [np.nan])):.0f} ms",
        )
    console.print(table)
    console.print(_slowest(found))
    console.print(
        f"first page {found.first:.2f} s, in Chromium {found.in_chromium:.2f} s; started in "
        f"{found.started:.1f} s; arranged by unit in {found.arranged:.1f} s; memory "
        f"{found.memory / 1e6:,.0f} MB"
    )
    ratio = max(walk.quantile(0.95) for walk in found.walks) / USUAL
    said = f"beyond the limits: {', '.join(found.broken)}" if found.broken else "all limits hold"
    console.print(f"95% of callbacks take {ratio:.2f} of the limit (ratio); {said}")


def _slowest(found: Measured, most: int = 15) -> Table:
    """List the callbacks that took longest with the most visitors."""
    by_name: dict[tuple[str, str], list[Asked]] = {}
    for one in found.walks[-1].asked:
        by_name.setdefault((one.page, one.what), []).append(one)
    rows = sorted(by_name.items(), key=lambda item: -_usual(item[1]))[:most]
    table = Table(title=f"slowest with {found.walks[-1].visitors} visitors")
    for heading in ("page", "callback", "calls", "median", "95%", "largest"):
        table.add_column(heading, justify="left" if heading in ("page", "callback") else "right")
    for (page, what), calls in rows:
        middle = float(np.median([one.seconds for one in calls]))
        table.add_row(
            page,
            what,
            str(len(calls)),
            f"{1e3 * middle:,.0f} ms",
            f"{1e3 * _usual(calls):,.0f} ms",
            f"{max(one.size for one in calls) / 1e3:,.0f} kB",
        )
    return table


def _usual(calls: list[Asked]) -> float:
    return float(np.quantile([one.seconds for one in calls], 0.95))


if __name__ == "__main__":
    # With --check, a limit that does not hold is an error.
    measured = measure(FULL, (1, 8))
    show(measured)
    sys.exit(bool(measured.broken) and "--check" in sys.argv[1:])
