"""`LocalProgram`: carry one channel alone, update the first mixing operation, batch the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from probe.hooks.capture import State, asked_units, check_values, run_prefix
from probe.hooks.costs import Cost

__all__ = [
    "LocalProgram",
    "MEMORY",
    "Place",
    "Reading",
    "Run",
    "Step",
    "Touched",
    "column",
    "placed",
]


@dataclass(frozen=True)
class Place:
    """Location of a tap's units in a later value of the graph, known before anything runs.

    Attributes
    ----------
    axis : int
        Axis of the units in the full value; −1 if every scalar is a unit (positions).
    shape : tuple of int
        Shape of the full value for one image, with 1 for the sample axis.
    first : int
        Index of unit 0 on the axis; a concatenation shifts it.
    features : int
        Number of consecutive indices per unit on the axis; after a map is flattened, this is its
        number of pixels.
    """

    axis: int
    shape: tuple[int, ...]
    first: int = 0
    features: int = 1

    @property
    def width(self) -> int:
        """Length of the unit axis."""
        return math.prod(self.shape[1:]) if self.axis < 0 else self.shape[self.axis]

    @property
    def extent(self) -> tuple[int, ...]:
        """Shape of one unit's value: all axes except samples and units."""
        if self.axis < 0:
            return ()
        inner = (*self.shape[1 : self.axis], *self.shape[self.axis + 1 :])
        return (*inner, self.features) if self.features > 1 else inner

    def moved(self, shape: tuple[int, ...], **changes: int) -> Place:
        """Return the location in another value of the given shape."""
        return replace(self, shape=shape, **changes)

    def channel(self, units: Tensor) -> Tensor:
        """Return each unit's index into the parameters of an operation with one set per channel."""
        if self.axis >= 0:
            return units + self.first
        return units // math.prod(self.shape[2:])


@dataclass(frozen=True)
class Touched:
    """Values of intervened units under their doses.

    Attributes
    ----------
    value : Tensor
        Shape (unit, dose, sample, ...). The sample axis has length 1 while the values are the same
        for all samples. The remaining axes have length 1 while a value is the same everywhere.
    place : Place
        Location of these units in the full value.
    """

    value: Tensor
    place: Place

    def spread(self) -> Tensor:
        """Return the value expanded to its full extent."""
        shape = (*self.value.shape[:3], *self.place.extent)
        return self.value.expand(shape)

    @property
    def flat(self) -> bool:
        """Whether the value is constant over the unit's extent."""
        return all(size == 1 for size in self.value.shape[3:])


def column(full: Tensor, place: Place, units: Tensor) -> Tensor:
    """Return the values of units from a full value, shape (unit, 1, sample, ...).

    Parameters
    ----------
    full : Tensor
        Full value with samples on axis 0; of length 1 if it does not depend on the image.
    place : Place
        Location of the units in it.
    units : Tensor
        Indices of the units, shape (unit,).
    """
    if place.axis < 0:
        return full.flatten(1)[:, units].T[:, None]
    if place.features > 1:
        blocks = full.reshape(*full.shape[: place.axis], -1, place.features)
        return blocks.index_select(place.axis, units + place.first).movedim(place.axis, 0)[:, None]
    return full.index_select(place.axis, units + place.first).movedim(place.axis, 0)[:, None]


def placed(full: Tensor, touched: Touched, units: Tensor) -> Tensor:
    """Return copies of a full value with units replaced, shape (unit · dose · sample, ...)."""
    place, value = touched.place, touched.spread()
    n, (some, doses) = len(full), value.shape[:2]
    out = full.expand(some, doses, *full.shape).clone(memory_format=torch.contiguous_format)
    value = value.expand(some, doses, n, *value.shape[3:])
    if place.axis < 0:
        flat = out.view(some, doses, n, -1)
        for i, unit in enumerate(units.tolist()):
            flat[i, :, :, unit] = value[i]
        return out.flatten(0, 2)
    axis = place.axis + 1  # axes of out[i]: dose first, then those of the full value
    for i, unit in enumerate(units.tolist()):
        here = out[i].narrow(axis, (unit + place.first) * place.features, place.features)
        here.copy_(value[i] if place.features > 1 else value[i].unsqueeze(axis))
    return out.flatten(0, 2)


@dataclass(frozen=True)
class Reading:
    """What is known about a graph before it runs.

    Attributes
    ----------
    shapes : mapping
        Node to the shape of its value for one image.
    modules : mapping
        Module path to module.
    constants : mapping
        Node of a weight or constant to its value.
    seen : set
        Nodes that depend on the images.
    places : dict
        Node to the location of the units in its value; filled as steps are read.
    """

    shapes: Mapping[fx.Node, tuple[int, ...]]
    modules: Mapping[str, nn.Module]
    constants: Mapping[fx.Node, Tensor]
    seen: set[fx.Node]
    places: dict[fx.Node, Place]


