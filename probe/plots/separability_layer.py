"""Tables and figures of a detector's layers: transfer between datasets, and single units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.errors import UnknownNameError
from probe.neurons import Universality
from probe.plots.style import STYLE, colors_of, text_on
from probe.plots.text import cut
from probe.plots.theme import (
    LIGHT,
    Theme,
    cell,
    cells,
    clean,
    colorbar,
    figure_of,
    level,
    short,
    span,
)
from probe.separability.report import SeparabilityReport

__all__ = [
    "ALPHA",
    "LAYERS",
    "about",
    "drawn_units",
    "figure_transfer",
    "figure_unit_information",
    "known_layer",
    "plot_transfer",
    "plot_transfer_grid",
    "plot_unit_information",
    "rows_of",
    "transfer",
    "unit_information",
]

#: Color (Okabe and Ito) and marker per layer.
LAYERS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#cc79a7", "^"), ("#b8860b", "v"))


def about(found: SeparabilityReport) -> dict[str, Any]:
    """Return the confidence level and the datasets of a report, in order."""
    return {
        "ci": float(found.data.attrs.get("ci", 0.95)),
        "datasets": list(map(str, found.data["dataset"].values)),
    }


def known_layer(found: SeparabilityReport, layer: str) -> str:
    """Return the layer.

    Raises
    ------
    UnknownNameError
        If the report does not hold it.
    """
    layers = list(map(str, found.data["layer"].values))
    if layer not in layers:
        raise UnknownNameError(
            "layer",
            layer,
            layers,
            where="the separability report",
            remedy="Choose one of them above, or record the layer and compute the report again.",
        )
    return layer


def rows_of(found: SeparabilityReport, frame: pd.DataFrame, layer: str) -> pd.DataFrame:
    """Return the rows of a layer, and what they are about."""
    frame = frame[frame["layer"].astype(str) == layer].reset_index(drop=True)
    frame.attrs.clear()
    frame.attrs.update(about(found), layer=layer)
    return frame


def transfer(found: SeparabilityReport, layer: str) -> pd.DataFrame:
    """Return the AUROC of the probe of a layer, fitted on each dataset and scored on each.

    Parameters
    ----------
    found, layer : SeparabilityReport, str
        Report of a detector, and the name of a layer.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset`` fitted on and dataset ``scored`` on: ``transfer``, beside ``own``,
        the AUROC of the detector's own logit, each with its interval; ``n_samples`` and
        ``n_clusters`` of the dataset scored on.

    Raises
    ------
    UnknownNameError
        If the report does not hold the layer.
    """
    frame = rows_of(found, found.transfer(), known_layer(found, layer))
    names = ["own_low", "own_high", "n_samples", "n_clusters"]
    beside = found.data[names].to_dataframe()[names].reindex(frame["scored"])
    frame = frame.assign(**{name: beside[name].to_numpy() for name in names})
    return frame


def plot_transfer(found: SeparabilityReport, layer: str) -> Figure:
    """Draw the transfer matrix of a layer above the detector's own AUROC, on one color scale.

    Parameters
    ----------
    found, layer : SeparabilityReport, str
        As in `transfer`.

    Returns
    -------
    matplotlib.figure.Figure
    """
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
        top.set_title(f"{found.detector}, {layer}")
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


def plot_transfer_grid(
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

    Returns
    -------
    matplotlib.figure.Figure
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


#: Pixels of a row, and of what is above and below the matrix; rows between it and the detector's.
_HIGH, _HEAD, _FOOT, _GAP = 46, 68, 44, 0.3


def figure_transfer(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `transfer` for a page: fitted on (rows), scored on (columns), the detector below.

    Both parts have one scale, from −1 (always wrong) over 0 (chance) to 1. Framed: the probe was
    fitted on other people of the same dataset.
    """
    names = frame.attrs["datasets"]
    columns, below = list(range(len(names))), len(names) + _GAP
    grid = frame.set_index(["dataset", "scored"]).reindex(
        pd.MultiIndex.from_product([names, names], names=["dataset", "scored"])
    )
    square = {part: _square(grid, f"transfer{part}", len(names)) for part in _PARTS}
    own = {part: _square(grid, f"own{part}", len(names))[:1] for part in _PARTS}
    bar = colorbar(theme, ["0", "0.5", "1"])
    hovers, own_hovers = _transfer_hovers(frame, square), _own_hovers(frame, own)
    parts = [
        cells(theme, 2 * square[""] - 1, hovers, x=columns, y=columns, colorbar=bar),
        cells(theme, 2 * own[""] - 1, own_hovers, x=columns, y=[below], showscale=False),
    ]
    rows = [*((float(r), *(square[part][r] for part in _PARTS)) for r in columns)]
    rows.append((below, *(own[part][0] for part in _PARTS)))
    texts = [
        cell(theme, c, y, float(2 * value[c] - 1), _cell_text(value[c], low[c], high[c]), 14)
        for y, value, low, high in rows
        for c in columns
    ]
    return figure_of(
        parts,
        theme,
        height=round(_HIGH * (below + 1)) + _HEAD + _FOOT,
        margin={"l": 8, "r": 8, "t": _HEAD, "b": _FOOT},
        annotations=[*texts, *_transfer_heads(theme)],
        shapes=[theme.frame(i - 0.475, i + 0.475, i - 0.44, i + 0.44) for i in columns],
        xaxis=_transfer_columns(frame, theme),
        yaxis=theme.axis(
            showgrid=False,
            tickvals=[*columns, below],
            ticktext=[*(f"{clean(name)}  " for name in names), "<b>the detector</b>  "],
            range=[below + 0.5, -0.5],
            tickfont={"size": 13, "color": theme.ink},
        ),
    )


