"""Separability of a layer: probes beside the detector, all measures, what is specific to methods.

Of each finding ``x`` there are ``x``, the table behind it, ``plot_x``, the figure for print
(matplotlib), and ``figure_x``, which draws that table for a web page (plotly). Findings without
figures are tables alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from probe.plots.separability_layer import (
    LAYERS,
    about,
    known_layer,
    plot_transfer,
    plot_unit_information,
    rows_of,
)
from probe.plots.style import STYLE, draw_series, look_of
from probe.plots.text import cut
from probe.plots.theme import LIGHT, SYMBOLS, Theme, clean, figure_of, short, signed, span
from probe.separability.report import SeparabilityReport

__all__ = [
    "MEASURES",
    "figure_layer_information",
    "figure_measure_by_layer",
    "figures_of",
    "layer_information",
    "layer_measures",
    "measure_by_layer",
    "method_specificity",
    "plot_layer_information",
    "plot_layer_information_grid",
    "plot_measure_by_layer",
]

#: Names of measures in tables, to how they are written for people.
MEASURES = {
    "probe_auroc": "Probe AUROC",
    "control_auroc": "Control task",
    "selectivity": "Selectivity",
    "c2st_accuracy": "C2ST accuracy",
    "fisher": "Fisher ratio",
    "dprime": "d′",
    "silhouette": "Silhouette",
    "knn_purity": "k-NN purity",
    "mmd2": "MMD²",
}

#: Chance level of measures that have one.
CHANCE = {"probe_auroc": 0.5, "control_auroc": 0.5, "c2st_accuracy": 0.5, "selectivity": 0.0}


# --- The probe, the detector and the control task of a layer -------------------------------------


def layer_information(found: SeparabilityReport, layer: str) -> pd.DataFrame:
    """Return what a probe of a layer, its control task and the detector itself reach.

    Parameters
    ----------
    found : SeparabilityReport
        Report of a detector.
    layer : str
        Name of the layer.

    Returns
    -------
    pandas.DataFrame
        The rows of ``probe_auroc`` and ``control_auroc`` of `layer_measures`, a dataset each, with
        ``own``, the AUROC of the detector's own logit, and ``blind``, that of the probe less that
        of the detector; each with its interval.

    Raises
    ------
    UnknownNameError
        If the report does not hold the layer.
    """
    frame = layer_measures(found, layer)
    attrs = frame.attrs
    frame = frame[frame["measure"].isin(["probe_auroc", "control_auroc"])]
    names = [f"{name}{end}" for name in ("own", "blind") for end in ("", "_low", "_high")]
    beside = found.data[names].sel(layer=layer).drop_vars("layer").to_dataframe().reset_index()
    frame = frame.merge(beside, on="dataset")
    frame.attrs = attrs
    return frame


def plot_layer_information(found: SeparabilityReport, layer: str = "") -> Figure:
    """Draw the AUROC of probes per layer, with control tasks and the detector's own head.

    Parameters
    ----------
    found : SeparabilityReport
        Report of a detector.
    layer : str, optional
        Name of a layer; all by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    found = _one_layer(found, layer) if layer else found
    names = list(found.data["dataset"].values)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 0.42 * len(names) + 1.0), layout="constrained")
        axes = figure.subplots()
        _draw_probes(axes, found.data)
        axes.set_xlabel("AUROC, 95% interval")
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=6.5)
    return figure


def plot_layer_information_grid(
    found: Mapping[str, SeparabilityReport], columns: int = 3
) -> Figure:
    """Draw the AUROC of probes, control tasks and the detector's own head, one panel per detector.

    Parameters
    ----------
    found : mapping
        Detector to its report.
    columns : int, default 3
        Panels per row.

    Returns
    -------
    matplotlib.figure.Figure
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
        figure.supxlabel("AUROC, 95% interval", fontsize=7.5)
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
            label="" if i else "control tasks, 95%",
        )
    axes.axvline(0.5, color="0.6", lw=0.7, zorder=0)
    axes.set_yticks(rows, [cut(str(name), 18) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)


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


#: Pixels of a row, and of what is above and below the rows, on a page.
_ROW, _ABOVE, _BELOW = 50, 56, 46


def figure_layer_information(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `layer_information` for a page; the right column is what the head misses."""
    probe, control = (_of_measure(frame, name) for name in ("probe_auroc", "control_auroc"))
    own = probe[["own", "own_low", "own_high"]].set_axis(["value", "low", "high"], axis=1)
    series = (
        (-0.2, "probe on the layer", probe, {"symbol": "circle", "color": theme.accent}),
        (0.0, "the detector itself", own, {"symbol": "diamond", "color": theme.warm}),
        (
            0.2,
            "control task: random labels",
            control,
            {"symbol": "square-open", "color": theme.muted},
        ),
    )
    ends = [one[["value", "low"]].to_numpy(dtype=float).ravel() for _, _, one, _ in series]
    lowest = float(np.nanmin([0.45, *np.concatenate(ends)]))
    return figure_of(
        [_marks(frame, theme, *one) for one in series],
        theme,
        height=_ROW * len(probe) + _ABOVE + _BELOW,
        shapes=[theme.line_at(x=0.5, line={"color": theme.muted, "width": 1, "dash": "dot"})],
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 8, "r": 118, "t": _ABOVE, "b": _BELOW},
        xaxis=theme.axis("AUROC, real against fake", range=[lowest - 0.03, 1.02]),
        yaxis=theme.rows(_counted(probe, theme)),
        annotations=_missed(probe, theme),
    )


