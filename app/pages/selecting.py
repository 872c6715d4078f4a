"""The card of the Separability page about samples that are selected in the picture of a layer."""

from __future__ import annotations

from typing import Any

from dash import ALL, Dash, Input, Output, Patch, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card
from app.components.download import export_menu
from app.components.fixed import fixed
from app.components.help import HELP
from app.components.lacks import lacks_note
from app.components.message import problem
from app.components.selected import (
    nothing_selected,
    rule_form,
    selected_images,
    selected_text,
    telling_table,
)
from app.figures.picture import outlines
from app.queries.arranging import ArrangingError
from app.queries.lasso import Lasso, Rule, drawn, read, ruled
from app.queries.pictures import PictureView, coloring, picture_view
from app.queries.selected import selected_view, telling_view
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["readable", "register", "section"]

TITLE = "What tells a selection from the rest?"

DETECTOR = State(ids.SEPARABILITY_DETECTOR, "value")
#: Fields of a rule, in the order of `Rule`.
RULE = (ids.RULE_DATASET, ids.RULE_LABEL, ids.RULE_METHOD, ids.RULE_LOW, ids.RULE_HIGH)
#: Milliseconds until what was not ready is asked for again.
AGAIN = 1000
#: Milliseconds until a wait is shown: what comes at once must not flicker.
PATIENCE = 300


def section(run: Run, chosen: Selection, detector: str, layer: str, kind: str) -> list[Any]:
    """Lay out the card; nothing where there is no picture to select in, which says why."""
    try:
        view = picture_view(run, detector, layer, kind)
        datasets = coloring(run, detector, view, "dataset", None).names
        methods = coloring(run, detector, view, "method", None).names
        lasso = readable(detector, view, chosen.lasso)
    except ProbeError:
        datasets, methods, lasso = (), (), None
    rule = lasso.rule if lasso and lasso.rule else Rule()
    return [
        dcc.Location(id=ids.SELECTING_URL, refresh="callback-nav"),
        dcc.Store(id=ids.SELECTED, data=chosen.lasso),
        dcc.Interval(id=ids.TELLING_AGAIN, interval=AGAIN, disabled=True),
        card(
            TITLE,
            rule_form(datasets, methods, rule, selected=bool(chosen.lasso)),
            html.Div(
                [
                    html.Div(
                        [
                            html.Div(nothing_selected(), id=ids.SELECTED_TEXT),
                            html.Div(id=ids.SELECTED_IMAGES, className="selected-images"),
                        ]
                    ),
                    dcc.Loading(
                        html.Div(id=ids.TELLING),
                        delay_show=PATIENCE,
                        type="dot",
                        overlay_style={"visibility": "visible", "opacity": 0.4},
                    ),
                ],
                className="selected-columns",
            ),
            help=HELP["selected"],
            controls=[export_menu("selection-units")],
        ),
    ]


def register(app: Dash, run: Run) -> None:
    """Add the card's callbacks."""
    _register_choices(app, run)
    _register_outline(app, run)
    _register_selected(app, run)


def readable(detector: str, view: PictureView, lasso: str | None) -> Lasso | None:
    """Read a selection; none where it cannot be read, which the card says."""
    try:
        return read(detector, view, lasso or "")
    except ProbeError:
        return None


