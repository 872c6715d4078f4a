"""A small run folder, written by the functions that write true ones, from drawn numbers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from probe.datasets.dataset import Dataset, Samples, write_native
from probe.evaluation.matrix import ZeroShotMatrix
from probe.images import roots_note
from probe.neurons import Ablation, NeuronTable, ranks, universal_neurons
from probe.run import RunFolder
from probe.store import StoreWriter
from tests.app.drawing import write_reports
from tests.app.drawing_maps import write_maps
from tests.app.drawing_sample import write_measurements
from tests.conftest import drawn_of

DATASETS = ("alpha", "beta", "gamma")
DETECTORS = ("meso4/base", "meso4/shallow")
LAYER, UNITS, DOSES = "leaky", 12, 4
#: Layers of the separability report and of the pictures; the store holds the last one.
LAYERS = ("block1", LAYER)
IDENTITIES, FRAMES = 6, 2


@dataclass(frozen=True)
class MadeRun:
    """A run folder and the numbers that were written to it."""

    folder: RunFolder
    data: Dataset
    activations: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]
    tables: dict[str, NeuronTable]

    @property
    def root(self) -> Path:
        return self.folder.root


def make_run(root: Path, *, seed: int = 0, reports: bool = True, **manifest: Any) -> MadeRun:
    """Write a run of two detectors on three datasets, as older ones are without `reports`."""
    rng = np.random.default_rng(seed)
    folder = RunFolder(root)
    data = make_data(folder.data, rng)
    activations, logits, tables = {}, {}, {}
    for label in DETECTORS:
        activations[label] = rng.normal(size=(len(data), UNITS)).astype(np.float32)
        logits[label] = rng.normal(size=len(data)).astype(np.float32)
        write_store(folder.store(label), data, activations[label], logits[label], label)
        tables[label] = make_table(rng, label)
        tables[label].save(folder.path("neurons", label))
        universal_neurons(tables[label], n_draws=50).save(folder.path("universality", label))
        if label == DETECTORS[0]:
            make_ablation(rng).save(folder.path("ablation", label))
    make_matrix(rng, data, logits).save(folder.path("evaluation"))
    if reports:
        samples = [str(name) for name in data.samples.table["sample"]]
        write_reports(folder, rng, DETECTORS, DATASETS, samples, LAYERS, UNITS)
        write_maps(folder, rng, DETECTORS, data)
        write_measurements(folder, data, seed)
    write_manifest(folder, **manifest)
    return MadeRun(folder, data, activations, logits, tables)


def write_manifest(folder: RunFolder, **changed: Any) -> None:
    manifest: dict[str, Any] = {
        "title": "A drawn run",
        "command": "probe demo --out somewhere",
        "created": "2026-11-22T20:00:00+00:00",
        "complete": True,
        "simulated": True,
        "source": DATASETS[0],
        "seed": 0,
        "stages": [{"name": "data", "done": True, "seconds": 1.0}],
        "detectors": list(DETECTORS),
        "datasets": list(DATASETS),
        "layers": dict.fromkeys(DETECTORS, LAYER),
        "versions": {"numpy": np.__version__},
    }
    folder.write_manifest({**manifest, **changed})


def make_data(root: Path, rng: np.random.Generator) -> Dataset:
    """Write 16×16 images; fakes have a mask of one quarter."""
    rows = []
    for dataset in DATASETS:
        for identity in range(IDENTITIES):
            for label in (0, 1):
                for frame in range(FRAMES):
                    rows.append(_write_sample(root, rng, dataset, identity, label, frame))
    card = {"crop": "as drawn", "label_convention": "0 real, 1 fake", "simulated": True}
    data = Dataset("drawn", Samples(pd.DataFrame(rows)), root, card)
    write_native(data)
    return data


def take_out_images(made: MadeRun, to: Path, **manifest: Any) -> RunFolder:
    """Move the images of a run to where a user's own would lie, sealed as a study seals them."""
    folder, table = made.folder, made.data.samples.table.copy()
    to.mkdir(parents=True, exist_ok=True)
    table["digest"] = [
        hashlib.blake2b((folder.data / path).read_bytes(), digest_size=16).hexdigest()
        for path in table["path"]
    ]
    for kind in ("images", "masks"):
        (folder.data / kind).rename(to / kind)
    for column in ("path", "mask"):
        table[column] = [str(to / path) if path else "" for path in table[column]]
    write_native(Dataset(made.data.name, Samples(table), folder.data, made.data.card))
    write_manifest(folder, **{**roots_note([to]), **manifest})
    return folder


def _write_sample(
    root: Path, rng: np.random.Generator, dataset: str, identity: int, label: int, frame: int
) -> dict[str, Any]:
    name = f"{dataset}-{identity}-{label}-{frame}"
    pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    for kind, array in (("images", pixels), ("masks", mask)):
        file = root / kind / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(file)
    return {
        "sample": name,
        "dataset": dataset,
        "split": "test",
        "label": label,
        "method": dataset if label else "real",
        "video": f"v{identity}-{label}",
        "identity": f"{dataset}-{identity}",
        "source": "",
        "frame": frame,
        "path": f"images/{name}.png",
        "mask": f"masks/{name}.png" if label else "",
    }


def write_store(
    path: Path, data: Dataset, activations: np.ndarray, logits: np.ndarray, label: str
) -> None:
    attrs = {
        "detector": {"name": label, "fingerprint": "d"},
        "dataset": {"name": data.name, "fingerprint": data.fingerprint},
        "layers": {LAYER: LAYER},
        "reducer": "mean",
        "dtype": "float32",
        "batch_size": 16,
    }
    writer = StoreWriter.begin(path, data.samples.table, {LAYER: activations.shape[1]}, attrs)
    for where in writer.missing:
        writer.write(where, {LAYER: activations[where]}, logits[where])
    writer.finish()


