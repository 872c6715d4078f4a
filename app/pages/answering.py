"""The line under a unit's name that says what moves it, and leads on to the artifact."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, html

from app import ids
from app.components.answer import unit_answer
from app.queries.neurons import units_view
from app.queries.reading import MissingTableError, Run
from app.queries.responses import answer_of
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["register", "section"]


def section() -> Any:
    """Keep the line's room."""
    return html.Div(id=ids.UNIT_ANSWER, className="unit-answer")


def register(app: Dash, run: Run) -> None:
    """Fill the line for the unit that the address names."""

    @app.callback(
        Output(ids.UNIT_ANSWER, "children"),
        Input(ids.URL, "search"),
        Input(ids.UNITS_NOTE, "children"),
        State(ids.DETECTOR, "value"),
    )
    def show(search: str, note: Any, detector: str) -> Any:
        try:
            chosen = Selection.parse(search)
            unit = chosen.unit_number(units_view(run, detector).order)
            return unit_answer(answer_of(run, detector, unit), chosen.but(detector=detector))
        except MissingTableError:
            return "What it responds to has not been computed in this run."
        except ProbeError as error:
            return str(error)
