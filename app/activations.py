"""One unit's activations on all samples, read fast although stores lie sample by sample."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from app.queries.arranging import arranged
from app.run import Run
from probe.errors import StoreError, UnknownNameError
from probe.reader import stamp_of
from probe.tables import from_disk

__all__ = ["column", "rows_by_unit", "stored_units"]

Floats32 = NDArray[np.float32]

#: Columns that stay in memory, in bytes in all.
KEPT = 64 << 20
#: Stores of at most so many bytes are read as they are; a pass over them takes no time.
SMALL = 48 << 20
#: Bytes that `rows_by_unit` reads at once.
BLOCK = 24 << 20


@dataclass(frozen=True)
class Tap:
    """An array of activations on disk.

    Attributes
    ----------
    store : pathlib.Path
        The activation store.
    stamp : int
        When it was written.
    name : str
        Group of the tap in it.
    array : zarr.Array
        Activations, shape (sample, unit).
    units : numpy.ndarray
        Numbers of the units, shape (unit,).
    """

    store: Path
    stamp: int
    name: str
    array: zarr.Array[Any]
    units: NDArray[np.int64]


class _Kept:
    """Arrays by key, the ones used last, up to a number of bytes in all."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._found: OrderedDict[object, Floats32] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: object) -> Floats32 | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: object, value: Floats32) -> None:
        with self._lock:
            old = self._found.pop(key, None)
            self._bytes += value.nbytes - (0 if old is None else old.nbytes)
            self._found[key] = value
            while self._bytes > self._most and len(self._found) > 1:
                self._bytes -= self._found.popitem(last=False)[1].nbytes


_COLUMNS = _Kept(KEPT)


def column(run: Run, label: str, layer: str, unit: int) -> Floats32:
    """Return a unit's activations on all samples of a detector's store, not to be written to.

    Parameters
    ----------
    run : Run
        What holds the store.
    label, layer : str
        Detector and tap.
    unit : int
        Unit of the tap.

    Returns
    -------
    numpy.ndarray
        Shape (sample,), in the order of the store's sample table.

    Raises
    ------
    UnknownNameError
        If the layer was not recorded.
    StoreError
        If the store lacks the unit.
    ArrangingError
        While a large store is being arranged by unit, which begins with the first call.
    """
    tap = _tap_of(run, label, layer)
    place = int(np.searchsorted(tap.units, unit))
    if place >= len(tap.units) or tap.units[place] != unit:
        raise StoreError(
            f"The activation store of {label} holds {len(tap.units)} units of {layer!r}, and "
            f"unit {unit} is not among them. Record the layer again."
        )
    key = (tap.store, tap.stamp, tap.name, place)
    found = _COLUMNS.get(key)
    if found is None:
        found = _read(tap, place)
        found.flags.writeable = False
        _COLUMNS.put(key, found)
    return found


def stored_units(run: Run, label: str, layer: str) -> NDArray[np.int64]:
    """Return the numbers of the units that a detector's store holds of a layer.

    Raises
    ------
    UnknownNameError
        If the layer was not recorded.
    """
    return _tap_of(run, label, layer).units


def rows_by_unit(
    run: Run,
    label: str,
    layer: str,
    rows: NDArray[np.int64],
    places: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[Any]]:
    """Read some samples' activations of many units, a block of units at a time.

    Parameters
    ----------
    run, label, layer : Run, str, str
        As of `column`, as are the errors.
    rows : numpy.ndarray
        Positions of the samples in the store.
    places : numpy.ndarray, optional
        Positions of the units in `stored_units`; all if not given.

    Yields
    ------
    numpy.ndarray
        Shape (rows, units of the block), in the order of `places`.
    """
    tap = _tap_of(run, label, layer)
    array, n = tap.array, tap.array.shape[0]
    copy = None
    if array.nbytes > SMALL:
        copy = arranged(array, (str(tap.store), tap.stamp, tap.name))
    if copy is None:
        with from_disk(tap.store):
            found = _rows_of_chunks(array, rows, slice(None) if places is None else places)
        yield found
        return
    dtype = np.dtype(array.dtype)
    if places is None:
        width = max(1, BLOCK // (n * dtype.itemsize))
        for start in range(0, len(tap.units), width):
            units = min(width, len(tap.units) - start)
            found = np.fromfile(copy, dtype, units * n, offset=start * n * dtype.itemsize)
            yield found.reshape(units, n)[:, rows].T
    else:
        for place in places:
            found = np.fromfile(copy, dtype, n, offset=int(place) * n * dtype.itemsize)
            yield found[rows][:, None]


def _rows_of_chunks(
    array: zarr.Array[Any], rows: NDArray[np.int64], block: slice | NDArray[np.int64]
) -> NDArray[Any]:
    """Take rows and units out of a store as it lies, strip by strip of whole chunks."""
    width = len(np.arange(array.shape[1])[block])
    out, strip = np.empty((len(rows), width), array.dtype), max(array.chunks[0], 4096)
    for start in range(0, array.shape[0], strip):
        here = np.flatnonzero((rows >= start) & (rows < start + strip))
        if len(here):
            out[here] = np.asarray(array[start : start + strip])[rows[here] - start][:, block]
    return out


def _tap_of(run: Run, label: str, layer: str) -> Tap:
    store = run.store(label)
    full = {path: name for name, path in store.attrs["layers"].items()}
    name = layer if layer in store.layers else full.get(layer)
    if name is None:
        raise UnknownNameError("layer", layer, store.layers, where=f"the store of {label}")
    return _tap(store.path, stamp_of(store.path / "zarr.json"), name)


@lru_cache(maxsize=64)
def _tap(store: Path, stamp: int, name: str) -> Tap:
    with from_disk(store):
        group = zarr.open_group(store / name, mode="r")
        array, units = group["activation"], group["unit"]
        assert isinstance(array, zarr.Array) and isinstance(units, zarr.Array)
        return Tap(store, stamp, name, array, np.asarray(units[:], dtype=np.int64))


def _read(tap: Tap, place: int) -> Floats32:
    """Read a column from the copy by unit, or for small stores from all chunks."""
    array = tap.array
    copy = None
    if array.nbytes > SMALL:
        copy = arranged(array, (str(tap.store), tap.stamp, tap.name))
    if copy is None:
        with from_disk(tap.store):
            return np.asarray(array[:, place], dtype=np.float32)
    dtype, n = np.dtype(array.dtype), array.shape[0]
    # Read, not mapped: mapped pages would count as memory of this process.
    values = np.fromfile(copy, dtype, count=n, offset=place * n * dtype.itemsize)
    return values.astype(np.float32)
