"""Where a command writes: refused as it is parsed, before any work, and written at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe import report
from probe.errors import ProbeError, UnknownNameError

__all__ = ["DRAWN", "FOLDER", "FRAMES", "TABLES", "Output", "write_table"]

#: Formats of frames; of frames, or labeled arrays as Zarr; of figures.
FRAMES = (".csv", ".parquet", ".tex", ".md")
TABLES = (*FRAMES, ".zarr")
DRAWN = (".pdf", ".png", ".svg")


if TYPE_CHECKING:
    _Type = click.ParamType[Path]
else:
    # Not every version of click that is allowed has generic types.
    _Type = click.ParamType


class Output(_Type):
    """A file or folder that a command will write.

    Parameters
    ----------
    kind : str
        What it is called where its suffix names no format: "table format".
    formats : sequence of str
        Suffixes that a file may have; any for none. A folder has none.
    folder : bool, default False
        Whether it is a folder, or, with no formats, may be one.
    """

    name = "path"

    def __init__(self, kind: str = "", formats: tuple[str, ...] = (), folder: bool = False) -> None:
        self.kind, self.formats, self.folder = kind, formats, folder

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        """Return the path.

        Raises
        ------
        UnknownNameError
            If its suffix names no format.
        ProbeError
            If it cannot be written.
        """
        path = Path(value)
        if self.formats and path.suffix not in self.formats:
            raise UnknownNameError(self.kind, path.suffix or path.name, self.formats)
        # A table in Zarr is a folder, which a new one takes the place of.
        if not self.folder and path.suffix != ".zarr" and path.is_dir():
            raise ProbeError(f"{value!r} is a folder; give the name of a file.")
        self._require_writable(path)
        return path

    def _require_writable(self, path: Path) -> None:
        inside = path if self.folder and path.suffix != ".zarr" else path.parent
        # `exists` fails where it would have to look into a file.
        there = next(one for one in (inside, *inside.parents) if os.path.lexists(one))
        if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return
        why = "cannot be written to" if there.is_dir() else "is no folder"
        raise ProbeError(
            f"{str(path)!r} cannot be written: {str(there)!r} {why}. Choose another place."
        )


FOLDER = Output(folder=True)


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
