"""Neurons: which units matter in every dataset, and what they respond to."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.ablation import ablation_table
from app.components.arranging import arranging
from app.components.card import card, graph
from app.components.download import export_menu
from app.components.fixed import fixed
from app.components.gallery import gallery
from app.components.help import HELP
from app.components.lacks import lacks_note
from app.components.message import problem
from app.components.units import counts_text, unit_text
from app.figures import counts_figure, doses_figure, effects_figure
from app.figures.theme import empty_figure
from app.pages import ablating, answering, units
from app.queries.ablation import ablation_view
from app.queries.arranging import ArrangingError
from app.queries.images import extremes
from app.queries.neurons import CountsView, counts_view, unit_view, units_view
from app.queries.reading import MissingTableError, Run
from app.selection import Selection
from probe.errors import ProbeError, UnknownNameError

__all__ = ["layout", "register"]

#: Images at each end of a unit: of every dataset, and of one dataset alone.
FEW, MANY = 4, 12

QUESTION = "Which units matter in every dataset, and is it more than chance?"


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen = Selection.parse(search)
    try:
        detector: str | None = _detector(run, chosen)
        body = _body(run, chosen, _detector(run, chosen))
    except UnknownNameError as error:
        detector, body = None, problem(error)
    return html.Div(
        [
            dcc.Location(id=ids.NEURONS_URL, refresh="callback-nav", search=search),
            _page_head(run, detector),
            html.Div(body, id=ids.BODY),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
    _register_detector(app, run)
    units.register(app, run)
    _register_list(app, run)
    _register_unit(app, run)
    answering.register(app, run)
    ablating.register(app, run)


def _register_detector(app: Dash, run: Run) -> None:
    """Keep the detector and the address the same, whichever was changed."""

    @app.callback(
        Output(ids.BODY, "children"),
        Output(ids.DETECTOR, "value"),
        Output(ids.NEURONS_URL, "search"),
        Input(ids.DETECTOR, "value"),
        Input(ids.NEURONS_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(detector: str | None, search: str) -> Any:
        try:
            chosen = Selection.parse(search)
            named = chosen.detector or next(iter(run.detectors), "")
            if named == detector:
                return no_update, no_update, no_update
            if ctx.triggered_id == ids.NEURONS_URL:
                return _body(run, chosen, _detector(run, chosen)), named, no_update
            chosen = chosen.but(detector=detector, layer="", unit="", units="")
            return _body(run, chosen, _detector(run, chosen)), no_update, chosen.search
        except ProbeError as error:
            return problem(error), no_update, no_update


def _register_list(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.COUNTS, "figure"),
        Input(ids.SCHEME, "data"),
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
        Input(ids.SCHEME, "data"),
        Input(ids.UNITS_NOTE, "children"),
    )
    def draw(search: str, scheme: str, note: Any) -> Any:
        try:
            chosen = Selection.parse(search)
            detector = _detector(run, chosen)
            unit = chosen.unit_number(units_view(run, detector).order)
            view = unit_view(run, detector, unit)
            marked = _dataset(run, chosen, detector)
        except ProbeError as error:
            title = ["No such unit", html.Span(str(error), className="title-note")]
            return title, empty_figure(scheme), empty_figure(scheme)
        title = [f"Unit {unit}", html.Span(unit_text(view), className="title-note")]
        return title, effects_figure(view, scheme), doses_figure(view, scheme, marked)

    @app.callback(
        Output(ids.GALLERY, "children"),
        Output(ids.GALLERY_TICK, "disabled"),
        Input(ids.URL, "search"),
        Input(ids.UNITS_NOTE, "children"),
        Input(ids.GALLERY_TICK, "n_intervals"),
    )
    def show(search: str, note: Any, ticks: Any) -> Any:
        try:
            return _gallery(run, Selection.parse(search)), True
        except ArrangingError as error:
            return arranging(error), False
        except ProbeError as error:
            return problem(error), True


def _page_head(run: Run, detector: str | None) -> Any:
    title = [dmc.Title("Neurons", order=1), html.Div(QUESTION, className="question")]
    select = dmc.Select(
        id=ids.DETECTOR,
        label="Detector",
        data=run.detectors,
        value=detector,
        allowDeselect=False,
        w=240,
    )
    return html.Div([html.Div(title), select], className="page-head")


def _body(run: Run, chosen: Selection, detector: str) -> Any:
    """Lay out all that depends on the detector, or say what is missing."""
    try:
        view, counts = units_view(run, detector), counts_view(run, detector)
        _check_layer(chosen, view.layer)
    except ProbeError as error:
        return problem(error)
    return [
        dcc.Location(id=ids.LIST_URL, refresh="callback-nav"),
        html.Div(
            [_counts_card(counts), units.units_card(view, units.marked_unit(view, chosen))],
            className="columns list-columns",
        ),
        units.shares_card(view),
        card(
            "What does detection lose without them?",
            ablation_table(ablation_view(run, detector)),
            help=HELP["ablation"],
            controls=export_menu("ablation"),
        ),
        ablating.section(view, chosen),
        html.Div(dmc.Title("Unit", order=2, id=ids.UNIT_TITLE), className="unit-head"),
        answering.section(),
        html.Div(_unit_cards(), className="columns"),
        card(
            "Images at both ends",
            html.Div(id=ids.GALLERY, className="gallery-room"),
            dcc.Interval(id=ids.GALLERY_TICK, interval=1000, disabled=True),
            help=HELP["images"],
            controls=_gallery_controls(view.datasets, chosen.dataset),
        ),
    ]


def _counts_card(counts: CountsView) -> Any:
    return card(
        "How many are universal?",
        html.Div(counts_text(counts), id=ids.COUNTS_TEXT),
        graph(ids.COUNTS, 330, empty_figure(), "Units by number of lists, beside both nulls"),
        help=HELP["counts"],
        controls=export_menu("universal-counts"),
    )


def _unit_cards() -> list[Any]:
    return [
        card(
            "Effect in each dataset",
            graph(ids.EFFECTS, 320, empty_figure(), "Effect of the unit by dataset"),
            help=HELP["effects"],
            controls=export_menu("neuron-effects"),
        ),
        card(
            "Dose and response",
            graph(ids.DOSES, 320, empty_figure(), "Mean score by value of the unit"),
            help=HELP["doses"],
            controls=export_menu("dose-response"),
        ),
    ]


def _gallery_controls(datasets: tuple[str, ...], dataset: str) -> list[Any]:
    return [
        dmc.Select(
            id=ids.DATASET,
            data=[units.ALL, *datasets],
            value=dataset if dataset in datasets else units.ALL,
            allowDeselect=False,
            size="xs",
            w=170,
            **{"aria-label": "Dataset"},
        ),
        export_menu("unit-images"),
    ]


def _gallery(run: Run, chosen: Selection) -> Any:
    detector = _detector(run, chosen)
    view = units_view(run, detector)
    unit, dataset = chosen.unit_number(view.order), _dataset(run, chosen, detector)
    found = extremes(run, detector, view.layer, unit, MANY if dataset else FEW)
    shown = [one for one in found if not dataset or one.dataset == dataset]
    tokens = (image.token for one in shown for image in (*one.most, *one.least))
    return fixed(lacks_note(run, tokens), gallery(shown, unit, chosen))


def _detector(run: Run, chosen: Selection) -> str:
    if not run.detectors:
        raise MissingTableError("detectors", run.command)
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
