"""How unusual the measurements of one image are among real images."""

from __future__ import annotations

import textwrap

import numpy as np

from app.figures import plot
from app.queries.sample_units import FAR, Deviation, DeviationsView
from probe.plots.theme import Theme, clean, theme_of

__all__ = ["deviations_figure", "deviations_height"]

_ROW, _HEAD, _FOOT = 21, 8, 46

#: Where the axis ends; what lies beyond is drawn at the end as an arrow.
_END = 8.0


def deviations_height(rows: int) -> int:
    """Height in pixels that gives every measurement the same room."""
    return _ROW * max(rows, 1) + _HEAD + _FOOT


def deviations_figure(view: DeviationsView, scheme: str | None = None) -> plot.Figure:
    """Draw a row a measurement, the most unusual first; filled beyond `FAR` deviations."""
    theme = theme_of(scheme)
    rows = len(view.rows)
    figure = plot.Figure([_stems(view, theme), _marks(view, theme)])
    figure.add_vrect(
        x0=-FAR, x1=FAR, layer="below", line={"width": 0}, fillcolor=theme.faded(theme.muted, 0.1)
    )
    figure.add_vline(x=0, line={"color": theme.muted, "width": 1})
    figure.update_layout(
        **theme.layout(
            height=deviations_height(rows),
            margin={"l": 8, "r": 12, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis(
                "from the median of the reals, in deviations", range=[-_END - 0.5, _END + 0.5]
            ),
            yaxis=theme.axis(
                tickvals=list(range(rows)),
                ticktext=[_name(row) for row in view.rows],
                range=[rows - 0.5, -0.5],
                automargin=True,
                showgrid=False,
                tickfont={"size": 12, "color": theme.ink},
            ),
        )
    )
    return figure


def _name(row: Deviation) -> str:
    name = clean(row.name)
    return f"<b>{name}</b>  " if abs(row.deviations) > FAR else f"{name}  "


def _at(row: Deviation) -> float:
    return float(np.clip(row.deviations, -_END, _END))


def _stems(view: DeviationsView, theme: Theme) -> plot.Trace:
    x: list[float | None] = []
    y: list[float | None] = []
    for i, row in enumerate(view.rows):
        x += [0.0, _at(row), None]
        y += [i, i, None]
    return plot.scatter(
        x=x, y=y, mode="lines", hoverinfo="skip", line={"color": theme.line, "width": 2}
    )


def _marks(view: DeviationsView, theme: Theme) -> plot.Trace:
    return plot.scatter(
        x=[_at(row) for row in view.rows],
        y=list(range(len(view.rows))),
        mode="markers",
        marker={
            "symbol": [_symbol(row) for row in view.rows],
            "size": 9,
            "color": theme.accent,
            "line": {"width": 1.6, "color": theme.accent},
        },
        customdata=[_hover(row, view) for row in view.rows],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _symbol(row: Deviation) -> str:
    if abs(row.deviations) > _END:
        return "triangle-right" if row.deviations > 0 else "triangle-left"
    return "circle" if abs(row.deviations) > FAR else "circle-open"


def _hover(row: Deviation, view: DeviationsView) -> str:
    about = [clean(line) for line in textwrap.wrap(row.about, 60)]
    unit = f" {clean(row.unit)}" if row.unit else ""
    numbers = f"{row.value:.4g} here, median {row.center:.4g}{unit}"
    away = f"{row.deviations:+.1f} deviations from {clean(view.among)}"
    return "<br>".join([f"<b>{clean(row.name)}</b>", *about, numbers, away])
