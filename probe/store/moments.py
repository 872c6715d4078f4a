"""Count, mean, variance and range of every unit by dataset and label, in one streaming pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["moments"]


class _Tally:
    """Running sums of one (dataset, label) over its samples, unit by unit."""

    def __init__(self, units: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(units), np.zeros(units)
        self.low, self.high = np.full(units, np.inf), np.full(units, -np.inf)

    def add(self, rows: NDArray[np.float64]) -> None:
        """Merge some samples, shape (n, unit), by Chan, Golub and LeVeque (1979)."""
        mean, total = rows.mean(axis=0), self.count + len(rows)
        shift = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0)
        self.squares += shift**2 * (self.count * len(rows) / total)
        self.mean += shift * (len(rows) / total)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.count = total

    def result(self) -> dict[str, NDArray[np.float64]]:
        """Give mean, variance (over n), min and max; NaN where nothing was seen."""
        found = {
            "mean": self.mean,
            "variance": self.squares / max(self.count, 1),
            "min": self.low,
            "max": self.high,
        }
        return found if self.count else {k: np.full_like(v, np.nan) for k, v in found.items()}


def moments(
    datasets: NDArray[Any],
    labels: NDArray[Any],
    blocks: Iterable[tuple[slice, NDArray[Any]]],
    units: int,
) -> xr.Dataset:
    """Take moments by dataset and label, holding one block at a time.

    Parameters
    ----------
    datasets, labels : numpy.ndarray
        Shape (n,), of every sample; labels are 0 (real) and 1 (fake).
    blocks : iterable of (slice, numpy.ndarray)
        Positions and their activations, shape (block, unit); each position once.
    units : int
        Number of units.

    Returns
    -------
    xarray.Dataset
        ``count(dataset, label)`` and ``mean, variance, min, max(dataset, label, unit)``, double;
        variance is over n. A value that is not finite makes its unit's moments so.
    """
    names, which = np.unique(datasets.astype(object), return_inverse=True)
    groups = 2 * which + labels
    tallies = [_Tally(units) for _ in range(2 * len(names))]
    with np.errstate(invalid="ignore", over="ignore"):
        for where, block in blocks:
            for group in np.unique(groups[where]):
                tallies[group].add(block[groups[where] == group].astype(np.float64))
    shape = (len(names), 2)
    results = [tally.result() for tally in tallies]
    table = {
        name: (("dataset", "label", "unit"), np.reshape([r[name] for r in results], (*shape, -1)))
        for name in ("mean", "variance", "min", "max")
    }
    counts = (("dataset", "label"), np.reshape([tally.count for tally in tallies], shape))
    coords = {"dataset": names, "label": np.array([0, 1]), "unit": np.arange(units)}
    return xr.Dataset({"count": counts, **table}, coords=coords)
