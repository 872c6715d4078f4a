"""A layer's whole separability report from its store, and its probes against scikit-learn's."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from benchmarks._resident import watched
from probe.separability import measure_separability
from probe.separability.features import Features, choose_samples, read_features
from probe.separability.measure import _part
from probe.separability.probes import PENALTIES, class_weights
from probe.separability.realfake import Fitted, Part, Settings, fit_dataset
from probe.store import StoreWriter

DATASETS = 6
FRAMES = 16
BATCH = 1024
MEMORY = "4G"
#: AUROCs of the two sides agree to this: ours sums products in single precision.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Measured:
    """The whole report, and the probes of one dataset by both sides.

    Attributes
    ----------
    samples, units, used : int
        What the store holds, and how many samples fitted into memory.
    report, report_memory : float
        Seconds and peak resident bytes of the process, everything counted.
    ours, theirs : float
        Seconds for the probe and control tasks of one dataset.
    our_memory, their_memory : float
        Bytes that this raised resident memory by, at most.
    difference : float
        Largest difference of an AUROC.
    """

    samples: int
    units: int
    used: int
    report: float
    report_memory: float
    ours: float
    theirs: float
    our_memory: float
    their_memory: float
    difference: float

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.theirs / self.ours


def run(tiny: bool) -> None:
    """Measure and print."""
    show(measure(720, 24, 4, apart=False) if tiny else measure(100_000, 2048, 20))


def measure(samples: int, units: int, controls: int, apart: bool = True) -> Measured:
    """Write a store of drawn activations, and measure both sides on it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "drawn.zarr"
        write_store(store, samples, units)
        do: Callable[..., Any] = in_a_process if apart else lambda work, *a: work(*a)
        used, seconds, memory = do(_report, store)
        mine, our_seconds, our_memory = do(_ours, store, controls)
        other, their_seconds, their_memory = do(_theirs, store, controls)
    difference = float(np.abs(mine - other).max())
    if difference > TOLERANCE:
        raise RuntimeError(f"Ours differs from scikit-learn by {difference:.2g} in AUROC.")
    return Measured(
        samples,
        units,
        used,
        seconds,
        memory,
        our_seconds,
        their_seconds,
        our_memory,
        their_memory,
        difference,
    )


