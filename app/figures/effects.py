"""Effects of measurements, real against fake, under each control."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from app.figures import plot
from app.queries.artifacts import EffectsView, Measurement
from probe.plots.theme import Theme, clean, level, theme_of

__all__ = ["about_lines", "artifact_effects_figure", "artifact_effects_height"]

_ROW, _HEAD, _FOOT = 32, 44, 48

#: Words for controls, in the legend.
CONTROLS = {"none": "no control", "partialled": "covariates partialled out", "matched": "matched"}
_SYMBOLS = ("circle", "square", "diamond")


def artifact_effects_height(n_measurements: int) -> int:
    """Height in pixels that gives every measurement the same room."""
    return _ROW * n_measurements + _HEAD + _FOOT


def artifact_effects_figure(view: EffectsView, scheme: str | None = None) -> plot.Figure:
    """Draw effects with intervals, a row a measurement, a mark a control; filled: q ≤ 0.05."""
    theme = theme_of(scheme)
    figure = plot.Figure([_marks(view, theme, i) for i in range(len(view.controls))])
    figure.add_vline(x=0, line={"color": theme.muted, "width": 1})
    rows = len(view.measurements)
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
            annotations=_undefined(view, theme),
            height=artifact_effects_height(rows),
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 8, "r": 16, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis("fake − real, in standard deviations of the real images"),
            yaxis=theme.axis(
                tickvals=list(range(rows)),
                ticktext=[_name(view, row, theme) for row in range(rows)],
                range=[rows - 0.5, -0.5],
                automargin=True,
                showgrid=False,
                tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )
    return figure


def _name(view: EffectsView, row: int, theme: Theme) -> str:
    """Write a measurement bold where it is significant with every control."""
    name = clean(view.measurements[row].name)
    return f"<b>{name}</b>  " if view.kept[row] else f"{name}  "


def _undefined(view: EffectsView, theme: Theme) -> list[dict[str, Any]]:
    """Write on the rows that hold nothing why they do."""
    return [
        {
            "x": 0,
            "y": int(row),
            "xanchor": "left",
            "xshift": 8,
            "showarrow": False,
            "text": "not defined in this dataset",
            "font": {"size": 12, "color": theme.muted},
        }
        for row in np.flatnonzero(~np.isfinite(view.effect).any(axis=0))
    ]


def _marks(view: EffectsView, theme: Theme, i: int) -> plot.Trace:
    color = (theme.ink, theme.accent, theme.warm)[i % 3]
    shift = 0.28 * (i - (len(view.controls) - 1) / 2)
    symbols = [_SYMBOLS[i % 3] + ("" if found else "-open") for found in view.significant[i]]
    name = CONTROLS.get(view.controls[i], clean(view.controls[i]))
    return plot.scatter(
        x=view.effect[i],
        y=np.arange(len(view.measurements)) + shift,
        mode="markers",
        name=f"{name} ({int(view.n_used[i]):,} images)",
        marker={"symbol": symbols, "size": 8, "color": color, "line": {"width": 1.4}},
        error_x=theme.bars(view.effect[i], view.low[i], view.high[i], theme.faded(color, 0.6)),
        customdata=[_hover(view, i, row) for row in range(len(view.measurements))],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(view: EffectsView, i: int, row: int) -> str:
    low, high = view.low[i, row], view.high[i, row]
    bounds = (
        f"{view.coverage:.0%} interval {low:+.2f} to {high:+.2f}"
        if np.isfinite(low)
        else "no interval: fewer than five clusters"
    )
    control = CONTROLS.get(view.controls[i], clean(view.controls[i]))
    tests = f"p {level(view.p[i, row])}, q {level(view.q[i, row])}"
    numbers = f"{view.effect[i, row]:+.2f} SD, {bounds}<br>{tests}"
    return "<br>".join([*about_lines(view.measurements[row]), f"<b>{control}</b>: {numbers}"])


def about_lines(measurement: Measurement) -> list[str]:
    """Return name, definition, unit and source of a measurement as lines of a hover text."""
    unit = f" ({clean(measurement.unit)})" if measurement.unit else ""
    lines = [f"<b>{clean(measurement.name)}</b>{unit}"]
    lines += [clean(line) for line in textwrap.wrap(measurement.about, 64)]
    source = textwrap.wrap(f"Source: {measurement.source}", 64)
    return lines + [f"<i>{clean(line)}</i>" for line in source]
