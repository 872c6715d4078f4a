"""Effects of the label on measurements, with clustered intervals and permutation p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.artifacts.controls import Doubles, residuals
from probe.stats import MIN_CLUSTERS, cluster_counts, percentile_bounds, permutation_test

__all__ = ["Effects", "Group", "effects_of", "p_values"]


@dataclass(frozen=True)
class Group:
    """Images of one dataset.

    Attributes
    ----------
    values : numpy.ndarray
        Shape (n, m), NaN where a measurement is not defined.
    labels : numpy.ndarray
        Shape (n,), 0 real and 1 fake.
    clusters : numpy.ndarray
        Shape (n,), codes from 0.
    """

    values: Doubles
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Group:
        """Keep some images."""
        return Group(self.values[rows], self.labels[rows], self.clusters[rows])


@dataclass(frozen=True)
class Effects:
    """Effects and their bounds, each of shape (m,); NaN where not defined."""

    effect: Doubles
    low: Doubles
    high: Doubles


def effects_of(
    group: Group,
    rows: NDArray[np.int64],
    covariates: Doubles,
    *,
    n_resamples: int = 1000,
    ci: float = 0.95,
    seed: int = 0,
) -> Effects:
    """Estimate mean of fakes less mean of reals, in standard deviations of the reals.

    Parameters
    ----------
    group : Group
        All images: their reals are the ruler, so that a control changes the difference alone.
    rows : numpy.ndarray
        Positions of the images that are compared.
    covariates : numpy.ndarray
        Shape (n, columns): the difference is the coefficient of the label in a linear regression
        on label and covariates; without columns it is the plain difference.
    n_resamples, ci, seed : int, float, int
        Of the cluster bootstrap, in which regression and ruler are computed anew.
    """
    shape = group.values.shape[1]
    effect, low, high = (np.full(shape, np.nan) for _ in range(3))
    counts = _counts(group, n_resamples, seed)
    for columns in _alike(group.values):
        used = np.isfinite(group.values[:, columns[0]])
        y = group.values[:, columns]
        y = np.where(used[:, None], y - y[used].mean(axis=0), 0.0) if used.any() else 0 * y
        compared = np.zeros(len(used))
        compared[rows] = 1
        moments = _Moments.of(group, y, covariates, used * compared, used * 1.0)
        effect[columns] = moments.effects(np.ones((1, counts.shape[1])))[0]
        if n_resamples and counts.shape[1] >= MIN_CLUSTERS:
            draws = moments.effects(counts)
            low[columns], high[columns] = percentile_bounds(draws, ci)
    nowhere = ~np.isfinite(effect)
    low[nowhere], high[nowhere] = np.nan, np.nan
    return Effects(effect, low, high)


def _counts(group: Group, n_resamples: int, seed: int) -> Doubles:
    return cluster_counts(int(group.clusters.max()) + 1, max(n_resamples, 1), seed)


def _alike(values: Doubles) -> list[NDArray[np.int64]]:
    """Group columns that are defined on the same rows."""
    patterns, code = np.unique(np.isfinite(values), axis=1, return_inverse=True)
    return [np.flatnonzero(code.ravel() == i) for i in range(patterns.shape[1])]


@dataclass(frozen=True)
class _Moments:
    """Sums by cluster, from which every resample is computed without looking at images again.

    Attributes
    ----------
    cross : numpy.ndarray
        Shape (clusters, k, k + m): design' × (design, values), over the images compared.
    real : numpy.ndarray
        Shape (clusters, 1 + 2 m): number, sums and sums of squares of all real images.
    """

    cross: Doubles
    real: Doubles

    @classmethod
    def of(
        cls, group: Group, y: Doubles, covariates: Doubles, compared: Doubles, used: Doubles
    ) -> _Moments:
        n = int(group.clusters.max()) + 1
        label = group.labels.astype(np.float64)
        x = np.column_stack([np.ones(len(y)), label, covariates])
        both = np.column_stack([x, y])
        cross = np.zeros((n, x.shape[1], both.shape[1]))
        for row in range(x.shape[1]):
            np.add.at(cross[:, row], group.clusters, (compared * x[:, row])[:, None] * both)
        weight = (used * (1 - label))[:, None]
        real = np.zeros((n, 1 + 2 * y.shape[1]))
        np.add.at(real, group.clusters, weight * np.column_stack([np.ones(len(y)), y, y**2]))
        return cls(cross, real)

    def effects(self, counts: Doubles) -> Doubles:
        """Compute effects, shape (resamples, m), from how often each cluster counts."""
        k = self.cross.shape[1]
        total = np.tensordot(counts, self.cross, axes=1)
        gram, right = total[:, :, :k], total[:, :, k:]
        slope = (np.linalg.pinv(gram, rcond=1e-9, hermitian=True) @ right)[:, 1]
        fakes, images = gram[:, 1, 1], gram[:, 0, 0]
        number, sums, squares = np.split(counts @ self.real, [1, 1 + right.shape[2]], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(np.maximum(squares / number - (sums / number) ** 2, 0))
            sized = np.where(spread > 1e-12, slope / spread, np.where(slope == 0, 0.0, np.nan))
        both = (fakes > 0) & (fakes < images) & (number[:, 0] > 1)
        return np.where(both[:, None], sized, np.nan)


def p_values(
    group: Group, covariates: Doubles, n_permutations: int = 9999, seed: int = 0
) -> Doubles:
    """Test every measurement by permutation, two-sided; shape (m,), NaN where a class is missing.

    Values are taken less what the covariates explain of them, the label left out (Kennedy 1995,
    doi:10.1080/07350015.1995.10524581): where label and covariates go together, that part is not
    ascribed to the label, so that the test errs towards finding nothing.
    """
    p = np.full(group.values.shape[1], np.nan)
    for columns in _alike(group.values):
        used = np.isfinite(group.values[:, columns[0]])
        if len(np.unique(group.labels[used])) < 2:
            continue
        values = residuals(group.values[np.ix_(used, columns)], covariates[used])
        found = permutation_test(
            np.column_stack([values, -values]),
            group.labels[used],
            group.clusters[used],
            n_permutations,
            seed,
        )
        p[columns] = np.minimum(2 * found.p.reshape(2, -1).min(axis=0), 1.0)
    return p
