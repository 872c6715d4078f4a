"""A large run folder from drawn numbers, written by the functions that write true ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from PIL import Image

from probe.datasets.dataset import Dataset, Samples, write_native
from probe.evaluation.matrix import ZeroShotMatrix
from probe.neurons import NeuronTable, ranks, universal_neurons
from probe.results import Provenance
from probe.run import RunFolder
from probe.store import StoreWriter
from tests.app.drawing import write_reports

__all__ = ["DETECTORS", "LAYER", "Size", "write_run"]

DETECTORS = ("large/base", "large/tuned", "large/head")
LAYER = "features"
LAYERS = ("stage1", "stage2", "stage3", LAYER)
FRAMES, DOSES, IMAGES, BATCH = 16, 9, 200, 64


@dataclass(frozen=True)
class Size:
    """How large a run is.

    Attributes
    ----------
    samples, stored : int
        Of the first detector's activation store.
    units, datasets : int
        Of the tables of all detectors.
    """

    samples: int
    stored: int
    units: int
    datasets: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of datasets."""
        return tuple(f"data{i}" for i in range(self.datasets))


def write_run(root: Path, size: Size, seed: int = 0) -> None:
    """Write a run of three detectors, the first of which has activations."""
    rng = np.random.default_rng(seed)
    folder = RunFolder(root)
    data = _write_data(folder.data, rng, size)
    logits = rng.normal(size=(len(DETECTORS), len(data))).astype(np.float32)
    logits += data.labels
    _write_store(folder.store(DETECTORS[0]), data, logits[0], size, rng)
    for label in DETECTORS:
        table = _table(rng, label, size)
        table.save(folder.path("neurons", label))
        universal_neurons(table, n_draws=20).save(folder.path("universality", label))
    _matrix(rng, data, logits, size).save(folder.path("evaluation"))
    samples = data.samples.table["sample"].tolist()
    write_reports(folder, rng, DETECTORS, size.names, samples, LAYERS, size.units)
    folder.write_manifest(
        {
            "title": "A drawn run",
            "command": "python -m benchmarks dashboard",
            "created": "2026-11-28T00:00:00+00:00",
            "complete": True,
            "simulated": True,
            "source": size.names[0],
            "seed": seed,
            "detectors": list(DETECTORS),
            "stages": [{"name": "data", "done": True, "seconds": 1.0}],
            "datasets": list(size.names),
            "layers": dict.fromkeys(DETECTORS, LAYER),
            "versions": {"numpy": np.__version__},
        }
    )


