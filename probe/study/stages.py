"""Stages of a study: their state, what they keep, and what a changed study has them redo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from probe.artifacts import ArtifactReport, ResponseReport
from probe.attribution.explain import prepare
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.attribution.trust import TrustReport
from probe.detectors import Detector, load_detector
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.evaluation.matrix import ZeroShotMatrix
from probe.hooks import trace
from probe.neurons import Ablation, NeuronTable, Universality
from probe.run import PROVENANCE_FILE, RunFolder, slug
from probe.schema import family_of
from probe.separability import Embeddings, SeparabilityReport, Similarity
from probe.study.plan import COMPARED, NAMED_LAYERS, Study, heads_of
from probe.tables import open_table, plain

__all__ = [
    "AUDIT_FILE",
    "DECIDES",
    "StageState",
    "accept",
    "clear",
    "differences",
    "exported",
    "figure_names",
    "hit_by",
    "holds",
    "in_order",
    "kept",
    "places_of",
    "prune",
    "require_layers",
    "stages_of",
]


def require_layers(study: Study) -> None:
    """Raise for layers that a detector lacks or that cannot be drawn, before any training.

    Raises
    ------
    UnknownNameError
        If a detector has no such layer.
    ProbeError
        If a layer for Grad-CAM has no activation maps at this input size.
    """
    plan = study.detectors
    for name in dict.fromkeys([*plan.names, *(one.name for one in plan.weights)]):
        asked, drawn = study.layers - {*NAMED_LAYERS}, _drawn(study) - {*NAMED_LAYERS}
        if asked | drawn:
            detector = load_detector(name, input_size=plan.input_size)
            known = trace(detector).layers
            for layer in sorted((asked | drawn) - {*known}):
                raise UnknownNameError(
                    "layer", layer, known, name, f"List them with `probe layers {name}`."
                )
            for layer in sorted(drawn):
                prepare(detector, COMPARED, layer=layer)


def _drawn(study: Study) -> set[str]:
    """Return the layers whose activation maps Grad-CAM weights."""
    drawn = {study.figures.heatmap_layer} if study.figures.heatmaps else set()
    if study.attribution.run and study.attribution.layer:
        drawn = drawn | {study.attribution.layer}
    return drawn


def in_order(detector: Detector, names: list[str]) -> list[str]:
    """Sort layers from input to output, without duplicates."""
    traced = trace(detector)
    order = {layer: i for i, layer in enumerate(traced.layers)}
    return sorted(dict.fromkeys(names), key=lambda name: order[traced.resolve(name)])


Table = TypeVar(
    "Table",
    ZeroShotMatrix,
    NeuronTable,
    Universality,
    Ablation,
    SeparabilityReport,
    Similarity,
    Embeddings,
    ArtifactReport,
    ResponseReport,
    TrustReport,
    MapSimilarity,
    RegionAttention,
)


def kept(table: Table, place: Path) -> Table:
    """Write a table and its CSV; the old CSV is removed first, so that a kill leaves none stale."""
    place.with_suffix(".csv").unlink(missing_ok=True)
    table.save(place)
    return exported(table, place)


def clear(place: Path) -> None:
    """Remove the table of an earlier run, if the result is that there is none."""
    shutil.rmtree(place, ignore_errors=True)
    place.with_suffix(".csv").unlink(missing_ok=True)


def exported(table: Table, place: Path) -> Table:
    """Write the CSV of an existing table if it is missing, as after a kill."""
    if not place.with_suffix(".csv").is_file():
        table.export(place.with_suffix(".csv"))
    return table


def holds(path: Path, wanted: dict[str, Any]) -> bool:
    """Return whether a table exists and was computed from the same detectors and data."""
    if not path.is_dir():
        return False
    try:
        attrs = open_table(path).attrs
    except StoreError:
        return False
    return all(attrs.get(key) == plain(value) for key, value in wanted.items())


AUDIT_FILE = "audit.json"


@dataclass(frozen=True)
class StageState:
    """State of a stage, by the results in the run folder.

    Attributes
    ----------
    name, makes : str
        Name and output of the stage.
    done, total : int
        Number of existing and of all results; a total of 0 if the stage was not requested.
    """

    name: str
    makes: str
    done: int
    total: int


def stages_of(study: Study) -> list[StageState]:
    """Return the state of every stage.

    Existing results are checked against data and weights only when the study runs.
    """
    folder, labels = RunFolder(study.out), study.labels
    trained = labels[: len(labels) - len(study.detectors.weights)]
    datasets = ", ".join(study.known_names) or f"{len(study.datasets)} sources"
    stores = [folder.store(one) for one in labels] if study.record.layers else []
    asked = study.artifacts.run and study.artifacts.responses
    drawn = [
        folder.figures / f"{name}.pdf" for names in figure_names(study).values() for name in names
    ]
    rows: tuple[tuple[str, str, Sequence[Path]], ...] = (
        ("data", datasets, [folder.data / "dataset.json"]),
        ("audit", "leaks, duplicates, labels, confounds", [folder.root / AUDIT_FILE]),
        ("detectors", ", ".join(labels), [folder.detector(o) / "card.json" for o in trained]),
        (
            "evaluation",
            f"zero-shot matrix on {study.evaluation.split}",
            [folder.path("evaluation")],
        ),
        ("activations", ", ".join(study.record.layers) or "none", stores),
        (
            "neurons",
            f"{study.neurons.measure} at {study.neurons.layer}, universal units",
            [folder.path("universality", one) for one in labels],
        ),
        (
            "ablation",
            "ablation of universal units",
            [folder.path("ablation", one) for one in labels] if study.neurons.ablate else [],
        ),
        ("separability", _pictures(study), _judged(study, folder)),
        (
            "artifacts",
            "image measurements, real against fake",
            [folder.path("artifacts")] if study.artifacts.run else [],
        ),
        (
            "responses",
            "unit responses",
            [folder.path("responses", one) for one in labels] if asked else [],
        ),
        (
            "attribution",
            "heatmaps, reliability checks, region attention",
            [folder.path("trust", one) for one in heads_of(study)] if study.attribution.run else [],
        ),
        ("figures", ", ".join(figure_names(study)) or "none", drawn),
    )
    return [
        StageState(name, makes, sum(path.exists() for path in paths), len(paths))
        for name, makes, paths in rows
    ]


def _pictures(study: Study) -> str:
    pictures = ", ".join(study.separability.pictures)
    return f"probes of layers; {pictures}" if pictures else "probes of layers"


def _judged(study: Study, folder: RunFolder) -> list[Path]:
    """Return the paths of separability tables; none if nothing is recorded."""
    plan = study.separability
    if not plan.run or not study.record.layers:
        return []
    return [folder.path("separability", one) for one in study.labels]


def figure_names(study: Study) -> dict[str, list[str]]:
    """Return the requested figures, and the names of their files without suffix.

    The list holds one representative of each group: heatmaps and counts of each architecture,
    probes of each base or pretrained detector, and spectra. Figures of region attention are not
    listed, since they depend on faces being found.
    """
    ends = list(dict.fromkeys(slug(label.rpartition("/")[0]) for label in study.labels))
    names = {
        "heatmaps": [f"heatmaps-{end}" for end in ends],
        "matrix": ["zero-shot-matrix"],
        "counts": [f"universal-neurons-{end}" for end in ends],
        "separability": [f"probes-{slug(family_of(one))}" for one in heads_of(study)],
        "artifacts": ["artifacts-spectra"],
    }
    if not study.separability.run or not study.record.layers:
        del names["separability"]
    if not study.artifacts.run:
        del names["artifacts"]
    return {key: those for key, those in names.items() if getattr(study.figures, key)}


def places_of(folder: RunFolder) -> dict[str, Path]:
    """Return the path of each result of a study."""
    return {
        "report": folder.report,
        "images and sample table": folder.data,
        "audit of the data": folder.root / AUDIT_FILE,
        "weights and cards": folder.root / "detectors",
        "zero-shot matrix": folder.path("evaluation").with_suffix(".csv"),
        "activations": folder.root / "stores",
        "neuron tables": folder.root / "tables" / "neurons",
        "universality tables": folder.root / "tables" / "universality",
        "ablation tables": folder.root / "tables" / "ablation",
        "separability tables": folder.root / "tables" / "separability",
        "artifact report": folder.path("artifacts").with_suffix(".csv"),
        "responses of units": folder.root / "tables" / "responses",
        "attribution maps": folder.root / "maps",
        "reliability of maps": folder.root / "tables" / "trust",
        "region attention": folder.root / "tables" / "attention",
        "similarity of maps": folder.root / "tables" / "map-similarity",
        "joint tables of all detectors": folder.joint,
        "figures": folder.figures,
        "provenance": folder.root / PROVENANCE_FILE,
    }


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
