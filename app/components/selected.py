"""What a selection in a picture holds, and the units that tell it from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import dcc, html

from app import ids
from app.components.sample import sample_link
from app.components.tables import figures_table, interval_text, number_text
from app.prefix import at
from app.queries.images import Shown
from app.queries.lasso import Rule
from app.queries.selected import CANDIDATES, Group, SelectedView, TellingView
from app.selection import Selection

__all__ = ["nothing_selected", "rule_form", "selected_images", "selected_text", "telling_table"]

#: Groups that are named in a sentence before the others are counted.
NAMED = 4


def nothing_selected() -> Any:
    """Keep the place of a selection, and say how to make one."""
    return html.Div(
        "Choose Box or Lasso above the picture and draw round some samples, or select by a rule.",
        className="selected-empty",
    )


def rule_form(
    datasets: Sequence[str], methods: Sequence[str], rule: Rule, *, selected: bool
) -> Any:
    """Lay out the fields that select samples without a mouse."""
    common: dict[str, Any] = {"size": "xs", "clearable": True, "placeholder": "any"}
    share: dict[str, Any] = {
        "size": "xs",
        "w": 84,
        "min": 0,
        "max": 1,
        "step": 0.05,
        "decimalScale": 2,
        "clampBehavior": "strict",
    }
    fields = [
        dmc.Select(
            id=ids.RULE_DATASET,
            label="Dataset",
            data=list(datasets),
            w=150,
            value=rule.dataset or None,
            **common,
        ),
        dmc.Select(
            id=ids.RULE_LABEL,
            label="Label",
            data=["real", "fake"],
            w=90,
            value=rule.label or None,
            **common,
        ),
        dmc.Select(
            id=ids.RULE_METHOD,
            label="Method",
            data=list(methods),
            w=150,
            value=rule.method or None,
            **common,
        ),
        dmc.NumberInput(id=ids.RULE_LOW, label="P(fake) from", value=rule.low, **share),
        dmc.NumberInput(id=ids.RULE_HIGH, label="to", value=rule.high, **share),
        dmc.Button("Select", id=ids.RULE, size="xs", variant="default"),
        dmc.Button(
            "Clear", id=ids.SELECTED_CLEAR, size="xs", variant="subtle", disabled=not selected
        ),
    ]
    return dmc.Group(fields, gap="sm", align="flex-end", className="rule-form")


def selected_text(view: SelectedView) -> Any:
    """Say how many samples are selected, and what they are."""
    if not view.selected:
        return html.Div("No sample lies in the selection.", className="sentence")
    head = html.Div(
        [
            html.B(f"{view.selected:,}"),
            f" of {view.total:,} samples are selected. Mean P(fake) ",
            html.B(number_text(view.p_fake)),
            html.Span(f", elsewhere {number_text(view.rest_p_fake)}", className="muted"),
            ".",
        ],
        className="sentence",
    )
    pairs = []
    for by, groups in view.groups.items():
        pairs += [html.Dt(by.capitalize()), html.Dd(_groups(groups))]
    return [head, html.Dl(pairs, className="facts tight")]


def selected_images(view: SelectedView, chosen: Selection | None = None) -> Any:
    """Show images of the selection, those in its middle first; each leads to its page."""
    if not view.images:
        return html.Div("There is no image to show.", className="muted small")
    n, videos = len(view.images), view.n_videos
    which = f"{n} of {videos:,} videos, those nearest to the middle" if n < videos else "All videos"
    return [
        html.Div(f"{which}, one frame each, with P(fake)", className="strip-head"),
        html.Div([_image(shown, chosen) for shown in view.images], className="selected-strip"),
    ]


def telling_table(view: TellingView, unit: str) -> Any:
    """List the units that tell the selection from the rest, each a button that colors by it."""
    table, attrs = view.table, view.table.attrs
    body = []
    for i in range(table.sizes["unit"]):
        one = {str(name): float(value[i]) for name, value in table.data_vars.items()}
        number = int(table["unit"].values[i])
        body.append(
            [
                _unit_button(number, str(number) == unit),
                "higher" if one["auroc"] > 0.5 else "lower",
                html.B(number_text(one["auroc"])),
                interval_text(one["low"], one["high"]),
                number_text(one["within"]),
                interval_text(one["within_low"], one["within_high"]),
            ]
        )
    head = [
        "Unit",
        "In selection",
        "AUROC",
        "95 % interval",
        "Same dataset, label",
        "95 % interval",
    ]
    return [
        figures_table(head, body, 2, asked=True),
        html.Div(_notes(view, attrs), className="reading"),
    ]


def _image(shown: Shown, chosen: Selection | None) -> Any:
    kind = "fake" if shown.label else "real"
    what = f"{kind}, {shown.method}" if shown.label and shown.method else kind
    about = f"{shown.sample}: {what}, video {shown.video}, frame {shown.frame}"
    layers = [html.Img(src=at(f"/thumb/{shown.token}"), alt=about, className="thumb")]
    if shown.has_mask:
        layers.append(html.Img(src=at(f"/outline/{shown.token}"), alt="", className="outline"))
    caption = [html.Span(kind, className=f"label {kind}"), html.B(f"{shown.p_fake:.2f}")]
    return html.Figure(
        [
            dcc.Link(
                html.Div(layers, className="frame", title=about),
                href=sample_link(shown.token, chosen),
                className="frame-link",
            ),
            html.Figcaption(caption, className="caption-line small", title=f"P(fake) of a {what}"),
        ],
        className="picture",
    )


def _notes(view: TellingView, attrs: dict[Any, Any]) -> list[Any]:
    selected, rest = attrs["n_selected"], attrs["n_rest"]
    drawn = ", drawn at random" if view.drawn else ""
    people = f"{attrs['n_clusters']:,} people or videos"
    lines = [
        f"The strongest {view.table.sizes['unit']} of {view.n_units:,} units; {selected:,} "
        f"selected samples ({people}) against {rest:,} others{drawn}.",
        *_first_look(view),
        "The selection was made after looking at these activations, and the strongest of many "
        "units are listed, so no p-value would mean anything: read this as a description.",
    ]
    within = np.asarray(view.table["within"].values)
    if not np.isfinite(within).any():
        lines.append(
            "Every dataset and label is selected wholly or not at all, so nothing can be compared "
            "within them: what tells the selection may be what tells the datasets or labels."
        )
    elif attrs["n_within"] < selected:
        lines.append(
            f"Within the same dataset and label {attrs['n_within']:,} of the selected samples can "
            "be compared."
        )
    if not np.isfinite(view.table["low"].values).any():
        lines.append(
            "No interval: one takes five people or videos on each side, and a unit that does not "
            "separate completely."
        )
    return [html.Div(line) for line in lines]


def _first_look(view: TellingView) -> list[str]:
    """Say how units were chosen to be measured, where that was by fewer samples."""
    if not view.screened:
        return []
    return [
        f"All units were looked at with {view.screened:,} samples drawn at random, and only the "
        f"{min(CANDIDATES, view.n_units)} best of this first look were measured: a unit that it "
        "missed is not listed."
    ]


def _unit_button(number: int, chosen: bool) -> Any:
    named: dict[str, Any] = {
        "aria-label": f"Color the picture by unit {number}",
        "aria-pressed": "true" if chosen else "false",
    }
    return html.Button(
        str(number),
        id={"type": ids.TELLING_UNIT, "index": number},
        className="unit-button chosen" if chosen else "unit-button",
        title="Color the picture by this unit",
        **named,
    )


def _groups(groups: Sequence[Group]) -> list[Any]:
    parts: list[Any] = []
    for group in groups[:NAMED]:
        parts += [
            ", " if parts else "",
            f"{group.name} ",
            html.B(f"{group.selected:,}"),
            html.Span(f" of {group.total:,}", className="muted"),
        ]
    if len(groups) > NAMED:
        rest = sum(group.selected for group in groups[NAMED:])
        parts.append(html.Span(f", {len(groups) - NAMED} more with {rest:,}", className="muted"))
    return parts
