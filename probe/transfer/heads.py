"""Linear heads on the units of a layer, all fitted on the training datasets alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from probe.registry import Registry
from probe.stats import Floats, auroc

__all__ = ["HEADS", "Examples", "Head", "fit", "fit_on"]

#: Inverse penalties that cross-validation chooses among.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)

FOLDS = 3

#: From activations, shape (n, units), to scores, shape (n,).
Head = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Examples:
    """Activations of some datasets.

    Attributes
    ----------
    values : numpy.ndarray
        Shape (n, units), standardized by the training images.
    labels, clusters : numpy.ndarray
        Shape (n,).
    datasets, methods : numpy.ndarray
        Shape (n,), names; the method of real images is ``real``.
    """

    values: Floats
    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]
    datasets: NDArray[Any]
    methods: NDArray[Any]

    @property
    def weights(self) -> Floats:
        """Weight of every image, so that each dataset and label counts the same."""
        keys = [f"{d}|{y}" for d, y in zip(self.datasets, self.labels, strict=True)]
        _, codes, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return np.asarray(len(keys) / (len(counts) * counts[codes]), dtype=np.float64)


#: Heads by name: from training examples and the universal units, to a head. None where it cannot
#: be fitted.
HEADS: Registry[Callable[[Examples, NDArray[np.int64]], Head | None]] = Registry("head")


@HEADS.register("universal")
def _universal(given: Examples, units: NDArray[np.int64]) -> Head | None:
    """Logistic regression on the universal units."""
    return fit_on(given, units) if len(units) else None


@HEADS.register("refitted")
def _refitted(given: Examples, units: NDArray[np.int64]) -> Head:
    """Logistic regression on all units."""
    return fit_on(given, np.arange(given.values.shape[1]))


@HEADS.register("l1")
def _sparse(given: Examples, units: NDArray[np.int64]) -> Head:
    """Logistic regression on all units with an L1 penalty, which selects by itself."""
    return fit(given, given.values, l1=1.0)


@HEADS.register("shortcut removed")
def _shortcut_removed(given: Examples, units: NDArray[np.int64]) -> Head | None:
    """Logistic regression behind a projection that forgets the synthesis method.

    A linear probe is taught to tell the methods of fakes; the singular directions of its weights,
    one fewer than methods, are projected out (the removal of a shortcut subspace proposed in
    arXiv:2606.01843).
    """
    fake = given.labels == 1
    names = np.unique(given.methods[fake])
    if len(names) < 2:
        return None
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(given.values[fake], given.methods[fake])
    weights = probe.coef_ if len(names) > 2 else probe.coef_[:1]
    directions = np.linalg.svd(weights, full_matrices=False)[2][: len(names) - 1]

    def project(values: Floats) -> Floats:
        return np.asarray(values - (values @ directions.T) @ directions)

    head = fit(given, project(given.values))
    return lambda values: head(project(values))


def fit_on(given: Examples, units: NDArray[np.int64], penalty: float | None = None) -> Head:
    """Fit a head on some units."""
    head = fit(given, given.values[:, units], penalty=penalty)
    return lambda values: head(values[:, units])


def fit(given: Examples, values: Floats, *, l1: float = 0.0, penalty: float | None = None) -> Head:
    """Fit logistic regression; its penalty is chosen by AUROC over folds of whole clusters.

    Parameters
    ----------
    given : Examples
        Labels, clusters and weights.
    values : numpy.ndarray
        Shape (n, features), what is fitted on.
    l1 : float, default 0
        1 for an L1 penalty, 0 for L2.
    penalty : float, optional
        Inverse penalty, where it is not to be chosen.
    """
    chosen = penalty if penalty is not None else choose_penalty(given, values, l1)
    model = _model(chosen, l1).fit(values, given.labels, sample_weight=given.weights)
    return lambda x: np.asarray(model.decision_function(x), dtype=np.float64)


def choose_penalty(given: Examples, values: Floats, l1: float = 0.0) -> float:
    """Choose the inverse penalty whose held-out AUROC is highest on average over datasets."""
    groups = np.unique(
        [f"{d}|{c}" for d, c in zip(given.datasets, given.clusters, strict=True)],
        return_inverse=True,
    )[1]
    scores = np.zeros(len(PENALTIES))
    for inside, outside in GroupKFold(FOLDS).split(values, given.labels, groups):
        for i, penalty in enumerate(PENALTIES):
            model = _model(penalty, l1)
            model.fit(values[inside], given.labels[inside], sample_weight=given.weights[inside])
            found = model.decision_function(values[outside])
            scores[i] += float(auroc(given.labels[outside], found)[0])
    return PENALTIES[int(scores.argmax())]


def _model(penalty: float, l1: float) -> LogisticRegression:
    if l1:
        # liblinear draws coordinates at random; the seed keeps results the same.
        return LogisticRegression(
            C=penalty, l1_ratio=1.0, solver="liblinear", max_iter=500, random_state=0
        )
    return LogisticRegression(C=penalty, max_iter=2000)
