"""Compare: whether two detectors differ, and whether by more than noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.compare import images_strips, nothing_to_compare, scores_text
from app.components.fixed import fixed
from app.components.lacks import lacks_note
from app.components.message import problem
from app.figures.compare import forest_figure, points_figure
from app.figures.compare_parts import features_figure, layers_figure, maps_figure, units_figure
from app.pages.compare_cards import ALL, body, measured
from app.queries.compare import NothingToCompareError, Pair, choices, pair_of
from app.queries.compare_images import images_view
from app.queries.compare_maps import maps_view
from app.queries.compare_parts import features_view, layers_view, units_view
from app.queries.compare_scores import scores_view
from app.run import Run
from app.selection import LEVELS, METRICS, Selection
from probe.errors import ProbeError
from probe.plots.theme import empty_figure

__all__ = ["layout", "register"]

QUESTION = "What differs between two detectors, and is it more than noise?"

DETECTOR = State(ids.COMPARE_DETECTOR, "value")
OTHER = State(ids.COMPARE_OTHER, "value")
SCHEME = Input(ids.SCHEME, "data")


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    chosen, pair = Selection.parse(search), None
    try:
        pair = pair_of(run, chosen)
        shown = body(pair, chosen)
    except NothingToCompareError as error:
        return html.Div([_page_head([]), nothing_to_compare(str(error))])
    except ProbeError as error:
        shown = [problem(error)]
    return html.Div(
        [
            dcc.Location(id=ids.COMPARE_URL, refresh="callback-nav"),
            _page_head(_choosers(run, pair)),
            html.Div(shown, id=ids.COMPARE_BODY),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
    _register_head(app, run)
    _register_scores(app, run)
    _register_images(app, run)
    parts: tuple[tuple[str, Callable[[Pair, str], Any]], ...] = (
        (
            ids.COMPARE_UNITS,
            lambda pair, scheme: units_figure(
                units_view(pair), (pair.one.variant, pair.other.variant), scheme
            ),
        ),
        (ids.COMPARE_FEATURES, lambda pair, scheme: features_figure(features_view(pair), scheme)),
        (ids.COMPARE_LAYERS, lambda pair, scheme: layers_figure(layers_view(pair), scheme)),
        (ids.COMPARE_MAPS, lambda pair, scheme: maps_figure(maps_view(pair), scheme)),
    )
    for name, draw in parts:
        _register_figure(app, run, name, draw)


def _register_head(app: Dash, run: Run) -> None:
    """Keep both detectors and the address the same, whichever was changed."""

    @app.callback(
        Output(ids.COMPARE_BODY, "children"),
        Output(ids.COMPARE_DETECTOR, "value"),
        Output(ids.COMPARE_OTHER, "value"),
        Output(ids.COMPARE_SWAP, "disabled"),
        Output(ids.COMPARE_URL, "search"),
        Input(ids.COMPARE_DETECTOR, "value"),
        Input(ids.COMPARE_OTHER, "value"),
        Input(ids.COMPARE_SWAP, "n_clicks"),
        Input(ids.COMPARE_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(detector: str, other: str, clicks: int, search: str) -> Any:
        kept = no_update, no_update, no_update, no_update
        try:
            chosen = Selection.parse(search)
            if ctx.triggered_id == ids.COMPARE_URL:
                pair = pair_of(run, chosen)
                if (pair.one.key, pair.other.key) == (detector, other):
                    return (no_update,) * 5
                return *_shown(pair, chosen), no_update
            wanted = _wanted(run, chosen, str(detector), str(other))
            if wanted is None:
                return (no_update,) * 5
            return *_shown(pair_of(run, wanted), wanted), wanted.search
        except ProbeError as error:
            return problem(error), *kept


def _wanted(run: Run, chosen: Selection, detector: str, other: str) -> Selection | None:
    """Return the selection that the head asks for; None where the address has it already."""
    try:
        before = pair_of(run, chosen)
        shown = before.one.key, before.other.key
    except ProbeError:
        shown = "", ""
    if ctx.triggered_id == ids.COMPARE_SWAP:
        detector, other = other, detector
    elif detector == other:
        # Choosing the one for the other exchanges them.
        detector, other = shown[::-1]
    if (detector, other) == shown:
        return None
    # Layers and units are those of one detector.
    return chosen.but(detector=detector, other=other, layer="", unit="", units="")


def _shown(pair: Pair, chosen: Selection) -> tuple[Any, str, str, bool]:
    return body(pair, chosen), pair.one.key, pair.other.key, not pair.same_run


def _register_scores(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.COMPARE_SCORES_URL, "search"),
        Output(ids.COMPARE_METRIC, "value"),
        Output(ids.COMPARE_LEVEL, "value"),
        Input(ids.COMPARE_METRIC, "value"),
        Input(ids.COMPARE_LEVEL, "value"),
        Input(ids.COMPARE_SCORES_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(metric: str, level: str, search: str) -> Any:
        chosen = Selection.parse(search)
        shown = chosen.metric or next(iter(METRICS)), chosen.level or next(iter(LEVELS))
        if ctx.triggered_id == ids.COMPARE_SCORES_URL:
            return no_update, *shown
        if (metric, level) == shown:
            return (no_update,) * 3
        return chosen.but(metric=metric, level=level).search, no_update, no_update

    @app.callback(
        Output(ids.COMPARE_SCORES, "figure"),
        Output(ids.COMPARE_SCORES_TEXT, "children"),
        Input(ids.COMPARE_METRIC, "value"),
        Input(ids.COMPARE_LEVEL, "value"),
        SCHEME,
        DETECTOR,
        OTHER,
    )
    def draw(metric: str, level: str, scheme: str, detector: str, other: str) -> Any:
        try:
            pair = pair_of(run, Selection(detector=detector, other=other))
            view = scores_view(pair, *measured(Selection(metric=metric, level=level)))
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        return forest_figure(view, scheme), scores_text(view)


def _register_images(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.COMPARE_IMAGES_URL, "search"),
        Output(ids.COMPARE_DATASET, "value"),
        Input(ids.COMPARE_DATASET, "value"),
        Input(ids.COMPARE_IMAGES_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(dataset: str, search: str) -> Any:
        chosen = Selection.parse(search)
        if ctx.triggered_id == ids.COMPARE_IMAGES_URL:
            return no_update, chosen.dataset or ALL
        if dataset == (chosen.dataset or ALL):
            return no_update, no_update
        return chosen.but(dataset="" if dataset == ALL else dataset).search, no_update

    @app.callback(
        Output(ids.COMPARE_POINTS, "figure"),
        Output(ids.COMPARE_IMAGES, "children"),
        Input(ids.COMPARE_DATASET, "value"),
        SCHEME,
        DETECTOR,
        OTHER,
    )
    def draw(dataset: str, scheme: str, detector: str, other: str) -> Any:
        chosen = Selection(detector=detector, other=other)
        try:
            pair = pair_of(run, chosen)
            view = images_view(pair, "" if dataset in (ALL, None) else dataset)
        except ProbeError as error:
            return empty_figure(scheme), problem(error)
        names = pair.one.title, pair.other.title
        tokens = (one.shown.token for one in (*view.more, *view.less))
        strips = fixed(images_strips(view, pair, chosen), lacks_note(run, tokens))
        return points_figure(view, names, scheme), strips


def _register_figure(app: Dash, run: Run, id: str, draw: Callable[[Pair, str], Any]) -> None:
    """Draw a figure that has no choices of its own."""

    @app.callback(Output(id, "figure"), SCHEME, DETECTOR, OTHER)
    def show(scheme: str, detector: str, other: str) -> Any:
        try:
            return draw(pair_of(run, Selection(detector=detector, other=other)), scheme)
        except ProbeError:
            # The card was laid out from the same view and says what is wrong.
            return empty_figure(scheme)


def _page_head(choosers: list[Any]) -> Any:
    title = [dmc.Title("Compare", order=1), html.Div(QUESTION, className="question")]
    group = dmc.Group(choosers, wrap="nowrap", align="flex-end", gap="xs")
    return html.Div([html.Div(title), group], className="page-head")


def _choosers(run: Run, pair: Pair | None) -> list[Any]:
    named: dict[str, Any] = {"aria-label": "Exchange the two"}
    return [
        dmc.Select(
            id=ids.COMPARE_DETECTOR,
            label="Detector",
            data=run.detectors,
            value=pair.one.key if pair else None,
            allowDeselect=False,
            w=230,
        ),
        dmc.ActionIcon(
            "⇄",
            id=ids.COMPARE_SWAP,
            variant="default",
            size=36,
            n_clicks=0,
            disabled=bool(pair and not pair.same_run),
            **named,
        ),
        dmc.Select(
            id=ids.COMPARE_OTHER,
            label="Compared with",
            data=choices(run),
            value=pair.other.key if pair else None,
            allowDeselect=False,
            w=230,
        ),
    ]
