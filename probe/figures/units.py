"""Figures of units: the strongest in every dataset, and one unit in detail."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.figures.colors import colors_of, text_on
from probe.figures.series import draw_series, look_of
from probe.figures.styles import STYLE

__all__ = [
    "strongest_units",
    "unit_doses_figure",
    "unit_effects_figure",
    "unit_response_figure",
    "units_heatmap",
]

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
