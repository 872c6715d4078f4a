"""The figure of a calibration."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from probe.calibration.calibrating import Calibration
from probe.figures import STYLE

__all__ = ["calibration_figure"]

#: Rules that are drawn, their short names and colours (Okabe and Ito).
SHOWN = {
    "partial conjunction, p ≤ .05": ("partial conjunction, p", "#0072b2"),
    "partial conjunction, BH q ≤ .05": ("partial conjunction, BH", "#56b4e9"),
    "selectivity test, BH q ≤ .05": ("selectivity test, BH", "#009e73"),
    "the study's count (authors)": ("the study's count", "#d55e00"),
    "delta_auroc, count": ("ΔAUROC, count", "#e69f00"),
    "captum conductance, count": ("captum conductance, count", "#cc79a7"),
}


def calibration_figure(found: Calibration) -> Figure:
    """Draw power against the rate of false calls, a point a setting, a colour a rule."""
    frame = found.to_dataframe()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for rule, (name, colour) in SHOWN.items():
            rows = frame[frame["rule"] == rule]
            if not len(rows):
                continue
            left.plot(
                rows["false_rate"], rows["power"], "o", ms=4.5, color=colour, alpha=0.85,
                mec="white", mew=0.4, label=name, clip_on=False, zorder=3,
            )  # fmt: skip
            by_effect = rows[rows["units"] == rows["units"].mode()[0]].sort_values("effect")
            right.plot(
                by_effect["effect"], by_effect["power"], "o-", ms=3.5, lw=1.2, color=colour,
                clip_on=False, zorder=3,
            )  # fmt: skip
        left.axvline(0.05, color="0.6", lw=0.8, ls="--", zorder=1)
        left.annotate(
            "nominal 5 %", (0.05, 0.5), (3, 0), textcoords="offset points", fontsize=6.5,
            color="0.4", rotation=90, va="center",
        )  # fmt: skip
        left.set(xlabel="share of the other units that are called universal", ylabel="power")
        right.set(xlabel="effect (mean / SD over clusters)", ylabel="power")
        right.set_title(f"{int(frame['units'].mode()[0])} units", fontsize=7.5)
        left.set_title("all settings", fontsize=7.5)
        left.set_xlim(0, max(0.5, float(frame["false_rate"].max()) * 1.05))
        for axes in (left, right):
            axes.set_ylim(0, 1.02)
            axes.set_yticks(np.linspace(0, 1, 6))
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(
            *left.get_legend_handles_labels(), ncols=3, loc="outside upper center", frameon=False,
            fontsize=6.5, columnspacing=1.2, handletextpad=0.3,
        )  # fmt: skip
    return figure
