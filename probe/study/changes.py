"""What a changed study file changes: which keys differ, and which stages are made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from probe.errors import ProbeError
from probe.run import RunFolder, slug
from probe.study.plan import Study
from probe.study.provenance import PROVENANCE_FILE

__all__ = ["DECIDES", "accept", "differences", "hit_by", "prune"]

STAGES = (
    "data",
    "audit",
    "detectors",
    "evaluation",
    "activations",
    "neurons",
    "ablation",
    "separability",
    "artifacts",
    "responses",
    "attribution",
    "figures",
)

_MEASURED = STAGES[3:]

#: From a key, or the table that it stands in, to the stages whose results it decides; the longest
#: that fits counts. What follows from data and weights is not here but in `FOLLOWS`.
DECIDES: dict[str, tuple[str, ...]] = {
    "title": (),
    "out": (),
    "images": (),
    "compute.device": (),
    "compute.precision": ("evaluation", "activations", "neurons"),
    "compute.n_workers": (),
    "seeds": ("data", "detectors", *_MEASURED),
    "datasets": ("data",),
    "budget": ("data",),
    "detectors": ("detectors",),
    "evaluation.split": ("data",),
    "evaluation.ci": ("evaluation", "ablation", "separability", "artifacts", "attribution"),
    "evaluation.resamples": ("evaluation",),
    "record": ("activations",),
    "neurons": ("neurons",),
    "neurons.alpha": ("neurons", "ablation"),
    "neurons.correction": ("neurons", "ablation"),
    "neurons.layer": ("neurons", "ablation", "responses"),
    "neurons.top": ("neurons", "ablation"),
    "neurons.ablate": ("ablation",),
    "neurons.random": ("ablation",),
    "separability": ("separability",),
    "artifacts": ("artifacts",),
    "artifacts.responses": ("responses",),
    "artifacts.doses": ("responses",),
    "artifacts.videos": ("responses",),
    "attribution": ("attribution",),
    "figures": ("figures",),
}

#: From a stage to those that use what it makes. They are made again where that is other.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "data": ("audit", "detectors", *_MEASURED),
    "detectors": tuple(one for one in _MEASURED if one != "artifacts"),
    "activations": ("separability", "responses"),
    "neurons": ("responses",),
    "artifacts": ("responses",),
}

#: Below ``tables``, what the settings of a stage decide. Data and weights are checked in each.
_TABLES: dict[str, tuple[str, ...]] = {
    "evaluation": ("evaluation.*",),
    "neurons": ("neurons", "universality"),
    "ablation": ("ablation",),
    "separability": ("separability", "embeddings", "similarity.*"),
    "artifacts": ("artifacts.*",),
    "responses": ("responses",),
    "attribution": ("trust", "attention", "map-similarity"),
}


def accept(study: Study) -> tuple[str, list[str]]:
    """Make a run folder ready for a study, also where it holds one with other settings.

    What other settings have made is taken away; tables that follow from data and weights, and
    trainings, stay until it is known that these are other.

    Returns
    -------
    str
        What differs, and which stages that may make again, in a line; empty if nothing does.
    list of str
        These stages.

    Raises
    ------
    ProbeError
        If the folder holds another study altogether.
    """
    earlier = _earlier(study.out)
    if earlier is None:
        return "", []
    changed = differences(earlier, study.model_dump(mode="json"))
    own, stages = hit_by(changed)
    if not stages:
        return "", []
    if _is_another(earlier, study):
        raise ProbeError(
            f"The run folder {str(study.out)!r} holds another study, {earlier.get('title')!r}: "
            "none of its datasets is in this one. Give another folder with --out, or remove that "
            "one, with its trainings."
        )
    folder = RunFolder(study.out)
    for stage in own:
        for pattern in _TABLES.get(stage, ()):
            for path in (folder.root / "tables").glob(pattern):
                _remove(path)
        if stage == "activations":
            _remove(folder.root / "stores")
    # They are drawn of whatever tables there are.
    _remove(folder.figures)
    shown = [
        f"{key} {_short(old)} → {_short(new)}"
        for key, (old, new) in changed.items()
        if hit_by([key])[1]
    ]
    more = f"; and {len(shown) - 4} more" if len(shown) > 4 else ""
    again = f"{', '.join(stages)} are made again where that changes them."
    return f"{'; '.join(shown[:4])}{more}: {again}", stages


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys of two studies that differ, dotted, with both values.

    Tables are compared key by key, and lists as wholes, but for datasets: these one by one.
    """
    first, second = _flat(old), _flat(new)
    return {
        key: (first.get(key), second.get(key))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def hit_by(changed: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the stages that changed keys decide, and these with all that follow."""
    own = {stage for key in changed for stage in _decided(key)}
    hit, found = set(own), list(own)
    while found:
        new = [one for one in FOLLOWS.get(found.pop(), ()) if one not in hit]
        hit |= {*new}
        found += new
    # Figures are drawn of whatever there is.
    hit |= {"figures"} if hit else set()
    return [one for one in STAGES if one in own], [one for one in STAGES if one in hit]


def prune(study: Study) -> None:
    """Take away what a finished run holds of detectors that are not in the study any more."""
    folder, slugs = RunFolder(study.out), {slug(label) for label in study.labels}
    for place in (
        folder.root / "stores",
        *(
            folder.root / "tables" / one
            for one in (
                "neurons",
                "universality",
                "ablation",
                "separability",
                "embeddings",
                "responses",
                "trust",
                "attention",
            )
        ),
    ):
        for path in place.glob("*"):
            # Beside a table lie further frames: "meso4-base-units.csv".
            mine = path.stem in slugs or (
                path.suffix != ".zarr"
                and any(path.name.startswith((f"{one}.", f"{one}-")) for one in slugs)
            )
            if not mine:
                _remove(path)
    if len(study.labels) < 2:
        _remove(folder.similarity)
        _remove(folder.similarity.with_suffix(".csv"))
    methods = study.attribution.methods
    maps = {folder.maps(label, method) for label in study.labels for method in methods}
    for path in (folder.root / "maps").glob("*.zarr"):
        if path not in maps:
            _remove(path)


def _decided(key: str) -> tuple[str, ...]:
    name = key.partition("[")[0]
    while name not in DECIDES:
        if "." not in name:
            # A key that another version had: nobody knows what it decided.
            return STAGES
        name = name.rpartition(".")[0]
    return DECIDES[name]


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and (not key or "[" not in key):
        return {
            k: v
            for name, one in value.items()
            for k, v in _flat(one, f"{key}.{name}".strip(".")).items()
        }
    if isinstance(value, Mapping):
        return {f"{key}.{name}": one for name, one in value.items()}
    if key == "datasets" and isinstance(value, list):
        return {k: v for i, one in enumerate(value) for k, v in _flat(one, f"{key}[{i}]").items()}
    return {key: value}


def _earlier(out: Path) -> dict[str, Any] | None:
    """Return the study that a run folder was last begun with; None where there is none."""
    try:
        found = json.loads((out / PROVENANCE_FILE).read_text(encoding="utf-8"))["study"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _is_another(earlier: Mapping[str, Any], study: Study) -> bool:
    """Whether neither the title nor any source of images is the same: a mistake, most likely."""
    keys = ("open", "layout", "root", "part")
    entries = earlier.get("datasets") or []
    before = {tuple(str(one.get(key)) for key in keys) for one in entries}
    now = {tuple(str(getattr(one, key)) for key in keys) for one in study.datasets}
    return not before & now and earlier.get("title") != study.title


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _remove(path: Path) -> None:
    if path.is_dir():
        # Out of the way at once: half a removed table would read as one with missing values.
        old = path.with_name(f"{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
