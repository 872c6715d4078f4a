"""Memory and time of what could grow with rows, units or maps, at the sizes of real studies."""

from __future__ import annotations

import functools
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._resident import resident, watched
from probe.attribution.maps import AttributionMap
from probe.attribution.similarity import map_similarity
from probe.datasets import Dataset, Samples
from probe.detectors import Detector
from probe.detectors.detector import DetectorSpec
from probe.neurons.ablation import ablate
from probe.results import Provenance
from probe.stats import METRICS, bootstrap_metrics

#: Work to its sizes, the smaller first; those of `--tiny`; and how often both are repeated.
SIZES = {"bootstrap": (75_000, 600_000), "ablate": (4_096, 16_384), "compare maps": (200, 2_000)}
TINY = {"bootstrap": (500, 1_000), "ablate": (16, 32), "compare maps": (6, 12)}
#: Identities of the rows, images that units are taken out on, and the side of these and of maps.
CLUSTERS, IMAGES, SMALL, SIDE = 140, 64, 8, 256


@dataclass(frozen=True)
class Measured:
    """One piece of work at one size.

    Attributes
    ----------
    seconds : float
        Median of the repeats.
    taken : float
        Bytes by which it raised resident memory above its input.
    peak : float
        Resident memory of its process at most, in bytes.
    """

    seconds: float
    taken: float
    peak: float


def run(tiny: bool) -> None:
    table = Table(
        "work",
        "size",
        "seconds",
        "MB above input",
        "time ratio",
        "peak ratio",
        title="each size against the smaller",
    )
    for name, sizes in (TINY if tiny else SIZES).items():
        few, many = measure(name, sizes, 1 if tiny else 3, apart=not tiny)
        for size, one in zip(sizes, (few, many), strict=True):
            table.add_row(
                name,
                f"{size:,}",
                f"{one.seconds:.1f}",
                f"{one.taken / 1e6:,.0f}",
                f"{one.seconds / few.seconds:.2f}",
                f"{one.peak / few.peak:.2f}",
            )
    Console(width=100).print(table)


def measure(
    name: str, sizes: tuple[int, int], repeats: int = 3, apart: bool = True
) -> list[Measured]:
    """Do some work at two sizes in turn, each time in a process of its own where asked."""
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    taken, peak = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        if name == "compare maps":
            for size in sizes:
                write_maps(Path(folder), size, SIDE if apart else 64)
        for _ in range(repeats):
            for size in sizes:
                result = _run(WORKS[name], size, Path(folder), apart)
                seconds[size].append(result.seconds)
                taken[size] = max(taken[size], result.taken)
                peak[size] = max(peak[size], result.peak)
    return [Measured(float(np.median(seconds[n])), taken[n], peak[n]) for n in sizes]


def _run(work: Callable[[int, Path], object], size: int, folder: Path, apart: bool) -> Measured:
    if not apart:
        return _alone(work, size, folder)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_alone, work, size, folder).result()


def _alone(work: Callable[[int, Path], Callable[[], object]], size: int, folder: Path) -> Measured:
    go = work(size, folder)
    began = time.perf_counter()
    _, taken = watched(go)
    return Measured(time.perf_counter() - began, taken, resident("VmHWM"))


def bootstrap(rows: int, folder: Path) -> Callable[[], object]:
    """Measure scores by all metrics, with intervals over identities."""
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 2, rows), rng.integers(0, CLUSTERS, rows)
    scores = 1 / (1 + np.exp(-(labels + rng.normal(size=rows))))
    return lambda: bootstrap_metrics(list(METRICS), labels, scores, clusters, n_resamples=1000)


class Wide(nn.Module):
    """A layer of many units on a coarse view of the image."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(12, units)
        self.relu = nn.ReLU()
        self.out = nn.Linear(units, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (n,)."""
        out: torch.Tensor = self.out(self.relu(self.fc(self.pool(x).flatten(1))))[:, 0]
        return out


def without_units(units: int, folder: Path) -> Callable[[], object]:
    """Take out an eighth of a layer's units, against a hundred matched sets."""
    torch.manual_seed(0)
    one = Detector(Wide(units), DetectorSpec("meso4", SMALL, variant="wide"))
    rng, rows = np.random.default_rng(0), []
    for i in range(IMAGES):
        place = folder / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (SMALL, SMALL, 3), dtype=np.uint8)).save(place)
        rows.append(
            {
                "sample": str(i),
                "dataset": "noise",
                "split": "test",
                "label": i % 2,
                "method": "noise" if i % 2 else "real",
                "video": str(i),
                "identity": str(i // 2),
                "source": "",
                "frame": 0,
                "path": place.name,
                "mask": "",
            }
        )
    data = Dataset("noise", Samples(pd.DataFrame(rows)), folder, {})
    chosen = rng.choice(units, units // 8, replace=False)
    # What is imported and traced once is no memory of the work.
    ablate(one, data, "relu", units=chosen[:1], n_random=1, n_resamples=1)
    return lambda: ablate(one, data, "relu", units=chosen, n_random=100, n_resamples=200)


def write_maps(folder: Path, count: int, side: int) -> None:
    """Write maps of two detectors."""
    for k, name in enumerate("ab"):
        rng = np.random.default_rng(k)
        coarse = rng.normal(size=(count, 6, 6)).astype(np.float32)
        values = np.stack(
            [
                np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC))
                for one in coarse
            ]
        )
        names = [f"s{i}" for i in range(count)]
        data = xr.Dataset(
            {
                "attribution": (("sample", "y", "x"), values),
                "value": ("sample", np.zeros(count)),
                "gap": ("sample", np.full(count, np.nan)),
            },
            {"sample": names, "cluster": ("sample", [f"p{i // 4}" for i in range(count)])},
            {
                "method": "gradcam",
                "target": "fake logit",
                "signed": True,
                "layer": "conv4",
                **Provenance({name: name}, {}, 0).attrs(),
            },
        )
        AttributionMap(data).save(folder / f"{name}{count}.zarr")


def compared(count: int, folder: Path) -> Callable[[], object]:
    """Compare two detectors' maps, which lie on disk."""
    maps = {name: AttributionMap.open(folder / f"{name}{count}.zarr", lazy=True) for name in "ab"}
    go = functools.partial(map_similarity, n_resamples=200, n_permutations=199, progress=False)
    go({name: one.take(range(3)) for name, one in maps.items()})  # imports are no memory of it
    return lambda: go(maps)


WORKS = {"bootstrap": bootstrap, "ablate": without_units, "compare maps": compared}
