"""Figures of layers: a measure by layer, and similarity of detectors at one layer."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from probe.figures.colors import colors_of, text_on
from probe.figures.series import draw_series, look_of
from probe.figures.styles import STYLE

__all__ = ["depth_figure", "likeness_figure"]

#: Chance level of measures that have one.
CHANCE = {"probe_auroc": 0.5, "control_auroc": 0.5, "c2st_accuracy": 0.5, "selectivity": 0.0}


def depth_figure(data: xr.Dataset, measure: str, title: str = "") -> Figure:
    """Draw one measure of separability by layer, one line per dataset.

    Parameters
    ----------
    data : xarray.Dataset
        `SeparabilityReport.data`.
    measure : str
        Name of the measure.
    title : str, optional
        Axis label; the name of the measure by default.
    """
    one = data.sel(measure=measure)
    layers = [str(name) for name in data["layer"].values]
    names = [str(name) for name in data["dataset"].values]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.6), layout="constrained")
        axes = figure.subplots()
        if measure in CHANCE:
            axes.axhline(CHANCE[measure], color="0.6", lw=0.7, zorder=0)
        steps = np.linspace(-0.12, 0.12, len(names)) if len(names) > 1 else np.zeros(1)
        for step, name in zip(steps, names, strict=True):
            part = one.sel(dataset=name)
            draw_series(
                axes,
                np.arange(len(layers)) + step,
                part["value"].values,
                part["low"].values,
                part["high"].values,
                look_of(name, names),
                name,
            )
        turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(layers)), layers, **(turned if len(layers) > 4 else {}))
        axes.set_xlim(-0.4, len(layers) - 0.6)
        axes.set_ylabel(f"{title or measure}, {float(data.attrs.get('ci', 0.95)):.0%} interval")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(
            loc="outside upper center",
            ncols=min(len(names), 4),
            frameon=False,
            fontsize=6.5,
            columnspacing=1.2,
            handletextpad=0.4,
        )
    return figure


def likeness_figure(data: xr.Dataset, layer: str) -> Figure:
    """Draw the debiased CKA between all detectors that have a layer, with intervals in the cells.

    Parameters
    ----------
    data : xarray.Dataset
        `Similarity.data`.
    layer : str
        Name of the layer.
    """
    part = data.sel(layer=layer).transpose("detector", "other")
    there = np.isfinite(part["cka"].values).any(axis=1)
    part = part.isel(detector=there, other=there)
    names = [str(name) for name in part["detector"].values]
    n = len(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 * n + 2.1, 0.42 * n + 1.1), layout="constrained")
        axes = figure.subplots()
        values = part["cka"].values
        drawn = axes.imshow(values, cmap=colors_of(False), vmin=0, vmax=1, aspect="auto")
        for r, c in np.ndindex(values.shape):
            _write(axes, drawn, part, r, c)
        turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(n), names, **turned)
        axes.set_yticks(range(n), names)
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, ax=axes, aspect=25)
        bar.set_label(f"debiased CKA at {layer}", fontsize=7)
        bar.outline.set_linewidth(0.5)
    return figure


def _write(axes: Any, drawn: Any, part: xr.Dataset, r: int, c: int) -> None:
    value, low, high = (float(part[name].values[r, c]) for name in ("cka", "cka_low", "cka_high"))
    if not np.isfinite(value):
        axes.text(c, r, "–", ha="center", va="center")
        return
    color = text_on(drawn.to_rgba(value))
    # The diagonal is the similarity of a detector with itself, so no interval is shown.
    shown = r != c and np.isfinite(low)
    axes.text(c, r - (0.13 if shown else 0), f"{value:.2f}", ha="center", va="center", color=color)
    if shown:
        axes.text(
            c, r + 0.25, f"{low:.2f}–{high:.2f}", ha="center", va="center", color=color, fontsize=5
        )
