"""Two detectors compared inside: units, features, layers and attribution maps.

Of each finding ``x`` of a pair there are ``x``, the table behind it, ``plot_x``, the figure for
print (matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.attribution.findings import MapSimilarity
from probe.errors import NotComparableError, ProbeError
from probe.evaluation.paired import mean_by_cluster
from probe.neurons import NeuronTable, Universality, compare_neurons
from probe.plots.compare import (
    ALPHA,
    COLUMNS,
    FOOT,
    MOST,
    ROW,
    diagonal,
    forest_figure,
    intervals,
    panels_figure,
    row_names,
    scatter_figure,
)
from probe.plots.neurons import OUTPUTS
from probe.plots.theme import LIGHT, Theme, clean, figure_of, level
from probe.separability import SeparabilityReport, Similarity, probe_differences

__all__ = [
    "figure_pair_features",
    "figure_pair_layers",
    "figure_pair_maps",
    "figure_pair_units",
    "pair_effects",
    "pair_features",
    "pair_layers",
    "pair_maps",
    "pair_units",
    "plot_pair_features",
    "plot_pair_layers",
    "plot_pair_maps",
    "plot_pair_units",
    "strongest",
]

# --- The same units -----------------------------------------------------------------------------


def pair_units(
    one: NeuronTable,
    other: NeuronTable,
    found: Universality,
    other_found: Universality,
    *,
    names: Sequence[str] = ("one", "other"),
) -> pd.DataFrame:
    """Compare the universal units of two variants: `probe.neurons.compare_neurons`.

    Parameters
    ----------
    one, other : NeuronTable
        Neuron tables of the two, of one layer.
    found, other_found : Universality
        Universality of the two.
    names : sequence of str
        Their labels.

    Returns
    -------
    pandas.DataFrame
        One row per set, "universal" by the test and "counted" by the study.

    Raises
    ------
    NotComparableError
        If the tables are of two layers.
    """
    layers = [str(table.data.attrs.get("layer", "")) for table in (one, other)]
    sizes = [table.data.sizes["unit"] for table in (one, other)]
    if layers[0] != layers[1] or sizes[0] != sizes[1]:
        raise NotComparableError(
            f"The units are those of {layers[0]!r} ({sizes[0]}) in one and of {layers[1]!r} "
            f"({sizes[1]}) in the other. Units are compared within one layer."
        )
    frame = compare_neurons(
        dict(zip(names, (found, other_found), strict=True)),
        dict(zip(names, (one, other), strict=True)),
    )
    frame.attrs = {"names": _variants(names), "layer": layers[0], "n_units": sizes[0]}
    return frame


def pair_effects(
    one: NeuronTable,
    other: NeuronTable,
    found: Universality,
    other_found: Universality,
    *,
    names: Sequence[str] = ("one", "other"),
) -> pd.DataFrame:
    """Return the mean effect of every unit in two variants.

    Parameters
    ----------
    one, other, found, other_found, names
        As in `pair_units`.

    Returns
    -------
    pandas.DataFrame
        One row per ``unit``: ``effect`` and ``other_effect``, the means over datasets, and
        ``universal`` and ``other_universal``, whether it is universal by the test.
    """
    units, output = one.data["unit"].values, str(one.data.attrs.get("output", "logit"))
    frame = pd.DataFrame(
        {
            "unit": units,
            "effect": one.data["effect"].mean("dataset").values,
            "other_effect": other.data["effect"].mean("dataset").values,
            "universal": np.isin(units, found.universal),
            "other_universal": np.isin(units, other_found.universal),
        }
    )
    frame.attrs = {"names": _variants(names), "output": OUTPUTS.get(output, output)}
    return frame


def _variants(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.partition("/")[2] or name for name in names)


def _kinds(frame: pd.DataFrame, before: str = "") -> dict[str, pd.Series[bool]]:
    """Sort units by the lists that they are in."""
    one, other, (first, second) = frame["universal"], frame["other_universal"], frame.attrs["names"]
    return {
        "in neither list": ~(one | other),
        f"{before}{first} only": one & ~other,
        f"{before}{second} only": other & ~one,
        "universal in both": one & other,
    }


def plot_pair_units(
    one: NeuronTable,
    other: NeuronTable,
    found: Universality,
    other_found: Universality,
    *,
    names: Sequence[str] = ("one", "other"),
) -> Figure:
    """Draw every unit at its mean effect in two variants.

    Parameters
    ----------
    one, other, found, other_found, names
        As in `pair_units`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = strongest(pair_effects(one, other, found, other_found, names=names))
    first, second = (f"mean effect, {name}" for name in frame.attrs["names"])
    return scatter_figure(
        frame["other_effect"], frame["effect"], _kinds(frame), labels=(second, first)
    )


