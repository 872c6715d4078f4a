"""The stages of a study, and how far each is by what lies in the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from probe.run import RunFolder, slug
from probe.study.plan import Study

__all__ = ["AUDIT_FILE", "StageState", "figure_names", "stages_of"]

AUDIT_FILE = "audit.json"


@dataclass(frozen=True)
class StageState:
    """How far a stage is, by what lies in the run folder.

    Attributes
    ----------
    name, makes : str
        The stage and what it is for.
    done, total : int
        How many of its results are there, and how many it makes; none if it was not asked for.
    """

    name: str
    makes: str
    done: int
    total: int


def stages_of(study: Study) -> list[StageState]:
    """Say of every stage what it makes and how much of that is there.

    What is there is checked against data and weights only when the study runs.
    """
    folder, labels = RunFolder(study.out), study.labels
    trained = labels[: len(labels) - len(study.detectors.weights)]
    datasets = ", ".join(study.known_names) or f"{len(study.datasets)} sources"
    stores = [folder.store(one) for one in labels] if study.record.layers else []
    drawn = [folder.figures / f"{name}.pdf" for name in figure_names(study).values()]
    rows: tuple[tuple[str, str, Sequence[Path]], ...] = (
        ("data", datasets, [folder.data / "dataset.json"]),
        ("audit", "leaks, duplicates, labels, confounds", [folder.root / AUDIT_FILE]),
        ("detectors", ", ".join(labels), [folder.detector(o) / "card.json" for o in trained]),
        ("evaluation", f"zero-shot matrix on {study.evaluation.split}", [folder.evaluation]),
        ("activations", ", ".join(study.record.layers) or "none", stores),
        ("neurons", f"{study.neurons.measure} at {study.neurons.layer}, universal counts",
         [folder.universality(one) for one in labels]),
        ("ablation", "detection without the units found",
         [folder.ablation(one) for one in labels] if study.neurons.ablate else []),
        ("figures", ", ".join(figure_names(study)) or "none", drawn),
    )  # fmt: skip
    return [
        StageState(name, makes, sum(path.exists() for path in paths), len(paths))
        for name, makes, paths in rows
    ]


def figure_names(study: Study) -> dict[str, str]:
    """Return the figures that are asked for, and the names of their files without a suffix.

    Heatmaps and counts are of the first architecture.
    """
    first = slug(study.labels[0].rpartition("/")[0])
    names = {
        "heatmaps": f"heatmaps-{first}",
        "matrix": "zero-shot-matrix",
        "counts": f"universal-neurons-{first}",
    }
    return {key: name for key, name in names.items() if getattr(study.figures, key)}
