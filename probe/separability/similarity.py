"""`compare_features`: debiased CKA between layers of detectors, with intervals over clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from probe.datasets.subset import spread
from probe.errors import ProbeError
from probe.progress import progress_bar
from probe.separability.features import PAIRWISE, people_of
from probe.separability.report import Similarity
from probe.stats import MIN_CLUSTERS, Floats
from probe.store import ActivationStore

__all__ = ["Gram", "cka", "compare_features", "gram_of"]


@dataclass(frozen=True)
class Gram:
    """Inner products between samples, with a zero diagonal, and their sums by cluster.

    Attributes
    ----------
    products : numpy.ndarray
        Shape (n, n), zero on the diagonal.
    by_cluster : numpy.ndarray
        Shape (n, clusters): `products` summed over the samples of a cluster.
    """

    products: Floats
    by_cluster: Floats


def gram_of(values: NDArray[np.float32], clusters: NDArray[np.int64]) -> Gram:
    """Compute inner products of centered features, shape (n, units)."""
    x = np.asarray(values, dtype=np.float64)
    x = x - x.mean(axis=0)
    size = np.sqrt((x**2).sum() / len(x)) or 1.0
    products = (x / size) @ (x / size).T
    np.fill_diagonal(products, 0.0)
    return Gram(products, products @ _members(clusters))


def cka(
    one: Gram, other: Gram, clusters: NDArray[np.int64], ci: float = 0.95
) -> tuple[float, float, float]:
    """Return the debiased linear CKA of two sets of features of the same samples.

    HSIC is estimated without bias (Song et al. 2012, eq. 4), so that features with many units and
    few samples are not similar by chance (Kornblith et al. 2019; Nguyen et al. 2021,
    arXiv:2010.15327). The interval is a jackknife over clusters, with Student's t.

    Parameters
    ----------
    one, other : Gram
        Gram matrices of the same samples.
    clusters : numpy.ndarray
        Shape (n,), codes from 0.
    ci : float, default 0.95
        Confidence level of the interval, between 0 and 1.

    Returns
    -------
    estimate, low, high : float
        At most 1 up to noise; about 0 for unrelated features, and 0 if either is constant. Bounds
        are NaN below five clusters.
    """
    terms = [_hsic(a, b, clusters) for a, b in ((one, other), (one, one), (other, other))]
    whole, left = _ratio(*(t[0] for t in terms)), _ratio(*(t[1] for t in terms))
    n = len(left)
    if n < MIN_CLUSTERS:
        return float(whole), np.nan, np.nan
    spread = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    half = float(stats.t.ppf(0.5 + ci / 2, n - 1) * spread)
    return float(whole), float(whole) - half, float(whole) + half


def _members(clusters: NDArray[np.int64]) -> Floats:
    out = np.zeros((len(clusters), int(clusters.max()) + 1))
    out[np.arange(len(clusters)), clusters] = 1.0
    return out


def _ratio(both: Floats, one: Floats, other: Floats) -> Floats:
    size = np.maximum(one, 0.0) * np.maximum(other, 0.0)
    out: Floats = np.divide(both, np.sqrt(size), out=np.zeros_like(both), where=size > 1e-24)
    return out


def _hsic(a: Gram, b: Gram, clusters: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the unbiased HSIC with all clusters, shape (), and without each, (clusters,)."""
    member = _members(clusters)
    both = a.products * b.products
    both_by = member.T @ (both @ member)
    rows_a, rows_b = a.products.sum(axis=1), b.products.sum(axis=1)
    whole = _formula(
        both.sum(), rows_a.sum(), rows_b.sum(), (rows_a * rows_b).sum(), np.float64(len(rows_a))
    )
    trace = both.sum() - 2 * both_by.sum(axis=0) + np.diag(both_by)
    outside = 1 - member
    left_a = (rows_a[:, None] - a.by_cluster) * outside
    left_b = (rows_b[:, None] - b.by_cluster) * outside
    left = _formula(
        trace,
        left_a.sum(axis=0),
        left_b.sum(axis=0),
        (left_a * left_b).sum(axis=0),
        outside.sum(axis=0),
    )
    return np.asarray(whole), np.asarray(left)


