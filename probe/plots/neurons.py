"""Units: counts beside nulls, the list of units, one unit, and detection without sets of units.

Of each finding ``x`` there are ``x``, the table behind it, ``plot_x``, the figure for print
(matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.neurons import Ablation, NeuronTable, Universality
from probe.neurons.table import MEAN
from probe.plots.style import STYLE, colors_of, draw_series, look_of, text_on
from probe.plots.text import cut
from probe.plots.theme import (
    LIGHT,
    SYMBOLS,
    Theme,
    cells,
    clean,
    colorbar,
    figure_of,
    short,
    text_at,
)

__all__ = [
    "OUTPUTS",
    "ablation",
    "counts",
    "figure_ablation",
    "figure_counts",
    "figure_unit_doses",
    "figure_unit_effects",
    "figure_units",
    "mean_drops",
    "plot_ablation",
    "plot_counts",
    "plot_unit_doses",
    "plot_unit_effects",
    "plot_units",
    "unit_doses",
    "unit_effects",
    "units",
]

#: Scales of the response, as axis labels.
OUTPUTS = {"logit": "fake logit", "p_fake": "P(fake)", "p_real": "P(real)"}

#: Rows of a printed heatmap of units, and columns of one on a page, so that labels are legible.
MOST, MOST_COLUMNS = 24, 40

#: The middle of draws that bars show.
MIDDLE = (2.5, 97.5)


# --- In how many datasets units matter ----------------------------------------------------------


def counts(found: Universality) -> pd.DataFrame:
    """Return the number of units by number of top lists, observed and in the nulls.

    Parameters
    ----------
    found : Universality
        Universality of a detector.

    Returns
    -------
    pandas.DataFrame
        One row per ``count`` (0 to the number of datasets): ``observed``, ``independence`` with
        the 95% range ``independence_low`` to ``independence_high``, and a column per null
        detector, such as ``untrained_1``.
    """
    frame = found.to_dataframe()
    frame.attrs = {"top": float(found.data.attrs["top"])}
    return frame


def plot_counts(found: Universality | Mapping[str, Universality], columns: int = 3) -> Figure:
    """Draw how many units are in the top of how many datasets, with two nulls.

    Parameters
    ----------
    found : Universality or mapping
        Universality of a detector; or detector to universality, for one panel per detector.
    columns : int, default 3
        Panels per row, such as the number of variants of an architecture.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = found if isinstance(found, Mapping) else {"": found}
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    size = (3.5, 2.3) if len(panels) == 1 else (2.3 * columns + 0.26, 1.35 * lines + 0.65)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        drawn = figure.subplots(lines, columns, squeeze=False)
        for axes in drawn.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (label, one) in zip(drawn.flat, panels.items(), strict=False):
            _draw_counts(axes, counts(one))
            if label:
                axes.set_title(f"{cut(label)} ({one.data.sizes['unit']} units)", fontsize=7)
                axes.tick_params(labelsize=6.5, length=2)
        tops = dict.fromkeys(f"{counts(one).attrs['top']:.0%}" for one in panels.values())
        about = f"datasets in whose top {' or '.join(tops)} a unit is"
        figure.supxlabel(about, fontsize=7.5)
        figure.supylabel("units", fontsize=7.5)
        handles, labels = drawn.flat[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            ncols=3,
            loc="outside upper center",
            frameon=False,
            fontsize=6.5,
            columnspacing=1.0,
            handletextpad=0.4,
            handlelength=1.5,
        )
    return figure


