"""Many units and several datasets: partial conjunction, false discovery rates, lists by chance."""

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

#: From the m largest p-values, ascending, shape (m, units), to one, shape (units,).
COMBINERS: Registry[Callable[[Floats], Floats]] = Registry("combination")


@COMBINERS.register("simes")
def _simes(p: Floats) -> Floats:
    """Simes (1986); valid where the p-values depend positively, as those of shared reals do."""
    m = len(p)
    return np.asarray((p * (m / np.arange(1, m + 1))[:, None]).min(axis=0))


@COMBINERS.register("bonferroni")
def _bonferroni(p: Floats) -> Floats:
    """Bonferroni; valid whatever the dependence."""
    return np.asarray(len(p) * p[0])


@COMBINERS.register("fisher")
def _fisher(p: Floats) -> Floats:
    """Fisher (1932); valid for independent p-values only."""
    return np.asarray(stats.chi2.sf(-2 * np.log(p).sum(axis=0), 2 * len(p)))


def partial_conjunction(p: ArrayLike, r: int, method: str = "simes") -> Floats:
    """Test for each unit whether it has an effect in at least `r` of D datasets.

    The null hypothesis is that at most r − 1 have one. The r − 1 smallest p-values are granted, and
    the others combined (Friston, Penny and Glaser 2005, doi:10.1016/j.neuroimage.2005.01.013;
    Benjamini and Heller 2008, doi:10.1111/j.1541-0420.2007.00984.x). At r = D this is the largest
    p-value, whatever the combination and the dependence between datasets.

    Parameters
    ----------
    p : array_like
        Shape (datasets, units), in (0, 1].
    r : int
        From 1 to the number of datasets.
    method : {"simes", "bonferroni", "fisher"}
        How the others are combined.

    Returns
    -------
    numpy.ndarray
        Shape (units,), p-values.

    Raises
    ------
    ValueError
        If `r` is out of range, or a p-value is.
    """
    each = np.asarray(p, dtype=np.float64)
    if each.ndim != 2 or not 1 <= r <= len(each):
        raise ValueError(f"r={r} and p of shape {each.shape} were given; r is from 1 to datasets")
    if not ((each > 0) & (each <= 1)).all():
        raise ValueError("p-values lie in (0, 1]; some given do not")
    return np.minimum(COMBINERS[method](np.sort(each, axis=0)[r - 1 :]), 1.0)


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """Adjust p-values, shape (..., units), to q (Benjamini and Hochberg 1995).

    Units with q ≤ α have a false discovery rate of at most α where p-values are independent or
    depend positively.
    """
    return np.asarray(stats.false_discovery_control(p, axis=-1, method="bh"), dtype=np.float64)


def adjust_together(p: ArrayLike) -> Floats:
    """Adjust all p-values of an array as one family by Benjamini and Hochberg; NaN stays NaN."""
    each = np.asarray(p, dtype=np.float64)
    out, known = np.full(each.shape, np.nan), np.isfinite(each)
    if known.any():
        out[known] = benjamini_hochberg(each[known])
    return out


def benjamini_yekutieli(p: ArrayLike) -> Floats:
    """Adjust p-values, shape (..., units), to q that holds whatever the dependence (2001)."""
    return np.asarray(stats.false_discovery_control(p, axis=-1, method="by"), dtype=np.float64)


def independence_counts(kept: Sequence[int], units: int) -> Floats:
    """Expect this many units to stand in c of D lists drawn independently of each other.

    Parameters
    ----------
    kept : sequence of int
        Length of each of the D lists.
    units : int
        Number of units that each list was drawn from.

    Returns
    -------
    numpy.ndarray
        Shape (D + 1,): expected units at count 0..D; sums to `units`.
    """
    chances = np.ones(1)
    for k in kept:
        p = k / units
        chances = np.convolve(chances, [1 - p, p])
    return units * chances


def simulate_counts(kept: Sequence[int], units: int, n_draws: int = 1000, seed: int = 0) -> Floats:
    """Draw independent lists and count, for the spread around `independence_counts`.

    Returns
    -------
    numpy.ndarray
        Shape (n_draws, D + 1): units at count 0..D in each draw; rows sum to `units`.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros((n_draws, len(kept) + 1))
    for draw in range(n_draws):
        count = np.zeros(units, dtype=np.int64)
        for k in kept:
            count[rng.permutation(units)[:k]] += 1
        out[draw] = np.bincount(count, minlength=len(kept) + 1)
    return out
