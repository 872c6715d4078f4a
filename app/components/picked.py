"""The image of a point that was clicked on."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import dcc, html

from app.components.sample import sample_link
from app.components.tables import number_text
from app.prefix import at
from app.queries.pictures import Picked
from app.selection import Selection

__all__ = ["nothing_picked", "picked_image"]


def nothing_picked() -> Any:
    """Keep the place of an image, and say how to get one."""
    return html.Div("Click on a point to see its image.", className="picked-empty")


def picked_image(found: Picked, chosen: Selection | None = None) -> Any:
    """Show an image with what is known of it; it leads to its page, with the selection kept."""
    shown = found.shown
    kind = "fake" if shown.label else "real"
    about = f"{shown.sample}: {kind}, video {shown.video}, frame {shown.frame}"
    layers = [html.Img(src=at(f"/thumb/{shown.token}"), alt=about, className="thumb")]
    if shown.has_mask:
        layers.append(html.Img(src=at(f"/outline/{shown.token}"), alt="", className="outline"))
    lines: list[tuple[str, Any]] = [
        ("Label", html.Span(kind, className=f"label {kind}")),
        ("Dataset", found.dataset),
        ("Method", shown.method if shown.label else "—"),
        ("Video", f"{shown.video}, frame {shown.frame}"),
        ("P(fake)", html.B(f"{shown.p_fake:.2f}")),
    ]
    if found.unit is not None and np.isfinite(shown.activation):
        lines.append((f"Unit {found.unit}", number_text(shown.activation)))
    pairs = [part for name, value in lines for part in (html.Dt(name), html.Dd(value))]
    return html.Div(
        [
            dcc.Link(
                html.Div(layers, className="frame", title=about),
                href=sample_link(shown.token, chosen),
                className="frame-link",
            ),
            html.Dl(pairs, className="facts tight"),
        ]
    )
