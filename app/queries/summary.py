"""What a run holds, for the head of the Overview page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.queries.deriving import derived
from app.run import Run
from probe.datasets.dataset import Dataset

__all__ = [
    "DatasetRow",
    "Part",
    "Stage",
    "Summary",
    "common_parts",
    "crop_rule",
    "dataset_rows",
    "parts",
    "summary",
]


@dataclass(frozen=True)
class Stage:
    """One stage of the command that makes the run; `seconds` is 0 until it is done."""

    name: str
    done: bool
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What the manifest says.

    Attributes
    ----------
    title, created, command, source : str
        As in `probe.run.RunFolder.read_manifest`; `source` is what was trained on.
    complete, simulated : bool
        Whether all stages are done; whether the images are simulations.
    detectors, datasets : tuple of str
        Labels.
    layers, versions : tuple of (str, str)
        Detector to tap; package to version.
    stages : tuple of Stage
        In order.
    """

    title: str
    created: str
    command: str
    source: str
    complete: bool
    simulated: bool
    detectors: tuple[str, ...]
    datasets: tuple[str, ...]
    layers: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    stages: tuple[Stage, ...]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Names of detectors without their variants."""
        return tuple(dict.fromkeys(label.split("/")[0] for label in self.detectors))

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of variants."""
        return tuple(dict.fromkeys(v for d in self.detectors if (v := d.partition("/")[2])))


@dataclass(frozen=True)
class DatasetRow:
    """Counts of one dataset: images by label, videos and clusters over all splits, per split."""

    name: str
    real: int
    fake: int
    videos: int
    identities: int
    splits: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Part:
    """What a detector's pages need, each with whether the run holds it."""

    detector: str
    neurons: bool
    universality: bool
    store: bool
    separability: bool
    embeddings: bool
    responses: bool
    maps: bool
    trust: bool
    attention: bool


def summary(run: Run) -> Summary:
    """Read the manifest."""
    found = run.manifest
    return Summary(
        title=str(found.get("title", "Run")),
        created=str(found.get("created", "")),
        command=run.command,
        source=str(found.get("source", "")),
        complete=bool(found.get("complete", False)),
        simulated=bool(found.get("simulated", False)),
        detectors=tuple(run.detectors),
        datasets=tuple(map(str, found.get("datasets", []))),
        layers=_pairs(found.get("layers")),
        versions=_pairs(found.get("versions")),
        stages=tuple(map(_stage, found.get("stages", []))),
    )


def dataset_rows(run: Run) -> tuple[DatasetRow, ...]:
    """Count the images, videos and identities of each dataset."""
    return derived(_dataset_rows, (run.data,))


def _dataset_rows(data: Dataset) -> tuple[DatasetRow, ...]:
    table = data.samples.table
    out = []
    for name, rows in table.groupby("dataset", sort=False):
        identities = rows["identity"][rows["identity"] != ""]
        by_split = rows["split"].value_counts()
        out.append(
            DatasetRow(
                name=str(name),
                real=int((rows["label"] == 0).sum()),
                fake=int((rows["label"] == 1).sum()),
                videos=len(rows[["method", "video", "label", "split"]].drop_duplicates()),
                identities=int(identities.nunique()),
                splits=tuple(
                    (s, int(by_split[s])) for s in ("train", "val", "test") if s in by_split
                ),
            )
        )
    return tuple(out)


def crop_rule(run: Run) -> str:
    """Say by which rule faces were cut, as the dataset's card states it."""
    card = run.data.card
    if "crop" in card or not isinstance(card.get("parts"), dict):
        return _crop_words(card)
    # Of joined data every part states its own.
    rules: dict[str, list[str]] = {}
    for name, part in card["parts"].items():
        rules.setdefault(_crop_words(part if isinstance(part, dict) else {}), []).append(str(name))
    if len(rules) == 1:
        return next(iter(rules))
    return " | ".join(f"{', '.join(names)}: {rule}" for rule, names in rules.items())


def _crop_words(card: Mapping[str, Any]) -> str:
    rule = card.get("crop")
    if isinstance(rule, dict):
        return "; ".join(f"{key}: {value}" for key, value in rule.items())
    return str(rule) if rule else "not stated in the dataset's card"


def parts(run: Run) -> tuple[Part, ...]:
    """Say for each detector which tables the run holds."""
    folder = run.folder
    return tuple(
        Part(
            label,
            folder.path("neurons", label).is_dir(),
            folder.path("universality", label).is_dir(),
            folder.store(label).is_dir(),
            folder.path("separability", label).is_dir(),
            folder.path("embeddings", label).is_dir(),
            folder.path("responses", label).is_dir(),
            bool(run.map_methods(label)),
            folder.path("trust", label).is_dir(),
            folder.path("attention", label).is_dir(),
        )
        for label in run.detectors
    )


def common_parts(run: Run) -> dict[str, bool]:
    """Say which tables of all detectors together the run holds."""
    folder = run.folder
    return {
        "similarity": folder.path("similarity").is_dir(),
        "artifact report": folder.path("artifacts").is_dir(),
        "measurements": folder.path("measurements").is_dir(),
        "map similarity": any(folder.path("map_similarity", "", "").parent.glob("*.zarr")),
    }


def _pairs(found: Any) -> tuple[tuple[str, str], ...]:
    return tuple((str(k), str(v)) for k, v in dict(found or {}).items())


def _stage(found: Any) -> Stage:
    seconds = float(found.get("seconds", 0.0))
    return Stage(str(found.get("name", "")), bool(found.get("done")), seconds)
