"""How far an observed number of units exceeds what a null gives, with an interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from probe.stats import Floats

__all__ = ["Excess", "excess_over"]


class Excess(NamedTuple):
    """A number of units beside a null.

    Attributes
    ----------
    expected : float
        Mean of the null.
    excess : float
        Observed − expected.
    low, high : float
        95 % interval; NaN where the observed number has none, or the null one draw.
    p : float
        Share of draws, the observed one among them, that reach the observed number.
    """

    expected: float
    excess: float
    low: float
    high: float
    p: float


def excess_over(
    observed: float, resampled: Floats, null: Floats, mean: float = np.nan, ci: float = 0.95
) -> Excess:
    """Compare a number with draws of a null.

    The variance of the difference is that of the observed number over bootstrap resamples plus
    that of the null's mean over its draws; degrees of freedom follow Welch and Satterthwaite, so
    that a null of three detectors gives a wide interval.

    Parameters
    ----------
    observed : float
        The number.
    resampled : numpy.ndarray
        Shape (resamples,): the number in bootstrap resamples; empty where there are none.
    null : numpy.ndarray
        Shape (draws,).
    mean : float, optional
        The null's mean where it is known without drawing.
    ci : float, default 0.95
        Coverage.
    """
    known = np.isfinite(mean)
    expected = float(mean if known else null.mean())
    p = float((1 + (null >= observed).sum()) / (1 + len(null)))
    excess = observed - expected
    if not len(resampled) or (not known and len(null) < 2):
        return Excess(expected, excess, np.nan, np.nan, p)
    own = float(resampled.var(ddof=1))
    drawn = 0.0 if known else float(null.var(ddof=1)) / len(null)
    freedom = np.inf if not drawn else (own + drawn) ** 2 / (drawn**2 / (len(null) - 1))
    half = float(stats.t.ppf(0.5 + ci / 2, freedom)) * np.sqrt(own + drawn)
    return Excess(expected, excess, excess - half, excess + half, p)
