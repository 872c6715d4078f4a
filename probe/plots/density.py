"""Density: how many samples lie where in an embedding, for more than can be drawn one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.plots.theme import Theme, clean

__all__ = ["Coloring", "Density", "Window", "density_of", "density_trace", "extent_of", "mixed"]

#: Part of an embedding: lowest and highest first coordinate, lowest and highest second.
Window = tuple[float, float, float, float]

#: Cells across and up.
GRID = (128, 96)
#: A cell of fewer samples shows each by its own symbol, so that lone ones are seen.
FEW = 3
#: Such symbols at most; where there are more, those of single samples, else none.
MOST_LONE = 1000
#: Samples of groups that are drawn with their symbols on top, chosen at random, so that groups
#: are not told apart by color alone.
MARKED = 400
#: Colors of a heat map, one of which stands for nothing at all.
MOST_COLORS = 255
#: Shades of a numeric scale, and opacities from few samples to many.
SHADES, LEVELS = 20, 12
#: Opacity of a cell with one sample.
FAINT = 0.3


@dataclass(frozen=True)
class Coloring:
    """What samples are colored by.

    Attributes
    ----------
    by : str
        Column.
    names : tuple of str
        Of groups; empty for numbers.
    code : numpy.ndarray
        Group of each sample, shape (sample,); empty for numbers.
    value : numpy.ndarray
        Number of each sample, shape (sample,); empty for groups.
    """

    by: str
    names: tuple[str, ...]
    code: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """Samples in view by cell of a grid.

    Attributes
    ----------
    window : tuple of float
        What the grid covers.
    count : numpy.ndarray
        Samples in each cell, shape (up, across).
    group : numpy.ndarray
        Group that most samples of a cell are of, −1 in empty cells; empty for numbers.
    share : numpy.ndarray
        Share of the cell's samples that are of this group; empty for numbers.
    mean : numpy.ndarray
        Mean number of a cell, NaN in empty ones; empty for groups.
    lone : numpy.ndarray
        Rows of the samples that are drawn one by one.
    few : int
        They are those in cells of fewer samples than this; 1 where there are none.
    marked : int
        How many samples of other cells are drawn with them.
    """

    window: Window
    count: NDArray[np.int64]
    group: NDArray[np.int64]
    share: NDArray[np.float64]
    mean: NDArray[np.float64]
    lone: NDArray[np.int64]
    few: int
    marked: int


def extent_of(frame: pd.DataFrame) -> Window:
    """Return the smallest window that shows all samples."""
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def density_of(
    frame: pd.DataFrame, color: Coloring, rows: NDArray[np.int64], window: Window | None
) -> Density:
    """Count the samples of some rows, which lie in the window, on a grid over it.

    Parameters
    ----------
    frame : pandas.DataFrame
        Places ``x`` and ``y`` of samples.
    color : Coloring
        What they are colored by.
    rows : numpy.ndarray
        Positions of what is counted.
    window : tuple of float, optional
        What the grid covers; all samples by default.
    """
    x0, x1, y0, y1 = window or extent_of(frame)
    across, up = GRID
    x, y = (frame[name].to_numpy()[rows] for name in ("x", "y"))
    column = np.clip((x - x0) / ((x1 - x0) or 1) * across, 0, across - 1).astype(np.int64)
    row = np.clip((y - y0) / ((y1 - y0) or 1) * up, 0, up - 1).astype(np.int64)
    cell = row * across + column
    count = np.bincount(cell, minlength=across * up)
    lone, few = _lone(rows, count[cell])
    none = np.empty(0)
    group, share, mean, marked = none.astype(np.int64), none, none, 0
    if color.names:
        group, share = _majority(cell, color.code[rows], len(color.names), count)
        others = rows[count[cell] >= few]
        # With replacement, since ordering all samples takes longer than all else; few come twice.
        drawn = np.random.default_rng(0).integers(0, max(len(others), 1), min(MARKED, len(others)))
        chosen = others[np.unique(drawn)]
        lone, marked = np.concatenate([lone, chosen]), len(chosen)
    else:
        total = np.bincount(cell, color.value[rows], minlength=across * up)
        mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    shape = (up, across)
    return Density(
        window=(x0, x1, y0, y1),
        count=count.reshape(shape),
        group=group.reshape(shape) if len(group) else group,
        share=share.reshape(shape) if len(share) else share,
        mean=mean.reshape(shape) if len(mean) else mean,
        lone=lone,
        few=few,
        marked=marked,
    )


def _majority(
    cell: NDArray[np.int64], code: NDArray[np.int64], n_groups: int, count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    size = len(count) * n_groups
    table = np.bincount(cell * n_groups + code, minlength=size).reshape(-1, n_groups)
    group = np.where(count > 0, table.argmax(axis=1), -1)
    return group, table.max(axis=1) / np.maximum(count, 1)


def _lone(rows: NDArray[np.int64], around: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Choose the samples of sparse cells, as far as there are not too many of them."""
    for few in range(FEW, 1, -1):
        found = rows[around < few]
        if len(found) <= MOST_LONE:
            return found, few
    return rows[:0], 1


def density_trace(
    density: Density, color: Coloring, theme: Theme, hues: list[str], span: tuple[float, float]
) -> dict[str, Any]:
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
    return {
        "type": "heatmap",
        "z": cell.astype(np.uint8),
        "x0": x0 + (x1 - x0) / across / 2,
        "dx": ((x1 - x0) or 1) / across,
        "y0": y0 + (y1 - y0) / up / 2,
        "dy": ((y1 - y0) or 1) / up,
        "zmin": -0.5,
        "zmax": len(steps) - 0.5,
        "zsmooth": False,
        "showscale": False,
        "colorscale": _steps(steps),
        "text": _words(density, color),
        "hoverinfo": "text",
        "name": "",
    }


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