#: A value and the ends of its interval, as names end.
_PARTS = ("", "_low", "_high")


def _square(grid: pd.DataFrame, name: str, n: int) -> NDArray[np.float64]:
    return grid[name].to_numpy(dtype=np.float64).reshape(n, n)


def _transfer_columns(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    small = f"<span style='font-size:11px;color:{theme.muted}'>"
    scored = frame.drop_duplicates("scored").set_index("scored").reindex(frame.attrs["datasets"])
    counts = zip(scored.index, scored["n_samples"], scored["n_clusters"], strict=True)
    texts = [
        f"<b>{clean(str(name))}</b><br>{small}{int(n)} · {int(c)} cl.</span>"
        for name, n, c in counts
    ]
    return theme.axis(
        showgrid=False,
        side="top",
        tickvals=list(range(len(texts))),
        ticktext=texts,
        tickangle=0,
        range=[-0.5, len(texts) - 0.5],
        tickfont={"size": 13, "color": theme.ink},
    )


def _transfer_heads(theme: Theme) -> list[dict[str, Any]]:
    """Say what rows and columns are."""
    shared = {
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "font": {"size": 12, "color": theme.muted},
        "y": 1,
    }
    fitted = {"x": 0, "xanchor": "right", "xshift": -8, "yshift": 12, "text": "probe fitted on"}
    return [{**shared, "x": 0.5, "yshift": 56, "text": "scored on"}, {**shared, **fitted}]


def _cell_text(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "—"
    return f"<b>{short(value)}</b><br><span style='font-size:10.5px'>{span(low, high)}</span>"


def _transfer_hovers(
    frame: pd.DataFrame, square: Mapping[str, NDArray[np.float64]]
) -> list[list[str]]:
    names = list(map(clean, frame.attrs["datasets"]))

    def one(r: int, c: int) -> str:
        how = "cross-validated over people" if r == c else "never on people it was fitted on"
        head = f"probe fitted on <b>{names[r]}</b>, scored on <b>{names[c]}</b>"
        value, low, high = (float(square[part][r, c]) for part in _PARTS)
        return _transfer_hover(frame, head, value, low, high, how)

    return [[one(r, c) for c in range(len(names))] for r in range(len(names))]


def _own_hovers(frame: pd.DataFrame, own: Mapping[str, NDArray[np.float64]]) -> list[list[str]]:
    def one(c: int, name: str) -> str:
        head = f"the detector's own logit on <b>{clean(name)}</b>"
        value, low, high = (float(own[part][0, c]) for part in _PARTS)
        return _transfer_hover(frame, head, value, low, high, "as trained; nothing fitted here")

    return [[one(c, name) for c, name in enumerate(frame.attrs["datasets"])]]


def _transfer_hover(
    frame: pd.DataFrame, head: str, value: float, low: float, high: float, how: str
) -> str:
    bounds = (
        f"{frame.attrs['ci']:.0%} interval {low:.3f} to {high:.3f}, clusters resampled"
        if np.isfinite(low)
        else "no interval: fewer than five clusters"
    )
    number = f"AUROC {value:.3f}" if np.isfinite(value) else "not defined"
    return "<br>".join([head, number, bounds, how])


#: False discovery rate below which a unit counts as knowing something.
ALPHA = 0.05

#: Units that are drawn on a page at most: those that know most, and others at random.
MOST = 2000


def unit_information(
    found: SeparabilityReport, universality: Universality | None = None, layer: str = ""
) -> pd.DataFrame:
    """Return what single units know of the label and of the method.

    Parameters
    ----------
    found : SeparabilityReport
        Report of a detector.
    universality : Universality, optional
        Universality of the units of this layer, if it was measured.
    layer : str, optional
        Name of the layer; all by default.

    Returns
    -------
    pandas.DataFrame
        One row per ``layer`` and ``unit``: mutual information as a share of the entropy, and its
        adjusted p-value; with `universality` also ``universal``, whether the unit contributes to
        detection in every dataset.
    """
    frame = found.units()
    if layer:
        frame = rows_of(found, frame, known_layer(found, layer))
    if universality is not None:
        frame["universal"] = frame["unit"].isin(universality.universal.tolist())
    return frame


def plot_unit_information(
    found: SeparabilityReport, universality: Universality | None = None, layer: str = ""
) -> Figure:
    """Draw the information of each unit on the label against that on the method.

    Parameters
    ----------
    found, universality, layer : SeparabilityReport, Universality, str
        As in `unit_information`; universal units are not marked in print.

    Returns
    -------
    matplotlib.figure.Figure
    """
    units = unit_information(found, universality, layer)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3, 2.9), layout="constrained")
        axes = figure.subplots()
        for i, (name, rows) in enumerate(units.groupby("layer", sort=False)):
            color, marker = LAYERS[i % len(LAYERS)]
            sure = (rows["label_q"] <= ALPHA).to_numpy()
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
                    label=str(name) if face != "none" else None,
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


