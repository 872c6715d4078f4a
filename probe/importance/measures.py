"""Measures of importance: a unit's effect in one dataset, under any weighting of its clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.importance.evidence import Evidence
from probe.neurons.table import strength
from probe.registry import Registry
from probe.stats import Floats, Ranked, sigmoid

__all__ = ["MEASURES", "Measure"]


@dataclass(frozen=True)
class Measure:
    """One definition of importance.

    Attributes
    ----------
    compute : callable
        From `Evidence` and weights of its clusters, shape (resamples, clusters), to effects,
        shape (resamples, units).
    needs : frozenset of str
        Parts of the evidence that it reads: ``responses, ablated, weight, conductance``.
    neutral : float
        Value of a unit without effect; units are ranked by their distance from it.
    one_sided : bool
        Whether only values above `neutral` mean importance; units then rank by value.
    causal : bool
        Whether it rests on interventions (or the gradient), not on correlation.
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
        """Turn effects into what units are ranked by; effects that are not defined come last."""
        return strength(effects, self.neutral, self.one_sided)


#: All measures, by the name that `neuron_importance` takes.
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
    """Mean response at the highest dose − at the lowest, with its sign."""
    means = found.responses(weights)
    return np.asarray(means[:, :, -1] - means[:, :, 0])


@_register("delta_logit", "ablated", one_sided=True, labels=True)
def _delta_logit(found: Evidence, weights: Floats) -> Floats:
    """Gap between the mean logits of fakes and reals, less the gap without the unit.

    In mediation analysis the natural indirect effect of the label through the unit (Pearl 2001;
    Vig et al. 2020, arXiv:2004.12265). Positive: the unit helps to tell fakes.
    """
    return found.gap(found.contribution, weights)


@_register("delta_auroc", "ablated", one_sided=True, labels=True)
def _delta_auroc(found: Evidence, weights: Floats) -> Floats:
    """AUROC, less the AUROC without the unit. Positive: the unit helps."""
    full, without = (_auroc(found, one, weights) for one in (found.logits[:, None], found.ablated))
    return full - without


@_register("delta_logloss", "ablated", one_sided=True, labels=True)
def _delta_logloss(found: Evidence, weights: Floats) -> Floats:
    """Log-loss without the unit, less the log-loss with it, in nats. Positive: the unit helps."""
    sign = np.where(found.labels, -1.0, 1.0)
    full = np.logaddexp(0, sign * found.logits)
    without = np.logaddexp(0, sign[:, None] * found.ablated)
    return found.mean(without - full[:, None], weights)


@_register("delta_accuracy", "ablated", one_sided=True, labels=True)
def _delta_accuracy(found: Evidence, weights: Floats) -> Floats:
    """Accuracy at P(fake) 0.5, less the accuracy without the unit. Positive: the unit helps."""
    fake = found.labels.astype(bool)
    right = ((sigmoid(found.logits) >= 0.5) == fake).astype(float)
    without = (found.ablated >= 0) == fake[:, None]
    return found.mean(right[:, None] - without, weights)


@_register("gradient", "gradient")
def _gradient(found: Evidence, weights: Floats) -> Floats:
    """Mean gradient of the fake logit by the unit, summed over positions (through captum)."""
    return found.mean(found.part("gradient"), weights)


@_register("conductance", "conductance")
def _conductance(found: Evidence, weights: Floats) -> Floats:
    """Mean conductance (Dhamdhere et al. 2018, arXiv:1805.12233), black baseline, by captum."""
    return found.mean(found.part("conductance"), weights)


@_register("auroc", neutral=0.5, causal=False, labels=True)
def _selectivity(found: Evidence, weights: Floats) -> Floats:
    """AUROC of the unit's activation: selectivity, a correlation. Above 0.5: larger on fakes."""
    return _auroc(found, found.activation, weights)


def _auroc(found: Evidence, values: Any, weights: Floats) -> Floats:
    """AUROC of each column of values, shape (n, columns): (resamples, columns)."""
    each = (Ranked.of(found.labels, one) for one in values.T)
    return np.concatenate([one.measured(["auroc"], found.clusters, weights) for one in each]).T


@_register("dprime", causal=False, labels=True)
def _dprime(found: Evidence, weights: Floats) -> Floats:
    """Difference of mean activations, fakes − reals, in pooled deviations: a correlation."""
    gap = found.gap(found.activation, weights)
    spread = sum(found.variance(found.activation, weights, label) for label in (0, 1))
    pooled = np.sqrt(np.asarray(spread) / 2)
    return np.divide(gap, pooled, out=np.zeros_like(gap), where=pooled > 0)


@_register("weight_range", "weight", one_sided=True)
def _weight_range(found: Evidence, weights: Floats) -> Floats:
    """|Weight| × range: what explains an effect without any detection.

    The weight is the mean gradient of the logit by the unit (behind an affine suffix its weight),
    the range that of its values in the dataset. It knows no labels, and is not resampled.
    """
    size = np.abs(found.weight) * found.span
    return np.broadcast_to(size, (len(weights), len(size))).copy()
