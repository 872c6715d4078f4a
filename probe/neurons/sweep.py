"""Sweep of one dataset: every unit set to every dose, within a memory budget."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerConductance, LayerGradientXActivation
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from probe.compute import FLOAT32, deviation, on_device
from probe.datasets.dataset import Dataset
from probe.datasets.loader import Images
from probe.errors import UnknownNameError
from probe.hooks import AffineProgram, State, SuffixProgram, split, trace
from probe.hooks.capture import units_first
from probe.hooks.tracing import TracedDetector
from probe.neurons.measures import Evidence
from probe.registry import Registry
from probe.stats import Floats, sigmoid

__all__ = [
    "ABLATIONS",
    "Cut",
    "GRIDS",
    "MODES",
    "Mode",
    "OUTPUTS",
    "Seen",
    "States",
    "Sweep",
    "attributions",
    "base_logits",
    "gather",
    "mean_weight",
    "prefix_deviation",
    "table",
    "unit_values",
]

#: Steps of the path integral of conductance.
STEPS = 32


class Cut(nn.Module):
    """A traced detector whose tapped value passes through an identity module.

    captum attributes to modules. The identity makes a module of any traced value, including the
    second call of a module, and the clone behind it protects the value from in-place changes.

    Parameters
    ----------
    traced : TracedDetector
        Detector to cut.
    layer : str
        Layer whose value is tapped.
    positions : bool, default False
        Whether each scalar of the value is a unit.
    """

    def __init__(self, traced: TracedDetector, layer: str, positions: bool = False) -> None:
        super().__init__()
        prefix, suffix = split(traced, layer)
        self.prefix: fx.GraphModule = prefix
        self.suffix: fx.GraphModule = suffix
        self.tap = nn.Identity()
        self.positions = positions

    def forward(self, images: Tensor) -> Tensor:
        """Return fake logits, shape (n,)."""
        value, *bypass = self.prefix(images)
        out: Tensor = self.suffix(self.tap(value).clone(), *bypass)[0]
        return out

    def by_unit(self, value: Tensor) -> NDArray[np.float32]:
        """Sum attributions over positions; returns shape (n, unit)."""
        if self.positions or value.ndim == 2:
            summed = value.flatten(1)
        else:
            summed = units_first(value).flatten(2).sum(dim=2)
        return np.asarray(summed.detach().float().cpu().numpy())


def attributions(cut: Cut, images: Any, kind: str) -> NDArray[np.float32]:
    """Return attributions of the fake logit to units.

    Parameters
    ----------
    cut : Cut
        The detector, cut at the layer.
    images : array_like
        Shape (n, 3, h, w), in [0, 1].
    kind : {"gradient", "conductance"}
        Method; conductance integrates from the black image in `STEPS` steps.

    Returns
    -------
    numpy.ndarray
        Shape (n, unit).
    """
    device = next(cut.parameters()).device
    given = torch.as_tensor(images).to(device)
    # captum sums over outputs; with one logit per image no target is needed.
    if kind == "gradient":
        found = LayerGradientXActivation(cut, cut.tap, multiply_by_inputs=False).attribute(given)
    else:
        found = LayerConductance(cut, cut.tap).attribute(
            given, torch.zeros_like(given), n_steps=STEPS, internal_batch_size=2 * len(given)
        )
    value = found[0] if isinstance(found, tuple) else found
    return cut.by_unit(value)


def cut_at(detector: Any, layer: str, positions: bool = False) -> Cut:
    """Cut a detector (traced or not) at a layer, for captum."""
    traced = detector if isinstance(detector, TracedDetector) else trace(detector)
    return Cut(traced, layer, positions)


#: Scales of the response: fake logit, P(fake), or P(real) as in the study.
OUTPUTS = ("logit", "p_fake", "p_real")

#: Values of an ablated unit: its mean in the dataset, zero, or its value (for a channel the whole
#: map) in another image of the dataset.
ABLATIONS = ("mean", "zero", "resample")

#: Spacing of doses: evenly over the unit's range, or at quantiles of its mean over positions.
GRIDS = ("even", "quantile")

#: Memory limit in bytes, for a (sample × unit) table and for the states held between passes. Larger
#: tables go to a temporary file; states beyond the limit are computed again.
MEMORY = 1024**3

#: Maximum number of clusters that dose responses are summed by. More clusters are merged at
#: random, which keeps intervals valid and memory bounded.
MOST_CLUSTERS = 256


@dataclass(frozen=True)
class Mode:
    """A variant of the procedure.

    Attributes
    ----------
    output : str
        Default scale of the response.
    clamp : bool
        Whether the lowest dose is at most 1 and the highest at least 0, as in the study.
    most : int or None
        Maximum number of images used per dataset; see `probe.datasets.subset.draw`.
    batch_size : int
        Images per batch.
    """

    output: str
    clamp: bool
    most: int | None
    batch_size: int


MODES: Registry[Mode] = Registry("mode")
MODES.register("default")(Mode("logit", False, None, 64))
MODES.register("authors")(Mode("p_real", True, 30 * 64, 64))


@dataclass(frozen=True)
class Sweep:
    """Settings of the sweep over the units of a dataset.

    Attributes
    ----------
    mode : Mode
        Variant of the procedure.
    output : str
        Scale of the response, one of `OUTPUTS`.
    n_values, grid
        Number of doses, and their spacing (one of `GRIDS`).
    ablation : str
        Value of an ablated unit, one of `ABLATIONS`.
    batch_size : int
        Images per batch.
    seed : int
        Seed of the donor images of ``resample``.
    """

    mode: Mode
    output: str
    n_values: int
    grid: str
    ablation: str
    batch_size: int
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, given, allowed in (
            ("output", self.output, OUTPUTS),
            ("ablation", self.ablation, ABLATIONS),
            ("grid", self.grid, GRIDS),
        ):
            if given not in allowed:
                raise UnknownNameError(kind, given, allowed)


class States:
    """States of a dataset at the tap, batch by batch; held in memory as far as they fit.

    Parameters
    ----------
    program : SuffixProgram
        Program that takes images to the tap.
    part : Dataset
        The dataset.
    batch_size : int
        Images per batch.
    images : Images
        Decoded images of the dataset; can be shared between programs.
    device : torch.device
        Device of the program.
    memory : int, optional
        Memory limit for held states, in bytes.
    precision : str, optional
        Precision of the program up to the tap; the suffix runs in float32.
    """

    def __init__(
        self,
        program: SuffixProgram,
        part: Dataset,
        batch_size: int,
        images: Images,
        device: torch.device,
        memory: int = MEMORY,
        precision: str = FLOAT32,
    ) -> None:
        self.program, self.part, self.batch_size = program, part, batch_size
        self.images, self.device, self.memory = images, device, memory
        self.precision = precision
        self._held: list[State] = []
        self._bytes = 0
        self._seen: Seen | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.part)

    def __iter__(self) -> Iterator[State]:
        """Iterate over batches; batches that are not held are computed again."""
        yield from self._held
        done = sum(len(state.value) for state in self._held)
        if done == len(self.part):
            return
        rest = self.part.take(range(done, len(self.part))) if done else self.part
        full = False
        batches = self.images.batches(rest, self.batch_size)
        run = self.program.state
        for _, state in on_device(batches, self.device, run, self.precision):
            self._bytes += 0 if full else state.nbytes
            full = full or self._bytes > self.memory
            if not full:
                self._held.append(state)
            yield state

    def seen(self, advance: Callable[[int], None] | None = None, *, rows: bool = True) -> Seen:
        """Return the first pass, run once; without `rows`, activations per sample are not kept."""
        if self._seen is None or (rows and not len(self._seen.activation)):
            self._seen = Seen.of(self.program, self, advance, rows=rows)
        return self._seen

    def of(self, part: Dataset, program: SuffixProgram | None = None) -> States:
        """Return the states of other samples from the same images, or of another program."""
        own = program or self.program
        rest = self.images, self.device, self.memory, self.precision
        return States(own, part, self.batch_size, *rest)

    def numbered(self) -> Iterator[tuple[slice, State]]:
        """Iterate over (positions of the samples, state) of the batches."""
        start = 0
        for state in self:
            where = slice(start, start + len(state.value))
            start = where.stop
            yield where, state


def prefix_deviation(program: SuffixProgram, states: States) -> dict[str, Any]:
    """Return the deviation of logits and units from those of a float32 prefix."""

    def run(batch: torch.Tensor) -> dict[str, NDArray[np.float32]]:
        state = program.state(batch)
        units = unit_values(program, state).mean(dim=2).cpu().numpy()
        return {"logit": base_logits(program, state).astype(np.float32), "units": units}

    size = states.batch_size
    batches = lambda: states.images.batches(states.part, size)  # noqa: E731
    return deviation(run, batches, states.device, states.precision)


def unit_values(program: SuffixProgram, state: State) -> torch.Tensor:
    """Return a state's value as (n, unit, position)."""
    value = state.value
    if value.ndim == 2 or getattr(program, "positions", False):
        return value.flatten(1)[:, :, None]
    return units_first(value).flatten(2)


