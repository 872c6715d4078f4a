"""What else features tell: the method of a fake, the dataset of a real image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.separability.information import exchange_rows
from probe.separability.probing import Probe, class_weights, fit_probe, sum_folds
from probe.separability.realfake import Settings
from probe.separability.scoring import bounds, tally
from probe.stats import MIN_CLUSTERS, Floats

__all__ = ["Answer", "ask"]

#: Exchanges of classes; each is a probe of as many columns as classes.
MOST_EXCHANGES = 99


@dataclass(frozen=True)
class Answer:
    """How well one of several classes is told by a linear probe on people it has not seen.

    Attributes
    ----------
    accuracy, low, high : float
        Balanced over classes; NaN where nothing can be fitted or scored, or no interval is given.
    p : float
        Against classes exchanged over people.
    chance : float
        1 / classes.
    """

    accuracy: float
    low: float
    high: float
    p: float
    chance: float


def ask(
    values: NDArray[np.float32],
    classes: NDArray[np.int64],
    people: NDArray[np.int64],
    folds: NDArray[np.int64],
    settings: Settings,
) -> Answer:
    """Fit a ridge classifier of one-hot targets, cross-validated over people.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n, axes).
    classes, people, folds : numpy.ndarray
        Shape (n,), codes from 0.
    settings : Settings
        Draws.
    """
    k, n_folds = int(classes.max(initial=0)) + 1, int(folds.max(initial=0)) + 1
    if k < 2:
        return Answer(np.nan, np.nan, np.nan, np.nan, np.nan)
    people = np.unique(people, return_inverse=True)[1]
    labelings = _labelings(classes, people, settings)
    one = np.eye(k, dtype=np.float32)

    def targets(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return one[labelings[:, rows].T].reshape(len(rows), k * len(labelings))

    sums = sum_folds(values, targets, class_weights(classes), folds, n_folds)

    def enough(kept: Sequence[int]) -> bool:
        return len(np.unique(classes[np.isin(folds, kept)])) == k

    def accuracy(where: NDArray[np.int64], scores: Floats) -> float:
        right = scores.argmax(axis=1) == classes[where]
        return float(
            np.mean([right[classes[where] == c].mean() for c in np.unique(classes[where])])
        )

    probe = fit_probe(values, sums, folds, enough, accuracy, slice(0, k))
    right, null = _right(probe, values, folds, labelings, k)
    counted = tally(right, classes, people, k)
    found = float(counted.mean()[0]) if np.isfinite(right).any() else np.nan
    n_people = int(people.max()) + 1
    low, high = bounds(counted.mean, n_people, settings.n_resamples, settings.ci, settings.seed)
    few = n_people < MIN_CLUSTERS or not len(null) or not np.isfinite(found)
    p = np.nan if few else float((1 + (null >= found - 1e-12).sum()) / (1 + len(null)))
    return Answer(found, low, high, p, 1 / k)


def _labelings(
    classes: NDArray[np.int64], people: NDArray[np.int64], settings: Settings
) -> NDArray[np.int64]:
    """Stack the classes and exchanges of them over people, shape (1 + draws, n)."""
    keys, row = np.unique(np.stack([people, classes]), axis=1, return_inverse=True)
    n = min(settings.n_controls, MOST_EXCHANGES)
    drawn = exchange_rows(keys[1], keys[0], n, settings.seed)
    return np.concatenate([classes[None], drawn[:, row.ravel()]])


def _right(
    probe: Probe,
    values: NDArray[np.float32],
    folds: NDArray[np.int64],
    labelings: NDArray[np.int64],
    k: int,
) -> tuple[Floats, Floats]:
    """Whether each sample is told, shape (n,), and balanced accuracies of the exchanges."""
    out, draws = np.full(len(values), np.nan), len(labelings) - 1
    hits, count = np.zeros((draws, k)), np.zeros((draws, k))
    for rows, scores in probe.blocks(values, folds):
        found = scores.reshape(len(rows), -1, k).argmax(axis=2).T
        out[rows] = found[0] == labelings[0, rows]
        for draw in range(draws):
            wanted = labelings[draw + 1, rows]
            hits[draw] += np.bincount(wanted, found[draw + 1] == wanted, minlength=k)
            count[draw] += np.bincount(wanted, minlength=k)
    shares = np.divide(hits, count, out=np.full(hits.shape, np.nan), where=count > 0)
    return out, np.asarray(np.nanmean(shares, axis=1)) if count.any() else np.zeros(0)
