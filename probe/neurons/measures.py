"""Measures of importance: a unit's effect in one dataset, computed from the evidence of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.neurons.table import strength
from probe.registry import Registry
from probe.stats import Floats, Ranked, sigmoid

__all__ = ["Evidence", "MEASURES", "Measure"]


@dataclass(frozen=True)
class Evidence:
    """Responses of a detector to interventions on every unit, in one dataset.

    Attributes
    ----------
    labels, clusters : numpy.ndarray
        Shape (n,): 0 real and 1 fake; cluster codes of the samples, from 0.
    logits : numpy.ndarray
        Shape (n,), fake logits of the unchanged detector.
    values : numpy.ndarray
        Shape (unit, dose): values that units were set to.
    sums : numpy.ndarray
        Shape (cluster, unit, dose): score summed over samples; empty if not requested.
    ablated : numpy.ndarray
        Shape (n, unit): fake logits without the unit; empty if not requested.
    activation : numpy.ndarray
        Shape (n, unit): activation, mean over positions.
    span : numpy.ndarray
        Shape (unit,): largest − smallest value over samples and positions.
    weight : numpy.ndarray
        Shape (unit,): mean gradient of the logit; NaN if not requested.
    parts : mapping
        Attributions by captum, method to an array of shape (n, unit).
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
        """Logit − logit without the unit, shape (n, unit)."""
        return np.asarray(self.logits[:, None] - self.ablated)

    def part(self, name: str) -> NDArray[np.float32]:
        """Return captum's attributions by the named method."""
        return self.parts[name]

    def responses(self, weights: Floats) -> Floats:
        """Return the mean score under each dose, shape (resamples, unit, dose)."""
        flat = self.sums.reshape(len(self.sums), -1)
        sizes = np.bincount(self.clusters, minlength=len(self.sums))
        means = (weights @ flat) / (weights @ sizes)[:, None]
        return np.asarray(means.reshape(len(weights), *self.sums.shape[1:]))

    def mean(self, values: Any, weights: Floats) -> Floats:
        """Return the weighted mean of values of shape (n, unit), as (resamples, unit)."""
        return self._ratio(values, np.ones(len(self.labels), bool), weights)

    def gap(self, values: Any, weights: Floats) -> Floats:
        """Return mean over fakes − mean over reals, shape (resamples, unit)."""
        fake = self.labels.astype(bool)
        return self._ratio(values, fake, weights) - self._ratio(values, ~fake, weights)

    def variance(self, values: Any, weights: Floats, label: int) -> Floats:
        """Return the weighted variance within a label, shape (resamples, unit)."""
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
            # A resample without the class has no mean: NaN, which intervals leave out.
            return np.asarray((weights @ sums) / (weights @ sizes)[:, None])


@dataclass(frozen=True)
class Measure:
    """A definition of importance.

    Attributes
    ----------
    compute : callable
        From `Evidence` and weights of its clusters, shape (resamples, clusters), to effects,
        shape (resamples, units).
    needs : frozenset of str
        Evidence that it needs: ``responses, ablated, weight, gradient, conductance``.
    neutral : float
        Value of a unit without effect; units are ranked by the distance from it.
    one_sided : bool
        Whether only values above `neutral` mean importance; units are then ranked by value.
    causal : bool
        Whether it rests on interventions or the gradient, not on correlation.
    labels : bool
        Whether it depends on the labels.
    """

    compute: Callable[[Evidence, Floats], Floats]
    needs: frozenset[str]
    neutral: float = 0.0
    one_sided: bool = False
    causal: bool = True
    labels: bool = False

    def strength(self, effects: Floats) -> Floats:
        """Return the strength that units are ranked by; undefined effects come last."""
        return strength(effects, self.neutral, self.one_sided)


#: All measures, by the name that `neuron_importance` accepts.
MEASURES: Registry[Measure] = Registry("measure")


Compute = Callable[[Evidence, Floats], Floats]


def _register(
    name: str,
    *needs: str,
    neutral: float = 0.0,
    one_sided: bool = False,
    causal: bool = True,
    labels: bool = False,
) -> Callable[[Compute], Compute]:
    def add(compute: Compute) -> Compute:
        measure = Measure(compute, frozenset(needs), neutral, one_sided, causal, labels)
        MEASURES.register(name)(measure)
        return compute

    return add


