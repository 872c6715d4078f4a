"""The zero-shot matrix less a reference, as an annotated heatmap of the size of the matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.figures.heat import cell, colourbar, heatmap, level, short, signed
from app.figures.matrix import FOOT, HEAD, columns_axis, rows_axis
from app.figures.theme import Theme, clean, theme_of
from app.queries.against import AgainstView
from app.selection import METRICS

__all__ = ["against_figure"]

#: Colours end at this difference, or at the largest, so that noise does not look like a finding.
LEAST = 0.1


def against_figure(view: AgainstView, height: int, scheme: str | None = None) -> plot.Figure:
    """Draw detectors × datasets, difference and interval in each cell.

    Orange is better than the reference and purple worse, whatever the metric. A diamond stands in
    cells whose interval leaves 0 out.
    """
    theme = theme_of(scheme)
    better = -view.difference if view.metric == "eer" else view.difference
    known = np.abs(better[np.isfinite(better)])
    end = max(LEAST, float(known.max(initial=0)))
    rows, columns = list(range(len(view.detectors))), list(range(len(view.datasets)))
    # Written in the order of the colours, from worse to better.
    first = f"+{end:.2f}" if view.metric == "eer" else f"\N{MINUS SIGN}{end:.2f}"
    last = f"\N{MINUS SIGN}{end:.2f}" if view.metric == "eer" else f"+{end:.2f}"
    figure = plot.Figure(
        plot.heatmap(
            **heatmap(
                theme, better / end, _hovers(view), x=columns, y=rows,
                colorbar=colourbar(theme, [first, "0", last]),
            )
        )
    )  # fmt: skip
    figure.update_layout(
        **theme.layout(
            height=height,
            margin={"l": 8, "r": 8, "t": HEAD, "b": FOOT},
            annotations=[_cell(view, theme, r, c, better / end) for r in rows for c in columns],
            xaxis=columns_axis(view, theme),
            yaxis=rows_axis(view.detectors, theme),
        )
    )
    return figure


def _cell(view: AgainstView, theme: Theme, r: int, c: int, skill: Any) -> dict[str, Any]:
    return cell(theme, c, r, float(skill[r, c]), _text(view, r, c), 14)


def _text(view: AgainstView, r: int, c: int) -> str:
    if view.is_reference[r]:
        return "reference"
    value = view.difference[r, c]
    if not np.isfinite(value):
        return "—<br><span style='font-size:10.5px'>not comparable</span>"
    if not np.isfinite(view.low[r, c]):
        return f"{signed(value)}<br><span style='font-size:10.5px'>few clusters</span>"
    mark = view.leaves_out_0[r, c]
    head = f"<b>◆ {signed(value)}</b>" if mark else signed(value)
    bounds = f"{short(view.low[r, c])} – {short(view.high[r, c])}"
    return f"{head}<br><span style='font-size:10.5px'>{bounds}</span>"


def _hovers(view: AgainstView) -> list[list[str]]:
    columns = range(len(view.datasets))
    return [[_hover(view, r, c) for c in columns] for r in range(len(view.detectors))]


def _hover(view: AgainstView, r: int, c: int) -> str:
    head = f"<b>{clean(view.detectors[r])}</b> on <b>{clean(view.datasets[c])}</b>"
    if view.is_reference[r]:
        return f"{head}<br>the reference itself"
    if not np.isfinite(view.difference[r, c]):
        return f"{head}<br>{clean(view.reason[r][c])}"
    unit = "images" if view.level == "frame" else "videos"
    lines = [
        head,
        f"{METRICS[view.metric]} {view.difference[r, c]:+.3f} against {clean(view.reference)}",
    ]
    if np.isfinite(view.low[r, c]):
        lines.append(
            f"{view.coverage:.0%} interval {view.low[r, c]:+.3f} to {view.high[r, c]:+.3f}, "
            f"p {level(float(view.p[r, c]))}"
        )
    else:
        lines.append(f"no interval: {clean(view.reason[r][c])}")
    lines.append(f"{view.n_samples[r, c]} common {unit} in {view.n_clusters[r, c]} clusters")
    return "<br>".join(lines)
