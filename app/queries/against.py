"""The zero-shot matrix less a reference detector, cell by cell on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.compare import Pair, Side, known_sides
from app.queries.compare_scores import difference_of
from app.run import Run
from probe.errors import ProbeError, UnknownNameError

__all__ = ["AgainstView", "against_frame", "against_view", "reference_side"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AgainstView:
    """Differences of all detectors to one.

    Attributes
    ----------
    reference : str
        Title of the reference.
    metric, level : str
        Which.
    detectors, datasets : tuple of str
        Rows and columns.
    difference, low, high, p : numpy.ndarray
        Shape (detector, dataset); a detector less the reference. NaN where there is none.
    is_reference : numpy.ndarray
        Shape (detector,).
    n_samples, n_clusters : numpy.ndarray
        Shape (detector, dataset); images that both have.
    reason : tuple of tuple of str
        Why there is no interval, or no difference; empty where there is one.
    coverage : float
        Of the intervals.
    """

    reference: str
    metric: str
    level: str
    detectors: tuple[str, ...]
    datasets: tuple[str, ...]
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    is_reference: NDArray[np.bool_]
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    reason: tuple[tuple[str, ...], ...]
    coverage: float

    @property
    def leaves_out_0(self) -> NDArray[np.bool_]:
        """Cells whose interval does not hold 0, shape (detector, dataset)."""
        return (np.nan_to_num(self.low) > 0) | (np.nan_to_num(self.high) < 0)


def reference_side(run: Run, reference: str) -> Side:
    """Return who the matrix is shown less of, as ``DETECTOR`` or ``RUN:DETECTOR`` names it.

    Raises
    ------
    UnknownNameError
        If there is no such detector.
    """
    sides = known_sides(run)
    other = next((side for side in sides if side.key == reference), None)
    if other is None:
        raise UnknownNameError(
            "detector",
            reference,
            [side.key for side in sides],
            where="the runs that are open",
            remedy="Choose one above the matrix.",
        )
    return other


def against_view(run: Run, reference: str, metric: str, level: str) -> AgainstView:
    """Subtract a reference from all detectors of the run.

    Parameters
    ----------
    run : Run
        Whose matrix.
    reference : str
        ``DETECTOR``, or ``RUN:DETECTOR`` of another run.
    metric, level : str
        Which.

    Raises
    ------
    UnknownNameError
        If there is no such detector.
    ProbeError
        If a score table is missing.
    """
    other = reference_side(run, reference)
    data = run.evaluation.data
    detectors = tuple(map(str, data["detector"].values))
    datasets = tuple(map(str, data["dataset"].values))
    shape = len(detectors), len(datasets)
    arrays = {name: np.full(shape, np.nan) for name in ("difference", "low", "high", "p")}
    counts = {name: np.zeros(shape, dtype=np.int64) for name in ("n_samples", "n_clusters")}
    reasons = [[""] * len(datasets) for _ in detectors]
    for i, label in enumerate(detectors):
        if Side(run, label).key == other.key:
            continue
        try:
            found, _ = difference_of(Pair(Side(run, label), other), metric, level)
        except ProbeError as error:
            reasons[i] = [str(error)] * len(datasets)
            continue
        part = found.sel(level=level, metric=metric)
        known = list(map(str, part["dataset"].values))
        for j, dataset in enumerate(datasets):
            if dataset not in known:
                reasons[i][j] = "no common images"
                continue
            one = part.isel(dataset=known.index(dataset))
            for name, array in (*arrays.items(), *counts.items()):
                array[i, j] = one[name].item()
            reasons[i][j] = str(one["reason"].item())
    return AgainstView(
        reference=other.title,
        metric=metric,
        level=level,
        detectors=detectors,
        datasets=datasets,
        is_reference=np.array([Side(run, label).key == other.key for label in detectors]),
        reason=tuple(map(tuple, reasons)),
        coverage=float(data.attrs.get("ci", 0.95)),
        n_samples=counts["n_samples"],
        n_clusters=counts["n_clusters"],
        **arrays,
    )


def against_frame(run: Run, reference: str, metric: str, level: str) -> pd.DataFrame:
    """Return the differences, one row a detector and dataset."""
    view = against_view(run, reference, metric, level)
    rows = [
        {
            "detector": detector,
            "dataset": dataset,
            "compared_with": view.reference,
            "metric": metric,
            "level": level,
            **{
                name: getattr(view, name)[i, j]
                for name in ("difference", "low", "high", "p", "n_samples", "n_clusters")
            },
            "reason": view.reason[i][j],
        }
        for i, detector in enumerate(view.detectors)
        for j, dataset in enumerate(view.datasets)
        if not view.is_reference[i]
    ]
    return pd.DataFrame(rows)