def _one_layer(found: SeparabilityReport, layer: str) -> SeparabilityReport:
    return SeparabilityReport(found.data.sel(layer=[known_layer(found, layer)]))


def _of_measure(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows of a measure in the order of datasets; NaN where it is not there."""
    rows = frame[frame["measure"] == name].set_index("dataset")
    return rows.reindex(frame.attrs["datasets"])


def _marks(
    frame: pd.DataFrame,
    theme: Theme,
    shift: float,
    name: str,
    one: pd.DataFrame,
    mark: dict[str, Any],
) -> dict[str, Any]:
    value, low, high = (one[part].to_numpy(dtype=float) for part in ("value", "low", "high"))
    ci = frame.attrs["ci"]
    spans = [
        f"{ci:.0%} interval {a:.3f} to {b:.3f}" if np.isfinite(a) else "no interval"
        for a, b in zip(low, high, strict=True)
    ]
    is_open = mark["symbol"].endswith("open")
    return {
        "type": "scatter",
        "x": value,
        "y": np.arange(len(value)) + shift,
        "mode": "markers",
        "name": name,
        "marker": {**mark, "size": 9, "line": {"width": 1.6}} if is_open else {**mark, "size": 10},
        "error_x": theme.bars(value, low, high, mark["color"]),
        "hovertext": spans,
        "hovertemplate": f"{name}: AUROC %{{x:.3f}}<br>%{{hovertext}}<extra></extra>",
    }


def _counted(probe: pd.DataFrame, theme: Theme) -> list[str]:
    """Name datasets, with the numbers of images and clusters."""
    small = f"<span style='font-size:11px;color:{theme.muted}'>"
    return [
        f"{clean(str(name))}  <br>{small}{int(n)} images · {int(c)} clusters  </span>"
        for name, n, c in zip(probe.index, probe["sampled"], probe["n_clusters"], strict=True)
    ]


def _missed(probe: pd.DataFrame, theme: Theme) -> list[dict[str, Any]]:
    """Write what the head misses beside each row, and name the column."""
    shared = {
        "xref": "paper",
        "x": 1,
        "xanchor": "left",
        "xshift": 12,
        "showarrow": False,
        "align": "left",
    }
    title = {"yref": "paper", "y": 1, "yanchor": "bottom", "text": "probe − detector"}
    out = [{**shared, **title, "font": {"size": 12, "color": theme.muted}}]
    for row, one in enumerate(probe.to_dict("records")):
        value, low, high = (float(one[name]) for name in ("blind", "blind_low", "blind_high"))
        bounds = f"{signed(low)} to {signed(high)}" if np.isfinite(low) else span(low, high)
        small = f"<span style='font-size:11px;color:{theme.muted}'>{bounds}</span>"
        number = f"<b>{signed(value)}</b>" if low > 0 else signed(value)
        font = {"size": 13, "color": theme.ink}
        out.append({**shared, "y": row, "text": f"{number}<br>{small}", "font": font})
    return out


# --- Measures ------------------------------------------------------------------------------------


def layer_measures(found: SeparabilityReport, layer: str) -> pd.DataFrame:
    """Return all measures of a layer.

    Parameters
    ----------
    found, layer : SeparabilityReport, str
        As in `layer_information`.

    Returns
    -------
    pandas.DataFrame
        One row per ``measure`` and ``dataset``, as of `SeparabilityReport.to_dataframe`.

    Raises
    ------
    UnknownNameError
        If the report does not hold the layer.
    """
    return rows_of(found, found.to_dataframe(), known_layer(found, layer))


def measure_by_layer(found: SeparabilityReport, measure: str) -> pd.DataFrame:
    """Return one measure of all layers.

    Parameters
    ----------
    found : SeparabilityReport
        Report of a detector.
    measure : str
        Name of the measure.

    Returns
    -------
    pandas.DataFrame
        One row per ``layer`` and ``dataset``, as of `SeparabilityReport.to_dataframe`.
    """
    frame = found.to_dataframe()
    frame = frame[frame["measure"] == measure].reset_index(drop=True)
    frame.attrs.clear()
    frame.attrs.update(
        about(found),
        measure=measure,
        title=MEASURES.get(measure, measure),
        layers=list(map(str, found.data["layer"].values)),
    )
    return frame


def plot_measure_by_layer(found: SeparabilityReport, measure: str) -> Figure:
    """Draw one measure of separability by layer, one line per dataset.

    Parameters
    ----------
    found, measure : SeparabilityReport, str
        As in `measure_by_layer`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    data, title = found.data, MEASURES.get(measure, measure)
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
        axes.set_ylabel(f"{title}, {float(data.attrs.get('ci', 0.95)):.0%} interval")
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


def figure_measure_by_layer(
    frame: pd.DataFrame, theme: Theme = LIGHT, *, layer: str = ""
) -> dict[str, Any]:
    """Draw `measure_by_layer` for a page, a line a dataset; the chosen layer is shaded."""
    layers, names = frame.attrs["layers"], frame.attrs["datasets"]
    shapes = [_shaded(layers.index(layer), theme)] if layer in layers else []
    if CHANCE.get(frame.attrs["measure"]):
        dotted = {"color": theme.muted, "width": 1, "dash": "dot"}
        shapes.append(theme.line_at(y=CHANCE[frame.attrs["measure"]], line=dotted))
    return figure_of(
        [_line(frame, theme, i, layer) for i in range(len(names))],
        theme,
        shapes=shapes,
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 56, "r": 12, "t": 62, "b": 58},
        xaxis=theme.axis(
            "layer, as recorded",
            tickvals=list(range(len(layers))),
            ticktext=list(map(clean, layers)),
            range=[-0.5, len(layers) - 0.5],
            showgrid=False,
        ),
        yaxis=theme.axis(clean(frame.attrs["title"])),
    )


