"""`JobState`: where a job is."""

from __future__ import annotations

from dataclasses import dataclass

from probe.jobs.folder import Progress

__all__ = ["ABSENT", "CANCELLED", "DONE", "FAILED", "RUNNING", "WAITING", "JobState"]

ABSENT, WAITING, RUNNING = "absent", "waiting", "running"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"


@dataclass(frozen=True)
class JobState:
    """Where a job is.

    Attributes
    ----------
    name : str
        "absent" (nobody asked, or its result was removed), "waiting" (for a place), "running",
        "done", "failed" or "cancelled".
    progress : Progress or None
        How far it is, where it runs and has begun.
    error : str
        Why there is no result.
    expected : bool
        Whether the error says what to do; else it is a defect, and the log holds more.
    """

    name: str
    progress: Progress | None = None
    error: str = ""
    expected: bool = True

    @property
    def is_open(self) -> bool:
        """Whether it is worth asking again."""
        return self.name in (WAITING, RUNNING)
