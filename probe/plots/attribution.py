"""Figures of map similarity against its null, and of region attention."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.errors import ProbeError
from probe.plots import STYLE

__all__ = ["regions_figure", "similarity_figure"]

#: Color (Okabe and Ito), marker and label of fakes and reals; they differ in gray too.
MARKS = {1: ("#d55e00", "o", "fake"), 0: ("#0072b2", "D", "real")}

#: Bounds of the study's bins.
BOUNDS = (0.7, 0.9)

#: Adjusted p-value of each statistic, and the lowest value drawn; lower ones are drawn there.
QS = {"concentration": "q", "change": "change_q"}
LOWEST = -5.0


def similarity_figure(data: xr.Dataset) -> Figure:
    """Draw the similarity of maps of variants per image, with its null distribution.

    Parameters
    ----------
    data : xarray.Dataset
        `MapSimilarity.data`. Dotted lines are the bounds of the study's bins; the numbers above
        count the images in each bin.
    """
    names = [str(name) for name in data["dataset"].values]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.72 * columns + 0.5, 1.5 * rows + 0.55), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        edges = _edges(data)
        for axes, name in zip(panels.flat, names, strict=False):
            _draw_similarity(axes, data, name, edges)
        top = panels.flat[0].get_ylim()[1]
        panels.flat[0].set_ylim(0, 1.18 * top)
        for axes, name in zip(panels.flat, names, strict=False):
            _write_counts(axes, data["count"].sel(dataset=name).values, 1.15 * top)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        for above, axes in zip(panels.flat, panels.flat[columns:], strict=False):
            above.tick_params(labelbottom=not axes.get_visible())
        figure.supxlabel("SSIM of maps of one image by two variants, mean over pairs", fontsize=7.5)
        figure.supylabel("share of images", fontsize=7.5)
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=3, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _edges(data: xr.Dataset) -> NDArray[np.float64]:
    """Return bin edges for all histograms, with a width of 0.05, that cover every value."""
    values = [data[name].mean("pair").values for name in ("similarity", "null")]
    low = np.nanmin(np.concatenate([*values, data["retrained"].values, [0.0]]))
    return np.asarray(np.arange(np.floor(low * 20), 21) / 20)


def _draw_similarity(axes: Axes, data: xr.Dataset, name: str, edges: NDArray[np.float64]) -> None:
    kept = np.array([name == "all" or str(of) == name for of in data["of"].values])
    own, null = (data[key].mean("pair").values[kept] for key in ("similarity", "null"))
    drawn: dict[str, tuple[Any, dict[str, Any]]] = {
        "same image": (own, {"histtype": "stepfilled", "color": "#e69f00", "ec": "black"}),
        "other image (null)": (null, {"histtype": "step", "color": "black", "ls": "--"}),
        "same training, other seeds": (
            data["retrained"].values[kept],
            {"histtype": "step", "color": "#0072b2", "lw": 1.4},
        ),
    }
    for label, (values, style) in drawn.items():
        values = values[np.isfinite(values)]
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, edges.tolist(), weights=weights, label=label, **{"lw": 0.9, **style})
    for bound in BOUNDS:
        axes.axvline(bound, color="0.35", lw=0.7, ls=":")
    axes.set_xlim(edges[0], 1.08)
    axes.set_xticks([0, 0.5, 1])
    axes.set_title(f"{name} (n = {len(own)})", fontsize=7)
    axes.tick_params(labelsize=6, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def _write_counts(axes: Axes, counts: NDArray[np.int64], y: float) -> None:
    """Write the number of images in each of the study's bins above it."""
    low, high = BOUNDS
    places = ((low - 0.02, "right"), ((low + high) / 2, "center"), (high + 0.02, "left"))
    for (x, side), count in zip(places, counts, strict=True):
        axes.text(x, y, str(count), ha=side, va="top", fontsize=5.5)


