"""Part of the Sample page: a map of the image is made on request."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, html

from app import ids
from app.components.card import card
from app.components.help import HELP
from app.components.jobs import job_buttons, job_room, register_job
from app.components.made_map import made_map_shown
from app.jobs import Jobs, Task, jobs_of
from app.queries.made_map import METHODS, made_map, made_task
from app.run import Run
from app.selection import Selection

__all__ = ["register", "section"]

FIRST = next(iter(METHODS))


def section() -> Any:
    """Lay out the card."""
    named: dict[str, Any] = {"aria-label": "Method of the map"}
    choice = dmc.Select(
        id=ids.MADE_MAP_METHOD,
        data=[{"value": name, "label": title} for name, title in METHODS.items()],
        value=FIRST,
        allowDeselect=False,
        size="xs",
        w=180,
        **named,
    )
    return card(
        "Make a map of this image",
        job_room(ids.MADE_MAP, 190),
        help=HELP["maps"],
        controls=[choice, *job_buttons(ids.MADE_MAP, "Make it")],
    )


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of the card."""

    def task(search: str, method: str | None) -> Task:
        return made_task(run, Selection.parse(search), method or FIRST)

    def show(jobs: Jobs, fingerprint: str) -> Any:
        return made_map_shown(made_map(run, jobs, fingerprint))

    register_job(
        app,
        ids.MADE_MAP,
        lambda: jobs_of(run),
        task,
        show,
        lambda search, method: _invitation(method or FIRST),
        Input(ids.URL, "search"),
        Input(ids.MADE_MAP_METHOD, "value"),
    )


def _invitation(method: str) -> Any:
    text = (
        f"Not made yet. {METHODS.get(method, method)} explains the fake logit of the detector "
        "above; this takes seconds to minutes, and goes on if the page is left."
    )
    return html.Div(text, className="job-note")
