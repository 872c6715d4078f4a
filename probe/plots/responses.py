"""What units respond to: artifacts by dose, measurements by correlation, and the answer of each.

Of each finding ``x`` there are ``x``, the table behind it, ``plot_x``, the figure for print
(matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.artifacts.responses import ResponseReport
from probe.errors import ProbeError, UnknownNameError
from probe.plots.artifacts import grid_of_measurements
from probe.plots.neurons import finish_series
from probe.plots.style import STYLE, colors_of, draw_series, look_of
from probe.plots.theme import LIGHT, SYMBOLS, Theme, cell, clean, figure_of, level
from probe.schema import DATASETS
from probe.stats import Floats

__all__ = [
    "answers",
    "correlations",
    "dose_effects",
    "doses",
    "figure_correlations",
    "figure_doses",
    "plot_correlations",
    "plot_dose_effects",
    "plot_doses",
]

#: One color (Okabe and Ito 2008), marker and line style per dataset, the same in every panel.
#: Markers and lines differ too, for print in gray.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))

#: Rows of a printed heatmap of units, and columns of one on a page, so that labels are legible.
MOST, MOST_COLUMNS = 48, 40


# --- By dose ------------------------------------------------------------------------------------


def doses(found: ResponseReport, artifact: str = "", unit: int | None = None) -> pd.DataFrame:
    """Return the response of the logit, or of a unit, to the dose of artifacts.

    Parameters
    ----------
    found : ResponseReport
        Report with doses.
    artifact : str, default ""
        The only artifact; "" for all.
    unit : int, optional
        Number of a unit; None for the fake logit.

    Returns
    -------
    pandas.DataFrame
        One row per ``artifact``, ``dataset`` that has it, and ``dose``: ``logit_response``, the
        mean change from dose 0, with its interval ``logit_low`` to ``logit_high``; or ``unit`` and
        ``unit_response``, ``unit_low`` and ``unit_high``, in standard deviations of the unit.

    Raises
    ------
    UnknownNameError
        If no such artifact was dosed.
    ProbeError
        If the report holds no doses, or not this unit.
    """
    data, what = _with_doses(found), "logit" if unit is None else "unit"
    columns = [f"{what}_{end}" for end in ("response", "low", "high")]
    keys = ["artifact", *(() if unit is None else ("unit",)), "dataset", "dose"]
    chosen: dict[str, list[Any]] = {"artifact": _artifacts(data, artifact)}
    if unit is not None:
        chosen["unit"] = [_known_unit(data, unit)]
    frame = data[columns].sel(chosen).to_dataframe(dim_order=keys).reset_index()
    frame = frame[[*keys, *columns]].dropna(subset=columns[0]).reset_index(drop=True)
    shown, reasons = set(frame["dataset"]), _reasons(data, "dose_reason")
    frame.attrs = {
        "what": what,
        "output": "the fake logit" if unit is None else f"unit {unit}",
        "scale": "" if unit is None else "SD",
        "datasets": [str(name) for name in data["dataset"].values],
        "reasons": {name: why for name, why in reasons.items() if name in shown},
    }
    return frame


def plot_doses(
    found: ResponseReport, artifact: str = "", unit: int | None = None, columns: int = 5
) -> Figure:
    """Draw the mean change of the logit, or of a unit, by dose: one line per dataset.

    Parameters
    ----------
    found, artifact, unit : ResponseReport, str, int, optional
        As in `doses`. Without an artifact there is one panel per artifact, on one scale.
    columns : int, default 5
        Panels per row.

    Returns
    -------
    matplotlib.figure.Figure
        Bars are the report's intervals.
    """
    frame = doses(found, artifact, unit)
    return _one_artifact(frame, artifact) if artifact else _all_artifacts(frame, columns)


def _one_artifact(frame: pd.DataFrame, artifact: str) -> Figure:
    about, shown = frame.attrs, list(dict.fromkeys(frame["dataset"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color="0.75", lw=0.6, zorder=0)
        for i, name in enumerate(shown):
            dose, value, low, high = _series(frame, name)
            shift = 0.012 * (i - (len(shown) - 1) / 2)
            look = look_of(name, about["datasets"])
            draw_series(axes, dose + shift, value, low, high, look, name)
        axes.set_xlabel(f"dose of {artifact}")
        scale = f" ({about['scale']})" if about["scale"] else ""
        axes.set_ylabel(f"mean change of {about['output']}{scale}")
        finish_series(figure, axes, len(shown))
    return figure


def _all_artifacts(frame: pd.DataFrame, columns: int) -> Figure:
    about, artifacts = frame.attrs, list(dict.fromkeys(frame["artifact"]))
    rows = -(-len(artifacts) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.55 * columns + 0.5, 1.3 * rows + 0.75), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        for axes, artifact in zip(grid.flat, artifacts, strict=False):
            handles |= _draw_doses(axes, frame[frame["artifact"] == artifact], about["datasets"])
            axes.set_title(artifact, pad=3)
        for place, axes in enumerate(grid.flat):
            if place >= len(artifacts):
                axes.set_visible(False)
            elif place + columns >= len(artifacts):
                # The last panel of each column has the tick labels.
                axes.tick_params(labelbottom=True)
        figure.supxlabel("dose", fontsize=8)
        scale = f" ({about['scale']})" if about["scale"] else ""
        figure.supylabel(f"mean change of {about['output']}{scale}", fontsize=8)
        order = [name for name in about["datasets"] if name in handles]
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


def _draw_doses(axes: Axes, frame: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """Draw one artifact; datasets are offset slightly, so that bars do not overlap."""
    drawn: dict[str, Any] = {}
    axes.axhline(0, color="0.75", lw=0.6, zorder=0)
    shown = list(dict.fromkeys(frame["dataset"]))
    for i, name in enumerate(shown):
        dose, mean, low, high = _series(frame, name)
        shift = 0.012 * (i - (len(shown) - 1) / 2)
        spread = None if np.isnan(low).any() else np.stack([mean - low, high - mean]).clip(0)
        drawn[name] = axes.errorbar(
            dose + shift,
            mean,
            yerr=spread,
            **_style(name, names),
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


def _series(frame: pd.DataFrame, dataset: str) -> Any:
    """Return doses and responses with their interval, of one dataset."""
    part, what = frame[frame["dataset"] == dataset], frame.attrs["what"]
    columns = ("dose", *(f"{what}_{end}" for end in ("response", "low", "high")))
    return (part[name].to_numpy(dtype=float) for name in columns)


def figure_doses(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `doses` of one artifact for a page: the mean change from dose 0, a line a dataset."""
    about, shown = frame.attrs, list(dict.fromkeys(frame["dataset"]))
    scale = f" ({about['scale']})" if about["scale"] else ""
    return figure_of(
        # Side by side, so that intervals of datasets do not hide each other.
        [
            _line(frame, theme, name, 0.008 * (i - (len(shown) - 1) / 2))
            for i, name in enumerate(shown)
        ],
        theme,
        shapes=[theme.line_at(y=0)],
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 60, "r": 16, "t": 62, "b": 46},
        xaxis=theme.axis(f"dose of {_title(frame)}", range=[-0.04, 1.04]),
        yaxis=theme.axis(f"change of {about['output']}{scale}"),
    )


