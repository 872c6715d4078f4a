"""Overview: what is in the run, and how far its detectors generalize."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from app import ids
from app.components.card import card
from app.components.download import export_menu
from app.components.fixed import fixed
from app.components.help import HELP
from app.components.holdings import audit_body, gaps_body, not_done_body, runs_table
from app.components.matrix import against_table, matrix_table
from app.components.message import problem
from app.components.overview import (
    contents,
    datasets_table,
    facts,
    notices,
    provenance,
    report_link,
)
from app.queries.against import AgainstView, against_view
from app.queries.audit import audit_view, not_done
from app.queries.compare import choices
from app.queries.lacking import gaps
from app.queries.matrix import MatrixView, matrix_view
from app.queries.runs import run_rows
from app.queries.summary import summary
from app.run import Run
from app.selection import LEVELS, METRICS, Selection
from probe.errors import ProbeError

__all__ = ["layout", "register"]

#: Metric and level that are shown where the address names none.
FIRST = next(iter(METRICS)), next(iter(LEVELS))

#: Stands for the matrix itself in the select of references; no detector is called so.
VALUES = "*"

QUESTION = "How far does each detector generalize to datasets that it was not trained on?"


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
                    *report_link(run),
                ],
                className="page-head",
            ),
            *notices(about),
            fixed(facts(run, about)),
            _matrix_section(run, search),
            html.Div(
                [
                    card("Datasets", datasets_table(run, about), controls=export_menu("datasets")),
                    card(
                        "What this run holds",
                        contents(run, about),
                        controls=export_menu("contents"),
                    ),
                ],
                className="columns",
            ),
            *_runs_section(run),
            html.Div([_audit_card(run), _gaps_card(run)], className="columns"),
            card("Provenance", provenance(run, about)),
        ]
    )


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""

    @app.callback(
        Output(ids.OVERVIEW_URL, "search"),
        Output(ids.METRIC, "value"),
        Output(ids.LEVEL, "value"),
        Output(ids.REFERENCE, "value"),
        Input(ids.METRIC, "value"),
        Input(ids.LEVEL, "value"),
        Input(ids.REFERENCE, "value"),
        Input(ids.OVERVIEW_URL, "search"),
        prevent_initial_call=True,
    )
    def follow(metric: str, level: str, reference: str, search: str) -> Any:
        chosen = Selection.parse(search)
        shown = chosen.metric or FIRST[0], chosen.level or FIRST[1], chosen.against or VALUES
        if ctx.triggered_id == ids.OVERVIEW_URL:
            return no_update, *shown
        if (metric, level, reference or VALUES) == shown:
            return (no_update,) * 4
        return _asked(search, metric, level, reference).search, *(no_update,) * 3

    @app.callback(
        Output(ids.MATRIX, "children"),
        Output(ids.MATRIX_TEXT, "children"),
        Output(ids.MATRIX_MENU, "children"),
        Input(ids.METRIC, "value"),
        Input(ids.LEVEL, "value"),
        Input(ids.REFERENCE, "value"),
        State(ids.OVERVIEW_URL, "search"),
        State(ids.MATRIX_DRAWN, "data"),
    )
    def draw(metric: str, level: str, reference: str | None, search: str, drawn: Any = None) -> Any:
        if ctx.triggered_id is None and drawn == [metric, level, reference or VALUES]:
            # The page came with it.
            return (no_update,) * 3
        try:
            chosen = _asked(search, metric, level, reference)
            return _drawn(run, _view(run, chosen), chosen)
        except ProbeError as error:
            return no_update, problem(error), no_update


def _asked(search: str, metric: str, level: str, reference: str | None) -> Selection:
    against = "" if (reference or VALUES) == VALUES else str(reference)
    return Selection.parse(search).but(metric=metric, level=level, against=against)


def _drawn(run: Run, view: MatrixView, chosen: Selection) -> tuple[Any, Any, Any]:
    """Return the matrix or the differences, what they say, and the menu to take them away."""
    if not chosen.against:
        table = fixed(matrix_table(view, chosen))
        return table, _reading(view), export_menu("zero-shot-matrix")
    less = against_view(run, chosen.against, view.metric, view.level)
    table = fixed(against_table(less, chosen))
    return table, _reading_against(less), export_menu("matrix-against")


def _view(run: Run, chosen: Selection) -> MatrixView:
    metric, level = chosen.named("metric", list(METRICS)), chosen.named("level", list(LEVELS))
    return matrix_view(run, metric, level)


def _matrix_section(run: Run, search: str) -> Any:
    title = "Zero-shot matrix"
    try:
        chosen = Selection.parse(search)
        view = _view(run, chosen)
    except ProbeError as error:
        return card(title, problem(error), help=HELP["matrix"])
    reference = chosen.against or VALUES
    drawn: list[str] | None = [view.metric, view.level, reference]
    try:
        table, text, menu = _drawn(run, view, chosen)
    except ProbeError as error:
        table, text, menu = None, problem(error), export_menu("zero-shot-matrix")
        drawn = None
    return card(
        title,
        # With its query, since it would else report it, which all else would wait for.
        dcc.Location(id=ids.OVERVIEW_URL, refresh="callback-nav", search=search),
        dcc.Store(id=ids.MATRIX_DRAWN, data=drawn),
        html.Div(table, id=ids.MATRIX),
        html.Div(text, id=ids.MATRIX_TEXT, className="reading matrix-reading"),
        help=HELP["matrix"],
        controls=_controls(run, view, reference, menu),
    )


def _controls(run: Run, view: MatrixView, reference: str, menu: Any) -> list[Any]:
    shown: dict[str, Any] = {"aria-label": "Values, or differences to a detector"}
    against = choices(run, "Against ")
    return [
        dmc.Select(
            id=ids.REFERENCE,
            data=[{"value": VALUES, "label": "Values"}, *against],
            value=reference,
            allowDeselect=False,
            size="xs",
            w=250,
            **shown,
        ),
        _switch(ids.METRIC, METRICS, view.metric, "Metric"),
        _switch(ids.LEVEL, LEVELS, view.level, "Level"),
        html.Div(menu, id=ids.MATRIX_MENU),
    ]


def _switch(id: str, names: dict[str, str], value: str, label: str) -> Any:
    named: dict[str, Any] = {"aria-label": label}
    data = [{"value": name, "label": text} for name, text in names.items()]
    return dmc.SegmentedControl(id=id, data=data, value=value, size="xs", **named)


def _reading(view: MatrixView) -> Any:
    """Define the metric and say how to read the cells."""
    definition = HELP[view.metric]
    colors = "Color is the way from chance (neutral) to perfect (orange) or always wrong (purple)."
    return [
        html.Div([html.B(METRICS[view.metric] + ". "), definition.text]),
        html.Div(
            f"{colors} Framed cells: the detector's card notes that dataset as seen in training. "
            f"Small: {view.coverage:.0%} interval over resampled clusters. A click on a cell opens "
            "the detector's neurons."
        ),
    ]


def _reading_against(view: AgainstView) -> Any:
    """Say how to read the differences."""
    better = "lower is better" if view.metric == "eer" else "higher is better"
    return [
        html.Div(
            [
                html.B(f"{METRICS[view.metric]} less that of {view.reference}. "),
                "The same images, whole clusters resampled for both together: what is hard for "
                "both cancels.",
            ]
        ),
        html.Div(
            f"Orange is better than the reference, purple worse ({better}). ◆: the "
            f"{view.coverage:.0%} interval leaves 0 out; of many cells some do so by chance. "
            "A click on a cell opens Compare, where p is adjusted over datasets."
        ),
    ]


def _runs_section(run: Run) -> list[Any]:
    """List the runs, where more than one was given."""
    if not run.others:
        return []
    return [card("Runs", runs_table(run_rows(run)), controls=export_menu("runs"))]


def _audit_card(run: Run) -> Any:
    title, help = "What is wrong with the data?", HELP["audit"]
    try:
        body: list[Any] = [fixed(audit_body(audit_view(run)))]
        menu: Any = export_menu("audit")
    except ProbeError as error:
        body, menu = [problem(error)], None
    found = not_done(run)
    if found:
        heading = dmc.Title("What could not be done, and why", order=3, className="part-title")
        body += [heading, not_done_body(found)]
    return card(title, *body, help=help, controls=menu)


def _gaps_card(run: Run) -> Any:
    title = "What is missing to answer more?"
    try:
        body = gaps_body(gaps(run))
    except ProbeError as error:
        return card(title, problem(error))
    return card(title, body, controls=export_menu("gaps"))
