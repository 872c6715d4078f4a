"""The zero-shot matrix in one metric, at one level."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.run import Run

__all__ = ["MatrixView", "matrix_frame", "matrix_view"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MatrixView:
    """What the heatmap shows.

    Attributes
    ----------
    metric, level : str
        Which, as in the table.
    detectors, datasets : tuple of str
        Rows and columns.
    value, low, high : numpy.ndarray
        Shape (detector, dataset), in [0, 1]; NaN bounds where there are too few clusters.
    n_samples, n_clusters : numpy.ndarray
        Shape (detector, dataset).
    seen : numpy.ndarray
        Shape (detector, dataset); whether the detector was trained or tuned on the dataset.
    chance : numpy.ndarray
        Shape (dataset,); the metric of scores that carry no information.
    coverage : float
        Of the intervals.
    """

    metric: str
    level: str
    detectors: tuple[str, ...]
    datasets: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    seen: NDArray[np.bool_]
    chance: Floats
    coverage: float

    @property
    def skill(self) -> Floats:
        """From −1 (always wrong) over 0 (chance) to 1 (perfect), shape (detector, dataset)."""
        value, chance = self.value, np.broadcast_to(self.chance, self.value.shape)
        if self.metric == "eer":
            value, chance = 1 - value, 1 - chance
        room = np.where(value >= chance, 1 - chance, chance)
        return np.divide(value - chance, room, out=np.zeros_like(value), where=room > 0)


def matrix_view(run: Run, metric: str, level: str) -> MatrixView:
    """Read one metric of the matrix at one level."""
    data = run.evaluation.data
    part = data.sel(metric=metric, level=level).transpose("detector", "dataset")
    detectors = tuple(map(str, part["detector"].values))
    datasets = tuple(map(str, part["dataset"].values))
    return MatrixView(
        metric=metric,
        level=level,
        detectors=detectors,
        datasets=datasets,
        value=part["value"].values,
        low=part["low"].values,
        high=part["high"].values,
        n_samples=part["n_samples"].values,
        n_clusters=part["n_clusters"].values,
        seen=_seen(run, data, detectors, datasets),
        chance=_chance(run, metric, level, datasets),
        coverage=float(data.attrs.get("ci", 0.95)),
    )


def matrix_frame(run: Run) -> pd.DataFrame:
    """Return the whole matrix, one row a detector, dataset, level and metric."""
    columns = ["detector", "dataset", "level", "metric", "value", "low", "high"]
    frame = run.evaluation.data.to_dataframe().reset_index()
    return frame[[*columns, "n_samples", "n_clusters"]]


def _seen(
    run: Run, data: xr.Dataset, detectors: tuple[str, ...], datasets: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Mark the source of all detectors, and what each was tuned on, as its spec notes it."""
    specs = data.attrs.get("specs", "{}")
    specs = json.loads(specs) if isinstance(specs, str) else specs
    source = str(run.manifest.get("source", ""))
    out = np.zeros((len(detectors), len(datasets)), dtype=bool)
    for row, label in enumerate(detectors):
        notes = (specs.get(label) or {}).get("notes") or {}
        names = {source}
        for part in notes.get("trained_on", []):
            names.update(part.get("datasets") or [part.get("name")])
        out[row] = np.isin(np.asarray(datasets, dtype=object), list(names))
    return out


def _chance(run: Run, metric: str, level: str, datasets: tuple[str, ...]) -> Floats:
    """Average precision of uninformative scores is the share of fakes; the others have 0.5."""
    if metric != "ap":
        return np.full(len(datasets), 0.5)
    scores = run.scores
    scores = scores[scores["detector"] == scores["detector"].iloc[0]]
    if level == "video":
        scores = scores.drop_duplicates(["dataset", "video", "label"])
    shares = scores.groupby("dataset")["label"].mean()
    return np.array([float(shares[name]) for name in datasets])