def _register_choices(app: Dash, run: Run) -> None:
    """Keep selection and address the same, whichever was changed."""

    @app.callback(
        Output(ids.SELECTING_URL, "search"),
        Output(ids.SELECTED, "data"),
        Input(ids.PICTURE, "selectedData"),
        Input(ids.RULE, "n_clicks"),
        Input(ids.SELECTED_CLEAR, "n_clicks"),
        Input({"type": ids.TELLING_UNIT, "index": ALL}, "n_clicks"),
        Input(ids.SELECTING_URL, "search"),
        *(State(name, "value") for name in RULE),
        State(ids.LAYER, "value"),
        State(ids.EMBEDDING, "value"),
        State(ids.SELECTED, "data"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def follow(
        event: Any,
        apply: int,
        clear: int,
        clicks: list[Any],
        search: str,
        dataset: str,
        label: str,
        method: str,
        low: float | str,
        high: float | str,
        layer: str,
        kind: str,
        held: str,
        detector: str,
    ) -> Any:
        chosen, source = Selection.parse(search), ctx.triggered_id
        if source == ids.SELECTING_URL:
            return no_update, no_update if chosen.lasso == (held or "") else chosen.lasso
        try:
            if isinstance(source, dict):
                # Buttons that are laid out anew report themselves, and nobody clicked on them.
                if any(clicks):
                    chosen = chosen.but(unit=source["index"], color="unit")
            elif source == ids.SELECTED_CLEAR:
                chosen = chosen.but(lasso="")
            elif source == ids.RULE:
                rule = Rule(dataset or "", label or "", method or "", *_bounds(low, high))
                chosen = chosen.but(lasso=ruled(rule))
            elif event is not None:
                view = picture_view(run, detector, layer, kind)
                # The picture also reports an outline that it was given; that is no choice.
                chosen = chosen.but(lasso=drawn(detector, view, event) or None)
        except ProbeError:
            return no_update, no_update
        found = no_update if chosen.search == (search or "") else chosen.search
        return found, no_update if chosen.lasso == (held or "") else chosen.lasso


def _bounds(low: Any, high: Any) -> tuple[float, float]:
    """Read the bounds of P(fake); a field that was emptied is no bound."""
    given = (
        low if isinstance(low, int | float) else 0.0,
        high if isinstance(high, int | float) else 1.0,
    )
    return float(min(given)), float(max(given))


def _register_outline(app: Dash, run: Run) -> None:
    """Change how the picture is dragged on, and its outline, and leave its points as they are."""

    @app.callback(
        Output(ids.PICTURE, "figure", allow_duplicate=True),
        Input(ids.DRAG, "value"),
        prevent_initial_call=True,
    )
    def drag(value: str) -> Any:
        changed = Patch()
        changed["layout"]["dragmode"] = value
        return changed

    @app.callback(
        Output(ids.PICTURE, "figure", allow_duplicate=True),
        Output(ids.SELECTED_CLEAR, "disabled"),
        Input(ids.SELECTED, "data"),
        State(ids.LAYER, "value"),
        State(ids.EMBEDDING, "value"),
        State(ids.SCHEME, "data"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def outline(lasso: str, layer: str, kind: str, scheme: str, detector: str) -> Any:
        try:
            view = picture_view(run, detector, layer, kind)
        except ProbeError:
            return no_update, not lasso
        changed = Patch()
        changed["layout"]["selections"] = outlines(readable(detector, view, lasso), scheme)
        changed["layout"]["selectionrevision"] = lasso or ""
        return changed, not lasso


def _register_selected(app: Dash, run: Run) -> None:
    inputs = (
        Input(ids.SELECTED, "data"),
        Input(ids.LAYER, "value"),
        Input(ids.EMBEDDING, "value"),
    )

    @app.callback(
        Output(ids.SELECTED_TEXT, "children"),
        Output(ids.SELECTED_IMAGES, "children"),
        *inputs,
        DETECTOR,
    )
    def show(text: str, layer: str, kind: str, detector: str) -> Any:
        try:
            view = picture_view(run, detector, layer, kind)
            lasso = read(detector, view, text or "")
            if lasso is None:
                return nothing_selected(), None
            found = selected_view(run, detector, view, lasso)
        except ProbeError as error:
            return problem(error), None
        images = selected_images(found, Selection(detector=detector, layer=layer))
        note = lacks_note(run, (image.token for image in found.images))
        return selected_text(found), fixed(images, note)

    @app.callback(
        Output(ids.TELLING, "children"),
        Output(ids.TELLING_AGAIN, "disabled"),
        *inputs,
        Input(ids.UNIT, "value"),
        Input(ids.TELLING_AGAIN, "n_intervals"),
        DETECTOR,
    )
    def tell(text: str, layer: str, kind: str, unit: str, again: int, detector: str) -> Any:
        try:
            view = picture_view(run, detector, layer, kind)
            lasso = read(detector, view, text or "")
            if lasso is None:
                return None, True
            found = telling_view(run, detector, view, text)
        except ArrangingError as error:
            return problem(error), False
        except ProbeError as error:
            return problem(error), True
        return html.Div(telling_table(found, unit or ""), className="telling-room"), True
