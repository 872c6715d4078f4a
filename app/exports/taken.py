"""What the card "Take units out" leaves to take away, once it has been computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import given_roots, script
from app.jobs import ablation_of, jobs_of
from app.queries.reading import Run
from app.queries.taken import taken_task
from app.selection import Selection
from probe.neurons import Ablation
from probe.plots import ablation_figure

__all__ = ["EXPORTS"]


def _found(run: Run, chosen: Selection) -> Ablation:
    return ablation_of(jobs_of(run), taken_task(run, chosen).fingerprint)


def _frame(run: Run, chosen: Selection) -> pd.DataFrame:
    return _found(run, chosen).to_dataframe()


def _figure(run: Run, chosen: Selection) -> Figure:
    label = str(taken_task(run, chosen).params["detector"])
    return ablation_figure({label: _found(run, chosen).data})


def _code(run: Run, chosen: Selection) -> str:
    """Write the computation itself, since its result is in no run folder."""
    given = taken_task(run, chosen).params
    return script(
        run,
        "taken-out",
        [
            "from probe import ablate",
            "from probe.plots import ablation_figure",
            "from probe.jobs.opening import detector_of, measured_on",
        ],
        [
            f"detector = detector_of(run, {given['detector']!r})",
            f"units = {given['units']!r}",
            "found = ablate(",
            f"    detector, {{'chosen': units}}, measured_on(run{given_roots(run)}),",
            f"    {given['layer']!r},",
            f"    n_random={given['n_random']!r}, seed={given['seed']!r},",
            ")",
            "table = found.to_dataframe()",
        ],
        [f"figure = ablation_figure({{{given['detector']!r}: found.data}})"],
    )


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return _found(run, chosen).data.attrs


EXPORTS = {"taken-out": Export(_frame, _figure, _code, _attrs)}