def _title(frame: pd.DataFrame) -> str:
    return clean(str(frame["artifact"].iloc[0])) if len(frame) else ""


def _line(frame: pd.DataFrame, theme: Theme, dataset: str, shift: float) -> dict[str, Any]:
    place, output = frame.attrs["datasets"].index(dataset), frame.attrs["output"]
    color = theme.series[place % len(theme.series)]
    dose, value, low, high = _series(frame, dataset)
    spans = [
        f"{a:+.3g} to {b:+.3g}" if np.isfinite(a) else "no interval"
        for a, b in zip(low, high, strict=True)
    ]
    return {
        "type": "scatter",
        "x": dose + shift,
        "y": value,
        "mode": "lines+markers",
        "name": clean(dataset),
        "showlegend": True,
        "line": {"color": color, "width": 2},
        "marker": {"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 8, "color": color},
        "error_y": theme.bars(value, low, high, theme.faded(color, 0.6)) | {"width": 3},
        "text": [f"{one:.2g}" for one in dose],
        "hovertext": spans,
        "hovertemplate": f"dose %{{text}}: {output} %{{y:+.3g}} (%{{hovertext}})"
        f"<extra>{clean(dataset)}</extra>",
    }


def dose_effects(found: ResponseReport) -> pd.DataFrame:
    """Return the units' responses to artifacts at the highest dose.

    Parameters
    ----------
    found : ResponseReport
        Report with doses.

    Returns
    -------
    pandas.DataFrame
        One row per ``unit`` and ``artifact``: ``effect``, in standard deviations of the unit on
        average over the datasets that have the artifact; ``effect_q``; and ``clear`` (whether it
        is significant, and as large as an answer has to be).
    """
    data = _with_doses(found)
    names = [name for name in ("effect", "effect_p", "effect_q") if name in data]
    frame = data[names].to_dataframe(dim_order=["unit", "artifact"]).reset_index()
    frame = frame[["unit", "artifact", *names]]
    floor = float(data.attrs.get("smallest", 0.0))
    clear = frame["effect_q"] <= _alpha(data)
    frame["clear"] = clear & (frame["effect"].abs() >= floor)
    frame.attrs = {"alpha": _alpha(data), "smallest": floor}
    return frame


def plot_dose_effects(found: ResponseReport) -> Figure:
    """Draw the units' responses at the highest dose, units × artifacts.

    Cells that are not significant, or below the smallest answer, have a dot; universal units have
    a star. If there are many units, those with the largest responses are shown.

    Parameters
    ----------
    found : ResponseReport
        As in `dose_effects`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame, data = dose_effects(found), found.data
    effect, clear = (_square(frame, name) for name in ("effect", "clear"))
    rows = _strongest(effect, clear)
    label = f"mean response at dose {data['dose'].values[-1]:g} (SD of the unit)"
    about = frame.attrs
    note = f"(datasets that have it); dot: q > {about['alpha']:g} or below {about['smallest']:g} SD"
    units = frame["unit"].unique()[rows]
    return _heatmap(found, units, effect[rows], clear[rows], _counted_names(data), label, note)


def _strongest(values: Floats, clear: Any) -> Any:
    """Return the rows with the largest values, at most `MOST`, in the order of units."""
    strength = np.where(clear, np.abs(values), 0.0).max(axis=1)
    best = np.argsort(-strength, kind="stable")[:MOST]
    return np.sort(best)


# --- By correlation -----------------------------------------------------------------------------


def correlations(found: ResponseReport) -> pd.DataFrame:
    """Return the partial rank correlation of units and measurements.

    Parameters
    ----------
    found : ResponseReport
        Responses of a detector's units.

    Returns
    -------
    pandas.DataFrame
        One row per ``unit`` and ``measurement``: ``rho``, ``p``, ``p_max``, ``q`` (NaN where not
        defined), ``universal`` (whether the unit was found universal) and ``clear`` (whether q is
        within the false discovery rate). Universal units first, then those with the largest |rho|.
        No row where no images were measured.
    """
    data, keys = found.data, ["unit", "measurement"]
    if not found.has_correlations:
        return pd.DataFrame(columns=[*keys, "rho", "p", "p_max", "q", "universal", "clear"])
    names = [name for name in ("rho", "p", "p_max", "q") if name in data]
    rho = data["rho"].transpose(*keys).values
    universal = np.isin(data["unit"].values, found.universal)
    order = np.lexsort((-np.abs(np.nan_to_num(rho)).max(axis=1), ~universal))
    frame = data[names].isel(unit=order).to_dataframe(dim_order=keys).reset_index()
    frame = frame[[*keys, *names]].assign(
        universal=frame["unit"].isin(found.universal), clear=frame["q"] <= _alpha(data)
    )
    frame.attrs = {
        "layer": str(data.attrs.get("layer", "")),
        "alpha": _alpha(data),
        "reasons": _reasons(data, "reason"),
    }
    return frame


def plot_correlations(found: ResponseReport) -> Figure:
    """Draw the partial rank correlations, units × measurements.

    Cells that are not significant have a dot; universal units have a star, and come first. If
    there are many units, the first ones of `correlations` are shown.

    Parameters
    ----------
    found : ResponseReport
        Report with correlations.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = correlations(found)
    if not len(frame):
        raise ProbeError("The report holds no correlations; compute them with `relate`.")
    units, names = frame["unit"].unique()[:MOST], list(dict.fromkeys(frame["measurement"]))
    rho, clear = (_square(frame, name)[:MOST] for name in ("rho", "clear"))
    note = f"dot: q > {frame.attrs['alpha']:g}"
    return _heatmap(found, units, rho, clear, names, "partial rank correlation", note)


def figure_correlations(
    whole: pd.DataFrame, theme: Theme = LIGHT, *, unit: int | None = None
) -> dict[str, Any]:
    """Draw `correlations` for a page: measurements in rows, the first units in columns.

    Parameters
    ----------
    whole : pandas.DataFrame
        What `correlations` returned.
    theme : Theme
        Colors.
    unit : int, optional
        Unit whose column is framed.
    """
    units, rows = whole["unit"].unique()[:MOST_COLUMNS], list(dict.fromkeys(whole["measurement"]))
    frame = whole.head(len(units) * len(rows))
    rho, clear = (_square(frame, name).T for name in ("rho", "clear"))
    records = frame.to_dict("records")
    hovers = [
        [_correlation_hover(one) for one in records[r :: len(rows)]] for r in range(len(rows))
    ]
    names = [
        f"<b>{one['unit']}</b>" if one["universal"] else str(one["unit"])
        for one in records[:: len(rows)]
    ]
    figure = grid_of_measurements(
        theme,
        rho,
        hovers,
        names,
        rows,
        ["−1", "0", "1"],
        customdata=[[f"unit={one}" for one in units]] * len(rows),
    )
    figure["layout"]["annotations"] = [
        cell(theme, int(c), int(r), float(rho[r, c]), "●", 7) for r, c in np.argwhere(clear)
    ]
    figure["layout"]["shapes"] = [
        theme.frame(int(c) - 0.5, int(c) + 0.5, -0.5, len(rows) - 0.5)
        for c in np.flatnonzero(units == unit)
    ]
    small = {"size": 11, "color": theme.ink}
    figure["layout"]["xaxis"] |= {"tickangle": 0, "tickfont": small}
    return figure


def _correlation_hover(one: dict[Any, Any]) -> str:
    head = f"<b>unit {one['unit']}</b> and <b>{clean(str(one['measurement']))}</b>"
    if not np.isfinite(one["rho"]):
        return f"{head}<br>not defined"
    known = "<br>universal" if one["universal"] else ""
    return f"{head}<br>partial rank correlation {one['rho']:+.3f}, q {level(one['q'])}{known}"


def _square(frame: pd.DataFrame, name: str) -> Any:
    """Return a column as units × what they respond to."""
    return frame[name].to_numpy().reshape(frame["unit"].nunique(), -1)


def _heatmap(
    report: ResponseReport,
    units: Any,
    values: Floats,
    clear: Any,
    columns: list[str],
    label: str,
    note: str,
) -> Figure:
    # The limit is the 98th percentile, so that a single unit does not fade all others.
    sized = np.abs(values)[clear]
    limit = float(np.percentile(sized, 98)) if sized.size else 1.0
    with mpl.rc_context(STYLE):
        size = (0.3 * len(columns) + 1.9, 0.155 * len(units) + 1.5)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shown = np.ma.masked_where(~clear, values)
        drawn = axes.imshow(shown, cmap=colors_of(True), vmin=-limit, vmax=limit, aspect="auto")
        # The lightest color is almost white, so blank cells are marked with a dot.
        y, x = np.nonzero(~clear)
        axes.plot(x, y, ".", ms=2.2, mew=0, color="0.35")
        turned: dict[str, Any] = {"rotation": 50, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(columns)), columns, **turned)
        axes.set_xlabel(note, fontsize=6)
        marked = set(report.universal.tolist())
        names = [f"★ {unit}" if unit in marked else str(unit) for unit in units]
        axes.set_yticks(range(len(units)), names, fontsize=6)
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(units) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="0.9", lw=0.5)
        axes.tick_params(which="minor", length=0)
        axes.set_ylabel(_units_label(report, len(units)))
        axes.set_facecolor("white")
        bar = figure.colorbar(drawn, ax=axes, extend="both" if sized.size else "neither", aspect=30)
        bar.set_label(label, fontsize=7)
        bar.ax.tick_params(labelsize=6)
    return figure


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


