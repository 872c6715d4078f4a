"""What a run was made of: data, weights, configuration, versions, devices, time."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe.compute import devices
from probe.study.usage import Usage

__all__ = ["PROVENANCE_FILE", "Provenance", "versions"]

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