def _formula(trace: Any, sum_a: Any, sum_b: Any, cross: Any, n: Any) -> Floats:
    """Return HSIC by Song et al. (2012), eq. 4, from tr(KL), 1ᵀK1, 1ᵀL1, 1ᵀKL1, zero diagonals."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out = trace + sum_a * sum_b / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross
        return np.asarray(np.where(n > 3, out / (n * (n - 3)), np.nan))


def compare_features(
    stores: Mapping[str, ActivationStore | str | Path] | Sequence[ActivationStore | str | Path],
    layers: Sequence[str] | None = None,
    *,
    max_samples: int = PAIRWISE,
    ci: float = 0.95,
    seed: int = 0,
) -> Similarity:
    """Compare features of detectors or variants on the same images by debiased CKA.

    Parameters
    ----------
    stores : mapping or sequence
        At least two activation stores of the same samples; the keys of a mapping are the labels.
    layers : sequence of str, optional
        Layers to compare, each where at least two stores have it; all by default. Layers are
        matched by name: `conv4` of one detector with `conv4` of another.
    max_samples : int, default 2000
        Maximum number of samples compared, spread over people.
    ci, seed
        Confidence level of the jackknife intervals; seed of the choice of samples.

    Returns
    -------
    Similarity
        CKA per layer and pair of detectors.

    Raises
    ------
    ProbeError
        If fewer than two stores are given, labels are not unique, or the samples differ.

    Examples
    --------
    >>> import probe
    >>> probe.compare_features(["meso4.zarr", "mesoinception4.zarr"], ["leaky"])
    <Similarity: layer 1, detector 2, other 2>
    """
    opened = _opened(stores)
    table = next(iter(opened.values())).samples
    for name, store in opened.items():
        if list(store.samples["sample"]) != list(table["sample"]):
            raise ProbeError(
                f"The store of {name!r} holds other samples than that of {next(iter(opened))!r}. "
                "Record both on the same dataset and split."
            )
    people = people_of(table)
    groups = pd.factorize(people + "|" + table["dataset"] + "|" + table["label"].astype(str))[0]
    rows = spread(groups, max_samples, seed)
    clusters = np.asarray(pd.factorize(people.iloc[rows])[0], dtype=np.int64)
    found = list(layers or dict.fromkeys(n for one in opened.values() for n in one.layers))
    labels = list(opened)
    out = np.full((3, len(found), len(labels), len(labels)), np.nan)
    with progress_bar("similarity of layers", len(found)) as advance:
        for i, layer in enumerate(found):
            grams = {
                name: _gram(store, layer, rows, clusters)
                for name, store in opened.items()
                if layer in store.layers
            }
            for one, other in combinations_with_replacement(grams, 2):
                a, b = labels.index(one), labels.index(other)
                out[:, i, a, b] = out[:, i, b, a] = cka(grams[one], grams[other], clusters, ci)
            advance(1)
    dims, first = ("layer", "detector", "other"), next(iter(opened.values()))
    data = xr.Dataset(
        {name: (dims, out[k]) for k, name in enumerate(("cka", "cka_low", "cka_high"))},
        coords={"layer": found, "detector": labels, "other": labels},
        attrs={
            "n_samples": len(rows),
            "n_clusters": int(clusters.max()) + 1,
            "layers": found,
            **replace(first.provenance, seed=seed, ci=ci).attrs(),
            "detectors": {n: s.attrs["detector"]["fingerprint"] for n, s in opened.items()},
        },
    )
    return Similarity(data)


def _opened(
    stores: Mapping[str, ActivationStore | str | Path] | Sequence[ActivationStore | str | Path],
) -> dict[str, ActivationStore]:
    given = list(stores.values()) if isinstance(stores, Mapping) else list(stores)
    ready = [s if isinstance(s, ActivationStore) else ActivationStore.open(s) for s in given]
    names = (
        list(stores)
        if isinstance(stores, Mapping)
        else [str(store.attrs["detector"]["name"]) for store in ready]
    )
    if len(ready) < 2 or len(set(names)) < len(names):
        raise ProbeError(
            f"Stores of {', '.join(names) or 'nothing'} were given; two or more of different "
            "labels are needed. Give a mapping from label to store if names are the same."
        )
    return dict(zip(names, ready, strict=True))


def _gram(store: ActivationStore, layer: str, rows: np.ndarray, clusters: np.ndarray) -> Gram:
    tap = store[layer]["activation"]
    step = 4096
    blocks = [
        np.asarray(tap[start : start + step].values)[rows[inside] - start]
        for start in range(0, tap.sizes["sample"], step)
        if (inside := (rows >= start) & (rows < start + step)).any()
    ]
    return gram_of(np.concatenate(blocks), clusters)
