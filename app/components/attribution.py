"""The list of images that maps were made of, as buttons."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import html

from app import ids
from app.prefix import at
from app.queries.attribution import FILTERS, Explained, ListView

__all__ = ["frame_of", "image_list", "list_text"]


def list_text(view: ListView, filter: str) -> str:
    """Say how many images are listed, of how many."""
    kind = "images" if filter == "all" else FILTERS.get(filter, filter).lower()
    part = f", part {view.page} of {view.pages}" if view.pages > 1 else ""
    return (
        f"{view.found} {kind} of {view.total} images with maps, worst errors first{part}. ✗: wrong."
    )


def image_list(view: ListView, token: str) -> Any:
    """Show a part of the list; the image that is looked at is marked."""
    if not view.images:
        return html.Div("No image is left by this choice.", className="explained-none muted")
    return html.Div(
        [_button(one, one.token == token) for one in view.images], className="explained"
    )


def _button(one: Explained, chosen: bool) -> Any:
    kind = "fake" if one.label else "real"
    score = f"{one.p_fake:.2f}" if np.isfinite(one.logit) else "—"
    what = f"{kind}, {one.forgery}" if one.forgery else kind
    verdict = "wrong" if one.wrong else "right"
    named: dict[str, Any] = {
        "aria-pressed": "true" if chosen else "false",
        "aria-label": f"{one.dataset}, {what}, P(fake) {score}, {verdict}: {one.sample}",
    }
    caption = [
        html.Span(
            [
                html.Span(kind, className=f"label {kind}"),
                html.Span(one.forgery or one.dataset, className="method small"),
            ],
            className="caption-line",
        ),
        html.Span(
            [
                html.Span(["P(fake) ", html.B(score)]),
                html.Span("✗", className="wrong", title="on the wrong side") if one.wrong else "",
            ],
            className="caption-line numbers small",
        ),
    ]
    return html.Button(
        [html.Span(frame_of(one, thumb=True), className="frame"), *caption],
        id={"type": ids.ATTRIBUTION_IMAGE, "token": one.token},
        className="explained-one chosen" if chosen else "explained-one",
        title=one.sample,
        type="button",
        **named,
    )


def frame_of(one: Explained, thumb: bool = False) -> list[Any]:
    """Show an image with the outline of its mask; as part of a button it needs no words."""
    about = "" if thumb else f"{one.sample}, the image itself"
    layers = [html.Img(src=at(f"/thumb/{one.token}"), alt=about, className="thumb")]
    if one.has_mask and not thumb:
        layers.append(html.Img(src=at(f"/outline/{one.token}"), alt="", className="outline"))
    return layers
