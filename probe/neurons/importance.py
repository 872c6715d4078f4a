"""`neuron_importance`: effects of units per dataset, with intervals, tests and null detectors."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from probe.compute import FLOAT32, MEASURED_ON, check_precision
from probe.datasets.dataset import Dataset, by_name
from probe.datasets.loader import Images
from probe.datasets.subset import draw
from probe.detectors.architectures import find_architecture
from probe.detectors.detector import Detector
from probe.detectors.loading import load_detector
from probe.errors import ProbeError
from probe.hooks import AffineProgram, SuffixProgram, TracedDetector, compile_suffix, split, trace
from probe.neurons import NeuronTable, ranks
from probe.neurons.measures import MEASURES, Evidence, Measure
from probe.neurons.sweep import MODES, Cut, States, Sweep, gather, prefix_deviation
from probe.progress import progress_bar
from probe.results import Provenance
from probe.schema import FAKE
from probe.stats import MIN_CLUSTERS, Floats, cluster_counts, percentile_bounds, permutation_test

__all__ = ["default_layer", "neuron_importance", "one_class", "random_heads", "untrained"]


def untrained(detector: Detector, count: int, seed: int) -> Iterator[Detector]:
    """Yield untrained detectors of the same architecture, each with weights of another seed."""
    for number in range(count):
        spec = detector.spec
        yield load_detector(
            spec.name,
            input_size=spec.input_size,
            seed=seed + 1000 + number,
            options=spec.options,
            device=detector.device,
        )


def random_heads(
    detector: Detector, program: SuffixProgram, count: int, seed: int
) -> Iterator[SuffixProgram]:
    """Yield suffix programs whose trained weights behind the tap are shuffled.

    For an affine suffix, the composed weights are permuted over units. Otherwise the entries of
    each weight tensor of the linear and convolutional layers behind the tap are permuted.
    """
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        if isinstance(program, AffineProgram):
            order = torch.from_numpy(rng.permutation(len(program.weight)))
            yield replace(program, weight=program.weight[order])
            continue
        yield compile_suffix(_shuffled(detector, program.layer, rng), program.layer)


def _shuffled(detector: Detector, layer: str, rng: np.random.Generator) -> Detector:
    behind = {str(node.target) for node in split(trace(detector), layer)[1].graph.nodes}
    module = copy.deepcopy(detector.module)
    for path, part in module.named_modules():
        if path in behind and isinstance(part, nn.Linear | nn.Conv2d):
            weight = part.weight.data
            order = torch.from_numpy(rng.permutation(weight.numel())).to(weight.device)
            part.weight.data = weight.flatten()[order].view_as(weight)
    return Detector(module, detector.spec)


#: Bootstrapped effects kept in the table, for confidence intervals of counts.
KEPT_RESAMPLES = 200

#: Measures computed in addition to the chosen one.
BESIDE = ("weight_range", "auroc")

#: Default number of random heads: for an affine suffix (closed form), and where each needs a sweep.
HEADS_AFFINE, HEADS_RERUN = 20, 3


def neuron_importance(
    detector: Detector,
    data: Dataset | Sequence[Dataset],
    layer: str | None = None,
    *,
    measure: str = "ace",
    n_values: int = 4,
    mode: str = "default",
    order: str = "drawn",
    output: str | None = None,
    ablation: str = "mean",
    grid: str = "even",
    also: Sequence[str] = BESIDE,
    positions: bool = False,
    n_permutations: int = 9999,
    n_resamples: int = 1000,
    ci: float = 0.95,
    n_untrained: int = 3,
    n_random: int | None = None,
    shuffled: Sequence[Detector] = (),
    null_of: NeuronTable | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    images: Images | None = None,
    precision: str = FLOAT32,
) -> NeuronTable:
    """Measure the causal effect of each unit on the fake score, per dataset.

    Each unit u is set to each dose v over its range in the dataset, do(h_u = v), and the score is
    averaged over the images. This gives the dose response; the study (arXiv:2308.04177) scores it
    by its range, without labels. The same sweep ablates each unit (see `ablation`): logit − logit
    without the unit is the unit's *contribution* to an image. A unit helps detection where its
    contributions are larger on fakes than on reals. A permutation test over clusters tests this
    difference in each dataset.

    Parameters
    ----------
    detector : Detector
        Detector to measure.
    data : Dataset or sequence of Dataset
        Datasets to measure on. A composed dataset counts as its parts.
    layer : str, optional
        Layer whose units are measured; the architecture's unit layer by default. A channel is set
        over its whole map.
    measure : str, default "ace"
        Measure of the effect; see `probe.neurons.MEASURES` for the registered names.
    n_values : int, default 4
        Number of doses per unit, at least 2.
    mode : {"default", "authors"}
        ``authors`` follows the released code of the study: 30 batches of 64 images per dataset,
        range [min(lowest, 1), max(highest, 0)], response on P(real).
    order : {"drawn", "first"}
        How images are chosen where the mode uses fewer than given: at random with `seed`, spread
        over classes, identities and videos (`probe.datasets.subset.draw`), or the first rows, as
        in the study. The first rows of a table that lists reals before fakes hold one class only.
    output : {"logit", "p_fake", "p_real"}, optional
        Scale of the response; by default that of the mode ("logit", or "p_real" for ``authors``).
    ablation : {"mean", "zero", "resample"}
        Value of an ablated unit: its mean in the dataset, zero, or its value in another image of
        the dataset.
    grid : {"even", "quantile"}
        Spacing of the doses: evenly over the range, or at quantiles from 5 to 95% of the unit's
        mean over positions.
    also : sequence of str
        Further measures to compute, as point estimates.
    positions : bool, default False
        Whether each position of a map is a unit of its own, as in the study.
    n_permutations : int, default 9999
        Number of permutations of the test; see `permutation_test`.
    n_resamples : int, default 1000
        Number of cluster bootstrap resamples (clusters are identities, else videos).
    ci : float, default 0.95
        Confidence level of the intervals, between 0 and 1.
    n_untrained : int, default 3
        Number of untrained detectors of the same architecture for the null distribution.
    n_random : int, optional
        Number of random heads: the trained weights behind the tap, shuffled. By default 20 where
        they have a closed form, and 3 where each needs a sweep.
    shuffled : sequence of Detector
        Detectors trained on labels shuffled over clusters, for the label-shuffled null.
    null_of : NeuronTable, optional
        Table of another variant of the same architecture. Its untrained null is reused if it is
        the same.
    seed : int, default 0
        Seed of permutations, resamples, donor images, random heads and first untrained detector.
    batch_size : int, optional
        Images per batch; that of the mode by default. The result does not depend on it.
    images : Images, optional
        Decoded images of the datasets, to share between calls. Each image is decoded once anyway.
    precision : {"float32", "bfloat16", "float16"}
        Precision of the detector up to the tap; the suffix runs in float32.
        ``attrs["deviation"]`` gives, per dataset, how far units and logits are from float32, in
        standard deviations over a sample of images.

    Returns
    -------
    NeuronTable
        Effects with intervals and ranks, dose responses, contributions with p-values, the further
        measures, the effects in null detectors, and the ids of the images used.

    Raises
    ------
    UnknownNameError
        If the layer, a measure, mode, order, output, ablation or grid is unknown.
    ProbeError
        If `n_values` is below 2, the architecture has no default layer, or the measure needs both
        classes and the images used of a dataset are of one class.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> table = probe.neuron_importance(detector, data, "leaky")
    >>> table.data["effect"].dims
    ('dataset', 'unit')
    """
    reading = MODES[mode]
    for name in (measure, *also):
        MEASURES[name]
    check_precision(precision, detector.device)
    if n_values < 2:
        raise ProbeError(f"n_values={n_values} was given; a dose-response needs at least 2.")
    sweep = Sweep(
        reading,
        output or reading.output,
        n_values,
        grid,
        ablation,
        batch_size or reading.batch_size,
        seed,
    )
    given = by_name(data)
    parts = {name: draw(part, reading.most, seed, order) for name, part in given.items()}
    alone = one_class(list(given.values()), mode, order, seed)
    _require_classes(alone, measure)
    traced = trace(detector)
    path = traced.resolve(layer or default_layer(detector))
    program = _compiled(traced, path, positions)
    heads = _heads(n_random, program, measure)
    decoded = images or Images(list(parts.values()), program.input_size, keep=True)
    asking = _Asking(
        sweep,
        measure,
        tuple(also),
        positions,
        n_permutations,
        n_resamples,
        ci,
        seed,
        decoded,
        precision,
    )
    asked = _null_key(detector, path, asking, parts, n_untrained)
    reused = null_of is not None and null_of.data.attrs.get("null_key") == asked
    fresh = list(untrained(detector, 0 if reused else n_untrained, seed))
    total = sum(len(part) for part in parts.values())
    passes = 2 + heads + 2 * (len(fresh) + len(shuffled))
    with progress_bar(f"sweep {detector.name} {path}", passes * total) as advance:
        found = [asking.about(traced, program, part, advance) for part in parts.values()]
        random = _random_effects(detector, program, found, asking, heads, advance)
        nulls = [asking.effects_of(one, path, parts, advance) for one in fresh]
        taught = [asking.effects_of(one, path, parts, advance) for one in shuffled]
    if null_of is not None and reused:
        nulls = list(null_of.data["null_effect"].values)
    measured = _assembled(found, parts, asking)
    shape = measured["effect"].shape
    for name, dim, draws in (
        ("null_effect", "draw", nulls),
        ("head_effect", "head", random),
        ("shuffled_effect", "shuffled", taught),
    ):
        measured[name] = ((dim, "dataset", "unit"), np.reshape(draws, (len(draws), *shape)))
    if any(len(part) < len(given[name]) for name, part in parts.items()):
        measured["sample"] = (("dataset", "image"), _sample_names(parts))
    if precision != FLOAT32:
        measured = measured.assign_attrs(
            precision=precision, deviation=asking.deviation(program, detector, parts)
        )
    return NeuronTable(
        measured.assign_attrs(
            {
                "measure": measure,
                "mode": mode,
                "output": sweep.output,
                "ablation": ablation,
                "grid": grid,
                "positions": int(positions),
                "layer": path,
                "neutral": asking.chosen.neutral,
                "one_sided": int(asking.chosen.one_sided),
                "program": program.explain(),
                **Provenance.made([detector], given.values(), seed=seed, ci=ci).attrs(),
                "spec": detector.spec.to_dict(),
                "order": order,
                "one_class": alone,
                "n_available": {name: len(part) for name, part in given.items()},
                "null_key": asked,
                "n_permutations": n_permutations,
                "n_resamples": n_resamples,
                "cards": {name: dict(part.card) for name, part in parts.items()},
                "splits": {n: sorted(set(p.samples.table["split"])) for n, p in parts.items()},
                "n_samples": {name: len(part) for name, part in parts.items()},
                "n_clusters": {n: len(np.unique(p.samples.clusters)) for n, p in parts.items()},
            }
        )
    )


@dataclass(frozen=True)
class _Found:
    """Evidence of one dataset, and the columns computed from it."""

    states: States
    evidence: Evidence
    columns: dict[str, Floats] = field(default_factory=dict)
    resampled: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True)
class _Asking:
    """Settings of a measurement, the same for every dataset."""

    sweep: Sweep
    measure: str
    also: tuple[str, ...]
    positions: bool
    n_permutations: int
    n_resamples: int
    ci: float
    seed: int
    images: Images
    precision: str

    @property
    def chosen(self) -> Measure:
        """Return the measure of the effect."""
        return MEASURES[self.measure]

    def _states(self, program: SuffixProgram, part: Dataset, detector: Detector) -> States:
        return States(
            program,
            part,
            self.sweep.batch_size,
            self.images,
            detector.device,
            precision=self.precision,
        )

    def deviation(
        self, program: SuffixProgram, detector: Detector, parts: dict[str, Dataset]
    ) -> dict[str, Any]:
        """Measure the deviation from float32 on a sample of images per dataset."""
        drawn = {name: draw(part, MEASURED_ON, self.seed) for name, part in parts.items()}
        return {
            name: prefix_deviation(program, self._states(program, part, detector))
            for name, part in drawn.items()
        }

    def about(
        self,
        traced: TracedDetector,
        program: SuffixProgram,
        part: Dataset,
        advance: Callable[[int], None],
    ) -> _Found:
        """Sweep one dataset and compute its columns."""
        needs = frozenset({"responses", "ablated"}).union(
            *(MEASURES[name].needs for name in (self.measure, *self.also))
        )
        clusters = np.asarray(part.samples.clusters)
        states = self._states(program, part, traced.detector)
        cut = Cut(traced, program.layer, self.positions)
        evidence = gather(program, states, self.sweep, needs, clusters, advance, cut)
        columns, resampled = self._columns(evidence, clusters)
        return _Found(states, evidence, columns, resampled)

    def _columns(self, evidence: Evidence, clusters: Any) -> tuple[dict[str, Floats], Floats]:
        once = np.ones((1, evidence.n_clusters))
        both = len(np.unique(evidence.labels)) == 2
        draws = self._weights(evidence)
        boot = self._resampled(self.chosen, evidence, draws)
        out = {"effect": self.chosen.compute(evidence, once)[0]}
        out["effect_low"], out["effect_high"] = percentile_bounds(boot, self.ci)
        out["slope"] = MEASURES["slope"].compute(evidence, once)[0]
        gap = MEASURES["delta_logit"]
        out["contribution"] = _where(both, gap.compute(evidence, once)[0])
        out["contribution_low"], out["contribution_high"] = percentile_bounds(
            self._resampled(gap, evidence, draws), self.ci
        )
        test = (
            permutation_test(
                evidence.contribution, evidence.labels, clusters, self.n_permutations, self.seed
            )
            if both
            else None
        )
        for name in ("p", "p_max"):
            out[name] = np.asarray(getattr(test, name, np.full(len(evidence.values), np.nan)))
        for name in self.also:
            other = MEASURES[name]
            value = other.compute(evidence, once)[0] if both or not other.labels else np.nan
            out[f"beside {name}"] = np.broadcast_to(value, len(evidence.values))
        return out, boot[:KEPT_RESAMPLES].astype(np.float32)

    def _weights(self, evidence: Evidence) -> Floats:
        """Draw bootstrap weights; NaN, so no intervals, where clusters are too few."""
        if evidence.n_clusters < MIN_CLUSTERS or not self.n_resamples:
            return np.full((1, evidence.n_clusters), np.nan)
        return cluster_counts(evidence.n_clusters, self.n_resamples, self.seed)

    def _resampled(self, measure: Measure, evidence: Evidence, draws: Floats) -> Floats:
        if np.isnan(draws).any():
            return np.full((1, len(evidence.values)), np.nan)
        rows = max(1, (1 << 24) // max(1, evidence.values.size))
        blocks = [
            measure.compute(evidence, draws[start : start + rows])
            for start in range(0, len(draws), rows)
        ]
        return np.concatenate(blocks)

    def effects_of(
        self,
        detector: Detector,
        path: str,
        parts: dict[str, Dataset],
        advance: Callable[[int], None],
    ) -> Floats:
        """Return the effects of a null detector, shape (dataset, unit)."""
        traced = trace(detector)
        program = _compiled(traced, path, self.positions)
        cut = Cut(traced, path, self.positions)
        rows = []
        for part in parts.values():
            states = self._states(program, part, detector)
            rows.append(self.effect(program, states, advance, cut))
        return np.stack(rows)

    def effect(
        self,
        program: SuffixProgram,
        states: States,
        advance: Callable[[int], None],
        cut: Cut | None = None,
    ) -> Floats:
        """Return the effects on one dataset, without intervals, shape (unit,)."""
        none = np.zeros(len(states), dtype=np.int64)
        needs = self.chosen.needs
        evidence = gather(program, states, self.sweep, needs, none, advance, cut)
        return np.asarray(self.chosen.compute(evidence, np.ones((1, 1)))[0])


def _random_effects(
    detector: Detector,
    program: SuffixProgram,
    found: list[_Found],
    asking: _Asking,
    count: int,
    advance: Callable[[int], None],
) -> list[Floats]:
    """Measure random heads on the recorded states; each result has shape (dataset, unit)."""
    out = []
    for head in random_heads(detector, program, count, asking.seed):
        rows = []
        for one in found:
            states = one.states
            if not isinstance(head, AffineProgram):
                # States can carry values from behind the tap, which depend on the weights there.
                states = states.of(states.part, head)
            rows.append(asking.effect(head, states, advance))
        out.append(np.stack(rows))
    return out


def _assembled(found: list[_Found], parts: dict[str, Dataset], asking: _Asking) -> xr.Dataset:
    dims = ("dataset", "unit")
    names = [name for name in found[0].columns if not name.startswith("beside ")]
    columns = {name: (dims, np.stack([one.columns[name] for one in found])) for name in names}
    effects = columns["effect"][1]
    beside = [[one.columns[f"beside {name}"] for one in found] for name in asking.also]
    units = effects.shape[1]
    data = xr.Dataset(
        {
            **columns,
            "rank": (dims, ranks(asking.chosen.strength(effects))),
            "value": ((*dims, "dose"), np.stack([one.evidence.values for one in found])),
            "response": (
                (*dims, "dose"),
                np.stack(
                    [
                        one.evidence.responses(np.ones((1, one.evidence.n_clusters)))[0]
                        for one in found
                    ]
                ),
            ),
            "beside": (("measure", *dims), np.reshape(beside, (len(beside), len(found), units))),
            "resampled": (("resample", *dims), _together([one.resampled for one in found])),
        },
        coords={
            "dataset": list(parts),
            "unit": np.arange(units),
            "measure": list(asking.also),
        },
    )
    return data


def _together(resampled: list[Floats]) -> Floats:
    """Stack over datasets; a dataset without intervals is NaN in every resample."""
    most = max(len(one) for one in resampled)
    full = [
        one if len(one) == most else np.broadcast_to(one[:1], (most, one.shape[1]))
        for one in resampled
    ]
    return np.stack(full, axis=1)


def _compiled(traced: TracedDetector, path: str, positions: bool) -> SuffixProgram:
    return (
        compile_suffix(traced, path, positions=True) if positions else compile_suffix(traced, path)
    )


def _heads(n_random: int | None, program: SuffixProgram, measure: str) -> int:
    affine, needs = isinstance(program, AffineProgram), MEASURES[measure].needs
    if needs & {"gradient", "conductance"} or ("weight" in needs and not affine):
        if n_random:
            raise ProbeError(
                f"n_random={n_random} was given; {measure} is not defined for a random head: "
                "captum needs a network. Give n_random=0, or choose another measure."
            )
        return 0
    if n_random is not None:
        return n_random
    return HEADS_AFFINE if affine else HEADS_RERUN


def _where(defined: bool, values: Floats) -> Floats:
    return values if defined else np.full_like(values, np.nan)


def one_class(
    datasets: Sequence[Dataset], mode: str = "default", order: str = "drawn", seed: int = 0
) -> dict[str, str]:
    """Return the datasets whose used images are of one class, with the reason for each."""
    out = {}
    for part in datasets:
        used = draw(part, MODES[mode].most, seed, order)
        if len(np.unique(used.labels)) == 1:
            out[part.name] = _why_alone(used, part)
    return out


def _why_alone(used: Dataset, given: Dataset) -> str:
    one, other = ("fake", "real") if used.labels[0] == FAKE else ("real", "fake")
    if not (given.labels != used.labels[0]).any():
        return f"dataset {given.name!r} holds no {other} image"
    return (
        f"the first {len(used):,} rows of dataset {given.name!r}, of {len(given):,}, are all {one} "
        "(order='drawn' draws from both classes)"
    )


def _require_classes(alone: dict[str, str], measure: str) -> None:
    if alone and MEASURES[measure].labels:
        raise ProbeError(
            f"Measure {measure!r} compares fakes with reals, but {'; '.join(alone.values())}. "
            "Leave that out, or choose a measure without labels: "
            f"{', '.join(one for one in MEASURES if not MEASURES[one].labels)}."
        )


def _sample_names(parts: dict[str, Dataset]) -> NDArray[np.str_]:
    """Return the ids of the images used, shape (dataset, image), padded with empty text."""
    names = pd.DataFrame([part.samples.table["sample"].tolist() for part in parts.values()])
    return names.fillna("").to_numpy(str)


def _null_key(
    detector: Detector, layer: str, asking: _Asking, parts: dict[str, Dataset], draws: int
) -> str:
    """Return a key of all that an untrained null depends on, which excludes the trained weights."""
    spec, sweep = detector.spec, asking.sweep
    key = [
        spec.name,
        spec.input_size,
        sorted(spec.options.items()),
        layer,
        asking.measure,
        asking.positions,
        sweep.mode.clamp,
        sweep.mode.most,
        sweep.output,
        sweep.n_values,
        sweep.grid,
        sweep.ablation,
        {name: part.fingerprint for name, part in parts.items()},
        draws,
        asking.seed,
    ]
    key += [asking.precision] if asking.precision != FLOAT32 else []
    return json.dumps(key, default=str)


def default_layer(detector: Detector) -> str:
    """Return the layer whose units are measured by default.

    Raises
    ------
    ProbeError
        If the architecture defines no unit layer.
    """
    units = find_architecture(detector.spec.name).units
    if not units:
        raise ProbeError(
            f"{detector.name} has no default layer of units. Give one; list them with "
            f"`probe layers {detector.spec.name}`."
        )
    return units
