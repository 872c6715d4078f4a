"""`MapWriter`: fills a preallocated file of maps, and goes on after an interruption."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from probe.errors import StoreError
from probe.schema import SCHEMA_VERSION
from probe.tables import plain

__all__ = ["MapWriter"]

#: Attributes that say whether two files hold the same maps; versions may differ.
LOOSE = ("versions", "relative_gap")


@dataclass(frozen=True)
class MapWriter:
    """Writes maps batch by batch, in whole chunks, each marked after it is written.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    group : zarr.Group
        Its root.
    chunk : int
        Images a chunk.
    """

    path: Path
    group: zarr.Group
    chunk: int

    @classmethod
    def begin(
        cls,
        path: Path,
        coords: Mapping[str, Any],
        size: int,
        channels: bool,
        attrs: Mapping[str, Any],
        chunk: int,
    ) -> MapWriter:
        """Preallocate a file, or go on with an interrupted one of the same maps.

        Raises
        ------
        StoreError
            If the folder holds something else or other maps, or cannot be made.
        """
        stored = {"schema_version": SCHEMA_VERSION, **{k: plain(v) for k, v in attrs.items()}}
        if path.suffix != ".zarr":
            raise StoreError(f"out={str(path)!r} was given; maps are written to a name in .zarr.")
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            _check_same(path, stored, list(map(str, coords["sample"])))
        else:
            _create(path, coords, size, channels, stored, chunk)
        group = zarr.open_group(path, mode="r+")
        return cls(path, group, int(group["attribution"].chunks[0]))  # type: ignore[union-attr]

    @property
    def missing(self) -> list[slice]:
        """Positions of the chunks that are not written."""
        written = self.read("written")
        starts = range(0, len(written), self.chunk)
        chunks = [slice(start, min(start + self.chunk, len(written))) for start in starts]
        return [where for where in chunks if not written[where].all()]

    def read(self, name: str) -> NDArray[Any]:
        """Read one array."""
        return np.asarray(self.group[name][:])  # type: ignore[index]

    def write(self, where: slice, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a batch of whole chunks; the mark comes last."""
        for name, values in arrays.items():
            if name in self.group:
                self.group[name][where] = values  # type: ignore[index]
        self.group["written"][where] = np.ones(where.stop - where.start, dtype=bool)  # type: ignore[index]

    def finish(self, relative_gap: float) -> None:
        """Note what all maps together say, once."""
        if "relative_gap" not in self.group.attrs:
            # JSON has no NaN that all readers know.
            known = relative_gap if math.isfinite(relative_gap) else None
            self.group.attrs["relative_gap"] = known


def _create(
    path: Path,
    coords: Mapping[str, Any],
    size: int,
    channels: bool,
    attrs: Mapping[str, Any],
    chunk: int,
) -> None:
    n = len(coords["sample"])
    data = xr.Dataset(coords=dict(coords), attrs=dict(attrs))
    for name in [k for k, v in data.variables.items() if v.dtype.kind == "U"]:
        data[name] = data[name].astype(object)
    partial = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        data.to_zarr(partial, mode="w", zarr_format=3, consolidated=False)
        group = zarr.open_group(partial, mode="r+")
        _array(group, "attribution", ("sample", "y", "x"), (n, size, size), chunk)
        if channels:
            axes = ("sample", "channel", "y", "x")
            _array(group, "by_channel", axes, (n, 3, size, size), chunk)
        _array(group, "value", ("sample",), (n,), chunk)
        for name in ("gap", "promised"):
            _array(group, name, ("sample",), (n,), chunk, "float64")
        _array(group, "written", ("sample",), (n,), chunk, "bool")
        if path.exists():
            path.rmdir()
        partial.rename(path)
    except OSError as error:
        raise StoreError(
            f"No maps can be written to {str(path)!r} ({error}). Choose a folder that can be "
            "written to."
        ) from error


def _array(
    group: zarr.Group,
    name: str,
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    chunk: int,
    dtype: str = "float32",
) -> None:
    group.create_array(
        name,
        shape=shape,
        chunks=(min(chunk, shape[0]), *shape[1:]),
        dtype=dtype,
        fill_value=False if dtype == "bool" else float("nan"),
        dimension_names=axes,
    )


def _check_same(path: Path, wanted: Mapping[str, Any], samples: list[str]) -> None:
    try:
        group = zarr.open_group(path, mode="r")
        found = dict(group.attrs)
        there = [str(name) for name in np.asarray(group["sample"][:])]  # type: ignore[index]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{str(path)!r} holds something that is no file of maps ({error}). Give another name."
        ) from error
    other = [key for key, value in wanted.items() if key not in LOOSE and found.get(key) != value]
    if other or there != samples:
        what = ", ".join(other) if other else "the samples"
        raise StoreError(
            f"{str(path)!r} holds maps that differ in {what}. Give another name, or remove it."
        )