def strongest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the units of `pair_effects` that a figure has room for: the strongest, in order."""
    if len(frame) <= MOST:
        return frame
    strength = frame[["effect", "other_effect"]].max(axis=1).to_numpy()
    return frame.iloc[np.sort(np.argsort(-strength, kind="stable")[:MOST])]


def figure_pair_units(whole: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `pair_effects` for a page."""
    frame = strongest(whole)
    first, second = (clean(name) for name in frame.attrs["names"])
    looks = (
        ("circle-open", theme.muted),
        ("triangle-up", theme.accent),
        ("triangle-right", theme.warm),
        ("diamond", theme.ink),
    )
    kinds = _kinds(frame, "universal in ").items()
    traces = [
        {
            "type": "scatter",
            "x": part["other_effect"],
            "y": part["effect"],
            "mode": "markers",
            "name": clean(name),
            "showlegend": len(part) > 0,
            "hovertext": part["unit"],
            "marker": {"symbol": symbol, "size": 9, "color": color, "line": {"width": 1.5}},
            "hovertemplate": "unit %{hovertext}: %{y:.3g} and %{x:.3g}"
            f"<extra>{clean(name)}</extra>",
        }
        for (name, kept), (symbol, color) in zip(kinds, looks, strict=True)
        for part in (frame[kept],)
    ]
    return figure_of(
        traces,
        theme,
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 60, "r": 12, "t": 52, "b": 52},
        shapes=[diagonal(theme, frame[["effect", "other_effect"]].to_numpy(), 0.0)],
        xaxis=theme.axis(f"mean effect on the {frame.attrs['output']}, {second}"),
        yaxis=theme.axis(f"mean effect, {first}"),
    )


# --- Features -----------------------------------------------------------------------------------


def pair_features(found: Similarity, one: str, other: str) -> pd.DataFrame:
    """Return the similarity of the features of two detectors, layer by layer.

    Parameters
    ----------
    found : Similarity
        Similarity of the detectors of a run.
    one, other : str
        Labels of the two.

    Returns
    -------
    pandas.DataFrame
        One row per ``layer`` that was recorded of both: ``cka`` (debiased) with its interval
        ``low`` to ``high``, ``n_samples`` and ``n_clusters``.

    Raises
    ------
    NotComparableError
        If the table does not hold one of them, or they have no layer in common.
    """
    known = [str(name) for name in found.data["detector"].values]
    lacking = [name for name in (one, other) if name not in known]
    if lacking:
        raise NotComparableError(f"The similarity table does not hold {', '.join(lacking)}.")
    part = found.data.sel(detector=one, other=other)
    there = np.isfinite(part["cka"].values)
    if not there.any():
        raise NotComparableError("No layer of the same name was recorded of both.")
    part, attrs = part.isel(layer=there), found.data.attrs
    columns = {"cka": "cka", "low": "cka_low", "high": "cka_high"}
    frame = pd.DataFrame({"layer": part["layer"].values.astype(str)})
    frame = frame.assign(
        **{name: part[column].values for name, column in columns.items()},
        n_samples=int(attrs.get("n_samples", 0)),
        n_clusters=int(attrs.get("n_clusters", 0)),
    )
    frame.attrs = {"ci": float(attrs.get("ci", 0.95))}
    return frame


def plot_pair_features(found: Similarity, one: str, other: str) -> Figure:
    """Draw the similarity of the features of two detectors, layer by layer.

    Parameters
    ----------
    found, one, other : Similarity, str, str
        As in `pair_features`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = pair_features(found, one, other)
    ends = frame["low"], frame["high"]
    return forest_figure(frame["layer"], frame["cka"], *ends, label="debiased CKA", zero=None)


def figure_pair_features(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `pair_features` for a page."""
    value, low, high = (frame[name] for name in ("cka", "low", "high"))
    trace = {
        "type": "scatter",
        "x": value,
        "y": np.arange(len(frame)),
        "mode": "markers",
        "hovertext": [
            f"{a:.2f} to {b:.2f}" if np.isfinite(a) else "no interval"
            for a, b in zip(low, high, strict=True)
        ],
        "error_x": intervals(value, low, high, theme),
        "marker": {"symbol": "circle", "size": 12, "color": theme.accent},
        "hovertemplate": "CKA %{x:.3f}, %{hovertext}<extra></extra>",
    }
    return figure_of(
        [trace],
        theme,
        height=ROW * len(frame) + 16 + FOOT,
        margin={"l": 8, "r": 16, "t": 16, "b": FOOT},
        xaxis=theme.axis(
            "debiased CKA: 0 nothing in common, 1 the same",
            range=[min(-0.04, float(np.nanmin(value)) - 0.04), 1.04],
        ),
        yaxis=theme.rows([f"{clean(str(name))}  " for name in frame["layer"]]),
    )


