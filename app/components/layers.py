"""Tables and sentences of the Separability page."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import html

from app.components.card import help_mark
from app.components.help import MEASURE_HELP
from app.components.tables import figures_table, interval_text, level_text, number_text
from app.figures.knowledge import drawn_units
from app.queries.pictures import KINDS, PictureView, is_dense
from app.queries.separability import Answered, KnowledgeView, LayerView, SpecificView
from app.selection import MEASURES

__all__ = [
    "information_text",
    "knowledge_text",
    "measures_table",
    "picture_text",
    "reasons_text",
    "specific_table",
]

#: False discovery rate of what is set bold.
ALPHA = 0.05


def information_text(view: LayerView) -> Any:
    """Answer the page's question for the chosen layer, and say what cannot be answered."""
    judged = np.isfinite(view.blind_low)
    there = [
        n
        for n, low, ok in zip(view.datasets, view.blind_low, judged, strict=True)
        if ok and low > 0
    ]
    probe, low, _ = view.measure("probe_auroc")
    nothing = [
        n
        for n, value, bound in zip(view.datasets, probe, low, strict=True)
        if np.isfinite(bound) and bound <= 0.5
    ]
    if not judged.any():
        text = "Whether the head is blind cannot be said: no dataset has an interval."
        return html.Div(text, className="sentence")
    total = f"{len(there)} of {int(judged.sum())} datasets" if there else "no dataset"
    lines = [
        html.Div(
            ["In ", html.B(total), " the layer tells more than the head uses."],
            className="sentence",
        )
    ]
    used = [
        n
        for n, bound, ok in zip(view.datasets, low, judged, strict=True)
        if ok and bound > 0.5 and n not in there
    ]
    if there:
        lines.append(_verdict("There, and the head blind to it", there, "beyond"))
    if used:
        lines.append(_verdict("There, and no more than the head uses", used, ""))
    if nothing:
        lines.append(_verdict("Absent as far as a linear probe can tell", nothing, ""))
    return html.Div(lines)


def _verdict(words: str, names: list[str], kind: str) -> Any:
    return html.Div(f"{words}: {', '.join(names)}.", className=f"verdict {kind}")


def reasons_text(view: LayerView) -> Any:
    """Say why intervals or values are missing, and how many samples were used."""
    lines = [
        html.Div([html.B(f"{name}: "), reason])
        for name, reason in zip(view.datasets, view.reason, strict=True)
        if reason
    ]
    fewer = view.sampled < view.n_samples
    if fewer.any():
        counts = ", ".join(
            f"{name} {int(used):,} of {int(total):,}"
            for name, used, total in zip(view.datasets, view.sampled, view.n_samples, strict=True)
            if used < total
        )
        lines.append(html.Div(f"Sub-sampled by people: {counts}."))
    return lines


def measures_table(view: LayerView) -> Any:
    """Show all measures of a layer, a column a dataset, value and interval in each cell."""
    head = ["measure", *view.datasets]
    body = [
        [_measure_name(name), *(_measure_cell(view, m, d) for d in range(len(view.datasets)))]
        for m, name in enumerate(view.measures)
    ]
    return figures_table(head, body, numeric_from=1)


def _measure_name(name: str) -> Any:
    words = html.Span(MEASURES.get(name, name))
    mark = [help_mark(MEASURE_HELP[name])] if name in MEASURE_HELP else []
    return html.Div([words, *mark], className="with-help")


def _measure_cell(view: LayerView, m: int, d: int) -> Any:
    value, low, high = view.value[m, d], view.low[m, d], view.high[m, d]
    if not np.isfinite(value):
        return html.Span("—", className="muted", title=view.reason[d] or "not defined")
    beyond = np.isfinite(view.q[m, d]) and view.q[m, d] <= ALPHA
    number = html.B(number_text(value)) if beyond else html.Span(number_text(value))
    title = f"q {level_text(view.q[m, d])}" if np.isfinite(view.q[m, d]) else "not tested"
    bounds = html.Span(interval_text(low, high), className="muted small")
    return html.Div([number, " ", bounds], title=title, className="whole")


