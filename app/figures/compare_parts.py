"""Two detectors inside: units, features, probes by layer, and maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.figures import plot
from app.figures.compare import interval_bars, row_names
from app.queries.compare_maps import MapsView
from app.queries.compare_parts import FeaturesView, LayersView, UnitsView
from probe.plots.theme import Theme, clean, level, theme_of

__all__ = [
    "features_figure",
    "features_height",
    "layers_figure",
    "layers_height",
    "maps_figure",
    "maps_height",
    "units_figure",
]

#: Panels beside one another, and the height of one.
COLUMNS, PANEL = 3, 210
_ROW, _HEAD, _FOOT = 44, 36, 52


def units_figure(view: UnitsView, names: tuple[str, str], scheme: str | None = None) -> plot.Figure:
    """Draw every unit at its mean effect in both variants."""
    theme = theme_of(scheme)
    figure = plot.Figure()
    both = view.in_one & view.in_other
    kinds = (
        ("in neither list", ~(view.in_one | view.in_other), "circle-open", theme.muted),
        (
            f"universal in {names[0]} only",
            view.in_one & ~view.in_other,
            "triangle-up",
            theme.accent,
        ),
        (
            f"universal in {names[1]} only",
            view.in_other & ~view.in_one,
            "triangle-right",
            theme.warm,
        ),
        ("universal in both", both, "diamond", theme.ink),
    )
    for name, kept, symbol, color in kinds:
        figure.add_scatter(
            x=view.other[kept],
            y=view.one[kept],
            mode="markers",
            name=clean(name),
            showlegend=bool(kept.any()),
            customdata=view.unit[kept],
            marker={"symbol": symbol, "size": 9, "color": color, "line": {"width": 1.5}},
            hovertemplate="unit %{customdata}: %{y:.3g} and %{x:.3g}"
            f"<extra>{clean(name)}</extra>",
        )
    most = float(max(view.one.max(initial=0), view.other.max(initial=0)))
    figure.add_shape(
        type="line",
        x0=0,
        x1=most,
        y0=0,
        y1=most,
        layer="below",
        line={"color": theme.muted, "width": 1, "dash": "dot"},
    )
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 60, "r": 12, "t": 52, "b": 52},
            xaxis=theme.axis(f"mean effect on the {view.output}, {clean(names[1])}"),
            yaxis=theme.axis(f"mean effect, {clean(names[0])}"),
        )
    )
    return figure


def features_height(n_layers: int) -> int:
    """Height in pixels that gives every layer the same room."""
    return _ROW * n_layers + 16 + _FOOT


def features_figure(view: FeaturesView, scheme: str | None = None) -> plot.Figure:
    """Draw debiased CKA of two detectors, layer by layer."""
    theme = theme_of(scheme)
    n = len(view.layers)
    texts = [
        f"{low:.2f} to {high:.2f}" if np.isfinite(low) else "no interval"
        for low, high in zip(view.low, view.high, strict=True)
    ]
    figure = plot.Figure(
        plot.scatter(
            x=view.value,
            y=np.arange(n),
            mode="markers",
            customdata=texts,
            error_x=interval_bars(view.value, view.low, view.high, theme),
            marker={"symbol": "circle", "size": 12, "color": theme.accent},
            hovertemplate="CKA %{x:.3f}, %{customdata}<extra></extra>",
        )
    )
    figure.update_layout(
        **theme.layout(
            height=features_height(n),
            margin={"l": 8, "r": 16, "t": 16, "b": _FOOT},
            xaxis=theme.axis(
                "debiased CKA: 0 nothing in common, 1 the same",
                range=[min(-0.04, float(np.nanmin(view.value)) - 0.04), 1.04],
            ),
            yaxis=_rows([clean(name) for name in view.layers], theme),
        )
    )
    return figure


def layers_height(n_datasets: int) -> int:
    """Height in pixels of all panels."""
    return -(-n_datasets // COLUMNS) * PANEL + _HEAD


def layers_figure(view: LayersView, scheme: str | None = None) -> plot.Figure:
    """Draw the probes' AUROC of both through the layers, a panel a dataset."""
    theme = theme_of(scheme)
    figure, axes, titles = plot.Figure(), dict[str, Any](), []
    lines = -(-len(view.datasets) // COLUMNS)
    for i, name in enumerate(view.datasets):
        r, c = divmod(i, COLUMNS)
        mark = str(i + 1) if i else ""
        left, width = c / COLUMNS, 1 / COLUMNS
        low, high = 1 - (r + 1) / lines, 1 - r / lines
        x, y = [left + 0.04, left + width - 0.01], [low + 0.17 / lines * 1.3, high - 0.1 / lines]
        for k in (0, 1):
            figure.add_trace(_through(view, k, i, mark, theme))
        titles += _marks(view, i, mark, theme)
        axes[f"xaxis{mark}"] = theme.axis(
            domain=x,
            anchor=f"y{mark}",
            tickvals=list(range(len(view.layers))),
            ticktext=[clean(layer) for layer in view.layers],
            range=[-0.5, len(view.layers) - 0.5],
            showgrid=False,
        )
        axes[f"yaxis{mark}"] = theme.axis(domain=y, anchor=f"x{mark}", range=_span(view), nticks=5)
        titles.append(
            {
                "text": f"<b>{clean(name)}</b>",
                "x": x[0],
                "xref": "paper",
                "xanchor": "left",
                "y": y[1],
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 12, "color": theme.ink},
            }
        )
        figure.add_shape(
            type="line",
            xref=f"x{mark}",
            yref=f"y{mark}",
            x0=-0.5,
            x1=len(view.layers) - 0.5,
            y0=0.5,
            y1=0.5,
            layer="below",
            line={"color": theme.muted, "width": 1, "dash": "dot"},
        )
    figure.update_layout(
        **theme.layout(
            height=layers_height(len(view.datasets)),
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 16, "r": 8, "t": _HEAD, "b": 0},
            annotations=titles,
            **axes,
        )
    )
    return figure