# --- Layers -------------------------------------------------------------------------------------

#: Columns of a difference on the same people, by what `probe_differences` calls them.
_PAIRED = {
    "difference": "difference",
    "low": "difference_low",
    "high": "difference_high",
    "p": "p",
    "q": "q",
}
_SIDES = ("one", "other")

#: Pixels of a panel, and above panels and rows of maps.
_PANEL, _HEAD = 210, 36


def pair_layers(
    one: SeparabilityReport, other: SeparabilityReport, *, names: Sequence[str] = _SIDES
) -> pd.DataFrame:
    """Compare the probes of two detectors, layer by layer.

    Parameters
    ----------
    one, other : SeparabilityReport
        Reports of the two.
    names : sequence of str
        Names of the two.

    Returns
    -------
    pandas.DataFrame
        One row per ``layer`` and ``dataset`` that both have: ``one_value, one_low, one_high``
        (AUROC of the probe) and likewise ``other_…``; ``difference, difference_low,
        difference_high, p, q`` on the same people, see `probe.separability.probe_differences`,
        unless ``attrs["unpaired"]`` says why there is none; and ``more_than_noise``: 1 where the
        first is above by more than noise over people, −1 where the other is. That is by q ≤ 0.05,
        or where nothing is paired by intervals that do not overlap.

    Raises
    ------
    NotComparableError
        If no layer or no dataset is in both.
    """
    layers, datasets = (
        _common(*(report.data[name].values for report in (one, other)))
        for name in ("layer", "dataset")
    )
    if not layers or not datasets:
        raise NotComparableError(
            "The two reports have no layer of the same name, or no dataset, in common. Each is "
            "on the Separability page."
        )
    where = {"measure": "probe_auroc", "layer": layers, "dataset": datasets}
    keys = [(layer, dataset) for layer in layers for dataset in datasets]
    frame = pd.DataFrame(keys, columns=["layer", "dataset"])
    for side, report in zip(_SIDES, (one, other), strict=True):
        part = report.data[["value", "low", "high"]].sel(where).transpose("layer", "dataset")
        frame = frame.assign(**{f"{side}_{name}": part[name].values.ravel() for name in part})
    ci = float(one.data.attrs.get("ci", 0.95))
    frame, unpaired = _with_differences(frame, one, other, ci)
    frame.attrs = {"names": tuple(names), "layers": layers, "datasets": datasets, "ci": ci}
    frame.attrs["unpaired"] = unpaired
    return frame


def _common(one: Any, other: Any) -> list[str]:
    known = set(map(str, other))
    return [str(name) for name in one if str(name) in known]


def _with_differences(
    frame: pd.DataFrame, one: SeparabilityReport, other: SeparabilityReport, ci: float
) -> tuple[pd.DataFrame, str]:
    """Add differences on the same people, and why there are none where reports are of others."""
    try:
        found = probe_differences(one, other, ci)
    except ProbeError as error:
        above = frame["one_low"] > frame["other_high"]
        below = frame["one_high"] < frame["other_low"]
        return frame.assign(more_than_noise=above.astype(int) - below.astype(int)), str(error)
    where = {name: list(dict.fromkeys(frame[name])) for name in ("layer", "dataset")}
    part = found.sel(where).transpose("layer", "dataset", ...)
    frame = frame.assign(**{new: part[old].values.ravel() for old, new in _PAIRED.items()})
    sign = np.sign(frame["difference"]).where(frame["q"] <= ALPHA, 0)
    return frame.assign(more_than_noise=sign.astype(int)), ""


def _grids(frame: pd.DataFrame, what: str) -> NDArray[np.float64]:
    """Return a column of both, shape (2, layer, dataset)."""
    columns = [frame[f"{side}_{what}"].to_numpy(dtype=float) for side in _SIDES]
    return np.stack(columns).reshape(2, len(frame.attrs["layers"]), -1)


