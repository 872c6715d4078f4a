"""Embeddings: samples of a layer in two dimensions, and what tells those that are selected.

Of each finding ``x`` there are ``x``, the table behind it, ``plot_x``, the figure for print
(matplotlib), and ``figure_x``, which draws that table for a web page (plotly).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import patheffects
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from probe.errors import UnknownNameError
from probe.plots.density import Coloring, Window, density_of, density_trace, extent_of
from probe.plots.style import STYLE, colors_of
from probe.plots.theme import LIGHT, SYMBOLS, Theme, clean, figure_of
from probe.separability.report import Embeddings
from probe.stats import sigmoid

__all__ = [
    "KINDS",
    "RING",
    "coloring",
    "layer_embedding",
    "figure_layer_embedding",
    "figures_of",
    "is_dense",
    "outlined",
    "plot_layer_embedding",
    "seen_in",
    "selection_units",
]

#: Name, color, marker and line style per label. Lines and markers differ too, for print in gray.
LABELS = {0: ("real", "#0072b2", "o", "-"), 1: ("fake", "#d55e00", "^", "--")}
#: Colors (Okabe and Ito) and markers of datasets; every second marker is open.
DATASETS = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "D"),
    ("#cc79a7", "^"),
    ("#b8860b", "v"),
    ("#3f3f46", "P"),
    ("#56b4e9", "X"),
    ("#7b5aa6", "*"),
)
#: Methods of embedding to their names.
KINDS = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
#: Maximum number of points drawn; the density uses all points.
SHOWN = 4000
#: Samples of a figure for print at most.
MOST = 10_000


def layer_embedding(
    found: Embeddings,
    samples: pd.DataFrame,
    value: NDArray[Any] | None = None,
    *,
    layer: str,
    method: str,
    by: str = "label",
) -> pd.DataFrame:
    """Return where samples are in an embedding, and what is known of them.

    Parameters
    ----------
    found : Embeddings
        Embeddings of a detector.
    samples : pandas.DataFrame
        Sample table of its store, in any order.
    value : numpy.ndarray, optional
        A number per row of `samples`, such as the activations of a unit; the column `by`.
    layer, method : str
        Layer and method of the embedding.
    by : str, default "label"
        Column that samples are colored by.

    Returns
    -------
    pandas.DataFrame
        One row per ``sample``: ``dataset, label, method, video``, ``p_fake``, and its place
        ``x``, ``y``.

    Raises
    ------
    UnknownNameError
        If the layer was not embedded, or not by this method.
    StoreError
        If the sample table lacks a sample.
    """
    one, table = _one(found, layer, method), found.align(samples)
    place = one["position"].transpose("sample", "axis").values.astype(np.float64)
    score = sigmoid(table["logit"].to_numpy(dtype=np.float64))
    columns: dict[str, Any] = {name: table[name] for name in _COLUMNS}
    columns |= {"p_fake": score, "x": place[:, 0], "y": place[:, 1]}
    if value is not None:
        columns[by] = np.asarray(value)[table["place"].to_numpy()]
    frame = pd.DataFrame(columns)
    frame.attrs = {
        "layer": layer,
        "kind": method,
        "by": by,
        "trustworthiness": float(one["trustworthiness"]),
        "preservation": float(one["preservation"]),
        "neighbors": int(found.data.attrs.get("neighbors", 0)),
        "n_fitted": int(found.data["fitted"].values.sum()),
    }
    return frame


_COLUMNS = ("sample", "dataset", "label", "method", "video")


def _one(found: Embeddings, layer: str, method: str) -> xr.Dataset:
    for dim, name in (("layer", layer), ("method", method)):
        allowed = list(map(str, found.data[dim].values))
        if name not in allowed:
            remedy = "Choose one of them above."
            raise UnknownNameError(dim, name, allowed, where="the embeddings", remedy=remedy)
    # By a mapping: "method" is also a keyword of its own.
    return found.data.sel({"layer": layer, "method": method})


def plot_layer_embedding(
    found: Embeddings,
    samples: pd.DataFrame,
    value: NDArray[Any] | None = None,
    *,
    layer: str,
    method: str,
    by: str = "label",
) -> Figure:
    """Draw an embedding twice: by label with densities, and by dataset, or another column.

    Parameters
    ----------
    found, samples, value, layer, method, by : Embeddings, pandas.DataFrame, numpy.ndarray, str
        As in `layer_embedding`. The second panel is colored by dataset where `by` is the label.

    Returns
    -------
    matplotlib.figure.Figure
        Of 10,000 samples at most, drawn at random: the density of more takes minutes and looks the
        same.
    """
    frame = layer_embedding(found, samples, value, layer=layer, method=method, by=by)
    about, rng = frame.attrs, np.random.default_rng(0)
    if len(frame) > MOST:
        frame = frame.iloc[rng.permutation(len(frame))[:MOST]]
    places = frame[["x", "y"]].to_numpy()
    shown = np.random.default_rng(0).permutation(len(places))[:SHOWN]
    by = "dataset" if by == "label" else by
    is_number = value is not None or by == "p_fake"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.35), layout="constrained")
        left, right = figure.subplots(1, 2)
        _by_label(left, places, frame["label"].to_numpy(), shown)
        if is_number:
            name = _title(by) if value is None else f"activation of {_title(by)}"
            _by_value(right, places, frame[by].to_numpy(), shown, name)
        else:
            _by_name(right, places, frame[by].to_numpy(object), shown)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[])
            axes.set_aspect("equal", adjustable="datalim")
            if axes is right and is_number:
                # A color bar replaces the legend.
                continue
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.02),
                ncols=3,
                frameon=False,
                fontsize=6.5,
                handletextpad=0.2,
                columnspacing=0.9,
                markerscale=1.6,
                title="lines (dashed: fake) enclose 50% and 90%" if axes is left else None,
                title_fontsize=6.5,
            )
        figure.suptitle(
            f"{found.detector}, {layer}, {KINDS.get(method, method)}: "
            f"trustworthiness {about['trustworthiness']:.2f}, "
            f"{about['preservation']:.0%} of neighbors kept",
            fontsize=8,
        )
    return figure


def _title(by: str) -> str:
    """Write a column of numbers for people: "unit_5" becomes "unit 5"."""
    return {"p_fake": "P(fake)"}.get(by, by.replace("_", " "))


def _by_label(axes: Any, places: Any, labels: Any, shown: Any) -> None:
    for label, (name, color, marker, line) in LABELS.items():
        part = shown[labels[shown] == label]
        _points(axes, places[part], color, marker, bool(label), name)
        _density(axes, places[labels == label], color, line)


def _points(axes: Any, places: Any, color: str, marker: str, hollow: bool, label: str) -> None:
    look = (
        {"facecolors": "none", "edgecolors": color, "lw": 0.5}
        if hollow
        else {
            "color": color,
            "lw": 0,
        }
    )
    axes.scatter(*places.T, s=6, marker=marker, alpha=0.75, label=label, **look)


def _by_name(axes: Any, places: Any, names: Any, shown: Any) -> None:
    for i, name in enumerate(dict.fromkeys(names)):
        color, marker = DATASETS[i % len(DATASETS)]
        part = shown[names[shown] == name]
        _points(axes, places[part], color, marker, bool(i % 2), str(name))


def _by_value(axes: Any, places: Any, value: Any, shown: Any, name: str) -> None:
    points = axes.scatter(
        *places[shown].T, c=value[shown], cmap=colors_of(False), s=6, lw=0, alpha=0.9
    )
    bar = axes.figure.colorbar(
        points, ax=axes, orientation="horizontal", shrink=0.7, aspect=30, pad=0.03
    )
    bar.set_label(name, fontsize=6.5)
    bar.ax.tick_params(labelsize=6.5)
    bar.outline.set_visible(False)


def _density(axes: Any, places: Any, color: str, line: str) -> None:
    """Draw contours of equal density that enclose 50% and 90% of the points."""
    if len(places) < 20 or np.linalg.matrix_rank(np.cov(places.T)) < 2:
        return
    density = gaussian_kde(places.T)
    low, high = places.min(axis=0), places.max(axis=0)
    room = 0.1 * (high - low)
    x, y = (np.linspace(a - r, b + r, 80) for a, b, r in zip(low, high, room, strict=True))
    grid = np.meshgrid(x, y)
    height = density(np.stack([g.ravel() for g in grid])).reshape(grid[0].shape)
    levels = np.unique(np.quantile(density(places.T), [0.1, 0.5]))
    drawn = axes.contour(*grid, height, levels=levels, colors=color, linewidths=1, linestyles=line)
    # A white outline keeps the contour visible over the points.
    drawn.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="white")])


def figures_of(found: Embeddings, samples: pd.DataFrame) -> dict[str, Figure]:
    """Draw every embedding; returns file name to figure."""
    data = found.data
    return {
        f"embedding-{layer}-{method}".replace("/", "-"): plot_layer_embedding(
            found, samples, layer=str(layer), method=str(method)
        )
        for layer in data["layer"].values
        for method in data["method"].values
    }


# --- For a page ----------------------------------------------------------------------------------

#: Points that a browser draws at ease without WebGL, whose library the server's policy forbids
#: to compile its programs. Where more are in view their density is drawn.
MOST_POINTS = 8000

#: Place of the trace that rings a sample, below all points; the next keeps the corners.
RING = 0

#: What sample tables call the method of real images, which is none.
REAL = "real"


def is_dense(seen: int) -> bool:
    """Say whether so many samples are drawn as density, and not one by one."""
    return seen > MOST_POINTS


def seen_in(frame: pd.DataFrame, window: Window | None) -> NDArray[np.int64]:
    """Return the positions of samples in a window; all where there is none."""
    if window is None:
        return np.arange(len(frame))
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    inside = (x >= window[0]) & (x <= window[1]) & (y >= window[2]) & (y <= window[3])
    return np.flatnonzero(inside)


def coloring(frame: pd.DataFrame, by: str) -> Coloring:
    """Read what samples are colored by: groups, or numbers."""
    column, numberless = frame[by], np.empty(0, dtype=np.int64)
    if by == "label":
        return Coloring(by, ("real", "fake"), column.to_numpy().astype(np.int64), np.empty(0))
    if by not in ("dataset", "method"):
        return Coloring(by, (), numberless, column.to_numpy(dtype=np.float64))
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = pd.Series(pd.Categorical(column.tolist(), list(dict.fromkeys(column))))
    names = tuple(map(str, column.cat.categories))
    return Coloring(by, names, column.cat.codes.to_numpy().astype(np.int64), np.empty(0))


def figure_layer_embedding(
    frame: pd.DataFrame,
    theme: Theme = LIGHT,
    *,
    by: str = "",
    ring: tuple[float, float] | None = None,
    window: Window | None = None,
    outline: Sequence[Mapping[str, Any]] = (),
    revision: str = "",
    drag: str = "zoom",
    link: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """Draw `layer_embedding` for a page: samples one by one, or the density of very many.

    Parameters
    ----------
    frame : pandas.DataFrame
        What `layer_embedding` returned.
    theme : Theme
        Colors.
    by : str, optional
        Column that samples are colored by; that of `layer_embedding` by default.
    ring : tuple of float, optional
        Where the sample is that is picked.
    window : tuple of float, optional
        Part of the embedding that is in view; all of it if not given.
    outline : sequence of mapping
        Selections of plotly, see `outlined`.
    revision : str, optional
        Changes where the outline that a visitor drew is to be replaced.
    drag : str, default "zoom"
        What dragging does: "zoom", "select" (a box) or "lasso".
    link : callable, optional
        Takes the name of a sample and returns the query that a click on it selects.
    """
    color, rows = coloring(frame, by or frame.attrs["by"]), seen_in(frame, window)
    traces = [_ring(theme, ring), _corners(frame)]
    if not is_dense(len(rows)):
        rim: dict[str, Any] = {"width": 0}
        size = 8 if len(rows) <= 800 else 6 if len(rows) <= 3000 else 4
        drawn = rows
    else:
        density = density_of(frame, color, rows, window)
        hues = [_style(theme, color, i)[0] for i in range(len(color.names))]
        hues = hues or list(_scale(theme, color))
        traces.append(density_trace(density, color, theme, hues, _span(color)))
        # A rim of ground color lets the symbols stand out from the cells.
        drawn, size, rim = density.lone, 5, {"width": 0.7, "color": theme.ground}
    groups = _groups(frame, theme, color, drawn, size, rim)
    if link:
        for trace, part in groups:
            names = frame["sample"].iloc[part].tolist()
            trace["customdata"] = np.array([link(name) for name in names], dtype=object)
    traces += [trace for trace, _ in groups]
    kind, layer = frame.attrs["kind"], frame.attrs["layer"]
    name = KINDS.get(kind, clean(kind))
    # Without a range an axis shows all that its traces hold: the corners, whatever is drawn.
    ranges = [{"range": pair} for pair in (window[:2], window[2:])] if window else [{}, {}]
    line = _dotted(theme)
    return figure_of(
        traces,
        theme,
        showlegend=bool(color.names),
        legend=theme.top_legend(itemsizing="constant"),
        margin={"l": 26, "r": 8, "t": 62, "b": 26},
        dragmode=drag,
        # Another coloring keeps what was zoomed to; another embedding does not.
        uirevision=f"{layer} {kind}",
        xaxis=_bare(theme, f"{name} 1", **ranges[0]),
        yaxis=_bare(theme, f"{name} 2", **ranges[1]),
        selections=outlined(outline, theme),
        selectionrevision=revision,
        newselection={"line": line},
        activeselection={"fillcolor": "rgba(0,0,0,0)", "opacity": 1},
    )


def outlined(outline: Sequence[Mapping[str, Any]], theme: Theme = LIGHT) -> list[dict[str, Any]]:
    """Return selections of plotly in the theme's lines."""
    return [{**one, "line": _dotted(theme), "opacity": 1} for one in outline]


