"""Figures of an artifact report: spectra, effects with their controls, methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from probe.artifacts.report import ArtifactReport
from probe.plots import STYLE, colors_of, save_figure
from probe.plots.style import text_on

__all__ = ["draw_report", "effects_figure", "spectra_figure", "tells_figure"]

#: Colors of real and fake (Okabe and Ito).
COLORS = ("#0072b2", "#d55e00")

#: Marker, color and label of each control.
MARKS = {
    "none": ("o", "black", "no control"),
    "partialled": ("D", "#0072b2", "covariates partialled out"),
    "matched": ("s", "#e69f00", "matched on covariates"),
}


def draw_report(found: ArtifactReport, folder: Path, suffix: str = ".pdf") -> list[Path]:
    """Draw all figures of a report into a folder, and return their paths."""
    figures = {"spectra": spectra_figure, "effects": effects_figure}
    if found.data.sizes["method"]:
        figures["methods"] = tells_figure
    return [
        save_figure(draw(found.data), folder / f"artifacts-{name}{suffix}")
        for name, draw in figures.items()
    ]


def _grid(
    names: Sequence[str], width: float, height: float, columns: int = 3
) -> tuple[Figure, NDArray[Any]]:
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    return figure, panels.ravel()[: len(names)]


def spectra_figure(data: xr.Dataset) -> Figure:
    """Draw power spectra of real and fake images per dataset, with their difference below.

    Parameters
    ----------
    data : xarray.Dataset
        `ArtifactReport.data`.
    """
    names = [str(name) for name in data["dataset"].values]
    ci = float(data.attrs.get("ci", 0.95))
    with mpl.rc_context(STYLE):
        columns = min(3, len(names))
        blocks = -(-len(names) // columns)
        figure = Figure(figsize=(2.35 * columns, 2.35 * blocks), layout="constrained")
        panels = figure.subplots(
            2 * blocks,
            columns,
            squeeze=False,
            sharex=True,
            height_ratios=[2, 1] * blocks,
        )
        for number in range(blocks * columns):
            block, column = divmod(number, columns)
            upper, lower = panels[2 * block, column], panels[2 * block + 1, column]
            if number >= len(names):
                upper.set_visible(False)
                lower.set_visible(False)
                continue
            _draw_spectra(upper, lower, data.sel(dataset=names[number]))
            upper.set_title(names[number], fontsize=7.5)
        _same_scale(panels[::2].ravel()[: len(names)])
        _same_scale(panels[1::2].ravel()[: len(names)])
        for block in range(blocks):
            panels[2 * block, 0].set_ylabel("log₁₀ power", fontsize=7)
            panels[2 * block + 1, 0].set_ylabel("fake − real", fontsize=7)
        figure.supxlabel("frequency (cycles per pixel)", fontsize=7.5)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        labels = [f"{label}, mean and {ci:.0%} band over clusters" for label in labels]
        figure.legend(
            handles,
            labels,
            ncols=min(2, columns),
            loc="outside upper center",
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _same_scale(panels: NDArray[Any]) -> None:
    """Set the same limits on all panels, wide enough for each."""
    low, high = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(low), max(high))


def _draw_spectra(upper: Axes, lower: Axes, part: xr.Dataset) -> None:
    frequency = part["frequency"].values
    for label, (color, name) in enumerate(zip(COLORS, ("real", "fake"), strict=True)):
        one = part.sel(label=label)
        upper.plot(frequency, one["power"], color=color, lw=1, label=name, ls=("-", "--")[label])
        upper.fill_between(
            frequency, one["power_low"], one["power_high"], color=color, alpha=0.2, lw=0
        )
    lower.axhline(0, color="0.6", lw=0.6)
    lower.plot(frequency, part["power_gap"], color="black", lw=0.9)
    lower.fill_between(
        frequency, part["power_gap_low"], part["power_gap_high"], color="black", alpha=0.15, lw=0
    )
    lower.set_xlim(0, 0.5)
    for axes in (upper, lower):
        axes.tick_params(labelsize=6, length=2)
        axes.spines[["top", "right"]].set_visible(False)


def effects_figure(data: xr.Dataset) -> Figure:
    """Draw the effect of each measurement per dataset, without and with both controls.

    Parameters
    ----------
    data : xarray.Dataset
        `ArtifactReport.data`. Filled marks have q ≤ .05. The axis is linear up to one standard
        deviation and logarithmic beyond, because effects differ widely in size.
    """
    names = [str(name) for name in data["dataset"].values]
    measurements = [str(name) for name in data["measurement"].values]
    with mpl.rc_context(STYLE):
        columns = min(3, len(names))
        rows = -(-len(names) // columns)
        size = (1.95 * columns + 1.3, (0.165 * len(measurements) + 0.35) * rows + 0.5)
        figure, panels = _grid(names, size[0] / columns, size[1] / rows)
        for axes, name in zip(panels, names, strict=True):
            part = data.sel(dataset=name)
            _draw_effects(axes, part)
            axes.set_title(f"{name} ({_used(part)})", fontsize=7)
            axes.set_yticks(range(len(measurements)), measurements, fontsize=6)
        panels[0].set_ylim(len(measurements) - 0.4, -0.6)
        figure.supxlabel("fake − real, in standard deviations of real images", fontsize=7.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=3, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _used(part: xr.Dataset) -> str:
    used = part["n_used"]
    return f"n = {int(used.sel(control='none'))}, matched {int(used.sel(control='matched'))}"


def _draw_effects(axes: Axes, part: xr.Dataset) -> None:
    rows = np.arange(part.sizes["measurement"])
    axes.axvline(0, color="0.6", lw=0.7, zorder=0)
    for y in rows[::2]:
        axes.axhspan(y - 0.5, y + 0.5, color="0.96", lw=0, zorder=-1)
    for shift, (control, (marker, color, label)) in zip(
        (-0.27, 0, 0.27), MARKS.items(), strict=True
    ):
        one = part.sel(control=control)
        effect, low, high = (one[name].values for name in ("effect", "low", "high"))
        axes.hlines(rows + shift, low, high, color=color, lw=0.7, zorder=2)
        found = one["q"].values <= 0.05
        style: dict[str, Any] = {"ls": "", "marker": marker, "ms": 2.4, "mew": 0.6, "color": color}
        axes.plot(effect[found], rows[found] + shift, **style, label=label, zorder=3)
        axes.plot(effect[~found], rows[~found] + shift, **style, mfc="white", zorder=3)
    axes.set_xscale("symlog", linthresh=1, linscale=1)
    axes.set_xticks([-10, -1, 0, 1, 10], ["−10", "−1", "0", "1", "10"])
    axes.minorticks_off()
    axes.tick_params(labelsize=6, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def tells_figure(data: xr.Dataset) -> Figure:
    """Draw how well each measurement separates each method from all others.

    Parameters
    ----------
    data : xarray.Dataset
        `ArtifactReport.data`. Values whose interval includes 0.5 are in brackets.
    """
    tells = data["tells"].transpose("measurement", "method")
    low, high = (data[f"tells_{end}"].transpose("measurement", "method") for end in ("low", "high"))
    rows, columns = (list(map(str, tells[dim].values)) for dim in ("measurement", "method"))
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(0.62 * len(columns) + 1.9, 0.175 * len(rows) + 0.9), layout="constrained"
        )
        axes = figure.subplots()
        drawn = axes.imshow(tells.values, cmap=colors_of(True), vmin=0, vmax=1, aspect="auto")
        for r, c in np.ndindex(tells.shape):
            _write(axes, drawn, c, r, *(float(one.values[r, c]) for one in (tells, low, high)))
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=6.5)
        axes.set_xlabel("in brackets: the interval includes .5", fontsize=6)
        axes.set_yticks(range(len(rows)), rows, fontsize=6.5)
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label("AUROC of the method's fakes against all others", fontsize=6.5)
        bar.ax.tick_params(labelsize=6)
    return figure


def _write(
    axes: Axes, drawn: AxesImage, x: int, y: int, value: float, low: float, high: float
) -> None:
    if not np.isfinite(value):
        axes.text(x, y, "–", ha="center", va="center", fontsize=6)
        return
    sure = low > 0.5 or high < 0.5
    text = f"{value:.2f}" if sure else f"({value:.2f})"
    color = text_on(drawn.to_rgba(np.asarray(value)))
    axes.text(x, y, text, ha="center", va="center", fontsize=5.5, color=color)