# --- Answers ------------------------------------------------------------------------------------


def answers(found: ResponseReport) -> pd.DataFrame:
    """Return what each unit responds to most, and the measurement that it correlates with most.

    Parameters
    ----------
    found : ResponseReport
        Responses of a detector's units.

    Returns
    -------
    pandas.DataFrame
        One row per unit, universal ones first: what `ResponseReport.answers` has of it, and
        ``strongest``, the measurement with the largest |rho|, significant or not, with its
        ``strongest_rho`` and ``strongest_q``; empty and NaN where no images were measured.
    """
    data, frame = found.data, found.answers()
    name, rho, q = "", np.nan, np.nan
    if found.has_correlations:
        all_rho, all_q = (data[one].transpose("unit", "measurement").values for one in ("rho", "q"))
        best = np.abs(np.nan_to_num(all_rho)).argmax(axis=1)
        at = np.arange(len(best)), best
        name, rho, q = data["measurement"].values.astype(str)[best], all_rho[at], all_q[at]
    frame = frame.assign(strongest=name, strongest_rho=rho, strongest_q=q)
    frame = frame.sort_values("universal", ascending=False, kind="stable", ignore_index=True)
    frame.attrs = {"layer": str(data.attrs.get("layer", "")), "has_doses": found.has_doses}
    return frame


# --- Shared -------------------------------------------------------------------------------------


def _artifacts(data: xr.Dataset, artifact: str) -> list[str]:
    names = [str(name) for name in data["artifact"].values]
    if artifact and artifact not in names:
        raise UnknownNameError("artifact", artifact, names, where="this report")
    return [artifact] if artifact else names


def _known_unit(data: xr.Dataset, unit: int) -> int:
    units = data["unit"].values
    if unit not in units:
        raise ProbeError(
            f"Unit {unit} was given; the report has the units {units.min()} to {units.max()}."
        )
    return unit


def _reasons(data: xr.Dataset, name: str) -> dict[str, str]:
    """Return why something is missing, by dataset; those without a reason are left out."""
    if name not in data:
        return {}
    pairs = zip(data["dataset"].values, data[name].values, strict=True)
    return {str(dataset): str(reason) for dataset, reason in pairs if reason}


def _alpha(data: xr.Dataset) -> float:
    return float(data.attrs.get("alpha", 0.05))
