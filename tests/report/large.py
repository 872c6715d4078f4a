"""A run of fifteen detectors on six datasets: tables only, from drawn numbers, no image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probe.datasets.dataset import Dataset, Samples, write_native
from probe.evaluation.matrix import ZeroShotMatrix, _measured
from probe.neurons import universal_neurons
from probe.run import RunFolder
from probe.schema import DATASETS, VARIANTS
from tests.app.drawing import make_artifacts, make_separability, make_similarity
from tests.app.drawing_maps import make_attention, make_map_similarity, make_trust
from tests.app.making import make_ablation, make_scores, make_table, write_manifest
from tests.conftest import drawn_of

ARCHITECTURES = ("meso4", "mesoinception4", "shallownet", "xception", "efficientnet_b0")
#: Units of the layer that is judged: ShallowNet's are the paper's.
UNITS = {"meso4": 16, "mesoinception4": 16, "shallownet": 1024}
SOURCE, TARGET = "celebdf", ["faceswap", "neuraltextures"]
PEOPLE, FRAMES = 25, 2


def make_large(
    root: Path,
    architectures: tuple[str, ...] = ARCHITECTURES,
    datasets: tuple[str, ...] = DATASETS,
    seed: int = 0,
) -> RunFolder:
    """Write the run; returns its folder."""
    rng, folder = np.random.default_rng(seed), RunFolder(root)
    labels = tuple(f"{name}/{variant}" for name in architectures for variant in VARIANTS)
    data = make_data(folder.data, datasets)
    make_matrix(rng, data, labels).save(folder.path("evaluation"))
    layers = ("block1", "leaky")
    for label in labels:
        units = UNITS.get(label.partition("/")[0], 320)
        table = make_table(rng, label, datasets, units)
        table.save(folder.path("neurons", label))
        universal_neurons(table, n_draws=50).save(folder.path("universality", label))
        if not label.startswith("xception"):
            make_ablation(rng, datasets, label).save(folder.path("ablation", label))
        made = make_separability(rng, datasets, layers, 4, label)
        made.save(folder.path("separability", label))
    make_similarity(rng, labels, layers).save(folder.path("similarity"))
    make_artifacts(rng, datasets).save(folder.path("artifacts"))
    for name in architectures:
        first = f"{name}/base"
        make_trust(rng, list(datasets), first).save(folder.path("trust", first))
        make_attention(rng, list(datasets), first).save(folder.path("attention", first))
        for mode in ("corrected", "authors"):
            made = make_map_similarity(rng, data, tuple(f"{name}/{v}" for v in VARIANTS[:2]), mode)
            made.save(folder.path("map_similarity", name, mode))
    write_manifest(
        folder,
        title="Fifteen detectors",
        detectors=list(labels),
        datasets=list(datasets),
        source=SOURCE,
        layers=dict.fromkeys(labels, "leaky"),
    )
    note = f"No set of units of {labels[0]} was found in both halves of the identities."
    (root / "provenance.json").write_text(
        json.dumps({"no_ablation": {label: note for label in labels if "xception" in label}})
    )
    return folder


def make_data(root: Path, datasets: tuple[str, ...]) -> Dataset:
    rows = [
        {
            "sample": f"{d}-{who}-{label}-{frame}",
            "dataset": d,
            "split": "test",
            "label": label,
            "method": d if label else "real",
            "video": f"v{who}-{label}",
            "identity": f"{d}-{who}",
            "source": "",
            "frame": frame,
            "path": f"images/{d}-{who}-{label}-{frame}.png",
            "mask": "",
        }
        for d in datasets
        for who in range(PEOPLE)
        for label in (0, 1)
        for frame in range(FRAMES)
    ]
    card = {"crop": "as drawn", "label_convention": "0 real, 1 fake"}
    data = Dataset("drawn", Samples(pd.DataFrame(rows)), root, card)
    write_native(data)
    return data


def make_matrix(rng: np.random.Generator, data: Dataset, labels: tuple[str, ...]) -> ZeroShotMatrix:
    """Draw scores that tell fakes at home, and less so away."""
    table = data.samples.table
    gap = {name: rng.uniform(0, 1.2) for name in dict.fromkeys(table["dataset"])}
    logits, specs = {}, {}
    for label in labels:
        names = [SOURCE] if label.endswith("base") else [SOURCE, *TARGET]
        size = np.array([2.5 if name in names else gap[name] for name in table["dataset"]])
        noise = rng.normal(size=len(table)) + rng.normal(size=PEOPLE)[_people(table)]
        logits[label] = (size * table["label"].to_numpy() + noise).astype(np.float32)
        notes: dict[str, Any] = {"trained_on": [{"name": "drawn", "datasets": names}]}
        specs[label] = {"name": label.partition("/")[0], "origin": "trained", "notes": notes}
    scores = make_scores(data, logits)
    attrs = {**drawn_of(*specs, data=DATASETS), "specs": json.dumps(specs)}
    return ZeroShotMatrix(_measured(scores, 100, 0.95, 0).assign_attrs(attrs), scores)


def _people(table: pd.DataFrame) -> np.ndarray:
    return table["video"].str.extract(r"v(\d+)")[0].astype(int).to_numpy()
