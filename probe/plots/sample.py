"""One image among others: its scores, activations and measurements, and its place in a layer.

Of each finding ``x`` there are ``x``, the table behind it, ``plot_x``, the figure for print
(matplotlib), and ``figure_x``, which draws that table for a web page (plotly). The statistics are
those of `probe.evaluation.one_image`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from probe.artifacts.report import ArtifactMeasurements
from probe.datasets.dataset import Samples
from probe.errors import ProbeError, UnknownNameError
from probe.evaluation.one_image import (
    FAR,
    compare_activations,
    compare_measurements,
    compare_scores,
    image_activations,
    image_measurements,
    image_scores,
)
from probe.neurons import Universality
from probe.plots.style import STYLE, STYLES, Style
from probe.plots.theme import LIGHT, Theme, clean, figure_of
from probe.separability.report import Embeddings
from probe.store import ActivationStore

__all__ = [
    "figure_sample_measurements",
    "figure_sample_place",
    "figure_sample_scores",
    "figure_sample_units",
    "plot_sample_measurements",
    "plot_sample_place",
    "plot_sample_scores",
    "plot_sample_units",
    "sample_measurements",
    "sample_place",
    "sample_scores",
    "sample_units",
]

REAL, FAKE = "#0072b2", "#d55e00"

#: Heights in inches: of a row of scores, of a row of values, and of the space around all rows.
_SCORE, _VALUE, _ROOM = 0.34, 0.155, 0.62

#: End of the axis of deviations; values beyond are drawn there as arrows.
END = 8.0

#: Units of a figure; and store chunks with real images that are read for them, evenly spaced.
MOST_UNITS, MOST_CHUNKS = 20, 24

#: Points of an embedding behind the image's own.
MOST_POINTS = 2000

#: Names of embeddings, the one that is shown first at the front.
KINDS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}


# --- What every detector says -------------------------------------------------------------------


def sample_scores(
    scores: pd.DataFrame,
    logits: Mapping[str, float] | None = None,
    *,
    sample: str = "",
    dataset: str = "",
) -> pd.DataFrame:
    """Return the scores of an image among those of other images, per detector.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``ZeroShotMatrix.scores``.
    logits : mapping, optional
        Logit by detector of an image from elsewhere, which is compared with all images.
    sample, dataset : str
        Otherwise the id of an image, and its dataset, whose images it is compared with.

    Returns
    -------
    pandas.DataFrame
        See `probe.evaluation.one_image.image_scores`. Its attributes also hold ``kind`` ("real",
        "fake", or empty where no label is known) and ``dataset``.
    """
    if logits is None:
        frame = image_scores(scores, sample, dataset)
    else:
        frame, dataset = compare_scores(scores, logits), ""
    kind = {0: "real", 1: "fake"}.get(frame.attrs["label"], "")
    frame.attrs |= {"kind": kind, "dataset": dataset}
    return frame


def plot_sample_scores(
    scores: pd.DataFrame,
    logits: Mapping[str, float] | None = None,
    *,
    sample: str = "",
    dataset: str = "",
    style: str = "ieee-column",
) -> Figure:
    """Draw the logit of an image by each detector among the logits of other images.

    Parameters
    ----------
    scores, logits, sample, dataset : Any
        As in `sample_scores`.
    style : str
        Name in `probe.plots.STYLES`.

    Returns
    -------
    matplotlib.figure.Figure
        Other images are strokes: reals above the row of a detector, fakes below.
    """
    frame = sample_scores(scores, logits, sample=sample, dataset=dataset)
    with STYLES[style].context():
        figure, axes = _rows(list(frame["detector"]), _SCORE, STYLES[style])
        for row, name in enumerate(frame["detector"]):
            axes.axhline(row, color="0.85", lw=0.4, zorder=0)
            for kind, color, side in (("reals", REAL, -1), ("fakes", FAKE, 1)):
                ends = row + side * 0.06, row + side * 0.34
                axes.vlines(frame.attrs[kind][name], *ends, color=color, lw=0.35, alpha=0.8)
        axes.axvline(0, color="0.4", lw=0.6, ls=":")
        axes.plot(
            frame["logit"], range(len(frame)), "D", color="black", mec="white", mew=0.6, ms=4.5
        )
        figure.supxlabel("logit of fake (strokes above: real images; below: fakes)", fontsize=7.5)
    return figure


#: Pixels of a row of scores and around all of them; height of a rug over the distance of rows.
_ROW, _HEAD, _FOOT, _RUG = 44, 40, 46, 0.26


def figure_sample_scores(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `sample_scores` for a page: reals above the line of a detector, fakes below."""
    rows = frame.to_dict("records")
    names = [f"{clean(one['detector'])}  " for one in rows]
    beside = [_beside(row, _said(one), theme.ink) for row, one in enumerate(rows)]
    return figure_of(
        [_rug(frame, theme, "reals"), _rug(frame, theme, "fakes"), _own_scores(frame, theme)],
        theme,
        height=_ROW * max(len(rows), 1) + _HEAD + _FOOT,
        showlegend=True,
        legend=theme.top_legend(itemsizing="trace"),
        margin={"l": 8, "r": 62, "t": _HEAD, "b": _FOOT},
        shapes=[theme.line_at(x=0, line={"color": theme.muted, "width": 1, "dash": "dot"})],
        xaxis=theme.axis("logit of fake; 0 is P(fake) = 0.5", range=_range(frame)),
        yaxis=theme.rows(names),
        annotations=[_beside(-0.75, "P(fake)", theme.muted), *beside],
    )


