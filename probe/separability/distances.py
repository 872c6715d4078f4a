"""Real-fake separation by distances between samples: silhouette, nearest neighbors, MMD²."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from probe.separability.features import Tally, tally
from probe.stats import Floats

__all__ = ["Kernel", "Neighbors", "distances", "kernel_of", "neighbors_of", "silhouettes"]

Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]


def distances(values: NDArray[Any]) -> Floats:
    """Return Euclidean distances, shape (n, units) to (n, n), with zeros on the diagonal."""
    found = pairwise_distances(np.asarray(values, dtype=np.float64))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)


def silhouettes(distance: Floats, labels: Bools) -> Floats:
    """Return the silhouette of every sample for each labeling (Rousseeuw 1987).

    (b − a) / max(a, b), where a is the mean distance to the other samples of the same label and b
    the mean distance to samples of the other label; 0 for a sample that is alone with its label.

    Parameters
    ----------
    distance : numpy.ndarray
        Shape (n, n), of `distances`.
    labels : numpy.ndarray
        Shape (labelings, n), bool, True for fakes.

    Returns
    -------
    numpy.ndarray
        Shape (labelings, n), in [−1, 1].
    """
    y = np.atleast_2d(labels)
    to_fakes = y.astype(np.float64) @ distance
    to_reals = distance.sum(axis=0) - to_fakes
    fakes = y.sum(axis=1, keepdims=True)
    same = np.where(y, to_fakes, to_reals)
    n_same = np.where(y, fakes, y.shape[1] - fakes) - 1
    other = np.where(y, to_reals, to_fakes)
    n_other = np.where(y, y.shape[1] - fakes, fakes)
    alone = (n_same == 0) | (n_other == 0)
    a = np.divide(same, n_same, out=np.zeros_like(same), where=~alone)
    b = np.divide(other, n_other, out=np.zeros_like(other), where=~alone)
    widest = np.maximum(a, b)
    out: Floats = np.divide(b - a, widest, out=np.zeros_like(widest), where=~alone & (widest > 0))
    return out


@dataclass(frozen=True)
class Neighbors:
    """Nearest neighbors of each sample among samples of other clusters.

    Attributes
    ----------
    index : numpy.ndarray
        Shape (n, k), positions of the neighbors.
    """

    index: Integers

    def purity(self, labels: Bools) -> Floats:
        """Return the share of neighbors with the sample's own label, both labels weighted alike.

        Shape (labelings, n) to (labelings, n), in [0, 1]; expected 0.5 where the features carry no
        information on the label.
        """
        y = np.atleast_2d(labels)
        fakes = y.sum(axis=1)[:, None, None]
        weight = np.where(
            y[:, self.index], 1 / np.maximum(fakes, 1), 1 / np.maximum(y.shape[1] - fakes, 1)
        )
        same = y[:, self.index] == y[:, :, None]
        return np.asarray((weight * same).sum(axis=2) / weight.sum(axis=2))


def neighbors_of(distance: Floats, clusters: Integers, k: int = 10) -> Neighbors | None:
    """Find the k nearest samples of other clusters; None if fewer than k exist for a sample.

    Samples of the same cluster are left out: their closeness says nothing about the label.
    """
    other = clusters[:, None] != clusters
    if other.sum(axis=1).min() < k:
        return None
    far = np.where(other, distance, np.inf)
    return Neighbors(np.argpartition(far, k - 1, axis=1)[:, :k])


@dataclass(frozen=True)
class Kernel:
    """A kernel summed per pair of rows; a row is the samples of one cluster and label.

    Attributes
    ----------
    sums : numpy.ndarray
        Shape (rows, rows), sums of the kernel; zero between rows of one cluster.
    pairs : numpy.ndarray
        Shape (rows, rows), number of sample pairs in each sum; zero between rows of one cluster.
    labels, clusters : numpy.ndarray
        Shape (rows,).
    row : numpy.ndarray
        Shape (n,): row of every sample.
    bandwidth : float
        σ of exp(−d² / 2σ²): median distance between clusters (Gretton et al. 2012).
    """

    sums: Floats
    pairs: Floats
    labels: Bools
    clusters: Integers
    row: Integers
    bandwidth: float

    def mmd2(self, labels: Bools | None = None, counts: Floats | None = None) -> Floats:
        """Return the unbiased squared maximum mean discrepancy between fakes and reals.

        Mean kernel between two fakes, plus between two reals, minus twice that between a fake and a
        real (Gretton et al. 2012, eq. 3). Only pairs of different clusters, which are independent,
        are used.

        Parameters
        ----------
        labels : numpy.ndarray, optional
            Shape (labelings, rows), labels to use instead of those of the rows.
        counts : numpy.ndarray, optional
            Shape (resamples, clusters), how often each cluster counts; for the rows' own labels.

        Returns
        -------
        numpy.ndarray
            Shape (labelings,) or (resamples,); NaN where no two clusters share a label.
        """
        y = np.atleast_2d(self.labels if labels is None else labels).astype(np.float64)
        c = np.ones((1, len(self.labels))) if counts is None else counts[:, self.clusters]
        fake, real = y * c, (1 - y) * c
        terms = [self._mean(fake, fake), self._mean(real, real), self._mean(fake, real)]
        return np.asarray(terms[0] + terms[1] - 2 * terms[2])

    def _mean(self, a: Floats, b: Floats) -> Floats:
        top = np.einsum("ij,ij->i", a @ self.sums, b)
        bottom = np.einsum("ij,ij->i", a @ self.pairs, b)
        out: Floats = np.divide(top, bottom, out=np.full(len(a), np.nan), where=bottom > 0)
        return out


def kernel_of(distance: Floats, labels: Bools, clusters: Integers) -> Kernel:
    """Sum a Gaussian kernel over samples, per cluster and label."""
    keys, row = np.unique(2 * clusters + labels, return_inverse=True)
    n_rows = len(keys)
    apart = clusters[:, None] != clusters
    known = distance[apart]
    bandwidth = float(np.median(known)) if len(known) else 1.0
    bandwidth = bandwidth or 1.0
    kernel = np.exp(-(distance**2) / (2 * bandwidth**2))
    member = np.zeros((len(row), n_rows))
    member[np.arange(len(row)), row] = 1.0
    sizes = member.sum(axis=0)
    between = (keys // 2)[:, None] != keys // 2
    sums = np.where(between, member.T @ (kernel @ member), 0.0)
    return Kernel(
        sums,
        np.where(between, np.outer(sizes, sizes), 0.0),
        keys % 2 == 1,
        keys // 2,
        row,
        bandwidth,
    )


def by_label(values: Floats, labels: Bools, clusters: Integers) -> Tally:
    """Sum a quantity of samples by cluster and label; see `tally`."""
    return tally(values, labels.astype(np.int64), clusters, 2)
