"""Figures of findings: zero-shot matrix, counts with their nulls, and ablation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from probe.figures.colors import colors_of, text_on
from probe.figures.lettering import cut
from probe.figures.styles import STYLE

__all__ = ["ablation_figure", "counts_figure", "counts_grid_figure", "matrix_figure"]


def matrix_figure(
    data: xr.Dataset, metric: str = "auroc", level: str = "frame", seen: ArrayLike | None = None
) -> Figure:
    """Draw the zero-shot matrix, detectors × datasets, with values and intervals in the cells.

    Parameters
    ----------
    data : xarray.Dataset
        `ZeroShotMatrix.data`.
    metric, level : str
        Metric, and level ("frame" or "video").
    seen : array_like of bool, optional
        Shape (detector, dataset): cells to frame, such as the training datasets of a detector.
    """
    part = data.sel(metric=metric, level=level)
    values = part["value"].values
    rows, columns = list(part["detector"].values), list(part["dataset"].values)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.85 * len(columns) + 1.6, 0.42 * len(rows) + 0.9))
        axes = figure.subplots()
        drawn = axes.imshow(values, cmap=colors_of(True), vmin=0, vmax=1, aspect="auto")
        for r in range(len(rows)):
            for c in range(len(columns)):
                _write_cell(axes, drawn, part, r, c)
        for r, c in np.argwhere(np.asarray(seen)) if seen is not None else ():
            axes.add_patch(Rectangle((c - 0.46, r - 0.46), 0.92, 0.92, fill=False, lw=1.2))
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        figure.colorbar(drawn, ax=axes, label=f"{metric.upper()} per {level}")
    return figure


def _write_cell(axes: Axes, drawn: AxesImage, part: xr.Dataset, r: int, c: int) -> None:
    value, low, high = (float(part[name].values[r, c]) for name in ("value", "low", "high"))
    if not np.isfinite(value):
        axes.text(c, r, "one class", ha="center", va="center", fontsize=5)
        return
    color = text_on(drawn.to_rgba(np.asarray(value)))
    axes.text(c, r - 0.12, f"{value:.2f}", ha="center", va="center", color=color)
    span = f"{low:.2f}–{high:.2f}" if np.isfinite(low) else "too few clusters"
    axes.text(c, r + 0.25, span, ha="center", va="center", color=color, fontsize=5)


def counts_figure(data: xr.Dataset) -> Figure:
    """Draw how many units are in the top of how many datasets, with two nulls.

    Parameters
    ----------
    data : xarray.Dataset
        `Universality.data`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.3))
        axes = figure.subplots()
        _draw_counts(axes, data)
        axes.set(xlabel=f"datasets in whose top {float(data.attrs['top']):.0%} a unit is")
        axes.set(ylabel="units")
        # Above the axes, because inside it could cover bars.
        axes.legend(
            frameon=False,
            fontsize=6.5,
            ncols=3,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            columnspacing=1.0,
            handletextpad=0.4,
        )
    return figure


def counts_grid_figure(found: Mapping[str, xr.Dataset], columns: int = 3) -> Figure:
    """Draw the counts of several detectors with two nulls, one panel per detector.

    Parameters
    ----------
    found : mapping
        Detector to `Universality.data`.
    columns : int, default 3
        Panels per row, such as the number of variants of an architecture.
    """
    columns = min(columns, len(found))
    lines = -(-len(found) // columns)
    with mpl.rc_context(STYLE):
        size = (2.3 * columns + 0.26, 1.35 * lines + 0.65)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False)
        for axes in panels.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (label, data) in zip(panels.flat, found.items(), strict=False):
            _draw_counts(axes, data)
            axes.set_title(f"{cut(label)} ({data.sizes['unit']} units)", fontsize=7)
            axes.tick_params(labelsize=6.5, length=2)
        tops = dict.fromkeys(f"{float(data.attrs['top']):.0%}" for data in found.values())
        label = f"datasets in whose top {' or '.join(tops)} a unit is"
        figure.supxlabel(label, fontsize=7.5)
        figure.supylabel("units", fontsize=7.5)
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=3, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _draw_counts(axes: Axes, data: xr.Dataset) -> None:
    count = data["count"].values
    axes.bar(count, data["observed"], width=0.62, color="#56b4e9", label="this detector")
    expected = data["independence"].values
    spread = [
        np.maximum(expected - data["independence_low"].values, 0),
        np.maximum(data["independence_high"].values - expected, 0),
    ]
    axes.errorbar(
        count - 0.12,
        expected,
        yerr=spread,
        fmt="o",
        ms=3.5,
        color="black",
        lw=1,
        capsize=2,
        label="independent lists, 95 %",
    )
    for draw, row in enumerate(data["untrained"].values if "untrained" in data else ()):
        label = "untrained networks" if draw == 0 else None
        axes.plot(
            count + 0.12,
            row,
            "D",
            ms=3.5,
            mfc="white",
            color="#d55e00",
            label=label,
            clip_on=False,
            zorder=3,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(count)


def ablation_figure(found: Mapping[str, xr.Dataset], ci: float = 0.95) -> Figure:
    """Draw the loss of detection performance without sets of units, with matched random sets.

    Parameters
    ----------
    found : mapping
        Panel title to `Ablation.data`.
    ci : float, default 0.95
        Confidence level of the intervals, for the axis label.
    """
    with mpl.rc_context(STYLE):
        tallest = max(data.sizes["set"] for data in found.values())
        size = (2.35 * len(found) + 0.6, 0.9 + 0.24 * tallest)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (title, data) in zip(panels, found.items(), strict=True):
            _draw_drops(axes, data.sel(dataset="mean", metric="auroc"))
            axes.set_title(title, fontsize=7.5)
            axes.set_ylim(tallest - 0.4, -0.6)
        figure.supxlabel(f"AUROC lost, mean over datasets ({ci:.0%} interval)", fontsize=7.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=2, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _draw_drops(axes: Any, mean: xr.Dataset) -> None:
    """Draw the sets of one detector, one row per set."""
    names = [str(name) for name in mean["set"].values]
    for row, name in enumerate(names):
        one = mean.sel(set=name)
        low, high = np.percentile(one["random_drop"], [2.5, 97.5])
        axes.plot(
            [low, high],
            [row, row],
            color="0.8",
            lw=5,
            solid_capstyle="butt",
            zorder=1,
            label="matched random sets, 95 %" if row == 0 else None,
        )
        drop = float(one["drop"])
        spread = [[drop - float(one["drop_low"])], [float(one["drop_high"]) - drop]]
        axes.errorbar(
            drop,
            row,
            xerr=spread,
            fmt="o",
            ms=3.5,
            color="#0072b2",
            lw=1,
            capsize=2,
            zorder=3,
            label="the set" if row == 0 else None,
        )
    axes.axvline(0, color="0.6", lw=0.7, zorder=0)
    labels = [f"{n} ({float(mean['n_units'].sel(set=n)):g})" for n in names]
    axes.set_yticks(range(len(names)), labels, fontsize=6.5)
    axes.spines[["top", "right"]].set_visible(False)
