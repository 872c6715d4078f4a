"""Load detectors and data of a finished run, in their state at the time of the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from probe.datasets.dataset import Dataset
from probe.detectors.detector import Detector
from probe.detectors.loading import CARD_FILE, load_detector
from probe.errors import CheckpointError, UnknownNameError
from probe.images import RunData, run_data
from probe.run import RunFolder

__all__ = ["PROVENANCE_FILE", "brought_file", "data_of", "detector_of", "measured_on"]

PROVENANCE_FILE = "provenance.json"


def data_of(run: RunFolder, roots: Sequence[str] = ()) -> RunData:
    """Open the run's images, restricted to the paths that `probe.images` allows."""
    return run_data(run, roots)


def measured_on(run: RunFolder, roots: Sequence[str] = ()) -> Dataset:
    """Return the images of the measured split of a run."""
    plan = _provenance(run).get("study", {}).get("evaluation", {})
    return data_of(run, roots).select(split=str(plan.get("split", "test")))


def detector_of(run: RunFolder, label: str, device: str | torch.device = "cpu") -> Detector:
    """Load a trained or pretrained detector of a run onto a device.

    Raises
    ------
    UnknownNameError
        If the run has no detector with this label.
    CheckpointError
        If the weights are missing or have changed.
    """
    known = [str(one) for one in run.read_manifest().get("detectors", [])]
    if label not in known:
        raise UnknownNameError("detector", label, known, where="this run")
    folder = run.detector(label)
    if (folder / CARD_FILE).is_file():
        return _called(load_detector(folder, device=device), label)
    brought = brought_file(run, label)
    if brought is None or not brought.is_file():
        where = f", and their file {str(brought)!r} is missing" if brought else ""
        raise CheckpointError(
            f"The weights of {label} are not in the run ({str(folder)!r} holds no {CARD_FILE})"
            f"{where}. Restore them, or rerun the study."
        )
    plan = _provenance(run)["study"]["detectors"]
    found = _called(
        load_detector(
            label.rpartition("/")[0],
            weights=brought,
            input_size=plan.get("input_size"),
            device=device,
        ),
        label,
    )
    noted = _provenance(run).get("weights", {}).get(label)
    if noted and noted != found.fingerprint:
        raise CheckpointError(
            f"The weights in {str(brought)!r} are not those used in the run. Restore them, or "
            "rerun the study."
        )
    return found


def brought_file(run: RunFolder, label: str) -> Path | None:
    """Return the weights file of a pretrained detector, if the run records it."""
    plan = _provenance(run).get("study", {}).get("detectors", {})
    name, _, variant = label.rpartition("/")
    for one in plan.get("weights", ()):
        file = Path(str(one.get("file", "")))
        if one.get("name") == name and (one.get("label") or file.stem) == variant:
            return file
    return None


def _called(detector: Detector, label: str) -> Detector:
    """Return a detector with the label of the run's tables."""
    variant = label.rpartition("/")[2]
    return Detector(detector.module, replace(detector.spec, variant=variant))


def _provenance(run: RunFolder) -> dict[str, Any]:
    try:
        found = json.loads((run.root / PROVENANCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
