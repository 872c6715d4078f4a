"""How alike the features of detectors are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.run import Run
from probe.errors import UnknownNameError

__all__ = ["SimilarityView", "similarity_frame", "similarity_view"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SimilarityView:
    """Debiased CKA of detectors at one layer.

    Attributes
    ----------
    layer : str
        Which.
    detectors : tuple of str
        Those that have the layer.
    value, low, high : numpy.ndarray
        Shape (detector, other), at most 1; NaN bounds where there are too few clusters.
    n_samples, n_clusters : int
        What they rest on.
    coverage : float
        Of the intervals.
    """

    layer: str
    detectors: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    n_samples: int
    n_clusters: int
    coverage: float


def similarity_view(run: Run, layer: str) -> SimilarityView:
    """Read the similarity of all detectors that have a layer.

    Raises
    ------
    UnknownNameError
        If the table does not hold the layer.
    """
    data = run.similarity.data
    layers = [str(name) for name in data["layer"].values]
    if layer not in layers:
        raise UnknownNameError(
            "layer",
            layer,
            layers,
            where="the similarity table",
            remedy="Choose one of them above.",
        )
    part = data.sel(layer=layer).transpose("detector", "other")
    there = np.isfinite(part["cka"].values).any(axis=1)
    part = part.isel(detector=there, other=there)
    return SimilarityView(
        layer=layer,
        detectors=tuple(map(str, part["detector"].values)),
        value=part["cka"].values,
        low=part["cka_low"].values,
        high=part["cka_high"].values,
        n_samples=int(data.attrs.get("n_samples", 0)),
        n_clusters=int(data.attrs.get("n_clusters", 0)),
        coverage=float(data.attrs.get("ci", 0.95)),
    )


def similarity_frame(run: Run) -> pd.DataFrame:
    """Return the similarity of all pairs of detectors at all layers."""
    return run.similarity.to_dataframe()