def figure_counts(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `counts` for a page: bars, the independence null with its range, untrained networks."""
    count, low, high = (frame[n].to_numpy() for n in ("count", *_RANGE))
    traces = [
        {
            "type": "bar",
            "x": count - 0.2,
            "y": frame["observed"],
            "width": 0.36,
            "name": "observed",
            "marker": {"color": theme.accent, "line": {"width": 0}},
            "text": [str(n) for n in frame["observed"]],
            "textposition": "outside",
            "textfont": {"color": theme.ink, "size": 12},
            "hovertext": count,
            "hovertemplate": "%{y} units are in %{hovertext} lists<extra>observed</extra>",
        },
        {
            "type": "scatter",
            "x": count + 0.12,
            "y": frame["independence"],
            "mode": "markers",
            "cliponaxis": False,
            "name": "independent (95%)",
            "marker": {"symbol": "circle", "size": 8, "color": theme.ink},
            "error_y": theme.bars(frame["independence"], low, high, theme.ink),
            "hovertext": [f"{a:.0f} to {b:.0f}" for a, b in zip(low, high, strict=True)],
            "hovertemplate": "%{y:.1f} expected, %{hovertext} in 95% of draws"
            "<extra>independent lists</extra>",
        },
    ]
    untrained = [name for name in frame if str(name).startswith("untrained_")]
    for draw, name in enumerate(untrained, 1):
        traces.append(
            {
                "type": "scatter",
                "x": count + 0.32,
                "y": frame[name],
                "mode": "markers",
                "cliponaxis": False,
                "name": "untrained",
                "legendgroup": "untrained",
                "showlegend": draw == 1,
                "marker": {
                    "symbol": "diamond-open",
                    "size": 9,
                    "color": theme.warm,
                    "line": {"width": 1.8},
                },
                "hovertext": count,
                "hovertemplate": "%{y} units in %{hovertext} lists"
                f"<extra>untrained network {draw}</extra>",
            }
        )
    # At least one, so that the axis has a length.
    highest = max(1.0, float(frame[["observed", _RANGE[1], *untrained]].to_numpy().max()))
    return figure_of(
        traces,
        theme,
        showlegend=True,
        legend=theme.legend(x=-0.14, y=1.18, yanchor="top"),
        margin={"l": 52, "r": 8, "t": 44, "b": 46},
        xaxis=theme.axis(
            "number of datasets in whose list a unit stands", tickvals=count, showgrid=False
        ),
        yaxis=theme.axis("units", range=[0, 1.08 * highest]),
    )


_RANGE = ("independence_low", "independence_high")


def _draw_counts(axes: Axes, frame: pd.DataFrame) -> None:
    count, expected = frame["count"].to_numpy(), frame["independence"].to_numpy()
    axes.bar(count, frame["observed"], width=0.62, color="#56b4e9", label="this detector")
    low, high = (frame[name].to_numpy() for name in _RANGE)
    axes.errorbar(
        count - 0.12,
        expected,
        yerr=[np.maximum(expected - low, 0), np.maximum(high - expected, 0)],
        fmt="o",
        ms=3.5,
        color="black",
        lw=1,
        capsize=2,
        label="independent lists, 95%",
    )
    untrained = [name for name in frame if str(name).startswith("untrained_")]
    for draw, name in enumerate(untrained):
        axes.plot(
            count + 0.12,
            frame[name],
            "D",
            ms=3.5,
            mfc="white",
            color="#d55e00",
            label="untrained networks" if draw == 0 else None,
            clip_on=False,
            zorder=3,
        )
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(count)


# --- The list of units --------------------------------------------------------------------------


def units(neurons: NeuronTable, found: Universality) -> pd.DataFrame:
    """List the units of a detector, the most universal first.

    Parameters
    ----------
    neurons : NeuronTable
        Neuron table of a detector.
    found : Universality
        Universality of the same units.

    Returns
    -------
    pandas.DataFrame
        One row per unit: ``unit``, ``q`` (adjusted p-value of "contributes to detection in all
        datasets"; NaN without a test), ``contributes_in`` and ``n_datasets`` (number of datasets in
        which it contributes, and in whose top list it is), ``rank`` (of the mean effect, from 1),
        ``mean_effect``, and per dataset ``effect_<dataset>``, ``raises_<dataset>`` (whether larger
        values raise the score) and ``selected_<dataset>`` (whether it is in the top list). Sorted
        by smallest q, then most top lists, then largest mean effect.
    """
    data, names = neurons.data, list(map(str, neurons.data["dataset"].values))
    effect, slope = (data[n].transpose("dataset", "unit").values for n in ("effect", "slope"))
    selected = found.data["selected"].transpose("dataset", "unit").values
    contributes = found.data["significant"].transpose("dataset", "unit").values
    mean = effect.mean(axis=0)
    place = np.empty(len(mean), dtype=np.int64)
    place[np.argsort(-mean, kind="stable")] = np.arange(1, len(mean) + 1)
    columns: dict[str, NDArray[Any]] = {
        "unit": data["unit"].values,
        "q": found.adjusted,
        "contributes_in": contributes.sum(axis=0),
        "n_datasets": found.data["n_datasets"].values,
        "rank": place,
        "mean_effect": mean,
    }
    for i, name in enumerate(names):
        columns |= {
            f"effect_{name}": effect[i],
            f"raises_{name}": slope[i] >= 0,
            f"selected_{name}": selected[i],
        }
    frame = pd.DataFrame(columns).iloc[found.ranked(neurons)].reset_index(drop=True)
    frame.attrs.update(
        _about(neurons),
        datasets=names,
        kept=_kept(found),
        top=float(found.data.attrs.get("top", 0.05)),
        alpha=float(found.data.attrs.get("alpha", 0.05)),
        tested="q" in found.data,
    )
    return frame


def plot_units(neurons: NeuronTable, found: Universality, n_units: int = MOST) -> Figure:
    """Draw the effects of the most universal units, units × datasets.

    Bold: in the top of the dataset. A star marks units that contribute to detection in all
    datasets, at the false discovery rate of the universality table.

    Parameters
    ----------
    neurons, found : NeuronTable, Universality
        As in `units`.
    n_units : int, default 24
        Maximum number of units shown.

    Returns
    -------
    matplotlib.figure.Figure
    """
    whole = units(neurons, found)
    frame, about = whole.head(n_units), whole.attrs
    names = about["datasets"]
    effect, selected = (
        frame[[f"{part}_{name}" for name in names]].to_numpy() for part in ("effect", "selected")
    )
    limit = float(np.nanmax(effect.astype(float), initial=0.0)) or 1.0
    with mpl.rc_context(STYLE):
        size = (0.55 * len(names) + 2.0, 0.165 * len(frame) + 1.05)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        drawn = axes.imshow(effect, cmap=colors_of(False), vmin=0, vmax=limit, aspect="auto")
        digits = 1 if limit >= 10 else 2 if limit >= 0.1 else 3
        for r, c in np.ndindex(effect.shape):
            finite = np.isfinite(effect[r, c])
            axes.text(
                c,
                r,
                f"{effect[r, c]:.{digits}f}" if finite else "–",
                ha="center",
                va="center",
                fontsize=5.5,
                color=text_on(drawn.to_rgba(effect[r, c])) if finite else "black",
                fontweight="bold" if finite and selected[r, c] else "normal",
            )
        turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(names)), names, **turned)
        marked = [
            f"★ {unit}" if q <= about["alpha"] else str(unit)
            for unit, q in zip(frame["unit"], frame["q"], strict=True)
        ]
        axes.set_yticks(range(len(frame)), marked, fontsize=6)
        some = f"{len(frame)} of {len(whole)} units" if len(frame) < len(whole) else "units"
        star = " (★ in all datasets)" if about["tested"] else ""
        axes.set_ylabel(f"{some} of {about['layer']}{star}", fontsize=7)
        axes.set_xlabel(f"bold: in the dataset's top {about['top']:.0%}", fontsize=6)
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, ax=axes, aspect=30)
        bar.set_label(f"effect on the {about['output']}", fontsize=7)
        bar.ax.tick_params(labelsize=6)
        bar.outline.set_linewidth(0.5)
    return figure


def figure_units(
    whole: pd.DataFrame,
    theme: Theme = LIGHT,
    *,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
    unit: int | None = None,
) -> dict[str, Any]:
    """Draw effects as shares of each dataset's largest, for a page: datasets in rows.

    Negative where larger values of the unit lower the score; a dot where it is in the top list.

    Parameters
    ----------
    whole : pandas.DataFrame
        What `units` returned.
    theme : Theme
        Colors.
    rows : sequence of int, optional
        Positions in `whole` of what is shown; the first ones by default, and 40 at most.
    unit : int, optional
        Unit whose column is framed.
    """
    places = np.arange(len(whole)) if rows is None else np.asarray(rows, dtype=np.int64)
    frame, names = whole.iloc[places[:MOST_COLUMNS]], whole.attrs["datasets"]
    effect = frame[[f"effect_{name}" for name in names]].to_numpy(dtype=float).T
    selected = frame[[f"selected_{name}" for name in names]].to_numpy(dtype=bool).T
    raises = frame[[f"raises_{name}" for name in names]].to_numpy(dtype=bool).T
    largest = whole[[f"effect_{name}" for name in names]].to_numpy(dtype=float).max(axis=0)
    # A dataset in which no unit has an effect has no largest to divide by.
    share = effect / np.where(largest > 0, largest, 1.0)[:, None]
    share = np.where(raises, share, -share)
    # Names, and no numbers: columns are in the list's order.
    labels = [str(one) for one in frame["unit"]]
    hovers = [
        [
            f"<b>unit {labels[c]}</b> in {clean(name)}: "
            f"{'in its list' if selected[r, c] else 'not in its list'}<br>"
            f"effect {effect[r, c]:.3g}, {short(abs(float(share[r, c])))} of the largest<br>"
            f"{'raises' if share[r, c] >= 0 else 'lowers'} the {clean(whole.attrs['output'])}"
            for c in range(len(labels))
        ]
        for r, name in enumerate(names)
    ]
    heat = cells(
        theme,
        share,
        hovers,
        x=labels,
        y=list(range(len(names))),
        xgap=2,
        ygap=2,
        colorbar=colorbar(theme, ["−1", "0", "1"], len=0.24, ypad=8),
        customdata=[[f"unit={label}" for label in labels]] * len(names),
    )
    dots = np.argwhere(selected)
    marks = {
        "type": "scatter",
        "x": [labels[c] for _, c in dots],
        "y": [int(r) for r, _ in dots],
        "mode": "markers",
        "marker": {
            "size": 6,
            "color": [text_at(theme, float(share[r, c])) for r, c in dots],
        },
        "hoverinfo": "skip",
    }
    framed = [
        theme.frame(int(c) - 0.5, int(c) + 0.5, -0.5, len(names) - 0.5)
        for c in np.flatnonzero(frame["unit"].to_numpy() == unit)
    ]
    long = len(labels) > 20 and max(map(len, labels)) > 3
    return figure_of(
        [heat, marks],
        theme,
        height=30 * len(names) + 92,
        margin={"l": 8, "r": 8, "t": 52, "b": 40},
        shapes=framed,
        xaxis=theme.axis(
            type="category",
            side="top",
            showgrid=False,
            automargin=False,
            range=[-0.5, max(len(labels), 1) - 0.5],
            tickangle=-60 if long else 0,
            tickfont={"size": 11, "color": theme.ink},
        ),
        yaxis=theme.rows([f"{clean(name)}  " for name in names], size=12),
    )


# --- One unit -----------------------------------------------------------------------------------


def unit_effects(neurons: NeuronTable, found: Universality, unit: int) -> pd.DataFrame:
    """Return the effect of a unit in each dataset, and what it takes to be in the top list.

    Parameters
    ----------
    neurons, found : NeuronTable, Universality
        As in `units`.
    unit : int
        Number of the unit.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset``: what `NeuronTable.to_dataframe` has of the unit, ``rank`` (1 is
        the largest effect), ``raises`` (whether larger values raise the score), ``selected``
        (whether it is in the top list), ``needed`` (smallest effect in that list) and ``largest``
        (of all units).
    """
    data = neurons.data
    effects = data["effect"].transpose("dataset", "unit").values
    kept = _kept(found)
    whole = neurons.to_dataframe()
    frame = whole[whole["unit"] == unit].reset_index(drop=True)
    frame = frame.assign(
        rank=data["rank"].sel(unit=unit).values,
        raises=data["slope"].sel(unit=unit).values >= 0,
        selected=found.data["selected"].sel(unit=unit).values,
        needed=np.partition(effects, -kept, axis=1)[:, -kept],
        largest=effects.max(axis=1),
    )
    frame.attrs.update(_about(neurons), unit=unit, n_units=data.sizes["unit"])
    return frame


def plot_unit_effects(neurons: NeuronTable, found: Universality, unit: int) -> Figure:
    """Draw the effect of one unit per dataset, with the smallest effect in the top list.

    Filled marks are in the top of the dataset. Triangles point to the direction in which the unit
    moves the score.

    Parameters
    ----------
    neurons, found, unit : NeuronTable, Universality, int
        As in `unit_effects`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = unit_effects(neurons, found, unit)
    rows, up, inside = np.arange(len(frame)), frame["raises"], frame["selected"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 0.26 * len(frame) + 0.95), layout="constrained")
        axes = figure.subplots()
        if "effect_low" in frame:
            ends = frame["effect_low"], frame["effect_high"]
            axes.hlines(rows, *ends, color="0.45", lw=1, zorder=2)
        axes.plot(
            frame["needed"],
            rows,
            "|",
            ms=11,
            mew=1.2,
            color="#d55e00",
            zorder=1,
            label="needed for the list",
        )
        for raised, mark, label in ((True, ">", "raises"), (False, "<", "lowers")):
            for chosen in (True, False):
                here = ((up == raised) & (inside == chosen)).to_numpy(bool)
                if here.any():
                    axes.plot(
                        frame["effect"][here],
                        rows[here],
                        mark,
                        ms=5,
                        mew=0.9,
                        zorder=3,
                        color="#0072b2",
                        mfc="#0072b2" if chosen else "white",
                        clip_on=False,
                        label=f"{label} it, {'in' if chosen else 'not in'} the list",
                    )
        axes.set_yticks(rows, list(frame["dataset"]))
        axes.set_ylim(len(frame) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"effect of unit {unit} on the {frame.attrs['output']}")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=6.5)
    return figure


