"""The figure of a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.plots import STYLE

if TYPE_CHECKING:
    from probe.neurons.calibration import Calibration

__all__ = ["plot_calibration"]

#: Rules whose power is drawn against the effect: color (Okabe and Ito) and line style.
LINES = {
    "partial conjunction, p ≤ .05": ("#0072b2", "o-"),
    "partial conjunction, BH q ≤ .05": ("#0072b2", "s--"),
    "partial conjunction, BY q ≤ .05": ("#0072b2", "^:"),
    "delta_logit, count": ("#009e73", "D-"),
    "the study's count (authors)": ("#d55e00", "v-"),
    "captum conductance, count": ("#cc79a7", "P-"),
}

#: Columns of the left panel: marker, face color, edge color and label.
SHARES = {
    "power": ("o", "#0072b2", "white", "truly universal (power)"),
    "false_rate": ("X", "#d55e00", "white", "all others"),
    "false_sharpest": ("D", "none", "#d55e00", "those that lack one dataset only"),
}


def plot_calibration(found: Calibration) -> Figure:
    """Draw the share of units called by each rule, and the power against the effect.

    The left panel shows the most frequent number of units and the effect nearest to 1. Error bars
    are twice the standard error over draws.
    """
    frame = found.to_dataframe()
    frame = frame[frame["units"] == frame["units"].mode()[0]]
    effect = min(frame["effect"].unique(), key=lambda one: abs(one - 1))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        _draw_shares(left, frame[frame["effect"] == effect])
        _draw_power(right, frame)
        left.set_title(f"{frame['units'].iloc[0]} units, effect {effect:g}", fontsize=7.5)
        right.set_title(f"{frame['units'].iloc[0]} units", fontsize=7.5)
        # The left legend has room below the names of the rules.
        for axes, x in ((left, 0.2), (right, 0.5)):
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                frameon=False,
                fontsize=6,
                loc="upper center",
                bbox_to_anchor=(x, -0.15),
                ncols=2,
                columnspacing=1.0,
                handletextpad=0.4,
            )
    return figure


def _draw_shares(axes: Axes, rows: pd.DataFrame) -> None:
    place = np.arange(len(rows))[::-1]
    axes.axvline(0.05, color="0.6", lw=0.8, ls="--", zorder=1, label="nominal 5%")
    for column, (marker, face, edge, name) in SHARES.items():
        spread = 2 * rows[f"{column}_se"].fillna(0)
        color = face if face != "none" else edge
        axes.errorbar(rows[column], place, xerr=spread, fmt="none", ecolor=color, lw=0.8, zorder=2)
        axes.plot(
            rows[column],
            place,
            marker,
            ms=5,
            mfc=face,
            mec=edge,
            mew=0.6,
            label=name,
            clip_on=False,
            zorder=3,
        )
    axes.set_yticks(place, list(rows["rule"]), fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(-0.02, 1.02), xlabel="share of units that the rule calls")


def _draw_power(axes: Axes, frame: pd.DataFrame) -> None:
    for rule, (color, style) in LINES.items():
        rows = frame[frame["rule"] == rule].sort_values("effect")
        if len(rows):
            axes.plot(
                rows["effect"],
                rows["power"],
                style,
                ms=3.5,
                lw=1.2,
                color=color,
                label=rule,
                clip_on=False,
                zorder=3,
            )
    axes.axhline(0.8, color="0.6", lw=0.8, ls="--", zorder=1)
    axes.set(ylim=(0, 1.02), xlabel="effect (mean / SD over clusters)", ylabel="power")
