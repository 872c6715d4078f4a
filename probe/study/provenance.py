"""What a run was made of, and what its stages took: data, weights, versions, time, memory."""

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

__all__ = ["PROVENANCE_FILE", "Provenance", "Usage", "folder_size", "measured", "versions"]

#: Least seconds between two looks at memory, and the share of time that looking may take.
INTERVAL, SHARE = 0.25, 0.03


@dataclass
class Usage:
    """What was used.

    Attributes
    ----------
    seconds : float
        Wall time.
    memory : int
        Largest memory in bytes that this process and its workers held at once; pages that they
        share count once.
    disk : int
        Bytes by which the folder grew; negative where it shrank.
    """

    seconds: float = 0.0
    memory: int = 0
    disk: int = 0


@contextmanager
def measured(folder: Path) -> Iterator[Usage]:
    """Measure what is done while the context is open.

    Parameters
    ----------
    folder : pathlib.Path
        Where results are written.

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
    """Memory of this process and its workers in bytes; shared pages count once on Linux."""
    own = psutil.Process()
    n_workers = own.children(recursive=True)
    if not n_workers:
        return int(own.memory_info().rss)
    return sum(_share(one) for one in (own, *n_workers))


def _share(process: psutil.Process) -> int:
    try:
        # Forked workers share their pages with this process; a plain sum would count them twice.
        found = process.memory_full_info()
        return int(getattr(found, "pss", found.rss))
    except psutil.Error:
        # A worker that has just ended.
        return 0


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                # A file that another process just renamed.
                continue
    return total


PROVENANCE_FILE = "provenance.json"

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
    """The record of a run folder; written anew after every stage.

    Attributes
    ----------
    folder : pathlib.Path
        Run folder.
    content : dict
        ``command``, ``study`` (all its values, and their hash), ``data`` (fingerprint by dataset
        and split), ``weights`` (fingerprint by detector), ``seeds``, ``versions``, ``python``,
        ``platform``, ``devices`` (that were there), ``device`` (that was taken), ``stages`` (name
        to wall seconds, summed over the runs that were needed), ``peak_memory`` (name to the most
        bytes that were held at once), ``disk`` (name to the bytes by which the run folder grew)
        and ``runs`` (how often it was begun).
    """

    folder: Path
    content: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: Path, command: str, study: Mapping[str, Any], mark: str) -> Provenance:
        """Open the record of a run that begins, or goes on."""
        earlier = _read(folder / PROVENANCE_FILE)
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
        """Add what a stage took in this run, also if it was broken off."""
        stages = self.content["stages"]
        stages[stage] = round(stages.get(stage, 0.0) + usage.seconds, 3)
        self.content["wall_seconds"] = round(sum(stages.values()), 3)
        memory, disk = self.content["peak_memory"], self.content["disk"]
        memory[stage] = max(memory.get(stage, 0), usage.memory)
        disk[stage] = disk.get(stage, 0) + usage.disk

    def write(self) -> None:
        """Write it, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / (PROVENANCE_FILE + ".part")
        text = json.dumps(self.content, indent=2, sort_keys=True, default=str)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self.folder / PROVENANCE_FILE)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide results."""
    out = {}
    for name in _PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = "not installed"
    return out
