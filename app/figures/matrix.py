"""The zero-shot matrix as an annotated heatmap."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from app.figures.theme import Theme, clean, theme_of
from app.queries.matrix import MatrixView
from app.selection import METRICS

__all__ = ["matrix_figure", "matrix_height"]

Floats = NDArray[np.float64]

_ROW, _HEAD, _FOOT = 52, 52, 44


def matrix_height(view: MatrixView) -> int:
    """Height in pixels that gives every row the same room."""
    return _ROW * len(view.detectors) + _HEAD + _FOOT


def matrix_figure(view: MatrixView, scheme: str | None = None) -> go.Figure:
    """Draw detectors × datasets, value and interval in each cell.

    Colour runs from −1 (always wrong) over 0 (chance) to 1 (perfect), whatever the metric. Cells
    of datasets that a detector was trained on are framed.
    """
    theme = theme_of(scheme)
    columns, rows = list(range(len(view.datasets))), list(range(len(view.detectors)))
    figure = go.Figure(
        go.Heatmap(
            z=np.where(np.isfinite(view.value), view.skill, np.nan),
            x=columns,
            y=rows,
            zmin=-1,
            zmax=1,
            colorscale=_scale(theme),
            xgap=3,
            ygap=3,
            text=_hovers(view),
            hovertemplate="%{text}<extra></extra>",
            colorbar=_colorbar(view, theme),
        )
    )
    figure.update_layout(
        **theme.layout(
            height=matrix_height(view),
            margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
            annotations=_cells(view, theme),
            shapes=_frames(view, theme),
            xaxis=_columns(view, theme),
            yaxis=theme.axis(
                showgrid=False,
                tickvals=rows,
                ticktext=[f"{clean(label)}  " for label in view.detectors],
                range=[len(rows) - 0.5, -0.5],
                automargin=True,
                tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )
    return figure


def _columns(view: MatrixView, theme: Theme) -> dict[str, Any]:
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
            colour = _text_on(_colour_at(theme, float(view.skill[r, c])))
            text = f"<b>{_short(value)}</b><br><span style='font-size:10.5px'>{span}</span>"
            out.append(
                {
                    "x": c, "y": r, "text": text, "showarrow": False,
                    "font": {"size": 14, "color": colour},
                }
            )  # fmt: skip
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
    return {
        "orientation": "h",
        "thickness": 8,
        "len": 0.32,
        "x": 1.0,
        "xanchor": "right",
        "y": 0,
        "yanchor": "top",
        "ypad": 12,
        "tickvals": [-1, 0, 1],
        "ticktext": ends,
        "tickfont": {"size": 11, "color": theme.muted},
        "outlinewidth": 0,
    }


def _scale(theme: Theme) -> list[list[Any]]:
    last = len(theme.diverging) - 1
    return [[i / last, colour] for i, colour in enumerate(theme.diverging)]


def _colour_at(theme: Theme, skill: float) -> Floats:
    """Return the cell's colour, red, green and blue in [0, 1]."""
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in theme.diverging]) / 255
    places = np.linspace(-1, 1, len(stops))
    return np.array([np.interp(skill, places, stops[:, i]) for i in range(3)])


def _text_on(colour: Floats) -> str:
    """Choose black or white, whichever has more contrast (WCAG 2.1, relative luminance)."""
    linear = np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#111111" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def _span(view: MatrixView, r: int, c: int) -> str:
    if not np.isfinite(view.value[r, c]):
        return "one class only"
    if not np.isfinite(view.low[r, c]):
        return "few clusters"
    return f"{_short(view.low[r, c])} – {_short(view.high[r, c])}"


def _short(value: float) -> str:
    """Two decimals without the leading zero, as tables in print have it."""
    if not np.isfinite(value):
        return "—"
    return f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else "1.0"


def _long(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not defined (one class only)"
