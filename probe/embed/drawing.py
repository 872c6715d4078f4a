"""Paper figures of pictures: points and density, coloured by label and by dataset."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from probe.embed.table import Embeddings
from probe.figures import STYLE

__all__ = ["embedding_figure", "figures_of"]

#: Name, colour, marker and line. In grey the colours look alike.
LABELS = {0: ("real", "#0072b2", "o", "-"), 1: ("fake", "#d55e00", "^", "--")}
#: Colours (Okabe and Ito) and markers of datasets; every other is open.
DATASETS = (
    ("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#cc79a7", "^"), ("#b8860b", "v"),
    ("#3f3f46", "P"), ("#56b4e9", "X"), ("#7b5aa6", "*"),
)  # fmt: skip
TITLES = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}
#: Points that are drawn; the density is of all.
SHOWN = 4000


def figures_of(found: Embeddings, samples: pd.DataFrame) -> dict[str, Figure]:
    """Draw every picture, by name of the file."""
    data = found.data
    return {
        f"embedding-{layer}-{method}".replace("/", "-"): embedding_figure(
            found, samples, str(layer), str(method)
        )
        for layer in data["layer"].values
        for method in data["method"].values
    }


def embedding_figure(found: Embeddings, samples: pd.DataFrame, layer: str, method: str) -> Figure:
    """Draw one picture twice: by label, with density of either, and by dataset.

    Parameters
    ----------
    found : Embeddings
        What to draw.
    samples : pandas.DataFrame
        The store's sample table, in the same order.
    layer, method : str
        Which picture.
    """
    one = found.data.sel({"layer": layer, "method": method})
    places = one["position"].values
    rng = np.random.default_rng(0)
    shown = rng.permutation(len(places))[:SHOWN]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.35), layout="constrained")
        left, right = figure.subplots(1, 2)
        _by_label(left, places, samples["label"].to_numpy(), shown)
        _by_dataset(right, places, samples["dataset"].to_numpy(object), shown)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[])
            axes.set_aspect("equal", adjustable="datalim")
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False,
                fontsize=6.5, handletextpad=0.2, columnspacing=0.9, markerscale=1.6,
                title="lines (dashed: fake) hold half and nine tenths" if axes is left else None,
                title_fontsize=6.5,
            )  # fmt: skip
        figure.suptitle(
            f"{found.data.attrs['label']}, {layer}, {TITLES.get(method, method)}: "
            f"trustworthiness {float(one['trustworthiness']):.2f}, "
            f"{float(one['preservation']):.0%} of neighbours kept",
            fontsize=8,
        )
    return figure


def _by_label(axes: Any, places: Any, labels: Any, shown: Any) -> None:
    for label, (name, colour, marker, line) in LABELS.items():
        part = shown[labels[shown] == label]
        _points(axes, places[part], colour, marker, bool(label), name)
        _density(axes, places[labels == label], colour, line)


def _points(
    axes: Any, places: Any, colour: str, marker: str, hollow: bool, label: str
) -> None:  # fmt: skip
    look = {"facecolors": "none", "edgecolors": colour, "lw": 0.5} if hollow else {
        "color": colour, "lw": 0,
    }  # fmt: skip
    axes.scatter(*places.T, s=6, marker=marker, alpha=0.75, label=label, **look)


def _by_dataset(axes: Any, places: Any, datasets: Any, shown: Any) -> None:
    for i, name in enumerate(dict.fromkeys(datasets)):
        colour, marker = DATASETS[i % len(DATASETS)]
        part = shown[datasets[shown] == name]
        _points(axes, places[part], colour, marker, bool(i % 2), str(name))


def _density(axes: Any, places: Any, colour: str, line: str) -> None:
    """Draw lines of equal density that hold half and nine tenths of the points."""
    if len(places) < 20 or np.linalg.matrix_rank(np.cov(places.T)) < 2:
        return
    density = gaussian_kde(places.T)
    low, high = places.min(axis=0), places.max(axis=0)
    room = 0.1 * (high - low)
    x, y = (np.linspace(a - r, b + r, 80) for a, b, r in zip(low, high, room, strict=True))
    grid = np.meshgrid(x, y)
    height = density(np.stack([g.ravel() for g in grid])).reshape(grid[0].shape)
    levels = np.unique(np.quantile(density(places.T), [0.1, 0.5]))
    drawn = axes.contour(*grid, height, levels=levels, colors=colour, linewidths=1, linestyles=line)
    # Over a cloud of points, a white line under it keeps it in sight.
    drawn.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="white")])
