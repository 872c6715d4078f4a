"""Parts of the Overview page on what stands behind the numbers: audit, gaps, other runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from app.components.tables import figures_table
from app.queries.audit import AuditView, Found, NotDone
from app.queries.lacking import Gap
from app.queries.runs import RunRow

__all__ = ["audit_body", "gaps_body", "not_done_body", "runs_table"]

#: Findings that are shown; the others are counted.
MOST = 12


def audit_body(view: AuditView) -> Any:
    """Say what the audit found, the gravest first."""
    counts = {name: len(view.of(name)) for name in ("error", "warning", "note")}
    looked = f"{view.images:,} images in {view.parts} parts (dataset and split) were looked at"
    if not view.findings:
        return html.Div(
            [html.B("Nothing was found. "), f"{looked}: leaks, duplicates, labels, confounds."],
            className="sentence",
        )
    said = ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n)
    more = len(view.findings) - MOST
    return html.Div(
        [
            html.Div([html.B(f"{said}. "), f"{looked}."], className="sentence"),
            html.Ul([_finding(one) for one in view.findings[:MOST]], className="findings"),
            html.Div(f"And {more} more." if more > 0 else "", className="reading"),
        ]
    )


def _finding(one: Found) -> Any:
    return html.Li(
        [
            html.Span(one.severity, className=f"severity {one.severity}"),
            html.Div(
                [
                    html.Div(
                        [
                            html.B(one.check.replace("-", " ")),
                            html.Span(f" {one.dataset}", className="muted"),
                        ]
                    ),
                    html.Div(one.message),
                ]
            ),
        ]
    )


def not_done_body(found: Sequence[NotDone]) -> Any:
    """List what could not be done, and why."""
    return html.Ul(
        [
            html.Li(
                [
                    html.Span("not done", className="severity note"),
                    html.Div(
                        [
                            html.Div(
                                [html.B(one.what), html.Span(f" {one.of}", className="muted")]
                            ),
                            html.Div(one.why),
                        ]
                    ),
                ]
            )
            for one in found
        ],
        className="findings",
    )


def gaps_body(found: Sequence[Gap]) -> Any:
    """List what is missing, each with what closes it."""
    if not found:
        return html.Div("Nothing that this page knows of is missing.", className="sentence")
    return html.Ul(
        [
            html.Li(
                [
                    html.Div(one.what),
                    html.Div(
                        [
                            html.Span(one.remedy, className="muted"),
                            html.Code(one.setting, className="setting") if one.setting else "",
                        ],
                        className="remedy",
                    ),
                ]
            )
            for one in found
        ],
        className="gaps",
    )


def runs_table(rows: Sequence[RunRow]) -> Any:
    """List the runs that are open, each with what it does not share with the first."""
    return figures_table(
        ["run", "title", "created", "detectors", "datasets", "differs in"],
        [_run(row, i == 0) for i, row in enumerate(rows)],
        numeric_from=9,
    )


def _run(row: RunRow, first: bool) -> list[Any]:
    if row.problem:
        return [row.name, html.Span(row.problem, className="muted"), "", "", "", ""]
    state = [] if row.complete else [html.Span("incomplete", className="tag")]
    tag = [html.Span("this run", className="tag")] if first else []
    return [
        html.Span([html.B(row.name), *tag]),
        html.Span([row.title, *state]),
        row.created.replace("T", " ")[:16],
        str(len(row.detectors)),
        str(len(row.datasets)),
        "" if first else ", ".join(row.differs) or "nothing that is noted",
    ]