def write_store(path: Path, samples: int, units: int) -> None:
    """Write activations of people, forged or not: a shared shift, one a method, much noise."""
    rng = np.random.default_rng(0)
    people = max(5, samples // (2 * FRAMES * DATASETS))
    each = samples // (2 * people * DATASETS)
    keys = [
        (d, p, y, f)
        for d in range(DATASETS)
        for p in range(people)
        for y in (0, 1)
        for f in range(each)
    ]
    table = pd.DataFrame(
        {
            "sample": [f"{d}-{p}-{y}-{f}" for d, p, y, f in keys],
            "dataset": [f"data{d}" for d, *_ in keys],
            "split": "test",
            "label": [y for _, _, y, _ in keys],
            "method": [f"method{d}" if y else "real" for d, _, y, _ in keys],
            "video": [f"{p}-{y}" for _, p, y, _ in keys],
            "identity": [f"{d}-{p}" for d, p, *_ in keys],
            "source": "",
            "frame": [f for *_, f in keys],
            "path": "",
            "mask": "",
        }
    )
    shared, own = rng.normal(size=units), rng.normal(size=(DATASETS, units))
    persons = rng.normal(size=(DATASETS, people, units)).astype(np.float32)
    attrs = {
        "detector": {"name": "drawn", "fingerprint": "drawn"},
        "dataset": {"name": "drawn", "fingerprint": "drawn"},
        "layers": {"units": "units"},
        "reducer": "mean",
        "dtype": "float16",
        "batch_size": BATCH,
    }
    writer = StoreWriter.begin(path, table, {"units": units}, attrs)
    for where in writer.missing:
        part = keys[where]
        d, p, y = (np.array([key[i] for key in part]) for i in range(3))
        shift = y[:, None] * (0.03 * shared + 0.05 * own[d])
        values = persons[d, p] + shift + rng.normal(size=(len(part), units))
        writer.write(where, {"units": values.astype(np.float16)}, values[:, 0])
    writer.finish()


def in_a_process(work: Callable[..., Any], *given: Any) -> Any:
    """Run some work in a process of its own, where its peak memory can be told."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def _report(store: Path) -> tuple[int, float, float]:
    began = time.perf_counter()
    found = measure_separability(store, memory=MEMORY)
    seconds = time.perf_counter() - began
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return int(found.data["sampled"].sum()), seconds, peak


def _first(store: Path) -> tuple[Part, int]:
    from probe.store import ActivationStore

    opened = ActivationStore.open(store)
    units = opened["units"]["activation"].sizes["unit"]
    sampled = choose_samples(opened, 16 << 30, units)
    features: Features = read_features(opened, "units", sampled)
    return _part(features, 0), sampled.n_folds


def _ours(store: Path, controls: int) -> tuple[np.ndarray, float, float]:
    part, n_folds = _first(store)
    settings = Settings(n_controls=controls)
    began = time.perf_counter()
    fitted, memory = watched(lambda: fit_dataset(part, n_folds, settings))
    seconds = time.perf_counter() - began
    return _aurocs(fitted), seconds, memory


def _aurocs(fitted: Fitted) -> np.ndarray:
    return np.concatenate([fitted.pairs.auroc(), fitted.controls])


def _theirs(store: Path, controls: int) -> tuple[np.ndarray, float, float]:
    part, n_folds = _first(store)
    began = time.perf_counter()
    found, memory = watched(lambda: by_sklearn(part, n_folds, controls))
    return found, time.perf_counter() - began, memory


def by_sklearn(part: Part, n_folds: int, controls: int) -> np.ndarray:
    """Do what `fit_dataset` does with scikit-learn: nested cross-validation of `Ridge`."""
    from probe.stats import exchange_labels

    x, y, folds = part.values, part.labels, part.folds
    weights = class_weights(y.astype(np.int64))
    drawn = exchange_labels(y, part.clusters, controls, 0)
    targets = np.where(np.concatenate([y[None], drawn]), 1.0, -1.0).T
    scores = np.zeros(targets.shape)
    for outer in range(n_folds):
        chosen = []
        for inner in (f for f in range(n_folds) if f != outer):
            kept, held = ~np.isin(folds, (outer, inner)), folds == inner
            chosen.append(
                [
                    roc_auc_score(
                        y[held], _ridge(x, targets[:, :1], weights, kept, a).predict(x[held])
                    )
                    for a in PENALTIES
                ]
            )
        penalty = PENALTIES[int(np.mean(chosen, axis=0).argmax())]
        kept, held = folds != outer, folds == outer
        model = _ridge(x, targets, weights, kept, penalty)
        fitted, predicted = model.predict(x[kept]), model.predict(x[held])
        mean = np.average(fitted, axis=0, weights=weights[kept])
        size = np.sqrt(np.average((fitted - mean) ** 2, axis=0, weights=weights[kept]))
        scores[held] = ((predicted.T - mean[:, None]) / size[:, None]).T
    labels = np.concatenate([y[None], drawn])
    return np.array([roc_auc_score(one, s) for one, s in zip(labels, scores.T, strict=True)])


def _ridge(x: Any, targets: Any, weights: Any, kept: Any, penalty: float) -> Ridge:
    w = weights[kept] / weights[kept].sum()
    mean = w @ x[kept]
    size = float((w[:, None] * (x[kept] - mean) ** 2).sum()) / x.shape[1]
    return Ridge(alpha=penalty * size, solver="cholesky").fit(x[kept], targets[kept], w)


def show(found: Measured) -> None:
    """Print seconds, ratios and memory."""
    table = Table(title=f"{found.samples:,} samples × {found.units:,} units, 6 datasets")
    for heading in ("", "scikit-learn", "ours", "ratio", "memory", "ours"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(
        "probe and control tasks of one dataset",
        f"{found.theirs:.1f} s",
        f"{found.ours:.1f} s",
        f"{found.ratio:.1f}",
        f"{found.their_memory / 1e6:,.0f} MB",
        f"{found.our_memory / 1e6:,.0f} MB",
    )
    table.add_row(
        f"the whole report, {found.used:,} samples used",
        "",
        f"{found.report:.0f} s",
        "",
        "",
        f"{found.report_memory / 1e6:,.0f} MB in all",
    )
    console = Console(width=110)
    console.print(table)
    console.print(f"largest difference of an AUROC: {found.difference:.1e}")
