"""`Features`: activations of a layer within a memory budget; AUROC and moments by cluster."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from probe.datasets.subset import quota, spread
from probe.errors import ProbeError, StoreError
from probe.progress import progress_bar
from probe.stats import MIN_CLUSTERS, Floats, cluster_counts, percentile_bounds
from probe.store import ActivationStore

__all__ = [
    "Features",
    "OnePersonError",
    "PAIRWISE",
    "Pairs",
    "Sampled",
    "Spread",
    "Tally",
    "bounds",
    "choose_samples",
    "columns_auroc",
    "pairs_of",
    "people_of",
    "read_features",
    "resampled",
    "spread_of",
    "tally",
]

Singles = NDArray[np.float32]
Integers = NDArray[np.int64]

#: Memory of Python, of the store's chunks and of small arrays, in bytes.
BASE_MEMORY = 700 << 20
#: Maximum number of samples per dataset for distances between all pairs.
PAIRWISE = 2000
#: Number of float64 matrices of that size that are held at once.
PAIRWISE_COPIES = 5
#: Bytes of memory needed per byte of features.
SHARE = 1.7
#: Rows per block.
ROWS = 4096


class OnePersonError(ProbeError):
    """All samples are of one person, so no probe can be fitted on some and scored on others."""


@dataclass(frozen=True)
class Sampled:
    """Samples of a store that are used, sorted by dataset; the same for all layers.

    Attributes
    ----------
    rows : numpy.ndarray
        Shape (n,), positions of the samples in the store.
    names : tuple of str
        Names of the datasets, in order of first appearance.
    datasets, people, folds : numpy.ndarray
        Shape (n,), codes. A person is an identity across datasets, else a video of a dataset.
    labels : numpy.ndarray
        Shape (n,), True for fakes.
    methods : numpy.ndarray
        Shape (n,), names of the forgery methods.
    images : numpy.ndarray
        Shape (n,), codes of image files: originals that belong to several fake datasets appear in
        each of them.
    own : numpy.ndarray
        Shape (n,), the detector's own logit.
    total : numpy.ndarray
        Shape (datasets,): number of samples in the store.
    """

    rows: Integers
    names: tuple[str, ...]
    datasets: Integers
    people: Integers
    folds: Integers
    labels: NDArray[np.bool_]
    methods: NDArray[Any]
    images: Integers
    own: NDArray[np.float64]
    total: Integers

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    def slice_of(self, dataset: int) -> slice:
        """Return the slice of the samples of a dataset."""
        found = np.flatnonzero(self.datasets == dataset)
        return slice(int(found[0]), int(found[-1]) + 1)


@dataclass(frozen=True)
class Features:
    """Activations of a layer, with each unit divided by its deviation within datasets.

    Attributes
    ----------
    layer : str
        Name of the layer.
    values : numpy.ndarray
        Shape (n, units), or (n, rank) after `compact`; in the order of `sampled`. Units that are
        constant within all datasets are 0.
    sampled : Sampled
        The samples of the rows.
    units : int
        Number of units of the layer.
    """

    layer: str
    values: Singles
    sampled: Sampled
    units: int

    def compact(self) -> Features:
        """Rotate to as many axes as there are samples, if there are more units than samples.

        Distances and linear probes with a ridge penalty do not change under rotation.
        """
        n, units = self.values.shape
        if units <= n:
            return self
        left, sizes, _ = np.linalg.svd(self.values.astype(np.float64), full_matrices=False)
        return Features(self.layer, (left * sizes).astype(np.float32), self.sampled, self.units)


def choose_samples(
    store: ActivationStore, memory: int, units: int, n_folds: int = 5, seed: int = 0
) -> Sampled:
    """Choose samples that fit into memory, and split people into folds.

    Parameters
    ----------
    store : ActivationStore
        Complete activation store.
    memory : int
        Memory limit, in bytes.
    units : int
        Number of units of the widest layer.
    n_folds : int, default 5
        Number of folds of people over all datasets, stratified by dataset and label.
    seed : int, default 0
        Seed of folds and of thinning.

    Raises
    ------
    ProbeError
        If too few samples would fit (fewer than 100, or than the store has), or there is only one
        person.
    """
    table = store.samples
    parts = _parts(table, _reals(store.attrs["dataset"].get("card", {})))
    total = np.array([len(where) for where in parts.values()])
    each = quota(total, _most(memory, units, int(total.sum()), n_folds))
    rows = []
    for where in parts.values():
        part = table.iloc[where]
        groups = pd.factorize(people_of(part) + "|" + part["label"].astype(str))[0]
        rows.append(where[spread(groups, min(len(where), each), seed)])
    kept = table.iloc[np.concatenate(rows)]
    people = pd.factorize(people_of(kept))[0].astype(np.int64)
    datasets = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    images = pd.factorize(kept["path"].where(kept["path"] != "", kept["sample"]))[0]
    labels = kept["label"].to_numpy() == 1
    folds = _folds(2 * datasets + labels, people, n_folds, seed)
    return Sampled(
        np.concatenate(rows),
        tuple(parts),
        datasets,
        people,
        folds,
        labels,
        kept["method"].to_numpy(object),
        images,
        kept["logit"].to_numpy(np.float64),
        total,
    )


def _reals(card: Mapping[str, Any]) -> dict[str, str]:
    """Return which originals belong to which fakes, from the card of a dataset or of its parts."""
    cards = [card, *dict(card.get("parts", {})).values()]
    return {k: v for one in cards for k, v in dict(one.get("reals") or {}).items()}


def _parts(table: pd.DataFrame, reals: Mapping[str, str]) -> dict[str, Integers]:
    """Split samples by dataset; fakes come with the originals that belong to them.

    This matches `probe.datasets.parts_of`: a store of FaceForensics++ is split by method.
    """
    of, real = table["dataset"].to_numpy(object), (table["label"] == 0).to_numpy()
    names = list(dict.fromkeys(of))
    fakes = [name for name in names if reals.get(name) in names]
    given = {reals[name] for name in fakes}
    parts = {name: np.flatnonzero((of == name) | ((of == reals[name]) & real)) for name in fakes}
    return parts | {
        name: np.flatnonzero(of == name)
        for name in names
        if name not in parts and name not in given
    }


def people_of(table: pd.DataFrame) -> pd.Series:
    """Return the person of each sample: the identity across datasets, else the video."""
    video = table["dataset"] + "|" + table["video"]
    return table["identity"].where(table["identity"] != "", video).astype(str)


def _folds(strata: Integers, people: Integers, n_folds: int, seed: int) -> Integers:
    count = len(np.unique(people))
    if count < 2:
        raise OnePersonError(
            "All samples show one person (or one video), so no probe can be fitted on some people "
            "and scored on others. Record a dataset with more people."
        )
    # Imported where it is used: reports are read without it.
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(min(n_folds, count), shuffle=True, random_state=seed)
    out = np.zeros(len(people), dtype=np.int64)
    with warnings.catch_warnings():
        # A label with few samples is missing in some folds; `Part.problem` reports the effects.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for i, (_, held) in enumerate(folds.split(strata, strata, people)):
            out[held] = i
    return out


def _most(memory: int, units: int, n: int, n_folds: int) -> int:
    """Return how many samples fit in memory beside the matrices needed for fitting."""
    side = min(units, n)
    matrices = 8 * (n_folds + 4) * side**2 + 8 * PAIRWISE_COPIES * min(PAIRWISE, n) ** 2
    # In addition: a copy of all fakes or all reals, and the scores of draws.
    left = (memory - BASE_MEMORY - matrices) / SHARE
    most = int(left // (4 * units)) if units <= n else int(left // (12 * units))
    if most < min(n, 100):
        needed = BASE_MEMORY + matrices + int(SHARE * 12 * units * min(n, 100))
        raise ProbeError(
            f"memory={memory >> 20}M was given, which holds {max(most, 0)} samples of {units} "
            f"units. Give at least {(needed >> 20) + 1}M, or record the layer with reducer mean."
        )
    return most


def read_features(store: ActivationStore, layer: str, sampled: Sampled) -> Features:
    """Read the activations of a layer, block by block.

    Raises
    ------
    StoreError
        If an activation is not finite.
    """
    tap = store[layer]["activation"]
    units = tap.sizes["unit"]
    values = np.empty((len(sampled), units), dtype=np.float32)
    with progress_bar(f"read {layer}", len(sampled)) as advance:
        for where, positions in _blocks(sampled.rows, tap.sizes["sample"]):
            block = np.asarray(tap[where].values, dtype=np.float32)
            values[positions] = block[sampled.rows[positions] - where.start]
            advance(len(positions))
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise StoreError(
            f"{int(bad.sum())} of {len(values)} samples have activations of {layer!r} that are "
            "not finite. Check the detector's weights and record again."
        )
    _scale(values, sampled)
    return Features(layer, values, sampled, units)


def _blocks(rows: Integers, n: int) -> Iterator[tuple[slice, Integers]]:
    """Yield blocks of the store that hold chosen rows, with the positions of those rows."""
    order = np.argsort(rows, kind="stable")
    edges = np.searchsorted(rows[order], np.arange(0, n + ROWS, ROWS))
    for i, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        if stop > start:
            yield slice(i * ROWS, min((i + 1) * ROWS, n)), order[start:stop]


def _scale(values: Singles, sampled: Sampled) -> None:
    """Divide units by their deviation within datasets, in place; constant units become 0."""
    squares, units = np.zeros(values.shape[1]), values.shape[1]
    center = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    for block in _rows(len(values)):
        values[block] -= center
    for dataset in range(len(sampled.names)):
        part = values[sampled.slice_of(dataset)]
        mean = part.mean(axis=0, dtype=np.float64)
        for block in _rows(len(part)):
            squares += ((part[block] - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / len(values))
    largest = np.zeros(units)
    for block in _rows(len(values)):
        np.maximum(largest, np.abs(values[block]).max(axis=0), out=largest)
    # Rounding errors give constant units a small deviation.
    alive = deviation > 1e-6 * (largest + np.abs(center)) + 1e-30
    factor = np.where(alive, 1 / np.where(alive, deviation, 1.0), 0.0).astype(np.float32)
    for block in _rows(len(values)):
        values[block] *= factor


def _rows(n: int) -> Iterator[slice]:
    for start in range(0, n, ROWS):
        yield slice(start, min(start + ROWS, n))


@dataclass(frozen=True)
class Pairs:
    """Number of times a fake of one cluster scores above a real of another, ties counting one half.

    Attributes
    ----------
    wins, count : numpy.ndarray
        Shape (clusters, clusters): wins and number of pairs, fakes of the row's cluster against
        reals of the column's.
    """

    wins: Floats
    count: Floats

    def auroc(self, counts: Floats | None = None) -> Floats:
        """Return the AUROC with weighted clusters, (resamples, clusters) to (resamples,)."""
        c = np.ones((1, len(self.wins))) if counts is None else counts
        top = np.einsum("rc,rc->r", c @ self.wins, c)
        bottom = np.einsum("rc,rc->r", c @ self.count, c)
        out: Floats = np.divide(top, bottom, out=np.full(len(c), np.nan), where=bottom > 0)
        return out


def pairs_of(
    labels: NDArray[np.bool_],
    scores: NDArray[Any],
    clusters: NDArray[np.int64],
) -> Pairs:
    """Compare each fake with each real, and sum by cluster.

    Parameters
    ----------
    labels, scores : numpy.ndarray
        Shape (n,). Samples whose score is NaN are left out.
    clusters : numpy.ndarray
        Shape (n,), codes from 0.
    """
    n_clusters = int(clusters.max()) + 1
    wins, count = np.zeros((n_clusters, n_clusters)), np.zeros((n_clusters, n_clusters))
    scored = np.isfinite(scores)
    fakes, reals = np.flatnonzero(scored & labels), np.flatnonzero(scored & ~labels)
    if not len(fakes) or not len(reals):
        return Pairs(wins, count)
    rows, row = np.unique(clusters[fakes], return_inverse=True)
    by_cluster = reals[np.argsort(clusters[reals], kind="stable")]
    columns, starts = np.unique(clusters[by_cluster], return_index=True)
    for column, part in zip(columns, np.split(scores[by_cluster], starts[1:]), strict=True):
        ordered = np.sort(part)
        below = np.searchsorted(ordered, scores[fakes], "left")
        ties = np.searchsorted(ordered, scores[fakes], "right") - below
        wins[rows, column] = np.bincount(row, below + 0.5 * ties)
        count[rows, column] = np.bincount(row) * len(part)
    return Pairs(wins, count)


def columns_auroc(labels: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return AUROC per column, shape (n, columns); labels have shape (n,) or (n, columns).

    Returns
    -------
    auroc, pairs : numpy.ndarray
        Shape (columns,): AUROC and number of pairs; NaN and 0 where a class is missing.
    """
    y = labels if labels.ndim == 2 else labels[:, None]
    ranks = rankdata(scores, axis=0)
    positive = y.sum(axis=0).astype(np.float64) * np.ones(scores.shape[1])
    negative = len(y) - positive
    pairs = positive * negative
    top = np.where(y, ranks, 0).sum(axis=0) - positive * (positive + 1) / 2
    return np.divide(top, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0), pairs


