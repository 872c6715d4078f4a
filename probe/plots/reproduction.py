"""Settings that were tried to reach published figures."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from probe.errors import UnknownNameError
from probe.plots.style import STYLE
from probe.plots.text import cut
from probe.reproduction.table import Reproduction

__all__ = ["plot_reproduction", "reproduction"]

#: Pairs that are drawn, at most: those that hold the figures, then the nearest.
PAIRS = 12

#: Colors of Okabe and Ito: settings that hold the figures, and others.
HOLDS, OTHER = "#d55e00", "0.45"


def reproduction(found: Reproduction, figure: str = "") -> pd.DataFrame:
    """Return the settings of a reproduction that are drawn, of one figure.

    Parameters
    ----------
    found : Reproduction
        Settings that were tried.
    figure : str, default ""
        Name of the figure; "" is the first.

    Returns
    -------
    pandas.DataFrame
        Rows of `Reproduction.to_dataframe`: as given, all single changes, and the pairs that hold
        the figures or are nearest.

    Raises
    ------
    UnknownNameError
        If there is no such figure.
    """
    names = list(map(str, found.data["figure"].values))
    if figure and figure not in names:
        raise UnknownNameError("figure", figure, names, where="the reproduction")
    frame = found.to_dataframe()
    frame = frame[frame["figure"] == (figure or names[0])]
    frame = frame.assign(gap=(frame["value"] - frame["published"]).abs())
    single = frame[frame["changes"] < 2].sort_values(["changes", "value"])
    order = ["holds", "confirmed", "gap"]
    pairs = frame[frame["changes"] > 1].sort_values(order, ascending=[False, False, True])
    return pd.concat([single, pairs.head(PAIRS)], ignore_index=True).drop(columns="gap")


def plot_reproduction(found: Reproduction, figure: str = "") -> Figure:
    """Draw the settings with their clustered intervals, and the published figure as a line.

    Diamonds hold what was published. Hollow marks are predicted from the drawn subset.

    Parameters
    ----------
    found, figure : Reproduction, str
        As in `reproduction`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = reproduction(found, figure)
    place = np.arange(len(frame))[::-1]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(5.6, 0.17 * len(frame) + 0.9), layout="constrained")
        axes = drawn.subplots()
        axes.axvline(float(frame["published"].iloc[0]), color="black", lw=0.9, label="published")
        for y, row in zip(place, frame.to_dict("records"), strict=True):
            color = HOLDS if row["holds"] else OTHER
            axes.plot([row["low"], row["high"]], [y, y], color=color, lw=1.1)
            face = color if row["confirmed"] else "white"
            mark = "D" if row["holds"] else "o"
            axes.plot([row["value"]], [y], mark, ms=4, mfc=face, mec=color, mew=0.8)
        axes.set_yticks(place, [cut(str(name), 60) for name in frame["setting"]], fontsize=6)
        axes.set(xlabel=str(frame["figure"].iloc[0]), ylim=(-0.7, len(frame) - 0.3))
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        for mark, color, face, said in (
            ("D", HOLDS, HOLDS, "holds what was published"),
            ("o", OTHER, OTHER, "does not"),
            ("o", OTHER, "white", "predicted from the subset"),
        ):
            axes.plot([], [], mark, ms=4, mfc=face, mec=color, mew=0.8, label=said)
        drawn.legend(
            frameon=False, fontsize=6, loc="outside upper center", ncols=4, handletextpad=0.4
        )
    return drawn
