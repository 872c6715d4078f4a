"""One unit's activations on all samples, read fast although stores lie sample by sample."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from app.run import Run
from probe.datasets.cache import cache_folder
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.reader import stamp_of
from probe.store.reader import BROKEN
from probe.tables import from_disk

__all__ = ["ArrangingError", "arranged", "column", "rows_by_unit", "stored_units"]

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


#: Bytes that are turned at once.
STRIP = 32 << 20
#: Bytes that all copies together may take; the ones used longest ago are removed.
MOST = 16 << 30
#: Seconds without a write after which another process is taken to have ended.
STALE = 30.0

_LOCK = threading.Lock()
_WORK: dict[Path, threading.Thread] = {}
_FAILED: set[Path] = set()


class ArrangingError(ProbeError):
    """A large store is being arranged by unit; ask again in a second.

    Attributes
    ----------
    share : float
        How much of it is done, in [0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share
        super().__init__(
            "This run's activations are being arranged by unit, once, so that any unit can be "
            f"shown at once: {100 * share:.0f}% done."
        )


def arranged(array: zarr.Array[Any], key: tuple[Any, ...]) -> Path | None:
    """Return the copy by unit of an array (sample, unit); None where none can be made.

    Parameters
    ----------
    array : zarr.Array
        Shape (sample, unit).
    key : tuple
        Names the array and the state that it is in.

    Raises
    ------
    ArrangingError
        While the copy is being made; the first call begins it.
    """
    name = hashlib.blake2b(repr(key).encode(), digest_size=16).hexdigest()
    file = cache_folder() / "dashboard" / "by-unit" / f"{name}.bin"
    if file.is_file():
        if time.time() - file.stat().st_mtime > 3600:
            file.touch()
        return file
    part = file.with_suffix(".part")
    with _LOCK:
        if file in _FAILED:
            return None
        if file not in _WORK and not _at_work(part):
            if not _has_room(file, array.nbytes):
                _FAILED.add(file)
                return None
            part.unlink(missing_ok=True)
            work = threading.Thread(target=_arrange, args=(array, file, part), daemon=True)
            _WORK[file] = work
            work.start()
    raise ArrangingError(_share(part, array.nbytes))


def _at_work(part: Path) -> bool:
    """Whether another process is at it."""
    try:
        return time.time() - part.stat().st_mtime < STALE
    except OSError:
        return False


def _share(part: Path, size: int) -> float:
    """Tell from the blocks that are filled, since the file has its full length from the start."""
    try:
        return min(1.0, part.stat().st_blocks * 512 / size)
    except OSError:
        return 0.0


def _has_room(file: Path, size: int) -> bool:
    """Make room below `MOST`, and see that the disk keeps as much again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        copies = sorted(file.parent.glob("*.bin"), key=lambda one: one.stat().st_mtime)
        total = sum(one.stat().st_size for one in copies)
        while copies and total + size > MOST:
            oldest = copies.pop(0)
            total -= oldest.stat().st_size
            oldest.unlink(missing_ok=True)
        return size <= MOST and shutil.disk_usage(file.parent).free > 2 * size
    except OSError:
        return False


def _arrange(array: zarr.Array[Any], file: Path, part: Path) -> None:
    try:
        _write(array, part)
        part.replace(file)
    except BROKEN:
        # Reading the store as it is says what is wrong with it, if it is the store.
        part.unlink(missing_ok=True)
        with _LOCK:
            _FAILED.add(file)
    finally:
        with _LOCK:
            _WORK.pop(file, None)


def _write(array: zarr.Array[Any], part: Path) -> None:
    """Turn whole chunks into rows of units, a strip at a time."""
    (n, width), chunk = array.shape, array.chunks[0]
    size = np.dtype(array.dtype).itemsize
    rows = max(1, STRIP // (width * size * chunk)) * chunk
    with part.open("xb", buffering=0) as out:
        out.truncate(n * width * size)
        for start in range(0, n, rows):
            turned = np.ascontiguousarray(np.asarray(array[start : start + rows]).T)
            for unit, values in enumerate(turned):
                out.seek((unit * n + start) * size)
                out.write(values.data)
