"""Figures of separability: transfer, probes, layers, units between two questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from probe.plots.style import STYLE, colors_of, draw_series, look_of, text_on
from probe.plots.text import cut
from probe.separability.report import SeparabilityReport

__all__ = [
    "depth_figure",
    "figures_of",
    "likeness_figure",
    "probes_figure",
    "probes_grid_figure",
    "transfer_figure",
    "transfer_grid_figure",
    "units_figure",
]

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


#: Color (Okabe and Ito) and marker per layer.
LAYERS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#cc79a7", "^"), ("#b8860b", "v"))


def figures_of(found: SeparabilityReport) -> dict[str, Figure]:
    """Draw all figures of a report; returns file name to figure."""
    out = {"probes": probes_figure(found), "units": units_figure(found)}
    for layer in found.data["layer"].values:
        if found.data.sizes["dataset"] > 1:
            out[f"transfer-{layer}".replace("/", "-")] = transfer_figure(found, str(layer))
    return out


def transfer_figure(found: SeparabilityReport, layer: str) -> Figure:
    """Draw the transfer matrix of a layer above the detector's own AUROC, on one color scale."""
    part = found.data.sel(layer=layer)
    names = [str(name) for name in part["scored"].values]
    n = len(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.56 * n + 1.9, 0.42 * (n + 1) + 1.15), layout="constrained")
        top, bottom = figure.subplots(2, 1, height_ratios=[n, 1], sharex=True)
        drawn = _cells(top, part, "transfer")
        _cells(bottom, part, "own")
        top.set_yticks(range(n), names)
        top.set_ylabel("probe fitted on")
        bottom.set_yticks([0], ["the detector"])
        bottom.set_xticks(range(n), names, rotation=30, ha="right", rotation_mode="anchor")
        bottom.set_xlabel("scored on (people not fitted on)")
        top.tick_params(bottom=False)
        bar = figure.colorbar(drawn, ax=[top, bottom], label="AUROC", aspect=25)
        bar.outline.set_linewidth(0.5)
        top.set_title(f"{found.data.attrs['label']}, {layer}")
    return figure


def _cells(axes: Any, part: xr.Dataset, name: str) -> Any:
    values = np.atleast_2d(part[name].values)
    low, high = (np.atleast_2d(part[f"{name}_{end}"].values) for end in ("low", "high"))
    drawn = axes.imshow(values, cmap=colors_of(True), vmin=0, vmax=1, aspect="auto")
    for r, c in np.ndindex(values.shape):
        if not np.isfinite(values[r, c]):
            axes.text(c, r, "–", ha="center", va="center")
            continue
        color = text_on(drawn.to_rgba(values[r, c]))
        raised = 0.14 if np.isfinite(low[r, c]) else 0.0
        axes.text(c, r - raised, f"{values[r, c]:.2f}", ha="center", va="center", color=color)
        if raised:
            axes.text(
                c,
                r + 0.24,
                f"{low[r, c]:.2f}–{high[r, c]:.2f}",
                ha="center",
                va="center",
                color=color,
                fontsize=4.6,
            )
    axes.set_xlim(-0.5, values.shape[1] - 0.5)
    return drawn


def probes_figure(found: SeparabilityReport) -> Figure:
    """Draw the AUROC of probes per layer, with control tasks and the detector's own head."""
    names = list(found.data["dataset"].values)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 0.42 * len(names) + 1.0), layout="constrained")
        axes = figure.subplots()
        _draw_probes(axes, found.data)
        axes.set_xlabel("AUROC, 95 % interval")
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=6.5)
    return figure


