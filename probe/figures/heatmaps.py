"""The figure of a study's heatmaps: images beside the maps of detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.figures.colours import colours_of
from probe.figures.styles import STYLE

__all__ = ["heatmap_figure"]

#: Words that hold in grey too.
LEGEND = "outline: forgery mask; colour: attribution,\nlight fake, dark real, one scale a column"


def heatmap_figure(
    images: Mapping[str, Sequence[NDArray[Any]]],
    maps: Mapping[str, NDArray[np.float32]],
    masks: Sequence[NDArray[np.uint8] | None],
    rows: Sequence[str],
) -> Figure:
    """Draw images beside their heatmaps; each column of maps has one scale, centred on zero.

    Parameters
    ----------
    images : mapping
        Column title to one image a row, shape (h, w, 3), 0 to 255.
    maps : mapping
        Column title to maps, shape (row, h, w); positive pushes towards fake.
    masks : sequence
        Forgery mask a row, shape (h, w), 0 to 255, or None; drawn as a contour on the maps.
    rows : sequence of str
        Titles of the rows.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns, bars = len(images) + len(maps), 0.055
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.02 * columns + 0.25, 1.02 * (len(rows) + 2.2 * bars) + 0.45))
        grid = figure.subplots(
            len(rows) + 1, columns, squeeze=False,
            gridspec_kw={
                "wspace": 0.05, "hspace": 0.05, "height_ratios": [1.0] * len(rows) + [bars],
                "left": 0.045, "right": 0.995, "top": 0.96, "bottom": 0.045,
            },
        )  # fmt: skip
        for c, (title, pictures) in enumerate(images.items()):
            grid[0, c].set_title(title, pad=3)
            grid[-1, c].axis("off")
            for r, picture in enumerate(pictures):
                grid[r, c].imshow(picture)
        for c, (title, stack) in enumerate(maps.items(), start=len(images)):
            grid[0, c].set_title(title, pad=3)
            _draw_maps(figure, grid[:, c], stack, masks)
        for r, name in enumerate(rows):
            grid[r, 0].set_ylabel(name)
        for axes in grid[:-1].flat:
            axes.set(xticks=[], yticks=[])
        if maps and images:
            grid[-1, 0].text(0, 1.0, LEGEND, va="top", fontsize=6, transform=grid[-1, 0].transAxes)
    return figure


def _draw_maps(
    figure: Figure,
    column: NDArray[Any],
    stack: NDArray[np.float32],
    masks: Sequence[NDArray[np.uint8] | None],
) -> None:
    """Draw one column of maps, and its colour bar in the last row."""
    # The 99.5th percentile keeps one hot pixel from washing out all else.
    limit = float(np.percentile(np.abs(stack), 99.5)) or 1.0
    # A black line is lost on dark colours: a white one lies under it.
    under: Any = patheffects.withStroke(linewidth=1.6, foreground="white")
    for axes, values, mask in zip(column[:-1], stack, masks, strict=True):
        drawn = axes.imshow(values, cmap=colours_of(True), vmin=-limit, vmax=limit)
        if mask is not None and mask.any():
            outline = axes.contour(mask, levels=[127.5], colors="black", linewidths=0.6)
            outline.set_path_effects([under])
    bar = figure.colorbar(drawn, cax=column[-1], orientation="horizontal")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.1g}", "0", f"+{limit:.1g}"])
    ends = bar.ax.get_xticklabels()
    ends[0].set_horizontalalignment("left")
    ends[-1].set_horizontalalignment("right")
    bar.ax.tick_params(length=0, labelsize=6, pad=1)
