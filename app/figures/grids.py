"""Measurements by methods, and measurements by units."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.figures.effects import about_lines
from app.queries.artifacts import TellsView
from app.queries.responses import ResponsesView
from probe.plots.theme import Theme, cell, clean, colorbar, heatmap, level, short, theme_of

__all__ = ["grid_height", "responses_figure", "tells_figure"]

_ROW, _HEAD, _FOOT = 28, 74, 48

#: Columns up to which a cell has room for its number.
ROOM = 10


def grid_height(n_rows: int) -> int:
    """Height in pixels that gives every measurement the same room."""
    return _ROW * n_rows + _HEAD + _FOOT


def tells_figure(view: TellsView, scheme: str | None = None) -> plot.Figure:
    """Draw how well each measurement (row) tells each method (column) from the others.

    Neutral is 0.5; bold where the interval leaves 0.5 out.
    """
    theme = theme_of(scheme)
    rows, columns = len(view.measurements), len(view.methods)
    hovers = [[_tells_hover(view, r, c) for c in range(columns)] for r in range(rows)]
    figure = _grid(
        theme,
        2 * view.value - 1,
        hovers,
        [clean(name) for name in view.methods],
        [clean(one.name) for one in view.measurements],
        ["0", "0.5", "1"],
    )
    texts = [
        cell(theme, c, r, float(2 * view.value[r, c] - 1), _tells_text(view, r, c), 12)
        for r in range(rows)
        for c in range(columns)
        if columns <= ROOM
    ]
    figure.update_layout(annotations=texts, xaxis={"tickangle": -30})
    return figure


def responses_figure(
    view: ResponsesView, unit: int | None = None, scheme: str | None = None
) -> plot.Figure:
    """Draw partial rank correlations of measurements (rows) and units (columns); dots: q small."""
    theme = theme_of(scheme)
    rows, columns = len(view.measurements), len(view.unit)
    hovers = [[_response_hover(view, r, c) for c in range(columns)] for r in range(rows)]
    names = [
        f"<b>{n}</b>" if universal else str(n)
        for n, universal in zip(view.unit, view.universal, strict=True)
    ]
    figure = _grid(
        theme, view.rho, hovers, names, list(map(clean, view.measurements)), ["−1", "0", "1"]
    )
    marks = [
        cell(theme, int(c), int(r), float(view.rho[r, c]), "●", 7)
        for r, c in np.argwhere(np.nan_to_num(view.q, nan=1.0) <= view.alpha)
    ]
    figure.update_layout(
        annotations=marks,
        shapes=_chosen(view, theme, unit),
        xaxis={"tickfont": {"size": 11}, "tickangle": 0},
    )
    return figure


def _grid(
    theme: Theme,
    z: Any,
    hovers: list[list[str]],
    columns: list[str],
    rows: list[str],
    ends: list[str],
) -> plot.Figure:
    x, y = list(range(len(columns))), list(range(len(rows)))
    gap = 2 if len(columns) > ROOM else 3
    bar = colorbar(theme, ends)
    figure = plot.Figure(
        plot.heatmap(**heatmap(theme, z, hovers, x=x, y=y, xgap=gap, ygap=gap, colorbar=bar))
    )
    ink = {"size": 12, "color": theme.ink}
    figure.update_layout(
        **theme.layout(
            height=grid_height(len(rows)),
            margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis(
                side="top",
                showgrid=False,
                automargin=False,
                tickvals=x,
                ticktext=columns,
                tickfont=ink,
                range=[-0.5, len(columns) - 0.5],
            ),
            yaxis=theme.axis(
                showgrid=False,
                tickvals=y,
                ticktext=[f"{name}  " for name in rows],
                range=[len(rows) - 0.5, -0.5],
                automargin=True,
                tickfont=ink,
            ),
        )
    )
    return figure


def _tells_text(view: TellsView, r: int, c: int) -> str:
    low, high = view.low[r, c], view.high[r, c]
    beyond = np.isfinite(low) and (low > 0.5 or high < 0.5)
    text = short(float(view.value[r, c]))
    return f"<b>{text}</b>" if beyond else text


def _tells_hover(view: TellsView, r: int, c: int) -> str:
    low, high = view.low[r, c], view.high[r, c]
    bounds = (
        f"{view.coverage:.0%} interval {low:.3f} to {high:.3f}"
        if np.isfinite(low)
        else "no interval"
    )
    head = f"tells <b>{clean(view.methods[c])}</b>: AUROC {view.value[r, c]:.3f}, {bounds}"
    return "<br>".join([head, *about_lines(view.measurements[r])])


def _response_hover(view: ResponsesView, r: int, c: int) -> str:
    head = f"<b>unit {view.unit[c]}</b> and <b>{clean(view.measurements[r])}</b>"
    if not np.isfinite(view.rho[r, c]):
        return f"{head}<br>not defined"
    known = "<br>universal" if view.universal[c] else ""
    numbers = f"partial rank correlation {view.rho[r, c]:+.3f}, q {level(view.q[r, c])}"
    return f"{head}<br>{numbers}{known}"


def _chosen(view: ResponsesView, theme: Theme, unit: int | None) -> list[dict[str, Any]]:
    """Frame the column of the chosen unit."""
    return [
        {
            "type": "rect",
            "x0": c - 0.5,
            "x1": c + 0.5,
            "y0": -0.5,
            "y1": len(view.measurements) - 0.5,
            "fillcolor": "rgba(0,0,0,0)",
            "line": {"color": theme.ink, "width": 2},
        }
        for c in np.flatnonzero(view.unit == (-1 if unit is None else unit))
    ]
