"""One unit: its effect in each dataset, and how the score answers to its value."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures.theme import SYMBOLS, clean, theme_of
from app.queries.neurons import UnitView

__all__ = ["doses_figure", "effects_figure"]


def effects_figure(view: UnitView, scheme: str | None = None) -> go.Figure:
    """Draw the unit's effect in each dataset beside what it takes to be in the list."""
    theme = theme_of(scheme)
    rows = np.arange(len(view.datasets))
    figure = go.Figure()
    for row, largest in zip(rows, view.largest, strict=True):
        figure.add_shape(
            type="line", x0=0, x1=float(largest), y0=row, y1=row, layer="below",
            line={"color": theme.line, "width": 6},
        )  # fmt: skip
    figure.add_scatter(
        x=view.threshold,
        y=rows,
        mode="markers",
        name="needed for the list",
        marker={"symbol": "line-ns-open", "size": 16, "color": theme.muted, "line": {"width": 2}},
        hovertemplate="%{x:.3g} is the smallest effect in the list<extra></extra>",
    )
    for raises, name, symbol in (
        (True, "raises", "triangle-right"),
        (False, "lowers", "triangle-left"),
    ):
        chosen = (view.slope >= 0) == raises
        figure.add_scatter(
            x=view.effect[chosen],
            y=rows[chosen],
            mode="markers",
            name=f"{name} the {view.output}",
            marker={
                "symbol": symbol, "size": 15,
                "color": theme.warm if raises else theme.accent,
                "line": {"width": 1, "color": theme.ground},
            },
            customdata=np.stack([view.rank[chosen], view.selected[chosen]], axis=-1),
            hovertemplate=f"effect %{{x:.3g}}, rank %{{customdata[0]}} of {view.n_units}"
            "<extra></extra>",
        )  # fmt: skip
    texts = [
        f"{name}  <span style='color:{theme.muted};font-size:11px'>{rank}/{view.n_units}</span>  "
        for name, rank in zip(map(clean, view.datasets), view.rank, strict=True)
    ]
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=_legend(theme.muted),
            margin={"l": 8, "r": 16, "t": 36, "b": 46},
            xaxis=theme.axis(
                f"effect: change of the mean {view.output} over doses", rangemode="tozero"
            ),
            yaxis=theme.axis(
                tickvals=rows, ticktext=texts, range=[len(rows) - 0.5, -0.5], automargin=True,
                showgrid=False, tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )  # fmt: skip
    return figure


def doses_figure(view: UnitView, scheme: str | None = None, marked: str = "") -> go.Figure:
    """Draw mean score against the value that the unit is set to, a line a dataset.

    Parameters
    ----------
    view : UnitView
        What to draw.
    scheme : str, optional
        "light" or "dark".
    marked : str, optional
        Dataset whose line stands out; the others fade.
    """
    theme = theme_of(scheme)
    figure = go.Figure()
    for i, name in enumerate(view.datasets):
        faded = bool(marked) and name != marked
        colour = theme.series[i % len(theme.series)]
        figure.add_scatter(
            x=view.value[i],
            y=view.response[i],
            mode="lines+markers",
            name=clean(name),
            opacity=0.25 if faded else 1.0,
            line={"color": colour, "width": 2},
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": colour},
            hovertemplate=f"set to %{{x:.3g}}: mean {view.output} %{{y:.3g}}"
            f"<extra>{clean(name)}</extra>",
        )
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=_legend(theme.muted),
            margin={"l": 60, "r": 16, "t": 36, "b": 46},
            xaxis=theme.axis(f"unit {view.unit} set to"),
            yaxis=theme.axis(f"mean {view.output}"),
        )
    )
    return figure


def _legend(colour: str) -> dict[str, object]:
    return {
        "orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom",
        "font": {"size": 12, "color": colour}, "bgcolor": "rgba(0,0,0,0)",
    }  # fmt: skip
