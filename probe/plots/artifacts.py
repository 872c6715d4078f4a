"""What forgeries leave in images: spectra, effects with their controls, methods, covariates.

Of each finding ``x`` there are ``x``, the table behind it, ``plot_x``, the figure for print
(matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from probe.artifacts.report import ArtifactReport
from probe.errors import UnknownNameError
from probe.plots.files import save_figure
from probe.plots.style import STYLE, colors_of, text_on
from probe.plots.theme import (
    LIGHT,
    Floats,
    Theme,
    cell,
    cells,
    clean,
    colorbar,
    figure_of,
    level,
    short,
)

__all__ = [
    "about_lines",
    "artifact_effects",
    "balance",
    "draw_report",
    "figure_artifact_effects",
    "figure_spectra",
    "figure_tells",
    "grid_of_measurements",
    "plot_artifact_effects",
    "plot_spectra",
    "plot_tells",
    "spectra",
    "tells",
]

#: False discovery rate of what is marked.
ALPHA = 0.05

#: Controls of an effect as they are written for people.
CONTROLS = {
    "none": "no control",
    "partialled": "covariates partialled out",
    "matched": "matched on covariates",
}

#: Colors of real and fake (Okabe and Ito).
COLORS = ("#0072b2", "#d55e00")

#: Marker and color of each control, for print; symbols on a page.
MARKS = {"none": ("o", "black"), "partialled": ("D", "#0072b2"), "matched": ("s", "#e69f00")}
SYMBOLS = ("circle", "square", "diamond")

#: Columns up to which a cell of a page's heatmap has room for its number.
ROOM = 10


def draw_report(found: ArtifactReport, folder: Path, suffix: str = ".pdf") -> list[Path]:
    """Draw all figures of a report into a folder, and return their paths."""
    figures: dict[str, Any] = {"spectra": plot_spectra, "effects": plot_artifact_effects}
    if found.data.sizes["method"]:
        figures["methods"] = plot_tells
    return [
        save_figure(draw(found), folder / f"artifacts-{name}{suffix}")
        for name, draw in figures.items()
    ]


# --- Spectra ------------------------------------------------------------------------------------


def spectra(found: ArtifactReport, dataset: str = "") -> pd.DataFrame:
    """Return the power spectra of real and fake images.

    Parameters
    ----------
    found : ArtifactReport
        Artifact report of the datasets.
    dataset : str, default ""
        The only dataset; "" for all.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset``, ``label`` (0 real, 1 fake) and ``frequency`` (cycles per pixel):
        ``power``, the mean log10 power, with its interval ``power_low`` to ``power_high``; NaN
        where there are too few clusters.

    Raises
    ------
    UnknownNameError
        If the report does not hold the dataset.
    """
    names = ["power", "power_low", "power_high"]
    keys = ["dataset", "label", "frequency"]
    data = found.data[names].sel(dataset=_datasets(found, dataset))
    frame = data.to_dataframe(dim_order=keys).reset_index()[[*keys, *names]]
    frame.attrs.update(_about(found))
    return frame


def plot_spectra(found: ArtifactReport, dataset: str = "") -> Figure:
    """Draw power spectra of real and fake images per dataset, with their difference below.

    Parameters
    ----------
    found, dataset : ArtifactReport, str
        As in `spectra`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = spectra(found, dataset)
    names = list(dict.fromkeys(frame["dataset"]))
    with mpl.rc_context(STYLE):
        columns = min(3, len(names))
        blocks = -(-len(names) // columns)
        figure = Figure(figsize=(2.35 * columns, 2.35 * blocks), layout="constrained")
        panels = figure.subplots(
            2 * blocks,
            columns,
            squeeze=False,
            sharex=True,
            height_ratios=[2, 1] * blocks,
        )
        for number in range(blocks * columns):
            block, column = divmod(number, columns)
            upper, lower = panels[2 * block, column], panels[2 * block + 1, column]
            if number >= len(names):
                upper.set_visible(False)
                lower.set_visible(False)
                continue
            _draw_spectra(upper, frame[frame["dataset"] == names[number]])
            _draw_gap(lower, found.data.sel(dataset=names[number]))
            upper.set_title(names[number], fontsize=7.5)
        _same_scale(panels[::2].ravel()[: len(names)])
        _same_scale(panels[1::2].ravel()[: len(names)])
        for block in range(blocks):
            panels[2 * block, 0].set_ylabel("log₁₀ power", fontsize=7)
            panels[2 * block + 1, 0].set_ylabel("fake − real", fontsize=7)
        figure.supxlabel("frequency (cycles per pixel)", fontsize=7.5)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        ci = frame.attrs["ci"]
        labels = [f"{label}, mean and {ci:.0%} band over clusters" for label in labels]
        figure.legend(
            handles,
            labels,
            ncols=min(2, columns),
            loc="outside upper center",
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _same_scale(panels: NDArray[Any]) -> None:
    """Set the same limits on all panels, wide enough for each."""
    low, high = zip(*(axes.get_ylim() for axes in panels), strict=True)
    for axes in panels:
        axes.set_ylim(min(low), max(high))


def _draw_spectra(axes: Axes, frame: pd.DataFrame) -> None:
    for label, (color, name) in enumerate(zip(COLORS, ("real", "fake"), strict=True)):
        one = frame[frame["label"] == label]
        x, ends = one["frequency"], (one["power_low"], one["power_high"])
        axes.plot(x, one["power"], color=color, lw=1, label=name, ls=("-", "--")[label])
        axes.fill_between(x, *ends, color=color, alpha=0.2, lw=0)
    _bare(axes)


def _draw_gap(axes: Axes, data: xr.Dataset) -> None:
    """Draw fakes less reals, whose interval is not that of either."""
    x, ends = data["frequency"].values, (data["power_gap_low"], data["power_gap_high"])
    axes.axhline(0, color="0.6", lw=0.6)
    axes.plot(x, data["power_gap"], color="black", lw=0.9)
    axes.fill_between(x, *ends, color="black", alpha=0.15, lw=0)
    axes.set_xlim(0, 0.5)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.tick_params(labelsize=6, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def figure_spectra(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `spectra` of one dataset for a page: both curves, and again less the mean of the reals.

    Spectra fall over orders of magnitude, against which what a forgery adds cannot be seen; below,
    the same curves are drawn from the reals' mean.
    """
    reals = frame["power"][frame["label"] == 0].to_numpy()
    traces = [
        {**trace, "xaxis": f"x{row}", "yaxis": f"y{row}"}
        for row, base in (("", np.zeros_like(reals)), ("2", reals))
        for label in (0, 1)
        for trace in _curve(frame[frame["label"] == label], theme, label, base, not row)
    ]
    return figure_of(
        traces,
        theme,
        showlegend=True,
        legend=theme.legend(),
        margin={"l": 62, "r": 12, "t": 34, "b": 46},
        xaxis=theme.axis(range=[0, 0.5], anchor="y", matches="x2", showticklabels=False),
        xaxis2=theme.axis("frequency in cycles a pixel", range=[0, 0.5], anchor="y2"),
        yaxis=theme.axis("log10 power", anchor="x", domain=[0.5, 1]),
        yaxis2=theme.axis("less mean of reals", anchor="x2", domain=[0, 0.41]),
        hovermode="x unified",
    )


def _curve(
    frame: pd.DataFrame, theme: Theme, label: int, base: Floats, named: bool
) -> list[dict[str, Any]]:
    """Draw the band, where there is one, and the mean above it."""
    name, color, dash = ("fake", theme.warm, "dash") if label else ("real", theme.accent, "solid")
    x, mean, low, high = (
        frame[one].to_numpy() for one in ("frequency", "power", "power_low", "power_high")
    )
    there = np.isfinite(low) & np.isfinite(high)
    band = {
        "type": "scatter",
        "x": np.r_[x[there], x[there][::-1]],
        "y": np.r_[(low - base)[there], (high - base)[there][::-1]],
        "fill": "toself",
        "fillcolor": theme.faded(color, 0.2),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    line = {
        "type": "scatter",
        "x": x,
        "y": mean - base,
        "mode": "lines",
        "name": name,
        "showlegend": named,
        "line": {"color": color, "width": 2, "dash": dash},
        "hovertemplate": "%{y:.3f}",
    }
    return [band, line]


# --- Covariates ---------------------------------------------------------------------------------


def balance(found: ArtifactReport, dataset: str = "") -> pd.DataFrame:
    """Return how well each covariate alone tells fake from real.

    Parameters
    ----------
    found, dataset : ArtifactReport, str
        As in `spectra`.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset`` and ``covariate``: ``imbalance``, an AUROC of which 0.5 is
        balanced, with its interval ``imbalance_low`` to ``imbalance_high``, and ``unbalanced``
        (whether the interval leaves 0.5 out).
    """
    names = ["imbalance", "imbalance_low", "imbalance_high"]
    data = found.data[names].sel(dataset=_datasets(found, dataset))
    frame = data.to_dataframe(dim_order=["dataset", "covariate"]).reset_index()
    frame = frame[["dataset", "covariate", *names]]
    frame["unbalanced"] = _leaves_half_out(frame["imbalance_low"], frame["imbalance_high"])
    frame.attrs.update(_about(found))
    return frame


# --- Effects ------------------------------------------------------------------------------------


def artifact_effects(found: ArtifactReport, dataset: str = "") -> pd.DataFrame:
    """Return the effect of the label on each measurement, without and with both controls.

    Parameters
    ----------
    found, dataset : ArtifactReport, str
        As in `spectra`.

    Returns
    -------
    pandas.DataFrame
        One row per ``dataset`` and ``measurement``: what `ArtifactReport.to_dataframe` has of it,
        and ``kept`` (whether the effect is significant with every control). Of one dataset, the
        largest effect without control comes first, and what is not defined last; of all, in the
        order of measurements.
    """
    frame = found.to_dataframe()
    if dataset:
        frame = frame[frame["dataset"].isin(_datasets(found, dataset))]
        # Rank 0 stands for "no effect without control".
        frame = frame.sort_values(
            "rank", key=lambda rank: rank.where(rank > 0, np.inf), kind="stable"
        )
    frame = frame.reset_index(drop=True)
    about = _about(found)
    levels = frame[[f"q{_suffix(control)}" for control in about["controls"]]]
    frame["kept"] = (levels <= ALPHA).all(axis=1)
    frame.attrs.update(about, alpha=ALPHA)
    return frame


def plot_artifact_effects(found: ArtifactReport, dataset: str = "") -> Figure:
    """Draw the effect of each measurement per dataset, without and with both controls.

    Filled marks have q ≤ .05. The axis is linear up to one standard deviation and logarithmic
    beyond, because effects differ widely in size.

    Parameters
    ----------
    found, dataset : ArtifactReport, str
        As in `spectra`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = artifact_effects(found, dataset)
    names, measurements = (list(dict.fromkeys(frame[key])) for key in ("dataset", "measurement"))
    with mpl.rc_context(STYLE):
        columns = min(3, len(names))
        rows = -(-len(names) // columns)
        size = (1.95 * columns + 1.3, (0.165 * len(measurements) + 0.35) * rows + 0.5)
        figure, panels = _panels(names, size[0] / columns, size[1] / rows)
        for axes, name in zip(panels, names, strict=True):
            _draw_effects(axes, frame[frame["dataset"] == name], frame.attrs["alpha"])
            used = frame.attrs["n_used"][name]
            title = f"{name} (n = {used['none']}, matched {used['matched']})"
            axes.set_title(title, fontsize=7)
            axes.set_yticks(range(len(measurements)), measurements, fontsize=6)
        panels[0].set_ylim(len(measurements) - 0.4, -0.6)
        figure.supxlabel("fake − real, in standard deviations of real images", fontsize=7.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            # One panel is too narrow for three names side by side.
            ncols=3 if columns > 1 else 1,
            loc="outside upper center",
            frameon=False,
            fontsize=6.5,
        )
    return figure


def _panels(
    names: Sequence[str], width: float, height: float, columns: int = 3
) -> tuple[Figure, NDArray[Any]]:
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    return figure, panels.ravel()[: len(names)]


def _draw_effects(axes: Axes, frame: pd.DataFrame, alpha: float) -> None:
    rows = np.arange(len(frame))
    axes.axvline(0, color="0.6", lw=0.7, zorder=0)
    for y in rows[::2]:
        axes.axhspan(y - 0.5, y + 0.5, color="0.96", lw=0, zorder=-1)
    for shift, (control, (marker, color)) in zip((-0.27, 0, 0.27), MARKS.items(), strict=True):
        effect, low, high, q = _of_control(frame, control, "effect", "low", "high", "q")
        axes.hlines(rows + shift, low, high, color=color, lw=0.7, zorder=2)
        found, label = q <= alpha, CONTROLS[control]
        style: dict[str, Any] = {"ls": "", "marker": marker, "ms": 2.4, "mew": 0.6, "color": color}
        axes.plot(effect[found], rows[found] + shift, **style, label=label, zorder=3)
        axes.plot(effect[~found], rows[~found] + shift, **style, mfc="white", zorder=3)
    axes.set_xscale("symlog", linthresh=1, linscale=1)
    axes.set_xticks([-10, -1, 0, 1, 10], ["−10", "−1", "0", "1", "10"])
    axes.minorticks_off()
    _bare(axes)


def figure_artifact_effects(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `artifact_effects` of one dataset for a page: a row a measurement, a mark a control.

    Filled: q ≤ 0.05. A name is bold where the effect is significant with every control.
    """
    rows, controls = len(frame), frame.attrs["controls"]
    names = [
        f"<b>{clean(one['measurement'])}</b>  " if one["kept"] else f"{clean(one['measurement'])}  "
        for one in frame.to_dict("records")
    ]
    return figure_of(
        [_marks(frame, theme, i) for i in range(len(controls))],
        theme,
        annotations=_undefined(frame, theme),
        shapes=[theme.line_at(x=0), *theme.stripes(rows)],
        height=32 * rows + 92,
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 8, "r": 16, "t": 44, "b": 48},
        xaxis=theme.axis("fake − real, in standard deviations of the real images"),
        yaxis=theme.rows(names),
    )


def _marks(frame: pd.DataFrame, theme: Theme, i: int) -> dict[str, Any]:
    """Draw the effects under one control, beside those under the others."""
    about = frame.attrs
    control, color = about["controls"][i], (theme.ink, theme.accent, theme.warm)[i % 3]
    effect, low, high, q = _of_control(frame, control, "effect", "low", "high", "q")
    symbols = [SYMBOLS[i % 3] + ("" if found else "-open") for found in q <= about["alpha"]]
    used = about["n_used"][frame["dataset"].iloc[0]][control] if len(frame) else 0
    return {
        "type": "scatter",
        "x": effect,
        "y": np.arange(len(frame)) + 0.28 * (i - (len(about["controls"]) - 1) / 2),
        "mode": "markers",
        "name": f"{_control_name(control)} ({used:,} images)",
        "marker": {"symbol": symbols, "size": 8, "color": color, "line": {"width": 1.4}},
        "error_x": theme.bars(effect, low, high, theme.faded(color, 0.6)),
        "hovertext": [_effect_hover(one, control, about) for one in frame.to_dict("records")],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _effect_hover(one: dict[Any, Any], control: str, about: Mapping[Any, Any]) -> str:
    end = _suffix(control)
    effect, low, high, p, q = (one[f"{name}{end}"] for name in ("effect", "low", "high", "p", "q"))
    bounds = (
        f"{about['ci']:.0%} interval {low:+.2f} to {high:+.2f}"
        if np.isfinite(low)
        else "no interval: fewer than five clusters"
    )
    numbers = f"{effect:+.2f} SD, {bounds}<br>p {level(p)}, q {level(q)}"
    lines = about_lines(one["measurement"], about)
    return "<br>".join([*lines, f"<b>{_control_name(control)}</b>: {numbers}"])


def _undefined(frame: pd.DataFrame, theme: Theme) -> list[dict[str, Any]]:
    """Write on the rows that hold nothing why they do."""
    effects = frame[[f"effect{_suffix(control)}" for control in frame.attrs["controls"]]]
    return [
        {
            "x": 0,
            "y": int(row),
            "xanchor": "left",
            "xshift": 8,
            "showarrow": False,
            "text": "not defined in this dataset",
            "font": {"size": 12, "color": theme.muted},
        }
        for row in np.flatnonzero(effects.isna().all(axis=1))
    ]


def _of_control(frame: pd.DataFrame, control: str, *names: str) -> Any:
    return (frame[f"{name}{_suffix(control)}"].to_numpy() for name in names)


def _suffix(control: str) -> str:
    """Return the end of the names of a control's columns, see `ArtifactReport.to_dataframe`."""
    return "" if control == "none" else f"_{control}"


def _control_name(control: str) -> str:
    return CONTROLS.get(control, clean(control))


# --- Methods ------------------------------------------------------------------------------------


def tells(found: ArtifactReport) -> pd.DataFrame:
    """Return how well each measurement separates each method from all others.

    Parameters
    ----------
    found : ArtifactReport
        Artifact report of the datasets.

    Returns
    -------
    pandas.DataFrame
        One row per ``method`` and ``measurement``: ``tells``, the AUROC of the method's fakes
        against all others, with its interval ``tells_low`` to ``tells_high``, and ``clear``
        (whether the interval leaves 0.5 out).
    """
    names, keys = ["tells", "tells_low", "tells_high"], ["method", "measurement"]
    frame = found.data[names].to_dataframe(dim_order=keys).reset_index()[[*keys, *names]]
    frame["clear"] = _leaves_half_out(frame["tells_low"], frame["tells_high"])
    frame.attrs.update(_about(found))
    return frame


def plot_tells(found: ArtifactReport) -> Figure:
    """Draw how well each measurement separates each method from all others.

    Values whose interval includes 0.5 are in brackets.

    Parameters
    ----------
    found : ArtifactReport
        As in `tells`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = tells(found)
    columns, rows = (list(dict.fromkeys(frame[key])) for key in ("method", "measurement"))
    value, clear = (_square(frame, name) for name in ("tells", "clear"))
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(0.62 * len(columns) + 1.9, 0.175 * len(rows) + 0.9), layout="constrained"
        )
        axes = figure.subplots()
        drawn = axes.imshow(value, cmap=colors_of(True), vmin=0, vmax=1, aspect="auto")
        for r, c in np.ndindex(value.shape):
            _write(axes, drawn, c, r, float(value[r, c]), bool(clear[r, c]))
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=6.5)
        axes.set_xlabel("in brackets: the interval includes .5", fontsize=6)
        axes.set_yticks(range(len(rows)), rows, fontsize=6.5)
        axes.tick_params(length=0)
        bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
        bar.set_label("AUROC of the method's fakes\nagainst all others", fontsize=6.5)
        bar.ax.tick_params(labelsize=6)
    return figure


def _square(frame: pd.DataFrame, name: str) -> NDArray[Any]:
    """Return a column as measurements × methods."""
    shape = (frame["method"].nunique(), frame["measurement"].nunique())
    return frame[name].to_numpy().reshape(shape).T


def _write(axes: Axes, drawn: AxesImage, x: int, y: int, value: float, clear: bool) -> None:
    if not np.isfinite(value):
        axes.text(x, y, "–", ha="center", va="center", fontsize=6)
        return
    text = f"{value:.2f}" if clear else f"({value:.2f})"
    color = text_on(drawn.to_rgba(np.asarray(value)))
    axes.text(x, y, text, ha="center", va="center", fontsize=5.5, color=color)


def figure_tells(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `tells` for a page: measurements in rows, methods in columns.

    Neutral is 0.5; bold where the interval leaves 0.5 out.
    """
    columns, rows = (list(dict.fromkeys(frame[key])) for key in ("method", "measurement"))
    value, clear = (_square(frame, name) for name in ("tells", "clear"))
    records = frame.to_dict("records")
    hovers = [
        [_tells_hover(one, frame.attrs) for one in records[r :: len(rows)]]
        for r in range(len(rows))
    ]
    texts = [short(float(one)) for one in value.ravel()]
    texts = [f"<b>{t}</b>" if yes else t for t, yes in zip(texts, clear.ravel(), strict=True)]
    numbers = [
        cell(theme, c, r, float(2 * value[r, c] - 1), texts[r * len(columns) + c], 12)
        for r, c in np.ndindex(value.shape)
        if len(columns) <= ROOM
    ]
    named, ends = [clean(name) for name in columns], ["0", "0.5", "1"]
    figure = grid_of_measurements(theme, 2 * value - 1, hovers, named, rows, ends)
    figure["layout"]["annotations"] = numbers
    figure["layout"]["xaxis"]["tickangle"] = -30
    return figure


def _tells_hover(one: dict[Any, Any], about: Mapping[Any, Any]) -> str:
    bounds = (
        f"{about['ci']:.0%} interval {one['tells_low']:.3f} to {one['tells_high']:.3f}"
        if np.isfinite(one["tells_low"])
        else "no interval"
    )
    head = f"tells <b>{clean(one['method'])}</b>: AUROC {one['tells']:.3f}, {bounds}"
    return "<br>".join([head, *about_lines(one["measurement"], about)])


# --- Shared -------------------------------------------------------------------------------------


def grid_of_measurements(
    theme: Theme,
    z: Floats,
    hovers: list[list[str]],
    columns: Sequence[str],
    rows: Sequence[str],
    ends: list[str],
    **more: Any,
) -> dict[str, Any]:
    """Draw measurements (rows) by something else (columns) for a page.

    Parameters
    ----------
    theme : Theme
        Colors.
    z : numpy.ndarray
        From −1 to 1, shape (row, column).
    hovers : list of list of str
        Text of each cell.
    columns, rows : sequence of str
        Labels; those of columns may hold markup.
    ends : list of str
        What −1, 0 and 1 are called on the bar of colors.
    **more : Any
        Further parts of the trace.
    """
    x, y = list(range(len(columns))), list(range(len(rows)))
    gap, bar = 2 if len(columns) > ROOM else 3, colorbar(theme, ends)
    trace = cells(theme, z, hovers, x=x, y=y, xgap=gap, ygap=gap, colorbar=bar, **more)
    return figure_of(
        [trace],
        theme,
        height=28 * len(rows) + 122,
        margin={"l": 8, "r": 8, "t": 74, "b": 48},
        xaxis=theme.axis(
            side="top",
            showgrid=False,
            automargin=False,
            tickvals=x,
            ticktext=list(columns),
            tickfont={"size": 12, "color": theme.ink},
            range=[-0.5, len(columns) - 0.5],
        ),
        yaxis=theme.rows([f"{clean(name)}  " for name in rows], size=12),
    )


def about_lines(measurement: str, about: Mapping[Any, Any]) -> list[str]:
    """Return name, definition, unit and source of a measurement as lines of a hover text."""
    unit, definition, source = about["measurements"][measurement]
    lines = [f"<b>{clean(measurement)}</b>" + (f" ({clean(unit)})" if unit else "")]
    lines += [clean(line) for line in textwrap.wrap(definition, 64)]
    return lines + [f"<i>{clean(line)}</i>" for line in textwrap.wrap(f"Source: {source}", 64)]


def _leaves_half_out(low: pd.Series[float], high: pd.Series[float]) -> pd.Series[bool]:
    return (low > 0.5) | (high < 0.5)


def _datasets(found: ArtifactReport, dataset: str) -> list[str]:
    names = [str(name) for name in found.data["dataset"].values]
    if dataset and dataset not in names:
        raise UnknownNameError("dataset", dataset, names, where="this report")
    return [dataset] if dataset else names


def _about(found: ArtifactReport) -> dict[str, Any]:
    """Return what a report says beside its numbers, by dataset and by measurement."""
    data = found.data
    controls = [str(name) for name in data["control"].values]
    used = data["n_used"].transpose("dataset", "control").values.astype(int).tolist()
    texts = zip(
        *(
            map(str, data[name].values)
            for name in ("measurement_unit", "measurement_about", "measurement_source")
        ),
        strict=True,
    )
    names = [str(name) for name in data["dataset"].values]
    return {
        "ci": float(data.attrs.get("ci", 0.95)),
        "controls": controls,
        "n_used": {
            name: dict(zip(controls, counts, strict=True))
            for name, counts in zip(names, used, strict=True)
        },
        "measurements": dict(zip(map(str, data["measurement"].values), texts, strict=True)),
        "datasets": {
            name: {
                "n_samples": int(data["n_samples"].values[i]),
                "n_clusters": int(data["n_clusters"].values[i]),
                "region": str(data["region"].values[i]),
                "reason": str(data["reason"].values[i]),
            }
            for i, name in enumerate(names)
        },
    }
