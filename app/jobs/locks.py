"""Locks that the kernel gives back when the last process that holds them ends.

A file with a process id would not do: a killed process leaves it behind, and ids are used again.
`flock` belongs to the open file, which a started process inherits; so a job holds its lock from
before it is started until it is gone, however it ends. It needs a cache on a local disk: NFS does
not hand such locks on (the variable ``PROBE_CACHE`` names another folder).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_held", "is_locked", "locked", "take"]


def take(file: Path) -> int | None:
    """Open and lock a file at once; None if another holds it.

    Returns
    -------
    int or None
        A file descriptor; closing it, in all processes that have it, gives the lock back.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(file: Path) -> bool:
    """Whether a process holds the lock; asking takes a shared one for a moment."""
    try:
        descriptor = os.open(file, os.O_RDWR)
    except OSError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def is_locked(descriptor: int) -> bool:
    """Whether a process holds the lock of a file that is open, also if it was removed since."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    # A shared one would keep the next job from starting.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait for a lock and hold it; for the few milliseconds in which files are changed."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