def specific_table(view: SpecificView) -> Any:
    """Show what of a layer is specific to methods, each number beside what chance gives."""
    head = ["", "value", "interval", "chance"]
    body = [
        [
            "Share specific to single methods",
            number_text(view.share),
            _interval(view.share_low, view.share_high),
            "0",
        ],
        ["Cosine between two methods", number_text(view.cosine), "", "0"],
        ["Method told among fakes", *_answer(view.method)],
        ["Dataset told among reals", *_answer(view.domain)],
        [
            "Label direction in the methods' subspace",
            number_text(view.angle),
            "",
            number_text(view.angle_null),
        ],
    ]
    return html.Div(
        [
            html.Div(_specific_sentence(view), className="sentence"),
            figures_table(head, body, numeric_from=1),
            html.Div(
                "Told: balanced accuracy on other people. Share: of the squared real-to-fake "
                "difference; 0 = one direction for all methods, 1 = nothing shared. Subspace: "
                "squared cosine, beside that of a random direction.",
                className="reading",
            ),
        ]
    )


def _specific_sentence(view: SpecificView) -> list[Any]:
    if not np.isfinite(view.share) and np.isfinite(view.method.chance):
        return ["Nothing beyond noise sets fakes apart in this layer: there is no share to tell."]
    if not np.isfinite(view.share):
        return ["Fewer than two methods: what is specific to one cannot be said."]
    return [
        html.B(f"{view.share:.0%}"),
        " of what sets fakes apart in this layer belongs to single methods.",
    ]


def _answer(found: Answered) -> list[Any]:
    value = number_text(found.value)
    beyond = np.isfinite(found.p) and found.p <= ALPHA
    text = html.B(value) if beyond else value
    return [text, _interval(found.low, found.high), number_text(found.chance)]


def _interval(low: float, high: float) -> Any:
    return html.Span(interval_text(low, high), className="muted whole")


def knowledge_text(view: KnowledgeView) -> str:
    """Count units by what they know more of, and say whether universal ones are marked."""
    known = (view.method_q <= ALPHA) | (view.label_q <= ALPHA)
    more = int((known & (view.method > view.label)).sum())
    text = (
        f"{more} of {int(known.sum())} units that know something know more of the method than of "
        f"real or fake; {len(view.unit)} units in all."
    )
    drawn = int(drawn_units(view).sum())
    if drawn < len(view.unit):
        text += f" {drawn:,} are drawn: universal ones, those that know most, others at random."
    if view.universal is None:
        return f"{text} Universal units are not marked: that test is not of this layer."
    return f"{text} A click on a unit colors the picture by it."


def picture_text(view: PictureView, seen: int) -> Any:
    """State how far a picture can be believed before anything is read off it, and how it is drawn.

    Where many are `seen`, their density is drawn.
    """
    name = KINDS.get(view.kind, view.kind)
    near = f" of {view.neighbors}" if view.neighbors else ""
    words: list[Any] = [
        f"{name} of {view.layer}. Trustworthiness ",
        html.B(number_text(view.trustworthiness)),
        "; neighbors kept ",
        html.B(f"{view.preservation:.0%}" if np.isfinite(view.preservation) else "—"),
        html.Span(near, className="muted"),
        ". ",
        html.Span("A picture, no measurement: the numbers are above.", className="muted"),
    ]
    notes = []
    if is_dense(seen):
        notes.append(
            f"{seen:,} samples, drawn as density: stronger where more lie, with symbols for lone "
            "and for some other samples. Zoom in to see single samples."
        )
    elif seen < view.total:
        notes.append(f"{seen:,} of {view.total:,} samples are in view. Double click to see all.")
    if view.n_fitted < view.total:
        notes.append(
            f"Fitted on {view.n_fitted:,} samples; the other {view.total - view.n_fitted:,} were "
            "projected into it."
        )
    return [html.Div(words), html.Div(" ".join(notes), className="muted small")]
