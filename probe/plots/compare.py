"""Two detectors compared by their scores, and one image among others.

Of each finding ``x`` of a pair there are ``x``, the table behind it, ``plot_x``, the figure for
print (matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from probe.errors import UnknownNameError
from probe.evaluation.paired import (
    common_scores,
    resample_scores,
    score_differences,
)
from probe.plots.style import STYLE
from probe.plots.theme import LIGHT, Theme, clean, figure_of, level
from probe.stats import sigmoid

__all__ = [
    "ALPHA",
    "MOST",
    "figure_pair_images",
    "figure_pair_scores",
    "forest_figure",
    "further",
    "pair_images",
    "pair_scores",
    "panels_figure",
    "plot_pair_images",
    "plot_pair_scores",
    "scatter_figure",
]

REAL, FAKE = "#0072b2", "#d55e00"

#: Heights in inches: of a row of scores, of a row of values, and of the space around all rows.
_SCORE, _VALUE, _ROOM = 0.34, 0.155, 0.62

#: End of the axis of deviations; values beyond are drawn there as arrows.
END = 8.0


# --- Scores of two detectors --------------------------------------------------------------------

#: False discovery rate at which a difference is called more than noise.
ALPHA = 0.05

#: Metrics, as axis labels.
METRICS = {"auroc": "AUROC", "accuracy": "Accuracy", "ap": "AP", "eer": "EER"}

#: Points of a scatter on a page; more overlap anyway.
MOST = 4000

_SCORES = ("value", "reference", "difference", "low", "high", "p", "q", "reason")


def pair_scores(
    one: pd.DataFrame,
    other: pd.DataFrame,
    *again: pd.DataFrame,
    metric: str = "auroc",
    level: str = "frame",
    names: Sequence[str] = (),
    datasets: Sequence[str] = (),
    ci: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare a metric of two detectors on the same images, per dataset.

    Parameters
    ----------
    one, other : pandas.DataFrame
        Scores of one detector each, such as ``run.scores_of("meso4/deep")``.
    *again : pandas.DataFrame
        The same of both from further seeds of the training: one, other, one, other and so on.
    metric, level : str
        Metric, and level ("frame" or "video").
    names : sequence of str
        Names of the two; by default their labels.
    datasets : sequence of str
        Datasets that are compared; by default all that both have.
    ci, seed : float, int
        Confidence level of the intervals, and seed of the cluster bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row per dataset: what `probe.evaluation.paired.differences` has of the metric,
        ``more_than_noise`` (q ≤ 0.05), ``detector``, ``compared_with``, ``metric``, ``level``, and
        per further seed the difference ``again_1``, ``again_2``, ….

    Raises
    ------
    ProbeError
        If the two have no image in common, or an image has different labels.
    """
    rows = [_of_datasets(part, datasets) for part in (one, other, *again)]
    common, _ = common_scores(rows[0], rows[1])
    chosen: dict[str, Any] = {"metrics": [metric], "levels": [level], "seed": seed}
    found = score_differences(rows[0], rows[1], ci=ci, **chosen).sel(metric=metric, level=level)
    frame = found.to_dataframe().reset_index()
    frame = frame[["dataset", *_SCORES, "n_samples", "n_clusters"]]
    named = tuple(names) or _labels(one, other)
    frame = frame.assign(
        more_than_noise=frame["q"] <= ALPHA,
        detector=named[0],
        compared_with=named[1],
        metric=metric,
        level=level,
    )
    for i, (first, second) in enumerate(zip(rows[2::2], rows[3::2], strict=True), 1):
        frame[f"again_{i}"] = _difference(first, second, **chosen).reindex(frame["dataset"]).values
    frame.attrs = {
        "names": named,
        "metric": METRICS[metric],
        "ci": ci,
        "n_common": len(common),
        "n_images": (len(rows[0]), len(rows[1])),
    }
    return frame


def _of_datasets(rows: pd.DataFrame, datasets: Sequence[str]) -> pd.DataFrame:
    return rows[rows["dataset"].isin(datasets)] if datasets else rows


def _labels(*parts: pd.DataFrame) -> tuple[str, ...]:
    return tuple(str(part["detector"].iloc[0]) for part in parts)


def _difference(one: pd.DataFrame, other: pd.DataFrame, **chosen: Any) -> pd.Series[float]:
    """Return the difference of a metric per dataset, without an interval."""
    values = [
        resample_scores(part, n_resamples=1, **chosen)["value"].isel(level=0, metric=0)
        for part in common_scores(one, other)
    ]
    return (values[0] - values[1]).to_series()