@_register("ace", "responses", one_sided=True)
def _ace(found: Evidence, weights: Floats) -> Floats:
    """Range of the mean response over doses (average causal effect, arXiv:2308.04177)."""
    means = found.responses(weights)
    return np.asarray(means.max(axis=2) - means.min(axis=2))


@_register("slope", "responses")
def _slope(found: Evidence, weights: Floats) -> Floats:
    """Mean response at the highest dose − mean response at the lowest, signed."""
    means = found.responses(weights)
    return np.asarray(means[:, :, -1] - means[:, :, 0])


@_register("delta_logit", "ablated", one_sided=True, labels=True)
def _delta_logit(found: Evidence, weights: Floats) -> Floats:
    """Gap between the mean logits of fakes and reals, minus the gap without the unit.

    In mediation analysis this is the natural indirect effect of the label through the unit (Pearl
    2001; Vig et al. 2020, arXiv:2004.12265). Positive: the unit helps detection.
    """
    return found.gap(found.contribution, weights)


@_register("delta_auroc", "ablated", one_sided=True, labels=True)
def _delta_auroc(found: Evidence, weights: Floats) -> Floats:
    """AUROC − AUROC without the unit. Positive: the unit helps detection."""
    full, without = (_auroc(found, one, weights) for one in (found.logits[:, None], found.ablated))
    return full - without


@_register("delta_logloss", "ablated", one_sided=True, labels=True)
def _delta_logloss(found: Evidence, weights: Floats) -> Floats:
    """Log-loss without the unit − log-loss with it, in nats. Positive: the unit helps."""
    sign = np.where(found.labels, -1.0, 1.0)
    full = np.logaddexp(0, sign * found.logits)
    without = np.logaddexp(0, sign[:, None] * found.ablated)
    return found.mean(without - full[:, None], weights)


@_register("delta_accuracy", "ablated", one_sided=True, labels=True)
def _delta_accuracy(found: Evidence, weights: Floats) -> Floats:
    """Accuracy at P(fake) 0.5 − accuracy without the unit. Positive: the unit helps."""
    fake = found.labels.astype(bool)
    right = ((sigmoid(found.logits) >= 0.5) == fake).astype(float)
    without = (found.ablated >= 0) == fake[:, None]
    return found.mean(right[:, None] - without, weights)


@_register("gradient", "gradient")
def _gradient(found: Evidence, weights: Floats) -> Floats:
    """Mean gradient of the fake logit w.r.t. the unit, summed over positions (by captum)."""
    return found.mean(found.part("gradient"), weights)


@_register("conductance", "conductance")
def _conductance(found: Evidence, weights: Floats) -> Floats:
    """Mean conductance (Dhamdhere et al. 2018, arXiv:1805.12233), black baseline, by captum."""
    return found.mean(found.part("conductance"), weights)


@_register("auroc", neutral=0.5, causal=False, labels=True)
def _selectivity(found: Evidence, weights: Floats) -> Floats:
    """AUROC of the unit's activation (selectivity; a correlation). Above 0.5: larger on fakes."""
    return _auroc(found, found.activation, weights)


def _auroc(found: Evidence, values: Any, weights: Floats) -> Floats:
    """Return the AUROC of each column of values, shape (n, columns), as (resamples, columns)."""
    each = (Ranked.of(found.labels, one) for one in values.T)
    return np.concatenate([one.measured(["auroc"], found.clusters, weights) for one in each]).T


@_register("dprime", causal=False, labels=True)
def _dprime(found: Evidence, weights: Floats) -> Floats:
    """Difference of mean activations, fakes − reals, in pooled deviations (d'; a correlation)."""
    gap = found.gap(found.activation, weights)
    spread = sum(found.variance(found.activation, weights, label) for label in (0, 1))
    pooled = np.sqrt(np.asarray(spread) / 2)
    return np.divide(gap, pooled, out=np.zeros_like(gap), where=pooled > 0)


@_register("weight_range", "weight", one_sided=True)
def _weight_range(found: Evidence, weights: Floats) -> Floats:
    """|Weight| × range: the size of a unit's effect that needs no detection.

    The weight is the mean gradient of the logit w.r.t. the unit (for an affine suffix, its
    weight); the range is that of its values in the dataset. Labels are not used, and it is not
    resampled.
    """
    size = np.abs(found.weight) * found.span
    return np.broadcast_to(size, (len(weights), len(size))).copy()
