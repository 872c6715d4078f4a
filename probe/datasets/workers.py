"""Worker processes that do not import the caller's script and do not outlive their parent."""

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

#: Seconds after which idle processes end; until then they are reused.
IDLE = 60

#: Variable of the growth in bytes that loky takes for a leak; rendering faces keeps above 300 MB.
GROWTH = "LOKY_MAX_MEMORY_LEAK_SIZE"


@contextmanager
def worker_pool(n_workers: int) -> Iterator[Executor]:
    """Open a pool of worker processes with one OpenCV thread each.

    Scripts and notebooks do not need ``if __name__ == "__main__":``.

    Parameters
    ----------
    n_workers : int
        Number of processes.

    Yields
    ------
    concurrent.futures.Executor
        The pool. If the context is left by an error, its processes are ended and pending work is
        dropped.

    Raises
    ------
    DatasetError
        If a worker process was killed.
    """
    # Imported here, since most calls have few images and need no processes.
    from loky import get_reusable_executor

    pool = get_reusable_executor(
        max_workers=n_workers, timeout=IDLE, initializer=_begin, env={GROWTH: "4e9"}
    )
    try:
        yield pool
    except BrokenExecutor as error:
        raise DatasetError(
            "A worker process was killed, perhaps for lack of memory. Finished videos are kept: "
            "run again, with fewer workers (n_workers) if memory is short."
        ) from error
    except GeneratorExit:
        # The consumer stopped iterating; its iterator cancels the pending work.
        raise
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise


def _begin() -> None:
    import cv2

    cv2.setNumThreads(1)
    # On an interrupt, the main process ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    # Without this, an idle worker would notice late that its parent was killed.
    threading.Thread(target=watch, daemon=True).start()
