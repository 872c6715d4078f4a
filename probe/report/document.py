"""One self-contained HTML file of a run: blocks of text, tables and figures, and its PDF."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from probe.errors import ProbeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probe.claims import Claim

__all__ = [
    "LARGEST",
    "Facts",
    "Items",
    "Picture",
    "Section",
    "Table",
    "Text",
    "Verdict",
    "drawn",
    "find_browser",
    "print_pdf",
    "render",
    "spanned",
    "stored",
]

#: Bytes that a report may have.
LARGEST = 20_000_000

#: Names of a Chromium, and where macOS and Windows keep one that is on no path.
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


@dataclass(frozen=True)
class Text:
    """A paragraph; ``kind`` is "", "note", "missing" or "small"."""

    text: str
    kind: str = ""
    name: str = field(default="text", init=False)


@dataclass(frozen=True)
class Items:
    """A list of sentences, each with what it is of in front, which may be empty."""

    rows: Sequence[tuple[str, str]]
    title: str = ""
    name: str = field(default="items", init=False)


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: Sequence[tuple[str, str]]
    name: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first `texts` columns are words, the others numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    name: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A figure as a data address, its width in CSS pixels, what it shows in words, its caption."""

    source: str
    width: int
    alt: str
    caption: str
    name: str = field(default="picture", init=False)


@dataclass(frozen=True)
class Verdict:
    """What the study claims, and what the run says of it."""

    claim: Claim
    name: str = field(default="verdict", init=False)


Block = Text | Items | Facts | Table | Picture | Verdict


@dataclass(frozen=True)
class Section:
    """A heading with an address, and what stands under it; parts are sections of their own."""

    key: str
    title: str
    blocks: Sequence[Block]
    parts: Sequence[Section] = ()


def render(title: str, head: Sequence[Block], sections: Sequence[Section], foot: str) -> str:
    """Write the page.

    Parameters
    ----------
    title : str
        Of the page.
    head : sequence of blocks
        What stands before the table of contents.
    sections : sequence of Section
        The rest.
    foot : str
        Last line.

    Raises
    ------
    ProbeError
        If it is larger than `LARGEST` bytes.
    """
    # Names of datasets and detectors come from files of others: everything is escaped.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("probe.report").joinpath("document.html").read_text("utf-8")
    text = environment.from_string(source).render(
        title=title, head=head, sections=sections, foot=foot, marks=MARKS
    )
    size = len(text.encode())
    if size > LARGEST:
        raise ProbeError(
            f"The report would have {size / 1e6:.0f} MB, and {LARGEST / 1e6:.0f} MB are the most. "
            "Remove figures of heatmaps from the run's folder figures, and make it again."
        )
    return text


#: Verdicts with a sign, so that none is told by color alone.
MARKS = {"supported": "✓", "not supported": "✕", "mixed": "≈", "cannot be said": "?"}


def spanned(value: Any, low: Any = np.nan, high: Any = np.nan, form: str = ".2f") -> str:
    """Write a value with its interval; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    bounds = f" [{low:{form}}, {high:{form}}]" if np.isfinite(low) else ""
    return f"{value + 0.0:{form}}{bounds}".replace("-", "−")


def drawn(figure: Figure, alt: str, caption: str) -> Picture:
    """Take a figure as an SVG with the fonts that it needs."""
    from probe.figures import save_figure
    from probe.figures.layout import EXACT

    if figure.get_layout_engine() is not None:
        # It has no margins to cut, which would draw it twice.
        figure.set_label(EXACT)
    with tempfile.TemporaryDirectory(prefix="probe-report-") as folder:
        content = save_figure(figure, Path(folder) / "figure.svg").read_bytes()
    points = re.search(rb'<svg[^>]*? width="([\d.]+)pt"', content)
    inches = float(points[1]) / 72 if points else 7.16
    return Picture(_address(content, "svg+xml"), round(inches * 120), alt, caption)


def stored(file: Path, alt: str, caption: str, most: int = 1500) -> Picture | None:
    """Take an image file, made narrower where it is wide; None where it cannot be read.

    Parameters
    ----------
    file : pathlib.Path
        The file.
    alt, caption : str
        As in `Picture`.
    most : int, default 1500
        Largest width in pixels.
    """
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if image.width > most:
        image = image.resize((most, round(image.height * most / image.width)))
    content = io.BytesIO()
    image.save(content, "WEBP", quality=88, method=4)
    return Picture(_address(content.getvalue(), "webp"), min(most, 790), alt, caption)


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def print_pdf(page: Path, out: Path) -> Path:
    """Print a page as PDF by a Chromium.

    Parameters
    ----------
    page : pathlib.Path
        The HTML file.
    out : pathlib.Path
        The PDF.

    Raises
    ------
    ProbeError
        If there is no Chromium, or it fails.
    """
    browser = find_browser(page)
    partial = out.with_name(out.name + ".part")
    with tempfile.TemporaryDirectory(prefix="probe-pdf-") as profile:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            "--disable-background-networking",
            "--disable-sync",
            # Nothing outside the file is asked for, whatever it holds.
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--print-to-pdf={partial.resolve()}",
            *_sandbox(),
            page.resolve().as_uri(),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=180)
            failed = done.returncode != 0 or not partial.is_file()
            why = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        except (OSError, subprocess.TimeoutExpired) as error:
            failed, why = True, [str(error).splitlines()[0]]
    if failed:
        partial.unlink(missing_ok=True)
        raise ProbeError(
            f"{Path(browser).name} did not print the report ({why[0][:200]}). Open "
            f"{str(page)!r} in a browser and print it."
        )
    partial.replace(out)
    return out


def find_browser(page: Path) -> str:
    """Return the path of a Chromium that prints; `ProbeError`, with the remedy, where none is."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ProbeError(
            "No Chromium was found, which prints the report as PDF. Install Chromium, Chrome or "
            f"Edge so that it is on the PATH; or leave --pdf out, open {str(page)!r} in any "
            "browser, and print it."
        )
    return browser


def _sandbox() -> list[str]:
    """Chromium's sandbox does not start for the superuser of Linux, such as in a container."""
    root = sys.platform.startswith("linux") and os.geteuid() == 0
    return ["--no-sandbox"] if root else []
