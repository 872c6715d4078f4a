"""Targets of explanations: the fake logit, one unit, or a set of units; and the choice of layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from probe.attribution.rewrite import Grid, rewrite
from probe.detectors.architectures import find_architecture
from probe.errors import ProbeError
from probe.hooks.taps import asked_units, check_rows, units_first
from probe.hooks.tracing import TracedDetector, extract

__all__ = ["LOGIT", "Target", "TargetLike", "UnitMean", "choose_layer", "find_target", "grid_of"]

LOGIT = "logit"

#: Targets that `attribute` accepts: "logit", (layer, unit), or (layer, units).
TargetLike = str | tuple[str, int | Sequence[int]]


class UnitMean(nn.Module):
    """Mean of units over their positions and over each other, shape (n,).

    Parameters
    ----------
    units : sequence of int
        Positions on the unit axis; see `probe.hooks.taps.unit_axis`.
    """

    units: Tensor

    def __init__(self, units: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("units", torch.as_tensor(list(units)), persistent=False)

    def forward(self, value: Tensor) -> Tensor:
        """Return the mean."""
        return units_first(value).index_select(1, self.units).flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Target:
    """A value of the graph, and how it is reduced to one number per image.

    Attributes
    ----------
    name : str
        Name in tables: "logit", "block12[417]", "block12[3 units]".
    node : torch.fx.Node
        Node whose value is used.
    head : torch.nn.Module or None
        Module that reduces the value; None if it already is one number per image.
    layer : str
        Name of the layer; "" for the logit.
    units : tuple of int
        Units of that layer.
    """

    name: str
    node: fx.Node
    head: nn.Module | None = None
    layer: str = ""
    units: tuple[int, ...] = ()


def find_target(traced: TracedDetector, target: TargetLike, size: int) -> Target:
    """Find the value to explain in the graph of a detector.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector.
    target : str or tuple
        "logit"; (layer, unit); or (layer, units), whose mean is explained. A unit is averaged
        over its positions, as in activation stores.
    size : int
        Side of the images in pixels, which determines the number of units.

    Raises
    ------
    UnknownNameError
        If the layer is unknown.
    ProbeError
        If the target has another form, or a unit number is out of range.
    """
    if target == LOGIT:
        result = next(node for node in traced.graph.nodes if node.op == "output").args[0]
        assert isinstance(result, fx.Node)  # a detector returns one tensor
        return Target(LOGIT, result)
    if isinstance(target, str) or not isinstance(target, tuple) or len(target) != 2:
        raise ProbeError(
            f"target={target!r} was given; allowed are 'logit', (layer, unit), such as "
            "('block12', 417), and (layer, [unit, …]), which is explained as their mean."
        )
    layer, asked = target
    path = traced.resolve(layer)
    units = [int(asked)] if isinstance(asked, int | np.integer) else [int(one) for one in asked]
    if not units:
        raise ProbeError(f"target={target!r} names no unit; give at least one.")
    value = value_of(traced, path, size)
    check_rows(path, value, len(value))
    asked_units(units_first(value).shape[1], torch.as_tensor(units).numpy())
    short = path.removeprefix("body.")
    name = f"{short}[{units[0]}]" if len(units) == 1 else f"{short}[{len(units)} units]"
    return Target(name, traced.layers[path], UnitMean(units), path, tuple(units))


def value_of(traced: TracedDetector, path: str, size: int) -> Tensor:
    """Return the value of a layer for one black image."""
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    program = extract(traced, [images], [traced.layers[path]])
    with torch.no_grad():
        given = torch.zeros(1, 3, size, size, device=traced.detector.device)
        out: Tensor = program(given)[0]
    return out


def grid_of(traced: TracedDetector, path: str, value: object) -> Grid | None:
    """Return how a layer's value is arranged as maps; None if it is not a map.

    Parameters
    ----------
    traced : TracedDetector
        Traced detector; attribute ``num_prefix_tokens`` gives the number of tokens before those
        of the image.
    path : str
        Name of the layer.
    value : object
        Value of the layer for one image.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point() or len(value) != 1:
        return None
    if value.ndim == 4:
        _, a, b, c = value.shape
        last = a == b != c
        height, width = (a, b) if last else (b, c)
        kind = "channels_last" if last else "channels_first"
        return Grid(kind, height, width) if min(height, width) > 1 else None
    if value.ndim == 3:
        body = getattr(traced.detector.module, "body", traced.detector.module)
        prefix = int(getattr(body, "num_prefix_tokens", 0))
        tokens = value.shape[1] - prefix
        side = round(tokens**0.5)
        return Grid("tokens", side, side, prefix) if side > 1 and side**2 == tokens else None
    return None


