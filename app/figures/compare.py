"""What differs between two detectors: dots with intervals by dataset, and image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.queries.compare_images import ImagesView
from app.queries.compare_scores import ScoresView
from app.selection import METRICS
from probe.plots.theme import Theme, clean, level, theme_of

__all__ = ["forest_figure", "forest_height", "interval_bars", "points_figure", "row_names"]

_ROW, _HEAD, _FOOT = 44, 42, 52

Floats = NDArray[np.float64]

#: Width of the left panel, and where the right one begins.
_LEFT, _RIGHT = 0.40, 0.46


def forest_height(n_rows: int) -> int:
    """Height in pixels that gives every dataset the same room."""
    return _ROW * n_rows + _HEAD + _FOOT


def forest_figure(view: ScoresView, scheme: str | None = None) -> plot.Figure:
    """Draw both detectors at the left and their paired difference with its interval at the right.

    Differences that are more than noise are filled diamonds, the others open circles. Small
    crosses are the same difference of trainings from other seeds.
    """
    theme = theme_of(scheme)
    n = len(view.datasets)
    figure = plot.Figure(_both(view, theme))
    figure.add_traces([_differences(view, theme, changed) for changed in (True, False)])
    if len(view.seeds):
        figure.add_trace(_seeds(view, theme))
    for row in range(n):
        ends = sorted((view.value[row], view.reference[row]))
        figure.add_shape(
            type="line",
            xref="x",
            yref="y",
            x0=ends[0],
            x1=ends[1],
            y0=row,
            y1=row,
            layer="below",
            line={"color": theme.line, "width": 3},
        )
    figure.add_shape(
        type="line",
        xref="x2",
        yref="paper",
        x0=0,
        x1=0,
        y0=0,
        y1=1,
        layer="below",
        line={"color": theme.muted, "width": 1.5},
    )
    name = METRICS[view.metric]
    figure.update_layout(
        **theme.layout(
            height=forest_height(n),
            showlegend=True,
            legend=theme.top_legend(),
            margin={"l": 8, "r": 16, "t": _HEAD, "b": _FOOT},
            annotations=_missing(view, theme),
            xaxis=theme.axis(f"{name}", domain=[0, _LEFT], nticks=6),
            xaxis2=theme.axis(
                f"difference in {name}: {clean(view.one)} less {clean(view.other)}",
                domain=[_RIGHT, 1],
                range=_reach(view),
                nticks=7,
            ),
            yaxis=theme.axis(
                tickvals=list(range(n)),
                ticktext=row_names(
                    view.datasets, view.n_samples, view.n_clusters, view.level, theme
                ),
                range=[n - 0.5, -0.5],
                automargin=True,
                showgrid=False,
                tickfont={"size": 13, "color": theme.ink},
            ),
        )
    )
    return figure


def row_names(
    datasets: tuple[str, ...], n_samples: Any, n_clusters: Any, unit: str, theme: Theme
) -> list[str]:
    """Name datasets with what their numbers rest on."""
    kind = "images" if unit == "frame" else "videos"
    small = f"<span style='font-size:11px;color:{theme.muted}'>"
    return [
        f"{clean(name)}  <br>{small}{n:,} {kind} · {clusters:,} clusters</span>  "
        for name, n, clusters in zip(datasets, n_samples, n_clusters, strict=True)
    ]


def interval_bars(value: Floats, low: Floats, high: Floats, theme: Theme) -> dict[str, Any]:
    """Return the intervals of a trace's points; those without one have none."""
    ends = [
        np.where(np.isfinite(low), np.maximum(end, 0), 0)
        for end in (np.nan_to_num(high - value), np.nan_to_num(value - low))
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": ends[0],
        "arrayminus": ends[1],
        "thickness": 2,
        "width": 0,
        "color": theme.muted,
    }


def points_figure(
    view: ImagesView, names: tuple[str, str], scheme: str | None = None
) -> plot.Figure:
    """Draw every image at the logits that both gave it."""
    theme = theme_of(scheme)
    figure = plot.Figure()
    kinds = ((0, "real", theme.accent, "circle"), (1, "fake", theme.warm, "square"))
    for label, name, color, symbol in kinds:
        kept = view.label == label
        figure.add_scatter(
            x=view.other[kept],
            y=view.one[kept],
            mode="markers",
            name=name,
            marker={
                "color": color,
                "symbol": symbol,
                "size": 5,
                "opacity": 0.75 if len(view.label) < 600 else 0.4,
            },
            hovertemplate=f"{clean(names[0])} %{{y:.2f}}, {clean(names[1])} %{{x:.2f}}"
            f"<extra>{name}</extra>",
        )
    both = np.r_[view.one, view.other] if len(view.one) else np.zeros(1)
    ends = [float(both.min()), float(both.max())]
    figure.add_shape(
        type="line",
        x0=ends[0],
        x1=ends[1],
        y0=ends[0],
        y1=ends[1],
        layer="below",
        line={"color": theme.muted, "width": 1, "dash": "dot"},
    )
    for way in ("x", "y"):
        zero = {f"{way}0": 0, f"{way}1": 0}
        across = "y" if way == "x" else "x"
        figure.add_shape(
            type="line",
            layer="below",
            line={"color": theme.line, "width": 1.5},
            **{f"{across}ref": "paper", f"{across}0": 0, f"{across}1": 1},
            **zero,
        )
    figure.update_layout(
        **theme.layout(
            showlegend=True,
            legend=theme.top_legend(itemsizing="constant"),
            margin={"l": 60, "r": 12, "t": 34, "b": 52},
            xaxis=theme.axis(f"fake logit of {clean(names[1])}"),
            yaxis=theme.axis(f"fake logit of {clean(names[0])}"),
        )
    )
    return figure


