"""Suffix programs: do(h_u = v) for all units and values by the cheapest exact program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from probe.detectors.detector import Detector
from probe.hooks.affine import AffineProgram, read_affine
from probe.hooks.capture import State, check_rows, run_prefix, set_unit, unit_axis, units_first
from probe.hooks.channel import MEMORY, LocalProgram, Place, Reading, Step, column
from probe.hooks.costs import Cost, constants_and_shapes, multiply_adds, row_bytes, value_bytes
from probe.hooks.rerun import Rerun
from probe.hooks.rules import read_step
from probe.hooks.tracing import TracedDetector, extract, left_behind, trace

__all__ = [
    "AffineProgram",
    "LocalProgram",
    "Rerun",
    "State",
    "SuffixProgram",
    "compile_suffix",
    "intervene",
    "read_local",
    "split",
]


def read_local(
    traced: TracedDetector,
    tap: fx.Node,
    layer: str,
    suffix: fx.GraphModule,
    after: set[fx.Node],
    seen: set[fx.Node],
    positions: bool,
    memory: int,
) -> LocalProgram:
    """Compile a `LocalProgram` from the graph after a tap.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector.
    tap : torch.fx.Node
        Node of the tap.
    layer : str
        Name of the tap.
    suffix : torch.fx.GraphModule
        The plain suffix.
    after, seen : set of torch.fx.Node
        Nodes that depend on the tapped value, and nodes that depend on the images.
    positions : bool
        Whether every scalar is a unit.
    memory : int
        Memory limit of a batch in bytes.
    """
    images, result = next(iter(traced.graph.nodes)), _result(traced)
    constants, shapes = constants_and_shapes(traced, seen)
    place = Place(-1 if positions else unit_axis(torch.empty(shapes[tap])), shapes[tap])
    reading = Reading(shapes, _modules(traced), constants, seen, {tap: place})
    steps, rest = _read(traced, tap, result, after, reading)
    updated = {step.node for step in steps if step.place is None}
    given = _inputs(rest, seen, traced)
    used = _used(steps, given)
    behind = [node for node in traced.graph.nodes if node in after and node is not tap]
    plain = [node for node in _inputs(behind, seen, traced) if node is not tap]
    needs = [node for step in used for node in step.needs]
    cached = [node for node in given if node not in updated]
    known = [n for n in dict.fromkeys([*needs, *cached, *plain]) if n is not tap]
    program = LocalProgram(
        layer,
        traced.detector.spec.input_size,
        extract(traced, [images], [tap, *known]),
        suffix,
        extract(traced, given, [result]),
        tap,
        place,
        tuple(known),
        frozenset(known) - seen,
        tuple(used),
        tuple(given),
        tuple(plain),
        Cost(0, 0, 0),
        1,
        1,
    )
    return _costed(program, traced, memory)


def _read(
    traced: TracedDetector, tap: fx.Node, result: fx.Node, after: set[fx.Node], reading: Reading
) -> tuple[list[Step], list[fx.Node]]:
    """Separate channel-local operations and updates from operations that must be run again."""
    steps: list[Step] = []
    rest: list[fx.Node] = []
    live = _ancestors(result)
    for node in traced.graph.nodes:
        if node not in after or node is tap or node not in live:
            continue
        inside = [s for s in node.all_input_nodes if s in after]
        # `left_behind` of a value that the tap does not reach is handled as the operation's result.
        step = read_step(node, reading) if all(s in reading.places for s in inside) else None
        if step is None:
            rest.append(node)
            continue
        steps.append(step)
        if step.place is not None:
            reading.places[node] = step.place
    return steps, rest


def _inputs(nodes: list[fx.Node], seen: set[fx.Node], traced: TracedDetector) -> list[fx.Node]:
    """Return the image-dependent inputs that nodes read from outside, in graph order."""
    inside = set(nodes)
    wanted = {
        source
        for node in nodes
        for source in node.all_input_nodes
        if source in seen and source not in inside
    }
    return [node for node in traced.graph.nodes if node in wanted]


def _used(steps: list[Step], given: list[fx.Node]) -> list[Step]:
    """Drop steps whose values are never read."""
    wanted = set(given)
    kept: list[Step] = []
    for step in reversed(steps):
        if step.node in wanted:
            kept.append(step)
            wanted |= set(step.node.all_input_nodes)
    return kept[::-1]


def _costed(program: LocalProgram, traced: TracedDetector, memory: int) -> LocalProgram:
    """Return the program with its cost and batch sizes, measured on one blank image."""
    one, size = traced.detector, traced.detector.spec.input_size
    blank = torch.zeros(1, 3, size, size, device=one.device)
    with torch.inference_mode():
        state = program.state(blank)
        base = program.base(state)
        unit = torch.zeros(1, dtype=torch.int64, device=one.device)
        new, made = column(state.value, program.place, unit), list[Tensor]()
        rows: list[Tensor] = []
        update = multiply_adds(lambda: rows.extend(program.rows_of(base, unit, new, made)))
        # Copies, since the rest may change them in place.
        rest = multiply_adds(lambda: program.rest(*(row.clone() for row in rows)))
        bypass = [base[node] for node in program.plain]
        plain = multiply_adds(lambda: program.suffix(state.value.clone(), *bypass))
        whole = multiply_adds(lambda: one.module(blank))
        each = row_bytes(program.rest, rows) + 2 * max(map(value_bytes, made), default=0)
        plainly = row_bytes(program.suffix, [state.value, *bypass])
    return replace(
        program,
        cost=Cost(update + rest, plain, whole),
        rows=max(1, memory // max(each, 1)),
        plain_rows=max(1, memory // max(plainly, 1)),
    )


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


class SuffixProgram(Protocol):
    """The part of a detector between a tap and the logit, compiled for interventions."""

    @property
    def layer(self) -> str:
        """Name of the tap."""

    @property
    def input_size(self) -> int:
        """Side of the images in pixels."""

    def state(self, images: Any) -> State:
        """Run images, shape (n, 3, h, w), up to the tap."""

    @property
    def units(self) -> int:
        """Number of units."""

    @property
    def cost(self) -> Cost | None:
        """Multiply-adds of the program, the plain suffix and the network."""

    @property
    def positions(self) -> bool:
        """Whether every scalar of the tapped value is a unit."""

    def sweep(
        self, state: State, values: NDArray[np.float64], units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to values, shape (units, v) or (n, units, v); return logits (n, units, v)."""

    def sums(
        self,
        state: State,
        values: NDArray[np.float64],
        probability: bool,
        units: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Return sums over the batch of the logit or P(fake) under each do(), shape (units, v)."""

    def donate(
        self, state: State, donor: State, units: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Set units to their values (channels: maps) in the same row of `donor`.

        Returns logits, shape (n, units).
        """

    def ablate_sets(
        self, state: State, sets: NDArray[np.bool_], values: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Set all units of each set, shape (sets, units), together; return logits (n, sets)."""

    def explain(self) -> str:
        """Describe the compiled operations, what is run again, and the cost."""


def split(traced: TracedDetector, layer: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Split a detector at a tap into prefix and suffix.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector to split.
    layer : str
        Name of the tap.

    Returns
    -------
    prefix : torch.fx.GraphModule
        From images to a tuple: the tapped value, then the values that bypass the tap.
    suffix : torch.fx.GraphModule
        From the members of that tuple to a tuple that holds the logits.
    """
    tap = traced.node(layer)
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    result = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    after, seen = _dependants(traced.graph, tap), _dependants(traced.graph, images)
    # Values of weights alone are not passed on: they have no sample axis, and the suffix computes
    # them itself.
    bypass = [
        node
        for node in traced.graph.nodes
        if node in seen
        and node not in after
        and any(user in after and user is not tap for user in node.users)
    ]
    given = [tap, *bypass]
    return extract(traced, [images], given), extract(traced, given, [result])


def _dependants(graph: fx.Graph, start: fx.Node) -> set[fx.Node]:
    found = {start}
    for node in graph.nodes:
        # The input that the tap's own in-place operation changed does not depend on the tap.
        aside = node.target is left_behind and node.args[1] is start
        sources = node.args[:1] if aside else node.all_input_nodes
        if any(source in found for source in sources):
            found.add(node)
    return found


def compile_suffix(
    detector: Detector | TracedDetector,
    layer: str,
    *,
    positions: bool = False,
    memory: int = MEMORY,
) -> SuffixProgram:
    """Compile the part of a detector after a tap into the cheapest exact program.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Detector to compile.
    layer : str
        Name of the tap.
    positions : bool, default False
        Whether every scalar of the value is a unit (as in the study), in the order of
        ``value.flatten(1)``; otherwise the units are channels, or the features of tokens.
    memory : int, default 128 MiB
        Memory limit in bytes of a batch of the operations that are run again.

    Returns
    -------
    SuffixProgram
        `AffineProgram` if everything after a dense tap is affine. `Rerun` if a module after the
        tap could not be traced, forward uses the batch size, a BatchNorm has no running
        statistics, or samples of a batch depend on each other. `LocalProgram` otherwise.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    TraceError
        If the layer's value does not have one row per image, or has no unit axis.
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    prefix, suffix = split(traced, layer)
    name, one = traced.resolve(layer), traced.detector
    size = one.spec.input_size
    # Two different noise images, to test whether rows of a batch are independent.
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, size, size, generator=draw).to(one.device)
    with torch.inference_mode():
        value, *bypass = prefix(images[:1])
    check_rows(name, value, 1)
    if value.ndim == 2:
        modules = dict(one.module.named_modules())
        found = read_affine(traced.graph, traced.node(layer), modules, value.shape[1])
        if found is not None:
            cost = Cost(1, *_costs(traced, suffix, images[:1], value, bypass))
            return AffineProgram(name, size, prefix, *found, cost=cost)
    unit_axis(value)
    reason = _together(traced, prefix, suffix, images)
    if reason is None:
        tap, start = traced.node(layer), next(iter(traced.graph.nodes))
        after, seen = _dependants(traced.graph, tap), _dependants(traced.graph, start)
        return read_local(traced, tap, name, suffix, after, seen, positions, memory)
    count = value[0].numel() if positions else units_first(value).shape[1]
    plain, network = _costs(traced, suffix, images[:1], value, bypass)
    cost = Cost(plain, plain, network)
    return Rerun(name, size, prefix, suffix, count, positions, cost, reason)


def _costs(
    traced: TracedDetector, suffix: fx.GraphModule, images: Tensor, value: Tensor, bypass: list[Any]
) -> tuple[int, int]:
    """Return the multiply-adds of the plain suffix and of the whole network on one image."""
    with torch.inference_mode():
        plain = multiply_adds(lambda: suffix(value, *bypass))
        return plain, multiply_adds(lambda: traced.detector.module(images))


def _together(
    traced: TracedDetector, prefix: fx.GraphModule, suffix: fx.GraphModule, images: Tensor
) -> str | None:
    """Return the reason why the rows of a batch cannot be computed separately, or None."""
    leaves = {str(node.target) for node in suffix.graph.nodes} & set(traced.report.leaves)
    if leaves:
        return f"{min(leaves)} could not be traced"
    if any(_by_batch(part) for part in suffix.modules()):
        return "a BatchNorm after it has no running statistics"
    with torch.inference_mode():
        both, *each = (prefix(images[rows]) for rows in (slice(2), slice(1), slice(1, 2)))
        if any(not isinstance(held, Tensor) or held.ndim == 0 for held in both):
            return "the batch size is used after it"
        if any(len(held) != 1 for held in each[0]):
            return "a value that it is joined with does not have one row per image"
        whole = suffix(*both)[0]
        apart = torch.cat([suffix(*one)[0] for one in each])
    close = torch.allclose(whole, apart, rtol=1e-3, atol=1e-5)
    return None if close else "the rows of a batch depend on each other after it"


def _by_batch(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None


def intervene(
    detector: Detector | TracedDetector, images: Any, layer: str, units: dict[int, float]
) -> NDArray[np.float32]:
    """Score images under do(h_u = v), for one or more units set together.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Detector to run; it is not changed.
    images : array_like
        Images of shape (n, 3, h, w), in [0, 1].
    layer : str
        Name of the tap.
    units : dict
        Unit index to value; a channel is set over its whole map.

    Returns
    -------
    numpy.ndarray
        Fake logits, shape (n,).
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    prefix, suffix = split(traced, layer)
    state = run_prefix(prefix, images, suffix)
    value = state.value
    with torch.inference_mode():
        for unit, to in units.items():
            value = set_unit(value, unit, to)
        logits: Tensor = suffix(value, *state.bypass)[0]
    return np.asarray(logits.float().cpu().numpy())