def choose_layer(
    traced: TracedDetector, target: Target, layer: str | None, size: int
) -> tuple[str, Grid]:
    """Choose the layer whose maps are weighted, and return it with its arrangement.

    The default of a registered detector is its last convolution. Otherwise, and for a unit as
    target, it is the last layer whose value is a map and that all of the target depends on.

    Raises
    ------
    UnknownNameError
        If the layer is unknown.
    ProbeError
        If the layer's value is not a map, or the target does not depend on it.
    """
    if layer is not None:
        return _asked(traced, target, layer, size)
    before = _leading_to(target.node)
    default = find_architecture(traced.detector.spec.name).last_conv
    if default:
        path = traced.resolve(default)
        grid = grid_of(traced, path, value_of(traced, path, size))
        if grid and traced.layers[path] in before:
            return path, grid
    values = _values(traced, [n for n, node in traced.layers.items() if node in before], size)
    for path, value in reversed(values):
        grid = grid_of(traced, path, value)
        if not grid or not _is_bottleneck(traced.layers[path], target.node):
            continue
        if grid.kind != "tokens" or _matters(traced, target, path, grid, size):
            return path, grid
    raise ProbeError(
        f"{traced.detector.name} has no layer before {target.name} whose value is a map. Give "
        "layer=, or choose a method that needs none, such as saliency."
    )


def _asked(traced: TracedDetector, target: Target, layer: str, size: int) -> tuple[str, Grid]:
    path = traced.resolve(layer)
    if traced.layers[path] not in _leading_to(target.node):
        raise ProbeError(
            f"{target.name} does not depend on layer {layer!r}, which comes after it. Give a "
            "layer before it."
        )
    value = value_of(traced, path, size)
    grid = grid_of(traced, path, value)
    if grid is None:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ProbeError(
            f"Layer {layer!r} of {traced.detector.name} gives {shape} for one image, which is not "
            "a map; allowed are (1, channel, y, x), (1, y, x, channel) and square grids of tokens."
        )
    return path, grid


def _matters(traced: TracedDetector, target: Target, path: str, grid: Grid, size: int) -> bool:
    """Return whether a layer's maps affect the target; after the last attention they may not.

    With a class token, the other tokens are unused there. Tested on one noise image, where a
    gradient of exactly zero has no other cause.
    """
    program = rewrite(traced, target.node, tap=traced.layers[path], grid=grid, head=target.head)
    kept: list[Tensor] = []
    assert program.tap is not None  # a tap was given
    program.tap.register_forward_hook(lambda _, __, output: kept.append(output))
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        value = program.module(noise.to(traced.detector.device).requires_grad_())
        (slope,) = torch.autograd.grad(value.sum(), kept[0])
    return bool((slope != 0).any())


def _values(traced: TracedDetector, names: list[str], size: int) -> list[tuple[str, object]]:
    """Return the values of layers for one black image, in the given order."""
    images = next(node for node in traced.graph.nodes if node.op == "placeholder")
    # Several layers can share a node, such as a block and its last module.
    nodes = list(dict.fromkeys(traced.layers[name] for name in names))
    program = extract(traced, [images], nodes)
    with torch.no_grad():
        given = torch.zeros(1, 3, size, size, device=traced.detector.device)
        found = dict(zip(nodes, program(given), strict=True))
    return [(name, found[traced.layers[name]]) for name in names]


def _leading_to(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    todo = [node]
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += one.all_input_nodes
    return found


def _is_bottleneck(node: fx.Node, target: fx.Node) -> bool:
    """Return whether the target depends on the images only through a node.

    In a residual branch a map is only part of what the detector uses.
    """
    around = {target}
    todo = [target]
    while todo:
        one = todo.pop()
        if one is node:
            continue
        if one.op == "placeholder":
            return False
        for source in one.all_input_nodes:
            if source not in around:
                around.add(source)
                todo.append(source)
    return True
