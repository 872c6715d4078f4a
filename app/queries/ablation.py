"""What detection loses without the sets of units that were found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.queries.reading import Run
from probe.neurons.table import MEAN

__all__ = ["AblationView", "SetRow", "ablation_view"]


@dataclass(frozen=True)
class SetRow:
    """One set, on average over datasets.

    Attributes
    ----------
    name : str
        Which set.
    n_units : float
        Units in it; a mean over both halves of the people.
    drop, low, high : float
        AUROC lost without it, with its interval.
    excess, excess_low, excess_high : float
        The same beyond the mean of matched random sets.
    p : float
        Share of sets that lose as much, the set in question among them.
    balance : float
        Mean |weight| × range of the random sets over the set's.
    """

    name: str
    n_units: float
    drop: float
    low: float
    high: float
    excess: float
    excess_low: float
    excess_high: float
    p: float
    balance: float


@dataclass(frozen=True)
class AblationView:
    """All sets of a detector.

    Attributes
    ----------
    rows : tuple of SetRow
        In the order of the table.
    n_random : int
        Random sets that each is compared with.
    chosen_on : str
        Where units were chosen.
    alone : tuple of str
        Sets that one half of the people alone has.
    """

    rows: tuple[SetRow, ...]
    n_random: int
    chosen_on: str
    alone: tuple[str, ...]


def ablation_view(run: Run, label: str) -> AblationView | None:
    """Read the ablation of a detector; None where nothing was taken out."""
    found = run.ablation(label)
    if found is None:
        return None
    data = found.data.sel(dataset=MEAN, metric="auroc")
    names = ("drop", "drop_low", "drop_high", "excess", "excess_low", "excess_high", "p")
    columns: list[NDArray[np.float64]] = [data[n].values for n in ("n_units", *names, "balance")]
    rows = tuple(
        SetRow(str(name), *(float(column[i]) for column in columns))
        for i, name in enumerate(data["set"].values)
    )
    attrs = found.data.attrs
    alone = attrs.get("one_half_only", ())
    return AblationView(
        rows,
        int(attrs["n_random"]),
        str(attrs["chosen_on"]),
        tuple(alone if isinstance(alone, list) else [str(alone)] if alone else []),
    )
