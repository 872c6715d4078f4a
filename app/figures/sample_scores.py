"""One image's scores, in strips of what its dataset's other images get."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.queries.sample_scores import Score, ScoresView
from probe.plots.theme import Theme, clean, theme_of

__all__ = ["scores_figure", "scores_height"]

_ROW, _HEAD, _FOOT = 44, 40, 46

#: Height of a rug over the distance of rows; reals lie above the line of a detector, fakes below.
_RUG = 0.26


def scores_height(n_detectors: int) -> int:
    """Height in pixels that gives every detector the same room."""
    return _ROW * max(n_detectors, 1) + _HEAD + _FOOT


def scores_figure(view: ScoresView, scheme: str | None = None) -> plot.Figure:
    """Draw a row a detector: real images above, fakes below, the image's own score on the line."""
    theme = theme_of(scheme)
    figure = plot.Figure([_rug(view, theme, 0), _rug(view, theme, 1), _own(view, theme)])
    figure.add_vline(x=0, line={"color": theme.muted, "width": 1, "dash": "dot"})
    rows = len(view.scores)
    low, high = _range(view)
    figure.update_layout(
        **theme.layout(
            height=scores_height(rows),
            showlegend=True,
            legend=theme.top_legend(itemsizing="trace"),
            margin={"l": 8, "r": 62, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis("logit of fake; 0 is P(fake) = 0.5", range=[low, high]),
            yaxis=theme.axis(
                tickvals=list(range(rows)),
                ticktext=[f"{clean(one.detector)}  " for one in view.scores],
                range=[rows - 0.5, -0.5],
                automargin=True,
                showgrid=False,
                tickfont={"size": 13, "color": theme.ink},
            ),
            annotations=[
                _beside(-0.75, "P(fake)", theme.muted),
                *(_beside(row, _verdict(one), theme.ink) for row, one in enumerate(view.scores)),
            ],
        )
    )
    return figure


def _range(view: ScoresView) -> tuple[float, float]:
    """Show nearly all others, and the image itself in any case."""
    others = np.concatenate([np.r_[one.reals, one.fakes] for one in view.scores])
    own = [one.logit for one in view.scores if np.isfinite(one.logit)]
    ends = np.percentile(others, [0.5, 99.5]) if len(others) else np.array([-1.0, 1.0])
    low, high = min(ends[0], *own, -1.0), max(ends[1], *own, 1.0)
    room = 0.04 * (high - low)
    return float(low - room), float(high + room)


def _rug(view: ScoresView, theme: Theme, label: int) -> plot.Trace:
    """Draw the images of one label as short strokes on all rows."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, one in enumerate(view.scores):
        near, far = (-0.04, -0.04 - _RUG) if label == 0 else (0.04, 0.04 + _RUG)
        for value in one.fakes if label else one.reals:
            x += [float(value), float(value), None]
            y += [row + near, row + far, None]
    name, n = ("fake", view.n_fakes) if label else ("real", view.n_reals)
    place = "below" if label else "above"
    color = theme.warm if label else theme.accent
    return plot.scatter(
        x=x,
        y=y,
        mode="lines",
        name=f"{name} ({n:,}), {place} the line",
        hoverinfo="skip",
        line={"color": theme.faded(color, 0.55), "width": 1.2},
    )


def _own(view: ScoresView, theme: Theme) -> plot.Trace:
    return plot.scatter(
        x=[one.logit for one in view.scores],
        y=list(range(len(view.scores))),
        mode="markers",
        name="this image",
        marker={
            "symbol": "diamond",
            "size": 13,
            "color": theme.ink,
            "line": {"width": 2, "color": theme.ground},
        },
        customdata=[_hover(one) for one in view.scores],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(one: Score) -> str:
    lines = [f"<b>{clean(one.detector)}</b>", f"logit {one.logit:.2f}, P(fake) {one.p_fake:.3f}"]
    if np.isfinite(one.above_reals):
        lines.append(f"scores above {one.above_reals:.0%} of the reals")
    if np.isfinite(one.above_fakes):
        lines.append(f"and {one.above_fakes:.0%} of the fakes")
    return "<br>".join(lines)


def _verdict(one: Score) -> str:
    """Write what the detector says, and whether that is right."""
    if one.right is None:
        return f"{one.p_fake:.2f}"
    return f"{one.p_fake:.2f}<br>{'right' if one.right else '<b>wrong</b>'}"


def _beside(row: float, text: str, color: str) -> dict[str, Any]:
    return {
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 6,
        "y": row,
        "showarrow": False,
        "text": text,
        "align": "left",
        "font": {"size": 12, "color": color},
    }