def further(frame: pd.DataFrame) -> list[str]:
    """Return the columns of what `pair_scores` returned that are of further seeds."""
    return [str(name) for name in frame if str(name).startswith("again_")]


def plot_pair_scores(
    one: pd.DataFrame, other: pd.DataFrame, *again: pd.DataFrame, **chosen: Any
) -> Figure:
    """Draw the difference between two detectors with its interval, per dataset.

    Filled diamonds are more than noise. Crosses are further seeds.

    Parameters
    ----------
    one, other, *again, **chosen
        As in `pair_scores`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = pair_scores(one, other, *again, **chosen)
    names = frame.attrs["names"]
    return forest_figure(
        frame["dataset"],
        frame["difference"],
        frame["low"],
        frame["high"],
        marked=frame["more_than_noise"],
        again=frame[further(frame)].to_numpy().T,
        label=f"difference in {frame.attrs['metric']}\n{names[0]} less {names[1]}",
    )


#: Pixels of a row, of the room above rows and below them.
ROW, _HEAD, FOOT = 44, 42, 52

#: Width of the left panel, and where the right one begins.
_LEFT, _RIGHT = 0.40, 0.46


def figure_pair_scores(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `pair_scores` for a page: both detectors left, and their difference right.

    Differences that are more than noise are filled diamonds, the others open circles. Small
    crosses are further seeds.
    """
    n, about = len(frame), frame.attrs
    one, other = (clean(name) for name in about["names"])
    traces = [*_both(frame, theme), *(_judged(frame, theme, changed) for changed in (True, False))]
    traces += [_seeds(frame, theme)] if further(frame) else []
    spans = [
        {
            "type": "line",
            "x0": min(row["value"], row["reference"]),
            "x1": max(row["value"], row["reference"]),
            "y0": place,
            "y1": place,
            "layer": "below",
            "line": {"color": theme.line, "width": 3},
        }
        for place, row in enumerate(frame.to_dict("records"))
    ]
    zero = theme.line_at(x=0, layer="below", line={"color": theme.muted, "width": 1.5})
    return figure_of(
        traces,
        theme,
        height=ROW * n + _HEAD + FOOT,
        showlegend=True,
        legend=theme.top_legend(),
        margin={"l": 8, "r": 16, "t": _HEAD, "b": FOOT},
        shapes=[*spans, {**zero, "xref": "x2", "yref": "paper"}],
        annotations=_missing(frame, theme),
        xaxis=theme.axis(about["metric"], domain=[0, _LEFT], nticks=6),
        xaxis2=theme.axis(
            f"difference in {about['metric']}: {one} less {other}",
            domain=[_RIGHT, 1],
            range=_reach(frame),
            nticks=7,
        ),
        yaxis=theme.rows(row_names(frame, theme, str(frame["level"].iloc[0]))),
    )


def row_names(frame: pd.DataFrame, theme: Theme, level: str = "frame") -> list[str]:
    """Name datasets with what their numbers rest on."""
    kind = "images" if level == "frame" else "videos"
    small = f"<span style='font-size:11px;color:{theme.muted}'>"
    return [
        f"{clean(str(row['dataset']))}  <br>{small}{row['n_samples']:,} {kind} · "
        f"{row['n_clusters']:,} clusters</span>  "
        for row in frame.to_dict("records")
    ]


def intervals(value: Any, low: Any, high: Any, theme: Theme) -> dict[str, Any]:
    """Return error bars in the color of secondary text."""
    return {**theme.bars(value, low, high, theme.muted), "thickness": 2}


def _both(frame: pd.DataFrame, theme: Theme) -> list[dict[str, Any]]:
    """Draw the metric of both."""
    looks = (
        ("value", "circle", 12, theme.accent, {"width": 1, "color": theme.ground}),
        ("reference", "diamond-open", 11, theme.warm, {"width": 2}),
    )
    return [
        {
            "type": "scatter",
            "x": frame[column],
            "y": np.arange(len(frame)),
            "name": clean(name),
            "mode": "markers",
            "xaxis": "x",
            "yaxis": "y",
            "marker": {"symbol": symbol, "size": size, "color": color, "line": line},
            "hovertemplate": f"{frame.attrs['metric']} %{{x:.3f}}<extra>{clean(name)}</extra>",
        }
        for name, (column, symbol, size, color, line) in zip(
            frame.attrs["names"], looks, strict=True
        )
    ]


