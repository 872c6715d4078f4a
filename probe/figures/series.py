"""Styles of series: one color, marker and line style per dataset, the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from probe.schema import DATASETS

__all__ = ["draw_series", "look_of"]

#: Colors of Okabe and Ito 2008. Markers and line styles distinguish series in gray print.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))


def look_of(name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the matplotlib style of a dataset's series; every second marker is open.

    Parameters
    ----------
    name : str
        Dataset. Those of the study have the same style in every figure.
    names : sequence of str
        All datasets drawn.
    """
    place = DATASETS.index(name) if name in DATASETS else list(names).index(name)
    color = COLORS[place % len(COLORS)]
    return {
        "color": color,
        "marker": MARKS[place % len(MARKS)],
        "ls": DASHES[place % len(DASHES)],
        "mfc": "white" if place % 2 else color,
    }


def draw_series(
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike | None,
    high: ArrayLike | None,
    look: dict[str, Any],
    label: str,
) -> Any:
    """Draw one series, with intervals where available; return its handle."""
    values = np.asarray(value, dtype=float)
    spread = None
    if low is not None and high is not None and np.isfinite(np.asarray(low, dtype=float)).any():
        ends = np.stack([values - np.asarray(low), np.asarray(high) - values])
        spread = np.nan_to_num(ends).clip(0)
    return axes.errorbar(
        x,
        values,
        yerr=spread,
        **look,
        label=label,
        ms=3,
        mew=0.7,
        lw=0.9,
        elinewidth=0.7,
        capsize=0,
    )
