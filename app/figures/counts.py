"""How many units are in how many lists, always beside both nulls."""

from __future__ import annotations

import numpy as np

from app.figures import plot
from app.figures.theme import Theme, theme_of
from app.queries.neurons import CountsView

__all__ = ["counts_figure"]


def counts_figure(view: CountsView, scheme: str | None = None) -> plot.Figure:
    """Draw observed counts as bars, the independence null with its range, untrained draws."""
    theme = theme_of(scheme)
    figure = plot.Figure([_observed(view, theme), _independent(view, theme)])
    figure.add_traces([_untrained(view, theme, draw) for draw in range(len(view.untrained))])
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend={
                "orientation": "h",
                "x": -0.14,
                "xanchor": "left",
                "y": 1.18,
                "yanchor": "top",
                "font": {"size": 12, "color": theme.muted},
                "bgcolor": "rgba(0,0,0,0)",
            },
            margin={"l": 52, "r": 8, "t": 44, "b": 46},
            xaxis=theme.axis(
                "number of datasets in whose list a unit stands",
                tickvals=view.count,
                showgrid=False,
            ),
            yaxis=theme.axis("units", range=[0, 1.08 * _highest(view)]),
        )
    )
    return figure


def _observed(view: CountsView, theme: Theme) -> plot.Trace:
    return plot.bar(
        x=view.count - 0.2,
        y=view.observed,
        width=0.36,
        name="observed",
        marker={"color": theme.accent, "line": {"width": 0}},
        text=[str(n) for n in view.observed],
        textposition="outside",
        textfont={"color": theme.ink, "size": 12},
        customdata=view.count,
        hovertemplate="%{y} units are in %{customdata} lists<extra>observed</extra>",
    )


def _independent(view: CountsView, theme: Theme) -> plot.Trace:
    bars = {
        "type": "data",
        "symmetric": False,
        "array": np.maximum(view.high - view.expected, 0),
        "arrayminus": np.maximum(view.expected - view.low, 0),
        "color": theme.ink,
        "thickness": 1.4,
        "width": 4,
    }
    return plot.scatter(
        x=view.count + 0.12,
        y=view.expected,
        mode="markers",
        cliponaxis=False,
        name="independent (95 %)",
        marker={"symbol": "circle", "size": 8, "color": theme.ink},
        error_y=bars,
        customdata=np.stack([view.low, view.high], axis=-1),
        hovertemplate="%{y:.1f} expected, %{customdata[0]:.0f} to %{customdata[1]:.0f} in 95 % of "
        "draws<extra>independent lists</extra>",
    )


def _untrained(view: CountsView, theme: Theme, draw: int) -> plot.Trace:
    return plot.scatter(
        x=view.count + 0.32,
        y=view.untrained[draw],
        mode="markers",
        cliponaxis=False,
        name="untrained",
        legendgroup="untrained",
        showlegend=draw == 0,
        marker={
            "symbol": "diamond-open",
            "size": 9,
            "color": theme.warm,
            "line": {"width": 1.8},
        },
        customdata=view.count,
        hovertemplate="%{y} units in %{customdata} lists"
        f"<extra>untrained network {draw + 1}</extra>",
    )


def _highest(view: CountsView) -> float:
    """Return the largest number that is drawn; at least one, so that the axis has a length."""
    return float(max(1, view.observed.max(), view.high.max(), view.untrained.max(initial=0)))
