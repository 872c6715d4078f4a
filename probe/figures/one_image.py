"""One image compared with others: its scores, and deviations from real images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from probe.errors import ProbeError
from probe.figures.styles import STYLES, Style

__all__ = ["image_deviations_figure", "image_scores_figure"]

REAL, FAKE = "#0072b2", "#d55e00"

#: Heights in inches: of a row of scores, of a row of values, and of the space around all rows.
_SCORE, _VALUE, _ROOM = 0.34, 0.155, 0.62

#: End of the axis of deviations; values beyond are drawn there as arrows.
END = 8.0


def image_scores_figure(
    detectors: Sequence[str],
    logits: ArrayLike,
    reals: Sequence[ArrayLike],
    fakes: Sequence[ArrayLike],
    *,
    style: str = "ieee-column",
) -> Figure:
    """Draw the logit of an image by each detector among the logits of other images.

    Parameters
    ----------
    detectors : sequence of str
        Names of the detectors, one per row.
    logits : array
        Logits of the image, shape (detector,).
    reals, fakes : sequence of array
        Logits of other images per detector, drawn as strokes above and below the row.
    style : str
        Name in `probe.figures.STYLES`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If there are no detectors.
    """
    own = np.asarray(logits, dtype=float)
    with STYLES[style].context():
        figure, axes = _rows(list(detectors), _SCORE, STYLES[style])
        for row in range(len(own)):
            axes.axhline(row, color="0.85", lw=0.4, zorder=0)
            for values, color, side in ((reals[row], REAL, -1), (fakes[row], FAKE, 1)):
                ends = row + side * 0.06, row + side * 0.34
                axes.vlines(np.asarray(values), *ends, color=color, lw=0.35, alpha=0.8)
        axes.axvline(0, color="0.4", lw=0.6, ls=":")
        axes.plot(own, range(len(own)), "D", color="black", mec="white", mew=0.6, ms=4.5)
        axes.set_xlabel("logit of fake (strokes above: real images; below: fakes)")
    return figure


def image_deviations_figure(
    names: Sequence[str], deviations: ArrayLike, *, far: float = 3.0, style: str = "ieee-column"
) -> Figure:
    """Draw how far values of one image are from the median of real images, in deviations.

    Parameters
    ----------
    names : sequence of str
        Names of the values, one per row.
    deviations : array
        Signed deviations, shape (value,).
    far : float, default 3
        Absolute deviation above which marks are filled; the band within is gray.
    style : str
        Name in `probe.figures.STYLES`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ProbeError
        If there are no values.
    """
    values = np.asarray(deviations, dtype=float)
    with STYLES[style].context():
        figure, axes = _rows(list(names), _VALUE, STYLES[style])
        axes.axvspan(-far, far, color="0.93", lw=0, zorder=0)
        axes.axvline(0, color="0.4", lw=0.6)
        for row, value in enumerate(values):
            at = float(np.clip(value, -END, END))
            mark = "o" if abs(value) <= END else ">" if value > 0 else "<"
            filled = REAL if abs(value) > far else "white"
            axes.plot([0, at], [row, row], color="0.6", lw=0.6)
            axes.plot(at, row, mark, color=REAL, mfc=filled, mew=0.7, ms=3.5)
        axes.set_xlim(-END - 0.6, END + 0.6)
        axes.set_xlabel("deviations from the median of real images (arrow: beyond 8)")
    return figure


def _rows(names: list[str], height: float, style: Style) -> tuple[Figure, Axes]:
    """Make a figure with one row per name, the first at the top."""
    if not names:
        raise ProbeError("Nothing was given to draw. Give at least one row.")
    size = style.width, min(style.height, _ROOM + height * len(names))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    ticks: dict[str, Any] = {"length": 0}
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", **ticks)
    axes.tick_params(axis="x", labelsize=style.small)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure, axes
