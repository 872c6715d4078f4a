"""How many units are in how many lists, always beside both nulls."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.figures.theme import theme_of
from app.queries.neurons import CountsView

__all__ = ["counts_figure"]


def counts_figure(view: CountsView, scheme: str | None = None) -> go.Figure:
    """Draw observed counts as bars, the independence null with its range, untrained draws."""
    theme = theme_of(scheme)
    count = view.count
    figure = go.Figure()
    figure.add_bar(
        x=count - 0.2,
        y=view.observed,
        width=0.36,
        name="observed",
        marker={"color": theme.accent, "line": {"width": 0}},
        text=[str(n) for n in view.observed],
        textposition="outside",
        textfont={"color": theme.ink, "size": 12},
        customdata=count,
        hovertemplate="%{y} units are in %{customdata} lists<extra>observed</extra>",
    )
    figure.add_scatter(
        x=count + 0.12,
        y=view.expected,
        mode="markers",
        name="independent (95 %)",
        marker={"symbol": "circle", "size": 8, "color": theme.ink},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": np.maximum(view.high - view.expected, 0),
            "arrayminus": np.maximum(view.expected - view.low, 0),
            "color": theme.ink,
            "thickness": 1.4,
            "width": 4,
        },
        customdata=np.stack([view.low, view.high], axis=-1),
        hovertemplate="%{y:.1f} expected, %{customdata[0]:.0f} to %{customdata[1]:.0f} in 95 % of "
        "draws<extra>independent lists</extra>",
    )
    for draw, row in enumerate(view.untrained):
        figure.add_scatter(
            x=count + 0.32,
            y=row,
            mode="markers",
            name="untrained",
            legendgroup="untrained",
            showlegend=draw == 0,
            marker={
                "symbol": "diamond-open", "size": 9, "color": theme.warm, "line": {"width": 1.8},
            },
            customdata=count,
            hovertemplate="%{y} units in %{customdata} lists"
            f"<extra>untrained network {draw + 1}</extra>",
        )  # fmt: skip
    figure.update_layout(
        **theme.layout(
            barmode="overlay",
            showlegend=True,
            legend={
                "orientation": "h", "x": 0, "xref": "container", "xanchor": "left",
                "y": 1.02, "yanchor": "bottom",
                "font": {"size": 12, "color": theme.muted}, "bgcolor": "rgba(0,0,0,0)",
            },
            margin={"l": 52, "r": 8, "t": 36, "b": 46},
            xaxis=theme.axis(
                "number of datasets in whose list a unit stands", tickvals=count, showgrid=False
            ),
            yaxis=theme.axis("units", rangemode="tozero"),
        )
    )  # fmt: skip
    return figure
