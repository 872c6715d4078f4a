"""`StoreWriter`: fill a preallocated store batch by batch, and resume after an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray

from probe.errors import StoreError
from probe.schema import SCHEMA_VERSION
from probe.store.reader import (
    BROKEN,
    KIND,
    MOMENTS,
    RESERVED,
    check_same,
    damaged,
    moments,
    plain,
    read_attrs,
)

__all__ = ["StoreWriter"]

#: How tables are written: chunks of fill values, too, so that a missing chunk means damage.
WHOLE: dict[str, Any] = {
    "mode": "w",
    "zarr_format": 3,
    "consolidated": False,
    "write_empty_chunks": True,
}


@dataclass(frozen=True)
class StoreWriter:
    """Writer of an activation store, batch by batch, that can resume an interrupted recording.

    A batch is one chunk of every array, so that only whole chunks are written. Its mark in
    ``written`` is written last: after an interruption, a batch is either complete or missing.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the store.
    group : zarr.Group
        Root group of the store.
    """

    path: Path
    group: zarr.Group

    @classmethod
    def begin(
        cls,
        path: Path,
        samples: pd.DataFrame,
        units: Mapping[str, int],
        attrs: Mapping[str, Any],
    ) -> StoreWriter:
        """Preallocate a store, or resume an interrupted recording of the same kind.

        Parameters
        ----------
        path : pathlib.Path
            Folder of the store.
        samples : pandas.DataFrame
            One row per sample, with the columns of `Samples`.
        units : mapping
            Tap to its number of units.
        attrs : mapping
            ``detector`` and ``dataset`` (each with ``name`` and ``fingerprint``), ``layers``
            (tap to module path), ``reducer``, ``dtype``, ``batch_size`` and any further attributes.

        Raises
        ------
        StoreError
            If the folder holds something else or another recording, or cannot be created.
        """
        stored = {"schema_version": SCHEMA_VERSION, "kind": KIND, **plain(attrs)}
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            check_same(path, read_attrs(path), stored)
            for rest in path.rglob("*.partial"):
                rest.unlink()
        else:
            try:
                with _whole(path, path.with_name(path.name + ".part")) as place:
                    _create(place, samples, units, {**stored, "complete": False})
            except OSError as error:
                raise StoreError(
                    f"No store can be created at {str(path)!r} ({error}). Choose a folder that "
                    "can be written to."
                ) from error
        try:
            return cls(path, zarr.open_group(path, mode="r+"))
        except BROKEN as error:
            raise damaged(path, error) from error

    @property
    def complete(self) -> bool:
        """Whether the recording is complete."""
        return bool(self.group.attrs["complete"])

    @property
    def batches(self) -> list[slice]:
        """Positions of all batches."""
        n, rows = self._array("written").shape[0], self._array("written").chunks[0]
        return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    @property
    def missing(self) -> list[slice]:
        """Positions of the batches that are not written yet."""
        try:
            written = np.asarray(self._array("written")[:])
        except BROKEN as error:
            raise damaged(self.path, error) from error
        return [where for where in self.batches if not written[where].all()]

    def write(self, where: slice, values: Mapping[str, NDArray[Any]], logits: NDArray[Any]) -> None:
        """Write one batch.

        Parameters
        ----------
        where : slice
            One of `batches`.
        values : mapping
            Tap to activations, shape (batch, units).
        logits : numpy.ndarray
            Shape (batch,).

        Raises
        ------
        StoreError
            If a value exceeds the range of the store's data type.
        """
        for layer, value in values.items():
            array = self._array(f"{layer}/activation")
            array[where] = _fitted(value, np.dtype(self.group.attrs["dtype"]), layer)  # type: ignore[arg-type]
        self._array("logit")[where] = logits
        self._array("written")[where] = True

    def read(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return written rows: activations by module path, and the logits under the key "".

        Parameters
        ----------
        rows : numpy.ndarray
            Positions of samples, in any order.
        """
        ordered, inverse = np.unique(rows, return_inverse=True)
        layers: Mapping[str, str] = self.group.attrs["layers"]  # type: ignore[assignment]
        places = {full: f"{layer}/activation" for layer, full in layers.items()} | {"": "logit"}
        out = {}
        for name, place in places.items():
            array = self._array(place)
            chunks = array.chunks[0]
            blocks = [
                np.asarray(array[start : start + chunks])[
                    ordered[(ordered >= start) & (ordered < start + chunks)] - start
                ]
                for start in np.unique(ordered // chunks) * chunks
            ]
            found = np.concatenate(blocks) if blocks else np.empty((0, *array.shape[1:]))
            out[name] = found[inverse]
        return out

    def finish(self) -> None:
        """Compute the moments in one pass over the chunks, and mark the store as complete."""
        root = xr.open_zarr(self.path, consolidated=False)
        datasets, labels = root["dataset"].values, root["label"].values
        for layer in self.group.attrs["layers"]:  # type: ignore[union-attr]
            array = self._array(f"{layer}/activation")
            blocks = ((where, np.asarray(array[where])) for where in self.batches)
            table = moments(datasets, labels, blocks, array.shape[1])
            target = self.path / str(layer) / MOMENTS
            with _whole(target, self.path.with_name(f"{self.path.name}.{MOMENTS}.part")) as place:
                table.to_zarr(place, **WHOLE)
        self.group.attrs["complete"] = True

    def _array(self, name: str) -> zarr.Array[Any]:
        found = self.group[name]
        assert isinstance(found, zarr.Array)
        # Chunks of fill values are written too, so that a missing chunk always means damage.
        return found.with_config({"write_empty_chunks": True})


@contextmanager
def _whole(target: Path, partial: Path) -> Iterator[Path]:
    """Yield a temporary folder to write to, and move it to its target when it is complete."""
    shutil.rmtree(partial, ignore_errors=True)
    yield partial
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _create(
    path: Path, samples: pd.DataFrame, units: Mapping[str, int], attrs: Mapping[str, Any]
) -> None:
    """Create an empty store."""
    nested = [layer for layer in units if "/" in layer]
    if nested:
        raise StoreError(
            f"Layer {nested[0]!r} has a slash in its name, which separates groups in a store. "
            "Rename the module."
        )
    n, rows = len(samples), int(attrs["batch_size"])
    _columns(samples, units).to_zarr(path, **WHOLE)
    root = zarr.open_group(path, mode="r+")
    root.attrs.update({**attrs, "columns": list(map(str, samples.columns))})
    for name, dtype, fill in (("logit", "float32", np.nan), ("written", "bool", False)):
        _allocate(root, name, {"sample": n}, rows, dtype, fill)
    for layer, width in units.items():
        group = root.create_group(layer)
        sizes = {"sample": n, "unit": width}
        _allocate(group, "activation", sizes, rows, attrs["dtype"], np.nan)
        unit = group.create_array("unit", shape=(width,), dtype="int64", dimension_names=["unit"])
        unit.with_config({"write_empty_chunks": True})[:] = np.arange(width)


def _allocate(
    group: zarr.Group, name: str, sizes: Mapping[str, int], rows: int, dtype: str, fill: float
) -> None:
    """Create an array whose chunks are whole batches."""
    shape = tuple(sizes.values())
    group.create_array(
        name,
        shape=shape,
        chunks=(rows, *shape[1:]),
        dtype=dtype,
        fill_value=fill,
        dimension_names=list(sizes),
    )


def _columns(samples: pd.DataFrame, layers: Iterable[str]) -> xr.Dataset:
    """Convert the sample table to variables: numbers unchanged, everything else as text."""
    if not len(samples):
        raise StoreError("The sample table has no row; a recording needs one sample or more.")
    taken = [name for name in samples.columns if name in {*RESERVED, *layers} or "/" in str(name)]
    if taken:
        raise StoreError(
            f"The sample table has columns {', '.join(map(repr, taken))}, which are reserved for "
            "the store or its layers, or contain a slash. Rename them."
        )
    return xr.Dataset({str(name): ("sample", _plain(column)) for name, column in samples.items()})


def _plain(column: pd.Series[Any]) -> NDArray[Any]:
    values = column.to_numpy()
    if values.dtype.kind in "biuf":
        return values
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)


def _fitted(value: NDArray[Any], dtype: np.dtype[Any], layer: str) -> NDArray[Any]:
    limit = float(np.finfo(dtype).max)
    largest = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
    if largest > limit:
        raise StoreError(
            f"Layer {layer!r} reaches {largest:g}; {dtype} holds at most {limit:g}. Record it "
            "with dtype='float32' in another folder."
        )
    return value.astype(dtype)
