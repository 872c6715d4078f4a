"""`neuron_importance`: effects of units, dataset by dataset, with intervals, tests and nulls."""

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
from probe.schema import FAKE
from probe.stats import MIN_CLUSTERS, Floats, cluster_counts, percentile_bounds, permutation_test

__all__ = ["default_layer", "neuron_importance", "one_class", "random_heads", "untrained"]


def untrained(detector: Detector, count: int, seed: int) -> Iterator[Detector]:
    """Make detectors of the same architecture with weights as initialized, seed by seed."""
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
    """Shuffle the trained weights behind the tap: a head of the same weights that knows nothing.

    Behind an affine suffix the composed weights are permuted over units; else the entries of every
    weight of a linear or convolutional layer behind the tap, tensor by tensor.
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


#: Bootstrapped effects that a table keeps, for intervals on counts.
KEPT_RESAMPLES = 200

#: Measures that stand beside the chosen one.
BESIDE = ("weight_range", "auroc")

#: Random heads, where each is answered in closed form, and where each costs a sweep.
HEADS_AFFINE, HEADS_RERUN = 20, 3


def neuron_importance(
    detector: Detector,
    datasets: Dataset | Sequence[Dataset],
    layer: str | None = None,
    measure: str = "ace",
    *,
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
    """Measure what each unit does to the fake score, dataset by dataset.

    For every unit u and every dose v over the unit's range in the dataset, the network is run
    under do(h_u = v) and the score is averaged over the images: the dose-response, which the study
    (arXiv:2308.04177) scores by its range and without labels. The same sweep takes each unit out
    (see `ablation`); logit − logit without it is its *contribution* to an image. Contributions
    that are larger on fakes than on reals are what detection gains by the unit: their difference
    is tested by permuting labels over clusters, in every dataset by itself.

    Parameters
    ----------
    detector : Detector
        Whom.
    datasets : Dataset or sequence of Dataset
        On what; a dataset composed of several counts as several.
    layer : str, optional
        The tap; the architecture's unit layer by default. Channels are set over the whole map.
    measure : str, default "ace"
        Registered measure of the effect; `probe.neurons.MEASURES` lists them.
    n_values : int, default 4
        Doses a unit, at least 2.
    mode : {"default", "authors"}
        ``authors`` follows the study as released: 30 batches of 64 images a dataset, range
        [min(lowest, 1), max(highest, 0)], response on P(real).
    order : {"drawn", "first"}
        Which images these are: drawn by the seed over classes, people and videos
        (`probe.datasets.subset.draw`), or the first rows, to the letter of the study. A table that
        lists reals before fakes has one class only among its first rows.
    output : {"logit", "p_fake", "p_real"}, optional
        Scale of the response; the mode's by default (fake logit, or P(real) for the authors').
    ablation : {"mean", "zero", "resample"}
        What a unit is set to where it is taken out: its mean in the dataset, zero, or its value in
        another image of the dataset.
    grid : {"even", "quantile"}
        Doses evenly over the range, or at quantiles from 5 to 95 % of the unit's mean over
        positions.
    also : sequence of str
        Measures to stand beside, as point estimates.
    positions : bool, default False
        Whether every position of a map is a unit of its own, as the study reads a layer.
    n_permutations : int, default 9999
        Of the test; see `permutation_test`.
    n_resamples : int, default 1000
        Of the cluster bootstrap (identities, else videos).
    ci : float, default 0.95
        Coverage of intervals.
    n_untrained : int, default 3
        Untrained detectors of the same architecture measured for the null.
    n_random : int, optional
        Random heads: the trained weights behind the tap, shuffled. By default 20 where each is
        answered in closed form, and 3 where each costs a sweep.
    shuffled : sequence of Detector
        Detectors trained on labels that were shuffled over clusters, for that null.
    null_of : NeuronTable, optional
        A table of another variant of the same architecture, whose untrained null is the same and
        need not be measured again.
    seed : int, default 0
        Seed of permutations, resamples, donors, random heads, and of the first untrained detector.
    batch_size : int, optional
        Images a batch; the mode's by default. The result does not depend on it.
    images : Images, optional
        Decoded images of the datasets, to share between calls; each is decoded once in any case.
    precision : {"float32", "bfloat16", "float16"}
        In which detectors run up to the tap; what is behind it runs in float32. How far units and
        logits then are from those in float32, in standard deviations over images that are drawn,
        stands in ``attrs["deviation"]`` by dataset.

    Returns
    -------
    NeuronTable
        Effects with intervals and ranks, dose-responses, contributions with p-values, the trivial
        explanation, and the effects in detectors that cannot have learned anything; and which
        images were used.

    Raises
    ------
    UnknownNameError
        If the layer, a measure, mode, order, output, ablation or grid is not known.
    ProbeError
        If there are fewer than two doses, no default layer, or the measure needs both classes and
        the images used of a dataset are of one.
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
    given = by_name(datasets)
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
    data = _assembled(found, parts, asking)
    shape = data["effect"].shape
    for name, dim, draws in (
        ("null_effect", "draw", nulls),
        ("head_effect", "head", random),
        ("shuffled_effect", "shuffled", taught),
    ):
        data[name] = ((dim, "dataset", "unit"), np.reshape(draws, (len(draws), *shape)))
    if any(len(part) < len(given[name]) for name, part in parts.items()):
        data["sample"] = (("dataset", "image"), _sample_names(parts))
    if precision != FLOAT32:
        data = data.assign_attrs(
            precision=precision, deviation=asking.deviation(program, detector, parts)
        )
    return NeuronTable(
        data.assign_attrs(
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
                "ci": ci,
                "program": program.explain(),
                "detector": detector.fingerprint,
                "label": detector.name,
                "spec": detector.spec.to_dict(),
                "dataset": {name: part.fingerprint for name, part in given.items()},
                "order": order,
                "one_class": alone,
                "n_available": {name: len(part) for name, part in given.items()},
                "seed": seed,
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
    """One dataset: its evidence, and what is computed from it at once to let the rest go."""

    states: States
    evidence: Evidence
    columns: dict[str, Floats] = field(default_factory=dict)
    resampled: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True)
class _Asking:
    """What is asked of every dataset."""

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
        """The measure of the effect."""
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
        """Measure the precision on some images of every dataset."""
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
        """Draw resamples; none with too few clusters to believe them."""
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
        """Measure a null detector, shape (dataset, unit)."""
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
        """Measure one dataset without intervals, shape (unit,)."""
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
    """Measure random heads on the states at hand, each of shape (dataset, unit)."""
    out = []
    for head in random_heads(detector, program, count, asking.seed):
        rows = []
        for one in found:
            states = one.states
            if not isinstance(head, AffineProgram):
                # Other weights leave other values behind the tap, which states may carry.
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
    """Stack over datasets; a dataset without intervals has NaN in every resample."""
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
                f"n_random={n_random} was given; a random head has no {measure}, which captum "
                "would need a network for. Give n_random=0, or another measure."
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
    """Say of which datasets `neuron_importance` would use images of one class, and why."""
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
    """Name the images used of each dataset, shape (dataset, image); empty text fills up."""
    names = pd.DataFrame([part.samples.table["sample"].tolist() for part in parts.values()])
    return names.fillna("").to_numpy(str)


def _null_key(
    detector: Detector, layer: str, asking: _Asking, parts: dict[str, Dataset], draws: int
) -> str:
    """Identify an untrained null by all that it depends on; the trained weights are not of it."""
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
    """Return the layer whose units are asked for by default.

    Raises
    ------
    ProbeError
        If the architecture has none.
    """
    units = find_architecture(detector.spec.name).units
    if not units:
        raise ProbeError(
            f"{detector.name} has no default layer of units. Give one; list them with "
            f"`probe layers {detector.spec.name}`."
        )
    return units