def make_table(
    rng: np.random.Generator, label: str, datasets: tuple[str, ...] = DATASETS, units: int = UNITS
) -> NeuronTable:
    """Draw effects that are alike in all datasets, so that some units are in every list."""
    shape = (len(datasets), units)
    common = rng.gamma(1.0, size=units)
    effects = common * rng.uniform(0.7, 1.3, shape)
    signs = rng.choice([-1.0, 1.0], units)
    steps = np.linspace(0, 1, DOSES)
    dims = ("dataset", "unit")
    return NeuronTable(
        xr.Dataset(
            {
                "effect": (dims, effects),
                "slope": (dims, effects * signs),
                "rank": (dims, ranks(effects)),
                "value": ((*dims, "dose"), np.broadcast_to(2 * steps - 1, (*shape, DOSES)).copy()),
                "response": ((*dims, "dose"), (effects * signs)[..., None] * steps),
                "null_effect": (("draw", *dims), rng.gamma(1.0, size=(3, *shape))),
                "head_effect": (("head", *dims), rng.gamma(1.0, size=(5, *shape))),
                "contribution": (dims, effects * signs),
                # A third of the units contributes everywhere, the others nowhere.
                "p": (dims, np.where(np.arange(units) % 3, rng.uniform(0.2, 1, shape), 0.001)),
                "beside": (("measure", *dims), effects[None] * 1.5),
            },
            coords={
                "dataset": list(datasets),
                "unit": np.arange(units),
                "measure": ["weight_range"],
            },
            attrs={
                "measure": "ace",
                "mode": "default",
                "output": "logit",
                "layer": LAYER,
                **drawn_of(label, data=datasets),
            },
        )
    )


def make_ablation(
    rng: np.random.Generator, datasets: tuple[str, ...] = DATASETS, label: str = DETECTORS[0]
) -> Ablation:
    """Draw losses of two sets, one of them without a close match."""
    sets, where, metrics = ["universal", "counted"], [*datasets, "mean"], ["accuracy", "auroc"]
    shape = (len(sets), len(where), len(metrics))
    dims = ("set", "dataset", "metric")
    drop, random = rng.uniform(0, 0.1, shape), rng.uniform(0, 0.1, (len(sets), 9, *shape[1:]))
    columns = {
        "without": 0.8 - drop,
        "drop": drop,
        "drop_low": drop - 0.03,
        "drop_high": drop + 0.03,
        "excess": drop / 2,
        "excess_low": drop / 2 - 0.03,
        "excess_high": drop / 2 + 0.03,
        "p": rng.uniform(0, 1, shape),
    }
    return Ablation(
        xr.Dataset(
            {name: (dims, values) for name, values in columns.items()}
            | {
                "full": (dims[1:], np.full(shape[1:], 0.8)),
                "random_drop": (("set", "random", *dims[1:]), random),
                "n_units": ("set", [4.5, 6.0]),
                "n_distinct": ("set", [9.0, 7.0]),
                "balance": ("set", [1.02, 0.4]),
            },
            coords={"set": sets, "dataset": where, "metric": metrics},
            attrs={
                "layer": LAYER,
                **drawn_of(label, data=datasets),
                "n_random": 9,
                "chosen_on": "the other half",
                "units": {},
                "one_half_only": ["decoys"],
            },
        )
    )


def make_matrix(
    rng: np.random.Generator, data: Dataset, logits: dict[str, np.ndarray]
) -> ZeroShotMatrix:
    """Draw a matrix with one cell without an interval and one without a value."""
    levels, metrics = ["frame", "video"], ["accuracy", "auroc", "ap", "eer"]
    shape = (len(DETECTORS), len(DATASETS), len(levels), len(metrics))
    value = rng.uniform(0.3, 0.95, shape)
    low, high = value - 0.05, value + 0.05
    low[0, 1] = high[0, 1] = np.nan
    value[1, 2] = low[1, 2] = high[1, 2] = np.nan
    count = np.full(shape[:3], IDENTITIES * 2 * FRAMES)
    count[..., 1] = IDENTITIES * 2
    dims = ("detector", "dataset", "level", "metric")
    specs = {
        label: {"name": "meso4", "notes": {"trained_on": [{"name": "lab", "datasets": names}]}}
        for label, names in zip(DETECTORS, (["alpha"], ["alpha", "beta"]), strict=True)
    }
    table = xr.Dataset(
        {
            "value": (dims, value),
            "low": (dims, low),
            "high": (dims, high),
            "n_samples": (dims[:3], count),
            "n_clusters": (dims[:3], np.full(shape[:3], IDENTITIES)),
        },
        coords={
            "detector": list(DETECTORS),
            "dataset": list(DATASETS),
            "level": levels,
            "metric": metrics,
        },
        attrs={**drawn_of(*DETECTORS, data=()), "specs": json.dumps(specs)},
    )
    return ZeroShotMatrix(table, make_scores(data, logits))


def make_scores(data: Dataset, logits: dict[str, np.ndarray]) -> pd.DataFrame:
    table = data.samples.table
    parts = [
        table[["dataset", "sample", "method", "video", "frame", "label"]].assign(
            detector=label, cluster=data.samples.clusters, logit=values
        )
        for label, values in logits.items()
    ]
    return pd.concat(parts, ignore_index=True)