def _dotted(theme: Theme) -> dict[str, Any]:
    return {"color": theme.ink, "width": 1.5, "dash": "dot"}


def _bare(theme: Theme, title: str, **more: Any) -> dict[str, Any]:
    """Return an axis without numbers, which mean nothing here, that can be zoomed."""
    shown = {"text": title, "standoff": 4, "font": {"size": 11, "color": theme.muted}}
    hidden: dict[str, Any] = {"showticklabels": False, "showgrid": False, "fixedrange": False}
    return {**theme.axis(**hidden, **more), "title": shown}


def _style(theme: Theme, color: Coloring, i: int) -> tuple[str, str]:
    """Return color and symbol of a group."""
    if color.by == "label":
        return (theme.accent, "circle") if i == 0 else (theme.warm, "square")
    if color.by == "method" and color.names[i] == REAL:
        return theme.muted, "circle-open"
    return theme.series[i % len(theme.series)], SYMBOLS[i % len(SYMBOLS)]


def _scale(theme: Theme, color: Coloring) -> tuple[str, ...]:
    return theme.points if color.by == "p_fake" else theme.ramp


def _span(color: Coloring) -> tuple[float, float]:
    """Return the numbers at the ends of the scale; of all samples, so that zooming keeps it."""
    if color.by == "p_fake" or not len(color.value):
        return 0.0, 1.0
    return float(np.nanmin(color.value)), float(np.nanmax(color.value))


