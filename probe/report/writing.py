"""`write_report`: a run told in one file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from probe.claims import Claim, judge_tables
from probe.errors import ProbeError
from probe.joint import joint_tables
from probe.report.document import find_browser, print_pdf, render
from probe.report.sections import Material, head_of, sections_of
from probe.run import RunFolder

__all__ = ["write_document", "write_report"]


def write_report(
    run: RunFolder | str | Path, out: str | Path | None = None, *, pdf: bool = False
) -> Path:
    """Write what a run found as one HTML file that needs nothing else.

    The question, what was run, the study's three claims with verdicts, why, what to know of the
    data, what the run cannot say, and where it comes from. Runs that are not finished, and parts
    that were not asked for, are said to be missing.

    Parameters
    ----------
    run : RunFolder or path
        The run; only read, but for the report in it.
    out : path, optional
        Where; ``report.html`` in the run by default.
    pdf : bool, default False
        Also print it as PDF beside the HTML file, by a Chromium.

    Returns
    -------
    pathlib.Path
        The HTML file, or the PDF.

    Raises
    ------
    StoreError
        If the folder is no run, or a table is damaged.
    ProbeError
        If the file cannot be written, or there is no Chromium for the PDF.

    Examples
    --------
    >>> write_report("runs/demo")
    PosixPath('runs/demo/report.html')
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
    """Write the report of a run whose joint tables and claims are at hand; see `write_report`."""
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
            f"The report cannot be written to {str(place)!r} ({error.strerror}). Choose a folder "
            "that can be written to."
        ) from error
    return place
