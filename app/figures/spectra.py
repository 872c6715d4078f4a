"""Power spectra of real and fake images."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from app.figures.theme import Theme, theme_of
from app.queries.artifacts import SpectraView

__all__ = ["spectra_figure"]

Floats = NDArray[np.float64]


def spectra_figure(view: SpectraView, scheme: str | None = None) -> go.Figure:
    """Draw both spectra with their bands, and again less the mean of the reals.

    Spectra fall over orders of magnitude, against which what a forgery adds cannot be seen; below,
    the same curves are drawn from the reals' mean.
    """
    theme = theme_of(scheme)
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.55, 0.45]
    )
    for row, base in ((1, np.zeros_like(view.mean[0])), (2, view.mean[0])):
        for label in (0, 1):
            for trace in _curve(view, theme, label, base, row == 1):
                figure.add_trace(trace, row=row, col=1)
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.legend(),
            margin={"l": 62, "r": 12, "t": 34, "b": 46},
            xaxis=theme.axis(range=[0, 0.5]),
            xaxis2=theme.axis("frequency in cycles a pixel", range=[0, 0.5]),
            yaxis=theme.axis("log10 power"),
            yaxis2=theme.axis("less mean of reals"),
            hovermode="x unified",
        )
    )
    return figure


def _curve(
    view: SpectraView, theme: Theme, label: int, base: Floats, named: bool
) -> list[go.Scatter]:
    """Draw the band, where there is one, and the mean above it."""
    name, colour, dash = ("fake", theme.warm, "dash") if label else ("real", theme.accent, "solid")
    low, high = view.low[label] - base, view.high[label] - base
    there = np.isfinite(low) & np.isfinite(high)
    band = go.Scatter(
        x=np.r_[view.frequency[there], view.frequency[there][::-1]],
        y=np.r_[low[there], high[there][::-1]],
        fill="toself",
        fillcolor=theme.faded(colour, 0.2),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )
    line = go.Scatter(
        x=view.frequency,
        y=view.mean[label] - base,
        mode="lines",
        name=name,
        showlegend=named,
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate="%{y:.3f}",
    )
    return [band, line]