def _groups(
    frame: pd.DataFrame,
    theme: Theme,
    color: Coloring,
    rows: NDArray[np.int64],
    size: int,
    rim: dict[str, Any],
) -> list[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Draw samples by symbols of their groups, or colored by their numbers; with their rows."""
    if not color.names:
        mark = _numbers(theme, color, rows, size)
        return [(_marks(frame.iloc[rows], mark, clean(_title(color.by)), rim), rows)]
    out = []
    for i, name in enumerate(color.names):
        part, (shade, symbol) = rows[color.code[rows] == i], _style(theme, color, i)
        mark = {"size": size, "color": shade, "symbol": symbol, "opacity": 0.75}
        out.append((_marks(frame.iloc[part], mark, clean(name), rim), part))
    return out


def _numbers(theme: Theme, color: Coloring, rows: NDArray[np.int64], size: int) -> dict[str, Any]:
    shades, (low, high) = _scale(theme, color), _span(color)
    bar: dict[str, Any] = {
        "title": {
            "text": clean(_title(color.by)),
            "side": "right",
            "font": {"size": 12, "color": theme.muted},
        },
        "orientation": "h",
        "thickness": 8,
        "len": 0.36,
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "outlinewidth": 0,
        "nticks": 4,
        "tickfont": {"size": 11, "color": theme.muted},
    }
    if color.by == "p_fake":
        bar["tickvals"] = [0, 0.5, 1]
    return {
        "size": size,
        "color": color.value[rows],
        "opacity": 0.85,
        "symbol": "circle",
        "colorscale": [[i / (len(shades) - 1), shade] for i, shade in enumerate(shades)],
        "colorbar": bar,
        "cmin": low,
        "cmax": high,
        "showscale": True,
    }


def _marks(
    part: pd.DataFrame, mark: dict[str, Any], name: str, rim: dict[str, Any]
) -> dict[str, Any]:
    """Draw points as SVG: WebGL's library compiles code, which the server's policy forbids."""
    columns = [part[name].tolist() for name in ("label", "dataset", "method")]
    about = list(zip(*columns, strict=True))
    # Each text once, however many samples have it.
    texts = {one: clean(f"{('real', 'fake')[one[0]]}, {one[1]}, {one[2]}") for one in set(about)}
    # A group without points keeps its place in the legend by a point that is nowhere.
    there = bool(len(part))
    return {
        "type": "scatter",
        "x": part["x"] if there else [None],
        "y": part["y"] if there else [None],
        "mode": "markers",
        "name": name,
        "marker": {**mark, "line": {"width": 1.3} if "open" in mark["symbol"] else rim},
        "hovertext": np.array([texts[one] for one in about], dtype=object),
        "hovertemplate": "%{hovertext}<br>click to see the image<extra></extra>",
    }


def _ring(theme: Theme, at: tuple[float, float] | None) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [at[0]] if at else [],
        "y": [at[1]] if at else [],
        "mode": "markers",
        "showlegend": False,
        "hoverinfo": "skip",
        "marker": {
            "symbol": "circle-open",
            "size": 20,
            "color": theme.ink,
            "line": {"width": 2.5},
        },
        "unselected": {"marker": {"opacity": 1}},
    }


def _corners(frame: pd.DataFrame) -> dict[str, Any]:
    """Keep the axes' range to all samples, whatever is drawn of them, and be there to select."""
    x0, x1, y0, y1 = extent_of(frame)
    return {
        "type": "scatter",
        "x": [x0, x1],
        "y": [y0, y1],
        "mode": "markers",
        "showlegend": False,
        "hoverinfo": "skip",
        "marker": {"opacity": 0, "size": 8},
        "selected": {"marker": {"opacity": 0}},
        "unselected": {"marker": {"opacity": 0}},
    }


# --- Samples that are selected -------------------------------------------------------------------


def selection_units(found: xr.Dataset) -> pd.DataFrame:
    """Return the units that separate selected samples from the rest.

    Parameters
    ----------
    found : xarray.Dataset
        What `probe.separability.compare_selection` returned.

    Returns
    -------
    pandas.DataFrame
        One row per ``unit``, the strongest first.
    """
    frame = found.to_dataframe().reset_index()
    frame.attrs = dict(found.attrs)
    return frame