def _write_data(root: Path, rng: np.random.Generator, size: Size) -> Dataset:
    """Write few images, and many samples that point to them."""
    few = min(IMAGES, size.samples)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    mask = np.zeros((128, 128), np.uint8)
    mask[32:96, 32:96] = 255
    for i in range(few):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((128, 128)).save(root / "images" / f"{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    n = np.arange(size.samples)
    dataset, video = n % size.datasets, n // size.datasets // FRAMES
    label = video % 2
    name = pd.Series(size.names).to_numpy()[dataset]
    text = pd.DataFrame({"d": name, "v": video.astype(str), "f": (n // size.datasets).astype(str)})
    image = pd.Series((n % few).astype(str))
    table = pd.DataFrame(
        {
            "sample": text["d"] + "/" + text["v"] + "/" + text["f"],
            "dataset": name,
            "split": "test",
            "label": label,
            "method": np.where(label, "swap-" + text["d"], "real"),
            "video": "v" + text["v"],
            "identity": text["d"] + "-" + pd.Series((video // 4).astype(str)),
            "source": "",
            "frame": n // size.datasets % FRAMES,
            "path": "images/" + image + ".png",
            "mask": np.where(label, "masks/" + image + ".png", ""),
        }
    )
    data = Dataset("drawn", Samples(table), root, {"crop": "as drawn", "simulated": True})
    write_native(data)
    return data


def _write_store(
    path: Path, data: Dataset, logits: np.ndarray, size: Size, rng: np.random.Generator
) -> None:
    """Write activations in the chunks that recording makes, many at once."""
    attrs = {
        "detector": {"name": DETECTORS[0], "fingerprint": "d"},
        "dataset": {"name": data.name, "fingerprint": "s"},
        "layers": {LAYER: LAYER},
        "reducer": "mean",
        "dtype": "float16",
        "batch_size": BATCH,
    }
    StoreWriter.begin(path, data.samples.table, {LAYER: size.stored}, attrs)
    group = zarr.open_group(path, mode="r+")
    array: Any = group[f"{LAYER}/activation"]
    drawn = rng.standard_normal((BATCH * 16, size.stored), dtype=np.float32)
    shift = rng.normal(scale=0.5, size=size.stored).astype(np.float32)
    for start in range(0, len(data), len(drawn)):
        labels = data.labels[start : start + len(drawn)]
        # Rolled, so that samples that share an image differ in their activations.
        values = np.roll(drawn, start // len(drawn), axis=1)[: len(labels)]
        array[start : start + len(labels)] = (values + labels[:, None] * shift).astype(np.float16)
    filled: Any = {name: group[name] for name in ("logit", "written")}
    filled["logit"][:] = logits
    filled["written"][:] = True
    # The moments, which no page reads, are left out: they take another pass.
    group.attrs["complete"] = True


def _table(rng: np.random.Generator, label: str, size: Size) -> NeuronTable:
    shape = size.datasets, size.units
    effects = rng.gamma(1.0, size=size.units) * rng.uniform(0.7, 1.3, shape)
    signs = rng.choice([-1.0, 1.0], size.units)
    steps, dims = np.linspace(0, 1, DOSES), ("dataset", "unit")
    p = np.where(np.arange(size.units) % 50, rng.uniform(0.01, 1, shape), 1e-5)
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
                "p": (dims, p),
                "beside": (("measure", *dims), effects[None] * 1.5),
            },
            coords={
                "dataset": list(size.names),
                "unit": np.arange(size.units),
                "measure": ["weight_range"],
            },
            attrs={
                "measure": "ace",
                "mode": "default",
                "output": "logit",
                "layer": LAYER,
                **_drawn(label),
            },
        )
    )


def _drawn(*labels: str) -> dict[str, object]:
    return Provenance(dict.fromkeys(labels, "drawn"), {}, 0, 0.95).attrs()


def _matrix(
    rng: np.random.Generator, data: Dataset, logits: np.ndarray, size: Size
) -> ZeroShotMatrix:
    levels, metrics = ["frame", "video"], ["accuracy", "auroc", "ap", "eer"]
    shape = (len(DETECTORS), size.datasets, len(levels), len(metrics))
    dims = ("detector", "dataset", "level", "metric")
    value = rng.uniform(0.3, 0.95, shape)
    specs = {
        label: {"name": label, "notes": {"trained_on": [{"name": "x", "datasets": ["data0"]}]}}
        for label in DETECTORS
    }
    table = xr.Dataset(
        {
            "value": (dims, value),
            "low": (dims, value - 0.05),
            "high": (dims, value + 0.05),
            "n_samples": (dims[:3], np.full(shape[:3], size.samples // size.datasets)),
            "n_clusters": (dims[:3], np.full(shape[:3], 100)),
        },
        coords={
            "detector": list(DETECTORS),
            "dataset": list(size.names),
            "level": levels,
            "metric": metrics,
        },
        attrs={**_drawn(*DETECTORS), "specs": json.dumps(specs)},
    )
    columns = data.samples.table[["dataset", "sample", "method", "video", "frame", "label"]]
    clusters = data.samples.clusters
    parts = [
        columns.assign(detector=label, cluster=clusters, logit=values)
        for label, values in zip(DETECTORS, logits, strict=True)
    ]
    return ZeroShotMatrix(table, pd.concat(parts, ignore_index=True))
