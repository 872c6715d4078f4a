"""`Evidence`: what a sweep of one dataset leaves, from which every measure is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.stats import Floats

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """Responses of a detector to interventions on every unit, in one dataset.

    Attributes
    ----------
    labels, clusters : numpy.ndarray
        Shape (n,): 0 real and 1 fake; number of each sample's cluster, from 0.
    logits : numpy.ndarray
        Shape (n,), fake logits of the untouched detector.
    values : numpy.ndarray
        Shape (unit, dose): what units were set to.
    sums : numpy.ndarray
        Shape (cluster, unit, dose): sums of the score over samples; empty if not asked for.
    ablated : numpy.ndarray
        Shape (n, unit): fake logits without the unit; empty if not asked for.
    activation : numpy.ndarray
        Shape (n, unit): mean over positions.
    span : numpy.ndarray
        Shape (unit,): largest − smallest value over samples and positions.
    weight : numpy.ndarray
        Shape (unit,): mean gradient of the logit; NaN if not asked for.
    parts : mapping
        Attributions by captum, shape (n, unit), by name.
    """

    labels: NDArray[np.int8]
    clusters: NDArray[np.int64]
    logits: Floats
    values: Floats
    sums: Floats
    ablated: NDArray[np.float32]
    activation: NDArray[np.float32]
    span: Floats
    weight: Floats
    parts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.clusters.max()) + 1

    @property
    def contribution(self) -> Floats:
        """Logit less the logit without the unit, shape (n, unit)."""
        return np.asarray(self.logits[:, None] - self.ablated)

    def part(self, name: str) -> NDArray[np.float32]:
        """Return captum's attributions of a name."""
        return self.parts[name]

    def responses(self, weights: Floats) -> Floats:
        """Mean score under each dose, shape (resamples, unit, dose)."""
        flat = self.sums.reshape(len(self.sums), -1)
        sizes = np.bincount(self.clusters, minlength=len(self.sums))
        means = (weights @ flat) / (weights @ sizes)[:, None]
        return np.asarray(means.reshape(len(weights), *self.sums.shape[1:]))

    def mean(self, values: Any, weights: Floats) -> Floats:
        """Mean of values, shape (n, unit), over weighted samples: (resamples, unit)."""
        return self._ratio(values, np.ones(len(self.labels), bool), weights)

    def gap(self, values: Any, weights: Floats) -> Floats:
        """Mean over fakes − mean over reals, shape (resamples, unit)."""
        fake = self.labels.astype(bool)
        return self._ratio(values, fake, weights) - self._ratio(values, ~fake, weights)

    def variance(self, values: Any, weights: Floats, label: int) -> Floats:
        """Variance over the weighted samples of a label, shape (resamples, unit)."""
        chosen = self.labels == label
        center = values[chosen].mean(axis=0) if chosen.any() else 0.0
        shifted = np.asarray(values, np.float64) - center
        mean = self._ratio(shifted, chosen, weights)
        return np.asarray(self._ratio(shifted**2, chosen, weights) - mean**2)

    def _ratio(self, values: Any, chosen: NDArray[np.bool_], weights: Floats) -> Floats:
        sums = np.zeros((self.n_clusters, values.shape[1]))
        np.add.at(sums, self.clusters[chosen], np.asarray(values)[chosen])
        sizes = np.bincount(self.clusters[chosen], minlength=self.n_clusters)
        with np.errstate(invalid="ignore", divide="ignore"):
            # A resample without the class has no mean: NaN, left out of intervals.
            return np.asarray((weights @ sums) / (weights @ sizes)[:, None])
