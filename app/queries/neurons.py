"""Units of a detector: the counts beside their nulls, and one unit in full."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.queries.deriving import derived
from app.queries.reading import Run
from app.queries.units import UnitsView, kept_of, output_of, units_view
from probe.neurons import NeuronTable, Universality

__all__ = ["CountsView", "UnitView", "UnitsView", "counts_view", "unit_view", "units_view"]

Floats = NDArray[np.float64]


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
        kept=kept_of(found),
        heads=heads[:, -1],
        contributing=len(found.universal) if "q" in data else None,
        tested=len(found.tested),
        alpha=float(data.attrs["alpha"]),
        correction={"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}[
            str(data.attrs["correction"])
        ],
    )


def unit_view(run: Run, label: str, unit: int) -> UnitView:
    """Read one unit; it has to be in the table."""
    neurons, universality = run.neurons(label), run.universality(label)
    data = neurons.data
    place = derived(_places, (neurons,))[unit]
    one = data[["effect", "slope", "rank", "value", "response"]].isel(unit=place)
    threshold, largest = derived(_bounds, (neurons, universality))
    return UnitView(
        unit=unit,
        datasets=tuple(map(str, data["dataset"].values)),
        effect=one["effect"].values,
        slope=one["slope"].values,
        rank=one["rank"].values,
        selected=universality.data["selected"].isel(unit=place).values,
        threshold=threshold,
        largest=largest,
        value=one["value"].transpose("dataset", "dose").values,
        response=one["response"].transpose("dataset", "dose").values,
        output=output_of(data.attrs),
        layer=str(data.attrs.get("layer", "")),
        n_units=data.sizes["unit"],
    )


def _places(neurons: NeuronTable) -> dict[int, int]:
    """Find units in the table."""
    return {int(unit): place for place, unit in enumerate(neurons.data["unit"].values)}


def _bounds(neurons: NeuronTable, universality: Universality) -> tuple[Floats, Floats]:
    """Return the smallest effect in each dataset's list and the largest of all units."""
    effects = neurons.data["effect"].transpose("dataset", "unit").values
    kept = kept_of(universality)
    return np.partition(effects, -kept, axis=1)[:, -kept], effects.max(axis=1)
