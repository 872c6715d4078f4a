"""Real-fake separability of one dataset in one layer, by several measures with their nulls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.datasets.subset import spread
from probe.separability import distances as near
from probe.separability.features import (
    PAIRWISE,
    Pairs,
    bounds,
    columns_auroc,
    pairs_of,
    spread_of,
    tally,
)
from probe.separability.probes import (
    Probe,
    auroc_criterion,
    class_weights,
    fit_probe,
    sum_folds,
)
from probe.stats import MIN_CLUSTERS, exchange_labels

__all__ = ["MEASURES", "Fitted", "Part", "Settings", "fit_dataset", "measure_dataset"]

#: Measures of a dataset, in table order, with their descriptions.
MEASURES = {
    "probe_auroc": "AUROC of a linear probe, cross-validated over people",
    "control_auroc": "the same with labels exchanged over people: the control task",
    "selectivity": "probe minus control (Hewitt and Liang 2019)",
    "c2st_accuracy": "class-balanced accuracy of the probe at 0 (C2ST)",
    "fisher": "Fisher's ratio along the probe's direction, on people it was not fitted on",
    "dprime": "d' along the difference of class means, on people not used for it",
    "silhouette": "mean silhouette of the two classes",
    "knn_purity": "share of the 10 nearest images of other people that have the same label",
    "mmd2": "squared maximum mean discrepancy, unbiased, Gaussian kernel",
}


@dataclass(frozen=True)
class Settings:
    """Settings of all measures, the same for all datasets and layers.

    Attributes
    ----------
    n_controls : int
        Number of control tasks; also of permutations for probe and accuracy.
    n_permutations : int
        Number of permutations for measures of distance and for single units.
    n_resamples, ci, seed
        Number of cluster bootstrap resamples; confidence level; seed of all draws.
    """

    n_controls: int = 199
    n_permutations: int = 999
    n_resamples: int = 1000
    ci: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """Samples of one dataset.

    Attributes
    ----------
    values : numpy.ndarray
        Shape (n, axes), features.
    labels, clusters, folds, own : numpy.ndarray
        Shape (n,): True for fakes; cluster codes from 0 within the dataset; folds; the
        detector's own logits.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    folds: NDArray[np.int64]
    own: NDArray[np.float64]

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.clusters.max()) + 1

    @property
    def problem(self) -> str:
        """Why there is no value, or no interval; empty if there are both."""
        if self.labels.all() or not self.labels.any():
            kind = "fakes" if self.labels.all() else "real images"
            return f"It holds {kind} only: there is nothing to separate."
        few = [
            f"its {name} show {count}"
            for name, side in (("fakes", self.labels), ("real images", ~self.labels))
            if (count := len(np.unique(self.clusters[side]))) < 2
        ]
        alone = (
            f" {' and '.join(few).capitalize()} person or video: no probe can be scored on people "
            "it was not fitted on."
            if few
            else ""
        )
        if self.n_clusters < MIN_CLUSTERS:
            return (
                f"{self.n_clusters} people or videos: with fewer than {MIN_CLUSTERS} no interval "
                f"and no p-value is reliable, and none is given.{alone}"
            )
        return alone.strip()


@dataclass(frozen=True)
class Fitted:
    """The probe of a dataset, with its control tasks.

    Attributes
    ----------
    probe : Probe
        Probe for the true labels; control tasks are further targets of its fits.
    scores : numpy.ndarray
        Shape (n,): scores of people that were not fitted on; NaN without such a fit.
    pairs : Pairs
        Comparisons of those scores.
    controls, accuracies : numpy.ndarray
        Shape (draws,): AUROC, and balanced accuracy at 0, of the control tasks.
    """

    probe: Probe
    scores: NDArray[np.float64]
    pairs: Pairs
    controls: NDArray[np.float64]
    accuracies: NDArray[np.float64]


