"""A layer's samples in two dimensions, one by one or as density."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.figures.density import density_trace
from app.queries.density import density_of
from app.queries.lasso import Lasso, outline_of
from app.queries.pictures import KINDS, Coloring, PictureView, Window, is_dense
from probe.plots.theme import SYMBOLS, Theme, clean, theme_of

__all__ = ["RING", "outlines", "picture_figure"]

#: Place of the trace that rings the picked point, below all points, and of the one that keeps the
#: corners of the picture.
RING, CORNERS = 0, 1

#: What sample tables call the method of real images, which is none.
REAL = "real"


def picture_figure(
    view: PictureView,
    color: Coloring,
    at: tuple[float, float] | None = None,
    scheme: str | None = None,
    *,
    window: Window | None = None,
    lasso: Lasso | None = None,
    revision: str = "",
    drag: str = "zoom",
) -> plot.Figure:
    """Draw the samples of a picture: points, or their density where there are too many.

    Parameters
    ----------
    view : PictureView
        What to draw.
    color : Coloring
        What points are colored by.
    at : tuple of float, optional
        Where the point lies that is picked.
    scheme : str, optional
        "light" or "dark".
    window : tuple of float, optional
        Part of the picture that is in view; all of it if not given.
    lasso : Lasso, optional
        What is selected, to be outlined.
    revision : str, optional
        Changes where the outline that a visitor drew is to be replaced.
    drag : str, default "zoom"
        What dragging does: "zoom", "select" (a box) or "lasso".
    """
    theme, rows = theme_of(scheme), view.seen(window)
    figure = plot.Figure([_ring(theme, at), _corners(view)])
    if not is_dense(len(rows)):
        size = 8 if len(rows) <= 800 else 6 if len(rows) <= 3000 else 4
        figure.add_traces(_marks(view, theme, color, rows, size))
    else:
        density = density_of(view, color, rows, window)
        hues = [_style(theme, color, i)[0] for i in range(len(color.names))] or list(
            _scale(theme, color)
        )
        figure.add_trace(density_trace(density, color, theme, hues, _span(color)))
        # A rim of ground color lets the symbols stand out from the cells.
        rim = {"width": 0.7, "color": theme.ground}
        figure.add_traces(_marks(view, theme, color, density.lone, 5, rim))
    name = KINDS.get(view.kind, clean(view.kind))
    hidden: dict[str, Any] = {"showticklabels": False, "showgrid": False, "fixedrange": False}
    # Without a range an axis shows all that its traces hold: the corners, whatever is drawn.
    ranges: list[dict[str, Any]] = (
        [{"range": pair} for pair in (window[:2], window[2:])] if window else [{}, {}]
    )
    figure.update_layout(
        **theme.layout(
            showlegend=bool(color.names),
            legend=theme.top_legend(itemsizing="constant"),
            margin={"l": 26, "r": 8, "t": 62, "b": 26},
            dragmode=drag,
            # Another coloring keeps what was zoomed to; another picture does not.
            uirevision=f"{view.layer} {view.kind}",
            xaxis=theme.axis(**hidden, **ranges[0]) | {"title": _title(f"{name} 1", theme)},
            yaxis=theme.axis(**hidden, **ranges[1]) | {"title": _title(f"{name} 2", theme)},
            selections=outlines(lasso, scheme),
            selectionrevision=revision,
            newselection={"line": _line(theme)},
            activeselection={"fillcolor": "rgba(0,0,0,0)", "opacity": 1},
        )
    )
    return figure


def outlines(lasso: Lasso | None, scheme: str | None = None) -> list[dict[str, Any]]:
    """Outline a selection, as plotly's selections; nothing for a rule."""
    line = _line(theme_of(scheme))
    return [{**one, "line": line, "opacity": 1} for one in outline_of(lasso)]


def _line(theme: Theme) -> dict[str, Any]:
    return {"color": theme.ink, "width": 1.5, "dash": "dot"}


def _title(text: str, theme: Theme) -> dict[str, Any]:
    return {"text": text, "standoff": 4, "font": {"size": 11, "color": theme.muted}}


