"""Reading the graph behind a tap: what one channel keeps to itself, and what has to run again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from probe.hooks.channelwise import read_step
from probe.hooks.costs import Cost, constants_and_shapes, multiply_adds, row_bytes, value_bytes
from probe.hooks.local import LocalProgram
from probe.hooks.steps import Reading, Step
from probe.hooks.touched import Place, column
from probe.hooks.tracing import TracedDetector, extract
from probe.hooks.values import unit_axis

__all__ = ["read_local"]


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
        Bytes that a batch may take.
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
        source
        for node in nodes
        for source in node.all_input_nodes
        if source in seen and source not in inside
    }
    return [node for node in traced.graph.nodes if node in wanted]


def _used(steps: list[Step], given: list[fx.Node]) -> list[Step]:
    """Leave out steps whose values nobody reads."""
    wanted = set(given)
    kept: list[Step] = []
    for step in reversed(steps):
        if step.node in wanted:
            kept.append(step)
            wanted |= set(step.node.all_input_nodes)
    return kept[::-1]


def _costed(program: LocalProgram, traced: TracedDetector, memory: int) -> LocalProgram:
    """Measure the program and the plain suffix on one blank image."""
    one, size = traced.detector, traced.detector.spec.input_size
    blank = torch.zeros(1, 3, size, size, device=one.device)
    with torch.inference_mode():
        state = program.state(blank)
        base = program.base(state)
        unit = torch.zeros(1, dtype=torch.int64, device=one.device)
        new, made = column(state.value, program.place, unit), list[Tensor]()
        rows: list[Tensor] = []
        update = multiply_adds(lambda: rows.extend(program.rows_of(base, unit, new, made)))
        # Copies: the rest may work on them in place.
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