def _range(frame: pd.DataFrame) -> list[float]:
    """Show nearly all others, and the image itself in any case."""
    others = [one for kind in ("reals", "fakes") for one in frame.attrs[kind].values()]
    known = np.concatenate([np.asarray(one, dtype=float) for one in others])
    own = [one for one in frame["logit"] if np.isfinite(one)]
    ends = np.percentile(known, [0.5, 99.5]) if len(known) else np.array([-1.0, 1.0])
    low, high = min(ends[0], *own, -1.0), max(ends[1], *own, 1.0)
    room = 0.04 * (high - low)
    return [float(low - room), float(high + room)]


def _rug(frame: pd.DataFrame, theme: Theme, kind: str) -> dict[str, Any]:
    """Draw the images of one label as short strokes on all rows."""
    x: list[float | None] = []
    y: list[float | None] = []
    near, far = (-0.04, -0.04 - _RUG) if kind == "reals" else (0.04, 0.04 + _RUG)
    for row, name in enumerate(frame["detector"]):
        for value in frame.attrs[kind][name]:
            x += [value, value, None]
            y += [row + near, row + far, None]
    n, place = frame.attrs[f"n_{kind}"], "above" if kind == "reals" else "below"
    color = theme.accent if kind == "reals" else theme.warm
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "mode": "lines",
        "name": f"{kind[:-1]} ({n:,}), {place} the line",
        "hoverinfo": "skip",
        "line": {"color": theme.faded(color, 0.55), "width": 1.2},
    }


