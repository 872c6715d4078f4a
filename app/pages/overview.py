"""Overview: what is in the run, and how far its detectors generalise."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, ctx, dcc, html, no_update

from app import ids
from app.components.card import card, graph
from app.components.help import HELP
from app.components.message import problem
from app.components.overview import contents, datasets_table, facts, notices, provenance
from app.figures.matrix import matrix_figure, matrix_height
from app.queries.matrix import MatrixView, matrix_frame, matrix_view
from app.queries.reading import Run
from app.queries.summary import summary
from app.selection import LEVELS, METRICS, Selection
from probe.errors import ProbeError

__all__ = ["layout", "register"]

#: Metric and level that are shown where the address names none.
FIRST = next(iter(METRICS)), next(iter(LEVELS))

QUESTION = "How far does each detector generalise to datasets that it was not trained on?"


def layout(run: Run, search: str) -> Any:
    """Lay out the page."""
    about = summary(run)
    return html.Div(
        [
            html.Div(
                [
                    html.Div(
                        [
                            dmc.Title(about.title, order=1),
                            html.Div(QUESTION, className="question"),
                        ]
                    ),
                ],
                className="page-head",
            ),
            *notices(about),
            facts(run, about),
            _matrix_section(run, search),
            html.Div(
                [
                    card("Datasets", datasets_table(run, about)),
                    card("What this run holds", contents(run, about)),
                ],
                className="columns",
            ),
            card("Provenance", provenance(run, about)),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output(ids.OVERVIEW_URL, "search"),
        Output(ids.OVERVIEW_URL, "pathname"),
        Output(ids.METRIC, "value"),
        Output(ids.LEVEL, "value"),
        Input(ids.METRIC, "value"),
        Input(ids.LEVEL, "value"),
        Input(ids.MATRIX, "clickData"),
        Input(ids.OVERVIEW_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(metric: str, level: str, click: Any, search: str) -> Any:
        chosen = Selection.parse(search)
        shown = chosen.metric or FIRST[0], chosen.level or FIRST[1]
        if ctx.triggered_id == ids.MATRIX and click:
            return _opened(run, chosen, click["points"][0]), "/neurons", no_update, no_update
        if ctx.triggered_id == ids.OVERVIEW_URL:
            return no_update, no_update, *shown
        if (metric, level) == shown:
            return no_update, no_update, no_update, no_update
        found = chosen.but(metric=metric, level=level).search
        return found, no_update, no_update, no_update

    @app.callback(
        Output(ids.MATRIX, "figure"),
        Output(ids.MATRIX_TEXT, "children"),
        Input(ids.METRIC, "value"),
        Input(ids.LEVEL, "value"),
        Input(ids.SCHEME, "data"),
    )
    def draw(metric: str, level: str, scheme: str) -> Any:
        try:
            view = _view(run, Selection(metric=metric, level=level))
        except ProbeError as error:
            return no_update, problem(error)
        return matrix_figure(view, scheme), _reading(view)

    @app.callback(
        Output(ids.CSV_FILE, "data"), Input(ids.CSV_BUTTON, "n_clicks"), prevent_initial_call=True
    )
    def download(clicks: int) -> Any:
        content = matrix_frame(run).to_csv(index=False)
        return {"content": content, "filename": "zero-shot-matrix.csv", "type": "text/csv"}


def _view(run: Run, chosen: Selection) -> MatrixView:
    metric, level = chosen.named("metric", list(METRICS)), chosen.named("level", list(LEVELS))
    return matrix_view(run, metric, level)


def _opened(run: Run, chosen: Selection, point: dict[str, Any]) -> str:
    """Return the address's query with the detector and dataset of a cell."""
    view = _view(run, chosen)
    detector, dataset = view.detectors[int(point["y"])], view.datasets[int(point["x"])]
    return chosen.but(detector=detector, dataset=dataset, unit="").search


def _matrix_section(run: Run, search: str) -> Any:
    title = "Zero-shot matrix"
    try:
        view = _view(run, Selection.parse(search))
    except ProbeError as error:
        return card(title, problem(error), help=HELP["matrix"])
    label = "Heatmap of detectors and datasets; the same numbers are in the CSV file"
    return card(
        title,
        dcc.Location(id=ids.OVERVIEW_URL, refresh="callback-nav"),
        graph(ids.MATRIX, matrix_height(view), matrix_figure(view), label),
        html.Div(_reading(view), id=ids.MATRIX_TEXT, className="reading"),
        dcc.Download(id=ids.CSV_FILE),
        help=HELP["matrix"],
        controls=_controls(view),
    )


def _controls(view: MatrixView) -> list[Any]:
    return [
        dmc.SegmentedControl(
            id=ids.METRIC,
            data=[{"value": name, "label": label} for name, label in METRICS.items()],
            value=view.metric,
            size="xs",
        ),
        dmc.SegmentedControl(
            id=ids.LEVEL,
            data=[{"value": name, "label": label} for name, label in LEVELS.items()],
            value=view.level,
            size="xs",
        ),
        dmc.Button("CSV", id=ids.CSV_BUTTON, variant="default", size="xs"),
    ]


def _reading(view: MatrixView) -> Any:
    """Define the metric and say how to read the cells."""
    definition = HELP[view.metric]
    colours = (
        "Colour is the way from chance (neutral) to perfect (orange) or always wrong (purple)."
    )
    return [
        html.Div([html.B(METRICS[view.metric] + ". "), definition.text]),
        html.Div(
            f"{colours} Framed cells: the detector's card notes that dataset as seen in training. "
            f"Small: {view.coverage:.0%} interval over resampled clusters. A click on a cell opens "
            "the detector's neurons."
        ),
    ]
