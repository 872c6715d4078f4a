"""`Features`: a layer's activations in memory, within a budget, with people and folds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from probe.datasets.subset import quota, spread
from probe.errors import ProbeError, StoreError
from probe.progress import progress_bar
from probe.store import ActivationStore

__all__ = [
    "PAIRWISE",
    "Features",
    "OnePersonError",
    "Sampled",
    "choose_samples",
    "people_of",
    "read_features",
]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: What Python, the store's chunks and small arrays take, bytes.
BASE_MEMORY = 700 << 20
#: Samples that distances between all pairs are taken of, at most, a dataset.
PAIRWISE = 2000
#: Double matrices of that size that are held at once.
PAIRWISE_COPIES = 5
#: Bytes taken for each byte of features.
SHARE = 1.7
#: Rows that are worked on at once.
ROWS = 4096


class OnePersonError(ProbeError):
    """Samples of one person only: nothing can be fitted on some and scored on others."""


@dataclass(frozen=True)
class Sampled:
    """Which samples of a store are used, sorted by dataset; the same for all its layers.

    Attributes
    ----------
    rows : numpy.ndarray
        Shape (n,), positions in the store.
    names : tuple of str
        Names of the datasets, in order of first appearance.
    datasets, people, folds : numpy.ndarray
        Shape (n,), codes. A person is an identity, wherever it appears, else a video of a dataset.
    labels : numpy.ndarray
        Shape (n,), True for fakes.
    methods : numpy.ndarray
        Shape (n,), names.
    images : numpy.ndarray
        Shape (n,), codes: originals that belong to several datasets of fakes stand in each.
    own : numpy.ndarray
        Shape (n,), the detector's logit.
    total : numpy.ndarray
        Shape (datasets,): how many samples the store holds.
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
        """Where the samples of a dataset lie."""
        found = np.flatnonzero(self.datasets == dataset)
        return slice(int(found[0]), int(found[-1]) + 1)


@dataclass(frozen=True)
class Features:
    """A layer's activations, each unit divided by its deviation within datasets.

    Attributes
    ----------
    layer : str
        Which.
    values : numpy.ndarray
        Shape (n, units), or (n, rank) after `compact`; in the order of `sampled`. Units that are
        constant within all datasets are 0.
    sampled : Sampled
        Of which samples.
    units : int
        Number of units of the layer.
    """

    layer: str
    values: Floats
    sampled: Sampled
    units: int

    def compact(self) -> Features:
        """Rotate to as few axes as there are samples, where there are more units than samples.

        Distances, and linear probes with a ridge penalty, are the same after a rotation.
        """
        n, units = self.values.shape
        if units <= n:
            return self
        left, sizes, _ = np.linalg.svd(self.values.astype(np.float64), full_matrices=False)
        return Features(self.layer, (left * sizes).astype(np.float32), self.sampled, self.units)


def choose_samples(
    store: ActivationStore, memory: int, units: int, n_folds: int = 5, seed: int = 0
) -> Sampled:
    """Choose the samples that fit into memory, and divide people into folds.

    Parameters
    ----------
    store : ActivationStore
        Complete.
    memory : int
        Bytes that may be used.
    units : int
        Units of the widest layer.
    n_folds : int, default 5
        Folds of people, over all datasets, alike in datasets and labels as far as possible.
    seed : int, default 0
        Seed of folds and of thinning.

    Raises
    ------
    ProbeError
        If fewer than 100 samples would fit, or there are fewer than two people.
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
    """Read which originals belong to which fakes from the card of a dataset, or of its parts."""
    cards = [card, *dict(card.get("parts", {})).values()]
    return {k: v for one in cards for k, v in dict(one.get("reals") or {}).items()}


def _parts(table: pd.DataFrame, reals: Mapping[str, str]) -> dict[str, Integers]:
    """Take samples apart by dataset, fakes with the originals that belong to them.

    As `probe.datasets.parts_of` does, so that a store of FaceForensics++ is that of its methods.
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
    """Name who is seen: the identity, wherever it appears, else the video."""
    video = table["dataset"] + "|" + table["video"]
    return table["identity"].where(table["identity"] != "", video).astype(str)


def _folds(strata: Integers, people: Integers, n_folds: int, seed: int) -> Integers:
    count = len(np.unique(people))
    if count < 2:
        raise OnePersonError(
            "All samples show one person (or one video): nothing can be fitted on some people and "
            "scored on others. Record a dataset with more."
        )
    folds = StratifiedGroupKFold(min(n_folds, count), shuffle=True, random_state=seed)
    out = np.zeros(len(people), dtype=np.int64)
    with warnings.catch_warnings():
        # A label of few samples cannot be in all folds; what that leaves undefined is said later.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for i, (_, held) in enumerate(folds.split(strata, strata, people)):
            out[held] = i
    return out


def _most(memory: int, units: int, n: int, n_folds: int) -> int:
    """Count the samples whose features fit beside the matrices that fitting takes."""
    side = min(units, n)
    matrices = 8 * (n_folds + 4) * side**2 + 8 * PAIRWISE_COPIES * min(PAIRWISE, n) ** 2
    # On top: all fakes or all reals once more, and what is drawn and scored.
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
    """Read a layer in one pass, block by block.

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
    """Iterate over blocks of the store that hold chosen rows, and the positions of those."""
    order = np.argsort(rows, kind="stable")
    edges = np.searchsorted(rows[order], np.arange(0, n + ROWS, ROWS))
    for i, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        if stop > start:
            yield slice(i * ROWS, min((i + 1) * ROWS, n)), order[start:stop]


def _scale(values: Floats, sampled: Sampled) -> None:
    """Divide units by their deviation within datasets, in place; constants become 0."""
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
    # Rounding leaves a trace of spread on constants.
    alive = deviation > 1e-6 * (largest + np.abs(center)) + 1e-30
    factor = np.where(alive, 1 / np.where(alive, deviation, 1.0), 0.0).astype(np.float32)
    for block in _rows(len(values)):
        values[block] *= factor


def _rows(n: int) -> Iterator[slice]:
    for start in range(0, n, ROWS):
        yield slice(start, min(start + ROWS, n))
