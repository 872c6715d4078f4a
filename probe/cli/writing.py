"""Writing what a command found, in the format that ``--out`` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probe import report
from probe.errors import UnknownNameError

__all__ = ["FORMATS", "check_out", "write_table"]

#: Frames, and labelled arrays as Zarr.
FORMATS = (".csv", ".parquet", ".tex", ".md", ".zarr")


def check_out(out: Path | None) -> None:
    """Raise `UnknownNameError` for a format that is not known, before minutes of work."""
    if out is not None and out.suffix not in FORMATS:
        raise UnknownNameError("table format", out.suffix or out.name, FORMATS)


def write_table(found: Any, out: Path | None, end: str = "") -> None:
    """Write a table, and say where; `end` is added to the file's name."""
    if out is None:
        return
    place = out.with_name(f"{out.stem}{end}{out.suffix}")
    if place.suffix == ".zarr":
        found.save(place)
    else:
        found.export(place)
    report.written(place)
