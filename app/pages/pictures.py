"""The card of the Separability page that shows a layer's samples, and the image of a point."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import (
    ClientsideFunction,
    Dash,
    Input,
    Output,
    Patch,
    State,
    ctx,
    dcc,
    html,
    no_update,
)

from app import ids
from app.components.card import card, graph
from app.components.clicked import coordinate_of, customdata_of
from app.components.download import export_menu
from app.components.help import HELP
from app.components.lacks import lacks_note
from app.components.layers import picture_text
from app.components.message import problem
from app.components.picked import nothing_picked, picked_image
from app.figures import picture_figure
from app.figures.picture import RING
from app.pages import selecting
from app.queries.arranging import ArrangingError
from app.queries.density import nearest
from app.queries.layers import first_layer
from app.queries.pictures import (
    COLORS,
    KINDS,
    PictureView,
    Window,
    coloring,
    is_dense,
    kinds_of,
    picked,
    picture_view,
    place_of,
    token_at,
    units_of,
)
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots.theme import empty_figure

__all__ = ["register", "section"]

TITLE = "The layer's samples in two dimensions"

#: What a picture is drawn for.
DRAWN = (
    (ids.LAYER, "value"),
    (ids.EMBEDDING, "value"),
    (ids.COLOR, "value"),
    (ids.UNIT, "value"),
)
DETECTOR = State(ids.SEPARABILITY_DETECTOR, "value")
#: What dragging on the picture does, as plotly names it, and its name.
DRAGS = {"zoom": "Zoom", "select": "Box", "lasso": "Lasso"}
#: Milliseconds until what was not ready is asked for again.
AGAIN = 1000


def section(run: Run, chosen: Selection, detector: str, layer: str) -> list[Any]:
    """Lay out the card, or say what is missing."""
    try:
        kinds = kinds_of(run, detector)
        kind, color = chosen.named("embedding", kinds), chosen.named("color", list(COLORS))
    except ProbeError as error:
        return [card(TITLE, problem(error), help=HELP["picture"])]
    units = units_of(run, detector, layer)
    return [
        dcc.Location(id=ids.PICTURE_URL, refresh="callback-nav"),
        dcc.Store(id=ids.PICKED, data=chosen.sample),
        dcc.Store(id=ids.PICTURE_WINDOW),
        dcc.Interval(id=ids.PICTURE_AGAIN, interval=AGAIN, disabled=True),
        card(
            TITLE,
            html.Div(id=ids.PICTURE_TEXT, className="sentence picture-note"),
            html.Div(
                [
                    _graph(),
                    html.Div(nothing_picked(), id=ids.PICKED_IMAGE, className="picked"),
                ],
                className="picture-columns",
            ),
            help=HELP["picture"],
            controls=_controls(kinds, kind, color, units, chosen.unit),
        ),
        *selecting.section(run, chosen, detector, layer, kind),
    ]


def register(app: Dash, run: Run) -> None:
    """Add the card's callbacks."""
    _register_choices(app, run)
    _register_picture(app, run)
    _register_ring(app, run)
    _register_picked(app, run)
    selecting.register(app, run)