def _style(theme: Theme, color: Coloring, i: int) -> tuple[str, str]:
    """Return color and symbol of a group."""
    if color.by == "label":
        return (theme.accent, "circle") if i == 0 else (theme.warm, "square")
    if color.by == "method" and color.names[i] == REAL:
        return theme.muted, "circle-open"
    return theme.series[i % len(theme.series)], SYMBOLS[i % len(SYMBOLS)]


def _scale(theme: Theme, color: Coloring) -> tuple[str, ...]:
    return theme.points if color.by == "score" else theme.ramp


def _span(color: Coloring) -> tuple[float, float]:
    """Return the numbers at the ends of the scale; of all samples, so that zooming keeps it."""
    if color.by == "score" or not len(color.value):
        return 0.0, 1.0
    return float(np.nanmin(color.value)), float(np.nanmax(color.value))


def _marks(
    view: PictureView,
    theme: Theme,
    color: Coloring,
    rows: NDArray[np.int64],
    size: int,
    rim: dict[str, Any] | None = None,
) -> list[plot.Trace]:
    """Draw samples by symbols of their groups, or colored by their numbers."""
    if not color.names:
        return [_numbers(view, theme, color, rows, size, rim)]
    out = []
    for i, name in enumerate(color.names):
        shade, symbol = _style(theme, color, i)
        mark = {"size": size, "color": shade, "symbol": symbol, "opacity": 0.75}
        out.append(_points(view, rows[color.code[rows] == i], mark, clean(name), rim))
    return out


def _numbers(
    view: PictureView,
    theme: Theme,
    color: Coloring,
    rows: NDArray[np.int64],
    size: int,
    rim: dict[str, Any] | None,
) -> plot.Trace:
    shades, (low, high) = _scale(theme, color), _span(color)
    bar = {
        "title": {
            "text": clean(color.title),
            "side": "right",
            "font": {"size": 12, "color": theme.muted},
        },
        "orientation": "h",
        "thickness": 8,
        "len": 0.36,
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "outlinewidth": 0,
        "nticks": 4,
        "tickfont": {"size": 11, "color": theme.muted},
    }
    if color.by == "score":
        bar |= {"tickvals": [0, 0.5, 1]}
    mark: dict[str, Any] = {
        "size": size,
        "color": color.value[rows],
        "opacity": 0.85,
        "symbol": "circle",
        "colorscale": [[i / (len(shades) - 1), shade] for i, shade in enumerate(shades)],
        "colorbar": bar,
        "cmin": low,
        "cmax": high,
        "showscale": True,
    }
    return _points(view, rows, mark, clean(color.title), rim)


def _points(
    view: PictureView,
    rows: NDArray[np.int64],
    mark: dict[str, Any],
    name: str,
    rim: dict[str, Any] | None = None,
) -> plot.Trace:
    """Draw points as SVG: WebGL's library compiles code, which the server's policy forbids."""
    part = view.samples.iloc[rows]
    kinds = np.where(part["label"] == 1, "fake", "real")
    about = np.stack([rows, kinds, part["dataset"].map(clean), part["method"].map(clean)], axis=1)
    line = {"width": 1.3} if "open" in mark["symbol"] else rim or {"width": 0}
    # A group without points keeps its place in the legend by a point that lies nowhere.
    there = bool(len(rows))
    return plot.scatter(
        x=view.position[rows, 0] if there else [None],
        y=view.position[rows, 1] if there else [None],
        mode="markers",
        name=name,
        marker={**mark, "line": line},
        customdata=about,
        hovertemplate="%{customdata[1]}, %{customdata[2]}, %{customdata[3]}"
        "<br>click to see the image<extra></extra>",
    )


def _ring(theme: Theme, at: tuple[float, float] | None) -> plot.Trace:
    return plot.scatter(
        x=[at[0]] if at else [],
        y=[at[1]] if at else [],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 20, "color": theme.ink, "line": {"width": 2.5}},
        unselected={"marker": {"opacity": 1}},
    )


def _corners(view: PictureView) -> plot.Trace:
    """Keep the axes' range to all samples, whatever is drawn of them, and be there to select."""
    x0, x1, y0, y1 = view.extent
    return plot.scatter(
        x=[x0, x1],
        y=[y0, y1],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={"opacity": 0, "size": 8},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )
