"""Rows of images at both ends of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from app.queries.images import Extremes, Shown

__all__ = ["gallery"]


def gallery(found: Sequence[Extremes]) -> Any:
    """Show a row for each dataset: lowest activations at the left, highest at the right."""
    each = max((len(one.most) for one in found), default=0)
    head = html.Div(
        [
            html.Div(),
            html.Div("drive it most", className="gallery-end"),
            html.Div("drive it least", className="gallery-end"),
        ],
        className="gallery-row gallery-head",
    )
    rows = [_row(one, each) for one in found]
    return html.Div([head, *rows], className="gallery", style={"--each": each})


def _row(one: Extremes, each: int) -> Any:
    name = html.Div(
        [
            html.Div(one.dataset, className="gallery-name"),
            html.Div(f"of {one.n_videos} videos", className="muted small"),
        ]
    )
    ends = [
        html.Div([_image(s) for s in side], className="strip") for side in (one.most, one.least)
    ]
    return html.Div([name, *ends], className="gallery-row", **{"data-dataset": one.dataset})


def _image(shown: Shown) -> Any:
    kind = "fake" if shown.label else "real"
    what = f"{kind}, {shown.method}" if shown.label and shown.method else kind
    about = f"{shown.sample}: {what}, video {shown.video}, frame {shown.frame}"
    layers = [html.Img(src=f"/thumb/{shown.token}", alt=about, className="thumb")]
    if shown.has_mask:
        layers.append(html.Img(src=f"/outline/{shown.token}", alt="", className="outline"))
    return html.Figure(
        [
            html.Div(layers, className="frame", title=about),
            html.Figcaption(
                [
                    html.Div(
                        [
                            html.Span(kind, className=f"label {kind}"),
                            html.Span(
                                shown.method if shown.label else "", className="method small"
                            ),
                        ],
                        className="caption-line",
                    ),
                    html.Div(
                        [
                            html.Span(["P(fake) ", html.B(f"{shown.p_fake:.2f}")]),
                            html.Span(f"{shown.activation:.3g}", title="activation of the unit"),
                        ],
                        className="caption-line numbers small",
                    ),
                ]
            ),
        ],
        className="picture",
    )
