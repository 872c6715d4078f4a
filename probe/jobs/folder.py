"""`JobFolder`: what a job and those who wait for it say to each other, as files."""

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
    """How far a job is.

    Attributes
    ----------
    done : int
        Steps completed.
    total : int or None
        Steps in all; None where it is not known.
    started, written : float
        When the first step was begun, and when this was noted; seconds since 1970.
    message : str
        What is being done.
    """

    done: int
    total: int | None
    started: float
    written: float
    message: str

    @property
    def rate(self) -> float | None:
        """Steps a second; None before there are any."""
        passed = self.written - self.started
        return self.done / passed if self.done and passed > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds that remain at this rate; None where it cannot be told."""
        if self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0) / self.rate


@dataclass(frozen=True)
class JobFolder:
    """Files of one job.

    Attributes
    ----------
    root : pathlib.Path
        The folder; named by the job's fingerprint. ``job.json`` says what to do, ``files/`` holds
        what was handed over, ``progress.json`` how far it is, and at the end there is either the
        folder ``result/`` or ``error.json``; ``log.txt`` is what the process printed.
    """

    root: Path

    @property
    def job(self) -> Path:
        """What to do."""
        return self.root / "job.json"

    @property
    def files(self) -> Path:
        """What was handed over, such as an image."""
        return self.root / "files"

    @property
    def result(self) -> Path:
        """What was made; there as a whole or not at all."""
        return self.root / "result"

    @property
    def partial(self) -> Path:
        """What is being made."""
        return self.root / "result.part"

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.root / "log.txt"

    @property
    def lock(self) -> Path:
        """Locked for as long as the process lives."""
        return self.root / "lock"

    @property
    def pid(self) -> Path:
        """Id of the process, which leads a group of its own."""
        return self.root / "pid"

    @property
    def waiting(self) -> Path:
        """There while the job is to be started."""
        return self.root / "waiting"

    @property
    def cancelled(self) -> Path:
        """There once somebody has cancelled it."""
        return self.root / "cancelled"

    @property
    def _progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def _error(self) -> Path:
        return self.root / "error.json"

    def read_job(self) -> dict[str, Any]:
        """Read what to do.

        Raises
        ------
        StoreError
            If it is missing or damaged.
        """
        found = _read(self.job)
        if found is None:
            raise StoreError(f"The job in {str(self.root)!r} is missing or damaged. Ask again.")
        return found

    def read_progress(self) -> Progress | None:
        """Read how far it is; None before the first step."""
        found = _read(self._progress)
        try:
            return Progress(**found) if found else None
        except TypeError:
            return None

    def write_progress(self, progress: Progress) -> None:
        """Note how far it is."""
        _write(self._progress, asdict(progress))

    def read_error(self) -> tuple[str, bool] | None:
        """Read why there is no result, and whether that was foreseen; None without an error."""
        found = _read(self._error)
        if found is None:
            return None
        return str(found.get("text", "")), bool(found.get("expected"))

    def write_error(self, text: str, *, expected: bool) -> None:
        """Note why there is no result."""
        _write(self._error, {"text": text, "expected": expected})

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Note what to do."""
        _write(self.job, job)

    def clear(self) -> None:
        """Remove what an earlier attempt left, but not the job, its files or its result."""
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
    """Write at once or not at all: the other side may read at any moment."""
    partial = file.with_name(file.name + ".part")
    partial.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    partial.replace(file)
