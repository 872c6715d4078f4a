"""Metrics of detection on plain arrays, vectorized over weights of samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "METRICS",
    "Floats",
    "Metric",
    "Ranked",
    "accuracy",
    "auroc",
    "average_precision",
    "equal_error_rate",
    "sigmoid",
]

Floats = NDArray[np.float64]
Metric = Callable[[ArrayLike, ArrayLike, ArrayLike | None], Floats]

#: Weights of samples, doubles, that are held at once: some resamples of all samples. Smaller than
#: what processors cache, since every weight is passed over several times.
BLOCK = 1 << 18


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
    return _auroc(_weighed(labels, scores, weights))


def average_precision(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Average precision Σ (R_k − R_{k−1}) P_k over descending thresholds, without interpolation.

    Parameters and result are those of `accuracy`; NaN where no fake has weight.
    """
    return _average_precision(_weighed(labels, scores, weights))


def equal_error_rate(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Error rate at which false positives and false negatives are equally frequent.

    The ROC is joined by straight lines between thresholds. Parameters and result are those of
    `accuracy`; NaN where a class has no weight.
    """
    return _equal_error_rate(_weighed(labels, scores, weights))


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


class _Weighed(NamedTuple):
    """Weight of fakes and of reals, by distinct score from the highest; shapes (resamples, g)."""

    heights: Floats
    positive: Floats
    negative: Floats
    hits: Floats
    alarms: Floats


@dataclass(frozen=True)
class Ranked:
    """Samples from the highest score to the lowest: sorted once, for any number of weightings.

    Attributes
    ----------
    order : numpy.ndarray
        Shape (n,), positions of the samples.
    fake : numpy.ndarray
        Shape (n,), bool, in that order.
    starts : numpy.ndarray
        Shape (g,), where each distinct score begins.
    heights : numpy.ndarray
        Shape (g,), distinct scores.
    """

    order: NDArray[np.int64]
    fake: NDArray[np.bool_]
    starts: NDArray[np.int64]
    heights: Floats

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> Ranked:
        """Sort; `ValueError` if shapes do not belong together or a score is not finite."""
        y, s, _ = _prepared(labels, scores, None)
        order = np.argsort(-s, kind="stable")
        ordered = s[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        return cls(order, y[order], starts, ordered[starts])

    def measured(self, metrics: Sequence[str], codes: NDArray[np.int64], counts: Floats) -> Floats:
        """Measure with whole clusters counted so often, in blocks of bounded memory.

        Parameters
        ----------
        metrics : sequence of str
            Names in `METRICS`.
        codes : numpy.ndarray
            Shape (n,), cluster of each sample, from 0.
        counts : numpy.ndarray
            Shape (resamples, clusters), not negative.

        Returns
        -------
        numpy.ndarray
            Shape (metric, resamples); for whole counts equal to the last bit to what the metrics
            give for ``counts[:, codes]``.
        """
        ranked, step = codes[self.order], max(1, BLOCK // len(codes))
        out = np.empty((len(metrics), len(counts)))
        for start in range(0, len(counts), step):
            weighed = self.weighed(counts[start : start + step].take(ranked, axis=1))
            out[:, start : start + step] = [_WEIGHED[name](weighed) for name in metrics]
        return out

    def weighed(self, weights: Floats) -> _Weighed:
        """Sum weights, shape (resamples, n) and in ranked order, by distinct score and class."""
        both = [weights * which for which in (self.fake, ~self.fake)]
        if len(self.starts) < len(self.order):
            both = [np.add.reduceat(one, self.starts, axis=1) for one in both]
        return _Weighed(self.heights, *both, *(np.cumsum(one, axis=1) for one in both))


def _weighed(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> _Weighed:
    ranked = Ranked.of(labels, scores)
    _, _, w = _prepared(labels, scores, weights)
    return ranked.weighed(w[:, ranked.order])


def _accuracy(found: _Weighed) -> Floats:
    called = int((found.heights >= 0.5).sum())
    hits, alarms = (_before(one, called) for one in (found.hits, found.alarms))
    reals = found.alarms[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((hits + (reals - alarms)) / (found.hits[:, -1] + reals))


def _auroc(found: _Weighed) -> Floats:
    fakes, reals = found.hits[:, -1], found.alarms[:, -1]
    below = reals[:, None] - found.alarms
    wins = np.sum(found.positive * (below + 0.5 * found.negative), axis=1)
    return _ratio(wins, fakes * reals)


def _average_precision(found: _Weighed) -> Floats:
    hits, called = found.hits, found.hits + found.alarms
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    out = _ratio(np.sum(found.positive * precision, axis=1), hits[:, -1])
    return np.where(found.alarms[:, -1] > 0, out, np.nan)


def _equal_error_rate(found: _Weighed) -> Floats:
    """Find where misses, which fall, meet false alarms, which rise, by halving."""
    fakes, reals = found.hits[:, -1], found.alarms[:, -1]

    def errors(called: NDArray[np.int64]) -> tuple[Floats, Floats]:
        miss = 1.0 - _ratio(_before(found.hits, called), fakes)
        return miss, _ratio(_before(found.alarms, called), reals)

    before = np.zeros(len(fakes), dtype=np.int64)
    after = np.full(len(fakes), found.hits.shape[1])
    while (after - before > 1).any():
        middle = (before + after) // 2
        miss, alarm = errors(middle)
        met = miss - alarm <= 0
        before, after = np.where(met, before, middle), np.where(met, middle, after)
    (miss, low), (least, high) = errors(before), errors(after)
    gap, step = miss - low, (miss - low) - (least - high)
    share = np.divide(gap, step, out=np.zeros_like(step), where=step > 0)
    return np.where((fakes > 0) & (reals > 0), low + share * (high - low), np.nan)


_WEIGHED: Mapping[str, Callable[[_Weighed], Floats]] = {
    "accuracy": _accuracy,
    "auroc": _auroc,
    "ap": _average_precision,
    "eer": _equal_error_rate,
}


def _before(sums: Floats, count: Any) -> Floats:
    """Take running sums over the first `count` columns, one number or one a row."""
    rows = np.arange(len(sums))
    return np.where(np.asarray(count) > 0, sums[rows, np.maximum(count, 1) - 1], 0.0)


def _ratio(top: Any, bottom: Any) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(bottom > 0, np.divide(top, bottom), np.nan)
    return out
