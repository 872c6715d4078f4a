"""Sample: one image, of the run or from elsewhere, through everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, ctx, dcc, html, no_update

from app import ids
from app.components.card import card, graph
from app.components.download import export_menu
from app.components.fixed import fixed
from app.components.help import HELP
from app.components.lacks import lacks_note
from app.components.message import problem
from app.components.sample import (
    dropped_facts,
    hits_list,
    large,
    large_dropped,
    maps_row,
    sample_facts,
    units_table,
)
from app.components.sample_texts import (
    dropped_notice,
    measured_text,
    place_text,
    scores_text,
    waiting,
)
from app.figures.sample_deviations import deviations_figure, deviations_height
from app.figures.sample_place import place_figure
from app.figures.sample_scores import scores_figure, scores_height
from app.large import add_large
from app.pages import making_maps, upload
from app.queries.layers import known_detector
from app.queries.sample import find_samples, links_of, worst_error
from app.queries.sample_shown import (
    NotYetError,
    maps_shown,
    measurements_shown,
    place_shown,
    scores_shown,
    shown_image,
    units_shown,
    with_defaults,
)
from app.queries.uploads import Dropped
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError, UnknownNameError
from probe.plots.theme import empty_figure

__all__ = ["layout", "register"]

QUESTION = "What does one image look like to every detector?"

#: What every card follows: the address, and a dropped image whose scores have come.
ADDRESS = Input(ids.SAMPLE_URL, "search")
ARRIVED = Input(ids.UPLOAD_DONE, "data")
SCHEME = Input(ids.SCHEME, "data")

#: Rows of the figure of measurements before it is known how many there are.
MEASUREMENTS = 26


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen = Selection.parse(search)
    detector: str | None = None
    try:
        detector = known_detector(run, chosen)
        body = _body(run, chosen, detector)
    except UnknownNameError as error:
        body = [problem(error)]
    title = [dmc.Title("Sample", order=1), html.Div(QUESTION, className="question")]
    select = dmc.Select(
        id=ids.SAMPLE_DETECTOR,
        label="Detector",
        data=run.detectors,
        value=detector,
        allowDeselect=False,
        w=240,
    )
    return html.Div(
        [
            dcc.Location(id=ids.SAMPLE_URL, refresh="callback-nav"),
            dcc.Store(id=ids.UPLOAD_DONE),
            html.Div([html.Div(title), select], className="page-head"),
            *body,
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks, and the routes of its images."""
    _register_head(app, run)
    _register_image(app, run)
    _register_search(app, run)
    _register_figures(app, run)
    _register_tables(app, run)
    upload.register(app, run)
    making_maps.register(app, run)
    add_large(app.server, run)


def _register_head(app: Dash, run: Run) -> None:
    """Keep the detector and the address the same, whichever was changed."""

    @app.callback(
        Output(ids.SAMPLE_DETECTOR, "value"),
        Output(ids.SAMPLE_URL, "search"),
        Input(ids.SAMPLE_DETECTOR, "value"),
        ADDRESS,
        prevent_initial_call=True,
    )
    def follow(detector: str | None, search: str) -> Any:
        try:
            chosen = Selection.parse(search)
            named = known_detector(run, chosen)
        except ProbeError:
            # The cards say what is wrong with the address.
            return no_update, no_update
        if named == detector:
            return no_update, no_update
        if ctx.triggered_id == ids.SAMPLE_URL:
            return named, no_update
        return no_update, chosen.but(detector=detector, layer="", unit="").search


def _register_image(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.SAMPLE_IMAGE, "children"),
        Output(ids.SAMPLE_FACTS, "children"),
        Output(ids.SAMPLE_NOTICE, "children"),
        ADDRESS,
        ARRIVED,
    )
    def show(search: str, arrived: Any) -> Any:
        try:
            chosen = Selection.parse(search)
            notice = dropped_notice(run) if chosen.dropped else None
            return *_image_and_facts(run, chosen), notice
        except NotYetError as error:
            return large_dropped(Selection.parse(search).dropped, False), waiting(error), None
        except ProbeError as error:
            return None, problem(error), None

    @app.callback(Output(ids.SAMPLE_IMAGE, "className"), Input(ids.SAMPLE_OUTLINE, "checked"))
    def outline(checked: bool | None) -> str:
        return "sample-image outlined" if checked else "sample-image"


def _image_and_facts(run: Run, chosen: Selection) -> tuple[Any, Any]:
    detector = known_detector(run, chosen)
    image = shown_image(run, chosen)
    if isinstance(image, Dropped):
        return large_dropped(chosen.dropped, True), dropped_facts(image)
    named = with_defaults(run, chosen)
    facts = sample_facts(image, links_of(run, image), named, worst_error(run, detector))
    if not chosen.sample:
        text = f"No image is chosen yet: this is the one that {detector} gets most wrong."
        facts = [html.Div(text, className="reading"), *facts]
    return [*large(image), lacks_note(run, [image.token])], facts


def _register_search(app: Dash, run: Run) -> None:
    @app.callback(Output(ids.SAMPLE_HITS, "children"), Input(ids.SAMPLE_SEARCH, "value"), ADDRESS)
    def find(text: str | None, search: str) -> Any:
        if not isinstance(text, str) or not text.strip():
            return html.Div(
                "Words of an id, a video, a dataset or a method; also real and fake.",
                className="muted",
            )
        try:
            return fixed(hits_list(find_samples(run, text), Selection.parse(search)))
        except ProbeError as error:
            return problem(error)


