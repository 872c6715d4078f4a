"""Pictures of features: PCA, UMAP and t-SNE, seeded, into which new samples can be projected."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from probe.registry import Registry

__all__ = ["METHODS", "NEIGHBORS", "Picture"]

Floats = NDArray[np.float64]

#: Neighbors that UMAP and t-SNE (as its perplexity) keep together.
NEIGHBORS = 30
#: Axes that t-SNE and UMAP work on; more are reduced by PCA first (Kobak and Berens 2019).
AXES = 50


class Picture(Protocol):
    """A fitted picture."""

    positions: Floats

    def project(self, values: Floats) -> Floats:
        """Place new samples, shape (n, units) to (n, 2); what was fitted stays where it is."""
        ...


#: From (standardized features of shape (n, units), seed) to a fitted picture.
METHODS: Registry[Callable[[Floats, int], Picture]] = Registry("embedding")


class _Reduced:
    """Features reduced by PCA to at most `AXES` axes, for methods that need it."""

    def __init__(self, values: Floats, seed: int, axes: int = AXES) -> None:
        self.pca = PCA(min(axes, *values.shape), svd_solver=_solver(values), random_state=seed)
        with _quiet():
            # The share of variance of constant features is 0 / 0, and not asked for.
            self.values = np.asarray(self.pca.fit_transform(values))

    def __call__(self, values: Floats) -> Floats:
        return np.asarray(self.pca.transform(values))


def _solver(values: Floats) -> str:
    return "randomized" if min(values.shape) > 500 else "full"


@METHODS.register("pca")
class _Pca:
    """The two axes of most variance: the only one of the three whose distances mean something."""

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
        # Its spectral start needs more samples than axes; a few samples start from PCA.
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
    """t-SNE (van der Maaten and Hinton 2008) as openTSNE has it, started from PCA."""

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
    """Keep two axes; features of one axis get a second one of zeros."""
    out = np.zeros((len(values), 2))
    out[:, : min(2, values.shape[1])] = values[:, :2]
    return out


class _quiet(warnings.catch_warnings):  # noqa: N801
    """Leave out warnings of the libraries about threads and small graphs."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")
