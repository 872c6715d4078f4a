"""What single units know of the label and of the method."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.neurons import Universality
from probe.plots.separability_layer import LAYERS, known_layer, rows_of
from probe.plots.style import STYLE
from probe.plots.theme import LIGHT, Theme, figure_of, level
from probe.separability.report import SeparabilityReport

__all__ = [
    "ALPHA",
    "drawn_units",
    "figure_unit_information",
    "plot_unit_information",
    "unit_information",
]

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
