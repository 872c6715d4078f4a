"""Units of a detector: the list, the counts beside their nulls, and one unit in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.queries.reading import Run
from probe.neurons import CORRECTIONS, Universality

__all__ = ["CountsView", "UnitView", "UnitsView", "counts_view", "unit_view", "units_view"]

Floats = NDArray[np.float64]

#: Scales of the response, as they stand on axes.
OUTPUT_NAMES = {"logit": "fake logit", "p_fake": "P(fake)", "p_real": "P(real)"}


@dataclass(frozen=True)
class CountsView:
    """In how many datasets' lists units stand, and what the nulls give.

    Attributes
    ----------
    count : numpy.ndarray
        0..D, shape (D + 1,).
    observed, expected, low, high : numpy.ndarray
        Units at each count: of this detector, and if lists were independent (with the 95 %
        range of drawn lists); shape (D + 1,).
    untrained : numpy.ndarray
        Units at each count in untrained networks, shape (draw, D + 1).
    kept : int
        Units in each list.
    heads : numpy.ndarray
        Units in all lists in random heads, shape (head,).
    contributing : int or None
        Units that contribute to detection in all tested datasets; None without a test.
    tested : int
        Datasets that the test is over.
    alpha, correction : float, str
        False discovery rate of the test, and its control.
    """

    count: NDArray[np.int64]
    observed: NDArray[np.int64]
    expected: Floats
    low: Floats
    high: Floats
    untrained: NDArray[np.int64]
    kept: int
    heads: NDArray[np.int64]
    contributing: int | None
    tested: int
    alpha: float
    correction: str

    @property
    def units(self) -> int:
        """Number of units in all."""
        return int(self.observed.sum())

    @property
    def verdict(self) -> str:
        """What the nulls leave of the count: "chance", "untrained" or "beyond"."""
        if self.observed[-1] <= self.high[-1]:
            return "chance"
        if len(self.untrained) and self.observed[-1] <= self.untrained[:, -1].max():
            return "untrained"
        return "beyond"


@dataclass(frozen=True)
class UnitsView:
    """All units of a detector's table.

    Attributes
    ----------
    datasets : tuple of str
        Columns.
    rows : list of dict
        One a unit, the most universal first: ``unit``, ``q`` of the test (None without one),
        ``contributes`` (in how many datasets by itself), ``n_datasets, mean_effect, rank`` (of the
        mean effect), and for dataset i ``e{i}`` (effect), ``r{i}`` (rank), ``s{i}`` (in the list).
    output, layer : str
        Scale of the effects; tap.
    kept : int
        Units in each list.
    """

    datasets: tuple[str, ...]
    rows: list[dict[str, Any]]
    output: str
    layer: str
    kept: int

    @property
    def order(self) -> list[int]:
        """Units in the order of rows."""
        return [int(row["unit"]) for row in self.rows]


@dataclass(frozen=True)
class UnitView:
    """One unit.

    Attributes
    ----------
    unit : int
        Which.
    datasets : tuple of str
        Rows of what follows.
    effect, slope : numpy.ndarray
        Shape (dataset,); size of the effect, and its sign by the ends of the dose-response.
    rank : numpy.ndarray
        Shape (dataset,), 1 is the largest.
    selected : numpy.ndarray
        Shape (dataset,), whether the unit is in the dataset's list.
    threshold, largest : numpy.ndarray
        Shape (dataset,): the smallest effect in the dataset's list, the largest of all units.
    value, response : numpy.ndarray
        Shape (dataset, dose).
    output, layer : str
        Scale of effects and responses; tap.
    n_units : int
        Number of units in the table.
    """

    unit: int
    datasets: tuple[str, ...]
    effect: Floats
    slope: Floats
    rank: NDArray[np.int64]
    selected: NDArray[np.bool_]
    threshold: Floats
    largest: Floats
    value: Floats
    response: Floats
    output: str
    layer: str
    n_units: int


def counts_view(run: Run, label: str) -> CountsView:
    """Read the counts of a detector and both nulls."""
    found = run.universality(label)
    data, empty = found.data, np.zeros((0, 1), dtype=np.int64)
    heads = data["random_head"].transpose("head", "count").values if "head" in data.sizes else empty
    return CountsView(
        count=data["count"].values,
        observed=data["observed"].values,
        expected=data["independence"].values,
        low=data["independence_low"].values,
        high=data["independence_high"].values,
        untrained=data["untrained"].transpose("draw", "count").values,
        kept=_kept(found),
        heads=heads[:, -1],
        contributing=len(found.universal) if "q" in data else None,
        tested=len(found.tested),
        alpha=float(data.attrs["alpha"]),
        correction={"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[
            str(data.attrs["correction"])
        ],
    )


def units_view(run: Run, label: str) -> UnitsView:
    """Read the list of units: smallest q first, then those in most lists, then the strongest."""
    table, universality = run.neurons(label).data, run.universality(label)
    data = universality.data
    effect = table["effect"].transpose("dataset", "unit").values
    rank = table["rank"].transpose("dataset", "unit").values
    selected = data["selected"].transpose("dataset", "unit").values
    mean = effect.mean(axis=0)
    count = data["n_datasets"].values
    q = _adjusted(universality)
    contributes = data["significant"].transpose("dataset", "unit").values.sum(axis=0)
    order = np.lexsort((-mean, -count, np.nan_to_num(q, nan=1.0)))
    place = np.empty(len(mean), dtype=np.int64)
    place[np.argsort(-mean, kind="stable")] = np.arange(1, len(mean) + 1)
    rows = []
    for i in order:
        row: dict[str, Any] = {
            "unit": int(table["unit"].values[i]),
            "q": float(q[i]) if np.isfinite(q[i]) else None,
            "contributes": int(contributes[i]),
            "n_datasets": int(count[i]),
            "mean_effect": float(mean[i]),
            "rank": int(place[i]),
        }
        for d in range(len(effect)):
            row[f"e{d}"] = float(effect[d, i])
            row[f"r{d}"] = int(rank[d, i])
            row[f"s{d}"] = bool(selected[d, i])
        rows.append(row)
    return UnitsView(
        datasets=tuple(map(str, table["dataset"].values)),
        rows=rows,
        output=_output(table.attrs),
        layer=str(table.attrs.get("layer", "")),
        kept=_kept(universality),
    )


def unit_view(run: Run, label: str, unit: int) -> UnitView:
    """Read one unit; it has to be in the table."""
    data = run.neurons(label).data
    one, marks = data.sel(unit=unit), run.universality(label).data
    effects = data["effect"].transpose("dataset", "unit").values
    kept = _kept(run.universality(label))
    return UnitView(
        unit=unit,
        datasets=tuple(map(str, data["dataset"].values)),
        effect=one["effect"].values,
        slope=one["slope"].values,
        rank=one["rank"].values,
        selected=marks["selected"].sel(unit=unit).values,
        threshold=np.sort(effects, axis=1)[:, -kept],
        largest=effects.max(axis=1),
        value=one["value"].transpose("dataset", "dose").values,
        response=one["response"].transpose("dataset", "dose").values,
        output=_output(data.attrs),
        layer=str(data.attrs.get("layer", "")),
        n_units=data.sizes["unit"],
    )


def _adjusted(universality: Universality) -> Floats:
    """Return the q-value of "in all datasets" of every unit; NaN without a test."""
    data = universality.data
    if "q" not in data:
        return np.full(data.sizes["unit"], np.nan)
    name = CORRECTIONS[str(data.attrs["correction"])]
    return np.asarray(data[name].transpose("at_least", "unit").values[-1], dtype=np.float64)


def _kept(universality: Universality) -> int:
    """Units in each list; tables that do not note it tell by their first list."""
    noted = universality.data.attrs.get("kept")
    return int(noted if noted is not None else universality.data["selected"][0].sum())


def _output(attrs: dict[Any, Any]) -> str:
    given = str(attrs.get("output", "logit"))
    return OUTPUT_NAMES.get(given, given)
