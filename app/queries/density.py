"""How many samples lie where in a picture, for more of them than can be drawn one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.queries.pictures import Coloring, PictureView, Window

__all__ = ["Density", "density_of", "nearest"]

#: Cells across and up.
GRID = (128, 96)
#: A cell of fewer samples shows each by its own symbol, so that lone ones are seen.
FEW = 3
#: Such symbols at most; where there are more, those of single samples, else none.
MOST_LONE = 1000
#: Samples of groups that are drawn with their symbols on top, chosen at random, so that groups
#: are not told apart by color alone.
MARKED = 400


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


def density_of(
    view: PictureView, color: Coloring, rows: NDArray[np.int64], window: Window | None
) -> Density:
    """Count the samples of some rows, which lie in the window, on a grid over it."""
    x0, x1, y0, y1 = window or view.extent
    across, up = GRID
    x, y = view.position[rows].T
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


def nearest(view: PictureView, x: float, y: float) -> int:
    """Return the row of the sample that lies nearest to a place, in shares of the extent."""
    x0, x1, y0, y1 = view.extent
    size = np.array([(x1 - x0) or 1.0, (y1 - y0) or 1.0])
    return int(np.argmin((((view.position - (x, y)) / size) ** 2).sum(axis=1)))


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