def figure_unit_information(
    frame: pd.DataFrame, theme: Theme = LIGHT, *, unit: int | None = None
) -> dict[str, Any]:
    """Draw `unit_information` of a layer for a page: method (x) and label (y); one is ringed."""
    label, method = (frame[f"{name}_information"].to_numpy() for name in ("label", "method"))
    knows = frame[["label_q", "method_q"]].min(axis=1).to_numpy() <= ALPHA
    drawn, universal = drawn_units(frame), _universal(frame)
    groups = (
        ("universal", universal, {"symbol": "diamond", "size": 11, "color": theme.warm}),
        ("other units", ~universal & knows, {"symbol": "circle", "size": 8, "color": theme.accent}),
        (
            "neither (q > 0.05)",
            ~universal & ~knows,
            {"symbol": "circle-open", "size": 8, "color": theme.muted, "line": {"width": 1.4}},
        ),
    )
    traces = [
        _units(frame[rows & drawn], name, {"marker": mark}) for name, rows, mark in reversed(groups)
    ]
    top, right = (1.06 * float(np.nanmax([0.02, *part])) for part in (label, method))
    end = min(top, right)
    diagonal = {
        "type": "line",
        **{"x0": 0, "y0": 0, "x1": end, "y1": end},
        "layer": "below",
        "line": {"color": theme.muted, "width": 1, "dash": "dot"},
    }
    return figure_of(
        [_ring(frame[frame["unit"] == unit], theme), *traces],
        theme,
        shapes=[diagonal],
        showlegend=True,
        legend=theme.legend(traceorder="reversed"),
        margin={"l": 58, "r": 12, "t": 36, "b": 46},
        xaxis=theme.axis(
            "knows of the method (share of its entropy)", range=[-0.02 * right, right]
        ),
        yaxis=theme.axis("knows of real or fake (share)", range=[-0.02 * top, top]),
    )


def drawn_units(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Choose the units to draw: all, or universal ones, those that know most, and some others.

    Parameters
    ----------
    frame : pandas.DataFrame
        What `unit_information` returned for a layer.

    Returns
    -------
    numpy.ndarray
        Shape (unit,).
    """
    n = len(frame)
    if n <= MOST:
        return np.ones(n, dtype=bool)
    most = frame[["label_information", "method_information"]].max(axis=1, skipna=False)
    best = np.lexsort((-np.nan_to_num(most.to_numpy()), ~_universal(frame)))
    half = MOST // 2
    others = np.random.default_rng(0).choice(best[half:], MOST - half, replace=False)
    drawn = np.zeros(n, dtype=bool)
    drawn[best[:half]] = drawn[others] = True
    return drawn


def _universal(frame: pd.DataFrame) -> NDArray[np.bool_]:
    given = frame["universal"] if "universal" in frame else np.zeros(len(frame))
    return np.asarray(given, dtype=bool)


def _units(part: pd.DataFrame, name: str, look: dict[str, Any]) -> dict[str, Any]:
    hovers = [
        f"<b>unit {one['unit']}</b><br>real or fake {one['label_information']:.3f} "
        f"(q {level(one['label_q'])})<br>method {one['method_information']:.3f} "
        f"(q {level(one['method_q'])})"
        for one in part.to_dict("records")
    ]
    return {
        "type": "scatter",
        "x": part["method_information"],
        "y": part["label_information"],
        "mode": "markers",
        "name": name,
        "showlegend": bool(len(part)),
        "cliponaxis": False,
        "hovertext": hovers,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": [f"unit={unit}&color=unit" for unit in part["unit"]],
        **look,
    }


def _ring(part: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": part["method_information"],
        "y": part["label_information"],
        "mode": "markers",
        "showlegend": False,
        "hoverinfo": "skip",
        "cliponaxis": False,
        "marker": {
            "symbol": "circle-open",
            "size": 20,
            "color": theme.ink,
            "line": {"width": 2},
        },
    }
