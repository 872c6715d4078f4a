"""Stages of a study: their state, the layers they need, and the tables they keep."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from probe.artifacts import ArtifactReport, ResponseReport
from probe.attribution.explain import prepare
from probe.attribution.findings import MapSimilarity, RegionAttention
from probe.attribution.trust import TrustReport
from probe.detectors import Detector, load_detector
from probe.errors import StoreError, UnknownNameError
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
    "StageState",
    "clear",
    "exported",
    "figure_names",
    "holds",
    "in_order",
    "kept",
    "places_of",
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
