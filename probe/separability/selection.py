"""How well single units separate a user's selection of samples from all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from probe.stats import MIN_CLUSTERS, Floats

__all__ = ["screen", "tell_apart"]


def screen(values: NDArray[Any], selected: NDArray[np.bool_]) -> Floats:
    """Return the AUROC of each unit for selected samples against the rest, ties counting half.

    Parameters
    ----------
    values : numpy.ndarray
        Activations, shape (n, units).
    selected : numpy.ndarray
        Shape (n,), bool.

    Returns
    -------
    numpy.ndarray
        Shape (units,); NaN if no or all samples are selected, or a value is not finite.
    """
    inside = np.sort(np.asarray(values[selected].T, dtype=np.float32), axis=1)
    outside = np.sort(np.asarray(values[~selected].T, dtype=np.float32), axis=1)
    found = np.full(values.shape[1], np.nan)
    pairs = inside.shape[1] * outside.shape[1]
    if not pairs:
        return found
    # Sorted, values that are not finite are at the ends.
    finite = np.isfinite(inside[:, [0, -1]]).all(axis=1) & np.isfinite(outside[:, [0, -1]]).all(1)
    for unit in np.flatnonzero(finite):
        found[unit] = _above(inside[unit], outside[unit]).sum() / pairs
    return found


def tell_apart(
    values: NDArray[Any],
    selected: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    strata: NDArray[np.int64],
    units: Sequence[int] | None = None,
    *,
    ci: float = 0.95,
) -> xr.Dataset:
    """Measure how well single units separate selected samples from the rest.

    Parameters
    ----------
    values : numpy.ndarray
        Activations, shape (n, units).
    selected : numpy.ndarray
        Shape (n,), bool.
    clusters : numpy.ndarray
        Shape (n,), codes of people; samples of different people are independent.
    strata : numpy.ndarray
        Shape (n,), codes of dataset and label; `within` compares samples of the same stratum.
    units : sequence of int, optional
        Unit numbers; counted from 0 by default.
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        Over ``unit``: ``auroc, low, high`` of selected samples against the rest, above 0.5 where
        the selected ones are higher; ``within, within_low, within_high``, the same over pairs of
        one stratum only, NaN if no stratum holds both. Attributes: ``n_selected, n_rest``;
        ``n_clusters``, clusters with selected samples; ``n_within``, selected samples whose
        stratum has others; ``ci``.

    Notes
    -----
    Intervals use the variance over clusters of the linearized AUROC (DeLong et al. 1988;
    Obuchowski 1997, doi:10.2307/2533958), with Student's t on the logit scale. There is no
    interval with fewer than five clusters on a side, or where a unit separates completely.

    There is no p-value. A selection made on an embedding of these activations depends on them,
    so that the null hypothesis of no difference is false by construction; and the strongest of
    many units looks stronger than it is. AUROC describes the selection, and `within` shows
    whether it is more than the choice of a dataset or a label.
    """
    shape = (values.shape[1], 3)
    found, within = np.full(shape, np.nan), np.full(shape, np.nan)
    whole = _Comparison.of(selected, clusters, np.zeros(len(selected), dtype=np.int64), ci)
    parts = _Comparison.of(selected, clusters, strata, ci)
    for unit, one in enumerate(np.asarray(values.T, dtype=np.float64)):
        if np.isfinite(one).all():
            found[unit], within[unit] = whole.auroc(one), parts.auroc(one)
    columns = {"auroc": found, "within": within}
    names = {"auroc": ("auroc", "low", "high"), "within": ("within", "within_low", "within_high")}
    return xr.Dataset(
        {
            name: ("unit", columns[kind][:, i])
            for kind, three in names.items()
            for i, name in enumerate(three)
        },
        coords={"unit": np.arange(shape[0]) if units is None else np.asarray(units)},
        attrs={
            "n_selected": int(selected.sum()),
            "n_rest": int((~selected).sum()),
            "n_clusters": len(np.unique(clusters[selected])),
            "n_within": parts.n_inside,
            "ci": ci,
        },
    )


@dataclass(frozen=True)
class _Comparison:
    """Pairs of selected samples and other samples of their stratum, for any number of units."""

    pairs: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    clusters: NDArray[np.int64]
    n_clusters: int
    quantile: float

    @classmethod
    def of(
        cls,
        selected: NDArray[np.bool_],
        clusters: NDArray[np.int64],
        strata: NDArray[np.int64],
        ci: float,
    ) -> _Comparison:
        pairs = []
        for stratum in np.unique(strata):
            here = strata == stratum
            inside, outside = np.flatnonzero(here & selected), np.flatnonzero(here & ~selected)
            if len(inside) and len(outside):
                pairs.append((inside, outside))
        used = np.concatenate([np.concatenate(pair) for pair in pairs] or [np.zeros(0, np.int64)])
        codes, there = np.full(len(clusters), -1), np.unique(clusters[used])
        codes[used] = np.searchsorted(there, clusters[used])
        sides = [np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)] if pairs else []
        fewest = min((len(np.unique(clusters[side])) for side in sides), default=0)
        quantile = np.nan
        if fewest >= MIN_CLUSTERS:
            quantile = float(stats.t.ppf(0.5 + ci / 2, fewest - 1))
        return cls(tuple(pairs), codes, len(there), quantile)

    @property
    def n_inside(self) -> int:
        return sum(len(inside) for inside, _ in self.pairs)

    def auroc(self, values: Floats) -> tuple[float, float, float]:
        """Return the AUROC over pairs of the same stratum, with its interval."""
        total = float(sum(len(inside) * len(outside) for inside, outside in self.pairs))
        if not total:
            return np.nan, np.nan, np.nan
        wins = [
            (
                _above_any(values[inside], values[outside]),
                len(inside) - _above_any(values[outside], values[inside]),
            )
            for inside, outside in self.pairs
        ]
        estimate = sum(won.sum() for won, _ in wins) / total
        influence = np.zeros(self.n_clusters)
        for (inside, outside), (won, lost) in zip(self.pairs, wins, strict=True):
            for rows, sums, others in ((inside, won, outside), (outside, lost, inside)):
                excess = sums - estimate * len(others)
                influence += np.bincount(self.clusters[rows], excess, minlength=self.n_clusters)
        n = self.n_clusters
        spread = np.sqrt(n / max(n - 1, 1) * np.sum(influence**2)) / total
        return (float(estimate), *_bounds(float(estimate), float(spread), self.quantile))


def _bounds(estimate: float, spread: float, quantile: float) -> tuple[float, float]:
    if not np.isfinite(quantile) or not 0 < estimate < 1:
        return np.nan, np.nan
    center, step = (
        np.log(estimate / (1 - estimate)),
        quantile * spread / (estimate * (1 - estimate)),
    )
    low, high = 1 / (1 + np.exp(-(center - step))), 1 / (1 + np.exp(-(center + step)))
    return float(low), float(high)


def _above(values: NDArray[Any], ordered: NDArray[Any]) -> Floats:
    """Return how many of `ordered` lie below each value, ties counting one half."""
    left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray(0.5 * (left + right))


def _above_any(values: Floats, others: Floats) -> Floats:
    """Return `_above` for values in any order; sorted values are looked up several times faster."""
    order = np.argsort(values)
    out = np.empty(len(values))
    out[order] = _above(values[order], np.sort(others))
    return out
