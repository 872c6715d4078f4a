"""Artifacts: what forgeries leave in the image, and which units respond to it."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, ctx, dcc, html, no_update

from app import ids
from app.components.artifacts import (
    balance_table,
    effects_text,
    elsewhere,
    spectra_text,
    tells_text,
)
from app.components.card import card, graph
from app.components.download import export_menu
from app.components.help import HELP
from app.components.message import problem
from app.figures import artifact_effects_figure, spectra_figure, tells_figure
from app.figures.effects import artifact_effects_height
from app.figures.grids import grid_height
from app.pages import responses
from app.queries.artifacts import (
    balance_view,
    effects_view,
    measured_datasets,
    measurements_of,
    named_dataset,
    spectra_view,
    tells_view,
)
from app.queries.layers import known_detector
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError, UnknownNameError
from probe.plots.theme import empty_figure

__all__ = ["layout", "register"]

QUESTION = "What do the forgeries leave in the image, and which units respond to it?"

DATASET = Input(ids.ARTIFACTS_DATASET, "value")
SCHEME = Input(ids.SCHEME, "data")


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen = Selection.parse(search)
    try:
        detector: str | None = known_detector(run, chosen)
        dataset = _dataset(run, chosen)
        body: Any = _body(run, chosen, str(detector))
    except UnknownNameError as error:
        detector, dataset, body = _named(run, chosen), None, problem(error)
    return html.Div(
        [
            dcc.Location(id=ids.ARTIFACTS_URL, refresh="callback-nav", search=search),
            _page_head(run, detector, dataset),
            html.Div(body, id=ids.ARTIFACTS_BODY),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
    _register_head(app, run)
    _register_dataset(app, run)
    _register_tells(app, run)
    responses.register(app, run)


def _register_head(app: Dash, run: Run) -> None:
    """Keep detector, dataset and address the same, whichever was changed."""

    @app.callback(
        Output(ids.ARTIFACTS_BODY, "children"),
        Output(ids.ARTIFACTS_DETECTOR, "value"),
        Output(ids.ARTIFACTS_DATASET, "value"),
        Output(ids.ARTIFACTS_URL, "search"),
        Input(ids.ARTIFACTS_DETECTOR, "value"),
        Input(ids.ARTIFACTS_DATASET, "value"),
        Input(ids.ARTIFACTS_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(detector: str | None, dataset: str | None, search: str) -> Any:
        try:
            chosen = Selection.parse(search)
            if ctx.triggered_id == ids.ARTIFACTS_URL:
                return _addressed(run, chosen, detector, dataset)
            return _controlled(run, chosen, detector, dataset)
        except ProbeError as error:
            return problem(error), no_update, no_update, no_update


def _addressed(run: Run, chosen: Selection, detector: str | None, dataset: str | None) -> Any:
    """Follow the address; the body is laid out again for another detector only."""
    named, wanted = known_detector(run, chosen), _dataset(run, chosen)
    value = no_update if wanted == dataset else wanted
    if named == detector and (dataset is not None or wanted is None):
        return no_update, no_update, value, no_update
    return _body(run, chosen, named), named, value, no_update


def _controlled(run: Run, chosen: Selection, detector: str | None, dataset: str | None) -> Any:
    """Follow the choices; the body is laid out again for another detector, or if there was none."""
    before = _named(run, chosen), _dataset_or_none(run, chosen)
    if (detector, dataset) == before:
        return (no_update,) * 4
    found = chosen
    if dataset != before[1]:
        found = found.but(dataset=dataset)
    if detector != before[0]:
        found = found.but(detector=detector, layer="", unit="")
    again = detector != before[0] or before[1] is None
    body = _body(run, found, str(detector)) if again and detector else no_update
    return body, no_update, no_update, found.search


def _register_dataset(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.SPECTRA, "figure"), Output(ids.SPECTRA_TEXT, "children"), DATASET, SCHEME
    )
    def spectra(dataset: str, scheme: str) -> Any:
        try:
            view = spectra_view(run, _known(run, dataset))
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        text = spectra_text(view.coverage, dataset, view.has_band)
        return spectra_figure(view, scheme), text

    @app.callback(Output(ids.BALANCE, "children"), DATASET)
    def balance(dataset: str) -> Any:
        try:
            return balance_table(balance_view(run, _known(run, dataset)))
        except ProbeError as error:
            return problem(error)

    @app.callback(
        Output(ids.ARTIFACT_EFFECTS, "figure"),
        Output(ids.ARTIFACT_EFFECTS_TEXT, "children"),
        DATASET,
        SCHEME,
    )
    def effects(dataset: str, scheme: str) -> Any:
        try:
            view = effects_view(run, _known(run, dataset))
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        return artifact_effects_figure(view, scheme), effects_text(view)


def _register_tells(app: Dash, run: Run) -> None:
    @app.callback(Output(ids.TELLS, "figure"), SCHEME)
    def tells(scheme: str) -> Any:
        try:
            return tells_figure(tells_view(run), scheme)
        except ProbeError:
            # The card above says what is wrong.
            return empty_figure(scheme)


def _page_head(run: Run, detector: str | None, dataset: str | None) -> Any:
    title = [dmc.Title("Artifacts", order=1), html.Div(QUESTION, className="question")]
    datasets = _datasets(run)
    selects = [
        dmc.Select(
            id=ids.ARTIFACTS_DETECTOR,
            label="Detector",
            data=run.detectors,
            value=detector,
            allowDeselect=False,
            w=240,
        ),
        dmc.Select(
            id=ids.ARTIFACTS_DATASET,
            label="Dataset",
            data=datasets,
            value=dataset,
            allowDeselect=False,
            disabled=not datasets,
            w=200,
        ),
    ]
    return html.Div([html.Div(title), dmc.Group(selects, wrap="nowrap")], className="page-head")


def _body(run: Run, chosen: Selection, detector: str) -> list[Any]:
    """Lay out all cards; those of the images and those of the detector may each be missing."""
    correlations, rest = responses.sections(run, chosen, detector)
    try:
        measured_datasets(run)
    except ProbeError as error:
        missing = card("Real against fake", problem(error), help=HELP["artifact_effects"])
        return [missing, correlations, *rest, elsewhere()]
    return [
        *_image_cards(run),
        html.Div([_tells_card(run), correlations], className="columns"),
        *rest,
        elsewhere(),
    ]


def _image_cards(run: Run) -> list[Any]:
    spectra = card(
        "Spectra",
        graph(ids.SPECTRA, 440, empty_figure(), "Power spectra of real and fake images"),
        html.Div(id=ids.SPECTRA_TEXT, className="reading"),
        help=HELP["spectra"],
        controls=export_menu("spectra"),
    )
    balance = card(
        "What else differs?",
        html.Div(id=ids.BALANCE),
        help=HELP["balance"],
        controls=export_menu("balance"),
    )
    height = artifact_effects_height(len(measurements_of(run)))
    effects = card(
        "Measurements, real against fake",
        html.Div(id=ids.ARTIFACT_EFFECTS_TEXT, className="line-room"),
        graph(ids.ARTIFACT_EFFECTS, height, empty_figure(), "Effect sizes; also in the CSV file"),
        html.Div(
            "Filled: q ≤ 0.05 within that control. Bold name: with every control. Largest without "
            "control first. Point at a mark for the measurement's definition and source.",
            className="reading",
        ),
        help=HELP["artifact_effects"],
        controls=export_menu("artifact-effects"),
    )
    return [html.Div([spectra, balance], className="columns wide-columns"), effects]


def _tells_card(run: Run) -> Any:
    height = grid_height(len(measurements_of(run)))
    return card(
        "Which measurement tells which method?",
        graph(ids.TELLS, height, empty_figure(), "Heatmap of measurements and methods"),
        html.Div(tells_text(tells_view(run)), className="reading"),
        help=HELP["tells"],
        controls=export_menu("tells"),
    )


def _datasets(run: Run) -> list[str]:
    """List the datasets to choose from; none where the card says why."""
    try:
        return measured_datasets(run)
    except ProbeError:
        return []


def _dataset(run: Run, chosen: Selection) -> str | None:
    """Return the dataset that the address names, or the first; None without a report.

    Raises
    ------
    UnknownNameError
        If the report does not hold it.
    """
    return named_dataset(run, chosen) if _datasets(run) else None


def _dataset_or_none(run: Run, chosen: Selection) -> str | None:
    try:
        return _dataset(run, chosen)
    except UnknownNameError:
        return None


def _named(run: Run, chosen: Selection) -> str | None:
    try:
        return known_detector(run, chosen)
    except UnknownNameError:
        return None


def _known(run: Run, dataset: str | None) -> str:
    return Selection(dataset=dataset or "").named("dataset", measured_datasets(run))
