"""`JobFolder`: files through which a job and the web side communicate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probe.errors import StoreError

__all__ = ["JobFolder", "Progress"]


@dataclass(frozen=True)
class Progress:
    """Progress of a job.

    Attributes
    ----------
    done : int
        Completed steps.
    total : int or None
        Total steps; None if unknown.
    started, written : float
        Time of the first step, and of this report; seconds since 1970.
    message : str
        Description of the current work.
    """

    done: int
    total: int | None
    started: float
    written: float
    message: str

    @property
    def rate(self) -> float | None:
        """Steps per second; None before the first is completed."""
        passed = self.written - self.started
        return self.done / passed if self.done and passed > 0 else None

    @property
    def left(self) -> float | None:
        """Estimated remaining seconds; None if unknown."""
        if self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0) / self.rate


@dataclass(frozen=True)
class JobFolder:
    """Files of one job.

    Attributes
    ----------
    root : pathlib.Path
        Folder of the job, named by its fingerprint. ``job.json`` holds the request, ``files/`` the
        input files, ``progress.json`` the progress. A finished job has either the folder
        ``result/`` or ``error.json``. ``log.txt`` holds the output of the process.
    """

    root: Path

    @property
    def job(self) -> Path:
        """The request."""
        return self.root / "job.json"

    @property
    def files(self) -> Path:
        """Folder of input files, such as an image."""
        return self.root / "files"

    @property
    def result(self) -> Path:
        """Folder of the result; complete if it exists."""
        return self.root / "result"

    @property
    def partial(self) -> Path:
        """Folder of the unfinished result."""
        return self.root / "result.part"

    @property
    def log(self) -> Path:
        """Output of the process."""
        return self.root / "log.txt"

    @property
    def lock(self) -> Path:
        """Lock file, locked while the process lives."""
        return self.root / "lock"

    @property
    def pid(self) -> Path:
        """File with the id of the process, which leads its own process group."""
        return self.root / "pid"

    @property
    def waiting(self) -> Path:
        """Marker: the job is waiting to be started."""
        return self.root / "waiting"

    @property
    def cancelled(self) -> Path:
        """Marker: the job has been cancelled."""
        return self.root / "cancelled"

    @property
    def _progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def _error(self) -> Path:
        return self.root / "error.json"

    def read_job(self) -> dict[str, Any]:
        """Read the request.

        Raises
        ------
        StoreError
            If the request is missing or damaged.
        """
        found = _read(self.job)
        if found is None:
            raise StoreError(
                f"The job in {str(self.root)!r} is missing or damaged. Request it again."
            )
        return found

    def read_progress(self) -> Progress | None:
        """Read the progress; None before the first step."""
        found = _read(self._progress)
        try:
            return Progress(**found) if found else None
        except TypeError:
            return None

    def write_progress(self, progress: Progress) -> None:
        """Write the progress."""
        _write(self._progress, asdict(progress))

    def read_error(self) -> tuple[str, bool] | None:
        """Read the error message, and whether the error was expected; None without an error."""
        found = _read(self._error)
        if found is None:
            return None
        return str(found.get("text", "")), bool(found.get("expected"))

    def write_error(self, text: str, *, expected: bool) -> None:
        """Write the error message."""
        _write(self._error, {"text": text, "expected": expected})

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Write the request."""
        _write(self.job, job)

    def clear(self) -> None:
        """Remove files of an earlier attempt, except request, input files and result."""
        for file in (self._progress, self._error, self.log, self.pid, self.cancelled):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.partial, ignore_errors=True)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(file: Path, content: Mapping[str, Any]) -> None:
    """Write atomically, since the other side may read at any moment."""
    partial = file.with_name(file.name + ".part")
    partial.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    partial.replace(file)