def gather(
    program: SuffixProgram,
    states: States,
    sweep: Sweep,
    needs: frozenset[str],
    clusters: NDArray[Any],
    advance: Callable[[int], None],
    cut: Cut | None = None,
) -> Evidence:
    """Sweep the units of one dataset and collect the evidence for all measures.

    Parameters
    ----------
    program : SuffixProgram
        Suffix program to intervene in; can be another head for the same states.
    states : States
        States of the dataset at the tap.
    sweep : Sweep
        Settings of the sweep.
    needs : frozenset of str
        Names of the evidence that the measures need; see `Measure.needs`.
    clusters : numpy.ndarray
        Shape (n,), cluster of every sample; constant where no intervals are needed.
    advance : callable
        Progress callback; called with the number of images done.
    cut : Cut, optional
        Cut detector, needed for gradients and conductance where the suffix has no closed form.
    """
    seen = states.seen(advance)
    _, codes = np.unique(np.asarray(clusters), return_inverse=True)
    codes, values = _merged(codes), seen.doses(sweep)
    swept = _Swept.of(program, states, sweep, needs, values, seen.reference(sweep), codes, advance)
    wanted = sorted(needs & {"gradient", "conductance"})
    parts = {kind: _attributed(cut, states, kind) for kind in wanted}
    weight = np.full(len(values), np.nan)
    if "gradient" in parts and not isinstance(program, AffineProgram):
        weight = parts["gradient"].mean(axis=0, dtype=np.float64)
    elif "weight" in needs or isinstance(program, AffineProgram):
        weight = mean_weight(program, states, cut)
    return Evidence(
        states.part.labels,
        codes,
        swept.logits,
        values,
        swept.sums,
        swept.ablated,
        seen.activation,
        seen.high - seen.low,
        weight,
        parts,
    )