@dataclass(frozen=True)
class Tally:
    """Sums of a quantity by cluster and class, for class-balanced means.

    Attributes
    ----------
    sums, counts : numpy.ndarray
        Shape (clusters, classes): sum of values, and number of values.
    """

    sums: Floats
    counts: Floats

    def mean(self, counts: Floats | None = None) -> Floats:
        """Return the mean of class means, shape (resamples, clusters) to (resamples,).

        NaN where a class of the data is missing in the resample.
        """
        c = np.ones((1, len(self.sums))) if counts is None else counts
        there = self.counts.sum(axis=0) > 0
        bottom = c @ self.counts[:, there]
        means = np.divide(
            c @ self.sums[:, there], bottom, out=np.full(bottom.shape, np.nan), where=bottom > 0
        )
        return np.asarray(means.mean(axis=1))


def tally(
    values: NDArray[Any], classes: NDArray[np.int64], clusters: NDArray[np.int64], n_classes: int
) -> Tally:
    """Sum values, shape (n,), by cluster and class; NaN values are left out."""
    kept, n_clusters = np.isfinite(values), int(clusters.max()) + 1
    where = clusters[kept] * n_classes + classes[kept]
    shape = (n_clusters, n_classes)
    sums = np.bincount(where, values[kept], minlength=n_clusters * n_classes)
    counts = np.bincount(where, minlength=n_clusters * n_classes)
    return Tally(
        np.asarray(sums, dtype=np.float64).reshape(shape), counts.reshape(shape).astype(np.float64)
    )


