"""How alike the features of detectors are."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.queries.similarity import SimilarityView
from probe.plots.theme import cell, clean, colorbar, heatmap, short, span, theme_of

__all__ = ["similarity_figure", "similarity_height"]

_ROW, _HEAD, _FOOT = 48, 40, 44


def similarity_height(n_detectors: int) -> int:
    """Height in pixels that gives every row the same room."""
    return _ROW * n_detectors + _HEAD + _FOOT


def similarity_figure(view: SimilarityView, scheme: str | None = None) -> plot.Figure:
    """Draw debiased CKA of all pairs; neutral is 0, nothing in common, and orange 1, the same."""
    theme = theme_of(scheme)
    n = len(view.detectors)
    places = list(range(n))
    bar = colorbar(theme, ["−1", "0", "1"])
    figure = plot.Figure(
        plot.heatmap(**heatmap(theme, view.value, _hovers(view), x=places, y=places, colorbar=bar))
    )
    names = [clean(name) for name in view.detectors]
    axis: dict[str, Any] = {
        "showgrid": False,
        "tickvals": places,
        "tickfont": {"size": 12, "color": theme.ink},
    }
    texts = [
        cell(theme, c, r, float(view.value[r, c]), _text(view, r, c), 14)
        for r in places
        for c in places
    ]
    figure.update_layout(
        **theme.layout(
            height=similarity_height(n),
            margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
            annotations=texts,
            xaxis=theme.axis(
                side="top", ticktext=names, tickangle=0, range=[-0.5, n - 0.5], **axis
            ),
            yaxis=theme.axis(
                ticktext=[f"{name}  " for name in names],
                range=[n - 0.5, -0.5],
                automargin=True,
                **axis,
            ),
        )
    )
    return figure


def _text(view: SimilarityView, r: int, c: int) -> str:
    value = float(view.value[r, c])
    if r == c or not np.isfinite(value):
        return f"<b>{short(value)}</b>"
    bounds = span(float(view.low[r, c]), float(view.high[r, c]))
    return f"<b>{short(value)}</b><br><span style='font-size:10.5px'>{bounds}</span>"


def _hovers(view: SimilarityView) -> list[list[str]]:
    def one(r: int, c: int) -> str:
        head = f"<b>{clean(view.detectors[r])}</b> and <b>{clean(view.detectors[c])}</b>"
        low, high = view.low[r, c], view.high[r, c]
        bounds = (
            f"{view.coverage:.0%} interval {low:.3f} to {high:.3f}"
            if np.isfinite(low)
            else "no interval"
        )
        return f"{head}<br>CKA {view.value[r, c]:.3f}<br>{bounds}"

    places = range(len(view.detectors))
    return [[one(r, c) for c in places] for r in places]
