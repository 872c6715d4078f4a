"""The list of a detector's units, in order, in blocks, and filtered as a grid asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.queries.asking import Asked
from app.queries.deriving import derived
from app.queries.reading import Run
from probe.neurons import NeuronTable, Universality

__all__ = [
    "OUTPUT_NAMES",
    "Block",
    "UnitsView",
    "kept_of",
    "output_of",
    "units_block",
    "units_view",
]

Floats = NDArray[np.float64]

#: Units that the heatmap has room for.
MOST_SHARES = 40

#: Scales of the response, as they stand on axes.
OUTPUT_NAMES = {"logit": "fake logit", "p_fake": "P(fake)", "p_real": "P(real)"}


@dataclass(frozen=True)
class UnitsView:
    """All units of a detector's table, the most universal first.

    Attributes
    ----------
    datasets : tuple of str
        Columns.
    columns : mapping
        Name to numbers, shape (unit,): ``unit``, ``q`` of the test (NaN without one),
        ``contributes`` (in how many datasets by itself), ``n_datasets, mean_effect, rank`` (of the
        mean effect), and for dataset i ``e{i}`` (effect) and ``r{i}`` (rank).
    selected : numpy.ndarray
        Shape (dataset, unit), whether the unit is in the dataset's list.
    raises : numpy.ndarray
        Shape (dataset, unit), whether larger values of the unit raise the score.
    largest : numpy.ndarray
        Shape (dataset,), the largest effect of all units.
    output, layer : str
        Scale of the effects; tap.
    kept : int
        Units in each list.
    """

    datasets: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    selected: NDArray[np.bool_]
    raises: NDArray[np.bool_]
    largest: Floats
    output: str
    layer: str
    kept: int

    @cached_property
    def order(self) -> list[int]:
        """Units in the order of rows."""
        return [int(unit) for unit in self.columns["unit"]]

    @cached_property
    def effect(self) -> Floats:
        """Effects, shape (dataset, unit)."""
        return np.stack([self.columns[f"e{d}"] for d in range(len(self.datasets))])

    @cached_property
    def positions(self) -> dict[int, int]:
        """Rows of units."""
        return {unit: row for row, unit in enumerate(self.order)}

    def records(self, rows: NDArray[np.int64] | slice = slice(None)) -> list[dict[str, Any]]:
        """Return rows as plain values, with ``s{i}`` where the unit is in the list of dataset i.

        A q-value that is not there is None.
        """
        parts = {name: values[rows].tolist() for name, values in self.columns.items()}
        parts["q"] = [None if value != value else value for value in parts["q"]]
        parts |= {f"s{d}": one[rows].tolist() for d, one in enumerate(self.selected)}
        return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


@dataclass(frozen=True)
class Block:
    """Some rows of the list in the order that was asked for.

    Attributes
    ----------
    rows : list of dict
        See `UnitsView.records`.
    total : int
        Units that pass the filters.
    place : int or None
        Where the unit in question stands; None where it does not pass.
    """

    rows: list[dict[str, Any]]
    total: int
    place: int | None


def units_view(run: Run, label: str) -> UnitsView:
    """Read the list of units: smallest q first, then those in most lists, then the strongest."""
    return derived(_view, (run.neurons(label), run.universality(label)))


def units_block(view: UnitsView, request: Any, unit: int | None = None) -> Block:
    """Return the rows that a grid asks for.

    Parameters
    ----------
    view : UnitsView
        All rows.
    request : dict
        What AG Grid's infinite row model sends: ``startRow, endRow, sortModel, filterModel``.
    unit : int, optional
        Unit whose place is told.

    Raises
    ------
    ProbeError
        If the request names columns or operators that there are not, or more than a block.
    """
    asked = Asked.of(request, tuple(view.columns))
    order = asked.order(view.columns)
    place = None
    if unit in view.positions:
        found = np.flatnonzero(order == view.positions[unit])
        place = int(found[0]) if len(found) else None
    return Block(view.records(order[asked.start : asked.stop]), len(order), place)


@dataclass(frozen=True)
class ShareView:
    """Effects of some units as shares of what is largest in each dataset.

    Attributes
    ----------
    unit : numpy.ndarray
        Shape (shown,), in the list's order.
    datasets : tuple of str
        Rows.
    share : numpy.ndarray
        Shape (dataset, shown): effect over the dataset's largest, negative where larger values of
        the unit lower the score.
    effect : numpy.ndarray
        Shape (dataset, shown).
    selected : numpy.ndarray
        Shape (dataset, shown), whether the unit is in the dataset's list.
    total : int
        Units that pass the list's filters, of which the first are shown.
    output : str
        Scale of the effects.
    """

    unit: NDArray[np.int64]
    datasets: tuple[str, ...]
    share: Floats
    effect: Floats
    selected: NDArray[np.bool_]
    total: int
    output: str


def shares_view(view: UnitsView, request: Any = None) -> ShareView:
    """Compare the first units of the list, as it is sorted and filtered, over datasets.

    Parameters
    ----------
    view : UnitsView
        All rows.
    request : dict, optional
        What the grid asked for last, see `units_block`; without one the list is as it came.

    Raises
    ------
    ProbeError
        If the request is none that a grid sends.
    """
    given = request if isinstance(request, dict) else {}
    asked = Asked.of({**given, "startRow": 0, "endRow": 0}, tuple(view.columns))
    order = asked.order(view.columns)
    rows = order[:MOST_SHARES]
    effect = view.effect[:, rows]
    # A dataset in which no unit has an effect has no largest to divide by.
    share = effect / np.where(view.largest > 0, view.largest, 1.0)[:, None]
    return ShareView(
        unit=view.columns["unit"][rows],
        datasets=view.datasets,
        share=np.where(view.raises[:, rows], share, -share),
        effect=effect,
        selected=view.selected[:, rows],
        total=len(order),
        output=view.output,
    )


def _view(neurons: NeuronTable, universality: Universality) -> UnitsView:
    table, data = neurons.data, universality.data
    effect = table["effect"].transpose("dataset", "unit").values
    rank = table["rank"].transpose("dataset", "unit").values
    selected = data["selected"].transpose("dataset", "unit").values
    mean = effect.mean(axis=0)
    count = data["n_datasets"].values
    q = universality.adjusted
    contributes = data["significant"].transpose("dataset", "unit").values.sum(axis=0)
    order = universality.ranked(neurons)
    place = np.empty(len(mean), dtype=np.int64)
    place[np.argsort(-mean, kind="stable")] = np.arange(1, len(mean) + 1)
    columns = {
        "unit": table["unit"].values,
        "q": q,
        "contributes": contributes,
        "n_datasets": count,
        "mean_effect": mean,
        "rank": place,
    }
    for d in range(len(effect)):
        columns |= {f"e{d}": effect[d], f"r{d}": rank[d]}
    return UnitsView(
        datasets=tuple(map(str, table["dataset"].values)),
        columns={name: values[order] for name, values in columns.items()},
        selected=selected[:, order],
        raises=table["slope"].transpose("dataset", "unit").values[:, order] >= 0,
        largest=effect.max(axis=1),
        output=output_of(table.attrs),
        layer=str(table.attrs.get("layer", "")),
        kept=kept_of(universality),
    )


def kept_of(universality: Universality) -> int:
    """Return the units in each list; tables that do not note it tell by their first list."""
    noted = universality.data.attrs.get("kept")
    return int(noted if noted is not None else universality.data["selected"][0].sum())


def output_of(attrs: Mapping[Any, Any]) -> str:
    """Name the scale of a table's effects as it stands on axes."""
    given = str(attrs.get("output", "logit"))
    return OUTPUT_NAMES.get(given, given)