def probes_grid_figure(found: Mapping[str, SeparabilityReport], columns: int = 3) -> Figure:
    """Draw the AUROC of probes, control tasks and the detector's own head, one panel per detector.

    Parameters
    ----------
    found : mapping
        Detector to its report.
    columns : int, default 3
        Panels per row.
    """
    columns = min(columns, len(found))
    lines, most = -(-len(found) // columns), max(r.data.sizes["dataset"] for r in found.values())
    seen: dict[str, Any] = {}
    with mpl.rc_context(STYLE):
        size = (2.1 * columns + 0.9, (0.24 * most + 0.3) * lines + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(found) :]:
            axes.set_visible(False)
        for axes, (label, report) in zip(panels.flat, found.items(), strict=False):
            _draw_probes(axes, report.data, small=True)
            axes.set_title(cut(label), fontsize=7)
            axes.tick_params(labelsize=6.5, length=2)
            handles, names = axes.get_legend_handles_labels()
            # Architectures name their layers differently.
            seen |= dict(zip(names, handles, strict=True))
        figure.supxlabel("AUROC, 95 % interval", fontsize=7.5)
        figure.legend(
            list(seen.values()),
            list(seen),
            loc="outside upper center",
            ncols=min(4, len(seen)),
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _draw_probes(axes: Any, data: xr.Dataset, small: bool = False) -> None:
    names, layers = list(data["dataset"].values), [str(v) for v in data["layer"].values]
    steps = np.linspace(-0.24, 0.24, len(layers) + 1)
    rows, shrink = np.arange(len(names)), 0.8 if small else 1.0
    _points(
        axes,
        data["own"],
        data["own_low"],
        data["own_high"],
        rows + steps[0],
        "black",
        "|",
        "the detector's own head",
        9 * shrink,
    )
    for i, layer in enumerate(layers):
        color, marker = LAYERS[i % len(LAYERS)]
        one = data.sel(layer=layer, measure="probe_auroc")
        _points(
            axes,
            one["value"],
            one["low"],
            one["high"],
            rows + steps[i + 1],
            color,
            marker,
            f"probe of {layer}",
            3.5 * shrink,
        )
        control = data.sel(layer=layer, measure="control_auroc")
        axes.hlines(
            rows + steps[i + 1],
            control["low"],
            control["high"],
            color="0.82",
            lw=3.5 * shrink,
            zorder=0,
            label="" if i else "control tasks, 95 %",
        )
    axes.axvline(0.5, color="0.6", lw=0.7, zorder=0)
    axes.set_yticks(rows, [cut(str(name), 18) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)


def transfer_grid_figure(
    found: Mapping[str, SeparabilityReport],
    layers: Mapping[str, str] | None = None,
    columns: int = 3,
) -> Figure:
    """Draw the transfer matrix of one layer per detector, above the detector's own AUROC.

    Parameters
    ----------
    found : mapping
        Detector to its report.
    layers : mapping, optional
        Detector to layer; the last recorded one by default.
    columns : int, default 3
        Panels per row.
    """
    columns = min(columns, len(found))
    lines = -(-len(found) // columns)
    with mpl.rc_context(STYLE):
        n = max(report.data.sizes["dataset"] for report in found.values())
        size = (0.27 * n * columns + 1.5, (0.21 * (n + 1) + 0.25) * lines + 1.0)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(found) :]:
            axes.set_visible(False)
        drawn: Any = None
        for axes, (label, report) in zip(panels.flat, found.items(), strict=False):
            layer = (layers or {}).get(label, "")
            if layer not in report.data["layer"].values:
                layer = str(report.data["layer"].values[-1])
            drawn = _draw_transfer(axes, report.data.sel(layer=layer))
            axes.set_title(f"{cut(label, 20)}, {cut(layer, 12)}", fontsize=6.5, pad=3)
        bar = figure.colorbar(drawn, ax=panels, label="AUROC", aspect=30, shrink=0.6)
        bar.outline.set_linewidth(0.5)
        figure.supxlabel("scored on (people not fitted on)", fontsize=7.5)
        figure.supylabel("probe fitted on (last row: the detector's own head)", fontsize=7.5)
    return figure


def _draw_transfer(axes: Any, part: xr.Dataset) -> Any:
    names = [cut(str(name), 18) for name in part["scored"].values]
    values = np.concatenate([part["transfer"].values, part["own"].values[None]])
    drawn = axes.imshow(values, cmap=colors_of(True), vmin=0, vmax=1, aspect="auto")
    for r, c in np.ndindex(values.shape):
        text = f"{values[r, c]:.2f}".lstrip("0") if np.isfinite(values[r, c]) else "–"
        color = text_on(drawn.to_rgba(values[r, c])) if text != "–" else "black"
        axes.text(c, r, text, ha="center", va="center", fontsize=5.2, color=color)
    axes.axhline(len(names) - 0.5, color="white", lw=2)
    axes.set_yticks(range(len(names) + 1), [*names, "its head"], fontsize=6)
    axes.set_xticks(
        range(len(names)), names, fontsize=6, rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.tick_params(length=2)
    return drawn


def _points(
    axes: Any,
    value: Any,
    low: Any,
    high: Any,
    rows: Any,
    color: str,
    marker: str,
    label: str,
    size: float,
) -> None:
    values = np.asarray(value, dtype=float)
    spread = np.stack([values - np.asarray(low), np.asarray(high) - values])
    axes.errorbar(
        values,
        rows,
        xerr=np.maximum(np.nan_to_num(spread), 0),
        fmt=marker,
        ms=size,
        color=color,
        lw=1,
        label=label,
    )


def units_figure(found: SeparabilityReport, alpha: float = 0.05) -> Figure:
    """Draw the information of each unit on the label against that on the method."""
    units = found.units()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3, 2.9), layout="constrained")
        axes = figure.subplots()
        for i, (layer, rows) in enumerate(units.groupby("layer", sort=False)):
            color, marker = LAYERS[i % len(LAYERS)]
            sure = (rows["label_q"] <= alpha).to_numpy()
            for chosen, face in ((sure, color), (~sure, "none")):
                part = rows[chosen]
                axes.scatter(
                    part["method_information"],
                    part["label_information"],
                    s=16,
                    marker=marker,
                    facecolor=face,
                    edgecolor=color,
                    lw=0.8,
                    clip_on=False,
                    zorder=3,
                    label=f"{layer}" if face != "none" else None,
                )
        top = max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([0, top], [0, top], color="0.7", lw=0.7, zorder=0)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        axes.set_xlabel("information on the method (share of its entropy)")
        axes.set_ylabel("information on the label (share of its entropy)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(
            loc="outside upper center",
            ncols=3,
            frameon=False,
            fontsize=6.5,
            title="filled: q ≤ .05 for real or fake",
            title_fontsize=6.5,
        )
    return figure