@dataclass(frozen=True)
class Run:
    """The run of one block of units.

    Attributes
    ----------
    units : Tensor
        Indices of the units, shape (unit,).
    touched : dict
        Node to its value under the intervention.
    base : mapping
        Node to its full value without intervention, samples on axis 0.
    """

    units: Tensor
    touched: dict[fx.Node, Touched]
    base: Mapping[fx.Node, Tensor]

    def old(self, node: fx.Node) -> Tensor:
        """Return the units' values without intervention, shape (unit, 1, sample, ...)."""
        return column(self.base[node], self.touched[node].place, self.units)


@dataclass(frozen=True)
class Step:
    """One operation, applied to a channel alone.

    Attributes
    ----------
    node : torch.fx.Node
        The operation.
    place : Place or None
        Location of the units in its result; None if it mixes channels, and `run` then returns
        full rows of shape (unit · dose · sample, ...).
    run : callable
        Function from `Run` to the value.
    needs : tuple of torch.fx.Node
        Nodes whose values without intervention it reads.
    """

    node: fx.Node
    place: Place | None
    run: Callable[[Run], Tensor]
    needs: tuple[fx.Node, ...] = ()


Floats = NDArray[np.float64]

#: Default memory limit in bytes for a batch of the operations that are run again. Batches much
#: larger than the processor's caches are only slower.
MEMORY = 128 * 1024**2