@dataclass(frozen=True)
class Spread:
    """Count, sum and sum of squares of scores by cluster and label.

    Attributes
    ----------
    moments : numpy.ndarray
        Shape (3, clusters, 2): count, sum, sum of squares; reals, then fakes.
    """

    moments: Floats

    def dprime(self, counts: Floats | None = None) -> Floats:
        """Return the difference of means, fakes − reals, in pooled deviations (n − 2).

        Shape (resamples, clusters) to (resamples,); NaN where a label is missing.
        """
        c = np.ones((1, self.moments.shape[1])) if counts is None else counts
        n, total, squares = np.einsum("rc,mcl->mrl", c, self.moments)
        mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
        inside = (squares - n * mean**2).sum(axis=1)
        variance = np.divide(
            inside, n.sum(axis=1) - 2, out=np.full(len(c), np.nan), where=n.sum(axis=1) > 2
        )
        gap = mean[:, 1] - mean[:, 0]
        return np.asarray(
            np.divide(gap, np.sqrt(variance), out=np.full(len(c), np.nan), where=variance > 0)
        )


def spread_of(
    labels: NDArray[np.bool_], scores: NDArray[Any], clusters: NDArray[np.int64]
) -> Spread:
    """Compute moments of scores, shape (n,), by cluster and label; NaN scores are left out."""
    kept = np.isfinite(scores)
    # Moments about the mean: sums of squares of large numbers would lose precision.
    center = float(scores[kept].mean()) if kept.any() else 0.0
    s, shape = scores[kept].astype(np.float64) - center, (int(clusters.max()) + 1, 2)
    where = 2 * clusters[kept] + labels[kept]
    sums = [np.bincount(where, w, minlength=2 * shape[0]) for w in (None, s, s**2)]
    return Spread(np.stack(sums).reshape(3, *shape).astype(np.float64))


def resampled(statistic: Any, n_clusters: int, n_resamples: int, seed: int) -> Floats:
    """Return a statistic of cluster counts on bootstrap resamples; NaN below five clusters.

    The same number of clusters and the same seed give the same resamples, so that results of two
    detectors on the same samples can be subtracted per resample.
    """
    if n_clusters < MIN_CLUSTERS or not n_resamples:
        return np.full(n_resamples, np.nan)
    return np.asarray(statistic(cluster_counts(n_clusters, n_resamples, seed)))


def bounds(
    statistic: Any, n_clusters: int, n_resamples: int, ci: float, seed: int
) -> tuple[float, float]:
    """Return the percentile interval of a statistic of cluster counts; NaN below five clusters."""
    draws = resampled(statistic, n_clusters, n_resamples, seed)
    if not np.isfinite(draws).any():
        return np.nan, np.nan
    low, high = percentile_bounds(draws, ci)
    return float(low), float(high)
