"""Worker processes: they import no script of the caller's, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager

from probe.errors import DatasetError

__all__ = ["worker_pool"]

#: Seconds after which idle processes end; until then the next call finds them running.
IDLE = 60


@contextmanager
def worker_pool(n_workers: int) -> Iterator[Executor]:
    """Open a pool of processes with one OpenCV thread each.

    Scripts and notebooks need no ``if __name__ == "__main__":``.

    Parameters
    ----------
    n_workers : int
        How many processes.

    Yields
    ------
    concurrent.futures.Executor
        Work that has not begun is dropped where the context is left by an error.

    Raises
    ------
    DatasetError
        If a worker was ended from outside.
    """
    # Imported where it is used: most calls have few images.
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=n_workers, timeout=IDLE, initializer=_begin)
    try:
        yield pool
    except BrokenExecutor as error:
        raise DatasetError(
            "A worker process was ended from outside, perhaps for lack of memory. Finished videos "
            "are kept: run it again, with fewer workers (n_workers) if memory is short."
        ) from error
    except GeneratorExit:
        # Whoever iterates has enough: what it waited for is canceled by its iterator.
        raise
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise


def _begin() -> None:
    import cv2

    cv2.setNumThreads(1)
    # Whoever interrupts the program has its main process end what it began.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    # A worker that waits for work would notice only after a while that its parent was killed.
    threading.Thread(target=watch, daemon=True).start()
