"""Multiple testing: partial conjunction, false discovery rates, and counts in random lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from probe.registry import Registry
from probe.stats.metrics import Floats

__all__ = [
    "COMBINERS",
    "adjust_together",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "independence_counts",
    "partial_conjunction",
    "simulate_counts",
]

#: Functions from the m largest p-values, ascending, shape (m, units), to one of shape (units,).
COMBINERS: Registry[Callable[[Floats], Floats]] = Registry("combination")


@COMBINERS.register("simes")
def _simes(p: Floats) -> Floats:
    """Combine by Simes (1986); valid for positively dependent p-values, as with shared reals."""
    m = len(p)
    return np.asarray((p * (m / np.arange(1, m + 1))[:, None]).min(axis=0))


@COMBINERS.register("bonferroni")
def _bonferroni(p: Floats) -> Floats:
    """Combine by Bonferroni; valid under any dependence."""
    return np.asarray(len(p) * p[0])


@COMBINERS.register("fisher")
def _fisher(p: Floats) -> Floats:
    """Combine by Fisher (1932); valid for independent p-values only."""
    return np.asarray(stats.chi2.sf(-2 * np.log(p).sum(axis=0), 2 * len(p)))


def partial_conjunction(p: ArrayLike, r: int, method: str = "simes") -> Floats:
    """Test for each unit whether it has an effect in at least `r` of D datasets.

    The null hypothesis is an effect in at most r − 1 datasets. The r − 1 smallest p-values are
    left out, and the others are combined (Friston, Penny and Glaser 2005,
    doi:10.1016/j.neuroimage.2005.01.013; Benjamini and Heller 2008,
    doi:10.1111/j.1541-0420.2007.00984.x). For r = D the result is the largest p-value, for every
    combination method and under any dependence between datasets.

    Parameters
    ----------
    p : array_like
        P-values in (0, 1], shape (datasets, units).
    r : int
        Number of datasets, from 1 to D.
    method : {"simes", "bonferroni", "fisher"}
        How the remaining p-values are combined.

    Returns
    -------
    numpy.ndarray
        P-values, shape (units,).

    Raises
    ------
    ValueError
        If `r` or a p-value is out of range.
    """
    each = np.asarray(p, dtype=np.float64)
    if each.ndim != 2 or not 1 <= r <= len(each):
        raise ValueError(f"r={r} and p of shape {each.shape} were given; r is from 1 to datasets")
    if not ((each > 0) & (each <= 1)).all():
        raise ValueError("p-values must be in (0, 1]; some are not")
    return np.minimum(COMBINERS[method](np.sort(each, axis=0)[r - 1 :]), 1.0)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Return q-values of p-values, shape (..., units) (Benjamini and Hochberg 1995).

    Units with q ≤ α have a false discovery rate of at most α if the p-values are independent or
    positively dependent.
    """
    return np.asarray(stats.false_discovery_control(p, axis=-1, method="bh"), dtype=np.float64)


def adjust_together(p: ArrayLike) -> Floats:
    """Return q-values of all p-values as one family (Benjamini and Hochberg); NaN stays NaN."""
    each = np.asarray(p, dtype=np.float64)
    out, known = np.full(each.shape, np.nan), np.isfinite(each)
    if known.any():
        out[known] = benjamini_hochberg(each[known])
    return out


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """Return q-values, shape (..., units), valid under any dependence (Benjamini and Yekutieli)."""
    return np.asarray(stats.false_discovery_control(p, axis=-1, method="by"), dtype=np.float64)


def independence_counts(kept: Sequence[int], units: int) -> Floats:
    """Return the expected number of units in exactly c of D independent random lists.

    Parameters
    ----------
    kept : sequence of int
        Length of each of the D lists.
    units : int
        Number of units that each list is drawn from.

    Returns
    -------
    numpy.ndarray
        Expected number of units for c = 0..D, shape (D + 1,); sums to `units`.
    """
    chances = np.ones(1)
    for k in kept:
        p = k / units
        chances = np.convolve(chances, [1 - p, p])
    return units * chances


def simulate_counts(kept: Sequence[int], units: int, n_draws: int = 1000, seed: int = 0) -> Floats:
    """Simulate the counts of `independence_counts`, for their spread.

    Parameters
    ----------
    kept, units
        As in `independence_counts`.
    n_draws : int, default 1000
        Number of simulations.
    seed : int, default 0
        Random seed.

    Returns
    -------
    numpy.ndarray
        Number of units in exactly c = 0..D lists, shape (n_draws, D + 1); rows sum to `units`.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros((n_draws, len(kept) + 1))
    for draw in range(n_draws):
        count = np.zeros(units, dtype=np.int64)
        for k in kept:
            count[rng.permutation(units)[:k]] += 1
        out[draw] = np.bincount(count, minlength=len(kept) + 1)
    return out
