"""How the logit, or a unit, answers to the dose of an artifact."""

from __future__ import annotations

import numpy as np

from app.figures import plot
from app.queries.responses import DosesView
from probe.plots.theme import SYMBOLS, Theme, clean, theme_of

__all__ = ["dose_figure"]


def dose_figure(view: DosesView, scheme: str | None = None) -> plot.Figure:
    """Draw the mean change from dose 0, a line a dataset, with intervals."""
    theme = theme_of(scheme)
    figure = plot.Figure([_line(view, theme, i) for i in range(len(view.datasets))])
    figure.add_hline(y=0, line={"color": theme.muted, "width": 1})
    unit_of = f" ({view.unit_of})" if view.unit_of else ""
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 60, "r": 16, "t": 62, "b": 46},
            xaxis=theme.axis(f"dose of {clean(view.artifact)}", range=[-0.04, 1.04]),
            yaxis=theme.axis(f"change of {view.output}{unit_of}"),
        )
    )
    return figure


def _line(view: DosesView, theme: Theme, i: int) -> plot.Trace:
    place = view.place[i]
    color = theme.series[place % len(theme.series)]
    value, low, high = view.value[i], view.low[i], view.high[i]
    # Side by side, so that intervals of datasets do not hide each other.
    shift = 0.008 * (i - (len(view.datasets) - 1) / 2)
    spans = [
        f"{a:+.3g} to {b:+.3g}" if np.isfinite(a) else "no interval"
        for a, b in zip(low, high, strict=True)
    ]
    return plot.scatter(
        x=view.dose + shift,
        y=value,
        mode="lines+markers",
        name=clean(view.datasets[i]),
        showlegend=True,
        line={"color": color, "width": 2},
        marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8, "color": color},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(high - value),
            "arrayminus": np.nan_to_num(value - low),
            "color": theme.faded(color, 0.6),
            "thickness": 1.5,
            "width": 3,
        },
        customdata=np.stack([view.dose, np.array(spans, dtype=object)], axis=1),
        hovertemplate=f"dose %{{customdata[0]:.2g}}: {view.output} %{{y:+.3g}} (%{{customdata[1]}})"
        f"<extra>{clean(view.datasets[i])}</extra>",
    )
