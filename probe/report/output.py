"""`write_report`: the HTML report of a run."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console

from probe.claims import Claim, judge_tables
from probe.errors import ProbeError
from probe.joint import joint_tables
from probe.report.document import find_browser, print_pdf, render
from probe.report.sections import Material, head_of, sections_of
from probe.run import RunFolder

__all__ = ["out", "plain", "write_document", "write_report"]


def write_report(
    run: RunFolder | str | Path, out: str | Path | None = None, *, pdf: bool = False
) -> Path:
    """Write the report of a run as one self-contained HTML file.

    The report states the question, what was run, the study's three claims with verdicts, the
    analyses behind them, the audit of the data, the limits of the run, and its provenance. What an
    unfinished run lacks, and analyses that were not requested, are listed as missing.

    Parameters
    ----------
    run : RunFolder or path
        Run to report; nothing else in it is changed.
    out : path, optional
        HTML file to write; ``report.html`` in the run by default.
    pdf : bool, default False
        Whether to also write a PDF beside the HTML file; needs Chromium, Chrome or Edge.

    Returns
    -------
    pathlib.Path
        The HTML file, or the PDF.

    Raises
    ------
    StoreError
        If the folder is not a run, or a table is damaged.
    ProbeError
        If the file cannot be written, or no Chromium is found for the PDF.

    Examples
    --------
    >>> import probe
    >>> probe.write_report("runs/demo", "report.html").name
    'report.html'
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run))
    manifest = folder.read_manifest()
    place = folder.report if out is None else Path(out)
    if place.suffix not in (".html", ".htm"):
        raise ProbeError(f"{str(place)!r} was given; a report is an HTML file: name it .html.")
    if pdf:
        find_browser(place)
    tables = joint_tables(folder)
    claims = judge_tables(tables, manifest.get("detectors", []), manifest.get("layers", {}))
    write_document(folder, tables, claims, place)
    return print_pdf(place, place.with_suffix(".pdf")) if pdf else place


def write_document(
    folder: RunFolder, tables: Mapping[str, pd.DataFrame], claims: tuple[Claim, ...], place: Path
) -> Path:
    """Write the report of a run from its joint tables and claims; see `write_report`."""
    material = Material(folder, tables, claims)
    title = str(folder.read_manifest().get("title", "Run"))
    made = f"Made by probe {importlib.metadata.version('deepfake-probe')}."
    text = render(title, head_of(material), sections_of(material), made)
    partial = place.with_name(place.name + ".part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(place)
    except OSError as error:
        raise ProbeError(
            f"The report cannot be written to {str(place)!r} ({error.strerror}). Choose a writable "
            "folder."
        ) from error
    return place


def out() -> Console:
    """Return the console for reports on stdout."""
    console = Console(soft_wrap=True)
    # In a log file or a pipe, tables truncated at 80 columns would lose numbers.
    return console if console.is_terminal else Console(soft_wrap=True, width=160)


def plain(text: str) -> str:
    """Escape brackets, which rich would read as markup."""
    return text.replace("[", r"\[")
