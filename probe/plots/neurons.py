"""Figures of detection and units: matrix, counts beside nulls, ablation, strongest units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from probe.plots.style import STYLE, colors_of, draw_series, look_of, text_on
from probe.plots.text import cut

__all__ = [
    "ablation_figure",
    "counts_figure",
    "counts_grid_figure",
    "matrix_figure",
    "strongest_units",
    "unit_doses_figure",
    "unit_effects_figure",
    "unit_response_figure",
    "units_heatmap",
]


def matrix_figure(
    data: xr.Dataset, metric: str = "auroc", level: str = "frame", seen: ArrayLike | None = None
) -> Figure:
    """Draw the zero-shot matrix, detectors × datasets, with values and intervals in the cells.

    Parameters
    ----------
    data : xarray.Dataset
        `ZeroShotMatrix.data`.
    metric, level : str
        Metric, and level ("frame" or "video").
    seen : array_like of bool, optional
        Shape (detector, dataset): cells to frame, such as the training datasets of a detector.
    """
    part = data.sel(metric=metric, level=level)
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


def counts_figure(data: xr.Dataset) -> Figure:
    """Draw how many units are in the top of how many datasets, with two nulls.

    Parameters
    ----------
    data : xarray.Dataset
        `Universality.data`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.3))
        axes = figure.subplots()
        _draw_counts(axes, data)
        axes.set(xlabel=f"datasets in whose top {float(data.attrs['top']):.0%} a unit is")
        axes.set(ylabel="units")
        # Above the axes, because inside it could cover bars.
        axes.legend(
            frameon=False,
            fontsize=6.5,
            ncols=3,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            columnspacing=1.0,
            handletextpad=0.4,
        )
    return figure


