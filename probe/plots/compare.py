"""Figures of two detectors compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from probe.plots.style import STYLE

__all__ = [
    "forest_figure",
    "panels_figure",
    "scatter_figure",
]

#: Colors and markers; series differ in both.
COLORS, MARKERS = ("#0072b2", "#d55e00", "#000000"), ("o", "s", "D")
MUTED = "#777777"
INK = "#222222"
#: Panels per row.
COLUMNS = 3


def forest_figure(
    names: Sequence[str] | ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    label: str,
    marked: ArrayLike | None = None,
    again: ArrayLike | None = None,
    zero: float | None = 0.0,
) -> Figure:
    """Draw a value with its interval per row (forest plot).

    Parameters
    ----------
    names : sequence of str
        Row names, from the top.
    value, low, high : array_like
        Shape (row,); rows without bounds have a mark only.
    label : str
        Axis label.
    marked : array_like, optional
        Rows drawn as a filled diamond; the others are open circles.
    again : array_like, optional
        Shape (repeat, row): the same value in other trainings, drawn as small crosses.
    zero : float, optional
        Position of the line of "no difference"; None for no line.
    """
    rows = [str(name) for name in np.asarray(names)]
    x, lower, upper = (np.asarray(a, dtype=float) for a in (value, low, high))
    filled = np.zeros(len(rows), bool) if marked is None else np.asarray(marked, dtype=bool)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 0.28 * len(rows) + 0.85), layout="constrained")
        axes = figure.subplots()
        if zero is not None:
            axes.axvline(zero, color=MUTED, lw=0.8)
        place = np.arange(len(rows))
        there = np.isfinite(lower)
        axes.hlines(place[there], lower[there], upper[there], color="black", lw=1.2)
        for chosen, marker, face in ((filled, "D", "black"), (~filled, "o", "white")):
            axes.plot(x[chosen], place[chosen], marker, color="black", mfc=face, ms=4.5, mew=1)
        for one in () if again is None else np.asarray(again, dtype=float):
            axes.plot(one, place + 0.25, "x", color=MUTED, ms=3, mew=0.8)
        axes.set_yticks(place, rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return figure


def scatter_figure(
    x: ArrayLike, y: ArrayLike, kinds: Mapping[str, ArrayLike], *, labels: tuple[str, str]
) -> Figure:
    """Draw points by kind, and the diagonal of equality.

    Parameters
    ----------
    x, y : array_like
        Shape (n,), coordinates of the points.
    kinds : mapping
        Name of a kind to a mask of its points, shape (n,).
    labels : tuple of str
        Axis labels.
    """
    across, up = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 3.0), layout="constrained")
        axes = figure.subplots()
        axes.axline((0, 0), slope=1, color=MUTED, lw=0.7, ls=":")
        looks = ((COLORS[0], "o"), (COLORS[1], "s"), ("#009e73", "^"), ("#000000", "D"))
        few = len(across) <= 300
        for i, (name, given) in enumerate(kinds.items()):
            kept, (color, marker) = np.asarray(given, dtype=bool), looks[i % len(looks)]
            if kept.any():
                axes.plot(
                    across[kept],
                    up[kept],
                    marker,
                    ms=3.5 if few else 2,
                    mew=0.6,
                    color=color,
                    mfc="none" if few else color,
                    alpha=1 if few else 0.4,
                    label=name,
                    ls="",
                    rasterized=len(across) > 5000,
                )
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=6, loc="best")
    return figure


def panels_figure(
    names: Sequence[str],
    places: Sequence[str],
    titles: Sequence[str],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    label: str,
    zero: float = 0.5,
    marked: ArrayLike | None = None,
) -> Figure:
    """Draw values with intervals at ordered places, one panel per title.

    Parameters
    ----------
    names : sequence of str
        Names of the lines.
    places, titles : sequence of str
        Tick labels of the axis; titles of the panels.
    value, low, high : array_like
        Shape (name, place, title).
    label : str
        Label of the value axis.
    zero : float, default 0.5
        Chance level, drawn as a line.
    marked : array_like of bool, optional
        Shape (place, title): where to draw a diamond above, such as for significant differences.
    """
    marks = np.zeros((len(places), len(titles)), bool) if marked is None else np.asarray(marked)
    arrays = [np.asarray(a, dtype=float) for a in (value, low, high)]
    lines, columns = -(-len(titles) // COLUMNS), min(COLUMNS, len(titles))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * columns, 1.6 * lines + 0.4), layout="constrained")
        grid: Any = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for i, axes in enumerate(grid.ravel()):
            if i >= len(titles):
                axes.set_visible(False)
                continue
            axes.axhline(zero, color=MUTED, lw=0.7, ls=":")
            for k, name in enumerate(names):
                v, lower, upper = (a[k, :, i] for a in arrays)
                axes.errorbar(
                    np.arange(len(places)) + (0.06 if k == 0 else -0.06),
                    v,
                    yerr=np.nan_to_num(np.maximum([v - lower, upper - v], 0)),
                    fmt=MARKERS[k % 3],
                    ls=("-", "--")[k % 2],
                    lw=0.9,
                    ms=3.5,
                    capsize=1.5,
                    color=COLORS[k % 3],
                    mfc="none" if k else COLORS[0],
                    label=name,
                )
            for r in np.flatnonzero(marks[:, i]):
                top = np.nanmax([arrays[0][:, r, i], np.nan_to_num(arrays[2][:, r, i])])
                axes.plot([r], [top + 0.035], marker="D", ms=3, color=INK, lw=0, clip_on=False)
            axes.set_xticks(range(len(places)), places)
            axes.set_xlim(-0.5, len(places) - 0.5)
            axes.set_title(titles[i])
            axes.spines[["top", "right"]].set_visible(False)
        grid[0, 0].legend(frameon=False, fontsize=6)
        figure.supylabel(label, fontsize=8)
    return figure