def plot_pair_layers(
    one: SeparabilityReport, other: SeparabilityReport, *, names: Sequence[str] = _SIDES
) -> Figure:
    """Draw the probes of two detectors through the layers, one panel per dataset.

    A diamond is above layers whose difference is more than noise over people, where that was
    tested.

    Parameters
    ----------
    one, other, names
        As in `pair_layers`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = pair_layers(one, other, names=names)
    about = frame.attrs
    marked = frame["more_than_noise"].to_numpy().reshape(len(about["layers"]), -1) != 0
    return panels_figure(
        about["names"],
        about["layers"],
        about["datasets"],
        *(_grids(frame, what) for what in ("value", "low", "high")),
        label="AUROC of probes",
        marked=None if about["unpaired"] else marked,
    )


def figure_pair_layers(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `pair_layers` for a page, a panel per dataset."""
    layers, datasets = frame.attrs["layers"], frame.attrs["datasets"]
    lines, last = -(-len(datasets) // COLUMNS), len(layers) - 0.5
    traces, axes, notes, chance = [], dict[str, Any](), list[dict[str, Any]](), []
    for i, name in enumerate(datasets):
        r, c = divmod(i, COLUMNS)
        mark = str(i + 1) if i else ""
        left, width = c / COLUMNS, 1 / COLUMNS
        x = [left + 0.04, left + width - 0.01]
        y = [1 - (r + 1) / lines + 0.17 / lines * 1.3, 1 - r / lines - 0.1 / lines]
        traces += [_through(frame, k, i, mark, theme) for k in (0, 1)]
        notes += [*_marks(frame, i, mark, theme), _titled(name, x[0], y[1], theme)]
        axes[f"xaxis{mark}"] = theme.axis(
            domain=x,
            anchor=f"y{mark}",
            tickvals=list(range(len(layers))),
            ticktext=[clean(layer) for layer in layers],
            range=[-0.5, last],
            showgrid=False,
        )
        axes[f"yaxis{mark}"] = theme.axis(domain=y, anchor=f"x{mark}", range=_room(frame), nticks=5)
        line = {
            "xref": f"x{mark}",
            "yref": f"y{mark}",
            "x0": -0.5,
            "x1": last,
            "y0": 0.5,
            "y1": 0.5,
        }
        look = {"color": theme.muted, "width": 1, "dash": "dot"}
        chance.append({"type": "line", **line, "layer": "below", "line": look})
    return figure_of(
        traces,
        theme,
        height=lines * _PANEL + _HEAD,
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 16, "r": 8, "t": _HEAD, "b": 0},
        annotations=notes,
        shapes=chance,
        **axes,
    )


def _titled(name: str, x: float, y: float, theme: Theme) -> dict[str, Any]:
    return {
        "text": f"<b>{clean(name)}</b>",
        "x": x,
        "xref": "paper",
        "xanchor": "left",
        "y": y,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": theme.ink},
    }


def _through(frame: pd.DataFrame, k: int, dataset: int, mark: str, theme: Theme) -> dict[str, Any]:
    """Draw the probes of one of the two through the layers, on a dataset."""
    name, color = clean(frame.attrs["names"][k]), (theme.accent, theme.warm)[k]
    value, low, high = (_grids(frame, what)[k, :, dataset] for what in ("value", "low", "high"))
    return {
        "type": "scatter",
        "x": np.arange(len(value)) + (0.06, -0.06)[k],
        "y": value,
        "error_y": {**theme.bars(value, low, high, color), "width": 3},
        "mode": "lines+markers",
        "name": name,
        "legendgroup": str(k),
        "showlegend": dataset == 0,
        "xaxis": f"x{mark}",
        "yaxis": f"y{mark}",
        "line": {"color": color, "width": 1.5, "dash": ("solid", "dash")[k]},
        "marker": {
            "symbol": ("circle", "diamond-open")[k],
            "size": 8,
            "color": color,
            "line": {"width": 1.5},
        },
        "hovertext": _differing(frame, dataset),
        "hovertemplate": f"AUROC %{{y:.3f}}%{{hovertext}}<extra>{name}</extra>",
    }


def _differing(frame: pd.DataFrame, dataset: int) -> list[str]:
    """Write the difference of each layer on a dataset, for who points at it."""
    rows = frame.iloc[dataset :: len(frame.attrs["datasets"])].to_dict("records")
    return [
        f"<br>difference {row['difference']:+.3f} ({row['difference_low']:+.3f} to "
        f"{row['difference_high']:+.3f}), q {level(row['q'])}"
        if np.isfinite(row.get("difference_low", np.nan))
        else ""
        for row in rows
    ]


