"""One unit: its effect in each dataset, and how the score answers to its value."""

from __future__ import annotations

import numpy as np

from app.figures import plot
from app.figures.theme import SYMBOLS, Theme, clean, theme_of
from app.queries.neurons import UnitView

__all__ = ["doses_figure", "effects_figure"]


def effects_figure(view: UnitView, scheme: str | None = None) -> plot.Figure:
    """Draw the unit's effect in each dataset beside what it takes to be in the list."""
    theme = theme_of(scheme)
    rows = np.arange(len(view.datasets))
    figure = plot.Figure(_thresholds(view, theme))
    figure.add_traces([_effects(view, theme, raises) for raises in (True, False)])
    for row, largest in zip(rows, view.largest, strict=True):
        figure.add_shape(
            type="line",
            x0=0,
            x1=float(largest),
            y0=row,
            y1=row,
            layer="below",
            line={"color": theme.line, "width": 6},
        )
    ranks = [f"{rank}/{view.n_units}" for rank in view.rank]
    texts = [
        f"{clean(name)}  <span style='color:{theme.muted};font-size:11px'>{rank}</span>  "
        for name, rank in zip(view.datasets, ranks, strict=True)
    ]
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.legend(),
            margin={"l": 8, "r": 16, "t": 36, "b": 46},
            xaxis=theme.axis(
                f"effect: change of the mean {view.output} over doses", rangemode="tozero"
            ),
            yaxis=theme.axis(
                tickvals=rows,
                ticktext=texts,
                range=[len(rows) - 0.5, -0.5],
                automargin=True,
                showgrid=False,
                tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )
    return figure


def _thresholds(view: UnitView, theme: Theme) -> plot.Trace:
    return plot.scatter(
        x=view.threshold,
        y=np.arange(len(view.datasets)),
        mode="markers",
        name="needed for the list",
        marker={"symbol": "line-ns-open", "size": 16, "color": theme.muted, "line": {"width": 2}},
        hovertemplate="%{x:.3g} is the smallest effect in the list<extra></extra>",
    )


def _effects(view: UnitView, theme: Theme, raises: bool) -> plot.Trace:
    """Draw the datasets where the unit raises the score, or those where it lowers it."""
    chosen = (view.slope >= 0) == raises
    return plot.scatter(
        x=view.effect[chosen],
        y=np.flatnonzero(chosen),
        mode="markers",
        name=f"{'raises' if raises else 'lowers'} the {view.output}",
        showlegend=bool(chosen.any()),
        marker={
            "symbol": "triangle-right" if raises else "triangle-left",
            "size": 15,
            "color": theme.warm if raises else theme.accent,
            "line": {"width": 1, "color": theme.ground},
        },
        customdata=view.rank[chosen],
        hovertemplate=f"effect %{{x:.3g}}, rank %{{customdata}} of {view.n_units}<extra></extra>",
    )


def doses_figure(view: UnitView, scheme: str | None = None, marked: str = "") -> plot.Figure:
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
    figure = plot.Figure()
    for i, name in enumerate(view.datasets):
        faded = bool(marked) and name != marked
        color = theme.series[i % len(theme.series)]
        figure.add_scatter(
            x=view.value[i],
            y=view.response[i],
            mode="lines+markers",
            name=clean(name),
            opacity=0.25 if faded else 1.0,
            line={"color": color, "width": 2},
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": color},
            hovertemplate=f"set to %{{x:.3g}}: mean {view.output} %{{y:.3g}}"
            f"<extra>{clean(name)}</extra>",
        )
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.legend(),
            margin={"l": 60, "r": 16, "t": 36, "b": 46},
            xaxis=theme.axis(f"unit {view.unit} set to"),
            yaxis=theme.axis(f"mean {view.output}"),
        )
    )
    return figure
