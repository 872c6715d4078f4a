"""A layer's samples in two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.figures.theme import SYMBOLS, Theme, clean, theme_of
from app.queries.pictures import KINDS, Colouring, PictureView

__all__ = ["RING", "picture_figure"]

#: Place of the trace that rings the picked point, below all points.
RING = 0

#: What sample tables call the method of real images, which is none.
REAL = "real"


def picture_figure(
    view: PictureView,
    colour: Colouring,
    at: tuple[float, float] | None = None,
    scheme: str | None = None,
) -> go.Figure:
    """Draw the samples of a picture.

    Parameters
    ----------
    view : PictureView
        What to draw.
    colour : Colouring
        What points are coloured by.
    at : tuple of float, optional
        Where the point lies that is picked.
    scheme : str, optional
        "light" or "dark".
    """
    theme = theme_of(scheme)
    figure = go.Figure(_ring(theme, at))
    figure.add_traces(
        _groups(view, theme, colour) if colour.names else [_numbers(view, theme, colour)]
    )
    name = KINDS.get(view.kind, clean(view.kind))
    hidden = {"showticklabels": False, "showgrid": False, "fixedrange": False}
    figure.update_layout(
        **theme.layout(
            showlegend=bool(colour.names),
            legend=theme.top_legend(itemsizing="constant"),
            margin={"l": 26, "r": 8, "t": 62, "b": 26},
            dragmode="zoom",
            # Another colouring keeps what was zoomed to; another picture does not.
            uirevision=f"{view.layer} {view.kind}",
            xaxis=theme.axis(f"{name} 1", **hidden) | {"title": _title(f"{name} 1", theme)},
            yaxis=theme.axis(f"{name} 2", **hidden) | {"title": _title(f"{name} 2", theme)},
        )
    )  # fmt: skip
    return figure


def _title(text: str, theme: Theme) -> dict[str, Any]:
    return {"text": text, "standoff": 4, "font": {"size": 11, "color": theme.muted}}


def _groups(view: PictureView, theme: Theme, colour: Colouring) -> list[go.Scatter]:
    return [_group(view, theme, colour, i) for i in range(len(colour.names))]


def _group(view: PictureView, theme: Theme, colour: Colouring, i: int) -> go.Scatter:
    rows = np.flatnonzero(colour.code == i)
    shade, symbol = theme.series[i % len(theme.series)], SYMBOLS[i % len(SYMBOLS)]
    if colour.by == "label":
        shade, symbol = (theme.accent, "circle") if i == 0 else (theme.warm, "square")
    if colour.by == "method" and colour.names[i] == REAL:
        shade, symbol = theme.muted, "circle-open"
    mark = {"size": _size(view), "color": shade, "symbol": symbol, "opacity": 0.75}
    return _points(view, rows, mark, clean(colour.names[i]))


def _numbers(view: PictureView, theme: Theme, colour: Colouring) -> go.Scatter:
    score = colour.by == "score"
    shades = theme.points if score else theme.ramp
    bar = {
        "title": {"text": clean(colour.title), "side": "right",
                  "font": {"size": 12, "color": theme.muted}},
        "orientation": "h", "thickness": 8, "len": 0.36, "x": 0, "xanchor": "left", "y": 1.02,
        "yanchor": "bottom", "tickfont": {"size": 11, "color": theme.muted}, "outlinewidth": 0,
        "nticks": 4,
    }  # fmt: skip
    mark: dict[str, Any] = {
        "size": _size(view), "color": colour.value, "opacity": 0.85, "symbol": "circle",
        "colorscale": [[i / (len(shades) - 1), shade] for i, shade in enumerate(shades)],
        "colorbar": bar,
    }  # fmt: skip
    if score:
        mark |= {"cmin": 0, "cmax": 1}
        bar |= {"tickvals": [0, 0.5, 1]}
    return _points(view, np.arange(len(view.row)), mark, clean(colour.title))


def _points(
    view: PictureView, rows: NDArray[np.int64], mark: dict[str, Any], name: str
) -> go.Scatter:
    """Draw points as SVG: WebGL's library compiles code, which the server's policy forbids."""
    part = view.samples.iloc[rows]
    kinds = np.where(part["label"] == 1, "fake", "real")
    about = np.stack(
        [view.row[rows], kinds, part["dataset"].map(clean), part["method"].map(clean)], axis=1
    )
    return go.Scatter(
        x=view.position[rows, 0],
        y=view.position[rows, 1],
        mode="markers",
        name=name,
        marker={**mark, "line": {"width": 1.3 if "open" in mark["symbol"] else 0}},
        customdata=about,
        hovertemplate="%{customdata[1]}, %{customdata[2]}, %{customdata[3]}"
        "<br>click to see the image<extra></extra>",
    )


def _ring(theme: Theme, at: tuple[float, float] | None) -> go.Scatter:
    return go.Scatter(
        x=[at[0]] if at else [],
        y=[at[1]] if at else [],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 20, "color": theme.ink, "line": {"width": 2.5}},
    )


def _size(view: PictureView) -> int:
    return 8 if len(view.row) <= 800 else 6 if len(view.row) <= 3000 else 4
