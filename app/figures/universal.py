"""Effects of the list's first units in every dataset, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.figures.heat import colorbar, heatmap, short, text_at
from app.figures.theme import Theme, clean, theme_of
from app.queries.units import ShareView

__all__ = ["shares_figure", "shares_height"]

_ROW, _HEAD, _FOOT = 30, 52, 40


def shares_height(n_datasets: int) -> int:
    """Height in pixels that gives every dataset the same room."""
    return _ROW * n_datasets + _HEAD + _FOOT


def shares_figure(
    view: ShareView, unit: int | None = None, scheme: str | None = None
) -> plot.Figure:
    """Draw effects as shares of each dataset's largest: datasets in rows, units in columns.

    Parameters
    ----------
    view : ShareView
        What to draw.
    unit : int, optional
        Unit whose column is framed.
    scheme : str, optional
        "light" or "dark".
    """
    theme = theme_of(scheme)
    # Names, and no numbers: columns stand in the list's order.
    columns = [str(one) for one in view.unit]
    rows = list(range(len(view.datasets)))
    hovers = [[_hover(view, r, c) for c in range(len(columns))] for r in rows]
    bar = colorbar(theme, ["−1", "0", "1"], len=0.24, ypad=8)
    cells = heatmap(theme, view.share, hovers, x=columns, y=rows, xgap=2, ygap=2, colorbar=bar)
    figure = plot.Figure([plot.heatmap(**cells), _marks(view, theme, columns)])
    long = len(columns) > 20 and max(map(len, columns)) > 3
    figure.update_layout(
        **theme.layout(
            height=shares_height(len(rows)),
            margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
            shapes=_frame(view, theme, unit),
            xaxis=theme.axis(
                type="category",
                side="top",
                showgrid=False,
                automargin=False,
                ticks="",
                range=[-0.5, max(len(columns), 1) - 0.5],
                tickangle=-60 if long else 0,
                tickfont={"size": 11, "color": theme.ink},
            ),
            yaxis=theme.axis(
                showgrid=False,
                tickvals=rows,
                automargin=True,
                ticktext=[f"{clean(name)}  " for name in view.datasets],
                range=[len(rows) - 0.5, -0.5],
                tickfont={"size": 12, "color": theme.ink},
            ),
        )
    )
    return figure


def _marks(view: ShareView, theme: Theme, columns: list[str]) -> plot.Trace:
    """Put a dot on cells whose unit is in the dataset's list."""
    places = np.argwhere(view.selected)
    colors = [text_at(theme, float(view.share[r, c])) for r, c in places]
    return plot.scatter(
        x=[columns[c] for _, c in places],
        y=[int(r) for r, _ in places],
        mode="markers",
        marker={"size": 6, "color": colors},
        hoverinfo="skip",
    )


def _frame(view: ShareView, theme: Theme, unit: int | None) -> list[dict[str, Any]]:
    return [
        {
            "type": "rect",
            "x0": int(c) - 0.5,
            "x1": int(c) + 0.5,
            "y0": -0.5,
            "y1": len(view.datasets) - 0.5,
            "line": {"width": 2, "color": theme.ink},
            "fillcolor": "rgba(0,0,0,0)",
        }
        for c in np.flatnonzero(view.unit == unit)
    ]


def _hover(view: ShareView, r: int, c: int) -> str:
    way = "raises" if view.share[r, c] >= 0 else "lowers"
    inside = "in its list" if view.selected[r, c] else "not in its list"
    return (
        f"<b>unit {int(view.unit[c])}</b> in {clean(view.datasets[r])}: {inside}<br>"
        f"effect {view.effect[r, c]:.3g}, {short(abs(float(view.share[r, c])))} of the largest<br>"
        f"{way} the {clean(view.output)}"
    )
