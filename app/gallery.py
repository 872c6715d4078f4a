"""Rows of images at both ends of a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from app.card import jump
from app.images import Extremes, Shown
from app.prefix import at
from app.selection import Selection

__all__ = ["gallery", "sample_jump", "sample_link"]


def sample_jump(children: Any, token: str, chosen: Selection | None = None) -> Any:
    """Link an image to its page, where what is selected stays so.

    Parameters
    ----------
    children : component
        The image.
    token : str
        Its token.
    chosen : Selection, optional
        What is selected; its layer, and the unit of it, are shown there too.
    """
    own = chosen or Selection()
    kept = {"layer": own.layer, "unit": own.unit} if own.layer else {}
    kept = {name: value for name, value in kept.items() if value}
    return jump(children, "/sample", className="frame-link", **kept, sample=token, dropped="")


def sample_link(token: str, chosen: Selection | None = None) -> str:
    """Return the address of an image's page, with what is selected kept; see `sample_jump`."""
    return at(f"/sample{(chosen or Selection()).but(sample=token, dropped='').search}")


def gallery(found: Sequence[Extremes], unit: int, chosen: Selection | None = None) -> Any:
    """Show a row for each dataset: highest activations at the left, lowest at the right.

    Each image leads to its page, where what is selected stays so.
    """
    return html.Div([_row(one, unit, chosen) for one in found], className="gallery")


def _row(one: Extremes, unit: int, chosen: Selection | None) -> Any:
    strips = [
        html.Div(
            [
                html.Div(f"{which} activation of unit {unit}", className="strip-head"),
                html.Div([_image(shown, chosen) for shown in side], className="strip"),
            ]
        )
        for which, side in (("Highest", one.most), ("Lowest", one.least))
    ]
    name = [html.Span(one.dataset, className="gallery-name")]
    note = html.Span(f"of {one.n_videos} videos, one frame each", className="muted small")
    marked: dict[str, Any] = {"data-dataset": one.dataset}
    return html.Div(
        [html.Div([*name, note], className="gallery-title"), html.Div(strips, className="ends")],
        className="gallery-row",
        **marked,
    )


def _image(shown: Shown, chosen: Selection | None) -> Any:
    kind = "fake" if shown.label else "real"
    what = f"{kind}, {shown.method}" if shown.label and shown.method else kind
    about = f"{shown.sample}: {what}, video {shown.video}, frame {shown.frame}"
    layers = [html.Img(src=at(f"/thumb/{shown.token}"), alt=about, className="thumb")]
    if shown.has_mask:
        layers.append(html.Img(src=at(f"/outline/{shown.token}"), alt="", className="outline"))
    return html.Figure(
        [
            sample_jump(html.Div(layers, className="frame", title=about), shown.token, chosen),
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
                            html.Span(_signed(shown.activation), title="activation of the unit"),
                        ],
                        className="caption-line numbers small",
                    ),
                ]
            ),
        ],
        className="picture",
    )


def _signed(value: float) -> str:
    """Write a number short enough for a caption, with a true minus sign."""
    text = f"{value:.2f}" if 0.01 <= abs(value) < 1000 or value == 0 else f"{value:.1e}"
    return text.replace("-", "\N{MINUS SIGN}", 1)
