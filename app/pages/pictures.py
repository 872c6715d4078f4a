"""The card of the Separability page that shows a layer's samples, and the image of a point."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, Patch, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card, graph
from app.components.download import csv_button, register_csv
from app.components.help import HELP
from app.components.layers import picture_text
from app.components.message import problem
from app.components.picked import nothing_picked, picked_image
from app.figures import picture_figure
from app.figures.picture import RING
from app.figures.theme import empty_figure
from app.queries.pictures import (
    COLOURS,
    KINDS,
    colouring,
    kinds_of,
    picked,
    picture_frame,
    picture_view,
    place_of,
    token_at,
    units_of,
)
from app.queries.reading import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["register", "section"]

TITLE = "The layer's samples in two dimensions"

#: What a picture is drawn for.
DRAWN = (
    (ids.LAYER, "value"), (ids.EMBEDDING, "value"), (ids.COLOUR, "value"), (ids.UNIT, "value"),
)  # fmt: skip
DETECTOR = State(ids.SEPARABILITY_DETECTOR, "value")


def section(run: Run, chosen: Selection, detector: str, layer: str) -> list[Any]:
    """Lay out the card, or say what is missing."""
    try:
        kinds = kinds_of(run, detector)
        kind, colour = chosen.named("embedding", kinds), chosen.named("colour", list(COLOURS))
    except ProbeError as error:
        return [card(TITLE, problem(error), help=HELP["picture"])]
    units = units_of(run, detector, layer)
    return [
        dcc.Location(id=ids.PICTURE_URL, refresh="callback-nav"),
        dcc.Store(id=ids.PICKED, data=chosen.sample),
        card(
            TITLE,
            html.Div(id=ids.PICTURE_TEXT, className="sentence picture-note"),
            html.Div(
                [
                    graph(ids.PICTURE, 520, empty_figure(), "Scatter of the layer's samples"),
                    html.Div(nothing_picked(), id=ids.PICKED_IMAGE, className="picked"),
                ],
                className="picture-columns",
            ),
            help=HELP["picture"],
            controls=_controls(kinds, kind, colour, units, chosen.unit),
        ),
    ]


def register(app: Dash, run: Run) -> None:
    """Add the card's callbacks."""
    _register_choices(app, run)
    _register_picture(app, run)
    _register_picked(app, run)
    register_csv(
        app, ids.PICTURE_CSV, "embedding", lambda *values: _frame(run, *values),
        *(State(*one) for one in DRAWN), DETECTOR,
    )  # fmt: skip


