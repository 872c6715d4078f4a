"""Long computations: started, followed, cancelled; results stay on disk.

Each job is a process of its own, ``python -m probe.jobs``, which alone imports torch; this module
does not. Both sides communicate through the files of a `probe.jobs.JobFolder`. A page does this::

    jobs = jobs_of(run)                               # the cache of this run's jobs
    task = map_task(run, "meso4/base", tokens, "gradcam")
    jobs.state(task.fingerprint)                      # JobState, "absent" before it is requested
    jobs.submit(task)                                 # starts it, joins it, or finds it done
    jobs.cancel(task.fingerprint)
    maps_of(jobs, task.fingerprint)                   # AttributionMap, once it is "done"

The fingerprint follows from the request, and the selection is in the address, so a link shows the
same job and reloading a page does not lose it. A job continues when the web process ends.

To add a kind of job, add its function to `probe.jobs.KINDS` and return a `Task` of that name here.
Parameters are checked before they become a task; input files count by their content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from dash import html
from filelock import FileLock

import probe
from app.run import Run
from probe.attribution.maps import AttributionMap
from probe.datasets.cache import cache_folder
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.jobs import ABLATION_FILE, MAPS_FILE, JobFolder, Progress
from probe.neurons import Ablation
from probe.run import MissingTableError, read_json

__all__ = [
    "ABSENT",
    "CANCELLED",
    "DONE",
    "FAILED",
    "RUNNING",
    "TICK",
    "WAITING",
    "JobState",
    "Jobs",
    "Task",
    "ablation_of",
    "ablation_task",
    "job_text",
    "jobs_of",
    "map_task",
    "maps_of",
    "reads_of",
    "time_text",
]

#: Milliseconds between two requests for the state of an open job.
TICK = 500

ABSENT, WAITING, RUNNING = "absent", "waiting", "running"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"

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

#: Most units of a set, and most images of a job; both are far above what a page shows.
MOST_UNITS, MOST_IMAGES = 200, 200

N_RANDOM = 100

_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[a-z0-9]{1,20}\.[a-z0-9]{1,8}")


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


@dataclass(frozen=True)
class Task:
    """What is to be computed.

    Attributes
    ----------
    kind : str
        Name in `probe.jobs.KINDS`.
    params : mapping
        Arguments of the kind: numbers, texts and lists of them, checked before they come here.
    run : pathlib.Path
        Folder of the run.
    reads : mapping
        Fingerprints of what the kind reads, such as weights and images; if they change, it is
        another job.
    files : mapping
        Name to content of what is handed over, such as an image; names are plain ("image.png").
    roots : tuple of pathlib.Path
        Folders that whoever serves the run lets images be opened from.
    """

    kind: str
    params: Mapping[str, Any]
    run: Path
    reads: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    roots: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names of files that could lead out of the job's folder."""
        for name in self.files:
            if not _FILE.fullmatch(name):
                raise ProbeError(f"A file called {name!r} cannot be handed to a job.")

    @property
    def content(self) -> dict[str, Any]:
        """All that the job is, as it stands in ``job.json``."""
        return {
            "kind": self.kind,
            "params": dict(self.params),
            "run": str(self.run),
            "roots": [str(root) for root in self.roots],
            "reads": dict(self.reads),
            "files": {
                name: hashlib.blake2b(content, digest_size=16).hexdigest()
                for name, content in self.files.items()
            },
            "version": probe.__version__,
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the content: 32 hexadecimal digits; the same question has the same."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def checked(fingerprint: object) -> str:
    """Return a fingerprint that came with a request, if it has the form of one.

    Raises
    ------
    ProbeError
        If it has not; it would become part of a path.
    """
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        raise ProbeError("This names no job. Start it again from its page.")
    return fingerprint


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
        # Held for the few milliseconds in which files are changed, over all web processes.
        self._mutex = FileLock(self.root / "mutex", poll_interval=0.005)

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
            with self._mutex:
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
            with suppress(OSError), self._mutex:
                self._advance()
            state = self._look(folder)
        return state

    def cancel(self, fingerprint: str) -> JobState:
        """Break a job off; what it had made so far is lost, and other jobs go on."""
        folder = self._folder(fingerprint)
        if not self.root.is_dir():
            return JobState(ABSENT)
        with self._mutex:
            self._break(folder)
            return self._look(folder)

    def remove(self, fingerprint: str) -> None:
        """Remove a job and all that was made of it; one that waits or runs is broken off."""
        folder = self._folder(fingerprint)
        if not folder.root.is_dir():
            return
        with self._mutex:
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

    def _look(self, folder: JobFolder) -> JobState:
        # In this order: a job that starts is noted before it waits no more, and one that ends
        # writes its result before.
        waiting, running = folder.waiting.exists(), _process_of(folder)
        if folder.result.is_dir():
            return JobState(DONE)
        if not folder.job.is_file():
            return JobState(ABSENT)
        if waiting:
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
            elif self._running() >= self.at_once:
                return
            elif _process_of(folder) is None:
                self._start(folder)
            # Else a cancelled process of the same job is still ending.

    def _running(self) -> int:
        files = self.root.glob("*/process")
        return sum(_process_of(JobFolder(file.parent)) is not None for file in files)

    def _start(self, folder: JobFolder) -> None:
        folder.clear()
        with folder.log.open("wb") as log:
            started = subprocess.Popen(
                [*self.command, str(folder.root)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own, which can be ended as a whole.
                start_new_session=True,
            )
        created = psutil.Process(started.pid).create_time()
        folder.process.write_text(f"{started.pid} {created}", encoding="utf-8")
        folder.waiting.unlink(missing_ok=True)
        threading.Thread(target=self._await, args=(started,), daemon=True).start()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        """Let a process that ended be forgotten by the system, and give its place to the next."""
        process.wait()
        with suppress(OSError), self._mutex:
            self._advance()

    def _end(self, folder: JobFolder) -> None:
        """End the process of a job with its group, if it lives."""
        process = _process_of(folder)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            threading.Thread(target=_insist, args=(process,), daemon=True).start()

    def _prune(self, keep: str) -> None:
        """Remove what was used longest ago, until the rest fits; never what is open."""
        ages = []
        for path in self.root.iterdir():
            folder = JobFolder(path)
            if path.suffix == ".old":
                shutil.rmtree(path, ignore_errors=True)
            if len(path.name) == 32 and path.is_dir() and not self._look(folder).is_open:
                if _process_of(folder) is None:
                    ages.append((path.stat().st_mtime_ns, path, _bytes_of(path)))
        total = sum(size for _, _, size in ages)
        for _, path, size in sorted(ages):
            if total <= self.limit:
                return
            if path.name != keep:
                _discard(path)
                total -= size


def _process_of(folder: JobFolder) -> psutil.Process | None:
    """Return the process of a job while it lives; another that got its id is not taken for it."""
    try:
        pid, created = folder.process.read_text(encoding="utf-8").split()
        process = psutil.Process(int(pid))
        # The time depends on the clock of the machine, which may have been set meanwhile.
        same = abs(process.create_time() - float(created)) < 2
        return process if same and _lives(process) else None
    except (OSError, ValueError, psutil.Error):
        return None


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _insist(process: psutil.Process) -> None:
    """Kill a process group that has not ended in time."""
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        if not _lives(process):
            return
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


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


def jobs_of(run: Run) -> Jobs:
    """Return the jobs of a run, kept in the user's cache, since the run folder is only read."""
    name = hashlib.blake2b(str(run.folder.root).encode(), digest_size=8).hexdigest()
    return Jobs(cache_folder() / "jobs" / name)


def reads_of(run: Run, label: str) -> dict[str, Any]:
    """Return what a job of a detector depends on: its weights and the images, as they are now.

    Raises
    ------
    MissingTableError
        If the run holds no weights of the detector, nor says where they were.
    """
    if label not in run.detectors:
        raise UnknownNameError("detector", label, run.detectors, where="this run")
    card = run.folder.detector(label) / "card.json"
    provenance = run.folder.read_provenance()
    weights = read_json(card).get("weights_hash") or provenance.get("weights", {}).get(label)
    if not weights:
        raise MissingTableError(f"weights of {label}", run.command)
    if not (run.folder.data / CARD_FILE).is_file():
        raise MissingTableError("images", run.command)
    return {
        "weights": weights,
        "data": [(run.folder.data / f).stat().st_mtime_ns for f in (CARD_FILE, SAMPLES_FILE)],
    }


def ablation_task(
    run: Run, label: str, layer: str, units: Sequence[int], n_random: int = N_RANDOM, seed: int = 0
) -> Task:
    """Ask what detection loses without a set of units; see `probe.jobs.ablation`."""
    if not 0 < len(units) <= MOST_UNITS:
        raise ProbeError(
            f"{len(units)} units were chosen; a set has 1 to {MOST_UNITS}. Change the set."
        )
    params = {
        "detector": label,
        "layer": layer,
        "units": sorted(set(map(int, units))),
        "n_random": n_random,
        "seed": seed,
    }
    return Task("ablation", params, run.folder.root, reads_of(run, label), roots=run.roots)


def map_task(
    run: Run,
    label: str,
    tokens: Sequence[str],
    method: str,
    *,
    seed: int = 0,
    unit: tuple[str, int] | None = None,
) -> Task:
    """Ask for heatmaps of images, given by token; see `probe.jobs.attribution_map`.

    Parameters
    ----------
    run, label : Run, str
        Run and detector.
    tokens : sequence of str
        Images, see `probe.images.token_of`; maps come in this order.
    method : str
        Name of an attribution method. The web process does not know which there are; the job
        fails with a message if this is none, or refuses the detector.
    seed : int
        Of random draws.
    unit : tuple of str and int, optional
        Layer and unit that are explained instead of the fake logit.
    """
    if not 0 < len(tokens) <= MOST_IMAGES:
        raise ProbeError(
            f"{len(tokens)} images were chosen; maps are made of 1 to {MOST_IMAGES} at once."
        )
    rows, names = run.rows, run.data.samples.table["sample"]
    if any(token not in rows for token in tokens):
        raise ProbeError("The address names an image that is not in this run. Choose one anew.")
    params: dict[str, Any] = {
        "detector": label,
        "samples": [str(names.iloc[rows[token]]) for token in tokens],
        "method": method,
        "seed": seed,
    }
    if unit is not None:
        params["target"] = [unit[0], int(unit[1])]
    return Task("map", params, run.folder.root, reads_of(run, label), roots=run.roots)


def ablation_of(jobs: Jobs, fingerprint: str) -> Ablation:
    """Read what a job "ablation" made."""
    return Ablation.open(jobs.result(fingerprint) / ABLATION_FILE)


def maps_of(jobs: Jobs, fingerprint: str) -> AttributionMap:
    """Read what a job "map" made."""
    return AttributionMap.open(jobs.result(fingerprint) / MAPS_FILE)


def job_text(state: JobState, at_once: int = 2) -> Any:
    """Show where a job is that has no result; None where nobody asked for it."""
    if state.name == WAITING:
        text = f"Waiting: {at_once} computations run at once, and others came first."
        return _bar("Waiting", 0, text)
    if state.name == RUNNING:
        return _running(state)
    if state.name == CANCELLED:
        return html.Div("Cancelled. Nothing was kept.", className="job-note", role="status")
    if state.name == FAILED:
        return _failed(state)
    return None


def _running(state: JobState) -> Any:
    progress = state.progress
    if progress is None or progress.total is None:
        return _bar("Starting", 0, "Loading the detector and the images.")
    share = 100 * progress.done / max(progress.total, 1)
    words = [f"{progress.done:,} of {progress.total:,}"]
    if progress.rate:
        words.append(f"{progress.rate:,.0f}/s" if progress.rate >= 10 else f"{progress.rate:.1f}/s")
    if progress.left is not None:
        words.append(f"{time_text(progress.left)} left")
    return _bar(progress.message, share, " · ".join(words))


def _bar(title: str, share: float, text: str) -> Any:
    """Draw the bar; what it says stands in words too, but is not read out twice a second."""
    named: dict[str, Any] = {
        "role": "progressbar",
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        "aria-valuenow": round(share),
        "aria-label": title,
    }
    return html.Div(
        [
            html.Div([html.Span(title), html.Span(text, className="muted")], className="job-words"),
            html.Div(
                html.Div(style={"width": f"{share:.1f}%"}, className="job-done"),
                className="job-bar",
                **named,
            ),
        ],
        className="job",
    )


def _failed(state: JobState) -> Any:
    hint = "" if state.expected else " This is a defect; the log in the cache folder says more."
    return html.Div(
        [
            html.Div(className="message-mark damaged"),
            html.Div("The computation failed", className="message-title"),
            html.Div(state.error + hint, className="message-text"),
        ],
        className="message",
        role="status",
    )


def time_text(seconds: float) -> str:
    """Write a duration as people say it: "40 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
