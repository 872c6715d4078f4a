"""Tables on disk: labeled arrays in Zarr, and frames as CSV, Parquet, LaTeX or Markdown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

import pandas as pd
import xarray as xr

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.schema import SCHEMA_VERSION

__all__ = ["export_frame", "open_table", "parsed", "plain", "save_table"]

#: Attribute of a stored group that holds the order of its variables, which Zarr does not keep.
_ORDER = "variable_order"


def save_table(data: xr.Dataset, path: Path) -> None:
    """Write a labeled table as Zarr; the path holds the old table or the new one, never half.

    Attributes that are no plain numbers or text are stored as JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    attrs = {"schema_version": SCHEMA_VERSION, **{k: plain(v) for k, v in data.attrs.items()}}
    data = data.copy()
    for name in [name for name, array in data.variables.items() if array.dtype.kind == "U"]:
        # Zarr v3 specifies text of variable length only.
        data[name] = data[name].astype(object)
    for variable in data.variables.values():
        # What was read from another file would otherwise bring that file's chunks along.
        variable.encoding.clear()
    attrs[_ORDER] = json.dumps([str(name) for name in data.variables])
    data.assign_attrs(attrs).to_zarr(partial, mode="w", zarr_format=3, consolidated=False)
    # Out of the way in one step: half a removed table would read as one with missing values.
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def open_table(path: Path, *, lazy: bool = False) -> xr.Dataset:
    """Read a table that `save_table` wrote, wholly into memory.

    Parameters
    ----------
    path : pathlib.Path
        Where.
    lazy : bool, default False
        Read arrays from disk as parts of them are asked for, for those that are too large.

    Raises
    ------
    StoreError
        If it is missing, damaged, or of another schema version.
    """
    if not path.is_dir():
        raise StoreError(f"There is no table at {str(path)!r}. Run the step that computes it.")
    try:
        opened = xr.open_zarr(path, consolidated=False, chunks=None)
        data = _ordered(opened if lazy else opened.load())
    # A chunk that is cut off is a RuntimeError of its decompressor.
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise StoreError(
            f"The table {str(path)!r} is damaged ({error}). Remove it and compute it again."
        ) from error
    version = data.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The table {str(path)!r} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}. Compute it again, or install the version that wrote it."
        )
    return data


def _ordered(data: xr.Dataset) -> xr.Dataset:
    """Return the variables in the order in which they were written; where unknown, by name.

    Zarr lists a group's arrays in whatever order the file system does, and columns of frames that
    are made of the table would follow it.
    """
    noted = json.loads(data.attrs.pop(_ORDER, "[]"))
    places = {name: i for i, name in enumerate(noted)}
    names = sorted(data.variables, key=lambda name: (places.get(str(name), len(places)), str(name)))
    return data[names]


def plain(value: object) -> object:
    """Return an attribute as it is stored: plain values as they are, others as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)


def parsed(value: object) -> object:
    """Return what an attribute meant before `plain` stored it as JSON."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _to_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _to_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


def _to_latex(frame: pd.DataFrame, path: Path) -> None:
    text = frame.to_latex(index=False, escape=True, float_format="%.3f", na_rep="--")
    path.write_text(text, encoding="utf-8")


def _to_markdown(frame: pd.DataFrame, path: Path) -> None:
    """Write a table of pipes, as GitHub reads it; numbers to the right."""
    columns = [(name, pd.api.types.is_numeric_dtype(frame[name])) for name in frame.columns]
    rows = [[str(name) for name, _ in columns], ["--:" if right else "---" for _, right in columns]]
    rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    lines = ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    """Return text that stays within one cell of a table of pipes."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": _to_csv,
    ".parquet": _to_parquet,
    ".tex": _to_latex,
    ".md": _to_markdown,
}


def export_frame(
    frame: pd.DataFrame, path: str | Path, attrs: Mapping[Hashable, object] | None = None
) -> Path:
    """Write a frame in the format that the suffix names, and its provenance beside it.

    Parameters
    ----------
    frame : pandas.DataFrame
        What to write; its index is left out.
    path : path
        Ends in ``.csv``, ``.parquet``, ``.tex`` (booktabs) or ``.md`` (a table of pipes).
    attrs : mapping, optional
        Provenance (fingerprints, crop rule, seed), written to ``<path>.json``.

    Returns
    -------
    pathlib.Path
        Where it was written.

    Raises
    ------
    UnknownNameError
        If the suffix names no format.
    ProbeError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in _WRITERS:
        raise UnknownNameError("table format", path.suffix or path.name, _WRITERS)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[path.suffix](frame, partial)
        if attrs:
            text = json.dumps({str(k): parsed(v) for k, v in attrs.items()}, indent=2, default=str)
            path.with_name(path.name + ".json").write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ProbeError(
            f"The table cannot be written to {str(path)!r} ({error}). Choose a folder that can "
            "be written to."
        ) from error
    return path
