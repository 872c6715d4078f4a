"""Copies of large activation stores by unit, in the cache folder, made once in the background.

A store is written sample by sample, so one unit's activations are spread over all of its chunks. A
copy that lies unit by unit gives them in one read. Its place is outside of the run folder.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from probe.datasets.cache import cache_folder
from probe.errors import ProbeError
from probe.store.reader import BROKEN

__all__ = ["ArrangingError", "arranged"]

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
            f"shown at once: {100 * share:.0f} % done."
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