def maps_height(n_datasets: int) -> int:
    """Height in pixels that gives every dataset the same room."""
    return _ROW * n_datasets + _HEAD + _FOOT


def maps_figure(view: MapsView, scheme: str | None = None) -> plot.Figure:
    """Draw the similarity of maps of the same image beside that of different images."""
    theme = theme_of(scheme)
    n = len(view.datasets)
    figure = plot.Figure()
    parts = (
        (
            "two variants, the same image",
            view.value,
            view.low,
            view.high,
            -0.13,
            "circle",
            theme.accent,
        ),
        (
            "null: two variants, different images",
            view.null,
            view.null_low,
            view.null_high,
            0.17,
            "diamond-open",
            theme.warm,
        ),
    )
    for name, value, low, high, off, symbol, color in parts:
        figure.add_scatter(
            x=value,
            y=np.arange(n) + off,
            mode="markers",
            name=name,
            error_x=interval_bars(value, low, high, theme),
            marker={"symbol": symbol, "size": 11, "color": color, "line": {"width": 2}},
            hovertemplate=f"%{{x:.3f}}<extra>{name}</extra>",
        )
    figure.update_layout(
        **theme.layout(
            height=maps_height(n),
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 8, "r": 16, "t": _HEAD, "b": _FOOT},
            xaxis=theme.axis("SSIM of maps: 1 the same"),
            yaxis=_rows(
                row_names(view.datasets, view.n_samples, view.n_clusters, "frame", theme), theme
            ),
        )
    )
    return figure


def _through(view: LayersView, k: int, dataset: int, mark: str, theme: Theme) -> plot.Trace:
    color = (theme.accent, theme.warm)[k]
    value, low, high = (array[k, :, dataset] for array in (view.value, view.low, view.high))
    return plot.scatter(
        x=np.arange(len(view.layers)) + (0.06, -0.06)[k],
        y=value,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(high - value),
            "arrayminus": np.nan_to_num(value - low),
            "thickness": 1.5,
            "width": 3,
            "color": color,
        },
        mode="lines+markers",
        name=clean(view.names[k]),
        legendgroup=str(k),
        showlegend=dataset == 0,
        xaxis=f"x{mark}",
        yaxis=f"y{mark}",
        line={"color": color, "width": 1.5, "dash": ("solid", "dash")[k]},
        marker={
            "symbol": ("circle", "diamond-open")[k],
            "size": 8,
            "color": color,
            "line": {"width": 1.5},
        },
        customdata=_said(view, dataset),
        hovertemplate=f"AUROC %{{y:.3f}}%{{customdata}}<extra>{clean(view.names[k])}</extra>",
    )


def _marks(view: LayersView, dataset: int, mark: str, theme: Theme) -> list[dict[str, Any]]:
    """Put a diamond above layers whose difference is more than noise, where that was tested."""
    if view.unpaired:
        return []
    tops = np.nanmax(np.stack([view.value, np.nan_to_num(view.high)]), axis=(0, 1))
    return [
        {
            "text": "◆",
            "x": int(r),
            "xref": f"x{mark}",
            "y": float(tops[r, dataset]),
            "yref": f"y{mark}",
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 12, "color": theme.ink},
        }
        for r in np.flatnonzero(view.apart[:, dataset])
    ]


def _said(view: LayersView, dataset: int) -> list[str]:
    """Write the difference of each layer for who points at it."""
    out = []
    for r in range(len(view.layers)):
        low, high = view.difference_low[r, dataset], view.difference_high[r, dataset]
        out.append(
            f"<br>difference {view.difference[r, dataset]:+.3f} ({low:+.3f} to {high:+.3f}), "
            f"q {level(float(view.q[r, dataset]))}"
            if np.isfinite(low)
            else ""
        )
    return out


def _span(view: LayersView) -> list[float]:
    every = np.r_[view.value.ravel(), view.low.ravel(), view.high.ravel(), 0.5]
    every = every[np.isfinite(every)]
    # Room for a mark above the highest.
    return [float(every.min()) - 0.03, float(every.max()) + 0.07]


def _rows(texts: list[str], theme: Theme) -> dict[str, Any]:
    return theme.axis(
        tickvals=list(range(len(texts))),
        ticktext=[f"{text}  " for text in texts],
        range=[len(texts) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
        tickfont={"size": 13, "color": theme.ink},
    )
