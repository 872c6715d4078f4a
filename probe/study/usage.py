"""What a stage took: wall time, disk and peak memory, measured while it ran."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Usage", "folder_size", "measured"]

#: Least seconds between two looks at memory, and the share of time that looking may take.
INTERVAL, SHARE = 0.25, 0.03


@dataclass
class Usage:
    """What was used.

    Attributes
    ----------
    seconds : float
        Wall time.
    memory : int
        Largest memory in bytes that this process and its workers held at once; pages that they
        share count once.
    disk : int
        Bytes by which the folder grew; negative where it shrank.
    """

    seconds: float = 0.0
    memory: int = 0
    disk: int = 0


@contextmanager
def measured(folder: Path) -> Iterator[Usage]:
    """Measure what is done while the context is open.

    Parameters
    ----------
    folder : pathlib.Path
        Where results are written.

    Yields
    ------
    Usage
        Complete once the context is left, also by an error.
    """
    usage, before, start = Usage(memory=memory_held()), folder_size(folder), time.monotonic()
    ended = threading.Event()

    def look() -> None:
        pause = INTERVAL
        while not ended.wait(pause):
            begun = time.monotonic()
            usage.memory = max(usage.memory, memory_held())
            pause = max(INTERVAL, (time.monotonic() - begun) / SHARE)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield usage
    finally:
        ended.set()
        watcher.join()
        usage.memory = max(usage.memory, memory_held())
        usage.seconds = time.monotonic() - start
        usage.disk = folder_size(folder) - before


def memory_held() -> int:
    """Memory of this process and its workers in bytes; shared pages count once on Linux."""
    own = psutil.Process()
    n_workers = own.children(recursive=True)
    if not n_workers:
        return int(own.memory_info().rss)
    return sum(_share(one) for one in (own, *n_workers))


def _share(process: psutil.Process) -> int:
    try:
        # Forked workers share their pages with this process; a plain sum would count them twice.
        found = process.memory_full_info()
        return int(getattr(found, "pss", found.rss))
    except psutil.Error:
        # A worker that has just ended.
        return 0


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                # A file that another process just renamed.
                continue
    return total
