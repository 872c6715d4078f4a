"""`embed_layers`: layers in two dimensions, with what an embedding preserves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from probe.datasets.subset import spread
from probe.errors import ProbeError, StoreError
from probe.progress import progress_bar
from probe.registry import Registry
from probe.separability.features import people_of
from probe.separability.report import Embeddings
from probe.store import ActivationStore

__all__ = [
    "METHODS",
    "NEIGHBORS",
    "Picture",
    "Projector",
    "embed_layers",
    "preservation",
    "projector",
]

Floats = NDArray[np.float64]

#: Number of neighbors of UMAP, and perplexity of t-SNE.
NEIGHBORS = 30
#: Input axes of t-SNE and UMAP; more are first reduced by PCA (Kobak and Berens 2019).
AXES = 50


class Picture(Protocol):
    """A fitted embedding."""

    positions: Floats

    def project(self, values: Floats) -> Floats:
        """Place new samples, shape (n, units) to (n, 2); fitted samples do not move."""
        ...


#: Maps (standardized features of shape (n, units), seed) to a fitted embedding.
METHODS: Registry[Callable[[Floats, int], Picture]] = Registry("embedding")


class _Reduced:
    """Features reduced by PCA to at most `AXES` axes, for methods that need it."""

    def __init__(self, values: Floats, seed: int, axes: int = AXES) -> None:
        self.pca = PCA(min(axes, *values.shape), svd_solver=_solver(values), random_state=seed)
        with _quiet():
            # For constant features the explained variance ratio is 0 / 0; it is not used.
            self.values = np.asarray(self.pca.fit_transform(values))

    def __call__(self, values: Floats) -> Floats:
        return np.asarray(self.pca.transform(values))


def _solver(values: Floats) -> str:
    return "randomized" if min(values.shape) > 500 else "full"


@METHODS.register("pca")
class _Pca:
    """First two principal components; of the three methods, only this one preserves distances."""

    def __init__(self, values: Floats, seed: int) -> None:
        self._reduce = _Reduced(values, seed, 2)
        self.positions = _two(self._reduce.values)

    def project(self, values: Floats) -> Floats:
        return _two(self._reduce(values))


@METHODS.register("umap")
class _Umap:
    """UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426)."""

    def __init__(self, values: Floats, seed: int) -> None:
        with _quiet():
            from umap import UMAP

        self._reduce = _Reduced(values, seed)
        neighbors = min(NEIGHBORS, len(values) - 1)
        # Spectral initialization needs more samples than axes; small data starts from PCA.
        start: Any = (
            "spectral" if len(values) > 20 else _two(self._reduce.values).astype(np.float32)
        )
        self._umap = UMAP(n_neighbors=neighbors, init=start, random_state=seed, n_jobs=1)
        with _quiet():
            self.positions = np.asarray(self._umap.fit_transform(self._reduce.values), float)

    def project(self, values: Floats) -> Floats:
        with _quiet():
            return np.asarray(self._umap.transform(self._reduce(values)), dtype=float)


@METHODS.register("tsne")
class _Tsne:
    """t-SNE (van der Maaten and Hinton 2008) by openTSNE, initialized with PCA."""

    def __init__(self, values: Floats, seed: int) -> None:
        from openTSNE import TSNE

        self._reduce = _Reduced(values, seed)
        perplexity = min(NEIGHBORS, (len(values) - 1) / 3)
        with _quiet():
            self._tsne = TSNE(perplexity=perplexity, random_state=seed, n_jobs=1).fit(
                self._reduce.values
            )
        self.positions = np.asarray(self._tsne, dtype=float)

    def project(self, values: Floats) -> Floats:
        with _quiet():
            placed = self._tsne.transform(self._reduce(values), perplexity=5)
        return np.asarray(placed, dtype=float)


def _two(values: Floats) -> Floats:
    """Return the first two axes; a single axis gets a second one of zeros."""
    out = np.zeros((len(values), 2))
    out[:, : min(2, values.shape[1])] = values[:, :2]
    return out


class _quiet(warnings.catch_warnings):  # noqa: N801
    """Suppress library warnings about threads and small graphs."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


