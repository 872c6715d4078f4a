"""Power spectra of real and fake images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.queries.artifacts import SpectraView
from probe.plots.theme import Theme, theme_of

__all__ = ["spectra_figure"]

Floats = NDArray[np.float64]


def spectra_figure(view: SpectraView, scheme: str | None = None) -> plot.Figure:
    """Draw both spectra with their bands, and again less the mean of the reals.

    Spectra fall over orders of magnitude, against which what a forgery adds cannot be seen; below,
    the same curves are drawn from the reals' mean.
    """
    theme = theme_of(scheme)
    figure = plot.Figure()
    for row, base in (("", np.zeros_like(view.mean[0])), ("2", view.mean[0])):
        for label in (0, 1):
            for trace in _curve(view, theme, label, base, not row):
                figure.add_trace({**trace, "xaxis": f"x{row}", "yaxis": f"y{row}"})
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.legend(),
            margin={"l": 62, "r": 12, "t": 34, "b": 46},
            xaxis=theme.axis(range=[0, 0.5], anchor="y", matches="x2", showticklabels=False),
            xaxis2=theme.axis("frequency in cycles a pixel", range=[0, 0.5], anchor="y2"),
            yaxis=theme.axis("log10 power", anchor="x", domain=[0.5, 1]),
            yaxis2=theme.axis("less mean of reals", anchor="x2", domain=[0, 0.41]),
            hovermode="x unified",
        )
    )
    return figure


def _curve(
    view: SpectraView, theme: Theme, label: int, base: Floats, named: bool
) -> list[plot.Trace]:
    """Draw the band, where there is one, and the mean above it."""
    name, color, dash = ("fake", theme.warm, "dash") if label else ("real", theme.accent, "solid")
    low, high = view.low[label] - base, view.high[label] - base
    there = np.isfinite(low) & np.isfinite(high)
    band = plot.scatter(
        x=np.r_[view.frequency[there], view.frequency[there][::-1]],
        y=np.r_[low[there], high[there][::-1]],
        fill="toself",
        fillcolor=theme.faded(color, 0.2),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
    line = plot.scatter(
        x=view.frequency,
        y=view.mean[label] - base,
        mode="lines",
        name=name,
        showlegend=named,
        line={"color": color, "width": 2, "dash": dash},
        hovertemplate="%{y:.3f}",
    )
    return [band, line]