def regions_figure(
    data: xr.Dataset, what: str = "concentration", part: str | None = None
) -> Figure:
    """Draw in which regions of the face maps are concentrated, per dataset.

    Parameters
    ----------
    data : xarray.Dataset
        `RegionAttention.data`. Lines are intervals over clusters, cut at the end of the axis.
        Concentrations below −5 are drawn at −5.2.
    what : {"concentration", "change"}
        Concentration of reals and fakes, filled where it differs from the other datasets with
        q ≤ .05; or its change from real to fake, filled where it differs from 0.
    part : str, optional
        Part of the mass; the first by default, which is "positive" for signed maps.

    Raises
    ------
    ProbeError
        If no map has any mass of that part.
    """
    part = part or str(data["part"].values[0])
    data = data.sel(part=part)
    data = data.isel(group=np.flatnonzero(np.isfinite(data[what].values).any(axis=1)))
    names = list(dict.fromkeys(map(str, data["dataset"].values)))
    if not names:
        raise ProbeError(
            f"No map of {data.attrs.get('detector', 'the detector')} has any {part} mass to look "
            "for in regions: they are 0 everywhere, as of a detector that ignores its input."
        )
    regions = [str(name) for name in data["region"].values]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        size = (1.95 * columns + 0.9, (0.2 * len(regions) + 0.3) * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        seen: dict[str, Any] = {}
        for axes, name in zip(panels.flat, names, strict=False):
            kept = np.array([str(one) == name for one in data["dataset"].values])
            _draw_regions(axes, data.isel(group=np.flatnonzero(kept)), what, seen)
            axes.set_title(name, fontsize=7)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        panels[0, 0].set_yticks(range(len(regions)), regions, fontsize=6.5)
        panels[0, 0].set_ylim(len(regions) - 0.4, -0.6)
        panels[0, 0].set_xlim(*_limits(data, what))
        figure.supxlabel(_axis(what, part), fontsize=7.5)
        figure.legend(
            list(seen.values()),
            list(seen),
            ncols=4,
            loc="outside upper center",
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _axis(what: str, part: str) -> str:
    mass = "mass" if part == "magnitude" else f"{part} mass"
    if what == "change":
        return f"fake − real: log₂ of share of {mass} over share of area"
    return f"log₂ of share of {mass} over share of area (0: uniform attention)"


def _limits(data: xr.Dataset, what: str) -> tuple[float, float]:
    """Return axis limits; values far below uniform are cut, as they carry no more information."""
    values = np.concatenate([data[name].values.ravel() for name in (what, f"{what}_high")])
    low, high = np.nanmin(data[what].values), np.nanmax(values)
    return max(float(low), LOWEST) - 0.4, max(float(high), 1.0) + 0.3


def _draw_regions(axes: Axes, data: xr.Dataset, what: str, seen: dict[str, Any]) -> None:
    rows = np.arange(data.sizes["region"])
    axes.axvline(0, color="0.5", lw=0.7, zorder=0)
    for y in rows[::2]:
        axes.axhspan(y - 0.5, y + 0.5, color="0.96", lw=0, zorder=-1)
    n = data.sizes["group"]
    for shift, g in zip(np.linspace(-0.22, 0.22, n) if n > 1 else [0.0], range(n), strict=True):
        one = data.isel(group=g)
        color, marker, name = MARKS[int(one["label"])]
        value, low, high = (one[f"{what}{end}"].values for end in ("", "_low", "_high"))
        axes.hlines(rows + shift, low, high, color=color, lw=0.9, zorder=2)
        found = one[QS[what]].values <= 0.05
        style: dict[str, Any] = {"ls": "", "marker": marker, "ms": 3.2, "mew": 0.8, "color": color}
        for mask, fill, label in ((~found, "white", name), (found, color, f"{name}, q ≤ .05")):
            at = np.maximum(value[mask], LOWEST - 0.2)
            (seen[label],) = axes.plot(at, rows[mask] + shift, mfc=fill, zorder=3, **style)
    axes.tick_params(labelsize=6.5, length=2)
    axes.spines[["top", "right"]].set_visible(False)
