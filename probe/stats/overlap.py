"""How many units stand in how many lists, by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probe.stats.metrics import Floats

__all__ = ["independence_counts", "simulate_counts"]


def independence_counts(kept: Sequence[int], units: int) -> Floats:
    """Expect this many units to stand in c of D lists drawn independently of each other.

    Parameters
    ----------
    kept : sequence of int
        Length of each of the D lists.
    units : int
        Number of units that each list was drawn from.

    Returns
    -------
    numpy.ndarray
        Shape (D + 1,): expected units at count 0..D; sums to `units`.
    """
    chances = np.ones(1)
    for k in kept:
        p = k / units
        chances = np.convolve(chances, [1 - p, p])
    return units * chances


def simulate_counts(kept: Sequence[int], units: int, n_draws: int = 1000, seed: int = 0) -> Floats:
    """Draw independent lists and count, for the spread around `independence_counts`.

    Returns
    -------
    numpy.ndarray
        Shape (n_draws, D + 1): units at count 0..D in each draw; rows sum to `units`.
    """
    rng = np.random.default_rng(seed)
    out = np.zeros((n_draws, len(kept) + 1))
    for draw in range(n_draws):
        count = np.zeros(units, dtype=np.int64)
        for k in kept:
            count[rng.permutation(units)[:k]] += 1
        out[draw] = np.bincount(count, minlength=len(kept) + 1)
    return out