def _register_figures(app: Dash, run: Run) -> None:
    """Draw each figure with its text; what is missing is said where it would stand."""

    def follow(figure: str, text: str, read: Any, draw: Any, say: Any) -> None:
        @app.callback(Output(figure, "figure"), Output(text, "children"), ADDRESS, ARRIVED, SCHEME)
        def show(search: str, arrived: Any, scheme: str) -> Any:
            try:
                chosen = Selection.parse(search)
                view = read(run, chosen)
            except ProbeError as error:
                return empty_figure(scheme), said(error)
            return draw(view, scheme), say(view, with_defaults(run, chosen))

    follow(ids.SAMPLE_SCORES, ids.SAMPLE_SCORES_TEXT, scores_shown, scores_figure, scores_text)
    follow(
        ids.SAMPLE_MEASURED,
        ids.SAMPLE_MEASURED_TEXT,
        measurements_shown,
        deviations_figure,
        measured_text,
    )
    follow(ids.SAMPLE_PLACE, ids.SAMPLE_PLACE_TEXT, place_shown, place_figure, place_text)


def _register_tables(app: Dash, run: Run) -> None:
    def follow(room: str, read: Callable[[Selection], Any]) -> None:
        @app.callback(Output(room, "children"), ADDRESS, ARRIVED)
        def show(search: str, arrived: Any) -> Any:
            try:
                return read(Selection.parse(search))
            except ProbeError as error:
                return said(error)

    def units(chosen: Selection) -> Any:
        return units_table(units_shown(run, chosen), with_defaults(run, chosen))

    def maps(chosen: Selection) -> Any:
        return fixed(maps_row(maps_shown(run, chosen), with_defaults(run, chosen)))

    follow(ids.SAMPLE_UNITS, units)
    follow(ids.SAMPLE_MAPS, maps)


def said(error: ProbeError) -> Any:
    """Show why something is missing; what is on its way, or cannot be, is no problem."""
    return waiting(error) if type(error) in (NotYetError, ProbeError) else problem(error)


def _body(run: Run, chosen: Selection, detector: str) -> list[Any]:
    return [
        html.Div(id=ids.SAMPLE_NOTICE),
        html.Div(
            [_image_card(), html.Div([_search_card(), upload.section(run)], className="stack")],
            className="columns wide-columns",
        ),
        card(
            "What does each detector say?",
            graph(
                ids.SAMPLE_SCORES,
                scores_height(len(run.detectors)),
                empty_figure(),
                "Logit of this image by each detector, among other images",
            ),
            html.Div(id=ids.SAMPLE_SCORES_TEXT, className="reading text-line"),
            help=HELP["sample_scores"],
            controls=export_menu("sample-scores"),
        ),
        html.Div([_units_card(), _measured_card(run)], className="columns"),
        html.Div([_place_card(), _maps_card()], className="columns"),
        making_maps.section(),
    ]


def _image_card() -> Any:
    outline = dmc.Switch(
        id=ids.SAMPLE_OUTLINE, label="Outline the forged region", checked=True, size="xs"
    )
    return card(
        "The image",
        html.Div(
            [
                html.Div(id=ids.SAMPLE_IMAGE, className="sample-image outlined"),
                html.Div(id=ids.SAMPLE_FACTS, className="sample-facts"),
            ],
            className="sample-columns",
        ),
        controls=[outline],
    )


def _search_card() -> Any:
    named: dict[str, Any] = {"role": "region", "aria-label": "Images found"}
    return card(
        "Find another",
        dmc.TextInput(
            id=ids.SAMPLE_SEARCH,
            placeholder="e.g. fake 0020",
            debounce=300,
            size="sm",
            **{"aria-label": "Find images by words of their ids"},
        ),
        html.Div(id=ids.SAMPLE_HITS, className="hits-room", tabIndex="0", **named),
    )


def _units_card() -> Any:
    return card(
        "Which units are unusual?",
        html.Div(id=ids.SAMPLE_UNITS, className="sample-tall"),
        help=HELP["sample_units"],
        controls=export_menu("sample-units"),
    )


def _measured_card(run: Run) -> Any:
    try:
        rows = run.measurements.data.sizes["measurement"]
    except ProbeError:
        rows = MEASUREMENTS
    return card(
        "What is unusual in the image itself?",
        graph(
            ids.SAMPLE_MEASURED,
            deviations_height(rows),
            empty_figure(),
            "Measurements of the image, in deviations from real images",
        ),
        html.Div(id=ids.SAMPLE_MEASURED_TEXT, className="reading text-line"),
        help=HELP["sample_measured"],
        controls=export_menu("sample-measurements"),
    )


def _place_card() -> Any:
    return card(
        "Where does it lie among others?",
        graph(ids.SAMPLE_PLACE, 380, empty_figure(), "The image's point in the picture of a layer"),
        html.Div(id=ids.SAMPLE_PLACE_TEXT, className="reading text-line"),
        help=HELP["picture"],
        controls=export_menu("sample-place"),
    )


def _maps_card() -> Any:
    return card(
        "Where did the detector look?",
        html.Div(id=ids.SAMPLE_MAPS, className="sample-maps-room"),
    )