def _marks(frame: pd.DataFrame, dataset: int, mark: str, theme: Theme) -> list[dict[str, Any]]:
    """Put a diamond above layers whose difference is more than noise, where that was tested."""
    if frame.attrs["unpaired"]:
        return []
    value, high = (_grids(frame, what)[:, :, dataset] for what in ("value", "high"))
    tops = np.nanmax(np.stack([value, np.nan_to_num(high)]), axis=(0, 1))
    differs = frame["more_than_noise"].to_numpy()[dataset :: len(frame.attrs["datasets"])]
    return [
        {
            "text": "◆",
            "x": int(r),
            "xref": f"x{mark}",
            "y": float(tops[r]),
            "yref": f"y{mark}",
            "yanchor": "bottom",
            "showarrow": False,
            "font": {"size": 12, "color": theme.ink},
        }
        for r in np.flatnonzero(differs)
    ]


def _room(frame: pd.DataFrame) -> list[float]:
    """Take the range of values, with chance in it and room for a mark above the highest."""
    every = np.r_[*(_grids(frame, what).ravel() for what in ("value", "low", "high")), 0.5]
    every = every[np.isfinite(every)]
    return [float(every.min()) - 0.03, float(every.max()) + 0.07]


# --- Maps ---------------------------------------------------------------------------------------


def pair_maps(found: MapSimilarity, pair: str) -> pd.DataFrame:
    """Compare the maps of two variants with maps of different images, per dataset.

    Parameters
    ----------
    found : MapSimilarity
        Similarity of the maps of an architecture's variants.
    pair : str
        The two, such as "base|deep".

    Returns
    -------
    pandas.DataFrame
        One row per dataset: ``value`` (mean SSIM of the two maps of an image), ``null`` (of maps
        of different images) and ``over`` (their difference, image by image), each with bounds;
        ``n_samples``, ``n_clusters``, ``more_than_noise`` (``over_low`` above 0) and ``method``.
    """
    part, attrs = found.data.sel(pair=pair), found.data.attrs
    options = {name: attrs[name] for name in ("ci", "seed") if name in attrs}
    own, null = part["similarity"].values, part["null"].values
    of, cluster = part["of"].values.astype(str), part["cluster"].values
    rows = []
    for dataset in dict.fromkeys(of):
        here, row = of == dataset, dict[str, Any](dataset=dataset)
        counts: dict[str, int] = {}
        for name, values in (("value", own), ("null", null), ("over", own - null)):
            mean = mean_by_cluster(values[here], cluster[here], **options)
            before = "" if name == "value" else f"{name}_"
            row |= {name: mean.estimate, f"{before}low": mean.low, f"{before}high": mean.high}
            # Of maps that could be compared: NaN do not count.
            counts = counts or {"n_samples": mean.n_samples, "n_clusters": mean.n_clusters}
        rows.append(row | counts)
    frame = pd.DataFrame(rows)
    frame = frame.assign(more_than_noise=frame["over_low"] > 0, method=attrs.get("method", ""))
    frame.attrs = {name: str(attrs.get(name, "")) for name in ("method", "rule")}
    frame.attrs["ci"] = float(attrs.get("ci", 0.95))
    return frame


def plot_pair_maps(found: MapSimilarity, pair: str) -> Figure:
    """Draw how much more similar maps of one image are than maps of different images.

    Parameters
    ----------
    found, pair : MapSimilarity, str
        As in `pair_maps`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = pair_maps(found, pair)
    return forest_figure(
        frame["dataset"],
        frame["over"],
        frame["over_low"],
        frame["over_high"],
        marked=frame["more_than_noise"],
        label="SSIM of maps, less that of different images",
    )


def figure_pair_maps(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `pair_maps` for a page: maps of the same image beside those of different images."""
    parts = (
        ("two variants, the same image", "value", "", -0.13, "circle", theme.accent),
        ("null: two variants, different images", "null", "null_", 0.17, "diamond-open", theme.warm),
    )
    traces = [
        {
            "type": "scatter",
            "x": frame[column],
            "y": np.arange(len(frame)) + off,
            "mode": "markers",
            "name": name,
            "error_x": intervals(
                frame[column], frame[f"{before}low"], frame[f"{before}high"], theme
            ),
            "marker": {"symbol": symbol, "size": 11, "color": color, "line": {"width": 2}},
            "hovertemplate": f"%{{x:.3f}}<extra>{name}</extra>",
        }
        for name, column, before, off, symbol, color in parts
    ]
    return figure_of(
        traces,
        theme,
        height=ROW * len(frame) + _HEAD + FOOT,
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 8, "r": 16, "t": _HEAD, "b": FOOT},
        xaxis=theme.axis("SSIM of maps: 1 the same"),
        yaxis=theme.rows(row_names(frame, theme)),
    )
