"""Part of the Neurons page: a set of units is taken out, which is computed on request."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card
from app.components.help import HELP
from app.components.jobs import job_buttons, job_room, register_job
from app.components.taken import taken_result
from app.jobs import Jobs, Task, ablation_of, jobs_of
from app.queries.neurons import UnitsView, units_view
from app.queries.reading import Run
from app.queries.taken import (
    MOST_UNITS,
    chosen_units,
    proposed_units,
    taken_task,
    taken_view,
)
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["register", "section"]

#: Units that are proposed while typing; any other of the table may be typed.
SUGGESTED = 500


def section(view: UnitsView, chosen: Selection) -> Any:
    """Lay out the card for the set that the address names."""
    try:
        units, error = chosen_units(view, chosen), ""
    except ProbeError as why:
        units, error = [], str(why)
    tags = dmc.TagsInput(
        id=ids.TAKEN_UNITS,
        label="Set of units",
        description=f"Numbers of units of {view.layer}, up to {MOST_UNITS}. At first: those with "
        "q ≤ 0.05 in every dataset; if there are none, the five strongest.",
        value=[str(unit) for unit in units],
        data=[str(unit) for unit in view.order[:SUGGESTED]],
        limit=20,
        maxTags=MOST_UNITS,
        splitChars=[",", " ", ";"],
        acceptValueOnBlur=True,
        clearable=True,
        clearButtonProps={"aria-label": "Clear the set"},
        error=error,
        size="xs",
        className="taken-units",
    )
    return card(
        "Take units out",
        dcc.Location(id=ids.TAKEN_URL, refresh="callback-nav"),
        tags,
        # A line each for the head, the datasets and their mean, and three of text.
        job_room(ids.TAKEN, 33 * (len(view.datasets) + 2) + 96),
        help=HELP["taken"],
        controls=job_buttons(ids.TAKEN, "Take them out"),
    )


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of the card."""
    _register_set(app, run)

    def task(search: str) -> Task:
        return taken_task(run, Selection.parse(search))

    def show(jobs: Jobs, fingerprint: str) -> Any:
        return taken_result(taken_view(ablation_of(jobs, fingerprint)))

    register_job(
        app,
        ids.TAKEN,
        lambda: jobs_of(run),
        task,
        show,
        lambda search: _invitation(task(search)),
        Input(ids.URL, "search"),
    )


def _register_set(app: Dash, run: Run) -> None:
    """Keep the set and the address the same, whichever was changed."""

    @app.callback(
        Output(ids.TAKEN_URL, "search"),
        Output(ids.TAKEN_UNITS, "value"),
        Output(ids.TAKEN_UNITS, "error"),
        Input(ids.TAKEN_UNITS, "value"),
        Input(ids.TAKEN_URL, "search"),
        State(ids.DETECTOR, "value"),
        prevent_initial_call=True,
    )
    def follow(words: list[str] | None, search: str, detector: str) -> Any:
        try:
            chosen, view = Selection.parse(search), units_view(run, detector)
            if ctx.triggered_id == ids.TAKEN_URL:
                shown = [str(unit) for unit in chosen_units(view, chosen)]
                return no_update, no_update if shown == words else shown, ""
            if not words:
                return no_update, no_update, "Name one unit or more."
            changed = chosen.but(units=",".join(words))
            units = [str(unit) for unit in changed.unit_set(view.order)]
            proposed = [str(unit) for unit in proposed_units(view)]
            if units == proposed and not chosen.units:
                return no_update, no_update, ""
            found = chosen.but(units=",".join(units)).search
        except ProbeError as error:
            return no_update, no_update, str(error)
        return (found if found != (search or "") else no_update), no_update, ""


def _invitation(task: Task) -> Any:
    count, n_random = len(task.params["units"]), task.params["n_random"]
    what = (
        "The unit is set to its mean" if count == 1 else f"The {count} units are set to their means"
    )
    text = (
        f"Not computed yet. {what} in each dataset, on the images that this run was measured on; "
        f"{n_random} random sets of the same size and about the same |weight| × range show what "
        "any such set would cost. This takes from seconds to minutes, and goes on if the page is "
        "left."
    )
    return html.Div(text, className="job-note")
