"""The jobs that pages ask for, and what they made, read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.jobs.jobs import Jobs
from app.jobs.task import Task
from app.run import Run
from probe.attribution.maps import AttributionMap
from probe.datasets.cache import cache_folder
from probe.datasets.dataset import CARD_FILE, SAMPLES_FILE
from probe.errors import ProbeError, UnknownNameError
from probe.neurons import Ablation
from probe.run import MissingTableError

__all__ = ["ablation_of", "ablation_task", "jobs_of", "map_task", "maps_of", "reads_of"]

#: Most units of a set, and most images of a job; both are far above what a page shows.
MOST_UNITS, MOST_IMAGES = 200, 200

N_RANDOM = 100


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
    provenance = _json(run.folder.root / "provenance.json")
    weights = _json(card).get("weights_hash") or provenance.get("weights", {}).get(label)
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
    """Ask what detection loses without a set of units; see `probe.jobs.ablating`."""
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
    """Ask for heatmaps of images, given by token; see `probe.jobs.mapping`.

    Parameters
    ----------
    run, label : Run, str
        Run and detector.
    tokens : sequence of str
        Images, see `app.queries.reading.token_of`; maps come in this order.
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
    return Ablation.open(jobs.result(fingerprint) / "ablation.zarr")


def maps_of(jobs: Jobs, fingerprint: str) -> AttributionMap:
    """Read what a job "map" made."""
    return AttributionMap.open(jobs.result(fingerprint) / "maps.zarr")


def _json(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
