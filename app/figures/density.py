"""Density of samples in a picture: one heat map, whose color is a group or a mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.figures import plot
from app.queries.density import Density
from app.queries.pictures import Coloring
from probe.plots.theme import Theme, clean

__all__ = ["density_trace", "mixed"]

#: Colors of a heat map, one of which stands for nothing at all.
MOST_COLORS = 255
#: Shades of a numeric scale, and opacities from few samples to many.
SHADES, LEVELS = 20, 12
#: Opacity of a cell with one sample.
FAINT = 0.3


def density_trace(
    density: Density, color: Coloring, theme: Theme, hues: list[str], span: tuple[float, float]
) -> plot.Trace:
    """Draw the cells of a density.

    The color of a cell is its group, or its mean on the scale; its opacity is the logarithm of
    its count. Both together are one whole number a cell, so that a picture of any number of
    samples is some ten thousand bytes.

    Parameters
    ----------
    density : Density
        What to draw.
    color : Coloring
        What it is colored by.
    theme : Theme
        Colors of the scheme.
    hues : list of str
        Color of each group, or the numeric scale from low to high.
    span : tuple of float
        Numbers that the ends of the scale stand for.
    """
    hue = density.group if color.names else _shade(density.mean, span)
    hues = hues if color.names else [mixed(hues, (i + 0.5) / SHADES) for i in range(SHADES)]
    levels = max(2, min(LEVELS, (MOST_COLORS - 1) // len(hues)))
    log = np.log1p(density.count) / np.log1p(max(int(density.count.max(initial=1)), 1))
    level = np.clip(np.rint(log * (levels - 1)), 0, levels - 1).astype(np.int64)
    cell = np.where(density.count > 0, hue * levels + level + 1, 0)
    steps = ["rgba(0,0,0,0)"] + [
        theme.faded(shade, round(FAINT + (1 - FAINT) * i / (levels - 1), 2))
        for shade in hues
        for i in range(levels)
    ]
    x0, x1, y0, y1 = density.window
    up, across = density.count.shape
    return plot.heatmap(
        z=cell.astype(np.uint8),
        x0=x0 + (x1 - x0) / across / 2,
        dx=((x1 - x0) or 1) / across,
        y0=y0 + (y1 - y0) / up / 2,
        dy=((y1 - y0) or 1) / up,
        zmin=-0.5,
        zmax=len(steps) - 0.5,
        zsmooth=False,
        showscale=False,
        colorscale=_steps(steps),
        text=_words(density, color),
        hoverinfo="text",
        name="",
    )


def mixed(scale: list[str] | tuple[str, ...], share: float) -> str:
    """Return the color at a share of the way through a scale."""
    place = min(max(share, 0), 1) * (len(scale) - 1)
    i = min(int(place), len(scale) - 2)
    ends = [[int(scale[k][c : c + 2], 16) for c in (1, 3, 5)] for k in (i, i + 1)]
    parts = [round(a + (b - a) * (place - i)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{part:02x}" for part in parts)


def _shade(mean: NDArray[np.float64], span: tuple[float, float]) -> NDArray[np.int64]:
    low, high = span
    share = (np.nan_to_num(mean, nan=low) - low) / ((high - low) or 1)
    return np.clip(share * SHADES, 0, SHADES - 1).astype(np.int64)


def _steps(colors: list[str]) -> list[list[Any]]:
    """Make a scale without passages: each color from its own beginning to its end."""
    n = len(colors)
    return [[k / n, shade] for i, shade in enumerate(colors) for k in (i, i + 1)]


def _words(density: Density, color: Coloring) -> NDArray[np.object_]:
    """Say what lies in each cell; nothing about empty ones, where nothing is shown."""
    there = density.count > 0
    counts = [_short(int(n)) for n in density.count[there]]
    if color.names:
        names = [clean(name) for name in color.names]
        shares = np.rint(100 * density.share[there]).astype(int)
        pairs = zip(shares, density.group[there], counts, strict=True)
        said = [f"{share}% {names[group]} of {n}" for share, group, n in pairs]
    else:
        said = [f"mean {m:.3g} of {n}" for m, n in zip(density.mean[there], counts, strict=True)]
    words = np.full(there.shape, "", dtype=object)
    words[there] = said
    return words


def _short(number: int) -> str:
    return str(number) if number < 1000 else f"{number / 1000:.3g}k"
