"""Whether the information is in a layer, and whether the head uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.queries.separability import DepthView, LayerView
from app.selection import MEASURES
from probe.plots.theme import SYMBOLS, Theme, clean, short, signed, span, theme_of

__all__ = ["depth_figure", "information_figure", "information_height"]

Floats = NDArray[np.float64]

_ROW, _HEAD, _FOOT = 50, 56, 46

#: Measures that are 0.5 where nothing is told, and drawn with that line.
_HALF = ("probe_auroc", "control_auroc", "c2st_accuracy")


def information_height(view: LayerView) -> int:
    """Height in pixels that gives every dataset the same room."""
    return _ROW * len(view.datasets) + _HEAD + _FOOT


def information_figure(view: LayerView, scheme: str | None = None) -> plot.Figure:
    """Draw the probe, the detector and the control task of each dataset, and what the head misses.

    The right column is the AUROC of the probe less that of the detector.
    """
    theme = theme_of(scheme)
    series = (
        (-0.2, "probe on the layer", view.measure("probe_auroc"), "circle", theme.accent),
        (
            0.0,
            "the detector itself",
            (view.own, view.own_low, view.own_high),
            "diamond",
            theme.warm,
        ),
        (
            0.2,
            "control task: random labels",
            view.measure("control_auroc"),
            "square-open",
            theme.muted,
        ),
    )
    figure = plot.Figure([_marks(view, theme, *one) for one in series])
    lowest = min(
        0.45, *(float(np.nanmin([0.5, *np.r_[v, low]])) for _, _, (v, low, _), *_ in series)
    )
    figure.add_vline(x=0.5, line={"color": theme.muted, "width": 1, "dash": "dot"})
    figure.update_layout(
        **theme.layout(
            height=information_height(view),
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 8, "r": 118, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis("AUROC, real against fake", range=[lowest - 0.03, 1.02]),
            yaxis=_rows(view, theme),
            annotations=_blind(view, theme),
        )
    )
    return figure


def _marks(
    view: LayerView,
    theme: Theme,
    shift: float,
    name: str,
    numbers: tuple[Floats, Floats, Floats],
    symbol: str,
    color: str,
) -> plot.Trace:
    value, low, high = numbers
    spans = [
        f"{view.coverage:.0%} interval {a:.3f} to {b:.3f}" if np.isfinite(a) else "no interval"
        for a, b in zip(low, high, strict=True)
    ]
    return plot.scatter(
        x=value,
        y=np.arange(len(view.datasets)) + shift,
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": 9, "color": color, "line": {"width": 1.6}}
        if symbol.endswith("open")
        else {"symbol": symbol, "size": 10, "color": color},
        error_x=bars(value, low, high, color),
        customdata=spans,
        hovertemplate=f"{name}: AUROC %{{x:.3f}}<br>%{{customdata}}<extra></extra>",
    )


def bars(value: Floats, low: Floats, high: Floats, color: str) -> dict[str, Any]:
    """Return error bars from a value to its bounds; none where these are NaN."""
    return {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(high - value),
        "arrayminus": np.nan_to_num(value - low),
        "color": color,
        "thickness": 1.5,
        "width": 0,
    }


def _rows(view: LayerView, theme: Theme) -> dict[str, Any]:
    small = f"<span style='font-size:11px;color:{theme.muted}'>"
    texts = [
        f"{clean(name)}  <br>{small}{int(n)} images · {int(c)} clusters  </span>"
        for name, n, c in zip(view.datasets, view.sampled, view.n_clusters, strict=True)
    ]
    rows = len(view.datasets)
    return theme.axis(
        tickvals=list(range(rows)),
        ticktext=texts,
        range=[rows - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        tickfont={"size": 13, "color": theme.ink},
    )


def _blind(view: LayerView, theme: Theme) -> list[dict[str, Any]]:
    """Write what the head misses beside each row, and name the column."""
    shared = {
        "xref": "paper",
        "x": 1,
        "xanchor": "left",
        "xshift": 12,
        "showarrow": False,
        "align": "left",
    }
    out = [
        {
            **shared,
            "yref": "paper",
            "y": 1,
            "yanchor": "bottom",
            "text": "probe − detector",
            "font": {"size": 12, "color": theme.muted},
        }
    ]
    for row, value in enumerate(view.blind):
        bold = np.isfinite(view.blind_low[row]) and view.blind_low[row] > 0
        text = signed(float(value))
        bounds = _signed_span(float(view.blind_low[row]), float(view.blind_high[row]))
        small = f"<span style='font-size:11px;color:{theme.muted}'>{bounds}</span>"
        text = f"<b>{text}</b><br>{small}" if bold else f"{text}<br>{small}"
        out.append({**shared, "y": row, "text": text, "font": {"size": 13, "color": theme.ink}})
    return out


def _signed_span(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)}" if np.isfinite(low) else span(low, high)


def depth_figure(view: DepthView, layer: str, scheme: str | None = None) -> plot.Figure:
    """Draw one measure through the layers, a line a dataset; the chosen layer stands out."""
    theme = theme_of(scheme)
    figure = plot.Figure([_line(view, theme, i) for i in range(len(view.datasets))])
    if layer in view.layers:
        at = view.layers.index(layer)
        figure.add_vrect(
            x0=at - 0.45,
            x1=at + 0.45,
            layer="below",
            line={"width": 0},
            fillcolor=theme.faded(theme.accent, 0.09),
        )
    if view.measure in _HALF:
        figure.add_hline(y=0.5, line={"color": theme.muted, "width": 1, "dash": "dot"})
    last = len(view.layers) - 1
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 56, "r": 12, "t": 62, "b": 58},
            xaxis=theme.axis(
                "layer, as recorded",
                tickvals=list(range(last + 1)),
                ticktext=[clean(name) for name in view.layers],
                range=[-0.5, last + 0.5],
                showgrid=False,
            ),
            yaxis=theme.axis(MEASURES.get(view.measure, clean(view.measure))),
        )
    )
    return figure


def _line(view: DepthView, theme: Theme, i: int) -> plot.Trace:
    color = theme.series[i % len(theme.series)]
    value, low, high = view.value[:, i], view.low[:, i], view.high[:, i]
    # Side by side, so that intervals of datasets do not hide each other.
    shift = 0.06 * (i - (len(view.datasets) - 1) / 2)
    spans = [
        f"{short(a)} to {short(b)}" if np.isfinite(a) else "no interval"
        for a, b in zip(low, high, strict=True)
    ]
    return plot.scatter(
        x=np.arange(len(view.layers)) + shift,
        y=value,
        mode="lines+markers",
        name=clean(view.datasets[i]),
        line={"color": color, "width": 1.5},
        marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": color},
        error_y=bars(value, low, high, theme.faded(color, 0.55)),
        customdata=np.stack(
            [np.array(view.layers, dtype=object), np.array(spans, dtype=object)], 1
        ),
        hovertemplate="%{customdata[0]}: %{y:.3f} (%{customdata[1]})"
        f"<extra>{clean(view.datasets[i])}</extra>",
    )
