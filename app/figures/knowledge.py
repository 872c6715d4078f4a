"""What single units know of the label and of the method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.queries.separability import KnowledgeView
from probe.plots.theme import Theme, level, theme_of

__all__ = ["drawn_units", "knowledge_figure"]

#: Units that are drawn at most: those that know most, and others at random.
MOST = 2000

#: False discovery rate below which a unit counts as knowing something.
ALPHA = 0.05


def knowledge_figure(
    view: KnowledgeView, unit: int | None = None, scheme: str | None = None
) -> plot.Figure:
    """Draw units by what they know of the method (x) and of the label (y); one can be ringed."""
    theme = theme_of(scheme)
    drawn = drawn_units(view)
    universal = np.zeros(len(view.unit), bool) if view.universal is None else view.universal
    knows = np.minimum(view.label_q, view.method_q) <= ALPHA
    figure = plot.Figure(_ring(view, theme, unit))
    groups = (
        ("universal", universal, {"symbol": "diamond", "size": 11, "color": theme.warm}),
        ("other units", ~universal & knows, {"symbol": "circle", "size": 8, "color": theme.accent}),
        (
            "neither (q > 0.05)",
            ~universal & ~knows,
            {"symbol": "circle-open", "size": 8, "color": theme.muted},
        ),
    )
    figure.add_traces(
        [_units(view, name, rows & drawn, mark) for name, rows, mark in reversed(groups)]
    )
    top = 1.06 * max(0.02, float(np.nanmax([0.02, *view.label])))
    right = 1.06 * max(0.02, float(np.nanmax([0.02, *view.method])))
    end = min(top, right)
    figure.add_shape(
        type="line",
        x0=0,
        y0=0,
        x1=end,
        y1=end,
        layer="below",
        line={"color": theme.muted, "width": 1, "dash": "dot"},
    )
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.legend(traceorder="reversed"),
            margin={"l": 58, "r": 12, "t": 36, "b": 46},
            xaxis=theme.axis(
                "knows of the method (share of its entropy)", range=[-0.02 * right, right]
            ),
            yaxis=theme.axis("knows of real or fake (share)", range=[-0.02 * top, top]),
        )
    )
    return figure


def drawn_units(view: KnowledgeView) -> NDArray[np.bool_]:
    """Choose the units to draw: all, or universal ones, those that know most, and some others.

    Returns
    -------
    numpy.ndarray
        Shape (unit,).
    """
    n = len(view.unit)
    if n <= MOST:
        return np.ones(n, dtype=bool)
    knows = np.nan_to_num(np.maximum(view.label, view.method))
    universal = np.zeros(n, bool) if view.universal is None else view.universal
    best = np.lexsort((-knows, ~universal))
    half = MOST // 2
    others = np.random.default_rng(0).choice(best[half:], MOST - half, replace=False)
    drawn = np.zeros(n, dtype=bool)
    drawn[best[:half]] = drawn[others] = True
    return drawn


def _units(
    view: KnowledgeView, name: str, rows: NDArray[np.bool_], mark: dict[str, object]
) -> plot.Trace:
    return plot.scatter(
        x=view.method[rows],
        y=view.label[rows],
        mode="markers",
        name=name,
        showlegend=bool(rows.any()),
        cliponaxis=False,
        marker={**mark, "line": {"width": 1.4}} if "open" in str(mark["symbol"]) else mark,
        # As a list: of an array of two dimensions, a click would report nothing.
        customdata=[
            [int(view.unit[i]), level(view.label_q[i]), level(view.method_q[i])]
            for i in np.flatnonzero(rows)
        ],
        hovertemplate="<b>unit %{customdata[0]}</b><br>real or fake %{y:.3f} "
        "(q %{customdata[1]})<br>method %{x:.3f} (q %{customdata[2]})<extra></extra>",
    )


def _ring(view: KnowledgeView, theme: Theme, unit: int | None) -> plot.Trace:
    at = view.unit == (-1 if unit is None else unit)
    return plot.scatter(
        x=view.method[at],
        y=view.label[at],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
        marker={"symbol": "circle-open", "size": 20, "color": theme.ink, "line": {"width": 2}},
    )