def _register_choices(app: Dash, run: Run) -> None:
    """Keep picture, colouring, unit, image and address the same, whichever was changed."""

    @app.callback(
        Output(ids.PICTURE_URL, "search"),
        Output(ids.EMBEDDING, "value"),
        Output(ids.COLOUR, "value"),
        Output(ids.UNIT, "value"),
        Output(ids.PICKED, "data"),
        Output(ids.PICTURE, "clickData"),
        Input(ids.EMBEDDING, "value"),
        Input(ids.COLOUR, "value"),
        Input(ids.UNIT, "value"),
        Input(ids.PICTURE, "clickData"),
        Input(ids.PICTURE_URL, "search"),
        State(ids.PICKED, "data"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def follow(
        kind: str, colour: str, unit: str | None, click: Any, search: str, token: str, detector: str
    ) -> Any:
        chosen = Selection.parse(search)
        first = kinds_of(run, detector)[0], next(iter(COLOURS))
        shown = chosen.embedding or first[0], chosen.colour or first[1]
        if ctx.triggered_id == ids.PICTURE_URL:
            now, wanted = (kind, colour, unit or ""), (*shown, chosen.unit)
            values = [no_update if a == b else b or None for a, b in zip(now, wanted, strict=True)]
            picked_now = no_update if chosen.sample == (token or "") else chosen.sample
            return no_update, *values, picked_now, no_update
        if ctx.triggered_id == ids.PICTURE and click:
            token = token_at(run, detector, int(click["points"][0]["customdata"][0]))
            return chosen.but(sample=token).search, *(no_update,) * 3, token, None
        if (kind, colour) != shown:
            chosen = chosen.but(embedding=kind, colour=colour)
        if (unit or "") != chosen.unit:
            # Whoever chooses a unit wants to see it.
            chosen = chosen.but(unit=unit or "", colour="unit")
        seen = no_update if chosen.colour in ("", colour) else chosen.colour
        same = chosen.search == (search or "")
        return no_update if same else chosen.search, no_update, seen, *(no_update,) * 3

    # Not at first: the list would lose a unit of the address that the layer lacks, unsaid.
    @app.callback(
        Output(ids.UNIT, "data"), Input(ids.LAYER, "value"), DETECTOR, prevent_initial_call=True
    )
    def units(layer: str, detector: str) -> list[str]:
        return [str(unit) for unit in units_of(run, detector, layer)]


def _register_picture(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.PICTURE, "figure"),
        Output(ids.PICTURE_TEXT, "children"),
        *(Input(*one) for one in DRAWN),
        Input(ids.SCHEME, "data"),
        State(ids.PICKED, "data"),
        DETECTOR,
    )
    def draw(
        layer: str, kind: str, by: str, unit: str, scheme: str, token: str, detector: str
    ) -> Any:
        try:
            view = picture_view(run, detector, layer, kind)
            colour = colouring(run, detector, view, by, _unit(run, detector, layer, unit))
            at = place_of(run, detector, layer, kind, token)
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        return picture_figure(view, colour, at, scheme), picture_text(view)

    @app.callback(
        Output(ids.PICTURE, "figure", allow_duplicate=True),
        Input(ids.PICKED, "data"),
        State(ids.LAYER, "value"),
        State(ids.EMBEDDING, "value"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def ring(token: str, layer: str, kind: str, detector: str) -> Any:
        try:
            at = place_of(run, detector, layer, kind, token)
        except ProbeError:
            return no_update
        # The points stay as they are, and with them what was zoomed to.
        changed = Patch()
        changed["data"][RING]["x"] = [at[0]] if at else []
        changed["data"][RING]["y"] = [at[1]] if at else []
        return changed


def _register_picked(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.PICKED_IMAGE, "children"),
        Input(ids.PICKED, "data"),
        Input(ids.COLOUR, "value"),
        Input(ids.UNIT, "value"),
        Input(ids.LAYER, "value"),
        DETECTOR,
    )
    def show(token: str, by: str, unit: str, layer: str, detector: str) -> Any:
        if not token:
            return nothing_picked()
        try:
            number = _unit(run, detector, layer, unit) if by == "unit" else None
            return picked_image(picked(run, detector, layer, token, number))
        except ProbeError as error:
            return problem(error)


def _controls(kinds: list[str], kind: str, colour: str, units: list[int], unit: str) -> list[Any]:
    named: dict[str, Any] = {"aria-label": "Unit to colour by"}
    # A unit of the address that the layer lacks has to stay, for the picture to say so.
    listed = dict.fromkeys([*map(str, units), *([unit] if unit else [])])
    return [
        dmc.SegmentedControl(
            id=ids.EMBEDDING,
            data=[{"value": name, "label": KINDS.get(name, name)} for name in kinds],
            value=kind,
            size="xs",
        ),
        dmc.SegmentedControl(
            id=ids.COLOUR,
            data=[{"value": name, "label": label} for name, label in COLOURS.items()],
            value=colour,
            size="xs",
        ),
        dmc.Select(
            id=ids.UNIT, data=list(listed), value=unit or None, size="xs", w=110,
            searchable=True, allowDeselect=False, placeholder="Unit …",
            disabled=not units, limit=200, **named,
        ),
        *csv_button(ids.PICTURE_CSV),
    ]  # fmt: skip


def _unit(run: Run, detector: str, layer: str, unit: str | None) -> int | None:
    """Return the chosen unit, or the layer's first; none where the layer was not recorded.

    Raises
    ------
    ProbeError
        If the address names one that the layer does not have.
    """
    units = units_of(run, detector, layer)
    return Selection(unit=unit or "").unit_number(units) if units else None


def _frame(run: Run, layer: str, kind: str, by: str, unit: str, detector: str) -> pd.DataFrame:
    view = picture_view(run, detector, layer, kind)
    colour = colouring(run, detector, view, by, _unit(run, detector, layer, unit))
    return picture_frame(view, colour)
