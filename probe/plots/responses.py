"""Figures of responses: the logit by dose, and units by artifact or measurement."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.artifacts.responses import ResponseReport
from probe.errors import ProbeError
from probe.plots.neurons import finish_series
from probe.plots.style import STYLE, colors_of, draw_series, look_of
from probe.schema import DATASETS
from probe.stats import Floats

__all__ = ["correlation_figure", "dose_figure", "unit_figure", "unit_response_figure"]

#: One color (Okabe and Ito 2008), marker and line style per dataset, the same in every panel.
#: Markers and lines differ too, for print in gray.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))

#: Maximum number of units in a heatmap, so that rows are legible.
MOST = 48


def dose_figure(report: ResponseReport, columns: int = 5) -> Figure:
    """Draw the mean change of the fake logit by dose: one panel per artifact, one line per dataset.

    Parameters
    ----------
    report : ResponseReport
        Report with doses.
    columns : int, default 5
        Panels per row.

    Returns
    -------
    matplotlib.figure.Figure
        Panels share one scale; bars are the report's intervals.
    """
    data = _with_doses(report)
    artifacts = [str(name) for name in data["artifact"].values]
    rows = -(-len(artifacts) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.55 * columns + 0.5, 1.3 * rows + 0.75), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        for axes, artifact in zip(grid.flat, artifacts, strict=False):
            handles |= _draw_doses(axes, data.sel(artifact=artifact))
            axes.set_title(artifact, pad=3)
        for place, axes in enumerate(grid.flat):
            if place >= len(artifacts):
                axes.set_visible(False)
            elif place + columns >= len(artifacts):
                # The last panel of each column has the tick labels.
                axes.tick_params(labelbottom=True)
        figure.supxlabel("dose", fontsize=8)
        figure.supylabel("mean change of the fake logit", fontsize=8)
        order = [name for name in map(str, data["dataset"].values) if name in handles]
        figure.legend(
            [handles[name] for name in order],
            order,
            ncols=min(len(order), 6),
            frameon=False,
            loc="outside upper center",
            fontsize=7,
            columnspacing=1.2,
            handletextpad=0.3,
        )
    return figure


def _draw_doses(axes: Axes, data: xr.Dataset) -> dict[str, Any]:
    """Draw one artifact; datasets are offset slightly, so that bars do not overlap."""
    dose, drawn = data["dose"].values, {}
    axes.axhline(0, color="0.75", lw=0.6, zorder=0)
    names = [str(name) for name in data["dataset"].values]
    shown = [n for n in names if np.isfinite(data["logit_response"].sel(dataset=n).values).all()]
    for i, name in enumerate(shown):
        one = data.sel(dataset=name)
        mean, low, high = (one[f"logit_{key}"].values for key in ("response", "low", "high"))
        shift = 0.012 * (i - (len(shown) - 1) / 2)
        style = _style(name, names)
        spread = None if np.isnan(low).any() else np.stack([mean - low, high - mean]).clip(0)
        drawn[name] = axes.errorbar(
            dose + shift,
            mean,
            yerr=spread,
            **style,
            ms=3,
            mew=0.7,
            lw=0.9,
            elinewidth=0.7,
            capsize=0,
        )
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_xlim(-0.08, 1.08)
    axes.spines[["top", "right"]].set_visible(False)
    return drawn


def _style(name: str, names: list[str]) -> dict[str, Any]:
    """Return the style of a dataset, the same in every figure; every second marker is open."""
    place = DATASETS.index(name) if name in DATASETS else names.index(name)
    color = COLORS[place % len(COLORS)]
    return {
        "color": color,
        "marker": MARKS[place % len(MARKS)],
        "ls": DASHES[place % len(DASHES)],
        "mfc": "white" if place % 2 else color,
    }


def unit_figure(report: ResponseReport) -> Figure:
    """Draw the units' responses at the highest dose, units × artifacts.

    Cells that are not significant, or below the smallest answer, have a dot; universal units have
    a star. If there are many units, those with the largest responses are shown.

    Parameters
    ----------
    report : ResponseReport
        Report with doses.
    """
    data = _with_doses(report)
    floor = float(data.attrs.get("smallest", 0.0))
    effect = data["effect"].transpose("unit", "artifact").values
    clear = data["effect_q"].transpose("unit", "artifact").values <= data.attrs["alpha"]
    label = f"mean response at dose {data['dose'].values[-1]:g} (SD of the unit)"
    names = _counted_names(data)
    note = f"(datasets that have it); dot: q > {data.attrs['alpha']:g} or below {floor:g} SD"
    return _heatmap(report, effect, clear & (np.abs(effect) >= floor), names, label, note)


def correlation_figure(report: ResponseReport) -> Figure:
    """Draw the partial rank correlations, units × measurements; see `unit_figure`."""
    if not report.has_correlations:
        raise ProbeError("The report holds no correlations; compute them with `relate`.")
    data = report.data
    rho = data["rho"].transpose("unit", "measurement").values
    clear = data["q"].transpose("unit", "measurement").values <= data.attrs["alpha"]
    names = [str(name) for name in data["measurement"].values]
    note = f"dot: q > {data.attrs['alpha']:g}"
    return _heatmap(report, rho, clear, names, "partial rank correlation", note)


def _heatmap(
    report: ResponseReport, values: Floats, clear: Any, columns: list[str], label: str, note: str
) -> Figure:
    units = report.data["unit"].values
    rows = _shown(values, clear)
    # The limit is the 98th percentile, so that a single unit does not fade all others.
    sized = np.abs(values[rows])[clear[rows]]
    limit = float(np.percentile(sized, 98)) if sized.size else 1.0
    with mpl.rc_context(STYLE):
        size = (0.3 * len(columns) + 1.9, 0.155 * len(rows) + 1.5)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shown = np.ma.masked_where(~clear[rows], values[rows])
        drawn = axes.imshow(shown, cmap=colors_of(True), vmin=-limit, vmax=limit, aspect="auto")
        # The lightest color is almost white, so blank cells are marked with a dot.
        y, x = np.nonzero(~clear[rows])
        axes.plot(x, y, ".", ms=2.2, mew=0, color="0.35")
        turned: dict[str, Any] = {"rotation": 50, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(columns)), columns, **turned)
        axes.set_xlabel(note, fontsize=6)
        marked = set(report.universal.tolist())
        names = [f"★ {unit}" if unit in marked else str(unit) for unit in units[rows]]
        axes.set_yticks(range(len(rows)), names, fontsize=6)
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="0.9", lw=0.5)
        axes.tick_params(which="minor", length=0)
        axes.set_ylabel(_units_label(report, len(rows)))
        axes.set_facecolor("white")
        bar = figure.colorbar(drawn, ax=axes, extend="both" if sized.size else "neither", aspect=30)
        bar.set_label(label, fontsize=7)
        bar.ax.tick_params(labelsize=6)
    return figure


def _shown(values: Floats, clear: Any) -> Any:
    """Return the rows with the largest values, at most `MOST`, in the order of units."""
    strength = np.where(clear, np.abs(values), 0.0).max(axis=1)
    best = np.argsort(-strength, kind="stable")[:MOST]
    return np.sort(best)


def _units_label(report: ResponseReport, shown: int) -> str:
    units, layer = report.data.sizes["unit"], report.data.attrs["layer"]
    some = f"{shown} of {units} units" if shown < units else "units"
    return f"{some} of {layer}" + (" (★ universal)" if len(report.universal) else "")


def _counted_names(data: xr.Dataset) -> list[str]:
    """Return the names of artifacts with the number of datasets that have them."""
    last = data["logit_response"].transpose("artifact", "dataset", "dose").values[:, :, -1]
    counts = np.isfinite(last).sum(axis=1)
    return [f"{name} ({n})" for name, n in zip(data["artifact"].values, counts, strict=True)]


def _with_doses(report: ResponseReport) -> xr.Dataset:
    if not report.has_doses:
        raise ProbeError("The report holds no doses; compute them with `dose_response`.")
    return report.data


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
        finish_series(figure, axes, len(shown))
    return figure