def counts_grid_figure(found: Mapping[str, xr.Dataset], columns: int = 3) -> Figure:
    """Draw the counts of several detectors with two nulls, one panel per detector.

    Parameters
    ----------
    found : mapping
        Detector to `Universality.data`.
    columns : int, default 3
        Panels per row, such as the number of variants of an architecture.
    """
    columns = min(columns, len(found))
    lines = -(-len(found) // columns)
    with mpl.rc_context(STYLE):
        size = (2.3 * columns + 0.26, 1.35 * lines + 0.65)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False)
        for axes in panels.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (label, data) in zip(panels.flat, found.items(), strict=False):
            _draw_counts(axes, data)
            axes.set_title(f"{cut(label)} ({data.sizes['unit']} units)", fontsize=7)
            axes.tick_params(labelsize=6.5, length=2)
        tops = dict.fromkeys(f"{float(data.attrs['top']):.0%}" for data in found.values())
        label = f"datasets in whose top {' or '.join(tops)} a unit is"
        figure.supxlabel(label, fontsize=7.5)
        figure.supylabel("units", fontsize=7.5)
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=3, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _draw_counts(axes: Axes, data: xr.Dataset) -> None:
    count = data["count"].values
    axes.bar(count, data["observed"], width=0.62, color="#56b4e9", label="this detector")
    expected = data["independence"].values
    spread = [
        np.maximum(expected - data["independence_low"].values, 0),
        np.maximum(data["independence_high"].values - expected, 0),
    ]
    axes.errorbar(
        count - 0.12,
        expected,
        yerr=spread,
        fmt="o",
        ms=3.5,
        color="black",
        lw=1,
        capsize=2,
        label="independent lists, 95 %",
    )
    for draw, row in enumerate(data["untrained"].values if "untrained" in data else ()):
        label = "untrained networks" if draw == 0 else None
        axes.plot(
            count + 0.12,
            row,
            "D",
            ms=3.5,
            mfc="white",
            color="#d55e00",
            label=label,
            clip_on=False,
            zorder=3,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(count)


def ablation_figure(found: Mapping[str, xr.Dataset], ci: float = 0.95) -> Figure:
    """Draw the loss of detection performance without sets of units, with matched random sets.

    Parameters
    ----------
    found : mapping
        Panel title to `Ablation.data`.
    ci : float, default 0.95
        Confidence level of the intervals, for the axis label.
    """
    with mpl.rc_context(STYLE):
        tallest = max(data.sizes["set"] for data in found.values())
        size = (2.35 * len(found) + 0.6, 0.9 + 0.24 * tallest)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (title, data) in zip(panels, found.items(), strict=True):
            _draw_drops(axes, data.sel(dataset="mean", metric="auroc"))
            axes.set_title(title, fontsize=7.5)
            axes.set_ylim(tallest - 0.4, -0.6)
        figure.supxlabel(f"AUROC lost, mean over datasets ({ci:.0%} interval)", fontsize=7.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=2, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _draw_drops(axes: Any, mean: xr.Dataset) -> None:
    """Draw the sets of one detector, one row per set."""
    names = [str(name) for name in mean["set"].values]
    for row, name in enumerate(names):
        one = mean.sel(set=name)
        low, high = np.percentile(one["random_drop"], [2.5, 97.5])
        axes.plot(
            [low, high],
            [row, row],
            color="0.8",
            lw=5,
            solid_capstyle="butt",
            zorder=1,
            label="matched random sets, 95 %" if row == 0 else None,
        )
        drop = float(one["drop"])
        spread = [[drop - float(one["drop_low"])], [float(one["drop_high"]) - drop]]
        axes.errorbar(
            drop,
            row,
            xerr=spread,
            fmt="o",
            ms=3.5,
            color="#0072b2",
            lw=1,
            capsize=2,
            zorder=3,
            label="the set" if row == 0 else None,
        )
    axes.axvline(0, color="0.6", lw=0.7, zorder=0)
    labels = [f"{n} ({float(mean['n_units'].sel(set=n)):g})" for n in names]
    axes.set_yticks(range(len(names)), labels, fontsize=6.5)
    axes.spines[["top", "right"]].set_visible(False)


#: Maximum number of units in a heatmap, so that rows are legible.
MOST = 24

#: Scales of the response, as axis labels.
OUTPUTS = {"logit": "fake logit", "p_fake": "P(fake)", "p_real": "P(real)"}


def strongest_units(
    table: xr.Dataset, universality: xr.Dataset, most: int = MOST
) -> NDArray[np.int64]:
    """Return the units to show, by smallest q, then most lists, then largest mean effect.

    Parameters
    ----------
    table : xarray.Dataset
        `NeuronTable.data`.
    universality : xarray.Dataset
        `Universality.data` of the same units.
    most : int, default 24
        Maximum number of units.
    """
    mean = table["effect"].transpose("dataset", "unit").values.mean(axis=0)
    q = _adjusted(universality)
    order = np.lexsort((-mean, -universality["n_datasets"].values, np.nan_to_num(q, nan=1.0)))
    return np.asarray(table["unit"].values[order[:most]], dtype=np.int64)


def _adjusted(universality: xr.Dataset) -> NDArray[np.float64]:
    """Return the q-value of "in all datasets" per unit; NaN without a test."""
    if "q" not in universality:
        return np.full(universality.sizes["unit"], np.nan)
    name = "q_by" if universality.attrs.get("correction") == "by" else "q"
    return np.asarray(universality[name].transpose("at_least", "unit").values[-1], dtype=float)


def units_heatmap(table: xr.Dataset, universality: xr.Dataset, most: int = MOST) -> Figure:
    """Draw the effects of the most universal units, units × datasets.

    Bold: in the top of the dataset. A star marks units that contribute to detection in all
    datasets, at the false discovery rate of the universality table.

    Parameters
    ----------
    table, universality : xarray.Dataset
        As in `strongest_units`.
    most : int, default 24
        Maximum number of units shown.
    """
    units = strongest_units(table, universality, most)
    effect = table["effect"].sel(unit=units).transpose("unit", "dataset").values
    chosen = universality["selected"].sel(unit=units).transpose("unit", "dataset").values
    names = [str(name) for name in table["dataset"].values]
    limit = float(np.nanmax(effect, initial=0.0)) or 1.0
    with mpl.rc_context(STYLE):
        size = (0.55 * len(names) + 2.0, 0.165 * len(units) + 1.05)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(effect, cmap=colors_of(False), vmin=0, vmax=limit, aspect="auto")
        digits = _digits(limit)
        for r, c in np.ndindex(effect.shape):
            if not np.isfinite(effect[r, c]):
                axes.text(c, r, "–", ha="center", va="center", fontsize=5.5)
                continue
            axes.text(
                c,
                r,
                f"{effect[r, c]:.{digits}f}",
                ha="center",
                va="center",
                fontsize=5.5,
                color=text_on(drawn.to_rgba(effect[r, c])),
                fontweight="bold" if chosen[r, c] else "normal",
            )
        turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(names)), names, **turned)
        axes.set_yticks(range(len(units)), _marked(units, universality), fontsize=6)
        axes.set_ylabel(_units_label(table, universality, len(units)), fontsize=7)
        axes.set_xlabel(f"bold: in the dataset's top {_top(universality)}", fontsize=6)
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, ax=axes, aspect=30)
        bar.set_label(f"effect on the {_output(table)}", fontsize=7)
        bar.ax.tick_params(labelsize=6)
        bar.outline.set_linewidth(0.5)
    return figure


def _marked(units: NDArray[np.int64], universality: xr.Dataset) -> list[str]:
    q = xr.DataArray(_adjusted(universality), {"unit": universality["unit"].values}, "unit")
    alpha = float(universality.attrs.get("alpha", 0.05))
    return [f"★ {u}" if float(q.sel(unit=u)) <= alpha else str(u) for u in units]


def _units_label(table: xr.Dataset, universality: xr.Dataset, shown: int) -> str:
    total, layer = table.sizes["unit"], table.attrs.get("layer", "")
    some = f"{shown} of {total} units" if shown < total else "units"
    return f"{some} of {layer}" + (" (★ in all datasets)" if "q" in universality else "")


