"""Figures of embeddings: samples of a layer in two dimensions."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from probe.plots import STYLE
from probe.plots.style import colors_of
from probe.separability.report import Embeddings

__all__ = ["embedding_figure", "figures_of"]

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
TITLES = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
#: Maximum number of points drawn; the density uses all points.
SHOWN = 4000


def figures_of(found: Embeddings, samples: pd.DataFrame) -> dict[str, Figure]:
    """Draw every embedding; returns file name to figure."""
    data = found.data
    return {
        f"embedding-{layer}-{method}".replace("/", "-"): embedding_figure(
            found, samples, str(layer), str(method)
        )
        for layer in data["layer"].values
        for method in data["method"].values
    }


def embedding_figure(
    found: Embeddings,
    samples: pd.DataFrame,
    layer: str,
    method: str,
    *,
    by: str = "dataset",
    value: NDArray[np.floating[Any]] | None = None,
) -> Figure:
    """Draw one embedding twice: by label with densities, and by dataset, column or value.

    Parameters
    ----------
    found : Embeddings
        Embeddings to draw from.
    samples : pandas.DataFrame
        Sample table of the store, in the same order.
    layer, method : str
        Layer and method of the embedding.
    by : str, default "dataset"
        Color of the second panel: a column of the sample table, or the name of `value`.
    value : numpy.ndarray, optional
        Shape (sample,), a number per sample to color by, instead of a column.
    """
    one = found.data.sel({"layer": layer, "method": method})
    places = one["position"].values
    rng = np.random.default_rng(0)
    shown = rng.permutation(len(places))[:SHOWN]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.35), layout="constrained")
        left, right = figure.subplots(1, 2)
        _by_label(left, places, samples["label"].to_numpy(), shown)
        if value is None:
            _by_name(right, places, samples[by].to_numpy(object), shown)
        else:
            _by_value(right, places, np.asarray(value), shown, by)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[])
            axes.set_aspect("equal", adjustable="datalim")
            if axes is right and value is not None:
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
                title="lines (dashed: fake) enclose 50 % and 90 %" if axes is left else None,
                title_fontsize=6.5,
            )
        figure.suptitle(
            f"{found.data.attrs['label']}, {layer}, {TITLES.get(method, method)}: "
            f"trustworthiness {float(one['trustworthiness']):.2f}, "
            f"{float(one['preservation']):.0%} of neighbors kept",
            fontsize=8,
        )
    return figure


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
    """Draw contours of equal density that enclose 50 % and 90 % of the points."""
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
