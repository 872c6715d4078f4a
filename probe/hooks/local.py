"""`LocalProgram`: one channel carried as far as it goes alone, one update, and a batched rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from probe.hooks.channelwise import Reading, Run, Step, read_step
from probe.hooks.costs import Cost, constants_and_shapes, multiply_adds, row_bytes
from probe.hooks.state import State, run_prefix
from probe.hooks.touched import Place, Touched, column, placed
from probe.hooks.tracing import TracedDetector, extract
from probe.hooks.values import unit_axis

__all__ = ["MEMORY", "LocalProgram", "read_local"]

Floats = NDArray[np.float64]

#: Bytes that a batch of the rest may take, unless told otherwise. More than the caches hold only
#: makes it slower.
MEMORY = 128 * 1024**2


@dataclass(frozen=True)
class LocalProgram:
    """do(h_u = v) by carrying the touched channel alone, as far as operations allow.

    A dose is the same for all samples and all over the map, so that channel-local operations are
    done once a dose and not once a sample; the first operation that mixes channels adds to its
    cached result what the channel changes; only what follows is run again, for many units and
    doses at once.

    Attributes
    ----------
    layer : str
        The tap.
    input_size : int
        Side in pixels of the images.
    prefix, suffix, rest : torch.fx.GraphModule
        Images to the tap and all cached values; the plain suffix; what is run again.
    tap : torch.fx.Node
        The tap's node.
    place : Place
        Where units stand in its value.
    known : tuple of torch.fx.Node
        What the prefix gives beside the tapped value, in order.
    steps : tuple of Step
        Channel-local operations and updates, in order.
    given : tuple of torch.fx.Node
        What the rest takes: results of updates, touched values put into copies, others.
    plain : tuple of torch.fx.Node
        What the plain suffix takes beside the tapped value.
    cost : Cost
        Multiply-adds.
    rows : int
        Rows that the rest takes at once.
    """

    layer: str
    input_size: int
    prefix: fx.GraphModule
    suffix: fx.GraphModule
    rest: fx.GraphModule
    tap: fx.Node
    place: Place
    known: tuple[fx.Node, ...]
    steps: tuple[Step, ...]
    given: tuple[fx.Node, ...]
    plain: tuple[fx.Node, ...]
    cost: Cost
    rows: int

    @property
    def units(self) -> int:
        """Number of units."""
        return self.place.width

    @property
    def positions(self) -> bool:
        """Whether every scalar of the tapped value is a unit."""
        return self.place.axis < 0

    def state(self, images: Any) -> State:
        """Run images up to the tap, and keep what later questions share."""
        return run_prefix(self.prefix, images)

    def sweep(
        self, state: State, values: Floats, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to values, shape (units, v) or (n, units, v); give logits (n, units, v)."""
        asked = np.arange(self.units) if units is None else np.asarray(units)
        given = torch.from_numpy(np.asarray(values, dtype=np.float32)).to(state.value.device)
        own = given[:, :, None] if given.ndim == 2 else given.permute(1, 2, 0)
        out = np.empty((len(state.value), *own.shape[:2]), dtype=np.float32)
        for block, start in self._blocks(asked, own.shape[1], len(state.value)):
            new = own[start : start + len(block)]
            new = new.view(*new.shape, *[1] * len(self.place.extent))
            logits = self._logits(state, block, new)
            out[:, start : start + len(block)] = logits.permute(2, 0, 1).float().cpu().numpy()
        return out

    def sums(
        self, state: State, values: Floats, probability: bool,
        units: NDArray[np.int64] | None = None,
    ) -> Floats:  # fmt: skip
        """Sum over the batch of the logit or of P(fake) under each do(); shape (units, v)."""
        logits = torch.from_numpy(self.sweep(state, values, units)).double()
        score = logits.sigmoid() if probability else logits
        return np.asarray(score.sum(dim=0).numpy())

    def donate(
        self, state: State, donor: State, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Give units the value (a channel its map) of the donor's same row; logits (n, units)."""
        asked = np.arange(self.units) if units is None else np.asarray(units)
        out = np.empty((len(state.value), len(asked)), dtype=np.float32)
        for block, start in self._blocks(asked, 1, len(state.value)):
            logits = self._logits(state, block, column(donor.value, self.place, block))
            out[:, start : start + len(block)] = logits[:, 0].T.float().cpu().numpy()
        return out

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: Floats
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), at once; fake logits (n, sets)."""
        n = len(state.value)
        to = torch.from_numpy(np.asarray(values, dtype=np.float32)).to(state.value.device)
        spread = self._mask(to[None], state.value)[0]
        bypass = [self._base(state)[node] for node in self.plain]
        out = np.empty((n, len(sets)), dtype=np.float32)
        together = max(1, self.rows // n)
        with torch.inference_mode():
            for start in range(0, len(sets), together):
                some = torch.from_numpy(sets[start : start + together]).to(state.value.device)
                mask = self._mask(some, state.value)
                value = torch.where(mask[:, None], spread, state.value[None]).flatten(0, 1)
                logits: Tensor = self.suffix(value, *(_repeated(b, len(some)) for b in bypass))[0]
                out[:, start : start + len(some)] = (
                    logits.view(len(some), n).T.float().cpu().numpy()
                )  # fmt: skip
        return out

    def explain(self) -> str:
        """Say what was recognised, what is rerun and what it costs."""
        local = [_named(step.node) for step in self.steps if step.place is not None]
        updates = [_named(step.node) for step in self.steps if step.place is None]
        again = [_named(n) for n in self.rest.graph.nodes if n.op.startswith("call")]
        kind = "positions" if self.positions else "units"
        lines = [
            f"{self.layer}: {self.units} {kind}.",
            f"  on the touched one alone: {_listed(local) or 'nothing'}",
            f"  updated by the touched one: {_listed(updates) or 'nothing'}",
            f"  run again: {_listed([name for name in again if name != '_snapshot'])}",
            f"  {self.cost}",
        ]
        return "\n".join(lines)

    def _mask(self, sets: Tensor, value: Tensor) -> Tensor:
        """Shape sets like values without samples, (sets, ...)."""
        if self.positions:
            return sets.view(len(sets), *value.shape[1:])
        shape = [1] * (value.ndim - 1)
        shape[self.place.axis - 1] = -1
        return sets.view(len(sets), *shape)

    def _blocks(self, asked: NDArray[np.int64], doses: int, n: int) -> Iterator[tuple[Tensor, int]]:
        together = max(1, self.rows // max(1, n * doses))
        for start in range(0, len(asked), together):
            device = next(iter(self.prefix.parameters()), torch.empty(0)).device
            yield torch.from_numpy(asked[start : start + together]).to(device), start

    def _base(self, state: State) -> Mapping[fx.Node, Tensor]:
        return {self.tap: state.value, **dict(zip(self.known, state.bypass, strict=True))}

    def _logits(self, state: State, units: Tensor, new: Tensor) -> Tensor:
        """Answer a block of units, doses given as (unit, dose, sample or 1, ...)."""
        n = len(state.value)
        with torch.inference_mode():
            run = Run(units, {self.tap: Touched(new, self.place)}, self._base(state))
            full: dict[fx.Node, Tensor] = {}
            for step in self.steps:
                value = step.run(run)
                if step.place is None:
                    full[step.node] = value
                else:
                    run.touched[step.node] = Touched(value, step.place)
            rows = [self._row(node, run, full, new.shape[1]) for node in self.given]
            logits: Tensor = self.rest(*rows)[0]
        return logits.view(len(units), new.shape[1], n)

    def _row(self, node: fx.Node, run: Run, full: dict[fx.Node, Tensor], doses: int) -> Tensor:
        """Give a value with one row a unit, dose and sample."""
        if node in full:
            return full[node]
        if node in run.touched:
            return placed(run.base[node], run.touched[node], run.units)
        return _repeated(run.base[node], len(run.units) * doses)


def read_local(
    traced: TracedDetector, tap: fx.Node, layer: str, suffix: fx.GraphModule,
    after: set[fx.Node], seen: set[fx.Node], positions: bool, memory: int,
) -> LocalProgram:  # fmt: skip
    """Read the graph behind a tap.

    Parameters
    ----------
    traced, tap, layer, suffix
        The detector, the tap's node and name, and the plain suffix.
    after, seen : set of torch.fx.Node
        What depends on the tapped value, and on the images.
    positions : bool
        Whether every scalar is a unit.
    memory : int
        Bytes that a batch of the rest may take.
    """
    images, result = next(iter(traced.graph.nodes)), _result(traced)
    constants, shapes = constants_and_shapes(traced, seen)
    shape = shapes[tap]
    axis = -1 if positions else unit_axis(torch.empty(shape))
    place = Place(axis, shape, channels=shape[1:] if positions else ())
    reading = Reading(shapes, _modules(traced), constants, seen, {tap: place})
    steps, rest = _read(traced, tap, result, after, reading)
    updated = {step.node for step in steps if step.place is None}
    given = _inputs(rest, seen, traced)
    used = _used(steps, given, updated)
    behind = [node for node in traced.graph.nodes if node in after and node is not tap]
    plain = [node for node in _inputs(behind, seen, traced) if node is not tap]
    needs = [node for step in used for node in step.needs]
    cached = [node for node in given if node not in updated]
    known = [n for n in dict.fromkeys([*needs, *cached, *plain]) if n is not tap]
    prefix = extract(traced, [images], [tap, *known])
    program = LocalProgram(
        layer, traced.detector.spec.input_size, prefix, suffix, extract(traced, given, [result]),
        tap, place, tuple(known), tuple(used), tuple(given), tuple(plain), Cost(0, 0, 0), 1,
    )  # fmt: skip
    return _costed(program, traced, memory)


def _read(
    traced: TracedDetector, tap: fx.Node, result: fx.Node, after: set[fx.Node], reading: Reading
) -> tuple[list[Step], list[fx.Node]]:
    """Tell channel-local operations and updates from what has to be run again."""
    steps: list[Step] = []
    rest: list[fx.Node] = []
    live = _ancestors(result)
    for node in traced.graph.nodes:
        if node not in after or node is tap or node not in live:
            continue
        inside = [s for s in node.all_input_nodes if s in after]
        # What an in-place operation leaves in an input that the tap does not reach is its result.
        step = read_step(node, reading) if all(s in reading.places for s in inside) else None
        if step is None:
            rest.append(node)
            continue
        steps.append(step)
        if step.place is not None:
            reading.places[node] = step.place
    return steps, rest


def _inputs(nodes: list[fx.Node], seen: set[fx.Node], traced: TracedDetector) -> list[fx.Node]:
    """List what some nodes read from outside that depends on the images, in graph order."""
    inside = set(nodes)
    wanted = {
        source for node in nodes for source in node.all_input_nodes
        if source in seen and source not in inside
    }  # fmt: skip
    return [node for node in traced.graph.nodes if node in wanted]


def _used(steps: list[Step], given: list[fx.Node], updated: set[fx.Node]) -> list[Step]:
    """Leave out steps whose values nobody reads."""
    wanted = set(given)
    kept: list[Step] = []
    for step in reversed(steps):
        if step.node in wanted:
            kept.append(step)
            wanted |= set(step.node.all_input_nodes)
    return kept[::-1]


def _costed(program: LocalProgram, traced: TracedDetector, memory: int) -> LocalProgram:
    """Measure the rest and the plain suffix on one blank image."""
    from dataclasses import replace

    one = traced.detector
    size = one.spec.input_size
    blank = torch.zeros(1, 3, size, size, device=one.device)
    state = program.state(blank)
    unit = torch.zeros(1, dtype=torch.int64, device=one.device)
    new = column(state.value, program.place, unit)
    with torch.inference_mode():
        run = Run(unit, {program.tap: Touched(new, program.place)}, program._base(state))
        rows = []
        full: dict[fx.Node, Tensor] = {}

        def local() -> None:
            for step in program.steps:
                value = step.run(run)
                if step.place is None:
                    full[step.node] = value
                else:
                    run.touched[step.node] = Touched(value, step.place)

        update = multiply_adds(local)
        rows = [program._row(node, run, full, 1) for node in program.given]
        bypass = [program._base(state)[node] for node in program.plain]
        cost = Cost(
            update + multiply_adds(lambda: program.rest(*rows)),
            multiply_adds(lambda: program.suffix(state.value.clone(), *bypass)),
            multiply_adds(lambda: one.module(blank)),
        )
        rows = [program._row(node, run, full, 1) for node in program.given]
        each = row_bytes(program.rest, rows)
    return replace(program, cost=cost, rows=max(1, memory // max(each, 1)))


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found, waiting = set(), [node]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += one.all_input_nodes
    return found


def _result(traced: TracedDetector) -> fx.Node:
    result: Any = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    assert isinstance(result, fx.Node)  # a detector gives one tensor of logits
    return result


def _modules(traced: TracedDetector) -> dict[str, Any]:
    return dict(traced.detector.module.named_modules(remove_duplicate=False))


def _named(node: fx.Node) -> str:
    if node.op == "call_module":
        return str(node.target).removeprefix("body.")
    return str(getattr(node.target, "__name__", node.target))


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} operations)"


def _repeated(value: Tensor, times: int) -> Tensor:
    # Always a copy: the rest may work on it in place, and the next block needs it again.
    return value.repeat(times, *[1] * (value.ndim - 1))
