"""Memory that some work takes, as Linux sees it: tracemalloc does not see torch's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def watched(work: Callable[[], Result]) -> tuple[Result, float]:
    """Do some work; give its result, and by how many bytes it raised resident memory at most.

    What the process has freed and not given back can be used again unseen: exact only in a process
    that does nothing else.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is held now
    before = resident("VmRSS")
    result = work()
    return result, max(0.0, resident("VmHWM") - before)


def resident(what: str) -> float:
    """Bytes that this process holds now (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))
