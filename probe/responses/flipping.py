"""Tests of paired changes, many units at once: signs are flipped over whole clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probe.stats import Floats

__all__ = ["sign_flip_test"]

#: Statistics (draw × unit) that are held at once.
BLOCK = 1 << 22


def sign_flip_test(
    changes: Sequence[Floats], n_permutations: int = 9999, seed: int = 0
) -> tuple[Floats, Floats]:
    """Test, unit by unit, whether the mean change is other than 0.

    If a dose did nothing, dose 0 and dose 1 of a cluster could change places, which flips the sign
    of its change. All units see the same flips, and strata are flipped independently. Where flips
    are fewer than draws, all are taken. Exact if changes are symmetric about 0 under the null
    hypothesis.

    Parameters
    ----------
    changes : sequence of numpy.ndarray
        A stratum (dataset) each, shape (clusters, units); every cluster counts the same within its
        stratum, and every stratum the same.
    n_permutations : int, default 9999
        Draws beside the observed signs; the smallest p is 1 / (n_permutations + 1).
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    mean, p : numpy.ndarray
        Shape (units,): mean over strata of mean over clusters, and two-sided p in (0, 1]; 1 where
        nothing changes.
    """
    rows = np.concatenate([one / (len(one) * len(changes)) for one in changes])
    signs = _signs(len(rows), n_permutations, seed)
    mean = rows.sum(axis=0)
    bar = np.abs(mean) * (1 - 1e-9)
    above = np.zeros(rows.shape[1])
    step = max(1, BLOCK // max(rows.shape[1], 1))
    for start in range(0, len(signs), step):
        above += (np.abs(signs[start : start + step] @ rows) >= bar).sum(axis=0)
    return mean, above / len(signs)


def _signs(clusters: int, n_permutations: int, seed: int) -> Floats:
    """Draw signs, shape (draws, clusters); the first row is as observed."""
    if 2**clusters <= n_permutations + 1:
        flips = (np.arange(2**clusters)[:, None] >> np.arange(clusters)) & 1
    else:
        rng = np.random.default_rng(seed)
        flips = rng.integers(0, 2, (n_permutations + 1, clusters))
        flips[0] = 0
    return np.asarray(1.0 - 2.0 * flips, dtype=np.float64)