def _both(view: ScoresView, theme: Theme) -> list[plot.Trace]:
    rows = np.arange(len(view.datasets))
    shared: dict[str, Any] = {"mode": "markers", "xaxis": "x", "yaxis": "y"}
    text = f"{METRICS[view.metric]} %{{x:.3f}}"
    return [
        plot.scatter(
            x=view.value,
            y=rows,
            name=clean(view.one),
            **shared,
            marker={
                "symbol": "circle",
                "size": 12,
                "color": theme.accent,
                "line": {"width": 1, "color": theme.ground},
            },
            hovertemplate=f"{text}<extra>{clean(view.one)}</extra>",
        ),
        plot.scatter(
            x=view.reference,
            y=rows,
            name=clean(view.other),
            **shared,
            marker={
                "symbol": "diamond-open",
                "size": 11,
                "color": theme.warm,
                "line": {"width": 2},
            },
            hovertemplate=f"{text}<extra>{clean(view.other)}</extra>",
        ),
    ]


def _differences(view: ScoresView, theme: Theme, changed: bool) -> plot.Trace:
    """Draw the rows whose difference is more than noise, or the others."""
    rows = np.flatnonzero((view.changed == changed) & np.isfinite(view.difference))
    return plot.scatter(
        x=view.difference[rows],
        y=rows,
        error_x=interval_bars(view.difference[rows], view.low[rows], view.high[rows], theme),
        mode="markers",
        name="more than noise, q ≤ .05" if changed else "within noise, or not tested",
        xaxis="x2",
        yaxis="y",
        marker={
            "symbol": "diamond" if changed else "circle",
            "size": 13 if changed else 11,
            "color": theme.ink if changed else theme.ground,
            "line": {"width": 2, "color": theme.ink},
        },
        hovertext=[_hover(view, int(row)) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _seeds(view: ScoresView, theme: Theme) -> plot.Trace:
    n = len(view.seeds)
    return plot.scatter(
        x=view.seeds.ravel(),
        y=np.tile(np.arange(len(view.datasets)) + 0.26, n),
        mode="markers",
        name="trained from other seeds",
        xaxis="x2",
        yaxis="y",
        marker={"symbol": "x-thin-open", "size": 7, "color": theme.muted, "line": {"width": 1.5}},
        hovertemplate="%{x:+.3f}<extra>another training</extra>",
    )


def _hover(view: ScoresView, row: int) -> str:
    lines = [
        f"<b>{clean(view.datasets[row])}</b>: {view.difference[row]:+.3f}",
        f"{view.value[row]:.3f} and {view.reference[row]:.3f}",
    ]
    if np.isfinite(view.low[row]):
        lines += [
            f"{view.coverage:.0%} interval {view.low[row]:+.3f} to {view.high[row]:+.3f}",
            f"p {level(float(view.p[row]))}, q over datasets {level(float(view.q[row]))}",
        ]
    else:
        lines.append(f"no interval: {view.reason[row]}")
    return "<br>".join(lines).replace("-", "\N{MINUS SIGN}")


def _missing(view: ScoresView, theme: Theme) -> list[dict[str, Any]]:
    """Write into rows without an interval why there is none."""
    return [
        {
            "x": 1,
            "xref": "paper",
            "xanchor": "right",
            "y": row + 0.3,
            "yref": "y",
            "text": clean(view.reason[row]),
            "showarrow": False,
            "font": {"size": 11, "color": theme.muted},
        }
        for row in range(len(view.datasets))
        if view.reason[row]
    ]


def _reach(view: ScoresView) -> list[float]:
    """Take the range of differences, with 0 in it and a little room."""
    every = np.r_[view.difference, view.low, view.high, view.seeds.ravel(), 0.0]
    every = every[np.isfinite(every)]
    room = 0.06 * max(float(np.ptp(every)), 0.01)
    return [float(every.min()) - room, float(every.max()) + room]
