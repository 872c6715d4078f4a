"""The cards of the Artifacts page that ask what a detector's units respond to."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.artifacts import answers_table, doses_text, no_doses, responses_text
from app.components.card import card, graph
from app.components.clicked import place_of
from app.components.download import export_menu
from app.components.help import HELP
from app.components.message import problem
from app.figures import dose_figure, responses_figure
from app.figures.grids import grid_height
from app.queries.responses import (
    answers_view,
    artifacts_of,
    doses_view,
    named_artifact,
    responding_units,
    responses_view,
)
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots.theme import empty_figure

__all__ = ["register", "sections"]

TITLE = "Which units go along with it?"
DETECTOR = State(ids.ARTIFACTS_DETECTOR, "value")


def sections(run: Run, chosen: Selection, detector: str) -> tuple[Any, list[Any]]:
    """Lay out the heatmap of units, and what stands below it; or say what is missing."""
    try:
        units, artifacts = responding_units(run, detector), artifacts_of(run, detector)
        artifact = named_artifact(run, detector, chosen)
        found = responses_view(run, detector)
    except ProbeError as error:
        return card(TITLE, problem(error), help=HELP["responses"]), []
    unit = chosen.unit if chosen.unit else str(units[0])
    rows = len(found.measurements) if found else 1
    shown: dict[str, str] = {} if found else {"display": "none"}
    heat = card(
        TITLE,
        dcc.Location(id=ids.RESPONSES_URL, refresh="callback-nav"),
        html.Div(
            graph(ids.RESPONSES, grid_height(rows), empty_figure(), "Units and measurements"),
            style=shown,
        ),
        html.Div(responses_text(found) if found else _no_images(), className="reading"),
        help=HELP["responses"],
        controls=export_menu("responses"),
    )
    return heat, [
        _choices(units, unit, artifacts, artifact),
        _doses(bool(artifacts)),
        _answers(run, detector),
    ]


def register(app: Dash, run: Run) -> None:
    """Add the cards' callbacks."""
    _register_choices(app, run)
    _register_figures(app, run)


def _register_choices(app: Dash, run: Run) -> None:
    """Keep unit, artifact and address the same, whichever was changed."""

    @app.callback(
        Output(ids.RESPONSES_URL, "search"),
        Output(ids.ARTIFACT, "value"),
        Output(ids.RESPONDER, "value"),
        Output(ids.RESPONSES, "clickData"),
        Input(ids.ARTIFACT, "value"),
        Input(ids.RESPONDER, "value"),
        Input(ids.RESPONSES, "clickData"),
        Input(ids.RESPONSES_URL, "search"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def follow(artifact: str | None, unit: str | None, click: Any, search: str, name: str) -> Any:
        try:
            chosen = Selection.parse(search)
            first = named_artifact(run, name, chosen) or None
        except ProbeError:
            # The page says what is wrong with the address.
            return (no_update,) * 4
        shown = first, chosen.unit or str(responding_units(run, name)[0])
        if ctx.triggered_id == ids.RESPONSES_URL:
            now = artifact, unit
            values = (no_update if a == b else b for a, b in zip(now, shown, strict=True))
            return no_update, *values, no_update
        if ctx.triggered_id == ids.RESPONSES and click:
            view = responses_view(run, name)
            place = place_of(click, "x", len(view.unit)) if view else None
            number = unit if view is None or place is None else str(view.unit[place])
            return chosen.but(unit=number).search, no_update, number, None
        if (artifact, unit) == shown:
            return (no_update,) * 4
        if artifact != shown[0]:
            chosen = chosen.but(artifact=artifact)
        if unit != shown[1]:
            chosen = chosen.but(unit=unit)
        return chosen.search, no_update, no_update, no_update


def _register_figures(app: Dash, run: Run) -> None:
    scheme, unit = Input(ids.SCHEME, "data"), Input(ids.RESPONDER, "value")

    @app.callback(
        Output(ids.RESPONSES, "figure"),
        Output(ids.RESPONDER_TEXT, "children"),
        unit,
        scheme,
        DETECTOR,
    )
    def heat(unit: str, scheme: str, detector: str) -> Any:
        number: int | None = None
        wrong = ""
        try:
            number = _unit(run, detector, unit)
        except ProbeError as error:
            wrong = str(error)
        view = responses_view(run, detector)
        return responses_figure(view, number, scheme) if view else empty_figure(scheme), wrong

    @app.callback(
        Output(ids.LOGIT_DOSES, "figure"),
        Output(ids.UNIT_DOSES, "figure"),
        Output(ids.UNIT_DOSES_TEXT, "children"),
        Input(ids.ARTIFACT, "value"),
        unit,
        scheme,
        DETECTOR,
    )
    def doses(artifact: str | None, unit: str, scheme: str, detector: str) -> Any:
        if not artifact:
            # No dose was turned; a card in place of the figures says so.
            return empty_figure(scheme), empty_figure(scheme), []
        try:
            logit = doses_view(run, detector, artifact)
            one = doses_view(run, detector, artifact, _unit(run, detector, unit))
        except ProbeError as error:
            return empty_figure(scheme), empty_figure(scheme), problem(error)
        return dose_figure(logit, scheme), dose_figure(one, scheme), doses_text(one)


def _choices(units: list[int], unit: str, artifacts: list[str], artifact: str) -> Any:
    """Head the cards of doses with what they are of."""
    wrong = html.Span(id=ids.RESPONDER_TEXT, className="title-note")
    title = dmc.Title(["Turning up an artifact", wrong], order=2)
    selects = [
        dmc.Select(
            id=ids.ARTIFACT,
            label="Artifact",
            data=artifacts,
            value=artifact or None,
            allowDeselect=False,
            disabled=not artifacts,
            w=200,
        ),
        dmc.Select(
            id=ids.RESPONDER,
            label="Unit",
            data=[str(one) for one in units],
            value=unit,
            allowDeselect=False,
            searchable=True,
            limit=200,
            w=120,
        ),
    ]
    return html.Div(
        [html.Div(title), dmc.Group(selects, wrap="nowrap")], className="page-head unit-head"
    )


def _doses(there: bool) -> Any:
    """Lay out both dose-responses; without doses, say why, and keep the figures out of sight."""
    cards = [
        card(
            "Dose and logit",
            graph(ids.LOGIT_DOSES, 340, empty_figure(), "Change of the fake logit by dose"),
            help=HELP["dose"],
            controls=export_menu("doses"),
        ),
        card(
            "Dose and unit",
            graph(ids.UNIT_DOSES, 340, empty_figure(), "Change of the unit by dose"),
            html.Div(id=ids.UNIT_DOSES_TEXT, className="reading"),
            help=HELP["dose"],
            controls=export_menu("unit-doses"),
        ),
    ]
    if there:
        return html.Div(cards, className="columns")
    return html.Div(
        [
            html.Div(cards, className="columns", style={"display": "none"}),
            card("Dose and response", no_doses(), help=HELP["dose"]),
        ]
    )


def _answers(run: Run, detector: str) -> Any:
    return card(
        "What does each universal unit respond to?",
        answers_table(answers_view(run, detector)),
        help=HELP["answers"],
        controls=export_menu("answers"),
    )


def _no_images() -> str:
    return (
        "No images were measured for this report, so units are not related to measurements; only "
        "their responses to doses are known."
    )


def _unit(run: Run, detector: str, unit: str | None) -> int:
    """Return the chosen unit.

    Raises
    ------
    ProbeError
        If the report does not hold it.
    """
    return Selection(unit=unit or "").unit_number(responding_units(run, detector))
