"""Parts of the Compare page: sentences, pairs of scores under images, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from dash import dcc, html

from app.components.tables import figures_table, interval_text, level_text, number_text
from app.prefix import at
from app.queries.compare import Pair
from app.queries.compare_images import Changed, ImagesView
from app.queries.compare_maps import MapsView
from app.queries.compare_parts import ALPHA, FeaturesView, LayersView, UnitsView
from app.queries.compare_scores import ScoresView
from app.queries.runs import Line
from app.selection import METRICS, Selection
from probe.plots.theme import short

__all__ = [
    "features_text",
    "images_strips",
    "layers_text",
    "lines_table",
    "maps_text",
    "not_comparable",
    "nothing_to_compare",
    "scores_text",
    "units_text",
]

_MINUS = "\N{MINUS SIGN}"


def scores_text(view: ScoresView) -> Any:
    """Say in how many datasets something changed beyond noise, and whose noise that is."""
    changed, tested = np.flatnonzero(view.changed), int(view.tested.sum())
    metric = METRICS[view.metric]
    if not tested:
        first = f"No dataset has enough people for an interval, so no difference in {metric} can "
        parts: list[Any] = [first, "be told from noise."]
    elif not len(changed):
        parts = [
            html.B(f"In none of {tested} datasets"),
            f" the {metric} of {view.one} differs from that of {view.other} by more than noise.",
        ]
    else:
        which = ", ".join(f"{view.datasets[i]} ({_signed(view.difference[i])})" for i in changed)
        parts = [
            html.B(f"In {len(changed)} of {tested} datasets"),
            f" the {metric} of {view.one} differs from that of {view.other} by more than noise: "
            f"{which}.",
        ]
    better = " Lower is better." if view.metric == "eer" else ""
    noise = (
        f"Lines: {view.coverage:.0%} intervals, whole clusters resampled for both together. "
        f"Filled: q ≤ .05, p adjusted over the {tested} datasets (Benjamini-Hochberg).{better}"
    )
    return [
        html.Div(parts, className="sentence"),
        html.Div(_trainings(view, changed), className="verdict"),
        html.Div([html.Div(noise), *map(html.Div, view.left_out)], className="reading"),
    ]


def _trainings(view: ScoresView, changed: Any) -> str:
    """Say what is known of the spread over trainings."""
    n = len(view.seeds)
    if not n:
        return (
            "The noise is over people, not over trainings: with one training each, nothing says "
            "that another seed would not differ as much."
        )
    again = f"{n} further {'trainings' if n > 1 else 'training'} from other seeds"
    every = np.vstack([view.difference[None], view.seeds])
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    widest = int(np.nanargmax(high - low))
    spread = (
        f"Over {n + 1} trainings the difference is {_signed(low[widest])} to "
        f"{_signed(high[widest])} in {view.datasets[widest]}, where it varies most."
    )
    if not len(changed):
        return f"The noise is over people. Crosses: {again}. {spread}"
    held = [i for i in changed if (np.sign(view.seeds[:, i]) == np.sign(view.difference[i])).all()]
    return (
        f"The noise is over people. Crosses: {again}; {len(held)} of the {len(changed)} "
        f"differences keep their sign in all of them. {spread}"
    )


def images_strips(view: ImagesView, pair: Pair, chosen: Selection) -> Any:
    """Show the images at both ends, each with the scores of both."""
    one, other = pair.one.title, pair.other.title
    sides = (
        (f"{one} says more fake than {other}", view.more),
        (f"{one} says less fake than {other}", view.less),
    )
    return html.Div(
        [
            html.Div(
                [
                    html.Div(title, className="strip-head"),
                    html.Div(
                        [_changed(shown, one, other, chosen) for shown in side]
                        or [html.Div("There is no such image.", className="muted small")],
                        className="strip",
                    ),
                ],
                className="compare-strip",
            )
            for title, side in sides
        ]
    )


def _changed(found: Changed, one: str, other: str, chosen: Selection) -> Any:
    shown = found.shown
    kind = "fake" if shown.label else "real"
    about = (
        f"{shown.sample}: {kind}, P(fake) {found.one:.2f} by {one}, {found.other:.2f} by {other}"
    )
    layers = [html.Img(src=at(f"/thumb/{shown.token}"), alt=about, className="thumb")]
    if shown.has_mask:
        layers.append(html.Img(src=at(f"/outline/{shown.token}"), alt="", className="outline"))
    link = chosen.but(sample=shown.token, dataset=found.dataset).search
    return html.Figure(
        [
            dcc.Link(html.Div(layers, className="frame", title=about), href=at(f"/sample{link}")),
            html.Figcaption(
                [
                    html.Div(
                        [
                            html.Span(kind, className=f"label {kind}"),
                            html.Span(found.dataset, className="method small"),
                        ],
                        className="caption-line",
                    ),
                    html.Div(
                        [
                            html.Span(["P(fake) ", html.B(f"{found.one:.2f}")], title=f"by {one}"),
                            html.Span(f"{found.other:.2f}", title=f"by {other}"),
                        ],
                        className="caption-line numbers small",
                    ),
                ]
            ),
        ],
        className="picture",
    )


def units_text(view: UnitsView, pair: Pair) -> Any:
    """Say how far two lists overlap, beside what chance gives."""
    names = {"universal": "universal by the test", "counted": "universal by the study's count"}
    body = [
        [
            names[row["set"]],
            str(row["n_first"]),
            str(row["n_second"]),
            html.B(str(row["both"])),
            number_text(row["expected"]),
            level_text(row["p"]),
        ]
        for row in view.sets.to_dict("records")
    ]
    head = ["units that are", pair.one.variant, pair.other.variant, "both", "by chance", "p"]
    more = f" The {len(view.unit):,} strongest are drawn." if len(view.unit) < view.total else ""
    return [
        html.Div(
            [
                "The contributions of the same units have a rank correlation of ",
                html.B(number_text(view.spearman)),
                f" (mean over datasets; {view.total:,} units of {view.layer}).{more}",
            ],
            className="sentence",
        ),
        figures_table(list(head), body, numeric_from=1),
    ]


def features_text(view: FeaturesView) -> Any:
    """Say which layer differs most."""
    least = int(np.argmin(view.value))
    return html.Div(
        [
            f"The features are least alike at {view.layers[least]}: CKA ",
            html.B(number_text(view.value[least])),
            f" ({interval_text(view.low[least], view.high[least])}; {view.n_samples:,} images in "
            f"{view.n_clusters:,} clusters).",
        ],
        className="sentence",
    )


def layers_text(view: LayersView) -> Any:
    """Say where two probes differ by more than noise, and how that was judged."""
    found = np.argwhere(view.apart != 0)
    some = [
        f"{view.layers[r]} on {view.datasets[c]} ({view.names[0 if view.apart[r, c] > 0 else 1]} "
        f"above{_by_how_much(view, r, c)})"
        for r, c in found[:6]
    ]
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    if view.unpaired:
        sentence = (
            f"The intervals do not overlap at {', '.join(some)}{more}."
            if some
            else "The intervals overlap at every layer and dataset, so none of these differences "
            "is shown to be more than noise."
        )
        note = (
            f"No paired interval: {view.unpaired} Intervals that do not overlap are a stricter "
            "test than a paired one, so small differences may be missed."
        )
    else:
        tested = int(np.isfinite(view.p).sum())
        sentence = (
            f"More than noise over people at {len(found)} of {tested}: {', '.join(some)}{more}."
            if some
            else f"None of {tested} differences is more than noise over people (q ≤ {ALPHA:g})."
            if tested
            else "No difference has an interval: fewer than five people or videos in every dataset."
        )
        note = (
            f"◆: q ≤ {ALPHA:g} over all layers and datasets, the same people resampled for both, "
            "other people to fit on allowed for. Bars are of each probe by itself and may overlap."
        )
    return [
        html.Div(sentence, className="sentence"),
        html.Div(note, className="reading"),
    ]


def _by_how_much(view: LayersView, r: int, c: int) -> str:
    if view.unpaired:
        return ""
    return f" by {short(abs(float(view.difference[r, c])))}"


def maps_text(view: MapsView) -> Any:
    """Say whether maps of one image are more alike than maps of different ones."""
    above = [view.datasets[i] for i in np.flatnonzero(view.over_low > 0)]
    tested = int(np.isfinite(view.over_low).sum())
    sentence = (
        "No dataset has enough people for an interval."
        if not tested
        else f"In {len(above)} of {tested} datasets the maps of one image are more alike than maps "
        f"of different images ({view.coverage:.0%} interval of the paired difference above 0)."
    )
    return [
        html.Div(sentence, className="sentence"),
        html.Div(f"{view.method}: {view.rule}".strip(": "), className="reading"),
    ]


def lines_table(found: Sequence[Line], pair: Pair) -> Any:
    """Set side by side what the two were made of; differing lines come first, in bold."""
    ordered = sorted(found, key=lambda line: line.same)
    body = [
        [
            line.what if line.same else html.B(line.what),
            html.Span(
                "same" if line.same else "differs",
                className="tag-only same" if line.same else "tag-only",
            ),
            line.one,
            line.other,
        ]
        for line in ordered
    ]
    head: list[Any] = ["", "", pair.one.title, pair.other.title]
    return html.Div(figures_table(head, body, numeric_from=9), className="made-of")


def not_comparable(text: str) -> Any:
    """Say quietly why a comparison is not made: it is no failure."""
    return html.Div(
        [
            html.Div("Not compared", className="message-title"),
            html.Div(text, className="message-text"),
        ],
        className="message",
        role="status",
    )


def nothing_to_compare(text: str) -> Any:
    """Say what it takes to compare where there is one detector only."""
    return html.Div(
        [
            html.Div(className="message-mark missing"),
            html.Div("Nothing to compare with", className="message-title"),
            html.Div(
                [
                    text,
                    " Train a second variant or seed (",
                    html.Code("variants"),
                    " or ",
                    html.Code("seeds"),
                    " in the study file), or open a second run beside this one:",
                ],
                className="message-text",
            ),
            html.Div(
                html.Code("probe dashboard RUN OTHER_RUN", className="command"),
                className="command-line",
            ),
        ],
        className="message",
        role="status",
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", _MINUS)
