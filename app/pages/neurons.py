"""Neurons: which units matter in every dataset, and what they respond to."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, html, no_update

from app import ids
from app.components.card import card, graph
from app.components.gallery import gallery
from app.components.help import HELP
from app.components.message import problem
from app.components.units import counts_text, unit_text, units_grid, units_note
from app.figures import counts_figure, doses_figure, effects_figure
from app.figures.theme import empty_figure
from app.queries.images import extremes
from app.queries.neurons import counts_view, unit_view, units_view
from app.queries.reading import Run
from app.selection import Selection
from probe.errors import ProbeError, UnknownNameError

__all__ = ["layout", "register"]

#: Images at each end of a unit: of every dataset, and of one dataset alone.
FEW, MANY = 4, 16
ALL = "all datasets"


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen = Selection.parse(search)
    detector = _detector(run, chosen)
    return html.Div(
        [
            html.Div(
                [
                    html.Div(
                        [
                            dmc.Title("Neurons", order=1),
                            html.Div(
                                "Which units matter in every dataset, and is it more than chance?",
                                className="question",
                            ),
                        ]
                    ),
                    dmc.Select(
                        id=ids.DETECTOR,
                        label="Detector",
                        data=run.detectors,
                        value=detector,
                        allowDeselect=False,
                        w=240,
                    ),
                ],
                className="page-head",
            ),
            html.Div(_body(run, chosen, detector), id=ids.BODY),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
    _register_choices(app, run)
    _register_list(app, run)
    _register_unit(app, run)


def _register_choices(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.BODY, "children"),
        Output(ids.URL, "search", allow_duplicate=True),
        Input(ids.DETECTOR, "value"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def change_detector(detector: str, search: str) -> Any:
        chosen = Selection.parse(search)
        if _detector(run, chosen) == detector:
            return no_update, no_update
        chosen = chosen.but(detector=detector, layer="", unit="")
        return _body(run, chosen, detector), chosen.search

    @app.callback(
        Output(ids.URL, "search", allow_duplicate=True),
        Input(ids.UNITS, "selectedRows"),
        Input(ids.DATASET, "value"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def choose(rows: Any, dataset: str, search: str) -> Any:
        chosen = Selection.parse(search)
        if ctx.triggered_id == ids.DATASET:
            chosen = chosen.but(dataset="" if dataset == ALL else dataset)
        elif isinstance(rows, list) and rows:
            chosen = chosen.but(unit=rows[0]["unit"])
        return chosen.search if chosen.search != (search or "") else no_update


def _register_list(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.COUNTS, "figure"),
        Input(ids.SCHEME, "computedColorScheme"),
        Input(ids.COUNTS_TEXT, "children"),
        State(ids.DETECTOR, "value"),
    )
    def draw(scheme: str, text: Any, detector: str) -> Any:
        return counts_figure(counts_view(run, detector), scheme)


def _register_unit(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.UNIT_TITLE, "children"),
        Output(ids.EFFECTS, "figure"),
        Output(ids.DOSES, "figure"),
        Input(ids.URL, "search"),
        Input(ids.SCHEME, "computedColorScheme"),
        Input(ids.UNITS_NOTE, "children"),
    )
    def draw(search: str, scheme: str, note: Any) -> Any:
        try:
            chosen = Selection.parse(search)
            detector = _detector(run, chosen)
            unit = chosen.unit_number(units_view(run, detector).order)
            view = unit_view(run, detector, unit)
        except ProbeError as error:
            return problem(error), empty_figure(scheme), empty_figure(scheme)
        marked = _dataset(run, chosen, detector)
        title = [f"Unit {unit}", html.Span(unit_text(view), className="title-note")]
        return title, effects_figure(view, scheme), doses_figure(view, scheme, marked)

    @app.callback(
        Output(ids.GALLERY, "children"),
        Input(ids.URL, "search"),
        Input(ids.UNITS_NOTE, "children"),
    )
    def show(search: str, note: Any) -> Any:
        try:
            return _gallery(run, Selection.parse(search))
        except ProbeError as error:
            return problem(error)


def _body(run: Run, chosen: Selection, detector: str) -> Any:
    """Lay out all that depends on the detector, or say what is missing."""
    try:
        view, counts = units_view(run, detector), counts_view(run, detector)
        unit = chosen.unit_number(view.order)
        _check_layer(chosen, view.layer)
        dataset = _dataset(run, chosen, detector)
    except ProbeError as error:
        return problem(error)
    return [
        html.Div(
            [
                card(
                    "How many are universal?",
                    html.Div(counts_text(counts), id=ids.COUNTS_TEXT),
                    graph(ids.COUNTS, 300, empty_figure(), "Units by number of lists, with nulls"),
                    help=HELP["counts"],
                ),
                card(
                    "Units",
                    html.Div(units_grid(view, unit), className="grid-room"),
                    html.Div(units_note(view), id=ids.UNITS_NOTE, className="reading"),
                    help=HELP["units"],
                ),
            ],
            className="columns list-columns",
        ),
        html.Div(dmc.Title(f"Unit {unit}", order=2, id=ids.UNIT_TITLE), className="unit-head"),
        html.Div(
            [
                card(
                    "Effect in each dataset",
                    graph(ids.EFFECTS, 320, empty_figure(), "Effect of the unit by dataset"),
                    help=HELP["effects"],
                ),
                card(
                    "Dose and response",
                    graph(ids.DOSES, 320, empty_figure(), "Mean score by value of the unit"),
                    help=HELP["doses"],
                ),
            ],
            className="columns",
        ),
        card(
            "Images at both ends",
            html.Div(id=ids.GALLERY, className="gallery-room"),
            help=HELP["images"],
            controls=_gallery_controls(view.datasets, dataset),
        ),
    ]


def _gallery_controls(datasets: tuple[str, ...], dataset: str) -> list[Any]:
    return [
        dmc.Select(
            id=ids.DATASET,
            data=[ALL, *datasets],
            value=dataset or ALL,
            allowDeselect=False,
            size="xs",
            w=170,
            **{"aria-label": "Dataset"},
        )
    ]


def _gallery(run: Run, chosen: Selection) -> Any:
    detector = _detector(run, chosen)
    view = units_view(run, detector)
    unit, dataset = chosen.unit_number(view.order), _dataset(run, chosen, detector)
    found = extremes(run, detector, view.layer, unit, MANY if dataset else FEW)
    return gallery([one for one in found if not dataset or one.dataset == dataset])


def _detector(run: Run, chosen: Selection) -> str:
    return chosen.named("detector", run.detectors)


def _dataset(run: Run, chosen: Selection, detector: str) -> str:
    """Return the dataset that the address names; empty for all."""
    if not chosen.dataset:
        return ""
    return chosen.named("dataset", list(units_view(run, detector).datasets))


def _check_layer(chosen: Selection, layer: str) -> None:
    if chosen.layer and chosen.layer != layer:
        raise UnknownNameError(
            "layer", chosen.layer, [layer], where="the neuron table of this detector"
        )
