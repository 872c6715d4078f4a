"""`Jobs`: start, follow and cancel long computations; results stay on disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from app.jobs.locks import is_held, is_locked, locked, take
from app.jobs.state import ABSENT, CANCELLED, DONE, FAILED, RUNNING, WAITING, JobState
from app.jobs.task import Task, checked
from probe.errors import ProbeError, StoreError
from probe.jobs.folder import JobFolder

__all__ = ["Jobs"]

#: Jobs that run at once, and bytes that finished ones may take.
AT_ONCE, LIMIT = 2, 10**9
#: Seconds that a cancelled process has to end by itself.
GRACE = 5.0
#: Jobs that may wait; a page that asks for more is out of order.
MOST_WAITING = 20

_DIED = (
    "The computation ended without a result; it may have been killed for want of memory. Start "
    "it again."
)


class Jobs:
    """Jobs of one cache folder, which several web processes may share.

    Parameters
    ----------
    root : pathlib.Path
        The folder; made if missing.
    at_once : int
        How many run at the same time, over all that share the folder.
    limit : int
        Bytes that results may take; the longest unused go first.
    command : sequence of str
        What is called with the folder of a job.

    Notes
    -----
    Dash's own manager of background callbacks is not used: it forks the web process, which has
    threads, and a library such as torch is not safe in a fork of it. Here the web process starts
    a new program, which alone imports torch, and both talk through files.
    """

    def __init__(
        self,
        root: Path,
        *,
        at_once: int = AT_ONCE,
        limit: int = LIMIT,
        command: Sequence[str] = (sys.executable, "-m", "probe.jobs"),
    ) -> None:
        self.root, self.at_once, self.limit = Path(root), at_once, limit
        self.command = tuple(command)

    def submit(self, task: Task) -> str:
        """Ask for a result; one that is there, or on its way, is not made again.

        Returns
        -------
        str
            Fingerprint that the job is followed by.

        Raises
        ------
        ProbeError
            If too many jobs wait, or the cache cannot be written to.
        """
        fingerprint = task.fingerprint
        folder = self._folder(fingerprint)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._mutex():
                state = self._look(folder)
                if state.name == DONE:
                    os.utime(folder.root)
                elif not state.is_open:
                    self._queue(folder, task)
                self._advance()
                self._prune(fingerprint)
        except OSError as error:
            raise ProbeError(
                f"The cache {str(self.root)!r} cannot be written to ({error.strerror}). The "
                "variable PROBE_CACHE can name another folder; start the dashboard with it."
            ) from error
        return fingerprint

    def state(self, fingerprint: str) -> JobState:
        """Say where a job is; if there is a free place, one that waits is started."""
        folder = self._folder(fingerprint)
        state = self._look(folder)
        if state.name == WAITING:
            with suppress(OSError), self._mutex():
                self._advance()
            state = self._look(folder)
        return state

    def cancel(self, fingerprint: str) -> JobState:
        """Break a job off; what it had made so far is lost, and other jobs go on."""
        folder = self._folder(fingerprint)
        if not self.root.is_dir():
            return JobState(ABSENT)
        with self._mutex():
            self._break(folder)
            return self._look(folder)

    def remove(self, fingerprint: str) -> None:
        """Remove a job and all that was made of it; one that waits or runs is broken off."""
        folder = self._folder(fingerprint)
        if not folder.root.is_dir():
            return
        with self._mutex():
            self._break(folder)
            _discard(folder.root)

    def result(self, fingerprint: str) -> Path:
        """Return the folder that holds what a finished job made.

        Raises
        ------
        StoreError
            If it is not finished.
        """
        folder = self._folder(fingerprint)
        if not folder.result.is_dir():
            raise StoreError("There is no result of this computation (any more). Start it again.")
        return folder.result

    def job(self, fingerprint: str) -> JobFolder:
        """Return the folder of a job, for those who want to read its files or its log."""
        return self._folder(fingerprint)

    def _folder(self, fingerprint: str) -> JobFolder:
        return JobFolder(self.root / checked(fingerprint))

    def _mutex(self) -> AbstractContextManager[None]:
        return locked(self.root / "mutex")

    def _look(self, folder: JobFolder) -> JobState:
        running = is_held(folder.lock)
        # Asked after the lock: a job writes its result before it gives the lock back.
        if folder.result.is_dir():
            return JobState(DONE)
        if not folder.job.is_file():
            return JobState(ABSENT)
        if folder.waiting.exists():
            return JobState(WAITING)
        if folder.cancelled.exists():
            return JobState(CANCELLED)
        if running:
            return JobState(RUNNING, folder.read_progress())
        text, expected = folder.read_error() or (_DIED, True)
        return JobState(FAILED, None, text, expected)

    def _break(self, folder: JobFolder) -> None:
        """Break a job off if it is open; with the mutex held."""
        if self._look(folder).is_open:
            folder.cancelled.touch()
            folder.waiting.unlink(missing_ok=True)
            if is_held(folder.lock):
                self._end(folder)

    def _queue(self, folder: JobFolder, task: Task) -> None:
        if len(self._waiting()) >= MOST_WAITING:
            raise ProbeError(
                f"{MOST_WAITING} computations wait already. Cancel some, or wait for them."
            )
        folder.files.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.cancelled.unlink(missing_ok=True)
        for name, content in task.files.items():
            (folder.files / name).write_bytes(content)
        folder.write_job(task.content)
        folder.waiting.touch()

    def _waiting(self) -> list[JobFolder]:
        """Jobs that wait, the first who came first."""
        found = []
        for mark in self.root.glob("*/waiting"):
            with suppress(OSError):
                found.append((mark.stat().st_mtime_ns, mark.parent))
        return [JobFolder(path) for _, path in sorted(found)]

    def _advance(self) -> None:
        """Start jobs that wait while there are free places; with the mutex held."""
        for folder in self._waiting():
            if folder.result.is_dir():
                # Started by a web process that was killed before it could say so.
                folder.waiting.unlink(missing_ok=True)
                continue
            place = self._place()
            if place is None:
                return
            try:
                # A cancelled process of the same job may still be ending; then it waits.
                own = take(folder.lock)
                if own is not None:
                    try:
                        self._start(folder, (place, own))
                    finally:
                        os.close(own)
            finally:
                os.close(place)

    def _place(self) -> int | None:
        """Take a free place, if there is one."""
        for i in range(self.at_once):
            place = take(self.root / f"place-{i}")
            if place is not None:
                return place
        return None

    def _start(self, folder: JobFolder, descriptors: tuple[int, ...]) -> None:
        """Start the process of a job, which inherits the locks and so holds them to its end."""
        folder.clear()
        with folder.log.open("wb") as log:
            process = subprocess.Popen(
                [*self.command, str(folder.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                # A group of its own, which can be ended as a whole.
                start_new_session=True,
            )
        folder.pid.write_text(str(process.pid), encoding="utf-8")
        folder.waiting.unlink(missing_ok=True)
        threading.Thread(target=self._await, args=(process,), daemon=True).start()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        """Let a process that ended be forgotten by the system, and give its place to the next."""
        process.wait()
        with suppress(OSError), self._mutex():
            self._advance()

    def _end(self, folder: JobFolder) -> None:
        """End the group of a process whose lock is held, so that its id is its own."""
        try:
            group = int(folder.pid.read_text(encoding="utf-8"))
            # Opened now: the folder may be removed before the process has ended.
            lock = os.open(folder.lock, os.O_RDWR)
        except (OSError, ValueError):
            return
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)
        threading.Thread(target=_insist, args=(lock, group), daemon=True).start()

    def _prune(self, keep: str) -> None:
        """Remove what was used longest ago, until the rest fits; never what is open."""
        ages = []
        for path in self.root.iterdir():
            folder = JobFolder(path)
            if path.suffix == ".old":
                shutil.rmtree(path, ignore_errors=True)
            if len(path.name) == 32 and path.is_dir() and not self._look(folder).is_open:
                if not is_held(folder.lock):
                    ages.append((path.stat().st_mtime_ns, path, _bytes_of(path)))
        total = sum(size for _, _, size in ages)
        for _, path, size in sorted(ages):
            if total <= self.limit:
                return
            if path.name != keep:
                _discard(path)
                total -= size


def _insist(lock: int, group: int) -> None:
    """Kill what has not ended in time, told by its lock, which is closed then."""
    try:
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            if not is_locked(lock):
                return
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    finally:
        os.close(lock)


def _discard(path: Path) -> None:
    """Remove a folder, in one step out of sight: whoever still writes there finds it gone."""
    gone = path.with_name(f"{path.name}.old")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):
        path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _bytes_of(path: Path) -> int:
    total = 0
    for file in path.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total
