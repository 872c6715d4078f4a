"""How alike the maps of variants are, beside what any two maps have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.queries.attribution_findings import Bounded, VariantsView
from probe.plots.theme import Theme, clean, level, theme_of

__all__ = ["variants_figure", "variants_height"]

_ROW, _HEAD, _FOOT = 36, 40, 48


def variants_height(n_datasets: int) -> int:
    """Height in pixels that gives every dataset the same room."""
    return _ROW * n_datasets + _HEAD + _FOOT


def variants_figure(view: VariantsView, scheme: str | None = None) -> plot.Figure:
    """Draw similarity, null and retrained with intervals, a row a dataset."""
    theme, rows = theme_of(scheme), len(view.datasets)
    kinds = [
        ("the same image", view.same, theme.accent, "circle", -0.16),
        ("another person’s image (null)", view.null, theme.muted, "diamond-open", 0.16),
    ]
    if np.isfinite(view.retrained.value).any():
        kinds.append(("other seeds, same image", view.retrained, theme.warm, "square-open", 0.3))
    figure = plot.Figure([_marks(view, theme, *kind) for kind in kinds])
    for row in range(1, rows, 2):
        figure.add_hrect(
            y0=row - 0.5,
            y1=row + 0.5,
            layer="below",
            line={"width": 0},
            fillcolor=theme.faded(theme.muted, 0.06),
        )
    figure.update_layout(
        **theme.layout(
            height=variants_height(rows),
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 8, "r": 16, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis("SSIM of maps of two variants, mean over pairs and images"),
            yaxis=theme.axis(
                tickvals=list(range(rows)),
                ticktext=[f"{clean(name)}  " for name in view.datasets],
                range=[rows - 0.5, -0.5],
                automargin=True,
                showgrid=False,
                tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )
    return figure


def _marks(
    view: VariantsView, theme: Theme, name: str, of: Bounded, color: str, symbol: str, shift: float
) -> plot.Trace:
    return plot.scatter(
        x=of.value,
        y=np.arange(len(view.datasets)) + shift,
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": 9, "color": color, "line": {"width": 1.6}},
        error_x=theme.bars(of.value, of.low, of.high, theme.faded(color, 0.6)),
        customdata=[_hover(view, of, name, i) for i in range(len(view.datasets))],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(view: VariantsView, of: Bounded, name: str, i: int) -> str:
    lines = [
        f"<b>{clean(view.datasets[i])}</b>",
        f"{name}: {of.value[i]:.3f}",
        _bounds(view, of, i),
    ]
    over = f"over the null {view.over.value[i]:+.3f}, p {level(float(view.p[i]))}"
    return "<br>".join([*lines, over])


def _bounds(view: VariantsView, of: Bounded, i: int) -> Any:
    if not np.isfinite(of.low[i]):
        return "no interval: fewer than five clusters"
    return f"{view.coverage:.0%} interval {of.low[i]:.3f} to {of.high[i]:.3f}"
