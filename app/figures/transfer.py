"""The probe of one layer, fitted on each dataset and scored on each, beside the detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.queries.separability import TransferView
from probe.plots.theme import Theme, cell, clean, colorbar, heatmap, short, span, theme_of

__all__ = ["transfer_figure", "transfer_height"]

Floats = NDArray[np.float64]

_ROW, _HEAD, _FOOT = 46, 68, 44

#: Rows between the matrix and the detector's own row.
_GAP = 0.3


def transfer_height(view: TransferView) -> int:
    """Height in pixels that gives every row the same room."""
    return round(_ROW * (len(view.datasets) + 1 + _GAP)) + _HEAD + _FOOT


def transfer_figure(view: TransferView, scheme: str | None = None) -> plot.Figure:
    """Draw AUROC by dataset fitted on (rows) and scored on (columns), and the detector below.

    Both parts have one scale, from −1 (always wrong) over 0 (chance) to 1. Framed: the probe was
    fitted on other people of the same dataset.
    """
    theme = theme_of(scheme)
    n, below = len(view.datasets), len(view.datasets) + _GAP
    columns = list(range(n))
    bar = colorbar(theme, ["0", "0.5", "1"])
    parts = [
        heatmap(theme, 2 * view.value - 1, _hovers(view), x=columns, y=columns, colorbar=bar),
        heatmap(
            theme,
            2 * view.own[None] - 1,
            [_own_hovers(view)],
            x=columns,
            y=[below],
            showscale=False,
        ),
    ]
    figure = plot.Figure([plot.heatmap(**part) for part in parts])
    rows = [*columns, below]
    names = [f"{clean(name)}  " for name in view.datasets] + ["<b>the detector</b>  "]
    figure.update_layout(
        **theme.layout(
            height=transfer_height(view),
            margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
            annotations=[*_cells(view, theme, below), *_heads(theme)],
            shapes=[_frame(theme, i) for i in columns],
            xaxis=_columns(view, theme),
            yaxis=theme.axis(
                showgrid=False,
                tickvals=rows,
                ticktext=names,
                range=[below + 0.5, -0.5],
                automargin=True,
                tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )
    return figure


def _columns(view: TransferView, theme: Theme) -> dict[str, Any]:
    small = f"<span style='font-size:11px;color:{theme.muted}'>"
    counts = zip(view.datasets, view.n_samples, view.n_clusters, strict=True)
    texts = [
        f"<b>{clean(name)}</b><br>{small}{int(n)} · {int(c)} cl.</span>" for name, n, c in counts
    ]
    return theme.axis(
        showgrid=False,
        side="top",
        tickvals=list(range(len(texts))),
        ticktext=texts,
        tickangle=0,
        range=[-0.5, len(texts) - 0.5],
        tickfont={"size": 13, "color": theme.ink},
    )


def _heads(theme: Theme) -> list[dict[str, Any]]:
    """Say what rows and columns are."""
    shared = {
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "font": {"size": 12, "color": theme.muted},
    }
    return [
        {**shared, "x": 0.5, "y": 1, "yshift": 56, "text": "scored on"},
        {
            **shared,
            "x": 0,
            "xanchor": "right",
            "xshift": -8,
            "y": 1,
            "yshift": 12,
            "text": "probe fitted on",
        },
    ]


def _cells(view: TransferView, theme: Theme, below: float) -> list[dict[str, Any]]:
    out = []
    rows = [(float(r), view.value[r], view.low[r], view.high[r]) for r in range(len(view.datasets))]
    for y, value, low, high in [*rows, (below, view.own, view.own_low, view.own_high)]:
        for c in range(len(view.datasets)):
            text = _text(float(value[c]), float(low[c]), float(high[c]))
            out.append(cell(theme, c, y, float(2 * value[c] - 1), text, 14))
    return out


def _text(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "—"
    return f"<b>{short(value)}</b><br><span style='font-size:10.5px'>{span(low, high)}</span>"


def _frame(theme: Theme, i: int) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": i - 0.475,
        "x1": i + 0.475,
        "y0": i - 0.44,
        "y1": i + 0.44,
        "line": {"color": theme.ink, "width": 2},
        "fillcolor": "rgba(0,0,0,0)",
    }


def _hovers(view: TransferView) -> list[list[str]]:
    out = []
    for r, fitted in enumerate(view.datasets):
        row = []
        for c, scored in enumerate(view.datasets):
            how = "cross-validated over people" if r == c else "never on people it was fitted on"
            head = f"probe fitted on <b>{clean(fitted)}</b>, scored on <b>{clean(scored)}</b>"
            row.append(_hover(view, head, view.value[r, c], view.low[r, c], view.high[r, c], how))
        out.append(row)
    return out


def _own_hovers(view: TransferView) -> list[str]:
    return [
        _hover(
            view,
            f"the detector's own logit on <b>{clean(name)}</b>",
            view.own[c],
            view.own_low[c],
            view.own_high[c],
            "as trained; nothing fitted here",
        )
        for c, name in enumerate(view.datasets)
    ]


def _hover(view: TransferView, head: str, value: float, low: float, high: float, how: str) -> str:
    bounds = (
        f"{view.coverage:.0%} interval {low:.3f} to {high:.3f}, clusters resampled"
        if np.isfinite(low)
        else "no interval: fewer than five clusters"
    )
    number = f"AUROC {value:.3f}" if np.isfinite(value) else "not defined"
    return "<br>".join([head, number, bounds, how])
