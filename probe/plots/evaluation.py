"""Detection: detectors × datasets."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from probe.evaluation.table import ZeroShotMatrix
from probe.plots.style import STYLE, colors_of, text_on

__all__ = ["matrix", "plot_matrix"]


def matrix(found: ZeroShotMatrix) -> pd.DataFrame:
    """Return the zero-shot matrix as a table: `ZeroShotMatrix.to_dataframe`."""
    return found.to_dataframe()


def plot_matrix(
    found: ZeroShotMatrix,
    metric: str = "auroc",
    level: str = "frame",
    seen: ArrayLike | None = None,
) -> Figure:
    """Draw the zero-shot matrix, detectors × datasets, with values and intervals in the cells.

    Parameters
    ----------
    found : ZeroShotMatrix
        Scores of detectors on datasets.
    metric, level : str
        Metric, and level ("frame" or "video").
    seen : array_like of bool, optional
        Shape (detector, dataset): cells to frame, such as the training datasets of a detector.
    """
    part = found.data.sel(metric=metric, level=level)
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