@dataclass(frozen=True)
class Seen:
    """Result of the first pass over a dataset: the range and mean of each unit.

    Attributes
    ----------
    low, high, mean : numpy.ndarray
        Shape (unit,), over samples and positions.
    activation : numpy.ndarray
        Shape (n, unit), mean over positions; (0, unit) if rows are not kept.
    """

    low: Floats
    high: Floats
    mean: Floats
    activation: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        program: SuffixProgram,
        states: States,
        advance: Callable[[int], None] | None = None,
        *,
        rows: bool = True,
    ) -> Seen:
        """Run the first pass over all batches."""
        low: Any = np.inf
        high: Any = -np.inf
        total: Any = None
        activation: Any = None
        for where, state in states.numbered():
            flat = unit_values(program, state)
            low = np.minimum(low, flat.amin(dim=(0, 2)).cpu().double().numpy())
            high = np.maximum(high, flat.amax(dim=(0, 2)).cpu().double().numpy())
            if activation is None:
                activation = table((len(states) if rows else 0, flat.shape[1]))
                total = np.zeros(flat.shape[1])
            means = flat.mean(dim=2).float().cpu().numpy()
            if rows:
                activation[where] = means
            # Added row by row, so that the sum does not depend on the batch size.
            total = np.add.reduce(np.concatenate([total[None], means]), axis=0)
            if advance is not None:
                advance(len(state.value))
        return cls(low, high, total / len(states), activation)

    def doses(self, sweep: Sweep) -> Floats:
        """Return the doses of each unit, shape (unit, dose)."""
        if sweep.grid == "quantile":
            shares = np.linspace(0.05, 0.95, sweep.n_values)
            return np.asarray(np.quantile(self.activation, shares, axis=0).T, dtype=np.float64)
        low, high = self.low, self.high
        if sweep.mode.clamp:
            low, high = np.minimum(low, 1.0), np.maximum(high, 0.0)
        return np.linspace(low, high, sweep.n_values, axis=1)

    def reference(self, sweep: Sweep) -> Floats | None:
        """Return the values of ablated units, shape (unit,); None for ``resample``."""
        return {"mean": self.mean, "zero": np.zeros_like(self.mean)}.get(sweep.ablation)


