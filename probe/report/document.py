"""Self-contained HTML document of a run: blocks of text, tables and figures, and its PDF."""

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

#: Maximum size of a report in bytes.
LARGEST = 20_000_000

#: Names of Chromium-based browsers, and their locations on macOS and Windows outside the PATH.
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
    """A list of sentences, each with a leading subject, which may be empty."""

    rows: Sequence[tuple[str, str]]
    title: str = ""
    name: str = field(default="items", init=False)


@dataclass(frozen=True)
class Facts:
    """A list of names and values."""

    rows: Sequence[tuple[str, str]]
    name: str = field(default="facts", init=False)


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first `texts` columns hold words, the others numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    name: str = field(default="table", init=False)


@dataclass(frozen=True)
class Picture:
    """A figure: its image as a data URL, width in CSS pixels, alternative text and caption."""

    source: str
    width: int
    alt: str
    caption: str
    name: str = field(default="picture", init=False)


@dataclass(frozen=True)
class Verdict:
    """A claim of the study, with the verdict of the run."""

    claim: Claim
    name: str = field(default="verdict", init=False)


Block = Text | Items | Facts | Table | Picture | Verdict


@dataclass(frozen=True)
class Section:
    """A section: anchor (`key`), heading, blocks, and subsections (`parts`)."""

    key: str
    title: str
    blocks: Sequence[Block]
    parts: Sequence[Section] = ()


def render(title: str, head: Sequence[Block], sections: Sequence[Section], foot: str) -> str:
    """Render the report as HTML.

    Parameters
    ----------
    title : str
        Title of the page.
    head : sequence of blocks
        Blocks before the table of contents.
    sections : sequence of Section
        Sections of the report.
    foot : str
        Text of the footer.

    Raises
    ------
    ProbeError
        If the page is larger than `LARGEST` bytes.
    """
    # Names of datasets and detectors come from untrusted files: everything is escaped.
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
            f"The report would have {size / 1e6:.0f} MB; the limit is {LARGEST / 1e6:.0f} MB. "
            "Remove heatmaps from the folder `figures` of the run, and write the report again."
        )
    return text


#: Symbols of verdicts, so that color is not the only cue.
MARKS = {"supported": "✓", "not supported": "✕", "mixed": "≈", "cannot be said": "?"}


def spanned(value: Any, low: Any = np.nan, high: Any = np.nan, form: str = ".2f") -> str:
    """Format a value with its interval; a dash if there is no value."""
    if not np.isfinite(value):
        return "–"
    bounds = f" [{low:{form}}, {high:{form}}]" if np.isfinite(low) else ""
    return f"{value + 0.0:{form}}{bounds}".replace("-", "−")


def drawn(figure: Figure, alt: str, caption: str) -> Picture:
    """Return a figure as a picture: an SVG with embedded fonts."""
    from probe.plots import save_figure
    from probe.plots.text import EXACT

    if figure.get_layout_engine() is not None:
        # A figure with a layout engine has no margins to trim; trimming would draw it twice.
        figure.set_label(EXACT)
    with tempfile.TemporaryDirectory(prefix="probe-report-") as folder:
        content = save_figure(figure, Path(folder) / "figure.svg").read_bytes()
    points = re.search(rb'<svg[^>]*? width="([\d.]+)pt"', content)
    inches = float(points[1]) / 72 if points else 7.16
    return Picture(_address(content, "svg+xml"), round(inches * 120), alt, caption)


def stored(file: Path, alt: str, caption: str, most: int = 1500) -> Picture | None:
    """Return an image file as a picture, downscaled if it is wide; None if it cannot be read.

    Parameters
    ----------
    file : pathlib.Path
        Image file.
    alt, caption : str
        Alternative text and caption, as in `Picture`.
    most : int, default 1500
        Maximum width in pixels.
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
    """Convert an HTML file to PDF with Chromium.

    Parameters
    ----------
    page : pathlib.Path
        HTML file to convert.
    out : pathlib.Path
        PDF file to write.

    Raises
    ------
    ProbeError
        If no Chromium is found, or it fails.
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
            # No network access, whatever the file holds.
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
    """Return the path of a Chromium-based browser; raise `ProbeError` if there is none."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise ProbeError(
            "No Chromium was found, which is needed to write the PDF. Install Chromium, Chrome or "
            f"Edge so that it is on the PATH; or omit --pdf, open {str(page)!r} in any browser, "
            "and print it."
        )
    return browser


def _sandbox() -> list[str]:
    """Disable Chromium's sandbox for root on Linux (as in a container), where it cannot start."""
    root = sys.platform.startswith("linux") and os.geteuid() == 0
    return ["--no-sandbox"] if root else []
