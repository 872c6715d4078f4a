"""How alike the features of detectors are."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.errors import UnknownNameError
from probe.plots.style import STYLE, colors_of, text_on
from probe.plots.theme import LIGHT, Theme, cell, cells, clean, colorbar, figure_of, short, span
from probe.separability.report import Similarity

__all__ = ["detector_similarity", "figure_detector_similarity", "plot_detector_similarity"]


def detector_similarity(found: Similarity, layer: str) -> pd.DataFrame:
    """Return how alike the features of detectors are: `Similarity.to_dataframe`.

    Parameters
    ----------
    found : Similarity
        Similarity of the detectors of a run.
    layer : str
        Name of the layer that is drawn; the table has all of them.

    Returns
    -------
    pandas.DataFrame
        One row per ``layer`` and pair of detectors.

    Raises
    ------
    UnknownNameError
        If the table does not hold the layer.
    """
    data = found.data
    layers = list(map(str, data["layer"].values))
    if layer not in layers:
        raise UnknownNameError(
            "layer", layer, layers, where="the similarity table", remedy="Choose one of them above."
        )
    cka = data["cka"].sel(layer=layer).transpose("detector", "other")
    there = np.isfinite(cka.values).any(axis=1)
    frame = found.to_dataframe().reset_index(drop=True)
    frame.attrs = {
        "layer": layer,
        # With those that are alone at this layer.
        "detectors": list(map(str, cka["detector"].values[there])),
        "ci": float(data.attrs.get("ci", 0.95)),
        "n_samples": int(data.attrs.get("n_samples", 0)),
        "n_clusters": int(data.attrs.get("n_clusters", 0)),
    }
    return frame


def plot_detector_similarity(found: Similarity, layer: str) -> Figure:
    """Draw the debiased CKA between all detectors that have a layer, with intervals in the cells.

    Parameters
    ----------
    found, layer : Similarity, str
        As in `detector_similarity`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    part = found.data.sel(layer=layer).transpose("detector", "other")
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


def figure_detector_similarity(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `detector_similarity` at its layer for a page; neutral is 0, nothing in common."""
    names = frame.attrs["detectors"]
    n, places = len(names), list(range(len(names)))
    value, low, high = _matrices(frame)
    bar = colorbar(theme, ["−1", "0", "1"])
    axis: dict[str, Any] = {
        "showgrid": False,
        "tickvals": places,
        "tickfont": {"size": 12, "color": theme.ink},
    }
    texts = [
        cell(theme, c, r, float(value[r, c]), _pair_text(value, low, high, r, c), 14)
        for r in places
        for c in places
    ]
    shown = list(map(clean, names))
    hovers = _pair_hovers(frame, value, low, high)
    return figure_of(
        [cells(theme, value, hovers, x=places, y=places, colorbar=bar)],
        theme,
        height=48 * n + 84,
        margin={"l": 8, "r": 8, "t": 40, "b": 44},
        annotations=texts,
        xaxis=theme.axis(side="top", ticktext=shown, tickangle=0, range=[-0.5, n - 0.5], **axis),
        yaxis=theme.axis(ticktext=[f"{one}  " for one in shown], range=[n - 0.5, -0.5], **axis),
    )


def _matrices(frame: pd.DataFrame) -> tuple[NDArray[np.float64], ...]:
    """Lay pairs out both ways; a detector is wholly alike with itself."""
    names = frame.attrs["detectors"]
    out = []
    for column, alone in (("cka", 1.0), ("cka_low", np.nan), ("cka_high", np.nan)):
        square = np.full((len(names), len(names)), np.nan)
        np.fill_diagonal(square, alone)
        for one in frame[frame["layer"] == frame.attrs["layer"]].to_dict("records"):
            r, c = names.index(one["detector"]), names.index(one["other"])
            square[r, c] = square[c, r] = one[column]
        out.append(square)
    return tuple(out)


def _pair_text(
    value: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    r: int,
    c: int,
) -> str:
    number = f"<b>{short(float(value[r, c]))}</b>"
    if r == c or not np.isfinite(value[r, c]):
        return number
    bounds = span(float(low[r, c]), float(high[r, c]))
    return f"{number}<br><span style='font-size:10.5px'>{bounds}</span>"


def _pair_hovers(
    frame: pd.DataFrame,
    value: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> list[list[str]]:
    names = list(map(clean, frame.attrs["detectors"]))

    def one(r: int, c: int) -> str:
        bounds = "no interval"
        if np.isfinite(low[r, c]):
            bounds = f"{frame.attrs['ci']:.0%} interval {low[r, c]:.3f} to {high[r, c]:.3f}"
        return f"<b>{names[r]}</b> and <b>{names[c]}</b><br>CKA {value[r, c]:.3f}<br>{bounds}"

    return [[one(r, c) for c in range(len(names))] for r in range(len(names))]
