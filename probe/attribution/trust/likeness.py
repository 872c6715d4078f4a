"""How alike two maps are, and how complex one is: plain arrays, one value an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from probe.stats import Floats

__all__ = ["LIKENESS", "N_BINS", "histogram_entropy", "spearman", "ssim"]

#: Bins of the histogram whose entropy is taken (Hedström et al. 2024).
N_BINS = 100


def ssim(first: ArrayLike, second: ArrayLike) -> Floats:
    """Structural similarity of two maps (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Of magnitudes, each divided by its largest, so that neither scale nor sign counts: a map whose
    signs a random head has turned round still shows the same structure. Uniform windows of 7 × 7,
    range 1.

    Parameters
    ----------
    first, second : array_like
        Shape (n, height, width).

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [−1, 1]; 1 for equal maps, also for two that are all 0; NaN if one is not
        finite.
    """
    from skimage.metrics import structural_similarity

    similarity: Any = structural_similarity
    out = []
    for a, b in _pairs(first, second):
        side = min(7, *a.shape)
        window = side - 1 + side % 2
        out.append(similarity(_scaled(a), _scaled(b), win_size=window, data_range=1.0))
    return _where_finite(out, first, second)


def spearman(first: ArrayLike, second: ArrayLike) -> Floats:
    """Rank correlation of the magnitudes of two maps; ties share their mean rank.

    Parameters and result are those of `ssim`; 1 for two constant maps, 0 if one is constant.
    """
    out = [_correlation(np.abs(a).ravel(), np.abs(b).ravel()) for a, b in _pairs(first, second)]
    return _where_finite(out, first, second)


#: Likenesses by the name that checks carry.
LIKENESS: dict[str, Callable[[ArrayLike, ArrayLike], Floats]] = {"ssim": ssim, "spearman": spearman}


def histogram_entropy(maps: ArrayLike, n_bins: int = N_BINS) -> Floats:
    """Entropy of the histogram of each map's values, in nats (Hedström et al. 2024).

    Bins are equally wide, from the map's smallest to its largest value, so that scale and offset
    do not count.

    Parameters
    ----------
    maps : array_like
        Shape (n, height, width).
    n_bins : int, default 100
        How many bins.

    Returns
    -------
    numpy.ndarray
        Shape (n,), from 0 (constant) to ln n_bins; NaN if a map is not finite.
    """
    out = []
    for values in np.asarray(maps, dtype=np.float64):
        clean = np.nan_to_num(values.ravel(), nan=0.0, posinf=0.0, neginf=0.0)
        low, span = clean.min(), np.ptp(clean)
        # Not by numpy.histogram: it refuses ranges that are small beside the offset.
        place = (clean - low) / span * n_bins if span > 0 else np.zeros_like(clean)
        bins = np.minimum(place.astype(np.int64), n_bins - 1)
        out.append(float(stats.entropy(np.bincount(bins))))
    return _where_finite(out, maps, maps)


def _pairs(first: ArrayLike, second: ArrayLike) -> list[tuple[Floats, Floats]]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"maps {a.shape} and {b.shape} were given; both need shape (n, h, w)")
    return list(zip(a, b, strict=True))


def _scaled(values: Floats) -> Floats:
    clean = np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
    largest = clean.max()
    return clean / largest if largest > 0 else clean


def _correlation(a: Floats, b: Floats) -> float:
    constant = [bool((one == one[0]).all()) for one in (a, b)]
    if any(constant):
        return 1.0 if all(constant) else 0.0
    ranks = [stats.rankdata(np.nan_to_num(one)) for one in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _where_finite(values: list[float], *of: ArrayLike) -> Floats:
    out = np.asarray(values, dtype=np.float64)
    for maps in of:
        finite = np.isfinite(np.asarray(maps, dtype=np.float64))
        out = np.where(finite.reshape(len(finite), -1).all(axis=1), out, np.nan)
    return out
