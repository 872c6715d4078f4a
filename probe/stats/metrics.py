"""Metrics of detection on plain arrays, vectorised over weights of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "METRICS",
    "Floats",
    "Metric",
    "accuracy",
    "auroc",
    "average_precision",
    "equal_error_rate",
    "sigmoid",
]

Floats = NDArray[np.float64]
Metric = Callable[[ArrayLike, ArrayLike, ArrayLike | None], Floats]


def accuracy(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Share of samples on the right side of 0.5.

    Parameters
    ----------
    labels : array_like
        Shape (n,), 0 real and 1 fake.
    scores : array_like
        Shape (n,), P(fake) in [0, 1]; 0.5 and above counts as fake.
    weights : array_like, optional
        Shape (n,) or (resamples, n), not negative.

    Returns
    -------
    numpy.ndarray
        Shape (resamples,); one value without weights.
    """
    y, s, w = _prepared(labels, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = (w @ ((s >= 0.5) == y).astype(float)) / w.sum(axis=1)
    return out


def auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Area under the ROC curve: P(fake scores above real), ties counting one half.

    Parameters and result are those of `accuracy`; NaN where a class has no weight. Only the order
    of the scores matters.
    """
    positive, negative = _by_threshold(*_prepared(labels, scores, weights))
    below = np.cumsum(negative, axis=1) - negative
    wins = np.sum(positive * (below + 0.5 * negative), axis=1)
    return _ratio(wins, positive.sum(axis=1) * negative.sum(axis=1))


def average_precision(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Average precision Σ (R_k − R_{k−1}) P_k over descending thresholds, without interpolation.

    Parameters and result are those of `accuracy`; NaN where no fake has weight.
    """
    positive, negative = _by_threshold(*_prepared(labels, scores, weights))
    positive, negative = positive[:, ::-1], negative[:, ::-1]
    hits = np.cumsum(positive, axis=1)
    called = hits + np.cumsum(negative, axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    out = _ratio(np.sum(positive * precision, axis=1), positive.sum(axis=1))
    return np.where(negative.sum(axis=1) > 0, out, np.nan)


def equal_error_rate(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Error rate at which false positives and false negatives are equally frequent.

    The ROC is joined by straight lines between thresholds. Parameters and result are those of
    `accuracy`; NaN where a class has no weight.
    """
    positive, negative = _by_threshold(*_prepared(labels, scores, weights))
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    miss = _curve(1.0, 1.0 - _ratio(np.cumsum(positive[:, ::-1], axis=1), n_positive[:, None]))
    alarm = _curve(0.0, _ratio(np.cumsum(negative[:, ::-1], axis=1), n_negative[:, None]))
    gap = miss - alarm
    after = np.argmax(gap <= 0, axis=1)
    rows = np.arange(len(gap))
    before = np.maximum(after - 1, 0)
    step = gap[rows, before] - gap[rows, after]
    share = np.divide(gap[rows, before], step, out=np.zeros_like(step), where=step > 0)
    out = alarm[rows, before] + share * (alarm[rows, after] - alarm[rows, before])
    return np.where((n_positive > 0) & (n_negative > 0), out, np.nan)


#: The metrics of the zero-shot matrix, by their name in tables.
METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "auroc": auroc,
    "ap": average_precision,
    "eer": equal_error_rate,
}


def sigmoid(logits: ArrayLike) -> Floats:
    """P(fake) of a fake logit, in double precision."""
    out: Floats = special.expit(np.asarray(logits, dtype=np.float64))
    return out


def _prepared(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.bool_], Floats, Floats]:
    y = np.asarray(labels).astype(bool)
    s = np.asarray(scores, dtype=np.float64)
    w = np.ones((1, len(s))) if weights is None else np.atleast_2d(np.asarray(weights, float))
    if y.shape != s.shape or s.ndim != 1 or w.shape[1] != len(s):
        raise ValueError(
            f"labels {y.shape}, scores {s.shape} and weights {w.shape} do not belong together; "
            "they need shapes (n,), (n,) and (resamples, n)"
        )
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    return y, s, w


def _by_threshold(y: NDArray[np.bool_], s: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Weight of fakes and of reals at each distinct score, ascending; shapes (resamples, g)."""
    order = np.argsort(s, kind="stable")
    ordered = s[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    w = w[:, order]
    positive = np.add.reduceat(w * y[order], starts, axis=1)
    negative = np.add.reduceat(w * ~y[order], starts, axis=1)
    return positive, negative


def _curve(start: float, values: Floats) -> Floats:
    return np.concatenate([np.full((len(values), 1), start), values], axis=1)


def _ratio(top: Any, bottom: Any) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(bottom > 0, np.divide(top, bottom), np.nan)
    return out