@dataclass(frozen=True)
class _Swept:
    """Result of the second pass: logits, summed responses, and logits without each unit."""

    logits: Floats
    sums: Floats
    ablated: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        program: SuffixProgram,
        states: States,
        sweep: Sweep,
        needs: frozenset[str],
        values: Floats,
        reference: Floats | None,
        codes: NDArray[np.int64],
        advance: Callable[[int], None],
    ) -> _Swept:
        units, doses = values.shape
        sums = np.zeros((int(codes.max()) + 1 if "responses" in needs else 0, units, doses))
        ablated = table((len(states) if "ablated" in needs else 0, units))
        logits = np.zeros(len(states))
        donors = iter(_donors(states, sweep))
        for where, state in states.numbered():
            logits[where] = base_logits(program, state)
            if len(sums):
                _add(sums, program, state, values, sweep.output, codes[where])
            if len(ablated):
                ablated[where] = (
                    program.sweep(state, reference[:, None])[:, :, 0]
                    if reference is not None
                    else program.donate(state, next(donors))
                )
            advance(len(state.value))
        if sweep.output == "p_real" and len(sums):
            sums = np.bincount(codes, minlength=len(sums))[:, None, None] - sums
        return cls(logits, sums, ablated)


def _add(
    sums: Floats,
    program: SuffixProgram,
    state: State,
    values: Floats,
    output: str,
    groups: NDArray[np.int64],
) -> None:
    """Add a batch's scores under all doses, per cluster."""
    probability = output != "logit"
    if len(sums) == 1:
        sums[0] += program.sums(state, values, probability=probability)
        return
    logits = program.sweep(state, values)
    scores = sigmoid(logits) if probability else logits.astype(np.float64)
    here, which = np.unique(groups, return_inverse=True)
    member = (which == np.arange(len(here))[:, None]).astype(np.float64)
    sums[here] += (member @ scores.reshape(len(scores), -1)).reshape(-1, *values.shape)


def base_logits(program: SuffixProgram, state: State) -> Floats:
    """Return fake logits of the unchanged detector, shape (n,)."""
    nothing = np.zeros((1, unit_values(program, state).shape[1]), dtype=bool)
    values = np.zeros(nothing.shape[1])
    return np.asarray(program.ablate_sets(state, nothing, values)[:, 0], dtype=np.float64)


def _donors(states: States, sweep: Sweep) -> Iterator[State]:
    """Yield, batch by batch, states of other images of the dataset (one donor per image)."""
    n = len(states)
    order = np.random.default_rng((sweep.seed, n)).permutation(n)
    # A cyclic shift of a random order gives each image another one, and uses each once.
    donor = np.empty(n, dtype=np.int64)
    donor[order] = np.roll(order, 1)
    yield from states.of(states.part.take(donor))


def mean_weight(program: SuffixProgram, states: States, cut: Cut | None) -> Floats:
    """Return the mean gradient of the logit per unit, shape (unit,); the weight if affine."""
    if isinstance(program, AffineProgram):
        return np.asarray(program.weight.cpu().double().numpy())
    total: Any = 0.0
    for _, rows in _attributions(cut, states, "gradient"):
        total = np.add.reduce(np.concatenate([np.broadcast_to(total, rows[:1].shape), rows]), 0)
    return np.asarray(total / len(states), dtype=np.float64)


def _attributions(
    cut: Cut | None, states: States, kind: str
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    assert cut is not None  # callers pass a cut where attributions are needed
    batches = states.images.batches(states.part, states.batch_size)
    return on_device(batches, states.device, lambda x: attributions(cut, x, kind))


def _attributed(cut: Cut | None, states: States, kind: str) -> NDArray[np.float32]:
    out: Any = None
    for where, rows in _attributions(cut, states, kind):
        out = table((len(states), rows.shape[1])) if out is None else out
        out[where] = rows
    return np.asarray(out)


def _merged(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    count = int(codes.max()) + 1
    if count <= MOST_CLUSTERS:
        return codes
    return np.asarray(np.random.default_rng(0).permutation(count)[codes] % MOST_CLUSTERS)


@dataclass
class _Files:
    """Temporary files for tables too large for memory; removed when the process ends."""

    folder: tempfile.TemporaryDirectory[str] | None = None
    count: int = field(default=0)

    def next(self) -> Path:
        self.folder = self.folder or tempfile.TemporaryDirectory(prefix="probe-")
        self.count += 1
        return Path(self.folder.name) / f"{self.count}.f32"


_FILES = _Files()


def table(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Make a (sample, unit) table of zeros in memory, or in a temporary file if it is large."""
    if 4 * shape[0] * shape[1] <= MEMORY:
        return np.zeros(shape, dtype=np.float32)
    return np.memmap(_FILES.next(), dtype=np.float32, mode="w+", shape=shape)
