"""Where in the face maps lie: groups of images × regions as an annotated heatmap."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.queries.attribution_findings import WHAT, RegionsView
from probe.plots.theme import Theme, cell, clean, colorbar, heatmap, level, theme_of

__all__ = ["regions_figure", "regions_height"]

_ROW, _HEAD, _FOOT = 44, 40, 48

#: False discovery rate of what is marked.
ALPHA = 0.05
#: Doublings at which colors end, so that they mean the same for all detectors.
ENDS = 4.0


def regions_height(n_groups: int) -> int:
    """Height in pixels that gives every group the same room."""
    return _ROW * max(1, n_groups) + _HEAD + _FOOT


def regions_figure(view: RegionsView, scheme: str | None = None) -> plot.Figure:
    """Draw log2 concentrations or their changes, with intervals; a dot where q ≤ 0.05."""
    theme = theme_of(scheme)
    rows, columns = list(range(len(view.groups))), list(range(len(view.regions)))
    ends = [f"−{ENDS:g}", "0", f"+{ENDS:g}"]
    figure = plot.Figure(
        plot.heatmap(
            **heatmap(
                theme,
                view.value / ENDS,
                _hovers(view),
                x=columns,
                y=rows,
                colorbar=colorbar(theme, ends),
            )
        )
    )
    small: dict[str, Any] = {"size": 12, "color": theme.ink}
    figure.update_layout(
        **theme.layout(
            height=regions_height(len(rows)),
            margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
            annotations=[
                *(_cell(view, theme, r, c) for r in rows for c in columns),
                _note(view, theme),
            ],
            xaxis=theme.axis(
                showgrid=False,
                side="top",
                tickvals=columns,
                tickangle=0,
                tickfont=small,
                ticktext=[clean(name) for name in view.regions],
                range=[-0.5, len(columns) - 0.5],
            ),
            yaxis=theme.axis(
                showgrid=False,
                tickvals=rows,
                automargin=True,
                tickfont=small,
                ticktext=[_group(view, theme, r) for r in rows],
                range=[len(rows) - 0.5, -0.5],
            ),
        )
    )
    return figure


def _group(view: RegionsView, theme: Theme, r: int) -> str:
    unit = "pairs" if view.what == "change" else "images"
    rests = f"{view.n_samples[r]} {unit} · {view.n_clusters[r]} clusters"
    small = f"<span style='font-size:11px;color:{theme.muted}'>{rests}</span>"
    return f"{clean(view.groups[r])}  <br>{small}  "


def _note(view: RegionsView, theme: Theme) -> dict[str, Any]:
    return {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": 0,
        "yref": "paper",
        "yanchor": "top",
        "yshift": -12,
        "showarrow": False,
        "font": {"size": 12, "color": theme.muted},
        "text": "Doublings over even attention. ●: q ≤ 0.05. Small: interval."
        if view.what == "concentration"
        else "Fake less real, in doublings. ●: q ≤ 0.05. Small: interval.",
    }


def _cell(view: RegionsView, theme: Theme, r: int, c: int) -> dict[str, Any]:
    value = float(view.value[r, c])
    if not np.isfinite(value):
        return cell(theme, c, r, np.nan, "—", 12)
    mark = "●\N{NO-BREAK SPACE}" if view.q[r, c] <= ALPHA else ""
    low, high = view.low[r, c], view.high[r, c]
    bounds = f"{_plain(low)} to {_plain(high)}" if np.isfinite(low) else "few clusters"
    text = f"{mark}<b>{_plain(value)}</b><br><span style='font-size:10px'>{bounds}</span>"
    return cell(theme, c, r, float(np.clip(value / ENDS, -1, 1)), text, 13)


def _hovers(view: RegionsView) -> list[list[str]]:
    columns = range(len(view.regions))
    return [[_hover(view, r, c) for c in columns] for r in range(len(view.groups))]


def _hover(view: RegionsView, r: int, c: int) -> str:
    value, low, high = view.value[r, c], view.low[r, c], view.high[r, c]
    lines = [f"<b>{clean(view.groups[r])}</b>, <b>{clean(view.regions[c])}</b>, {view.part} mass"]
    if not np.isfinite(value):
        return "<br>".join([*lines, "not seen"])
    lines.append(f"{WHAT[view.what].lower()} {value:+.2f} doublings")
    if np.isfinite(low):
        lines.append(f"{view.coverage:.0%} interval {low:+.2f} to {high:+.2f}")
    else:
        lines.append("no interval: fewer than five clusters")
    asked = "differs from 0" if view.what == "change" else "other groups of its label differ"
    lines.append(f"{asked}: q {level(float(view.q[r, c]))}")
    return "<br>".join([*lines, f"the region is {view.area[r, c]:.1%} of the image"])


def _plain(value: float) -> str:
    """Write doublings with their sign and one decimal."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")