def _register_choices(app: Dash, run: Run) -> None:
    """Keep picture, coloring, unit, image and address the same, whichever was changed."""

    @app.callback(
        Output(ids.PICTURE_URL, "search"),
        Output(ids.EMBEDDING, "value"),
        Output(ids.COLOR, "value"),
        Output(ids.UNIT, "value"),
        Output(ids.PICKED, "data"),
        Output(ids.PICTURE, "clickData"),
        Input(ids.EMBEDDING, "value"),
        Input(ids.COLOR, "value"),
        Input(ids.UNIT, "value"),
        Input(ids.PICTURE, "clickData"),
        Input(ids.PICTURE_URL, "search"),
        State(ids.PICKED, "data"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def follow(
        kind: str, color: str, unit: str | None, click: Any, search: str, token: str, detector: str
    ) -> Any:
        chosen = Selection.parse(search)
        first = kinds_of(run, detector)[0], next(iter(COLORS))
        shown = chosen.embedding or first[0], chosen.color or first[1]
        if ctx.triggered_id == ids.PICTURE_URL:
            now, wanted = (kind, color, unit or ""), (*shown, chosen.unit)
            values = [no_update if a == b else b or None for a, b in zip(now, wanted, strict=True)]
            picked_now = no_update if chosen.sample == (token or "") else chosen.sample
            return no_update, *values, picked_now, no_update
        if ctx.triggered_id == ids.PICTURE and click:
            layer = str(chosen.layer or first_layer(run, detector))
            view = picture_view(run, detector, layer, kind)
            row = _clicked(view, click)
            if row is None:
                return (no_update,) * 6
            token = token_at(run, detector, row)
            return chosen.but(sample=token).search, *(no_update,) * 3, token, None
        if (kind, color) != shown:
            chosen = chosen.but(embedding=kind, color=color)
        if (unit or "") != chosen.unit:
            # Whoever chooses a unit wants to see it.
            chosen = chosen.but(unit=unit or "", color="unit")
        seen = no_update if chosen.color in ("", color) else chosen.color
        same = chosen.search == (search or "")
        return no_update if same else chosen.search, no_update, seen, *(no_update,) * 3

    # Not at first: the list would lose a unit of the address that the layer lacks, unsaid.
    @app.callback(
        Output(ids.UNIT, "data"), Input(ids.LAYER, "value"), DETECTOR, prevent_initial_call=True
    )
    def units(layer: str, detector: str) -> list[str]:
        return [str(unit) for unit in units_of(run, detector, layer)]


def _register_picture(app: Dash, run: Run) -> None:
    """Draw the points, or their density, of the window that is zoomed to."""
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("picture", "window"),
        Output(ids.PICTURE_WINDOW, "data"),
        Input(ids.PICTURE, "relayoutData"),
        State(ids.LAYER, "value"),
        State(ids.EMBEDDING, "value"),
        State(ids.PICTURE_WINDOW, "data"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output(ids.PICTURE, "figure"),
        Output(ids.PICTURE_TEXT, "children"),
        Output(ids.PICTURE_AGAIN, "disabled"),
        *(Input(*one) for one in DRAWN),
        Input(ids.SCHEME, "data"),
        Input(ids.PICTURE_WINDOW, "data"),
        Input(ids.PICTURE_AGAIN, "n_intervals"),
        State(ids.PICKED, "data"),
        State(ids.SELECTED, "data"),
        State(ids.DRAG, "value"),
        DETECTOR,
    )
    def draw(
        layer: str,
        kind: str,
        by: str,
        unit: str,
        scheme: str,
        held: Any,
        again: int,
        token: str,
        lasso: str,
        drag: str,
        detector: str,
    ) -> Any:
        try:
            view = picture_view(run, detector, layer, kind)
            window = window_of(view, held)
            seen = len(view.seen(window))
            if ctx.triggered_id == ids.PICTURE_WINDOW and not is_dense(view.total):
                # All points are there, whatever is zoomed to.
                return no_update, picture_text(view, seen), no_update
            color = coloring(run, detector, view, by, _unit(run, detector, layer, unit))
            at = place_of(run, detector, layer, kind, token)
        except ArrangingError as error:
            return empty_figure(scheme), problem(error), False
        except ProbeError as error:
            return empty_figure(scheme), problem(error), True
        outline = selecting.readable(detector, view, lasso)
        figure = picture_figure(
            view,
            color,
            at,
            scheme,
            window=window,
            lasso=outline,
            revision=lasso or "",
            drag=drag if drag in DRAGS else "zoom",
        )
        return figure, picture_text(view, seen), True


def _register_ring(app: Dash, run: Run) -> None:
    """Ring the picked point."""

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
        Input(ids.COLOR, "value"),
        Input(ids.UNIT, "value"),
        Input(ids.LAYER, "value"),
        DETECTOR,
    )
    def show(token: str, by: str, unit: str, layer: str, detector: str) -> Any:
        if not token:
            return nothing_picked()
        try:
            number = _unit(run, detector, layer, unit) if by == "unit" else None
            kept = Selection(detector=detector, layer=layer)
            image = picked_image(picked(run, detector, layer, token, number), kept)
            return html.Div([image, lacks_note(run, [token])])
        except ProbeError as error:
            return problem(error)


def window_of(view: PictureView, held: Any) -> Window | None:
    """Return the part of a picture that is in view; none where it is all, or of another picture."""
    if not isinstance(held, dict) or held.get("key") != f"{view.layer} {view.kind}":
        return None
    try:
        given = [None if value is None else float(value) for value in held["range"]]
        x0, x1, y0, y1 = (
            known if value is None else value
            for value, known in zip(given, view.extent, strict=True)
        )
    except (KeyError, TypeError, ValueError):
        return None
    window = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    a, b, c, d = view.extent
    whole = window[0] <= a and window[1] >= b and window[2] <= c and window[3] >= d
    return None if whole or not np.isfinite(window).all() else window


def _graph() -> Any:
    room = graph(ids.PICTURE, 520, empty_figure(), "Scatter of the layer's samples")
    # What is zoomed to is a range of the figure, which a double click would else lead back to.
    room.children.config = {**room.children.config, "doubleClick": "autosize"}
    return room


def _clicked(view: PictureView, click: Any) -> int | None:
    """Return the row of the sample that was clicked on; in a cell, the nearest to its middle."""
    row, x, y = customdata_of(click, 0, int), coordinate_of(click, "x"), coordinate_of(click, "y")
    if row is not None:
        return row
    return None if x is None or y is None else nearest(view, x, y)


def _controls(kinds: list[str], kind: str, color: str, units: list[int], unit: str) -> list[Any]:
    named: dict[str, Any] = {"aria-label": "Unit to color by"}
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
            id=ids.COLOR,
            data=[{"value": name, "label": label} for name, label in COLORS.items()],
            value=color,
            size="xs",
        ),
        dmc.SegmentedControl(
            id=ids.DRAG,
            data=[{"value": name, "label": label} for name, label in DRAGS.items()],
            value="zoom",
            size="xs",
            **{"aria-label": "What dragging on the picture does"},
        ),
        dmc.Select(
            id=ids.UNIT,
            data=list(listed),
            value=unit or None,
            size="xs",
            w=110,
            searchable=True,
            allowDeselect=False,
            placeholder="Unit …",
            disabled=not units,
            limit=200,
            **named,
        ),
        export_menu("embedding"),
    ]


def _unit(run: Run, detector: str, layer: str, unit: str | None) -> int | None:
    """Return the chosen unit, or the layer's first; none where the layer was not recorded.

    Raises
    ------
    ProbeError
        If the address names one that the layer does not have.
    """
    units = units_of(run, detector, layer)
    return Selection(unit=unit or "").unit_number(units) if units else None