#: Minimum number of samples to fit on.
FEWEST = 10
#: Maximum number of samples to fit on, and to measure faithfulness on.
FITTED = 5000
JUDGED = 2000
#: Number of neighbors of trustworthiness and preservation.
JUDGED_NEIGHBORS = 15
ROWS = 4096


@dataclass(frozen=True)
class Projector:
    """A fitted embedding of one layer, into which further samples can be projected.

    Attributes
    ----------
    picture : Picture
        The fitted embedding.
    center, scale : numpy.ndarray
        Shape (units,): mean, and reciprocal deviation (0 for constant units), for standardization.
    rows : numpy.ndarray
        Positions in the store of the samples fitted on.
    """

    picture: Picture
    center: Floats
    scale: Floats
    rows: NDArray[np.int64]

    def __call__(self, values: NDArray[np.floating]) -> Floats:
        """Project samples, shape (n, units) to (n, 2).

        Raises
        ------
        ProbeError
            If the number of units differs, or values are not finite.
        """
        given = np.asarray(values, dtype=np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.center):
            raise ProbeError(
                f"Activations of shape {given.shape} were given; this embedding takes (samples, "
                f"{len(self.center)})."
            )
        if not np.isfinite(given).all():
            raise ProbeError("Some of the given activations are not finite.")
        return self.picture.project((given - self.center) * self.scale)


def embed_layers(
    store: ActivationStore | str | Path,
    layers: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    *,
    max_samples: int = FITTED,
    seed: int = 0,
) -> Embeddings:
    """Embed all samples of a store in two dimensions, per layer and method.

    An embedding is fitted on at most `max_samples` samples, spread over identities; the others are
    projected into it. The same seed and library versions give the same embedding.

    Parameters
    ----------
    store : ActivationStore or path
        Complete activation store.
    layers : sequence of str, optional
        Layers of the store; all by default.
    methods : sequence of str, optional
        Names among ``pca``, ``umap``, ``tsne``; all by default.
    max_samples : int, default 5000
        Maximum number of samples to fit on, at least 10.
    seed : int, default 0
        Seed of all draws.

    Raises
    ------
    UnknownNameError
        If a layer or method is unknown.
    ProbeError
        If `max_samples` is too small.
    StoreError
        If the store cannot be read, holds fewer than 10 samples or values that are not finite.

    Examples
    --------
    >>> import probe
    >>> found = probe.embed_layers("meso4.zarr", ["leaky"], ["pca"])
    >>> found.to_dataframe().columns.tolist()
    ['layer', 'method', 'sample', 'x', 'y', 'fitted']
    """
    opened = store if isinstance(store, ActivationStore) else ActivationStore.open(store)
    names, kinds = list(layers or opened.layers), list(methods or METHODS)
    for kind in kinds:
        METHODS[kind]
    for name in names:
        _ = opened[name]
    n = len(opened.samples)
    position = np.zeros((len(names), len(kinds), n, 2))
    faith = np.zeros((2, len(names), len(kinds)))
    rows = np.zeros(0, dtype=np.int64)
    with progress_bar("embed layers", len(names) * len(kinds)) as advance:
        for i, layer in enumerate(names):
            for j, kind in enumerate(kinds):
                place = projector(opened, layer, kind, max_samples=max_samples, seed=seed)
                rows = place.rows
                position[i, j, rows] = place.picture.positions
                for where, values in _others(opened, layer, rows):
                    position[i, j, where] = place(values)
                faith[:, i, j] = _judged(opened, layer, place, position[i, j], seed)
                advance(1)
    fitted = np.zeros(n, dtype=bool)
    fitted[rows] = True
    dims = ("layer", "method")
    data = xr.Dataset(
        {
            "position": ((*dims, "sample", "axis"), position),
            "trustworthiness": (dims, faith[0]),
            "preservation": (dims, faith[1]),
            "fitted": ("sample", fitted),
        },
        coords={
            "layer": names,
            "method": kinds,
            "axis": [0, 1],
            "sample": opened.samples["sample"].to_numpy(object),
        },
        attrs={
            "neighbors": JUDGED_NEIGHBORS,
            "n_fitted": len(rows),
            "n_judged": min(len(rows), JUDGED),
            "max_samples": max_samples,
            "layers": names,
            "methods": kinds,
            **replace(opened.provenance, seed=seed).attrs(),
        },
    )
    return Embeddings(data)


