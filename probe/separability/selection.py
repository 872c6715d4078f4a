"""How well single units separate a user's selection of samples from all others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from probe.datasets.dataset import Samples
from probe.errors import ProbeError
from probe.stats import MIN_CLUSTERS, Floats, sigmoid

if TYPE_CHECKING:
    from probe.separability.report import Embeddings
    from probe.store import ActivationStore

__all__ = [
    "codes_of",
    "compare_selection",
    "screen",
    "select",
    "strongest_units",
    "tell_apart",
]

#: Samples of each side that units are compared on, and that the first look at all units takes.
MOST, FIRST = 10_000, 1_500
#: Units that are measured after the first look, and that are listed.
CANDIDATES, LISTED = 40, 12

#: Takes positions of samples in a store, and of units or None for all, and gives their activations
#: in blocks of units.
Reader = Callable[[NDArray[np.int64], NDArray[np.int64] | None], Iterable[NDArray[Any]]]


def select(
    frame: pd.DataFrame,
    corners: ArrayLike = (),
    *,
    dataset: str = "",
    label: str = "",
    method: str = "",
    low: float = 0.0,
    high: float = 1.0,
) -> NDArray[np.bool_]:
    """Select samples in a polygon, or by a rule.

    Parameters
    ----------
    frame : pandas.DataFrame
        Samples with ``x, y, dataset, label, method`` and ``p_fake``.
    corners : array_like
        Of a polygon, shape (corner, 2); without one, all of the rule has to hold.
    dataset, method : str
        Values of columns; empty texts always hold.
    label : str
        "real" or "fake"; empty for both.
    low, high : float
        Bounds of P(fake), inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (sample,), bool.
    """
    loop = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    if len(loop):
        return _inside(frame[["x", "y"]].to_numpy(), loop)
    found = np.ones(len(frame), dtype=bool)
    for name, value in (("dataset", dataset), ("method", method)):
        if value:
            found &= (frame[name] == value).to_numpy(dtype=bool)
    if label:
        found &= frame["label"].to_numpy() == int(label == "fake")
    if (low, high) != (0, 1):
        score = frame["p_fake"].to_numpy()
        found &= (score >= low) & (score <= high)
    return found


def _inside(points: Floats, corners: Floats) -> NDArray[np.bool_]:
    """Whether points are in a polygon, by the number of its edges that a ray crosses."""
    near = ((points >= corners.min(axis=0)) & (points <= corners.max(axis=0))).all(axis=1)
    rows = np.flatnonzero(near)
    x, y = points[rows].T
    odd = np.zeros(len(rows), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            crossed = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
            odd ^= crossed
    out = np.zeros(len(points), dtype=bool)
    out[rows[odd]] = True
    return out


def compare_selection(
    found: Embeddings,
    store: ActivationStore,
    layer: str,
    *,
    method: str = "pca",
    corners: ArrayLike = (),
    rule: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Find the units that separate selected samples of an embedding from the rest.

    Parameters
    ----------
    found : Embeddings
        Embeddings of a detector.
    store : ActivationStore
        Activations of the same detector.
    layer : str
        Layer of the units, and of the embedding.
    method : str, default "pca"
        Method of the embedding.
    corners, rule : array_like, mapping
        What is selected, see `select`: a polygon in the embedding, or the arguments of a rule.

    Returns
    -------
    xarray.Dataset
        See `strongest_units`.
    """
    samples = found.align(store.samples)
    one = found.data["position"].sel({"layer": layer, "method": method})
    x, y = one.transpose("axis", "sample").values.astype(np.float64)
    score = sigmoid(samples["logit"].to_numpy(dtype=np.float64))
    selected = select(samples.assign(x=x, y=y, p_fake=score), corners, **(rule or {}))
    taps = store[layer]["activation"]

    def read(rows: NDArray[np.int64], places: NDArray[np.int64] | None) -> Iterable[NDArray[Any]]:
        here = taps.isel(sample=rows)
        yield (here if places is None else here.isel(unit=places)).values

    place = samples["place"].to_numpy()
    return strongest_units(selected, place, *codes_of(samples), taps["unit"].values, read)


def strongest_units(
    selected: NDArray[np.bool_],
    place: NDArray[np.int64],
    clusters: NDArray[np.int64],
    strata: NDArray[np.int64],
    units: NDArray[np.int64],
    read: Reader,
) -> xr.Dataset:
    """Compare all units on few samples, and measure the strongest of them on more.

    Parameters
    ----------
    selected : numpy.ndarray
        Shape (sample,), bool.
    place : numpy.ndarray
        Positions of these samples in the store, shape (sample,).
    clusters, strata : numpy.ndarray
        As in `tell_apart`.
    units : numpy.ndarray
        Numbers of the units of the store.
    read : callable
        Takes positions of samples in the store, and of units or None for all, and gives their
        activations in blocks of units.

    Returns
    -------
    xarray.Dataset
        See `tell_apart`; the strongest units first. Further attributes: ``n_units``, from how many
        they were chosen; ``drawn``, 1 if a part of the samples was compared, drawn at random, else
        0; ``screened``, samples of a first look that left a part of the units to be measured, 0 if
        it had all samples.

    Raises
    ------
    ProbeError
        If nothing or everything is selected.
    """
    if selected.all() or not selected.any():
        raise ProbeError("There is nothing to compare: select some of the samples, not all.")
    rng = np.random.default_rng(0)
    sides = [rng.permutation(np.flatnonzero(side))[:MOST] for side in (selected, ~selected)]
    first = np.concatenate([side[:FIRST] for side in sides])
    rough = np.concatenate([screen(block, selected[first]) for block in read(place[first], None)])
    best = np.sort(_strongest(rough)[:CANDIDATES])
    rows = np.sort(np.concatenate(sides))
    values = np.concatenate(list(read(place[rows], best)), axis=1)
    numbers = np.asarray(units)[best].tolist()
    table = tell_apart(values, selected[rows], clusters[rows], strata[rows], numbers)
    fewer = len(first) if len(first) < len(rows) else 0
    about = {"n_units": len(rough), "drawn": int(len(rows) < len(selected)), "screened": fewer}
    return table.isel(unit=_strongest(table["auroc"].values)[:LISTED]).assign_attrs(about)


def _strongest(auroc: Floats) -> NDArray[np.int64]:
    """Order units by their distance from 0.5, without those that have none."""
    strength = np.abs(auroc - 0.5)
    order = np.argsort(-strength, kind="stable")
    return order[np.isfinite(strength[order])]


def codes_of(samples: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return codes of people, and of dataset and label together."""
    columns = samples.drop(columns=["logit", "written", "place"], errors="ignore")
    strata = 2 * pd.factorize(samples["dataset"])[0] + samples["label"].to_numpy()
    return Samples(columns).clusters, strata.astype(np.int64)


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
