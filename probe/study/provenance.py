"""Provenance of a run: data, weights, versions, and the time, memory and disk of its stages."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from probe.compute import devices
from probe.run import PROVENANCE_FILE, RunFolder

__all__ = ["Provenance", "Usage", "folder_size", "measured", "versions"]

#: Minimum seconds between two memory samples, and maximum fraction of time spent sampling.
INTERVAL, SHARE = 0.25, 0.03


@dataclass
class Usage:
    """Resources used.

    Attributes
    ----------
    seconds : float
        Wall time in seconds.
    memory : int
        Peak memory of this process and its workers in bytes; shared pages count once.
    disk : int
        Growth of the folder in bytes; negative if it shrank.
    """

    seconds: float = 0.0
    memory: int = 0
    disk: int = 0


@contextmanager
def measured(folder: Path) -> Iterator[Usage]:
    """Measure the resources used inside the context.

    Parameters
    ----------
    folder : pathlib.Path
        Folder that results are written to.

    Yields
    ------
    Usage
        Complete once the context is left, also by an error.
    """
    usage, before, start = Usage(memory=memory_held()), folder_size(folder), time.monotonic()
    ended = threading.Event()

    def look() -> None:
        pause = INTERVAL
        while not ended.wait(pause):
            begun = time.monotonic()
            usage.memory = max(usage.memory, memory_held())
            pause = max(INTERVAL, (time.monotonic() - begun) / SHARE)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield usage
    finally:
        ended.set()
        watcher.join()
        usage.memory = max(usage.memory, memory_held())
        usage.seconds = time.monotonic() - start
        usage.disk = folder_size(folder) - before


def memory_held() -> int:
    """Return the memory of this process and its workers in bytes (PSS on Linux)."""
    own = psutil.Process()
    n_workers = own.children(recursive=True)
    if not n_workers:
        return int(own.memory_info().rss)
    return sum(_share(one) for one in (own, *n_workers))


def _share(process: psutil.Process) -> int:
    try:
        # Forked workers share pages with this process, which a plain sum would count twice.
        found = process.memory_full_info()
        return int(getattr(found, "pss", found.rss))
    except psutil.Error:
        # The worker has just ended.
        return 0


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 if there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                # Another process has just renamed the file.
                continue
    return total


_PACKAGES = (
    "deepfake-probe",
    "torch",
    "torchvision",
    "timm",
    "captum",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "zarr",
    "pillow",
    "opencv-python-headless",
    "av",
    "scikit-learn",
    "imagehash",
)


@dataclass
class Provenance:
    """Provenance record of a run folder; rewritten after every stage.

    Attributes
    ----------
    folder : pathlib.Path
        Run folder.
    content : dict
        ``command``, ``study`` (all values, and their hash), ``data`` (fingerprint by dataset and
        split), ``weights`` (fingerprint by detector), ``seeds``, ``versions``, ``python``,
        ``platform``, ``devices`` (available), ``device`` (used), ``stages`` (name to wall seconds,
        summed over all runs), ``peak_memory`` (name to peak bytes), ``disk`` (name to bytes by
        which the run folder grew) and ``runs`` (number of starts).
    """

    folder: Path
    content: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: Path, command: str, study: Mapping[str, Any], mark: str) -> Provenance:
        """Open the record of a run that starts or resumes."""
        earlier = RunFolder(folder).read_provenance()
        same = earlier.get("study_fingerprint") == mark
        content = {
            "command": command,
            "study": dict(study),
            "study_fingerprint": mark,
            "seeds": list(study.get("seeds", ())),
            "data": {},
            "weights": {},
            "versions": versions(),
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "devices": [f"{name} ({what})" for name, what in devices().items()],
            "stages": dict(earlier.get("stages", {})) if same else {},
            "peak_memory": dict(earlier.get("peak_memory", {})) if same else {},
            "disk": dict(earlier.get("disk", {})) if same else {},
            "runs": 1 + (int(earlier.get("runs", 0)) if same else 0),
        }
        record = cls(folder, content)
        record.write()
        return record

    def add_usage(self, stage: str, usage: Usage) -> None:
        """Add the resources that a stage used in this run, also if it was interrupted."""
        stages = self.content["stages"]
        stages[stage] = round(stages.get(stage, 0.0) + usage.seconds, 3)
        self.content["wall_seconds"] = round(sum(stages.values()), 3)
        memory, disk = self.content["peak_memory"], self.content["disk"]
        memory[stage] = max(memory.get(stage, 0), usage.memory)
        disk[stage] = disk.get(stage, 0) + usage.disk

    def write(self) -> None:
        """Write the record atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / (PROVENANCE_FILE + ".part")
        text = json.dumps(self.content, indent=2, sort_keys=True, default=str)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.folder / PROVENANCE_FILE)


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect results."""
    out = {}
    for name in _PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "not installed"
    return out
