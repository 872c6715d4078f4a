"""`calibrate`: power and false positive rate of universality rules, on planted detectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerConductance, LayerGradientXActivation
from numpy.typing import NDArray
from torch import nn

from probe.datasets.dataset import Dataset
from probe.detectors.planted import KINDS, Planted, Population, measure_population, plant
from probe.errors import ProbeError
from probe.hooks import AffineProgram, SuffixProgram, compile_suffix
from probe.hooks.capture import State
from probe.neurons import ranks
from probe.neurons.measures import MEASURES, Evidence
from probe.progress import progress_bar
from probe.registry import Registry
from probe.results import Provenance, Result, by_row
from probe.stats import (
    Floats,
    auroc,
    benjamini_hochberg,
    benjamini_yekutieli,
    partial_conjunction,
    permutation_test,
)

__all__ = ["Calibration", "Draw", "RULES", "Verdict", "calibrate"]

#: Permutations per test; the smallest possible p-value is 1 / (PERMUTATIONS + 1).
PERMUTATIONS = 1999

#: Images per dataset that captum attributes.
CAPTUM_IMAGES = 64


@dataclass(frozen=True)
class Verdict:
    """Decision of a rule on every unit.

    Attributes
    ----------
    called : numpy.ndarray
        Shape (units,), bool: whether the unit is called universal.
    score : numpy.ndarray
        Shape (units,): larger means more universal; used for the AUC.
    at_least : int, optional
        Number of datasets that the claim is about; all by default.
    """

    called: NDArray[np.bool_]
    score: Floats
    at_least: int | None = None


@dataclass(frozen=True)
class Draw:
    """A planted detector, and clusters drawn with replacement from its population.

    Attributes
    ----------
    planted : Planted
        The detector.
    features : list of numpy.ndarray
        Per dataset, shape (n, features).
    labels, clusters : list of numpy.ndarray
        Per dataset, shape (n,); a cluster that is drawn twice counts as two.
    seed : int
        Seed of the permutations.
    """

    planted: Planted
    features: list[NDArray[np.float32]]
    labels: list[NDArray[np.int8]]
    clusters: list[NDArray[np.int64]]
    seed: int

    @classmethod
    def of(cls, planted: Planted, population: Population, clusters: int, seed: int) -> Draw:
        """Draw clusters of every dataset with replacement."""
        # A random stream apart from those that planted the units and that permute labels.
        rng = np.random.default_rng((seed, 1))
        rows, groups = [], []
        for i in range(len(population.names)):
            own = np.unique(population.clusters[population.datasets == i])
            each = [
                np.flatnonzero((population.datasets == i) & (population.clusters == one))
                for one in rng.choice(own, clusters)
            ]
            rows.append(np.concatenate(each))
            groups.append(np.repeat(np.arange(clusters), [len(one) for one in each]))
        return cls(
            planted,
            [population.features[r] for r in rows],
            [population.labels[r] for r in rows],
            groups,
            seed,
        )

    @cached_property
    def program(self) -> SuffixProgram:
        """Suffix program behind the planted units."""
        return compile_suffix(self.planted.detector, "relu")

    @cached_property
    def head(self) -> nn.Sequential:
        """The network from the features to the logit."""
        net: Any = self.planted.detector.module
        return nn.Sequential(net.fc1, net.relu, net.fc2)

    @cached_property
    def states(self) -> list[State]:
        """States of every dataset at the planted units."""
        net: Any = self.planted.detector.module
        with torch.inference_mode():
            return [State(net.relu(net.fc1(self.on_device(one)))) for one in self.features]

    def on_device(self, features: NDArray[np.float32]) -> torch.Tensor:
        """Return features as a tensor on the device of the planted detector."""
        return torch.from_numpy(features).to(self.planted.detector.device)

    @cached_property
    def contributions(self) -> list[Floats]:
        """Logit − logit without the unit (set to its mean), per dataset, shape (n, units)."""
        out = []
        for state in self.states:
            mean = state.value.mean(dim=0).cpu().double().numpy()
            empty = np.zeros((1, len(mean)), dtype=bool)
            full = self.program.ablate_sets(state, empty, mean)
            out.append(np.asarray(full - self.program.sweep(state, mean[:, None])[:, :, 0], float))
        return out

    @cached_property
    def tests(self) -> Floats:
        """Permutation p-values of contributions, shape (dataset, unit)."""
        rows = zip(self.contributions, self.labels, self.clusters, strict=True)
        return np.stack([permutation_test(*one, PERMUTATIONS, self.seed).p for one in rows])

    @cached_property
    def evidence(self) -> list[Evidence]:
        """Evidence of a sweep per dataset, without dose responses."""
        program = self.program
        assert isinstance(program, AffineProgram)  # planted units have an affine head
        out = []
        rows = zip(self.states, self.labels, self.clusters, self.contributions, strict=True)
        for state, labels, clusters, part in rows:
            values = state.value.cpu().numpy()
            logits = values.astype(float) @ program.weight.numpy() + program.bias
            out.append(
                Evidence(
                    labels,
                    clusters,
                    logits,
                    np.zeros((values.shape[1], 0)),
                    np.zeros((0, 0, 0)),
                    (logits[:, None] - part).astype(np.float32),
                    values,
                    np.ptp(values, axis=0).astype(float),
                    program.weight.numpy(),
                )
            )
        return out

    def ace(self, clamp: bool, probability: bool) -> Floats:
        """Return ranges of the mean response over four doses, shape (dataset, unit)."""
        out = []
        for state in self.states:
            low, high = (side.cpu().double().numpy() for side in torch.aminmax(state.value, dim=0))
            if clamp:
                low, high = np.minimum(low, 1.0), np.maximum(high, 0.0)
            values = np.linspace(low, high, 4, axis=1)
            means = self.program.sums(state, values, probability) / len(state.value)
            out.append(means.max(axis=1) - means.min(axis=1))
        return np.stack(out)


#: Rules by name: from a draw to a verdict at a nominal level of 5%.
RULES: Registry[Callable[[Draw], Verdict]] = Registry("rule")


@RULES.register("partial conjunction, p ≤ .05")
def _by_unit(draw: Draw) -> Verdict:
    """Partial conjunction test, not corrected over units: contributes in all datasets."""
    p = partial_conjunction(draw.tests, len(draw.tests))
    return Verdict(p <= 0.05, -p)


@RULES.register("partial conjunction, BH q ≤ .05")
def _by_bh(draw: Draw) -> Verdict:
    """Partial conjunction test with the false discovery rate over units controlled (BH)."""
    p = partial_conjunction(draw.tests, len(draw.tests))
    return Verdict(benjamini_hochberg(p) <= 0.05, -p)


@RULES.register("partial conjunction, BY q ≤ .05")
def _by_by(draw: Draw) -> Verdict:
    """As BH, but valid under any dependence between units (BY)."""
    p = partial_conjunction(draw.tests, len(draw.tests))
    return Verdict(benjamini_yekutieli(p) <= 0.05, -p)


@RULES.register("in 2 or more, p ≤ .05")
def _two(draw: Draw) -> Verdict:
    """Partial conjunction test, not corrected over units: contributes in at least two datasets."""
    p = partial_conjunction(draw.tests, 2)
    return Verdict(p <= 0.05, -p, 2)


@RULES.register("in 2 or more, BH q ≤ .05")
def _two_bh(draw: Draw) -> Verdict:
    """As above, with the false discovery rate over units controlled (BH)."""
    p = partial_conjunction(draw.tests, 2)
    return Verdict(benjamini_hochberg(p) <= 0.05, -p, 2)


def _counted(effects: Floats) -> Verdict:
    """Call the units that are in the top half in every dataset."""
    kept = ranks(effects) <= effects.shape[1] // 2
    return Verdict(kept.all(axis=0), effects.min(axis=0))


@RULES.register("the study's count (authors)")
def _authors(draw: Draw) -> Verdict:
    """Top half by the range of P(real) over [min(low, 1), max(high, 0)], in all datasets."""
    return _counted(draw.ace(clamp=True, probability=True))


@RULES.register("the study's count (logit)")
def _logit_count(draw: Draw) -> Verdict:
    """Top half by the range of the logit over the observed range, in all datasets."""
    return _counted(draw.ace(clamp=False, probability=False))


def _by_measure(name: str) -> Callable[[Draw], Verdict]:
    """Return the rule that counts the top half by a registered measure."""

    def rule(draw: Draw) -> Verdict:
        measure = MEASURES[name]
        rows = [
            measure.strength(measure.compute(one, np.ones((1, one.n_clusters)))[0])
            for one in draw.evidence
        ]
        return _counted(np.stack(rows))

    return rule


for _name in ("delta_logit", "delta_auroc", "delta_logloss", "auroc", "dprime", "weight_range"):
    RULES.register(f"{_name}, count")(_by_measure(_name))


@RULES.register("captum conductance, count")
def _conductance(draw: Draw) -> Verdict:
    """Top half by mean |conductance| (zero baseline), in all datasets."""
    layer = LayerConductance(draw.head, draw.head[1])
    return _counted(_attributed(draw, lambda x: layer.attribute(x, n_steps=16)))


@RULES.register("captum gradient × activation, count")
def _gradient(draw: Draw) -> Verdict:
    """Top half by mean |gradient × activation|, in all datasets.

    Behind an affine head LayerFeatureAblation with baseline zero gives the same.
    """
    layer = LayerGradientXActivation(draw.head, draw.head[1])
    return _counted(_attributed(draw, layer.attribute))


@RULES.register("selectivity test, BH q ≤ .05")
def _selective_test(draw: Draw) -> Verdict:
    """Permutation test on activations instead of contributions, which ignores the weight."""
    signs = np.sign(sum(_gap(s, y) for s, y in zip(draw.states, draw.labels, strict=True)))
    p = np.stack(
        [
            permutation_test(state.value.cpu().numpy() * signs, y, c, PERMUTATIONS, draw.seed).p
            for state, y, c in zip(draw.states, draw.labels, draw.clusters, strict=True)
        ]
    )
    whole = partial_conjunction(p, len(p))
    return Verdict(benjamini_hochberg(whole) <= 0.05, -whole)


def _gap(state: State, labels: NDArray[np.int8]) -> Any:
    values = state.value.cpu().numpy()
    return values[labels == 1].mean(axis=0) - values[labels == 0].mean(axis=0)


def _attributed(draw: Draw, attribute: Callable[[torch.Tensor], Any]) -> Floats:
    rows = []
    for one in draw.features:
        step = max(1, len(one) // CAPTUM_IMAGES)
        found = attribute(draw.on_device(one[::step]))
        rows.append(found.detach().abs().mean(dim=0).cpu().numpy())
    return np.asarray(rows, dtype=np.float64)


#: Settings (units, effect) of the default run.
SETTINGS = ((64, 1.0), (256, 0.6), (256, 0.8), (256, 1.0), (256, 1.2), (1024, 1.0))

#: Columns whose standard errors over draws are reported.
UNCERTAIN = ["power", "false_rate", "false_sharpest", "false_discovery"]


class Calibration(Result):
    """Performance of universality rules where the true universal units are known.

    Attributes
    ----------
    data : xarray.Dataset
        By ``row``, one per draw and rule: ``units, effect, clusters, draw, rule``. ``power``: share
        called of the units for which the rule's claim is true (a contribution in all datasets, or
        in as many as the rule says). ``false_rate``: share called of the other units;
        ``false_sharpest``: of those that lack one dataset only; ``false_<kind>``: of those of a
        kind, NaN if none. ``false_discovery``: share of the called units for which the claim is
        false, 0 if none is called. ``auc``: AUROC of the rule's score for true against other
        units. ``called``: number of units called. ``seconds``: time of the rule alone, from
        features to verdict.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> found = probe.calibrate(data, draws=1, settings=[(32, 1.0)])
    >>> found.to_dataframe().columns[:3].tolist()
    ['units', 'effect', 'clusters']
    """

    KIND: ClassVar[str] = "a calibration"
    REQUIRED: ClassVar[str] = "power"
    COMMAND: ClassVar[str] = "probe calibrate"
    FRAMES: ClassVar[Mapping[str, str]] = {"draws": "_draws"}
    PLOTS: ClassVar[tuple[str, ...]] = ("calibration",)

    @property
    def draws(self) -> pd.DataFrame:
        """Frame with one row per draw and rule."""
        return self.data.to_dataframe().reset_index(drop=True)

    def __repr__(self) -> str:
        """Say how many draws there are."""
        return f"<Calibration: {self.data.sizes['row']:,} rows of draws>"

    def _draws(self) -> pd.DataFrame:
        return self.draws

    def _frame(self) -> pd.DataFrame:
        """Return means over draws and standard errors ``<column>_se``, per setting and rule."""
        keys = ["units", "effect", "clusters", "rule"]
        rows = self.draws.drop(columns=["draw"]).groupby(keys, sort=False)
        return rows.mean().join(rows[UNCERTAIN].sem().add_suffix("_se")).reset_index()

    def summary(self) -> str:
        """State power and false positives of each rule, a line per setting and rule."""
        return "\n".join(
            f"{row['rule']}, {row['units']} units, effect {row['effect']:g}: power "
            f"{row['power']:.2f}, false positive rate {row['false_rate']:.3f}, false discovery "
            f"rate {row['false_discovery']:.3f}."
            for row in self._frame().to_dict("records")
        )


def calibrate(
    data: Dataset | Population,
    *,
    draws: int = 20,
    settings: Sequence[tuple[int, float]] = SETTINGS,
    clusters: int = 25,
    rules: Sequence[str] | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Calibration:
    """Measure power and errors of rules that call units universal, on planted detectors.

    Each draw plants units in a detector and draws clusters from the population for which the truth
    is exact. Each rule then calls units universal at a nominal level of 5%.

    Parameters
    ----------
    data : Dataset or Population
        The synthetic dataset with all splits, or its features; see `measure_population`.
    draws : int, default 20
        Number of planted detectors per setting, at least 1.
    settings : sequence of (int, float)
        Number of units, and effect: mean difference between a cluster's fakes and reals, in
        standard deviations over clusters.
    clusters : int, default 25
        Number of clusters per dataset, at least 5; the test split of the synthetic data has 25.
    rules : sequence of str, optional
        Names of rules in `RULES`; all by default.
    seed : int, default 0
        Seed of the first draw.
    device : str or torch.device, default "cpu"
        Device of the filter bank and the planted detectors.

    Returns
    -------
    Calibration
        One row per draw and rule.

    Raises
    ------
    UnknownNameError
        If a rule is unknown.
    ProbeError
        If `draws` or `clusters` is too small, or there is no setting.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> probe.calibrate(data, draws=2, settings=[(32, 1.0)])
    <Calibration: 32 rows of draws>
    """
    if draws < 1 or clusters < 5 or not settings:
        raise ProbeError(
            f"draws={draws}, clusters={clusters} and {len(settings)} settings were given; at least "
            "1 draw, 5 clusters and 1 setting are needed."
        )
    chosen = {name: RULES[name] for name in (rules or RULES)}
    if not isinstance(data, Population):
        data = measure_population(data, device=device)
    population = data
    rows = []
    with progress_bar("calibrate", draws * len(settings) * len(chosen)) as advance:
        for units, effect in settings:
            for number in range(draws):
                planted = plant(population, units, effect, seed + number)
                planted.detector.to(device)
                draw = Draw.of(planted, population, clusters, seed + number)
                for name, rule in chosen.items():
                    began = time.perf_counter()
                    # A copy without cached results, so that each rule is timed from the start.
                    verdict = rule(replace(draw))
                    seconds = time.perf_counter() - began
                    rows.append(
                        {
                            "units": units,
                            "effect": effect,
                            "clusters": clusters,
                            "draw": number,
                            "rule": name,
                            **_judged(verdict, planted),
                            "seconds": seconds,
                        }
                    )
                    advance(1)
    attrs = {"n_draws": draws, **Provenance.made(seed=seed).attrs()}
    return Calibration(by_row(pd.DataFrame(rows), attrs))


def _judged(verdict: Verdict, planted: Planted) -> dict[str, float]:
    called, kinds = verdict.called, planted.truth["kind"].to_numpy()
    needed = verdict.at_least or len(planted.truth.filter(like="effect_").columns)
    true = planted.datasets >= needed
    by_kind = {f"false_{kind}": _share(called[~true & (kinds == kind)]) for kind in KINDS}
    return {
        "power": _share(called[true]),
        "false_rate": _share(called[~true]),
        "false_sharpest": _share(called[planted.datasets == needed - 1]),
        **by_kind,
        "false_discovery": float((called & ~true).sum() / max(1, called.sum())),
        "auc": float(auroc(true, np.nan_to_num(verdict.score))[0]),
        "called": float(called.sum()),
    }


def _share(called: NDArray[np.bool_]) -> float:
    return float(called.mean()) if len(called) else np.nan
