"""Changes of a study file: which keys differ, and which stages must be recomputed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from probe.errors import ProbeError
from probe.run import RunFolder, slug
from probe.study.plan import Study

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

#: Key, or TOML table of a key, to the stages whose results it determines; the longest match
#: applies. Dependencies between stages are in `FOLLOWS`.
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

#: Stage to the stages that use its results, and are recomputed if these change.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "data": ("audit", "detectors", *_MEASURED),
    "detectors": tuple(one for one in _MEASURED if one != "artifacts"),
    "activations": ("separability", "responses"),
    "neurons": ("responses",),
    "artifacts": ("responses",),
}

#: Stage to the paths below ``tables`` that its settings determine. Whether a table fits the data
#: and weights is checked in each table.
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
    """Prepare a run folder for a study, also if it holds results of other settings.

    Results of changed settings are removed. Trainings, and tables that depend on data and weights,
    are kept until these are known to differ.

    Returns
    -------
    str
        One line with the changed keys and the stages to recompute; empty if nothing changed.
    list of str
        These stages.

    Raises
    ------
    ProbeError
        If the folder holds an unrelated study.
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
            f"The run folder {str(study.out)!r} holds another study, {earlier.get('title')!r}, "
            "which has no dataset in common with this one. Give another folder with --out, or "
            "delete that one, including its trained detectors."
        )
    folder = RunFolder(study.out)
    for stage in own:
        for pattern in _TABLES.get(stage, ()):
            for path in (folder.root / "tables").glob(pattern):
                _remove(path)
        if stage == "activations":
            _remove(folder.root / "stores")
    # Figures are drawn from whatever tables exist.
    _remove(folder.figures)
    shown = [
        f"{key} {_short(old)} → {_short(new)}"
        for key, (old, new) in changed.items()
        if hit_by([key])[1]
    ]
    more = f"; and {len(shown) - 4} more" if len(shown) > 4 else ""
    again = f"{', '.join(stages)} are recomputed where this changes them."
    return f"{'; '.join(shown[:4])}{more}: {again}", stages


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys in which two studies differ, with both values.

    Tables are compared key by key. Lists are compared as a whole, except datasets, which are
    compared one by one.
    """
    first, second = _flat(old), _flat(new)
    return {
        key: (first.get(key), second.get(key))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    }


def hit_by(changed: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the stages that changed keys determine, and these with all dependent stages."""
    own = {stage for key in changed for stage in _decided(key)}
    hit, found = set(own), list(own)
    while found:
        new = [one for one in FOLLOWS.get(found.pop(), ()) if one not in hit]
        hit |= {*new}
        found += new
    # Figures depend on every stage.
    hit |= {"figures"} if hit else set()
    return [one for one in STAGES if one in own], [one for one in STAGES if one in hit]


def prune(study: Study) -> None:
    """Remove results of detectors that are no longer in the study from a finished run."""
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
            # A table may have further frames beside it, such as "meso4-base-units.csv".
            mine = path.stem in slugs or (
                path.suffix != ".zarr"
                and any(path.name.startswith((f"{one}.", f"{one}-")) for one in slugs)
            )
            if not mine:
                _remove(path)
    if len(study.labels) < 2:
        _remove(folder.path("similarity"))
        _remove(folder.path("similarity").with_suffix(".csv"))
    methods = study.attribution.methods
    maps = {folder.path("maps", label, method) for label in study.labels for method in methods}
    for path in (folder.root / "maps").glob("*.zarr"):
        if path not in maps:
            _remove(path)


def _decided(key: str) -> tuple[str, ...]:
    name = key.partition("[")[0]
    while name not in DECIDES:
        if "." not in name:
            # A key of another version, whose effect is unknown.
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
    """Return the study with which a run folder was last started; None if there is none."""
    found = RunFolder(out).read_provenance().get("study")
    return found if isinstance(found, dict) else None


def _is_another(earlier: Mapping[str, Any], study: Study) -> bool:
    """Return whether neither title nor any source of images agrees, most likely a mistake."""
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
        # Renamed first: a partly removed table would read as one with missing values.
        old = path.with_name(f"{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
