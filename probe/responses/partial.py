"""Partial rank correlations of many pairs, tested by exchanging whole people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from probe.progress import progress_bar
from probe.stats import Floats

__all__ = ["Correlated", "Stratum", "partial_correlations", "residual_ranks", "strata_of"]

#: Statistics (permutation × unit × measurement) that are held at once.
BLOCK = 1 << 22

#: Residuals of ranks, on a scale of 0 to 1, that are nothing but rounding.
ROUNDING = 1e-9


class Correlated(NamedTuple):
    """What `partial_correlations` gives, each of shape (units, measurements).

    Attributes
    ----------
    rho : numpy.ndarray
        In [−1, 1]; 0 where one of the two is constant.
    p : numpy.ndarray
        Two-sided, in (0, 1]; 1 where one of the two is constant.
    p_max : numpy.ndarray
        The same against the largest statistic of all pairs (Westfall and Young 1993).
    """

    rho: Floats
    p: Floats
    p_max: Floats


@dataclass(frozen=True)
class Stratum:
    """One dataset's rows, and what is regressed out there.

    Attributes
    ----------
    rows : numpy.ndarray
        Positions of its rows.
    basis : numpy.ndarray
        Shape (rows, k), orthonormal: the span of the cells and of the covariates' ranks.
    moves : bool
        Whether permuting within cells can leave residuals that the basis explains: covariates.
    """

    rows: NDArray[np.int64]
    basis: Floats
    moves: bool

    @property
    def freedom(self) -> int:
        """Rows less what is regressed out."""
        return len(self.rows) - int(self.basis.shape[1])

    def residuals(self, values: Floats) -> Floats:
        """Take out what the basis explains, shape (..., rows, columns) in and out."""
        return np.asarray(values - self.basis @ (self.basis.T @ values))


def strata_of(
    datasets: NDArray[np.int64], cells: NDArray[np.int64], covariates: Floats
) -> list[Stratum]:
    """Set up the regression of each dataset: on its cells and on the ranks of its covariates.

    Parameters
    ----------
    datasets, cells : numpy.ndarray
        Shape (rows,): codes; a cell lies in one dataset and has one label.
    covariates : numpy.ndarray
        Shape (rows, covariates), finite.
    """
    out = []
    for code in np.unique(datasets):
        rows = np.flatnonzero(datasets == code)
        _, at = np.unique(cells[rows], return_inverse=True)
        dummies = np.eye(at.max() + 1)[at]
        design = np.column_stack([dummies, _ranks(covariates[rows])])
        left, size, _ = np.linalg.svd(design, full_matrices=False)
        basis = left[:, size > ROUNDING * size[0]]
        out.append(Stratum(rows, basis, basis.shape[1] > dummies.shape[1]))
    return out


def residual_ranks(values: Floats, strata: list[Stratum]) -> Floats:
    """Rank within each dataset and take out cells and covariates.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (rows, columns). A column with a NaN in a dataset is left out there.
    strata : list of Stratum
        The datasets.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns): residuals of rank / (n + 1); 0 where there is none.
    """
    out = np.zeros_like(values)
    for one in strata:
        own = values[one.rows]
        defined = np.isfinite(own).all(axis=0)
        ranks = one.residuals(_ranks(np.where(defined, own, 0.0)))
        out[one.rows] = np.where(np.abs(ranks).max(axis=0) > ROUNDING, ranks, 0.0)
    return out


def partial_correlations(
    x: Floats,
    y: Floats,
    strata: list[Stratum],
    clusters: NDArray[np.int64],
    cells: NDArray[np.int64],
    n_permutations: int = 1999,
    seed: int = 0,
) -> Correlated:
    """Correlate residual ranks, pooled over datasets, and test every pair by permutation.

    Residuals of `y` change places (Freedman and Lane 1983, doi:10.1080/07350015.1983.10509354) and
    covariates are taken out again. Whole clusters change places, all rows of one with all rows of
    another that has the same cells: rows of one person are dependent in `x` and in `y`, and a test
    that tears them apart calls too much. All pairs see the same permutations.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shapes (rows, units) and (rows, measurements), from `residual_ranks`.
    strata : list of Stratum
        The datasets; a dataset in which a column of `y` is 0 does not count for it.
    clusters, cells : numpy.ndarray
        Shape (rows,): codes.
    n_permutations : int, default 1999
        Draws beside the observed order.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    Correlated
    """
    size_x, freedom = _sizes(x, y, strata)
    observed = _statistics(x, y[None], size_x, freedom)[0]
    bar = np.abs(observed) - 1e-9
    blocks = exchange_blocks(clusters, cells)
    rng = np.random.default_rng(seed)
    # The order as observed is the first draw and counts among the others.
    above, above_max = np.ones_like(bar), np.ones_like(bar)
    step = max(1, BLOCK // max(bar.size, 1))
    with progress_bar("relate units", n_permutations) as advance:
        for start in range(0, n_permutations, step):
            count = min(step, n_permutations - start)
            order = np.stack([_exchanged(blocks, len(x), rng) for _ in range(count)])
            drawn = np.abs(_statistics(x, _again(y[order], strata), size_x, freedom))
            above += (drawn >= bar).sum(axis=0)
            largest = np.sort(drawn.reshape(count, -1).max(axis=1))
            above_max += count - np.searchsorted(largest, bar)
            advance(count)
    draws = n_permutations + 1
    root = np.sqrt(np.maximum(freedom, 1))
    return Correlated(observed / root, above / draws, above_max / draws)


def _ranks(values: Floats) -> Floats:
    if not values.size:
        return values
    return np.asarray(stats.rankdata(values, axis=0) / (len(values) + 1))


def _sizes(x: Floats, y: Floats, strata: list[Stratum]) -> tuple[Floats, Floats]:
    """Norms of x over the datasets where each y counts, (units, measurements), and freedom."""
    used = np.stack([(y[one.rows] != 0).any(axis=0) for one in strata]).astype(float)
    squares = np.stack([(x[one.rows] ** 2).sum(axis=0) for one in strata])
    freedom = np.array([one.freedom for one in strata], dtype=float)
    return np.sqrt(squares.T @ used), freedom @ used


def _statistics(x: Floats, y: Floats, size_x: Floats, freedom: Floats) -> Floats:
    """Correlations times the root of the freedom; from y (draws, rows, m) to (draws, units, m).

    The root makes measurements that are defined in fewer datasets comparable with the others.
    """
    draws, rows, columns = y.shape
    flat = y.transpose(1, 0, 2).reshape(rows, draws * columns)
    cross = (x.T @ flat).reshape(x.shape[1], draws, columns).transpose(1, 0, 2)
    size_y = np.sqrt((y**2).sum(axis=1))[:, None]
    scale = size_x * size_y
    cross = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > ROUNDING)
    cross *= np.sqrt(freedom)
    return np.asarray(cross)


def _again(y: Floats, strata: list[Stratum]) -> Floats:
    """Take covariates out of permuted residuals; cells are out of them already."""
    for one in strata:
        if one.moves:
            y[:, one.rows] = one.residuals(y[:, one.rows])
    return y


def exchange_blocks(
    clusters: NDArray[np.int64], cells: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Group clusters that may change places; each group has shape (clusters, rows of one)."""
    order = np.lexsort((cells, clusters))
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    groups: dict[tuple[int, ...], list[NDArray[np.int64]]] = {}
    for rows in np.split(order, starts[1:]):
        groups.setdefault(tuple(cells[rows].tolist()), []).append(rows)
    return [np.stack(group) for group in groups.values()]


def _exchanged(
    blocks: list[NDArray[np.int64]], rows: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw which row each row's residuals come from."""
    source = np.empty(rows, dtype=np.int64)
    for block in blocks:
        source[block] = block[rng.permutation(len(block))]
    return source