@dataclass(frozen=True)
class LocalProgram:
    """do(h_u = v) by propagating the intervened channel alone, as far as operations allow.

    A dose is the same for all samples and over the whole map, so channel-local operations run once
    per dose, not once per sample. The first operation that mixes channels adds the channel's
    change to its cached result. Only the operations after it are run again, for many units and
    doses at once.

    Attributes
    ----------
    layer : str
        Name of the tap.
    input_size : int
        Side of the images in pixels.
    prefix, suffix, rest : torch.fx.GraphModule
        From images to the tapped and all cached values; the plain suffix; the operations that are
        run again.
    tap : torch.fx.Node
        Node of the tap.
    place : Place
        Location of the units in the tapped value.
    known : tuple of torch.fx.Node
        Outputs of the prefix after the tapped value, in order.
    fixed : frozenset of torch.fx.Node
        Nodes of `known` that do not depend on the images and have no sample axis.
    steps : tuple of Step
        Channel-local operations and updates, in order.
    given : tuple of torch.fx.Node
        Inputs of `rest`: results of updates, copies with intervened values, and other values.
    plain : tuple of torch.fx.Node
        Inputs of the plain suffix after the tapped value.
    cost : Cost
        Multiply-adds.
    rows, plain_rows : int
        Largest batch, in rows, of `rest` and of the plain suffix.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    suffix: fx.GraphModule
    rest: fx.GraphModule
    tap: fx.Node
    place: Place
    known: tuple[fx.Node, ...]
    fixed: frozenset[fx.Node]
    steps: tuple[Step, ...]
    given: tuple[fx.Node, ...]
    plain: tuple[fx.Node, ...]
    cost: Cost
    rows: int
    plain_rows: int

    @property
    def units(self) -> int:
        """Number of units."""
        return self.place.width

    @property
    def positions(self) -> bool:
        """Whether every scalar of the tapped value is a unit."""
        return self.place.axis < 0

    def state(self, images: Any) -> State:
        """Run images, shape (n, 3, h, w), up to the tap; keep the values that all sweeps share."""
        return run_prefix(self.prefix, images, self.suffix)

    def base(self, state: State) -> dict[fx.Node, Tensor]:
        """Return the values of a state, without intervention, by node."""
        return {self.tap: state.value, **dict(zip(self.known, state.bypass, strict=True))}

    def sweep(
        self, state: State, values: Floats, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to values, shape (units, v) or (n, units, v); return logits (n, units, v)."""
        asked = asked_units(self.units, units)
        given = check_values(values, len(asked), len(state.value), state.value)
        each = given.ndim == 3
        new = given.permute(1, 2, 0) if each else given[:, :, None]
        new = new.reshape(*new.shape, *[1] * len(self.place.extent))

        def doses(block: _Block) -> Tensor:
            return new[block.units, block.doses, block.samples if each else slice(None)]

        return self._answer(state, asked, new.shape[1], doses)

    def sums(
        self,
        state: State,
        values: Floats,
        probability: bool,
        units: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Return sums over the batch of the logit or P(fake) under each do(), shape (units, v)."""
        logits = torch.from_numpy(self.sweep(state, values, units)).double()
        score = logits.sigmoid() if probability else logits
        return np.asarray(score.sum(dim=0).numpy())

    def donate(
        self, state: State, donor: State, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to their values (channels: maps) in the same row of `donor`.

        Returns logits, shape (n, units).
        """
        asked = asked_units(self.units, units)

        def theirs(block: _Block) -> Tensor:
            some = torch.from_numpy(asked[block.units]).to(donor.value.device)
            return column(donor.value[block.samples], self.place, some)

        return self._answer(state, asked, 1, theirs)[:, :, 0]

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: Floats
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), together; return logits (n, sets)."""
        device, base = state.value.device, self.base(state)
        like = torch.as_tensor(values).to(state.value.dtype).to(device)
        spread = self._mask(like[None])
        out = np.empty((len(state.value), len(sets)), dtype=np.float32)
        for block in _blocks(len(sets), 1, len(state.value), self.plain_rows):
            mask = self._mask(torch.from_numpy(sets[block.units]).to(device))
            with torch.inference_mode():
                value = torch.where(mask[:, None], spread, state.value[block.samples])
                rest = [_repeated(base[node][block.samples], len(mask)) for node in self.plain]
                logits: Tensor = self.suffix(value.flatten(0, 1), *rest)[0]
            out[block.samples, block.units] = logits.view(len(mask), -1).T.float().cpu().numpy()
        return out

    def explain(self) -> str:
        """Describe the compiled operations, what is run again, and the cost."""
        local = [_named(step.node) for step in self.steps if step.place is not None]
        updates = [_named(step.node) for step in self.steps if step.place is None]
        again = [_named(n) for n in self.rest.graph.nodes if n.op.startswith("call")]
        kind = "positions" if self.positions else "units"
        lines = [
            f"{self.layer}: {self.units} {kind}.",
            f"  on the intervened unit alone: {_listed(local) or 'nothing'}",
            f"  updated by its change: {_listed(updates) or 'nothing'}",
            f"  run again: {_listed([name for name in again if name != '_snapshot'])}",
            f"  {self.cost}",
        ]
        return "\n".join(lines)

    def rows_of(
        self,
        base: dict[fx.Node, Tensor],
        units: Tensor,
        new: Tensor,
        made: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """Return the inputs of `rest`, with one row per unit, dose and sample.

        Parameters
        ----------
        base : dict
            Node to its value without intervention.
        units : Tensor
            Indices of the units, shape (unit,).
        new : Tensor
            Their values at the tap, shape (unit, dose, sample or 1, ...).
        made : list of Tensor, optional
            List to which all intermediate values are appended.
        """
        run = Run(units, {self.tap: Touched(new, self.place)}, base)
        full: dict[fx.Node, Tensor] = {}
        for step in self.steps:
            value = step.run(run)
            if made is not None:
                made.append(value)
            if step.place is None:
                full[step.node] = value
            else:
                run.touched[step.node] = Touched(value, step.place)
        return [self._row(node, run, full, new.shape[1]) for node in self.given]

    def _answer(
        self, state: State, asked: NDArray[np.int64], doses: int, new: Callable[[_Block], Tensor]
    ) -> NDArray[np.float32]:
        n, base = len(state.value), self.base(state)
        out = np.empty((n, len(asked), doses), dtype=np.float32)
        for block in _blocks(len(asked), doses, n, self.rows):
            some = {
                node: value if node in self.fixed else value[block.samples]
                for node, value in base.items()
            }
            units = torch.from_numpy(asked[block.units]).to(state.value.device)
            with torch.inference_mode():
                given = new(block)
                logits: Tensor = self.rest(*self.rows_of(some, units, given))[0]
            logits = logits.view(len(units), given.shape[1], -1).permute(2, 0, 1)
            out[block.samples, block.units, block.doses] = logits.float().cpu().numpy()
        return out

    def _row(self, node: fx.Node, run: Run, full: dict[fx.Node, Tensor], doses: int) -> Tensor:
        if node in full:
            return full[node]
        if node in run.touched:
            return placed(run.base[node], run.touched[node], run.units)
        return _repeated(run.base[node], len(run.units) * doses)

    def _mask(self, sets: Tensor) -> Tensor:
        """Reshape sets to broadcast over values, shape (sets, ...) without a sample axis."""
        if self.positions:
            return sets.view(len(sets), *self.place.shape[1:])
        shape = [1] * (len(self.place.shape) - 1)
        shape[self.place.axis - 1] = -1
        return sets.view(len(sets), *shape)


@dataclass(frozen=True)
class _Block:
    """A block of units, doses and samples that is computed together."""

    units: slice
    doses: slice
    samples: slice


def _blocks(units: int, doses: int, samples: int, rows: int) -> Iterator[_Block]:
    """Yield blocks of at most `rows` rows; samples are split last, since they share most work."""
    n = min(samples, rows)
    v = min(doses, rows // n)
    u = min(units, rows // (n * v))
    steps = (range(0, units, u), range(0, doses, v), range(0, samples, n))
    for at, dose, sample in itertools.product(*steps) if units and doses and samples else ():
        yield _Block(slice(at, at + u), slice(dose, dose + v), slice(sample, sample + n))


def _named(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target).removeprefix("body.")
    return str(getattr(node.target, "__name__", node.target))


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} operations)"


def _repeated(value: Tensor, times: int) -> Tensor:
    # Always a copy: the rest may change it in place, and the next block needs it again.
    return value.repeat(times, *[1] * (value.ndim - 1))
