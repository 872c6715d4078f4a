"""Tables and sentences of the Artifacts page."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import dcc, html

from app.components.tables import figures_table, interval_text, level_text, number_text
from app.prefix import at
from app.queries.artifacts import BalanceView, EffectsView, TellsView
from app.queries.responses import AnswerRow, AnswersView, DosesView, ResponsesView

__all__ = [
    "answers_table",
    "balance_table",
    "doses_text",
    "effects_text",
    "elsewhere",
    "no_doses",
    "responses_text",
    "spectra_text",
    "tells_text",
]


def balance_table(view: BalanceView) -> Any:
    """Show what beside forgery differs, what stood for the forged area, and what is missing."""
    known = np.isfinite(view.value)
    body = [
        [view.covariates[i], _number(view, i), _interval(float(view.low[i]), float(view.high[i]))]
        for i in range(len(view.covariates))
        if known[i]
    ]
    unknown = [name for name, there in zip(view.covariates, known, strict=True) if not there]
    facts = [
        ("Images", f"{view.n_samples:,} in {view.n_clusters:,} clusters"),
        ("Region", view.region or "not stated"),
        *([("Unknown", ", ".join(unknown))] if unknown else []),
        *([("Missing", view.reason)] if view.reason else []),
    ]
    pairs = [part for name, value in facts for part in (html.Dt(name), html.Dd(value))]
    return html.Div(
        [
            html.Div(_balance_sentence(view), className="sentence"),
            figures_table(["covariate", "AUROC", "interval"], body, numeric_from=1),
            html.Dl(pairs, className="facts facts-below"),
        ]
    )


def _number(view: BalanceView, i: int) -> Any:
    text = number_text(float(view.value[i]))
    return html.B(text) if view.unbalanced[i] else text


def _balance_sentence(view: BalanceView) -> list[Any]:
    names = [n for n, off in zip(view.covariates, view.unbalanced, strict=True) if off]
    if names:
        return [
            html.B(", ".join(names)),
            " alone tells fake from real: look at effects with control."
            if len(names) == 1
            else " each tell fake from real: look at effects with control.",
        ]
    if not np.isfinite(view.low).any():
        return ["Whether covariates are balanced cannot be said without intervals."]
    return ["No covariate tells fake from real beyond its interval."]


def _interval(low: float, high: float) -> Any:
    return html.Span(interval_text(low, high), className="muted")


def spectra_text(coverage: float, dataset: str, has_band: bool) -> str:
    """Say what the bands are, or why there are none."""
    if has_band:
        return f"{dataset}. Bands: {coverage:.0%} intervals of the mean, clusters resampled."
    return f"{dataset}. No bands: fewer than five clusters."


def effects_text(view: EffectsView) -> Any:
    """Count what is significant, and what stays so under both controls."""
    plain = int(view.significant[0].sum())
    kept = [one.name for one, yes in zip(view.measurements, view.kept, strict=True) if yes]
    if not np.isfinite(view.q).any():
        words: list[Any] = ["Nothing was tested: too few clusters."]
    else:
        words = [
            html.B(f"{len(kept)} of {len(view.measurements)}"),
            f" measurements differ between real and fake with every control (q ≤ {view.alpha:g}); ",
            f"{plain} without control.",
        ]
    return html.Div(words, className="sentence")


def tells_text(view: TellsView) -> str:
    """Say how to read the cells."""
    return (
        f"Orange: larger on that method's fakes than on all others; purple: smaller. Bold: "
        f"{view.coverage:.0%} interval leaves 0.5 out. Point at a cell for the definition."
    )


def responses_text(view: ResponsesView) -> list[Any]:
    """Say which units are shown and what was left out."""
    shown = len(view.unit)
    which = "all" if shown == view.total else f"{shown} of"
    first = (
        f"Layer {view.layer}: {which} {view.total} units, universal ones (bold) first, then by "
        f"their strongest correlation. Dots: q ≤ {view.alpha:g}. A click on a cell chooses its "
        "unit below."
    )
    return [html.Div(first), *(html.Div(reason) for reason in view.reasons)]


def doses_text(view: DosesView) -> list[Any]:
    """Say why a dataset has no line or no interval."""
    return [html.Div(f"No interval for {reason}") for reason in view.reasons]


def no_doses() -> Any:
    """Say why there is no dose-response, and what there is in its place."""
    return html.Div(
        [
            html.Div("No doses were turned", className="message-title"),
            html.Div(
                "Only the embedded lab can render the same face with more or less of an artifact, "
                "and this report holds no such rendering. The correlations above are what is known "
                "of these units; they do not show causes.",
                className="message-text",
            ),
        ],
        className="message",
        role="status",
    )


def answers_table(view: AnswersView) -> Any:
    """List what each universal unit responds to, and how that is known."""
    head = ["unit", "responds to", "known by", "strength", "q", "correlates most with", "ρ", "q"]
    body = [_answer_row(row) for row in view.rows]
    return html.Div(
        [
            html.Div(_answers_sentence(view), className="sentence"),
            figures_table(head, body, numeric_from=3),
            html.Div(_answers_note(view), className="reading"),
        ]
    )


def _answer_row(row: AnswerRow) -> list[Any]:
    found = bool(row.kind)
    strength = f"{row.effect:+.2f}".replace("-", "\N{MINUS SIGN}")
    unit = [str(row.unit), html.Span("universal", className="tag")] if row.universal else row.unit
    name = html.B(row.answer) if found else html.Span(row.answer, className="muted")
    known = {"dose": "dose (cause)", "correlation": "correlation"}.get(row.kind, "—")
    unit_of = {"dose": " SD", "correlation": " ρ"}.get(row.kind, "")
    return [
        unit,
        name,
        known,
        f"{strength}{unit_of}" if found else "—",
        level_text(row.q) if found else "—",
        html.Span(row.beside or "—", className="muted"),
        number_text(row.beside_rho),
        level_text(row.beside_q),
    ]


def _answers_sentence(view: AnswersView) -> list[Any]:
    if not view.n_universal:
        return ["No unit of this detector is universal by the test; these are its other units."]
    universal = [row for row in view.rows if row.universal]
    found = sum(bool(row.kind) for row in universal)
    return [
        html.B(f"{found} of {len(universal)}"),
        f" universal units of layer {view.layer} respond to something that was measured or dosed.",
    ]


def _answers_note(view: AnswersView) -> str:
    text = "Strength: response at full dose in standard deviations of the unit, or ρ."
    if not view.has_doses:
        text += " No doses were turned, so every answer is a correlation."
    listed = len(view.rows)
    if listed < view.total:
        text += f" {listed} units are listed; the CSV file holds all {view.total}."
    return text


def elsewhere() -> Any:
    """Say where the study's own analysis of artifacts belongs."""
    return html.Div(
        [
            html.B("Not here. "),
            "The study's Grad-CAM heatmaps and their SSIM between variants are attributions, not "
            "measurements of the image; they are on the page ",
            dcc.Link("Attribution", href=at("/attribution")),
            ".",
        ],
        className="notice",
        role="note",
    )