def fit_dataset(part: Part, n_folds: int, settings: Settings) -> Fitted:
    """Fit the probe of a dataset, and control tasks with labels exchanged over clusters."""
    drawn = exchange_labels(part.labels, part.clusters, settings.n_controls, settings.seed)
    if part.n_clusters < MIN_CLUSTERS:
        drawn = drawn[:0]
    labelings = np.concatenate([part.labels[None], drawn])

    def targets(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(labelings[:, rows].T, 1, -1).astype(np.float32)

    weights = class_weights(part.labels.astype(np.int64))
    sums = sum_folds(part.values, targets, weights, part.folds, n_folds)
    probe = fit_probe(
        part.values,
        sums,
        part.folds,
        _both_in(part),
        auroc_criterion(part.labels),
        slice(0, 1),
        unit=True,
    )
    scores = probe.scores(part.values, part.folds)
    pairs = pairs_of(part.labels, scores, part.clusters)
    return Fitted(probe, scores, pairs, *_controls(probe, part, drawn))


def _both_in(part: Part) -> Callable[[Sequence[int]], bool]:
    """Return a function that tells whether given folds contain both labels."""
    held = {
        fold: (part.labels[part.folds == fold].any(), (~part.labels[part.folds == fold]).any())
        for fold in np.unique(part.folds)
    }
    return lambda kept: all(any(held.get(f, (False, False))[side] for f in kept) for side in (0, 1))


def _controls(
    probe: Probe, part: Part, drawn: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return AUROC and class-balanced accuracy at 0 of each control task, shape (draws,) each."""
    found = list(probe.blocks(part.values, part.folds))
    if not len(drawn) or not found:
        return np.zeros(0), np.zeros(0)
    rows = np.concatenate([where for where, _ in found])
    scores = np.concatenate([block[:, 1:] for _, block in found])
    labels = drawn[:, rows].T
    right = (scores > 0) == labels
    shares = [
        np.divide((right & side).sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0)
        for side in (~labels, labels)
        for n in [side.sum(axis=0)]
    ]
    return columns_auroc(labels, scores)[0], np.asarray((shares[0] + shares[1]) / 2)


#: Value, low, high, p.
Row = tuple[float, float, float, float]
NOTHING: Row = (np.nan,) * 4


def measure_dataset(part: Part, fitted: Fitted, settings: Settings) -> dict[str, Row]:
    """Measure how well the features of a dataset separate fakes from reals.

    Returns
    -------
    dict
        Measure name to (value, low, high, p).
    """
    rows = dict.fromkeys(MEASURES, NOTHING)
    if part.labels.all() or not part.labels.any():
        return rows
    rows |= _by_probe(part, fitted, settings)
    rows["dprime"] = _along_means(part, settings)
    return rows | _by_distance(part, settings)


def _by_probe(part: Part, fitted: Fitted, settings: Settings) -> dict[str, Row]:
    auroc = float(fitted.pairs.auroc()[0])
    right = np.where(np.isfinite(fitted.scores), (fitted.scores > 0) == part.labels, np.nan)
    counted = tally(right, part.labels.astype(np.int64), part.clusters, 2)
    along = spread_of(part.labels, fitted.scores, part.clusters)
    accuracy = float(counted.mean()[0]) if np.isfinite(auroc) else np.nan
    known = fitted.controls[np.isfinite(fitted.controls)]
    control = float(known.mean()) if len(known) else np.nan
    low, high = _bounds(part, fitted.pairs.auroc, settings)
    p = _p(auroc, fitted.controls)
    ends = _percentiles(fitted.controls, settings.ci)
    dprime = float(along.dprime()[0])
    squared = _bounds(part, lambda c: along.dprime(c) ** 2, settings)
    return {
        "probe_auroc": (auroc, low, high, p),
        "control_auroc": (control, *ends, np.nan),
        "selectivity": (auroc - control, low - control, high - control, p),
        "c2st_accuracy": (
            accuracy,
            *_bounds(part, counted.mean, settings),
            _p(accuracy, fitted.accuracies),
        ),
        "fisher": (dprime**2, *squared, np.nan),
    }


def _along_means(part: Part, settings: Settings) -> Row:
    """Return d' of held-out samples along the difference of class means of the other folds."""
    scores = np.full(len(part.labels), np.nan)
    for fold in np.unique(part.folds):
        fakes, reals = ((part.folds != fold) & side for side in (part.labels, ~part.labels))
        if fakes.any() and reals.any():
            means = part.values[fakes].mean(axis=0), part.values[reals].mean(axis=0)
            axis = means[0] - means[1]
            along = (part.values - (means[0] + means[1]) / 2) @ axis
            # The deviation on the training folds makes scores of different folds comparable.
            size = float(along[part.folds != fold].std()) or 1.0
            scores[part.folds == fold] = along[part.folds == fold] / size
    spread_out = spread_of(part.labels, scores, part.clusters)
    ends = _bounds(part, spread_out.dprime, settings)
    return (float(spread_out.dprime()[0]), *ends, np.nan)


def _by_distance(part: Part, settings: Settings) -> dict[str, Row]:
    chosen = spread(2 * part.clusters + part.labels, PAIRWISE, settings.seed)
    labels, clusters = part.labels[chosen], np.unique(part.clusters[chosen], return_inverse=True)[1]
    distance = near.distances(part.values[chosen])
    few = part.n_clusters < MIN_CLUSTERS
    drawn = exchange_labels(labels, clusters, settings.n_permutations, settings.seed)
    drawn = drawn[:0] if few else drawn
    small = Part(part.values[:0], labels, clusters, clusters, part.own[:0])
    out = {"silhouette": _mean_of(near.silhouettes, distance, small, drawn, settings)}
    found = near.neighbors_of(distance, clusters)
    if found is not None:
        out["knn_purity"] = _mean_of(lambda _, y: found.purity(y), distance, small, drawn, settings)
    kernel = near.kernel_of(distance, labels, clusters)
    value = float(kernel.mmd2()[0])
    first = np.unique(kernel.row, return_index=True)[1]
    null = kernel.mmd2(drawn[:, first]) if len(drawn) else np.zeros(0)
    ends = _bounds(small, lambda c: kernel.mmd2(counts=c), settings)
    out["mmd2"] = (value, *ends, _p(value, null))
    return out


def _mean_of(
    measure: Any, distance: Any, part: Part, drawn: NDArray[np.bool_], settings: Settings
) -> Row:
    """Return the label-balanced mean of a quantity of samples, with interval and p-value."""
    each = measure(distance, part.labels[None])[0]
    counted = near.by_label(each, part.labels, part.clusters)
    value = float(counted.mean()[0])
    null = [
        _balanced(measure(distance, block), block)
        for block in np.array_split(drawn, max(1, len(drawn) // 50))
        if len(block)
    ]
    drawn_values = np.concatenate(null) if null else np.zeros(0)
    return (value, *_bounds(part, counted.mean, settings), _p(value, drawn_values))


def _balanced(values: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    halves = [(values * side).sum(axis=1) / side.sum(axis=1) for side in (labels, ~labels)]
    return np.asarray((halves[0] + halves[1]) / 2)


def _bounds(part: Part, statistic: Any, settings: Settings) -> tuple[float, float]:
    return bounds(statistic, part.n_clusters, settings.n_resamples, settings.ci, settings.seed)


def _p(observed: float, null: NDArray[np.float64]) -> float:
    """Return the one-sided p-value: share of draws, true labels included, at least as large."""
    if not len(null) or not np.isfinite(observed):
        return np.nan
    return float((1 + (null >= observed - 1e-12).sum()) / (1 + len(null)))


def _percentiles(values: NDArray[np.float64], ci: float) -> tuple[float, float]:
    if not len(values) or not np.isfinite(values).any():
        return np.nan, np.nan
    tail = 100 * (1 - ci) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
