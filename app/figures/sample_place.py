"""Where one image lies in the picture of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.queries.sample_place import PlaceView
from probe.plots.embedding import KINDS
from probe.plots.theme import Theme, theme_of

__all__ = ["place_figure"]


def place_figure(view: PlaceView, scheme: str | None = None) -> plot.Figure:
    """Draw the image's own point ringed, others of its dataset strong and the rest faint."""
    theme = theme_of(scheme)
    kind = KINDS.get(view.kind, view.kind)
    hidden: dict[str, Any] = {"showticklabels": False, "showgrid": False}
    figure = plot.Figure([_others(view, theme), *(_group(view, theme, i) for i in (0, 1))])
    figure.add_trace(_own(view, theme))
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.top_legend(itemsizing="constant"),
            margin={"l": 26, "r": 8, "t": 56, "b": 28},
            xaxis=theme.axis(f"{kind} 1", **hidden) | {"title": _title(f"{kind} 1", theme)},
            yaxis=theme.axis(f"{kind} 2", **hidden) | {"title": _title(f"{kind} 2", theme)},
        )
    )
    return figure


def _title(text: str, theme: Theme) -> dict[str, Any]:
    return {"text": text, "standoff": 4, "font": {"size": 11, "color": theme.muted}}


def _others(view: PlaceView, theme: Theme) -> plot.Trace:
    rows = np.flatnonzero(~view.inside)
    return _points(view, rows, "other datasets", theme.faded(theme.muted, 0.35), "circle", 4)


def _group(view: PlaceView, theme: Theme, label: int) -> plot.Trace:
    rows = np.flatnonzero(view.inside & (view.label == label))
    color, symbol = ((theme.accent, "circle"), (theme.warm, "square"))[label]
    name = f"{('real', 'fake')[label]}, same dataset"
    return _points(view, rows, name, theme.faded(color, 0.75), symbol, 6)


def _points(
    view: PlaceView, rows: np.ndarray[Any, Any], name: str, color: str, symbol: str, size: int
) -> plot.Trace:
    # Four digits place a point to a fraction of a pixel, and travel lighter.
    x, y = np.round(view.position[rows], 4).T
    return plot.scatter(
        x=x,
        y=y,
        mode="markers",
        name=name,
        hoverinfo="skip",
        marker={"size": size, "color": color, "symbol": symbol, "line": {"width": 0}},
    )


def _own(view: PlaceView, theme: Theme) -> plot.Trace:
    return plot.scatter(
        x=[view.x, view.x],
        y=[view.y, view.y],
        mode="markers",
        name="this image",
        hoverinfo="skip",
        marker={
            "symbol": ["diamond", "circle-open"],
            "size": [9, 22],
            "color": theme.ink,
            "line": {"width": [1, 2.5], "color": [theme.ground, theme.ink]},
        },
    )
