"""Detection metrics on plain arrays, vectorized over sample weights."""

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

#: Sample weights (doubles) per block of resamples: small enough to stay in the processor's cache,
#: since every weight is used several times.
BLOCK = 1 << 18


def accuracy(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the share of samples on the correct side of the threshold 0.5.

    Parameters
    ----------
    labels : array_like
        Labels, shape (n,): 0 for real, 1 for fake.
    scores : array_like
        P(fake) in [0, 1], shape (n,); 0.5 and above counts as fake.
    weights : array_like, optional
        Nonnegative sample weights, shape (n,) or (resamples, n).

    Returns
    -------
    numpy.ndarray
        Accuracy, shape (resamples,); one value without weights.
    """
    y, s, w = _prepared(labels, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = (w @ ((s >= 0.5) == y).astype(float)) / w.sum(axis=1)
    return out


def auroc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Return the area under the ROC curve: P(fake scores above real), with ties counting 1/2.

    Parameters and result are those of `accuracy`; NaN if a class has no weight. Scores may be on
    any scale, since only their order matters.
    """
    return _auroc(_weighed(labels, scores, weights))


def average_precision(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Return the average precision Σ (R_k − R_{k−1}) P_k over descending thresholds.

    There is no interpolation. Parameters and result are those of `accuracy`; NaN if a class has no
    weight.
    """
    return _average_precision(_weighed(labels, scores, weights))


def equal_error_rate(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Return the error rate at which the false positive and false negative rates are equal.

    The ROC curve is interpolated linearly between thresholds. Parameters and result are those of
    `accuracy`; NaN if a class has no weight.
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
    """Return P(fake) for fake logits, in double precision."""
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
            f"labels {y.shape}, scores {s.shape} and weights {w.shape} do not match; they need "
            "shapes (n,), (n,) and (resamples, n)"
        )
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    return y, s, w


class _Weighed(NamedTuple):
    """Weights of fakes and reals by distinct score, from the highest; shape (resamples, g).

    `positive` and `negative` are the weights at each score, `hits` and `alarms` their cumulative
    sums.
    """

    heights: Floats
    positive: Floats
    negative: Floats
    hits: Floats
    alarms: Floats


@dataclass(frozen=True)
class Ranked:
    """Samples sorted by score from the highest: sorted once, for any number of weightings.

    Attributes
    ----------
    order : numpy.ndarray
        Positions of the samples, shape (n,).
    fake : numpy.ndarray
        Whether each sample in that order is fake, shape (n,), bool.
    starts : numpy.ndarray
        Index at which each distinct score begins, shape (g,).
    heights : numpy.ndarray
        Distinct scores, descending, shape (g,).
    """

    order: NDArray[np.int64]
    fake: NDArray[np.bool_]
    starts: NDArray[np.int64]
    heights: Floats

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> Ranked:
        """Sort samples; raise `ValueError` if shapes do not match or a score is not finite."""
        y, s, _ = _prepared(labels, scores, None)
        order = np.argsort(-s, kind="stable")
        ordered = s[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        return cls(order, y[order], starts, ordered[starts])

    def measured(self, metrics: Sequence[str], codes: NDArray[np.int64], counts: Floats) -> Floats:
        """Return metrics for given counts of clusters, computed in blocks to limit memory.

        Parameters
        ----------
        metrics : sequence of str
            Names in `METRICS`.
        codes : numpy.ndarray
            Cluster of each sample, from 0, shape (n,).
        counts : numpy.ndarray
            Nonnegative weight of each cluster, shape (resamples, clusters).

        Returns
        -------
        numpy.ndarray
            Metrics, shape (metric, resamples). For whole counts they equal the metrics with weights
            ``counts[:, codes]`` to the last bit.
        """
        ranked, step = codes[self.order], max(1, BLOCK // len(codes))
        out = np.empty((len(metrics), len(counts)))
        for start in range(0, len(counts), step):
            weighed = self.weighed(counts[start : start + step].take(ranked, axis=1))
            out[:, start : start + step] = [_WEIGHED[name](weighed) for name in metrics]
        return out

    def weighed(self, weights: Floats) -> _Weighed:
        """Sum weights, shape (resamples, n) in sorted order, by distinct score and class."""
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
    """Find by bisection where the falling miss rate meets the rising false alarm rate."""
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
    """Return cumulative sums over the first `count` columns, one count for all or one per row."""
    rows = np.arange(len(sums))
    return np.where(np.asarray(count) > 0, sums[rows, np.maximum(count, 1) - 1], 0.0)


def _ratio(top: Any, bottom: Any) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(bottom > 0, np.divide(top, bottom), np.nan)
    return out
