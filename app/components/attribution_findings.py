"""Tables and sentences: trust checks, similarity of variants, regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import html

from app.components.tables import figures_table, interval_text, level_text, number_text
from app.queries.attribution_findings import Bounded, RegionsView, VariantsView
from app.queries.attribution_trust import CheckRow, TrustView, why_not

__all__ = ["checks_table", "regions_text", "variants_table", "variants_text"]


def checks_table(view: TrustView) -> Any:
    """Lay out all checks of a detector's maps by a method, with what speaks for and against."""
    head = [
        "Check",
        "Verdict",
        "Value",
        "Interval",
        "Chance",
        "Random weights",
        "Gain over reference (q)",
        "Images (clusters)",
    ]
    body = [[_name(row), _verdict(row), *_numbers(row)] for row in view.rows]
    shown = "all images together" if view.dataset == "all" else view.dataset
    passed = sum(row.passed for row in view.rows)
    tested = sum(bool(row.tested) for row in view.rows)
    rule = "A gain above 0 is better for every check; bold gains have q ≤ 0.05."
    text: list[Any] = [
        html.B(f"{passed} of {tested}"),
        f" tested checks passed, on {shown}. {rule}",
    ]
    return html.Div(
        [html.Div(text, className="sentence"), figures_table(head, body, 2)], className="checks"
    )


def _name(row: CheckRow) -> Any:
    arrow = "↑" if row.better == "higher" else "↓"
    title = f"{row.title}; {row.better} is better. Source: {row.paper}"
    return html.Div(
        [
            html.Div(f"{row.check} {arrow}", title=title),
            html.Div(row.title, className="muted small check-title"),
        ]
    )


def _verdict(row: CheckRow) -> Any:
    if not row.tested:
        return html.Span(row.reason or "no test for this check", className="muted")
    if row.passed:
        return html.Span("✓ passed", className="passed")
    return html.Span(f"✗ {why_not(row)}", className="failed")


def _numbers(row: CheckRow) -> list[Any]:
    tried = np.isfinite(row.random_low)
    gains = [
        html.Div(
            [
                f"{gain.reference} ",
                _bold(number_text(gain.value), gain.q <= 0.05 and gain.value > 0),
                f" ({level_text(gain.q)})" if np.isfinite(gain.q) else " (no test)",
            ],
            className="whole",
            title=f"interval {interval_text(gain.low, gain.high)}",
        )
        for gain in row.gains
    ]
    return [
        html.B(number_text(row.value)),
        html.Span(interval_text(row.low, row.high), className="whole", title=row.reason),
        number_text(row.chance),
        html.Span(interval_text(row.random_low, row.random_high), className="whole")
        if tried
        else "not tried",
        gains or "—",
        f"{row.n_samples} ({row.n_clusters})",
    ]


def _bold(text: str, yes: bool) -> Any:
    return html.B(text) if yes else text


def variants_text(view: VariantsView) -> Any:
    """Answer whether maps of variants agree more than those of other images do."""
    last = len(view.datasets) - 1
    value, null = view.same.value[last], view.null.value[last]
    over, low = view.over.value[last], view.over.low[last]
    names = ", ".join(view.variants)
    words: list[Any] = [
        f"Maps of {names} ({view.architecture}) have an SSIM of ",
        html.B(number_text(value)),
        f"; maps of other people’s images have {number_text(null)} by the same measure. ",
    ]
    if not np.isfinite(low):
        verdict, kind = "Whether they agree cannot be said: there is no interval.", ""
    elif low > 0:
        verdict = f"They agree on the image: {number_text(over)} above the null"
        verdict += f" ({interval_text(low, view.over.high[last])})."
        kind = "beyond"
    else:
        verdict, kind = "What they have in common is no more than any two maps have.", ""
    lines = [
        html.Div(words, className="sentence"),
        html.Div(verdict, className=f"verdict {kind}"),
        html.Div(f"Compared: {view.rule}." if view.rule else "", className="reading"),
    ]
    return html.Div(lines)


def variants_table(view: VariantsView) -> Any:
    """Lay out similarity, null, difference and the study's bins, a row a dataset."""
    bins = [f"SSIM {_bin(name)}" for name in view.bins]
    head = ["Dataset", "Same image", "Other image", "Same − other", "p", *bins, "Images"]
    body = [
        [
            name,
            _with_interval(view.same, i),
            _with_interval(view.null, i),
            _with_interval(view.over, i, bold=bool(view.over.low[i] > 0)),
            html.Span(level_text(float(view.p[i])), className="whole"),
            *(str(int(n)) for n in view.count[i]),
            html.Span(
                str(view.n_samples[i]),
                title=f"in {view.n_clusters[i]} clusters. {view.reason[i]}".strip(),
            ),
        ]
        for i, name in enumerate(view.datasets)
    ]
    return figures_table(head, body, 1)


def _bin(name: str) -> str:
    """Write a bin of the study as in print: "<.7" becomes "< .7"."""
    return name.replace(">=", "≥ ").replace("<", "< ").replace("-", "–")


def _with_interval(of: Bounded, i: int, bold: bool = False) -> Any:
    value = _bold(number_text(of.value[i]), bold)
    bounds = html.Div(interval_text(of.low[i], of.high[i]), className="muted small")
    return html.Div([value, bounds], className="whole")


def regions_text(view: RegionsView) -> Any:
    """Say how many cells differ, and what regions rest on."""
    found, tested = int((view.q <= 0.05).sum()), int(np.isfinite(view.q).sum())
    asked = (
        "changes from the real frame differ from 0"
        if view.what == "change"
        else "concentrations differ from those of the other groups of their label"
    )
    rests = f"{view.method} at {view.layer}" if view.layer else view.method
    faceless = f" {view.n_faceless} images without a face are left out." if view.n_faceless else ""
    how = {"lab": "exact, drawn again from the lab", "landmarks": "placed by landmarks"}
    regions = how.get(view.source, view.source)
    return html.Div(
        [
            html.Div(
                [html.B(f"{found} of {tested}"), f" {asked} (q ≤ 0.05)."], className="sentence"
            ),
            html.Div(
                f"{rests}; {view.part} mass. Regions: {regions}.{faceless}", className="reading"
            ),
        ]
    )
