"""Mutual information of single units with the label and with the method, in bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from probe.stats import Floats

__all__ = ["Told", "entropy_of", "exchange_rows", "judge", "mutual_bits", "quantile_bins"]

#: Number of quantile bins for a unit's values.
BINS = 8
#: Maximum size of a block of counts (rows × units × bins), and of permuted tables.
BLOCK = 1 << 24


@dataclass(frozen=True)
class Told:
    """Information of units on a class, each array of shape (units,).

    Attributes
    ----------
    bits : numpy.ndarray
        Mutual information of bin and class minus its mean over exchanged classes, in bits, at
        least 0. The subtraction removes the bias from few samples and clusters.
    share : numpy.ndarray
        `bits` as a share of the entropy of the class, 0 to 1.
    p : numpy.ndarray
        p-value: share of exchanges with at least as much information, in (0, 1].
    """

    bits: Floats
    share: Floats
    p: Floats


def quantile_bins(values: NDArray[Any], bins: int = BINS) -> NDArray[np.uint8]:
    """Sort values, shape (n, units), into bins of about equal size; equal values share a bin."""
    edges = np.quantile(values, np.arange(1, bins) / bins, axis=0)
    out = np.zeros(values.shape, dtype=np.uint8)
    for edge in edges:
        out += values > edge
    return out


def exchange_rows(
    classes: NDArray[np.int64], clusters: NDArray[np.int64], n: int, seed: int
) -> NDArray[np.int64]:
    """Exchange classes over rows for a permutation test, shape (rows,) to (n, rows).

    Rows of a cluster with several rows exchange classes within the cluster; clusters of one row
    exchange theirs with each other.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(clusters)
    groups = np.where(sizes[clusters] > 1, clusters + 1, 0)
    order = np.argsort(groups, kind="stable")
    out = np.empty((n, len(classes)), dtype=np.int64)
    for draw in out:
        shuffled = np.lexsort((rng.random(len(classes)), groups))
        draw[order] = classes[shuffled]
    return out


def mutual_bits(
    bins: NDArray[np.uint8],
    rows: NDArray[np.int64],
    labelings: NDArray[np.int64],
    n_bins: int = BINS,
) -> Floats:
    """Return the plug-in mutual information of units' bins and the class, in bits.

    Parameters
    ----------
    bins : numpy.ndarray
        Shape (n, units), of `quantile_bins`.
    rows : numpy.ndarray
        Shape (n,): row (one cluster and class) of each sample.
    labelings : numpy.ndarray
        Shape (labelings, rows): classes of the rows, codes from 0.
    n_bins : int
        Number of bins.

    Returns
    -------
    numpy.ndarray
        Shape (labelings, units).
    """
    n_classes, n_rows = int(labelings.max()) + 1, labelings.shape[1]
    member = sparse.csr_array(
        (np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), shape=(n_rows, len(rows))
    )
    step = max(1, BLOCK // (n_bins * max(n_rows, n_classes * len(labelings))))
    found = [
        _block(bins[:, start : start + step], member, labelings, n_classes, n_bins)
        for start in range(0, bins.shape[1], step)
    ]
    return np.concatenate(found, axis=1)


def judge(bits: Floats, entropy: float) -> Told:
    """Compare the true labeling, which comes first, with the exchanged ones.

    Parameters
    ----------
    bits : numpy.ndarray
        Shape (1 + exchanges, units), mutual information under each labeling.
    entropy : float
        Entropy of the class, in bits.
    """
    observed, null = bits[0], bits[1:]
    excess = np.maximum(observed - (null.mean(axis=0) if len(null) else 0.0), 0.0)
    p = (1 + (null >= observed - 1e-9).sum(axis=0)) / len(bits)
    share = excess / entropy if entropy > 0 else np.zeros_like(excess)
    return Told(excess, np.minimum(share, 1.0), p)


def entropy_of(classes: NDArray[np.int64]) -> float:
    """Return the entropy of the classes of samples, in bits."""
    shares = np.bincount(classes) / len(classes)
    return float(_entropy(shares[None], 1)[0])


def _block(
    bins: NDArray[np.uint8],
    member: sparse.csr_array,
    labelings: NDArray[np.int64],
    n_classes: int,
    n_bins: int,
) -> Floats:
    """Return the mutual information of a block of units, shape (labelings, units)."""
    units = bins.shape[1]
    counts = np.stack(
        [np.asarray(member @ (bins == b).astype(np.float32)) for b in range(n_bins)], axis=2
    )
    flat = counts.reshape(len(counts), units * n_bins)
    one_hot = (labelings[:, None, :] == np.arange(n_classes)[:, None]).astype(np.float32)
    tables = one_hot.reshape(-1, one_hot.shape[2]) @ flat
    tables = tables.reshape(len(labelings), n_classes, units, n_bins) / bins.shape[0]
    return _entropy(tables.sum(axis=3), 1) + _entropy(tables.sum(axis=1), 2) - _joint(tables)


def _entropy(shares: Floats, axis: int) -> Floats:
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=axis), dtype=np.float64)


def _joint(tables: Floats) -> Floats:
    logs = np.log2(tables, out=np.zeros_like(tables), where=tables > 0)
    return np.asarray(-(tables * logs).sum(axis=(1, 3)), dtype=np.float64)