def projector(
    store: ActivationStore | str | Path,
    layer: str,
    method: str,
    *,
    max_samples: int = FITTED,
    seed: int = 0,
) -> Projector:
    """Fit the embedding that `embed_layers` computes, to project new samples into it.

    Examples
    --------
    >>> place = projector("meso4.zarr", "leaky", "umap")  # doctest: +SKIP
    >>> place(new_activations)  # shape (n, units) to (n, 2)  # doctest: +SKIP
    """
    opened = store if isinstance(store, ActivationStore) else ActivationStore.open(store)
    fit, tap = METHODS[method], opened[layer]["activation"]
    if min(max_samples, tap.sizes["sample"]) < FEWEST:
        raise (ProbeError if max_samples < FEWEST else StoreError)(
            f"An embedding needs {FEWEST} samples; max_samples={max_samples} was given, and the "
            f"store holds {tap.sizes['sample']}."
        )
    table = opened.samples
    groups = people_of(table) + "|" + table["dataset"] + "|" + table["label"].astype(str)
    rows = spread(pd.factorize(groups)[0], max_samples, seed)
    values = np.concatenate([block for _, block in _blocks(opened, layer, rows)])
    if not np.isfinite(values).all():
        raise StoreError(
            f"Some activations of {layer!r} are not finite. Check the detector's weights and "
            "record again."
        )
    center, deviation = values.mean(axis=0), values.std(axis=0)
    alive = deviation > 1e-6 * np.abs(values).max(axis=0)
    scale = np.where(alive, 1 / np.where(alive, deviation, 1.0), 0.0)
    return Projector(fit((values - center) * scale, seed), center, scale, rows)


def _blocks(
    store: ActivationStore, layer: str, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Yield blocks of a layer: positions among `rows` (ascending), activations."""
    tap = store[layer]["activation"]
    for start in range(0, tap.sizes["sample"], ROWS):
        inside = rows[(rows >= start) & (rows < start + ROWS)]
        if len(inside):
            block = np.asarray(tap[start : start + ROWS].values, dtype=np.float64)
            yield inside, block[inside - start]


def _others(
    store: ActivationStore, layer: str, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    rest = np.setdiff1d(np.arange(len(store.samples)), rows)
    yield from _blocks(store, layer, rest)


def _judged(
    store: ActivationStore, layer: str, place: Projector, position: Floats, seed: int
) -> tuple[float, float]:
    """Return trustworthiness and preservation on a sample of the fitted samples."""
    rng = np.random.default_rng(seed)
    count = min(len(place.rows), JUDGED)
    rows = np.sort(rng.choice(place.rows, count, replace=False))
    values = np.concatenate([block for _, block in _blocks(store, layer, rows)])
    values = (values - place.center) * place.scale
    k = min(JUDGED_NEIGHBORS, (count - 1) // 2)
    trust = trustworthiness(values, position[rows], n_neighbors=k)
    return float(trust), preservation(values, position[rows], k)


def preservation(values: Floats, positions: Floats, k: int) -> float:
    """Return the share of the k nearest neighbors in the features that stay nearest neighbors.

    Parameters
    ----------
    values, positions : numpy.ndarray
        Features, shape (n, units), and positions in the embedding, shape (n, 2).
    k : int
        Number of neighbors, below n.

    Returns
    -------
    float
        Share in [0, 1]; expected k / (n − 1) for a random embedding.
    """

    def near(x: Floats) -> NDArray[np.int64]:
        found = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)
        return np.asarray(found, dtype=np.int64)

    pairs = zip(near(values), near(positions), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in pairs]))