def _judged(frame: pd.DataFrame, theme: Theme, changed: bool) -> dict[str, Any]:
    """Draw the rows whose difference is more than noise, or the others."""
    kept = (frame["more_than_noise"] == changed) & np.isfinite(frame["difference"])
    part = frame[kept]
    return {
        "type": "scatter",
        "x": part["difference"],
        "y": np.flatnonzero(kept),
        "error_x": intervals(part["difference"], part["low"], part["high"], theme),
        "mode": "markers",
        "name": "more than noise, q ≤ .05" if changed else "within noise, or not tested",
        "xaxis": "x2",
        "yaxis": "y",
        "marker": {
            "symbol": "diamond" if changed else "circle",
            "size": 13 if changed else 11,
            "color": theme.ink if changed else theme.ground,
            "line": {"width": 2, "color": theme.ink},
        },
        "hovertext": [_hover(row, frame.attrs["ci"]) for row in part.to_dict("records")],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _hover(row: dict[Any, Any], ci: float) -> str:
    lines = [
        f"{row['difference']:+.3f}",
        f"{row['value']:.3f} and {row['reference']:.3f}",
    ]
    if np.isfinite(row["low"]):
        lines += [
            f"{ci:.0%} interval {row['low']:+.3f} to {row['high']:+.3f}",
            f"p {level(row['p'])}, q over datasets {level(row['q'])}",
        ]
    else:
        lines.append(f"no interval: {clean(row['reason'])}")
    said = "<br>".join(lines).replace("-", "\N{MINUS SIGN}")
    return f"<b>{clean(str(row['dataset']))}</b>: {said}"


def _seeds(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    every = frame[further(frame)].to_numpy().T
    return {
        "type": "scatter",
        "x": every.ravel(),
        "y": np.tile(np.arange(len(frame)) + 0.26, len(every)),
        "mode": "markers",
        "name": "trained from other seeds",
        "xaxis": "x2",
        "yaxis": "y",
        "marker": {
            "symbol": "x-thin-open",
            "size": 7,
            "color": theme.muted,
            "line": {"width": 1.5},
        },
        "hovertemplate": "%{x:+.3f}<extra>another training</extra>",
    }


def _missing(frame: pd.DataFrame, theme: Theme) -> list[dict[str, Any]]:
    """Write into rows without an interval why there is none."""
    return [
        {
            "x": 1,
            "xref": "paper",
            "xanchor": "right",
            "y": row + 0.3,
            "yref": "y",
            "text": clean(reason),
            "showarrow": False,
            "font": {"size": 11, "color": theme.muted},
        }
        for row, reason in enumerate(frame["reason"])
        if reason
    ]


def _reach(frame: pd.DataFrame) -> list[float]:
    """Take the range of differences, with 0 in it and a little room."""
    every = np.r_[frame[["difference", "low", "high", *further(frame)]].to_numpy().ravel(), 0.0]
    every = every[np.isfinite(every)]
    room = 0.06 * max(float(np.ptp(every)), 0.01)
    return [float(every.min()) - room, float(every.max()) + room]


# --- Image by image -----------------------------------------------------------------------------

_IMAGE = ["dataset", "sample", "method", "video", "frame", "cluster", "label", "logit"]


def pair_images(
    one: pd.DataFrame,
    other: pd.DataFrame,
    *,
    dataset: str = "",
    names: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the scores of two detectors on the same images, the largest difference first.

    Parameters
    ----------
    one, other, names, datasets
        As in `pair_scores`.
    dataset : str
        One of the datasets; all by default.

    Returns
    -------
    pandas.DataFrame
        One row per image: ``logit`` and ``p_fake`` of the first, ``other_logit`` and
        ``other_p_fake`` of the other, and ``difference`` of P(fake).

    Raises
    ------
    UnknownNameError
        If there is no such dataset.
    ProbeError
        As in `pair_scores`.
    """
    first, second = common_scores(*(_of_datasets(part, datasets) for part in (one, other)))
    known = list(dict.fromkeys(map(str, first["dataset"])))
    if dataset not in ("", *known):
        raise UnknownNameError(
            "dataset", dataset, known, where="what both detectors were measured on"
        )
    frame = first[_IMAGE].assign(other_logit=second["logit"].to_numpy())
    frame = frame[frame["dataset"] == dataset] if dataset else frame
    p, other_p = (np.asarray(sigmoid(frame[name])) for name in ("logit", "other_logit"))
    frame = frame.assign(p_fake=p, other_p_fake=other_p, difference=p - other_p)
    frame = frame.sort_values("difference", ascending=False, kind="stable", ignore_index=True)
    frame.attrs = {"names": tuple(names) or _labels(one, other), "datasets": known}
    return frame


def plot_pair_images(one: pd.DataFrame, other: pd.DataFrame, **chosen: Any) -> Figure:
    """Draw every image at the logits that two detectors gave it.

    Parameters
    ----------
    one, other, **chosen
        As in `pair_images`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = pair_images(one, other, **chosen)
    first, second = frame.attrs["names"]
    return scatter_figure(
        frame["other_logit"],
        frame["logit"],
        {name: frame["label"] == label for label, name in ((0, "real"), (1, "fake"))},
        labels=(f"fake logit of {second}", f"fake logit of {first}"),
    )


def figure_pair_images(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `pair_images` for a page; of many images some, drawn at random."""
    drawn = frame.sample(MOST, random_state=0) if len(frame) > MOST else frame
    first, second = (clean(name) for name in frame.attrs["names"])
    kinds = ((0, "real", theme.accent, "circle"), (1, "fake", theme.warm, "square"))
    traces = [
        {
            "type": "scatter",
            "x": part["other_logit"],
            "y": part["logit"],
            "mode": "markers",
            "name": name,
            "marker": {
                "color": color,
                "symbol": symbol,
                "size": 5,
                "opacity": 0.75 if len(drawn) < 600 else 0.4,
            },
            "hovertemplate": f"{first} %{{y:.2f}}, {second} %{{x:.2f}}<extra>{name}</extra>",
        }
        for label, name, color, symbol in kinds
        for part in (drawn[drawn["label"] == label],)
    ]
    zero: dict[str, Any] = {"layer": "below", "line": {"color": theme.line, "width": 1.5}}
    return figure_of(
        traces,
        theme,
        showlegend=True,
        legend=theme.top_legend(itemsizing="constant"),
        margin={"l": 60, "r": 12, "t": 34, "b": 52},
        shapes=[
            diagonal(theme, drawn[["logit", "other_logit"]].to_numpy()),
            theme.line_at(x=0, **zero),
            theme.line_at(y=0, **zero),
        ],
        xaxis=theme.axis(f"fake logit of {second}"),
        yaxis=theme.axis(f"fake logit of {first}"),
    )


def diagonal(theme: Theme, values: NDArray[np.float64], least: float = np.inf) -> dict[str, Any]:
    """Draw where both are equal, over all values; from `least` at the latest."""
    low = min(float(np.min(values, initial=least)), least) if len(values) else 0.0
    high = float(np.max(values, initial=low)) if len(values) else 0.0
    return {
        "type": "line",
        "x0": low,
        "x1": high,
        "y0": low,
        "y1": high,
        "layer": "below",
        "line": {"color": theme.muted, "width": 1, "dash": "dot"},
    }


# --- Shared -------------------------------------------------------------------------------------

#: Colors and markers; series differ in both.
COLORS, MARKERS = ("#0072b2", "#d55e00", "#000000"), ("o", "s", "D")
MUTED = "#777777"
INK = "#222222"
#: Panels per row.
COLUMNS = 3


def forest_figure(
    names: Sequence[str] | ArrayLike,
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    label: str,
    marked: ArrayLike | None = None,
    again: ArrayLike | None = None,
    zero: float | None = 0.0,
) -> Figure:
    """Draw a value with its interval per row (forest plot).

    Parameters
    ----------
    names : sequence of str
        Row names, from the top.
    value, low, high : array_like
        Shape (row,); rows without bounds have a mark only.
    label : str
        Axis label.
    marked : array_like, optional
        Rows drawn as a filled diamond; the others are open circles.
    again : array_like, optional
        Shape (repeat, row): the same value in other trainings, drawn as small crosses.
    zero : float, optional
        Position of the line of "no difference"; None for no line.
    """
    rows = [str(name) for name in np.asarray(names)]
    x, lower, upper = (np.asarray(a, dtype=float) for a in (value, low, high))
    filled = np.zeros(len(rows), bool) if marked is None else np.asarray(marked, dtype=bool)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 0.28 * len(rows) + 0.85), layout="constrained")
        axes = figure.subplots()
        if zero is not None:
            axes.axvline(zero, color=MUTED, lw=0.8)
        place = np.arange(len(rows))
        there = np.isfinite(lower)
        axes.hlines(place[there], lower[there], upper[there], color="black", lw=1.2)
        for chosen, marker, face in ((filled, "D", "black"), (~filled, "o", "white")):
            axes.plot(x[chosen], place[chosen], marker, color="black", mfc=face, ms=4.5, mew=1)
        for one in () if again is None else np.asarray(again, dtype=float):
            axes.plot(one, place + 0.25, "x", color=MUTED, ms=3, mew=0.8)
        axes.set_yticks(place, rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return figure


def scatter_figure(
    x: ArrayLike, y: ArrayLike, kinds: Mapping[str, ArrayLike], *, labels: tuple[str, str]
) -> Figure:
    """Draw points by kind, and the diagonal of equality.

    Parameters
    ----------
    x, y : array_like
        Shape (n,), coordinates of the points.
    kinds : mapping
        Name of a kind to a mask of its points, shape (n,).
    labels : tuple of str
        Axis labels.
    """
    across, up = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 3.0), layout="constrained")
        axes = figure.subplots()
        axes.axline((0, 0), slope=1, color=MUTED, lw=0.7, ls=":")
        looks = ((COLORS[0], "o"), (COLORS[1], "s"), ("#009e73", "^"), ("#000000", "D"))
        few = len(across) <= 300
        for i, (name, given) in enumerate(kinds.items()):
            kept, (color, marker) = np.asarray(given, dtype=bool), looks[i % len(looks)]
            if kept.any():
                axes.plot(
                    across[kept],
                    up[kept],
                    marker,
                    ms=3.5 if few else 2,
                    mew=0.6,
                    color=color,
                    mfc="none" if few else color,
                    alpha=1 if few else 0.4,
                    label=name,
                    ls="",
                    rasterized=len(across) > 5000,
                )
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=6, loc="best")
    return figure


def panels_figure(
    names: Sequence[str],
    places: Sequence[str],
    titles: Sequence[str],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    label: str,
    zero: float = 0.5,
    marked: ArrayLike | None = None,
) -> Figure:
    """Draw values with intervals at ordered places, one panel per title.

    Parameters
    ----------
    names : sequence of str
        Names of the lines.
    places, titles : sequence of str
        Tick labels of the axis; titles of the panels.
    value, low, high : array_like
        Shape (name, place, title).
    label : str
        Label of the value axis.
    zero : float, default 0.5
        Chance level, drawn as a line.
    marked : array_like of bool, optional
        Shape (place, title): where to draw a diamond above, such as for significant differences.
    """
    marks = np.zeros((len(places), len(titles)), bool) if marked is None else np.asarray(marked)
    arrays = [np.asarray(a, dtype=float) for a in (value, low, high)]
    lines, columns = -(-len(titles) // COLUMNS), min(COLUMNS, len(titles))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * columns, 1.6 * lines + 0.4), layout="constrained")
        grid: Any = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for i, axes in enumerate(grid.ravel()):
            if i >= len(titles):
                axes.set_visible(False)
                continue
            axes.axhline(zero, color=MUTED, lw=0.7, ls=":")
            for k, name in enumerate(names):
                v, lower, upper = (a[k, :, i] for a in arrays)
                axes.errorbar(
                    np.arange(len(places)) + (0.06 if k == 0 else -0.06),
                    v,
                    yerr=np.nan_to_num(np.maximum([v - lower, upper - v], 0)),
                    fmt=MARKERS[k % 3],
                    ls=("-", "--")[k % 2],
                    lw=0.9,
                    ms=3.5,
                    capsize=1.5,
                    color=COLORS[k % 3],
                    mfc="none" if k else COLORS[0],
                    label=name,
                )
            for r in np.flatnonzero(marks[:, i]):
                top = np.nanmax([arrays[0][:, r, i], np.nan_to_num(arrays[2][:, r, i])])
                axes.plot([r], [top + 0.035], marker="D", ms=3, color=INK, lw=0, clip_on=False)
            axes.set_xticks(range(len(places)), places)
            axes.set_xlim(-0.5, len(places) - 0.5)
            axes.set_title(titles[i])
            axes.spines[["top", "right"]].set_visible(False)
        grid[0, 0].legend(frameon=False, fontsize=6)
        figure.supylabel(label, fontsize=8)
    return figure