def _shaded(at: int, theme: Theme) -> dict[str, Any]:
    return {
        "type": "rect",
        "x0": at - 0.45,
        "x1": at + 0.45,
        "xref": "x",
        "y0": 0,
        "y1": 1,
        "yref": "y domain",
        "layer": "below",
        "line": {"width": 0},
        "fillcolor": theme.faded(theme.accent, 0.09),
    }


def _line(frame: pd.DataFrame, theme: Theme, i: int, layer: str) -> dict[str, Any]:
    layers, names = frame.attrs["layers"], frame.attrs["datasets"]
    part = frame[frame["dataset"] == names[i]].set_index("layer").reindex(layers)
    value, low, high = (part[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
    color = theme.series[i % len(theme.series)]
    # Side by side, so that intervals of datasets do not hide each other.
    shift = 0.06 * (i - (len(names) - 1) / 2)
    hovers = [
        f"{clean(n)}: {v:.3f} ({f'{short(a)} to {short(b)}' if a == a else 'no interval'})"
        for n, v, a, b in zip(layers, value, low, high, strict=True)
    ]
    return {
        "type": "scatter",
        "x": np.arange(len(layers)) + shift,
        "y": value,
        "mode": "lines+markers",
        "name": clean(names[i]),
        "line": {"color": color, "width": 1.5},
        "marker": {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": color},
        "error_y": theme.bars(value, low, high, theme.faded(color, 0.55)),
        "hovertext": hovers,
        "hovertemplate": f"%{{hovertext}}<extra>{clean(names[i])}</extra>",
        # Units are numbers of one layer, so none stays chosen.
        "customdata": ["" if n == layer else urlencode({"layer": n, "unit": ""}) for n in layers],
    }


# --- What is specific to methods -----------------------------------------------------------------


def method_specificity(found: SeparabilityReport) -> pd.DataFrame:
    """Return what of each layer is specific to methods: `SeparabilityReport.layers`.

    Parameters
    ----------
    found : SeparabilityReport
        Report of a detector.

    Returns
    -------
    pandas.DataFrame
        One row per ``layer``.
    """
    return found.layers()


# --- All of a report -----------------------------------------------------------------------------


def figures_of(found: SeparabilityReport) -> dict[str, Figure]:
    """Draw all figures of a report; returns file name to figure."""
    out = {"probes": plot_layer_information(found), "units": plot_unit_information(found)}
    for layer in found.data["layer"].values:
        if found.data.sizes["dataset"] > 1:
            out[f"transfer-{layer}".replace("/", "-")] = plot_transfer(found, str(layer))
    return out
