"""The cards of the Compare page; each says by itself what it lacks."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from app import ids
from app.components.card import card, graph
from app.components.compare import (
    features_text,
    layers_text,
    lines_table,
    maps_text,
    not_comparable,
    scores_text,
    units_text,
)
from app.components.download import export_menu
from app.components.help import HELP
from app.components.message import problem
from app.figures.compare import forest_height
from app.figures.compare_parts import features_height, layers_height, maps_height
from app.queries.compare import NotComparableError, Pair, lines
from app.queries.compare_images import images_view
from app.queries.compare_maps import maps_view
from app.queries.compare_parts import (
    features_view,
    layers_view,
    units_view,
)
from app.queries.compare_scores import paired_scores, scores_view
from app.selection import LEVELS, METRICS, Selection
from probe.errors import ProbeError
from probe.plots.theme import empty_figure

__all__ = ["ALL", "body", "measured"]

#: Stands for all datasets in the select; no dataset can be called so.
ALL = "*"
#: Room in pixels of the scatters.
POINTS, UNITS = 380, 470


def body(pair: Pair, chosen: Selection) -> list[Any]:
    """Lay out all that depends on the two."""
    return [
        _scores_card(pair, chosen),
        _images_card(pair, chosen),
        _inside(pair),
        _layers_card(pair),
        _made_of_card(pair),
    ]


def measured(chosen: Selection) -> tuple[str, str]:
    """Return the metric and level that are selected."""
    return chosen.named("metric", list(METRICS)), chosen.named("level", list(LEVELS))


def _scores_card(pair: Pair, chosen: Selection) -> Any:
    title, help = "Does it detect better or worse?", HELP["paired"]
    try:
        view = scores_view(pair, *measured(chosen))
    except NotComparableError as error:
        return card(title, not_comparable(str(error)), help=help)
    except ProbeError as error:
        return card(title, problem(error), help=help)
    controls = [
        _switch(ids.COMPARE_METRIC, METRICS, view.metric, "Metric"),
        _switch(ids.COMPARE_LEVEL, LEVELS, view.level, "Level"),
        export_menu("compare-scores"),
    ]
    label = "Both detectors by dataset, and their paired difference with its interval"
    return card(
        title,
        dcc.Location(id=ids.COMPARE_SCORES_URL, refresh="callback-nav"),
        html.Div(scores_text(view), id=ids.COMPARE_SCORES_TEXT, className="compare-text"),
        graph(ids.COMPARE_SCORES, forest_height(len(view.datasets)), empty_figure(), label),
        help=help,
        controls=controls,
    )


def _images_card(pair: Pair, chosen: Selection) -> Any:
    title, help = "On which images do they differ most?", HELP["changed_images"]
    try:
        _, _, datasets, _ = paired_scores(pair)
        view = images_view(pair, chosen.dataset)
    except NotComparableError as error:
        return card(title, not_comparable(str(error)), help=help)
    except ProbeError as error:
        return card(title, problem(error), help=help)
    names: dict[str, Any] = {"aria-label": "Dataset of the images"}
    select = dmc.Select(
        id=ids.COMPARE_DATASET,
        data=[{"value": ALL, "label": "All datasets"}, *datasets],
        value=chosen.dataset or ALL,
        allowDeselect=False,
        size="xs",
        w=170,
        **names,
    )
    drawn = (
        f"{len(view.one):,} of {view.total:,} images, drawn at random"
        if len(view.one) < view.total
        else f"All {view.total:,} images"
    )
    label = "Every image at the logits of both detectors"
    left = [
        graph(ids.COMPARE_POINTS, POINTS, empty_figure(), label),
        html.Div(
            f"{drawn}. On the dotted line both agree. Under the images: P(fake) of "
            f"{pair.one.title} (bold) and of {pair.other.title}. An image opens on its own page.",
            className="reading",
        ),
    ]
    return card(
        title,
        dcc.Location(id=ids.COMPARE_IMAGES_URL, refresh="callback-nav"),
        html.Div(
            [html.Div(left), html.Div(id=ids.COMPARE_IMAGES, className="compare-images")],
            className="compare-columns",
        ),
        help=help,
        controls=[select, export_menu("compare-images")],
    )


def _inside(pair: Pair) -> Any:
    """Compare units where they have a common numbering; features and maps in any case."""
    title, help = "Do the same units matter?", HELP["same_units"]
    try:
        view = units_view(pair)
    except NotComparableError as error:
        return html.Div([_features_card(pair, str(error)), _maps_card(pair)], className="columns")
    except ProbeError as error:
        units = card(title, problem(error), help=help)
    else:
        units = card(
            title,
            html.Div(units_text(view, pair)),
            graph(ids.COMPARE_UNITS, UNITS, empty_figure(), "Mean effect of units in both"),
            help=help,
            controls=export_menu("compare-units"),
        )
    stack = html.Div([_features_card(pair), _maps_card(pair)], className="stack")
    return html.Div([units, stack], className="columns")


def _features_card(pair: Pair, why: str = "") -> Any:
    title, help = "How alike are their features?", HELP["pair_features"]
    said = [html.Div(why, className="verdict")] if why else []
    try:
        view = features_view(pair)
    except NotComparableError as error:
        return card(title, *said, not_comparable(str(error)), help=help)
    except ProbeError as error:
        return card(title, *said, problem(error), help=help)
    label = "Similarity of features by layer with its interval"
    return card(
        title,
        *said,
        features_text(view),
        graph(ids.COMPARE_FEATURES, features_height(len(view.layers)), empty_figure(), label),
        help=help,
        controls=export_menu("compare-features"),
    )


def _layers_card(pair: Pair) -> Any:
    title, help = "Where in the network do real and fake come apart?", HELP["pair_layers"]
    try:
        view = layers_view(pair)
    except NotComparableError as error:
        return card(title, not_comparable(str(error)), help=help)
    except ProbeError as error:
        return card(title, problem(error), help=help)
    label = "AUROC of probes of both detectors through the layers, by dataset"
    return card(
        title,
        html.Div(layers_text(view)),
        graph(ids.COMPARE_LAYERS, layers_height(len(view.datasets)), empty_figure(), label),
        help=help,
        controls=export_menu("compare-layers"),
    )


def _maps_card(pair: Pair) -> Any:
    title, help = "Do they look at the same places?", HELP["pair_maps"]
    try:
        view = maps_view(pair)
    except NotComparableError as error:
        return card(title, not_comparable(str(error)), help=help)
    except ProbeError as error:
        return card(title, problem(error), help=help)
    label = "Similarity of the maps of both by dataset, beside that of different images"
    return card(
        title,
        html.Div(maps_text(view)),
        graph(ids.COMPARE_MAPS, maps_height(len(view.datasets)), empty_figure(), label),
        help=help,
        controls=export_menu("compare-maps"),
    )


def _made_of_card(pair: Pair) -> Any:
    title, help = "What were they made of?", HELP["made_of"]
    try:
        found = lines(pair)
    except ProbeError as error:
        return card(title, problem(error), help=help)
    menu = export_menu("compare-made-of")
    return card(title, lines_table(found, pair), help=help, controls=menu)


def _switch(id: str, names: dict[str, str], value: str, label: str) -> Any:
    named: dict[str, Any] = {"aria-label": label}
    data = [{"value": name, "label": text} for name, text in names.items()]
    return dmc.SegmentedControl(id=id, data=data, value=value, size="xs", **named)