def figure_unit_effects(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `unit_effects` for a page, over bars as long as the largest effect of all units."""
    output, total = frame.attrs["output"], frame.attrs["n_units"]
    rows = np.arange(len(frame))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": frame["needed"],
            "y": rows,
            "mode": "markers",
            "name": "needed for the list",
            "marker": {
                "symbol": "line-ns-open",
                "size": 16,
                "color": theme.muted,
                "line": {"width": 2},
            },
            "hovertemplate": "%{x:.3g} is the smallest effect in the list<extra></extra>",
        }
    ]
    for raises in (True, False):
        here = frame["raises"].to_numpy(bool) == raises
        traces.append(
            {
                "type": "scatter",
                "x": frame["effect"][here],
                "y": rows[here],
                "mode": "markers",
                "name": f"{'raises' if raises else 'lowers'} the {output}",
                "showlegend": bool(here.any()),
                "marker": {
                    "symbol": "triangle-right" if raises else "triangle-left",
                    "size": 15,
                    "color": theme.warm if raises else theme.accent,
                    "line": {"width": 1, "color": theme.ground},
                },
                "hovertext": frame["rank"][here],
                "hovertemplate": f"effect %{{x:.3g}}, rank %{{hovertext}} of {total}"
                "<extra></extra>",
            }
        )
    texts = [
        f"{clean(name)}  <span style='color:{theme.muted};font-size:11px'>{rank}/{total}</span>  "
        for name, rank in zip(frame["dataset"], frame["rank"], strict=True)
    ]
    bars = [
        {
            "type": "line",
            "x0": 0,
            "x1": float(largest),
            "y0": row,
            "y1": row,
            "layer": "below",
            "line": {"color": theme.line, "width": 6},
        }
        for row, largest in enumerate(frame["largest"])
    ]
    return figure_of(
        traces,
        theme,
        shapes=bars,
        showlegend=True,
        legend=theme.legend(),
        margin={"l": 8, "r": 16, "t": 36, "b": 46},
        xaxis=theme.axis(f"effect: change of the mean {output} over doses", rangemode="tozero"),
        yaxis=theme.rows(texts),
    )


def unit_doses(neurons: NeuronTable, unit: int) -> pd.DataFrame:
    """Return the mean score by the value that a unit is set to.

    Parameters
    ----------
    neurons : NeuronTable
        Neuron table of a detector.
    unit : int
        Number of the unit.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset`` and ``dose``: ``value`` of the unit, and ``response``, the mean
        score on the scale of the table.
    """
    one = neurons.data[["value", "response"]].sel(unit=unit)
    frame = one.transpose("dataset", "dose").to_dataframe().reset_index()
    frame.attrs.update(_about(neurons), unit=unit)
    return frame


def plot_unit_doses(neurons: NeuronTable, unit: int) -> Figure:
    """Draw the mean score by the value that a unit is set to, one line per dataset.

    Parameters
    ----------
    neurons, unit : NeuronTable, int
        As in `unit_doses`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = unit_doses(neurons, unit)
    names = list(dict.fromkeys(map(str, frame["dataset"])))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.5), layout="constrained")
        axes = figure.subplots()
        for name in names:
            part = frame[frame["dataset"] == name]
            look = look_of(name, names)
            draw_series(axes, part["value"], part["response"], None, None, look, name)
        axes.set_xlabel(f"unit {unit} of {frame.attrs['layer'] or 'the layer'} set to")
        axes.set_ylabel(f"mean {frame.attrs['output']}")
        finish_series(figure, axes, len(names))
    return figure