def _top(universality: xr.Dataset) -> str:
    return f"{float(universality.attrs.get('top', 0.05)):.0%}"


def _digits(largest: float) -> int:
    """Return one number of decimals for all effects, so that they are easy to compare."""
    return 1 if largest >= 10 else 2 if largest >= 0.1 else 3


def unit_effects_figure(table: xr.Dataset, universality: xr.Dataset, unit: int) -> Figure:
    """Draw the effect of one unit per dataset, with the smallest effect in the top list.

    Parameters
    ----------
    table, universality : xarray.Dataset
        As in `strongest_units`.
    unit : int
        Unit to draw. Filled marks are in the top of the dataset. Triangles point to the direction
        in which the unit moves the score.
    """
    one = table.sel(unit=unit)
    names = [str(name) for name in table["dataset"].values]
    rows = np.arange(len(names))
    kept = int(universality.attrs.get("kept", universality["selected"][0].sum()))
    needed = np.sort(table["effect"].transpose("dataset", "unit").values, axis=1)[:, -kept]
    chosen = universality["selected"].sel(unit=unit).values
    up = one["slope"].values >= 0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 0.26 * len(names) + 0.95), layout="constrained")
        axes = figure.subplots()
        if "effect_low" in one:
            axes.hlines(rows, one["effect_low"], one["effect_high"], color="0.45", lw=1, zorder=2)
        axes.plot(
            needed,
            rows,
            "|",
            ms=11,
            mew=1.2,
            color="#d55e00",
            zorder=1,
            label="needed for the list",
        )
        for raised, mark, label in ((True, ">", "raises"), (False, "<", "lowers")):
            for inside in (True, False):
                here = (up == raised) & (chosen == inside)
                if here.any():
                    axes.plot(
                        one["effect"].values[here],
                        rows[here],
                        mark,
                        ms=5,
                        mew=0.9,
                        zorder=3,
                        color="#0072b2",
                        mfc="#0072b2" if inside else "white",
                        clip_on=False,
                        label=f"{label} it, {'in' if inside else 'not in'} the list",
                    )
        axes.set_yticks(rows, names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"effect of unit {unit} on the {_output(table)}")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=6.5)
    return figure


def unit_doses_figure(table: xr.Dataset, unit: int) -> Figure:
    """Draw the mean score by the value that a unit is set to, one line per dataset.

    Parameters
    ----------
    table : xarray.Dataset
        `NeuronTable.data`.
    unit : int
        Unit to draw.
    """
    one = table.sel(unit=unit)
    names = [str(name) for name in table["dataset"].values]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.5), layout="constrained")
        axes = figure.subplots()
        for name in names:
            part = one.sel(dataset=name)
            draw_series(
                axes,
                part["value"].values,
                part["response"].values,
                None,
                None,
                look_of(name, names),
                name,
            )
        axes.set_xlabel(f"unit {unit} of {table.attrs.get('layer', 'the layer')} set to")
        axes.set_ylabel(f"mean {_output(table)}")
        _finish(figure, axes, len(names))
    return figure


def unit_response_figure(data: xr.Dataset, artifact: str, unit: int | None = None) -> Figure:
    """Draw the response of a unit, or of the logit, to the dose of an artifact, by dataset.

    Parameters
    ----------
    data : xarray.Dataset
        `ResponseReport.data`, with doses.
    artifact : str
        Artifact to draw.
    unit : int, optional
        Unit to draw; None for the fake logit.
    """
    one = data.sel({"artifact": artifact, **({} if unit is None else {"unit": unit})})
    what = "logit" if unit is None else "unit"
    names = [str(name) for name in data["dataset"].values]
    shown = [n for n in names if np.isfinite(one[f"{what}_response"].sel(dataset=n).values).all()]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="0.75", lw=0.6, zorder=0)
        for i, name in enumerate(shown):
            part = one.sel(dataset=name)
            shift = 0.012 * (i - (len(shown) - 1) / 2)
            draw_series(
                axes,
                data["dose"].values + shift,
                part[f"{what}_response"].values,
                part[f"{what}_low"].values,
                part[f"{what}_high"].values,
                look_of(name, names),
                name,
            )
        axes.set_xlabel(f"dose of {artifact}")
        changes = "the fake logit" if unit is None else f"unit {unit} (SD)"
        axes.set_ylabel(f"mean change of {changes}")
        _finish(figure, axes, len(shown))
    return figure


def _finish(figure: Figure, axes: Any, series: int) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if series:
        figure.legend(
            loc="outside upper center",
            ncols=min(series, 4),
            frameon=False,
            fontsize=6.5,
            columnspacing=1.2,
            handletextpad=0.4,
        )


def _output(table: xr.Dataset) -> str:
    given = str(table.attrs.get("output", "logit"))
    return OUTPUTS.get(given, given)
