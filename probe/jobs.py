"""Background jobs of the dashboard, each in its own process: ``python -m probe.jobs FOLDER``.

The web side, which requests jobs, is `app.jobs`. Both sides communicate through the files of a
`JobFolder`. To add a kind of job, write a function that takes a `Request` and a folder and writes
its result there, and name it in `KINDS`. The folder becomes visible as the result when the function
returns. Reports through `probe.progress` are shown as progress of the job.

The web side imports this module too, so whatever needs torch is imported when a job runs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.errors import DatasetError, ProbeError, StoreError, UnknownNameError
from probe.progress import listening
from probe.run import RunFolder

if TYPE_CHECKING:
    from probe.datasets.dataset import Dataset
    from probe.detectors.detector import Detector

__all__ = ["ABLATION_FILE", "KINDS", "MAPS_FILE", "JobFolder", "Progress", "Request", "work"]

#: Results of the kinds, in the folder of the result.
ABLATION_FILE, MAPS_FILE = "ablation.zarr", "maps.zarr"

#: Name of the set of units in an ablation table, and where its units were chosen.
CHOSEN, BY_HAND = "chosen", "by hand, with these images in view"

#: Minimum seconds between two progress reports.
EVERY = 0.2


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
    def process(self) -> Path:
        """File with the id of the process, which leads its own group, and when it was started."""
        return self.root / "process"

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
        for file in (self._progress, self._error, self.log, self.process, self.cancelled):
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


@dataclass(frozen=True)
class Request:
    """Request for a job.

    Attributes
    ----------
    params : dict
        Parameters of the kind.
    run : RunFolder
        Run to read from; never changed.
    files : pathlib.Path
        Folder of input files.
    device : str
        Device to run detectors on, as in `probe.compute.resolve_device`.
    roots : tuple of str
        Folders from which the server allows images to be read.
    """

    params: dict[str, Any]
    run: RunFolder
    files: Path
    device: str = "cpu"
    roots: tuple[str, ...] = ()

    @cached_property
    def data(self) -> Dataset:
        """All images of the run."""
        from probe.images import run_data

        return run_data(self.run, self.roots)

    @cached_property
    def test(self) -> Dataset:
        """The images of the measured split."""
        from probe.reader import measured_on

        return measured_on(self.run, self.roots)

    def detector(self, label: str) -> Detector:
        """Load a detector of the run by its label, such as "meso4/base"."""
        from probe.reader import detector_of

        return detector_of(self.run, label, self.device)


def ablation(request: Request, out: Path) -> None:
    """Write an `Ablation` of a set of units of a layer.

    Parameters of the request are ``detector``, ``layer``, ``units``, ``n_random`` and ``seed``. The
    data are the measured split of the run, which was also visible when the units were selected;
    attribute ``chosen_on`` of the table states this.
    """
    from probe.neurons import Ablation
    from probe.neurons.ablation import ablate

    given = request.params
    found = ablate(
        request.detector(str(given["detector"])),
        request.test,
        str(given["layer"]),
        units={CHOSEN: [int(unit) for unit in given["units"]]},
        n_random=int(given["n_random"]),
        seed=int(given["seed"]),
    )
    Ablation(found.data.assign_attrs({"chosen_on": BY_HAND})).save(out / ABLATION_FILE)


def attribution_map(request: Request, out: Path) -> None:
    """Write an `AttributionMap` of samples by one method.

    Parameters of the request are ``detector``, ``samples`` (ids, in the order of the maps),
    ``method``, ``seed``, and optionally ``layer`` and ``target`` ("logit" or [layer, unit]), which
    default to those of the method.
    """
    from probe.attribution import attribute

    given = request.params
    names = [str(name) for name in given["samples"]]
    table = request.data.samples.table["sample"].astype(str)
    place = {name: i for i, name in enumerate(table)}
    unknown = [name for name in names if name not in place]
    if unknown or not names:
        raise DatasetError(
            f"The run has no image {', '.join(map(repr, unknown[:3])) or '(none was given)'}. "
            "Choose images on the page."
        )
    target = given.get("target", "logit")
    maps = attribute(
        request.detector(str(given["detector"])),
        request.data.take(np.array([place[name] for name in names])),
        str(given["method"]),
        target=target if isinstance(target, str) else (str(target[0]), int(target[1])),
        layer=given.get("layer"),
        seed=int(given.get("seed", 0)),
        # The real image that a fake was made from may not be among the explained ones.
        pairs=request.data,
    )
    maps.save(out / MAPS_FILE)


def score(request: Request, out: Path) -> None:
    """Write the scores of detectors on an uploaded image, and its measurements.

    Parameters of the request are ``detectors`` (labels), ``layers`` (label to the layer whose
    activations are kept) and ``reducers`` (label to the reducer of these activations).
    """
    from probe.upload import IMAGE, score_upload

    given = request.params
    labels = [str(label) for label in given["detectors"]]
    score_upload(
        request.files / IMAGE,
        request.data,
        request.detector,
        labels,
        given["layers"],
        given["reducers"],
        out,
    )


#: Kinds of jobs.
KINDS: dict[str, Callable[[Request, Path], None]] = {
    "ablation": ablation,
    "map": attribution_map,
    "score": score,
}


def work(root: Path) -> int:
    """Run the job in a folder, which then holds a result or an error.

    Parameters
    ----------
    root : pathlib.Path
        Folder with ``job.json``; see `JobFolder`.

    Returns
    -------
    int
        0, or 1 if there was an error.
    """
    from probe.compute import AUTO, DEVICE_VARIABLE, described, resolve_device

    folder = JobFolder(root)
    notes = _Notes(folder)
    notes("start", 0, None)
    try:
        job = folder.read_job()
        kind = str(job["kind"])
        if kind not in KINDS:
            raise UnknownNameError("kind of job", kind, KINDS)
        _limit_threads()
        device = resolve_device(os.environ.get(DEVICE_VARIABLE, AUTO))
        print(described(device), flush=True)
        run = RunFolder(Path(str(job["run"])))
        roots = tuple(map(str, job.get("roots", ())))
        request = Request(dict(job["params"]), run, folder.files, str(device), roots)
        shutil.rmtree(folder.partial, ignore_errors=True)
        folder.partial.mkdir()
        with listening(notes):
            KINDS[kind](request, folder.partial)
        folder.partial.rename(folder.result)
    except ProbeError as error:
        folder.write_error(str(error), expected=True)
        return 1
    except Exception as error:
        # The traceback goes to the log of the job; the page shows the last line.
        traceback.print_exc()
        folder.write_error(traceback.format_exception_only(error)[-1].strip(), expected=False)
        return 1
    return 0


class _Notes:
    """Writes progress to the folder, at most every `EVERY` seconds."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder, self.message = folder, ""
        self.started = self.written = 0.0

    def __call__(self, message: str, done: int, total: int | None) -> None:
        now = time.time()
        if message != self.message or done == 0:
            self.message, self.started, self.written = message, now, 0.0
        if now - self.written < EVERY and done != total:
            return
        self.written = now
        self.folder.write_progress(Progress(done, total, self.started, now, message))


def _limit_threads() -> None:
    """Use half of the cores, and leave the others to the web server."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


if __name__ == "__main__":
    # Serving pages has priority.
    os.nice(5)
    sys.exit(work(Path(sys.argv[1])))
