"""Worker processes for making images: none outlives its parent, none fails without a remedy."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from probe.errors import DatasetError

__all__ = ["worker_pool"]

_NO_GUARD = (
    'The script that called this lacks `if __name__ == "__main__":`, without which its workers '
    "cannot start."
)


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes with one OpenCV thread each.

    Parameters
    ----------
    workers : int
        How many.

    Yields
    ------
    concurrent.futures.ProcessPoolExecutor
        Closed on leaving; work that has not begun is then dropped.

    Raises
    ------
    DatasetError
        If a worker was ended from outside, or could not start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports a script without a main guard comes here. Refused before a
        # semaphore is made: the caller ends this process, and what it held would be reported
        # as leaked, after the message that says what to do.
        raise DatasetError(f"{_NO_GUARD} Add that line to the script.")
    # Spawned, not forked: a fork of a process with threads (torch, BLAS) can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DatasetError(
            "A worker process was ended from outside, perhaps for lack of memory, or: "
            f"{_NO_GUARD} Finished videos are kept: run it again with that line, or with "
            "workers=1."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    # Imported where it is used: `probe.datasets` opens in processes that decode no image.
    import cv2

    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    # A worker that waits for work would never notice that its parent was killed.
    threading.Thread(target=watch, daemon=True).start()
