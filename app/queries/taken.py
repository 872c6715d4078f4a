"""A set of units that was taken out on request, dataset by dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.jobs import Task, ablation_task
from app.queries.layers import known_detector
from app.queries.reading import Run
from app.queries.units import UnitsView, units_view
from app.selection import Selection
from probe.neurons import Ablation
from probe.neurons.table import MEAN

__all__ = [
    "MOST_UNITS",
    "TakenRow",
    "TakenView",
    "chosen_units",
    "proposed_units",
    "taken_task",
    "taken_view",
]

#: Units of a set.
MOST_UNITS = 200
#: A set that is proposed where no unit passes the test.
STRONGEST = 5
ALPHA = 0.05
#: The middle of the random sets that is shown.
MIDDLE = (0.025, 0.975)


@dataclass(frozen=True)
class TakenRow:
    """What one dataset loses, in AUROC.

    Attributes
    ----------
    dataset : str
        Which; "mean" over all is the last.
    full : float
        With all units.
    drop, low, high : float
        Lost without the set, with its interval over people.
    random_low, random_high : float
        The middle 95 % of what is lost without matched random sets.
    excess, excess_low, excess_high : float
        Lost beyond the mean of the random sets.
    p : float
        Share of sets that lose as much, the set in question among them.
    """

    dataset: str
    full: float
    drop: float
    low: float
    high: float
    random_low: float
    random_high: float
    excess: float
    excess_low: float
    excess_high: float
    p: float


@dataclass(frozen=True)
class TakenView:
    """A set that was taken out.

    Attributes
    ----------
    rows : tuple of TakenRow
        The mean over datasets last.
    units : tuple of int
        The set.
    n_random, n_distinct : int
        Random sets, and how many of them differ.
    balance : float
        Mean |weight| × range of the random sets over that of the set.
    chosen_on : str
        How the set was chosen.
    """

    rows: tuple[TakenRow, ...]
    units: tuple[int, ...]
    n_random: int
    n_distinct: int
    balance: float
    chosen_on: str

    @property
    def mean(self) -> TakenRow:
        """The mean over datasets."""
        return self.rows[-1]


def taken_view(found: Ablation) -> TakenView:
    """Read the table of a job "ablation", which holds one set."""
    data = found.data.isel(set=0).sel(metric="auroc")
    name = str(data["set"].item())
    low, high = np.quantile(data["random_drop"].transpose("random", "dataset"), MIDDLE, axis=0)
    columns = [
        data["full"].values,
        *(data[n].values for n in ("drop", "drop_low", "drop_high")),
        low,
        high,
        *(data[n].values for n in ("excess", "excess_low", "excess_high", "p")),
    ]
    rows = tuple(
        TakenRow(str(dataset), *(float(column[i]) for column in columns))
        for i, dataset in enumerate(data["dataset"].values)
    )
    assert rows[-1].dataset == MEAN
    attrs = data.attrs
    return TakenView(
        rows,
        tuple(int(unit) for unit in attrs["units"][name]),
        int(attrs["n_random"]),
        int(data["n_distinct"]),
        float(data["balance"]),
        str(attrs["chosen_on"]),
    )


def proposed_units(view: UnitsView) -> list[int]:
    """Return the units that pass the test in every dataset, else the strongest."""
    q = np.asarray(view.columns["q"], dtype=np.float64)
    passed = np.flatnonzero(q <= ALPHA)[:MOST_UNITS]
    if len(passed):
        return sorted(view.order[i] for i in passed)
    strongest = np.argsort(-np.asarray(view.columns["mean_effect"]), kind="stable")
    return sorted(view.order[i] for i in strongest[: min(STRONGEST, len(q) - 1)])


def chosen_units(view: UnitsView, chosen: Selection) -> list[int]:
    """Return the set that the address names, else the one that is proposed."""
    return chosen.unit_set(view.order) or proposed_units(view)


def taken_task(run: Run, chosen: Selection) -> Task:
    """Return the job that takes the chosen set out of the chosen detector."""
    label = known_detector(run, chosen)
    view = units_view(run, label)
    return ablation_task(run, label, view.layer, chosen_units(view, chosen))