def _own_scores(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    hovers = []
    for one in frame.to_dict("records"):
        lines = [f"<b>{clean(one['detector'])}</b>"]
        lines.append(f"logit {one['logit']:.2f}, P(fake) {one['p_fake']:.3f}")
        if np.isfinite(one["above_reals"]):
            lines.append(f"scores above {one['above_reals']:.0%} of the reals")
        if np.isfinite(one["above_fakes"]):
            lines.append(f"and {one['above_fakes']:.0%} of the fakes")
        hovers.append("<br>".join(lines))
    return {
        "type": "scatter",
        "x": frame["logit"],
        "y": np.arange(len(frame)),
        "mode": "markers",
        "name": "this image",
        "marker": {
            "symbol": "diamond",
            "size": 13,
            "color": theme.ink,
            "line": {"width": 2, "color": theme.ground},
        },
        "hovertext": hovers,
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _said(one: Mapping[Any, Any]) -> str:
    """Write what a detector says, and whether that is right."""
    text = f"{one['p_fake']:.2f}"
    if one["right"] is None:
        return text
    return f"{text}<br>{'right' if one['right'] else '<b>wrong</b>'}"


def _beside(row: float, text: str, color: str) -> dict[str, Any]:
    return {
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 6,
        "y": row,
        "showarrow": False,
        "text": text,
        "align": "left",
        "font": {"size": 12, "color": color},
    }


# --- What is unusual ----------------------------------------------------------------------------


def sample_units(
    store: ActivationStore,
    found: Universality | None = None,
    activations: ArrayLike | None = None,
    *,
    layer: str,
    sample: str = "",
    dataset: str = "",
    max_chunks: int | None = MOST_CHUNKS,
) -> pd.DataFrame:
    """Return how unusual an image's activations are among real images, the most unusual first.

    Parameters
    ----------
    store : ActivationStore
        Activations of a detector.
    found : Universality, optional
        Universality of the units of this layer, whose universal units are marked.
    activations : array_like, optional
        Activations of an image from elsewhere, shape (unit,).
    layer : str
        A recorded layer.
    sample : str
        Otherwise the id of an image of the store.
    dataset : str, default ""
        Dataset of the real images; all by default.
    max_chunks : int, optional
        Maximum number of chunks of the store that real images are read from, evenly spaced.

    Returns
    -------
    pandas.DataFrame
        See `probe.evaluation.one_image.image_activations`. Its attributes also hold ``layer``,
        ``among`` and ``far``, the deviations beyond which a value is called far out.
    """
    universal = [] if found is None else [int(unit) for unit in found.universal]
    given: dict[str, Any] = {"dataset": dataset, "universal": universal, "max_chunks": max_chunks}
    if activations is None:
        frame = image_activations(store, layer, sample, **given)
    else:
        frame = compare_activations(store, layer, activations, **given)
    return _about(frame, dataset, layer=layer)


def plot_sample_units(
    store: ActivationStore,
    found: Universality | None = None,
    activations: ArrayLike | None = None,
    *,
    layer: str,
    sample: str = "",
    dataset: str = "",
    max_chunks: int | None = MOST_CHUNKS,
    style: str = "ieee-column",
) -> Figure:
    """Draw how far the most unusual activations of an image are from the median of real images.

    Parameters
    ----------
    store, found, activations, layer, sample, dataset, max_chunks : Any
        As in `sample_units`.
    style : str
        Name in `probe.plots.STYLES`.

    Returns
    -------
    matplotlib.figure.Figure
        Marks are filled beyond 3 deviations; the band within is gray.
    """
    frame = sample_units(
        store,
        found,
        activations,
        layer=layer,
        sample=sample,
        dataset=dataset,
        max_chunks=max_chunks,
    )
    return _draw_deviations(_named(frame), style)


def figure_sample_units(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw the first rows of `sample_units` for a page."""
    return _deviations(_named(frame), theme)


def sample_measurements(
    measurements: ArtifactMeasurements,
    given: Mapping[str, float] | None = None,
    *,
    sample: str = "",
    dataset: str = "",
) -> pd.DataFrame:
    """Return how unusual an image's artifact measurements are among real images.

    Parameters
    ----------
    measurements : ArtifactMeasurements
        Measurements of images.
    given : mapping, optional
        Measurements of an image from elsewhere, by name.
    sample : str
        Otherwise the id of an image.
    dataset : str, default ""
        Dataset of the real images; all by default.

    Returns
    -------
    pandas.DataFrame
        See `probe.evaluation.one_image.image_measurements`. Its attributes also hold ``among``,
        ``far`` (as of `sample_units`) and ``about``, definitions by measurement.
    """
    data = measurements.data
    if given is None:
        frame = image_measurements(data, sample, dataset=dataset)
    else:
        frame = compare_measurements(data, given, dataset=dataset)
    texts = data.get("measurement_about")
    names = map(str, data["measurement"].values)
    about = {} if texts is None else dict(zip(names, map(str, texts.values), strict=True))
    return _about(frame, dataset, about=about)


def plot_sample_measurements(
    measurements: ArtifactMeasurements,
    given: Mapping[str, float] | None = None,
    *,
    sample: str = "",
    dataset: str = "",
    style: str = "ieee-column",
) -> Figure:
    """Draw how far measurements of an image are from the median of real images.

    Parameters
    ----------
    measurements, given, sample, dataset : Any
        As in `sample_measurements`.
    style : str
        Name in `probe.plots.STYLES`.

    Returns
    -------
    matplotlib.figure.Figure
        Marks are filled beyond 3 deviations; the band within is gray.
    """
    frame = sample_measurements(measurements, given, sample=sample, dataset=dataset)
    return _draw_deviations(_named(frame), style)


def figure_sample_measurements(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `sample_measurements` for a page."""
    return _deviations(_named(frame), theme)


def _about(frame: pd.DataFrame, dataset: str, **more: Any) -> pd.DataFrame:
    among = f"real images of {dataset or 'all datasets'}"
    frame.attrs |= {"among": among, "far": FAR, **more}
    return frame


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are drawn, under one set of names."""
    if "unit" in frame:
        shown = frame.head(MOST_UNITS)
        names = [f"unit {unit}" for unit in shown["unit"]]
    else:
        shown, names = frame, list(frame["measurement"])
    shown = shown.assign(name=names, is_far=shown["deviations"].abs() > frame.attrs["far"])
    return shown.assign(at=shown["deviations"].clip(-END, END))


def _draw_deviations(frame: pd.DataFrame, style: str) -> Figure:
    far = frame.attrs["far"]
    with STYLES[style].context():
        figure, axes = _rows(list(frame["name"]), _VALUE, STYLES[style])
        axes.axvspan(-far, far, color="0.93", lw=0, zorder=0)
        axes.axvline(0, color="0.4", lw=0.6)
        for row, one in enumerate(frame.to_dict("records")):
            value = one["deviations"]
            mark = "o" if abs(value) <= END else ">" if value > 0 else "<"
            filled = REAL if one["is_far"] else "white"
            axes.plot([0, one["at"]], [row, row], color="0.6", lw=0.6)
            axes.plot(one["at"], row, mark, color=REAL, mfc=filled, mew=0.7, ms=3.5)
        axes.set_xlim(-END - 0.6, END + 0.6)
        figure.supxlabel(
            "deviations from the median of real images (arrow: beyond 8)", fontsize=7.5
        )
    return figure


def _deviations(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    """Draw a row per value, the most unusual first; filled where it is far out."""
    rows, far = frame.to_dict("records"), frame.attrs["far"]
    names = [
        f"<b>{clean(r['name'])}</b>  " if r["is_far"] else f"{clean(r['name'])}  " for r in rows
    ]
    band = {
        "type": "rect",
        "x0": -far,
        "x1": far,
        "y0": 0,
        "y1": 1,
        "yref": "y domain",
        "layer": "below",
        "line": {"width": 0},
        "fillcolor": theme.faded(theme.muted, 0.1),
    }
    return figure_of(
        [_stems(frame, theme), _marks(frame, theme)],
        theme,
        height=21 * max(len(rows), 1) + 8 + 46,
        margin={"l": 8, "r": 12, "t": 8, "b": 46},
        shapes=[band, theme.line_at(x=0)],
        xaxis=theme.axis(
            "from the median of the reals, in deviations", range=[-END - 0.5, END + 0.5]
        ),
        yaxis=theme.rows(names, size=12),
    )


def _stems(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for i, at in enumerate(frame["at"]):
        x += [0.0, float(at), None]
        y += [i, i, None]
    line = {"color": theme.line, "width": 2}
    return {"type": "scatter", "x": x, "y": y, "mode": "lines", "hoverinfo": "skip", "line": line}


def _marks(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    rows = frame.to_dict("records")
    return {
        "type": "scatter",
        "x": frame["at"],
        "y": np.arange(len(frame)),
        "mode": "markers",
        "marker": {
            "symbol": [_symbol(one) for one in rows],
            "size": 9,
            "color": theme.accent,
            "line": {"width": 1.6, "color": theme.accent},
        },
        "hovertext": [_hover(one, frame.attrs) for one in rows],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _symbol(one: Mapping[Any, Any]) -> str:
    if abs(one["deviations"]) > END:
        return "triangle-right" if one["deviations"] > 0 else "triangle-left"
    return "circle" if one["is_far"] else "circle-open"


def _hover(one: Mapping[Any, Any], attrs: Mapping[Any, Any]) -> str:
    about = textwrap.wrap(attrs.get("about", {}).get(one["name"], ""), 60)
    unit = f" {clean(one['unit_of_value'])}" if one.get("unit_of_value") else ""
    return "<br>".join(
        [
            f"<b>{clean(one['name'])}</b>",
            *map(clean, about),
            f"{one['value']:.4g} here, median {one['median_of_reals']:.4g}{unit}",
            f"{one['deviations']:+.1f} deviations from {clean(attrs['among'])}",
        ]
    )


# --- Where it is among others -------------------------------------------------------------------


def sample_place(
    embeddings: Embeddings, samples: Samples, *, sample: str, layer: str, method: str
) -> pd.DataFrame:
    """Return the place of an image in an embedding of a layer, among others.

    Parameters
    ----------
    embeddings : Embeddings
        Embeddings of a detector's layers.
    samples : Samples
        Labels and datasets of the images.
    sample : str
        Id of an image.
    layer, method : str
        Of the embedding.

    Returns
    -------
    pandas.DataFrame
        One row per point, the image first: ``x``, ``y``, ``label`` (1 fake, 0 real, −1 of the
        image itself and where not known), ``same_dataset`` and ``this_image``. Of more than 2000
        images, 2000 are drawn at random. Its attributes hold ``layer``, ``method``, ``total`` (the
        embedding's images), ``dataset`` and ``trustworthiness``.

    Raises
    ------
    UnknownNameError
        If there is no such layer or method.
    ProbeError
        If the image is not in the embedding.
    """
    data = embeddings.data
    for what, name in (("layer", layer), ("method", method)):
        allowed = [str(one) for one in data[what].values]
        if name not in allowed:
            raise UnknownNameError(what, name, allowed, where="these embeddings")
    names = data["sample"].values.astype(object)
    found = np.flatnonzero(names == sample)
    if not len(found):
        raise ProbeError(f"{sample!r} is not in the embedding, which is of recorded images.")
    # By a mapping: "method" is also a keyword of its own.
    one = data.sel({"layer": layer, "method": method})
    position = one["position"].transpose("sample", "axis").values.astype(np.float64)
    drawn = _drawn(len(names))
    table = samples.table
    known = table[table["sample"].isin([*names[drawn], sample])].set_index("sample")
    about = known[["label", "dataset"]].reindex(names[drawn])
    dataset = str(known["dataset"].get(sample, ""))
    x, y = position[found[0]]
    own = {"x": x, "y": y, "label": -1, "same_dataset": True, "this_image": True}
    others = pd.DataFrame(position[drawn], columns=["x", "y"]).assign(
        label=about["label"].fillna(-1).to_numpy().astype(np.int64),
        same_dataset=(about["dataset"] == dataset).fillna(False).to_numpy(dtype=bool),
        this_image=False,
    )
    frame = pd.concat([pd.DataFrame([own]), others], ignore_index=True)
    frame.attrs = {
        "layer": layer,
        "method": method,
        "total": len(names),
        "dataset": dataset,
        "trustworthiness": float(one["trustworthiness"]),
    }
    return frame


def _drawn(total: int) -> NDArray[np.int64]:
    if total <= MOST_POINTS:
        return np.arange(total)
    chosen = np.random.default_rng(0).choice(total, MOST_POINTS, replace=False)
    return np.sort(chosen).astype(np.int64)


def plot_sample_place(
    embeddings: Embeddings, samples: Samples, *, sample: str, layer: str, method: str
) -> Figure:
    """Draw the place of an image in an embedding of a layer, ringed.

    Parameters
    ----------
    embeddings, samples, sample, layer, method : Any
        As in `sample_place`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    frame = sample_place(embeddings, samples, sample=sample, layer=layer, method=method)
    kind = KINDS.get(method, method)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 3.2), layout="constrained")
        axes = figure.subplots()
        looks = (("0.75", "o", 1.5), (REAL, "o", 3), (FAKE, "s", 3))
        for (name, rows), (color, mark, size) in zip(_groups(frame), looks, strict=True):
            axes.plot(
                rows["x"], rows["y"], mark, color=color, ms=size, mew=0, label=name, rasterized=True
            )
        own = frame.iloc[0]
        axes.plot(own["x"], own["y"], "o", ms=11, mfc="none", mec="black", mew=1.2)
        axes.plot(own["x"], own["y"], "D", ms=4, color="black", mew=0, label="this image")
        axes.set(xticks=[], yticks=[], xlabel=f"{kind} 1", ylabel=f"{kind} 2")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=6.5)
    return figure


def _groups(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    others = frame[~frame["this_image"]]
    same = others["same_dataset"]
    return [
        ("other datasets", others[~same]),
        ("real, same dataset", others[same & (others["label"] == 0)]),
        ("fake, same dataset", others[same & (others["label"] == 1)]),
    ]


def figure_sample_place(frame: pd.DataFrame, theme: Theme = LIGHT) -> dict[str, Any]:
    """Draw `sample_place` for a page: ringed, its dataset strong and the rest faint."""
    kind = KINDS.get(frame.attrs["method"], clean(frame.attrs["method"]))
    hidden: dict[str, Any] = {"showticklabels": False, "showgrid": False}
    looks = (
        (theme.faded(theme.muted, 0.35), "circle", 4),
        (theme.faded(theme.accent, 0.75), "circle", 6),
        (theme.faded(theme.warm, 0.75), "square", 6),
    )
    traces = [
        _points(rows, name, color, symbol, size)
        for (name, rows), (color, symbol, size) in zip(_groups(frame), looks, strict=True)
    ]
    return figure_of(
        [*traces, _own_place(frame, theme)],
        theme,
        showlegend=True,
        legend=theme.top_legend(itemsizing="constant"),
        margin={"l": 26, "r": 8, "t": 56, "b": 28},
        xaxis=theme.axis(**hidden) | {"title": _title(f"{kind} 1", theme)},
        yaxis=theme.axis(**hidden) | {"title": _title(f"{kind} 2", theme)},
    )


def _title(text: str, theme: Theme) -> dict[str, Any]:
    return {"text": text, "standoff": 4, "font": {"size": 11, "color": theme.muted}}


def _points(rows: pd.DataFrame, name: str, color: str, symbol: str, size: int) -> dict[str, Any]:
    # Four digits place a point to a fraction of a pixel, and travel lighter.
    return {
        "type": "scatter",
        "x": rows["x"].round(4),
        "y": rows["y"].round(4),
        "mode": "markers",
        "name": name,
        "hoverinfo": "skip",
        "marker": {"size": size, "color": color, "symbol": symbol, "line": {"width": 0}},
    }


def _own_place(frame: pd.DataFrame, theme: Theme) -> dict[str, Any]:
    own = frame.iloc[0]
    return {
        "type": "scatter",
        "x": [own["x"], own["x"]],
        "y": [own["y"], own["y"]],
        "mode": "markers",
        "name": "this image",
        "hoverinfo": "skip",
        "marker": {
            "symbol": ["diamond", "circle-open"],
            "size": [9, 22],
            "color": theme.ink,
            "line": {"width": [1, 2.5], "color": [theme.ground, theme.ink]},
        },
    }


# --- Shared -------------------------------------------------------------------------------------


def _rows(names: Sequence[str], height: float, style: Style) -> tuple[Figure, Axes]:
    """Make a figure with one row per name, the first at the top."""
    if not names:
        raise ProbeError("Nothing was given to draw. Give at least one row.")
    size = style.width, min(style.height, _ROOM + height * len(names))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    ticks: dict[str, Any] = {"length": 0}
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", **ticks)
    axes.tick_params(axis="x", labelsize=style.small)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure, axes
