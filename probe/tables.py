"""Tables on disk: labeled arrays in Zarr, and data frames as CSV, Parquet, LaTeX or Markdown."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.schema import SCHEMA_VERSION

__all__ = [
    "cut_chunk",
    "export_frame",
    "from_disk",
    "missing_chunks",
    "open_table",
    "parsed",
    "plain",
    "save_table",
]

#: Attribute with the order of the variables, which Zarr does not preserve.
_ORDER = "variable_order"


#: Arrays that are written batch by batch where ``written`` says which; see `MapWriter`.
_GROWING = ("attribution", "by_channel", "value", "gap", "promised", "written")

#: Bytes of a chunk of a large variable: a row is read fast, and rows in sequence too.
_CHUNK = 2**20


def save_table(data: xr.Dataset, path: Path, large: Collection[str] = ()) -> None:
    """Write a labeled table as Zarr; an interrupted write leaves no partial table.

    Attributes that are not plain numbers or text are stored as JSON.

    Parameters
    ----------
    data : xarray.Dataset
        The table.
    path : pathlib.Path
        Where to write it.
    large : collection of str
        Variables that are read by rows: they are stored in chunks of some whole rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    attrs = {"schema_version": SCHEMA_VERSION, **{k: plain(v) for k, v in data.attrs.items()}}
    data = data.copy()
    for name in [name for name, array in data.variables.items() if array.dtype.kind == "U"]:
        # Zarr v3 supports only text of variable length.
        data[name] = data[name].astype(object)
    for variable in data.variables.values():
        # Variables read from another file would otherwise keep its chunks.
        variable.encoding.clear()
    attrs[_ORDER] = json.dumps([str(name) for name in data.variables])
    encoding = {name: {"chunks": _by_row(data[name])} for name in large if name in data}
    data.assign_attrs(attrs).to_zarr(
        partial,
        mode="w",
        zarr_format=3,
        consolidated=False,
        encoding=encoding,
        # Chunks of fill values, too, so that a missing chunk always means damage.
        write_empty_chunks=True,
    )
    # Renamed in one step: a partly removed table would be read as one with missing values.
    old = path.with_name(path.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _by_row(array: xr.DataArray) -> tuple[int, ...]:
    """Return chunks of whole rows, the first dimension."""
    n, *rest = array.shape
    row = array.dtype.itemsize * math.prod(rest)
    return max(1, min(n, _CHUNK // max(row, 1))), *(max(one, 1) for one in rest)


def missing_chunks(path: Path, skip: Collection[str] = ()) -> str:
    """Return the first array of a Zarr group with missing chunks, in words; "" if there is none.

    Zarr reads a missing chunk as fill values, without a word.

    Parameters
    ----------
    path : pathlib.Path
        Folder of the group.
    skip : collection of str
        Last parts of names of arrays that are not checked.
    """
    for file in sorted(path.rglob("zarr.json")):
        array = json.loads(file.read_text(encoding="utf-8"))
        if array["node_type"] != "array" or file.parent.name in skip:
            continue
        steps = array["chunk_grid"]["configuration"]["chunk_shape"]
        wanted = math.prod(-(-n // step) for n, step in zip(array["shape"], steps, strict=True))
        found = sum(len(files) for _, _, files in os.walk(file.parent / "c"))
        if not steps:
            found = int((file.parent / "c").is_file())
        if found < wanted:
            name = file.parent.relative_to(path).as_posix()
            return f"{name} has {found} of {wanted} chunks"
    return ""


def cut_chunk(path: Path) -> str:
    """Return the file of the first chunk of a Zarr group that cannot be decoded; "" if none."""
    group = zarr.open_group(path, mode="r")
    for name, array in sorted(group.members(max_depth=None)):
        if not isinstance(array, zarr.Array):
            continue
        for chunk in np.ndindex(
            *(-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True))
        ):
            try:
                array.get_block_selection(chunk) if chunk else array[...]
            except (OSError, ValueError, RuntimeError, TypeError):
                return "/".join((name, "c", *map(str, chunk)))
    return ""


def open_table(path: Path, *, lazy: bool = False) -> xr.Dataset:
    """Read a table that was written by `save_table`.

    Parameters
    ----------
    path : pathlib.Path
        Path of the table.
    lazy : bool, default False
        Whether to read arrays on access, for large tables, instead of loading them into memory.

    Raises
    ------
    StoreError
        If the table is missing, damaged, or of another schema version.
    """
    if not path.is_dir():
        raise StoreError(f"There is no table at {str(path)!r}. Run the step that computes it.")
    try:
        opened = xr.open_zarr(path, consolidated=False, chunks=None)
        lacking = missing_chunks(path, _GROWING if "written" in opened else ())
        data = _ordered(opened if lazy or lacking else opened.load())
    # A truncated chunk gives a RuntimeError in its decompressor.
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _damaged(path, error) from error
    if lacking:
        raise StoreError(
            f"The table {str(path)!r} is damaged ({lacking}). Remove it and compute it again."
        )
    version = data.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The table {str(path)!r} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}. Compute it again, or install the version that wrote it."
        )
    return data


@contextmanager
def from_disk(path: Path) -> Iterator[None]:
    """Say what is damaged where values of a table that was opened before are read only now.

    Parameters
    ----------
    path : pathlib.Path
        The table or store.

    Raises
    ------
    StoreError
        In place of what libraries raise, such as of a chunk that is cut off.
    """
    try:
        yield
    except ProbeError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    """Name the file that cannot be decoded, if it is one."""
    why = str(error)
    # What cannot even be listed keeps the first reason.
    with suppress(OSError, ValueError, KeyError, RuntimeError, TypeError):
        file = cut_chunk(path)
        why = f"the file {file} cannot be decoded: {error}" if file else why
    return StoreError(f"{str(path)!r} is damaged ({why}). Remove it and compute it again.")


def _ordered(data: xr.Dataset) -> xr.Dataset:
    """Return the table with its variables in their original order, or by name if unknown.

    Zarr lists arrays in the order of the file system, which would determine the columns of data
    frames made from the table.
    """
    noted = json.loads(data.attrs.pop(_ORDER, "[]"))
    places = {name: i for i, name in enumerate(noted)}
    names = sorted(data.variables, key=lambda name: (places.get(str(name), len(places)), str(name)))
    return data[names]


def plain(value: object) -> object:
    """Return an attribute as it is stored: plain values unchanged, others as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)


def parsed(value: object) -> object:
    """Return the original value of an attribute that `plain` may have converted to JSON."""
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
    """Write a GitHub-style Markdown table with right-aligned numbers."""
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
    """Return text escaped for one cell of a Markdown table."""
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
    """Write a data frame in the format of the suffix, and its provenance to a JSON file beside it.

    Parameters
    ----------
    frame : pandas.DataFrame
        Data to write, without the index.
    path : path
        Output file, with suffix ``.csv``, ``.parquet``, ``.tex`` (booktabs) or ``.md``.
    attrs : mapping, optional
        Provenance (fingerprints, crop rule, seed), written to ``<path>.json``.

    Returns
    -------
    pathlib.Path
        The output file.

    Raises
    ------
    UnknownNameError
        If the suffix is not one of these.
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
