"""Neuron importance: causal sweeps over units, dataset by dataset, as a `NeuronTable`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset, by_name
from probe.detectors.architectures import find_architecture
from probe.detectors.detector import Detector
from probe.detectors.loading import load_detector
from probe.errors import ProbeError, UnknownNameError
from probe.hooks import State, SuffixProgram, compile_suffix, trace
from probe.hooks.values import units_first
from probe.neurons import NeuronTable, ranks
from probe.progress import progress_bar
from probe.registry import Registry

__all__ = ["MEASURES", "MODES", "OUTPUTS", "Mode", "neuron_importance"]

Floats = NDArray[np.float64]

#: From mean responses, shape (unit, dose), to effects, shape (unit,).
MEASURES: Registry[Callable[[Floats], Floats]] = Registry("measure")

#: Scale of the response: the fake logit, P(fake), or P(real) as the study's sigmoid gives.
OUTPUTS = ("logit", "p_fake", "p_real")

#: Held states of a dataset up to this many bytes; beyond, the prefix is run again.
STATE_BYTES = 1024**3


@MEASURES.register("ace")
def _ace(responses: Floats) -> Floats:
    """Range of the mean response over doses (average causal effect, arXiv:2308.04177)."""
    return np.asarray(responses.max(axis=1) - responses.min(axis=1))


@dataclass(frozen=True)
class Mode:
    """A reading of the procedure.

    Attributes
    ----------
    output : str
        Default scale of the response.
    clamp : bool
        Whether the lowest dose is at most 1 and the highest at least 0, as the study has it.
    most : int or None
        Use at most this many images a dataset, in order.
    batch_size : int
        Images a batch.
    """

    output: str
    clamp: bool
    most: int | None
    batch_size: int


MODES: Registry[Mode] = Registry("mode")
MODES.register("default")(Mode("logit", False, None, 64))
MODES.register("authors")(Mode("p_real", True, 30 * 64, 64))


def neuron_importance(
    detector: Detector,
    datasets: Dataset | Sequence[Dataset],
    layer: str | None = None,
    measure: str = "ace",
    *,
    n_values: int = 4,
    mode: str = "default",
    output: str | None = None,
    n_untrained: int = 3,
    null_of: NeuronTable | None = None,
    seed: int = 0,
    batch_size: int | None = None,
) -> NeuronTable:
    """Measure how much setting each unit moves the mean score, dataset by dataset.

    For every unit u and every dose v of an even grid over the unit's range in the dataset, the
    network is run under do(h_u = v) and the score is averaged over the images (labels are not
    used). The measure turns this dose-response into an effect.

    Parameters
    ----------
    detector : Detector
        Whom.
    datasets : Dataset or sequence of Dataset
        On what; a dataset composed of several counts as several.
    layer : str, optional
        The tap; the architecture's unit layer by default. Channels are set over the whole map.
    measure : str, default "ace"
        Registered measure; ``ace`` is max − min of the dose-response.
    n_values : int, default 4
        Doses a unit, at least 2.
    mode : {"default", "authors"}
        ``authors`` follows arXiv:2308.04177 as released: the first 30 batches of 64 images, range
        [min(lowest, 1), max(highest, 0)], response on P(real).
    output : {"logit", "p_fake", "p_real"}, optional
        Scale of the response; the mode's by default (fake logit, or P(real) for the authors').
    n_untrained : int, default 3
        Untrained detectors of the same architecture measured for the null.
    null_of : NeuronTable, optional
        A table of another variant of the same architecture, whose untrained null is the same and
        need not be measured again.
    seed : int, default 0
        Seed of the first untrained detector.
    batch_size : int, optional
        Images a batch; the mode's by default. The result does not depend on it.

    Returns
    -------
    NeuronTable
        Effects, ranks, dose-responses and the effects in untrained detectors.

    Raises
    ------
    UnknownNameError
        If the layer, measure, mode or output is not known.
    ProbeError
        If there are fewer than two doses, or no default layer.
    """
    reading = MODES[mode]
    scale = output or reading.output
    if scale not in OUTPUTS:
        raise UnknownNameError("output", scale, OUTPUTS)
    effect_of = MEASURES[measure]
    if n_values < 2:
        raise ProbeError(f"n_values={n_values} was given; a dose-response needs at least 2.")
    parts = by_name(datasets)
    path = layer or _default_layer(detector)
    sweep = _Sweep(reading, scale, n_values, batch_size or reading.batch_size)
    program = compile_suffix(trace(detector), path)
    asked = _null_key(detector, program.layer, measure, sweep, parts, n_untrained, seed)
    reused = null_of is not None and null_of.data.attrs.get("null_key") == asked
    draws = 0 if reused else n_untrained
    steps = (1 + draws) * sum(sweep.length(part) for part in parts.values())
    with progress_bar(f"sweep {detector.name} {path}", steps) as advance:
        found = {name: sweep.over(program, part, advance) for name, part in parts.items()}
        nulls = [
            [effect_of(sweep.over(other, part, advance)[1]) for part in parts.values()]
            for other in _untrained(detector, path, draws, seed)
        ]
    if null_of is not None and reused:
        nulls = list(null_of.data["null_effect"].values)
    attrs = {
        "measure": measure, "mode": mode, "output": scale, "layer": program.layer,
        "program": program.explain(), "detector": detector.fingerprint, "label": detector.name,
        "spec": detector.spec.to_dict(), "dataset": _fingerprint(parts), "seed": seed,
        "null_key": asked,
        "cards": {name: dict(part.card) for name, part in parts.items()},
        "splits": {name: sorted(set(p.samples.table["split"])) for name, p in parts.items()},
        "n_samples": {name: sweep.length(part) for name, part in parts.items()},
    }  # fmt: skip
    return NeuronTable(_table(found, nulls, effect_of, attrs))


@dataclass(frozen=True)
class _Sweep:
    """How one dataset is swept: twice over its batches, once for ranges, once for responses."""

    mode: Mode
    output: str
    n_values: int
    batch_size: int

    def length(self, part: Dataset) -> int:
        """Images that are used."""
        return min(len(part), self.mode.most or len(part))

    def over(
        self, program: SuffixProgram, part: Dataset, advance: Callable[[int], None]
    ) -> tuple[Floats, Floats]:
        """Give doses and mean responses, both of shape (unit, dose)."""
        states = _States(program, part, self.length(part), self.batch_size)
        low, high = self._range(states)
        values = np.linspace(low, high, self.n_values, axis=1)
        total, count = np.zeros(values.shape), 0
        for state in states:
            total += program.sums(state, values, probability=self.output != "logit")
            count += len(state.value)
            advance(len(state.value))
        means = total / count
        return values, 1 - means if self.output == "p_real" else means

    def _range(self, states: _States) -> tuple[Floats, Floats]:
        low: Any = np.inf
        high: Any = -np.inf
        for state in states:
            flat = units_first(state.value).flatten(2) if state.value.ndim > 2 else state.value
            over = (0,) if flat.ndim == 2 else (0, 2)
            low = np.minimum(low, flat.amin(dim=over).double().cpu().numpy())
            high = np.maximum(high, flat.amax(dim=over).double().cpu().numpy())
        if self.mode.clamp:
            low, high = np.minimum(low, 1.0), np.maximum(high, 0.0)
        return low, high


class _States:
    """The batches of a dataset at the tap; held in memory where they fit."""

    def __init__(self, program: SuffixProgram, part: Dataset, length: int, batch_size: int) -> None:
        self.program, self.batch_size = program, batch_size
        self.part = part if length == len(part) else part.take(range(length))
        self._held: list[State] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[State]:
        yield from self._held
        done = sum(len(state.value) for state in self._held)
        rest = self.part.take(range(done, len(self.part))) if done else self.part
        if done == len(self.part):
            return
        for _, images in rest.batches(self.program.input_size, self.batch_size):
            state = self.program.state(images)
            self._bytes += state.nbytes
            if self._bytes <= STATE_BYTES:
                self._held.append(state)
            yield state


def _untrained(detector: Detector, layer: str, count: int, seed: int) -> Iterator[SuffixProgram]:
    for draw in range(count):
        spec = detector.spec
        fresh = load_detector(
            spec.name, input_size=spec.input_size, seed=seed + 1000 + draw, options=spec.options
        )
        fresh.module.to(detector.device)
        yield compile_suffix(trace(fresh), layer)


def _table(
    found: dict[str, tuple[Floats, Floats]],
    nulls: Sequence[Any],
    effect_of: Callable[[Floats], Floats],
    attrs: dict[str, Any],
) -> xr.Dataset:
    values = np.stack([doses for doses, _ in found.values()])
    responses = np.stack([means for _, means in found.values()])
    effects = np.stack([effect_of(means) for means in responses])
    null = np.array(nulls).reshape(len(nulls), *effects.shape)
    dims = ("dataset", "unit")
    return xr.Dataset(
        {
            "effect": (dims, effects),
            "slope": (dims, responses[:, :, -1] - responses[:, :, 0]),
            "rank": (dims, ranks(effects)),
            "value": ((*dims, "dose"), values),
            "response": ((*dims, "dose"), responses),
            "null_effect": (("draw", *dims), null),
        },
        coords={"dataset": list(found), "unit": np.arange(effects.shape[1])},
        attrs=attrs,
    )


def _fingerprint(parts: dict[str, Dataset]) -> dict[str, str]:
    return {name: part.fingerprint for name, part in parts.items()}


def _null_key(
    detector: Detector, layer: str, measure: str, sweep: _Sweep, parts: dict[str, Dataset],
    draws: int, seed: int,
) -> str:  # fmt: skip
    """Identify an untrained null by all that it depends on; the trained weights are not of it."""
    spec = detector.spec
    key = [
        spec.name, spec.input_size, sorted(spec.options.items()), layer, measure, sweep.mode.clamp,
        sweep.mode.most, sweep.output, sweep.n_values, _fingerprint(parts), draws, seed,
    ]  # fmt: skip
    return json.dumps(key, default=str)


def _default_layer(detector: Detector) -> str:
    units = find_architecture(detector.spec.name).units
    if not units:
        raise ProbeError(
            f"{detector.name} has no default layer of units. Give one; list them with "
            f"`probe layers {detector.spec.name}`."
        )
    return units