def figure_unit_doses(
    frame: pd.DataFrame, theme: Theme = LIGHT, *, dataset: str = ""
) -> dict[str, Any]:
    """Draw `unit_doses` for a page; lines of other datasets than the chosen one fade."""
    unit, output = frame.attrs["unit"], frame.attrs["output"]
    traces = []
    for i, (name, part) in enumerate(frame.groupby("dataset", sort=False)):
        color = theme.series[i % len(theme.series)]
        traces.append(
            {
                "type": "scatter",
                "x": part["value"],
                "y": part["response"],
                "mode": "lines+markers",
                "name": clean(str(name)),
                "opacity": 0.25 if dataset and name != dataset else 1.0,
                "line": {"color": color, "width": 2},
                "marker": {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": color},
                "hovertemplate": f"set to %{{x:.3g}}: mean {output} %{{y:.3g}}"
                f"<extra>{clean(str(name))}</extra>",
            }
        )
    return figure_of(
        traces,
        theme,
        showlegend=True,
        legend=theme.legend(),
        margin={"l": 60, "r": 16, "t": 36, "b": 46},
        xaxis=theme.axis(f"unit {unit} set to"),
        yaxis=theme.axis(f"mean {output}"),
    )


# --- Detection without sets of units ------------------------------------------------------------


_ABLATED = ("set", "dataset", "metric")


def ablation(found: Ablation) -> pd.DataFrame:
    """Return what detection loses without sets of units: `Ablation.to_dataframe`.

    Parameters
    ----------
    found : Ablation
        Ablation of a detector.

    Returns
    -------
    pandas.DataFrame
        One row per set, dataset and metric, and ``random_low``, ``random_high``: the middle 95%
        of what is lost without matched random sets.
    """
    frame = found.to_dataframe()
    spread = found.data["random_drop"].transpose("random", "set", "dataset", "metric")
    low, high = np.percentile(spread, MIDDLE, axis=0)
    ends = spread.isel(random=0, drop=True).to_dataset(name="random_low").copy()
    ends = ends.assign(random_low=(_ABLATED, low), random_high=(_ABLATED, high))
    frame = frame.merge(ends.to_dataframe().reset_index(), on=list(_ABLATED), how="left")
    attrs = found.data.attrs
    frame.attrs = {"n_random": int(attrs["n_random"]), "chosen_on": str(attrs["chosen_on"])}
    return frame


def mean_drops(frame: pd.DataFrame) -> pd.DataFrame:
    """Return AUROC lost on average over datasets, a row per set, from what `ablation` returned."""
    return frame[(frame["dataset"] == MEAN) & (frame["metric"] == "auroc")].reset_index(drop=True)


def plot_ablation(found: Ablation | Mapping[str, Ablation], ci: float = 0.95) -> Figure:
    """Draw the loss of detection performance without sets of units, with matched random sets.

    Parameters
    ----------
    found : Ablation or mapping
        Ablation of a detector; or panel title to ablation.
    ci : float, default 0.95
        Confidence level of the intervals, for the axis label.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = found if isinstance(found, Mapping) else {"": found}
    with mpl.rc_context(STYLE):
        tallest = max(one.data.sizes["set"] for one in panels.values())
        size = (2.35 * len(panels) + 0.6, 0.9 + 0.24 * tallest)
        figure = Figure(figsize=size, layout="constrained")
        drawn = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, one) in zip(drawn, panels.items(), strict=True):
            _draw_drops(axes, mean_drops(ablation(one)))
            axes.set_title(title, fontsize=7.5)
            axes.set_ylim(tallest - 0.4, -0.6)
        figure.supxlabel(f"AUROC lost, mean over datasets ({ci:.0%} interval)", fontsize=7.5)
        handles, labels = drawn[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, ncols=2, loc="outside upper center", frameon=False, fontsize=6.5
        )
    return figure


def _draw_drops(axes: Any, frame: pd.DataFrame) -> None:
    """Draw the sets of one detector, one row per set."""
    for row, one in enumerate(frame.to_dict("records")):
        axes.plot(
            [one["random_low"], one["random_high"]],
            [row, row],
            color="0.8",
            lw=5,
            solid_capstyle="butt",
            zorder=1,
            label="matched random sets, 95%" if row == 0 else None,
        )
        axes.errorbar(
            one["drop"],
            row,
            xerr=[[one["drop"] - one["drop_low"]], [one["drop_high"] - one["drop"]]],
            fmt="o",
            ms=3.5,
            color="#0072b2",
            lw=1,
            capsize=2,
            zorder=3,
            label="the set" if row == 0 else None,
        )
    axes.axvline(0, color="0.6", lw=0.7, zorder=0)
    labels = [f"{one['set']} ({one['n_units']:g})" for one in frame.to_dict("records")]
    axes.set_yticks(range(len(frame)), labels, fontsize=6.5)
    axes.spines[["top", "right"]].set_visible(False)


def figure_ablation(whole: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `ablation` for a page: a row per set, over the range of matched random sets."""
    frame = mean_drops(whole)
    rows = np.arange(len(frame))
    spans = [
        {
            "type": "line",
            "x0": float(one["random_low"]),
            "x1": float(one["random_high"]),
            "y0": row,
            "y1": row,
            "layer": "below",
            "line": {"color": theme.line, "width": 10},
        }
        for row, one in enumerate(frame.to_dict("records"))
    ]
    drop, low, high = (frame[name].to_numpy() for name in ("drop", "drop_low", "drop_high"))
    hovers = [
        f"<b>{clean(str(one['set']))}</b>, {one['n_units']:g} units: AUROC lost "
        f"{one['drop']:+.3f}<br>without random sets {one['random_low']:+.3f} to "
        f"{one['random_high']:+.3f}<br>p = {one['p']:.3f}"
        for one in frame.to_dict("records")
    ]
    points = {
        "type": "scatter",
        "x": drop,
        "y": rows,
        "mode": "markers",
        "marker": {"size": 9, "color": theme.accent},
        "error_x": theme.bars(drop, low, high, theme.accent),
        "hovertext": hovers,
        "hovertemplate": "%{hovertext}<extra></extra>",
    }
    names = [f"{clean(str(one['set']))} ({one['n_units']:g})  " for one in frame.to_dict("records")]
    return figure_of(
        [points],
        theme,
        height=30 * len(frame) + 80,
        shapes=[*spans, theme.line_at(x=0)],
        margin={"l": 8, "r": 16, "t": 12, "b": 46},
        xaxis=theme.axis("AUROC lost, mean over datasets; gray: matched random sets, 95%"),
        yaxis=theme.rows(names),
    )


# --- Shared -------------------------------------------------------------------------------------


def finish_series(figure: Figure, axes: Any, n_series: int) -> None:
    """Remove the upper and right spine, and put the legend of series above the axes."""
    axes.spines[["top", "right"]].set_visible(False)
    if n_series:
        figure.legend(
            loc="outside upper center",
            ncols=min(n_series, 4),
            frameon=False,
            fontsize=6.5,
            columnspacing=1.2,
            handletextpad=0.4,
        )


def _about(neurons: NeuronTable) -> dict[str, Any]:
    attrs = neurons.data.attrs
    output = str(attrs.get("output", "logit"))
    return {"output": OUTPUTS.get(output, output), "layer": str(attrs.get("layer", ""))}


def _kept(found: Universality) -> int:
    """Return the number of units in each top list."""
    return int(found.data.attrs.get("kept", found.data["selected"][0].sum()))
