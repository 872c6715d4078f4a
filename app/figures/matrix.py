"""The zero-shot matrix as an annotated heatmap."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.figures.heat import cell, colourbar, heatmap, short
from app.figures.theme import Theme, clean, theme_of
from app.queries.against import AgainstView
from app.queries.matrix import MatrixView
from app.selection import METRICS

__all__ = ["FOOT", "HEAD", "columns_axis", "matrix_figure", "matrix_height", "rows_axis"]

#: Room in pixels of a row, of the names above and of the colours below.
_ROW, HEAD, FOOT = 52, 52, 44


def matrix_height(view: MatrixView) -> int:
    """Height in pixels that gives every row the same room."""
    return _ROW * len(view.detectors) + HEAD + FOOT


def matrix_figure(view: MatrixView, scheme: str | None = None) -> plot.Figure:
    """Draw detectors × datasets, value and interval in each cell.

    Colour runs from −1 (always wrong) over 0 (chance) to 1 (perfect), whatever the metric. Cells
    of datasets that a detector was trained on are framed.
    """
    theme = theme_of(scheme)
    columns, rows = list(range(len(view.datasets))), list(range(len(view.detectors)))
    figure = plot.Figure(
        plot.heatmap(
            **heatmap(
                theme,
                np.where(np.isfinite(view.value), view.skill, np.nan),
                _hovers(view),
                x=columns,
                y=rows,
                colorbar=_colorbar(view, theme),
            )
        )
    )
    figure.update_layout(
        **theme.layout(
            height=matrix_height(view),
            margin={"l": 8, "r": 8, "t": HEAD, "b": FOOT},
            annotations=_cells(view, theme),
            shapes=_frames(view, theme),
            xaxis=columns_axis(view, theme),
            yaxis=rows_axis(view.detectors, theme),
        )
    )
    return figure


def rows_axis(detectors: tuple[str, ...], theme: Theme) -> dict[str, Any]:
    """Name detectors at the left, from the top."""
    return theme.axis(
        showgrid=False,
        tickvals=list(range(len(detectors))),
        ticktext=[f"{clean(label)}  " for label in detectors],
        range=[len(detectors) - 0.5, -0.5],
        automargin=True,
        tickfont={"size": 13, "color": theme.ink},
    )


def columns_axis(view: MatrixView | AgainstView, theme: Theme) -> dict[str, Any]:
    """Name datasets above, with what the numbers rest on."""
    unit = "images" if view.level == "frame" else "videos"
    texts = []
    for i, name in enumerate(view.datasets):
        n, clusters = int(view.n_samples[:, i].max()), int(view.n_clusters[:, i].max())
        small = f"<span style='font-size:11px;color:{theme.muted}'>"
        texts.append(f"<b>{clean(name)}</b><br>{small}{n} {unit} · {clusters} clusters</span>")
    return theme.axis(
        showgrid=False,
        side="top",
        tickvals=list(range(len(view.datasets))),
        ticktext=texts,
        tickangle=0,
        range=[-0.5, len(view.datasets) - 0.5],
        tickfont={"size": 13, "color": theme.ink},
    )


def _cells(view: MatrixView, theme: Theme) -> list[dict[str, Any]]:
    out = []
    for r in range(len(view.detectors)):
        for c in range(len(view.datasets)):
            value, span = view.value[r, c], _span(view, r, c)
            text = f"<b>{short(value)}</b><br><span style='font-size:10.5px'>{span}</span>"
            out.append(cell(theme, c, r, float(view.skill[r, c]), text, 14))
    return out


def _frames(view: MatrixView, theme: Theme) -> list[dict[str, Any]]:
    return [
        {
            "type": "rect", "x0": c - 0.475, "x1": c + 0.475, "y0": r - 0.44, "y1": r + 0.44,
            "line": {"color": theme.ink, "width": 2}, "fillcolor": "rgba(0,0,0,0)",
        }
        for r, c in np.argwhere(view.seen)
    ]  # fmt: skip


def _hovers(view: MatrixView) -> list[list[str]]:
    columns = range(len(view.datasets))
    return [[_hover(view, r, c) for c in columns] for r in range(len(view.detectors))]


def _hover(view: MatrixView, r: int, c: int) -> str:
    unit = "images" if view.level == "frame" else "videos"
    lines = [
        f"<b>{clean(view.detectors[r])}</b> on <b>{clean(view.datasets[c])}</b>",
        f"{METRICS[view.metric]} {_long(view.value[r, c])}; chance {view.chance[c]:.2f}",
    ]
    if np.isfinite(view.low[r, c]):
        bounds = f"{view.low[r, c]:.3f} to {view.high[r, c]:.3f}"
        lines.append(f"{view.coverage:.0%} interval {bounds}, clusters resampled")
    else:
        lines.append("no interval: fewer than five clusters")
    lines.append(f"{view.n_samples[r, c]} {unit} in {view.n_clusters[r, c]} clusters")
    lines.append(("" if view.seen[r, c] else "not ") + "noted as seen in training")
    return "<br>".join(lines)


def _colorbar(view: MatrixView, theme: Theme) -> dict[str, Any]:
    fixed = bool(np.allclose(view.chance, 0.5))
    ends = ["1", "chance", "0"] if view.metric == "eer" else ["0", "chance", "1"]
    if fixed:
        ends[1] = "0.5"
    return colourbar(theme, ends)


def _span(view: MatrixView, r: int, c: int) -> str:
    if not np.isfinite(view.value[r, c]):
        return "one class only"
    if not np.isfinite(view.low[r, c]):
        return "few clusters"
    return f"{short(view.low[r, c])} – {short(view.high[r, c])}"


def _long(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not defined (one class only)"
