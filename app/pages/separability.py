"""Separability: whether the information is there and the head blind, or whether it is absent."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card, graph
from app.components.clicked import customdata_of
from app.components.download import export_menu
from app.components.help import HELP
from app.components.layers import (
    information_text,
    knowledge_text,
    measures_table,
    reasons_text,
    specific_table,
)
from app.components.message import problem
from app.figures import depth_figure, information_figure, knowledge_figure, transfer_figure
from app.figures.information import information_height
from app.figures.transfer import transfer_height
from app.pages import pictures, similarity
from app.queries.layers import first_layer, known_detector, layer_names, named_layer
from app.queries.separability import (
    depth_view,
    knowledge_view,
    layer_view,
    measures_of,
    specific_view,
    transfer_view,
)
from app.run import Run
from app.selection import MEASURES, Selection
from probe.errors import ProbeError, UnknownNameError
from probe.plots.theme import empty_figure

__all__ = ["layout", "register"]

QUESTION = "Is the information there and the head blind, or is it absent?"

#: Room in pixels of the sentences above a figure, which the figure beside it has for itself.
TEXT = 116

#: What every callback that follows the layer is told.
LAYER = Input(ids.LAYER, "value")
DETECTOR = State(ids.SEPARABILITY_DETECTOR, "value")
SCHEME = Input(ids.SCHEME, "data")


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen = Selection.parse(search)
    detector: str | None = None
    layer: str | None = None
    layers: list[str] = []
    try:
        detector = known_detector(run, chosen)
        layers = layer_names(run, detector)
        layer = named_layer(run, detector, chosen)
        body = _body(run, chosen, detector, layer)
    except UnknownNameError as error:
        body = problem(error)
    return html.Div(
        [
            dcc.Location(id=ids.SEPARABILITY_URL, refresh="callback-nav", search=search),
            _page_head(run, detector, layers, layer),
            html.Div(body, id=ids.SEPARABILITY_BODY),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
    _register_head(app, run)
    _register_choices(app, run)
    _register_information(app, run)
    _register_layer(app, run)
    _register_knowledge(app, run)
    pictures.register(app, run)
    similarity.register(app, run)


def _register_head(app: Dash, run: Run) -> None:
    """Keep detector, layer and address the same, whichever was changed."""

    @app.callback(
        Output(ids.SEPARABILITY_BODY, "children"),
        Output(ids.SEPARABILITY_DETECTOR, "value"),
        Output(ids.LAYER, "data"),
        Output(ids.LAYER, "value"),
        Output(ids.SEPARABILITY_URL, "search"),
        Input(ids.SEPARABILITY_DETECTOR, "value"),
        Input(ids.LAYER, "value"),
        Input(ids.SEPARABILITY_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(detector: str | None, layer: str | None, search: str) -> Any:
        try:
            chosen = Selection.parse(search)
            if ctx.triggered_id == ids.SEPARABILITY_URL:
                return _addressed(run, chosen, detector, layer)
            if ctx.triggered_id == ids.LAYER:
                return _layered(run, chosen, str(detector), str(layer))
            return _detected(run, chosen, str(detector))
        except ProbeError as error:
            return problem(error), no_update, no_update, no_update, no_update


def _addressed(run: Run, chosen: Selection, detector: str | None, layer: str | None) -> Any:
    """Follow the address; the body is laid out again for another detector only."""
    named = known_detector(run, chosen)
    wanted = named_layer(run, named, chosen)
    if named == detector:
        return no_update, no_update, no_update, no_update if wanted == layer else wanted, no_update
    body = _body(run, chosen, named, wanted)
    return body, named, layer_names(run, named), wanted, no_update


def _layered(run: Run, chosen: Selection, detector: str, layer: str) -> Any:
    """Follow the choice of a layer; units are numbers of one layer, so none stays chosen."""
    first = first_layer(run, detector)
    if layer == (chosen.layer or first):
        return (no_update,) * 5
    found = chosen.but(layer="" if layer == first else layer, unit="")
    # An address that named no layer of this detector had no body.
    lost = bool(chosen.layer) and chosen.layer not in layer_names(run, detector)
    body = _body(run, found, detector, layer) if lost else no_update
    return body, no_update, no_update, no_update, found.search


def _detected(run: Run, chosen: Selection, detector: str) -> Any:
    """Follow the choice of a detector."""
    if detector == (chosen.detector or next(iter(run.detectors), "")):
        return (no_update,) * 5
    chosen = chosen.but(detector=detector, layer="", unit="")
    first = first_layer(run, detector)
    body = _body(run, chosen, detector, first)
    return body, no_update, layer_names(run, detector), first, chosen.search


def _register_choices(app: Dash, run: Run) -> None:
    """Keep measure, clicks and address the same, whichever was changed."""

    @app.callback(
        Output(ids.REPORT_URL, "search"),
        Output(ids.MEASURE, "value"),
        Output(ids.DEPTH, "clickData"),
        Output(ids.KNOWLEDGE, "clickData"),
        Input(ids.MEASURE, "value"),
        Input(ids.DEPTH, "clickData"),
        Input(ids.KNOWLEDGE, "clickData"),
        Input(ids.REPORT_URL, "search"),
        DETECTOR,
        prevent_initial_call=True,
    )
    def follow(measure: str, depth: Any, unit: Any, search: str, detector: str) -> Any:
        chosen = Selection.parse(search)
        shown = chosen.measure or _first_measure(run, detector)
        if ctx.triggered_id == ids.REPORT_URL:
            return no_update, shown, no_update, no_update
        if ctx.triggered_id == ids.DEPTH and depth:
            layer = customdata_of(depth, 0, str) or chosen.layer
            layer = "" if layer == first_layer(run, detector) else layer
            if layer != chosen.layer:
                chosen = chosen.but(layer=layer, unit="")
        elif ctx.triggered_id == ids.KNOWLEDGE and unit:
            number = customdata_of(unit, 0, int)
            chosen = chosen if number is None else chosen.but(unit=number, color="unit")
        elif measure != shown:
            chosen = chosen.but(measure=measure)
        found = chosen.search
        return found if found != (search or "") else no_update, no_update, None, None


def _register_information(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.INFORMATION, "figure"),
        Output(ids.INFORMATION_TEXT, "children"),
        Output(ids.MEASURES, "children"),
        LAYER,
        SCHEME,
        DETECTOR,
    )
    def show(layer: str, scheme: str, detector: str) -> Any:
        try:
            view = layer_view(run, detector, layer)
        except ProbeError as error:
            return empty_figure(scheme), problem(error), problem(error)
        table = [measures_table(view), html.Div(reasons_text(view), className="reading")]
        return information_figure(view, scheme), information_text(view), table

    @app.callback(Output(ids.DEPTH, "figure"), Input(ids.MEASURE, "value"), LAYER, SCHEME, DETECTOR)
    def draw(measure: str, layer: str, scheme: str, detector: str) -> Any:
        try:
            named = Selection(measure=measure or "").named("measure", measures_of(run, detector))
            return depth_figure(depth_view(run, detector, named), layer, scheme)
        except ProbeError:
            # The card beside says what is wrong.
            return empty_figure(scheme)


def _register_layer(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.TRANSFER, "figure"),
        Output(ids.TRANSFER_TEXT, "children"),
        LAYER,
        SCHEME,
        DETECTOR,
    )
    def transfer(layer: str, scheme: str, detector: str) -> Any:
        try:
            view = transfer_view(run, detector, layer)
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        text = (
            "Framed: fitted on other people of the same dataset. Both parts have one scale: from "
            "always wrong (purple) over chance (neutral) to perfect (orange). Small: "
            f"{view.coverage:.0%} interval over resampled clusters."
        )
        return transfer_figure(view, scheme), text

    @app.callback(Output(ids.SPECIFIC, "children"), LAYER, DETECTOR)
    def specific(layer: str, detector: str) -> Any:
        try:
            return specific_table(specific_view(run, detector, layer))
        except ProbeError as error:
            return problem(error)


def _register_knowledge(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.KNOWLEDGE, "figure"),
        Output(ids.KNOWLEDGE_TEXT, "children"),
        LAYER,
        SCHEME,
        Input(ids.REPORT_URL, "search"),
        DETECTOR,
    )
    def draw(layer: str, scheme: str, search: str, detector: str) -> Any:
        try:
            unit = Selection.parse(search).unit
            view = knowledge_view(run, detector, layer)
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        ringed = int(unit) if unit.isascii() and unit.isdigit() else None
        return knowledge_figure(view, ringed, scheme), knowledge_text(view)


def _page_head(run: Run, detector: str | None, layers: list[str], layer: str | None) -> Any:
    title = [dmc.Title("Separability", order=1), html.Div(QUESTION, className="question")]
    selects = [
        dmc.Select(
            id=ids.SEPARABILITY_DETECTOR,
            label="Detector",
            data=run.detectors,
            value=detector,
            allowDeselect=False,
            w=240,
        ),
        dmc.Select(
            id=ids.LAYER,
            label="Layer",
            data=layers,
            value=layer,
            allowDeselect=False,
            w=200,
        ),
    ]
    return html.Div([html.Div(title), dmc.Group(selects, wrap="nowrap")], className="page-head")


def _body(run: Run, chosen: Selection, detector: str, layer: str) -> list[Any]:
    """Lay out all that depends on the detector; each part says by itself what it lacks."""
    return [
        *_report(run, chosen, detector, layer),
        *pictures.section(run, chosen, detector, layer),
        *similarity.section(run),
    ]


def _report(run: Run, chosen: Selection, detector: str, layer: str) -> list[Any]:
    """Lay out the cards of the separability report."""
    try:
        measures = measures_of(run, detector)
        measure = chosen.named("measure", measures)
        layers = [str(name) for name in run.separability(detector).data["layer"].values]
        # Heights are those of any layer, so that nothing moves when another one is chosen.
        like = layer_view(run, detector, layers[-1])
        matrix = transfer_height(transfer_view(run, detector, layers[-1]))
    except ProbeError as error:
        return [card("Real against fake", problem(error), help=HELP["information"])]
    return [
        dcc.Location(id=ids.REPORT_URL, refresh="callback-nav"),
        html.Div(
            [
                _information_card(information_height(like)),
                _depth_card(information_height(like), measures, measure),
            ],
            className="columns",
        ),
        card(
            "All measures of this layer",
            html.Div(id=ids.MEASURES, className="measures-room"),
            help=HELP["measures"],
            controls=export_menu("separability"),
        ),
        _transfer_card(matrix),
        html.Div([_knowledge_card(), _specific_card()], className="columns wide-columns"),
    ]


def _information_card(height: int) -> Any:
    return card(
        "Is it there, and does the head use it?",
        html.Div(id=ids.INFORMATION_TEXT, className="text-room"),
        graph(ids.INFORMATION, height, empty_figure(), "AUROC of probe, detector and control task"),
        help=HELP["information"],
        controls=export_menu("separability-probes"),
    )


def _depth_card(height: int, measures: list[str], measure: str) -> Any:
    choice = dmc.Select(
        id=ids.MEASURE,
        data=[{"value": name, "label": MEASURES.get(name, name)} for name in measures],
        value=measure,
        allowDeselect=False,
        size="xs",
        w=160,
        **{"aria-label": "Measure"},
    )
    return card(
        "Through the layers",
        graph(ids.DEPTH, height + TEXT, empty_figure(), "One measure by layer, a line a dataset"),
        help=HELP["depth"],
        controls=[choice, export_menu("depth")],
    )


def _transfer_card(height: int) -> Any:
    label = "Heatmap of AUROC by dataset fitted on and scored on; also in the CSV file"
    return card(
        "Does it transfer?",
        graph(ids.TRANSFER, height, empty_figure(), label),
        html.Div(id=ids.TRANSFER_TEXT, className="reading"),
        help=HELP["transfer"],
        controls=export_menu("transfer"),
    )


def _specific_card() -> Any:
    return card(
        "What is specific to methods?",
        html.Div(id=ids.SPECIFIC),
        help=HELP["specific"],
        controls=export_menu("specific-to-methods"),
    )


def _knowledge_card() -> Any:
    return card(
        "Units: method or forgery?",
        graph(ids.KNOWLEDGE, 420, empty_figure(), "Units by information on method and label"),
        html.Div(id=ids.KNOWLEDGE_TEXT, className="reading"),
        help=HELP["knowledge"],
        controls=export_menu("unit-knowledge"),
    )


def _first_measure(run: Run, detector: str) -> str:
    return measures_of(run, detector)[0]
