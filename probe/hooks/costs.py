"""What programs cost: multiply-adds, and bytes a row."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils.flop_counter import FlopCounterMode

from probe.hooks.tracing import TracedDetector

__all__ = ["Cost", "constants_and_shapes", "multiply_adds", "row_bytes", "value_bytes"]


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of convolutions, linear layers and attention.

    Attributes
    ----------
    program, suffix, network : int
        A sample, unit and dose by the program; by the plain suffix; by the whole network.
    """

    program: int
    suffix: int
    network: int

    def __str__(self) -> str:
        return (
            f"{_short(self.program)} multiply-adds a sample, unit and dose; the plain suffix takes "
            f"{_short(self.suffix)}, the whole network {_short(self.network)}."
        )


def _short(count: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def _addcmul(*shapes: Any, out_shape: tuple[int, ...], **_: Any) -> int:
    """Count an update by one column as the matrix product that it is; two FLOPs a place."""
    return 2 * math.prod(out_shape)


_FORMULAS = {torch.ops.aten.addcmul: _addcmul}


def multiply_adds(work: Callable[[], Any]) -> int:
    """Count the multiply-adds of some work by running it once."""
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        work()
    return int(counter.get_total_flops()) // 2


class _Watching(fx.Interpreter):
    """Runs a graph and notes shapes, sizes, and what does not depend on the images."""

    def __init__(self, traced: TracedDetector, seen: set[fx.Node]) -> None:
        super().__init__(traced.detector.module, graph=traced.graph)
        self.extra, self.seen = traced.constants, seen
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.constants: dict[fx.Node, Tensor] = {}

    def fetch_attr(self, target: str) -> Any:
        """Find constants that tracing took off the module."""
        return self.extra[target] if target in self.extra else super().fetch_attr(target)

    def run_node(self, n: fx.Node) -> Any:
        """Note what a node gives."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
            if n not in self.seen:
                self.constants[n] = value.detach()
        return value


def constants_and_shapes(
    traced: TracedDetector, seen: set[fx.Node]
) -> tuple[dict[fx.Node, Tensor], dict[fx.Node, tuple[int, ...]]]:
    """Run one blank image; give values that do not depend on it, and the shapes of all."""
    size = traced.detector.spec.input_size
    watching = _Watching(traced, seen)
    with torch.inference_mode():
        watching.run(torch.zeros(1, 3, size, size, device=traced.detector.device))
    return watching.constants, watching.shapes


def row_bytes(module: fx.GraphModule, rows: list[Tensor]) -> int:
    """Estimate the bytes that one row takes: its inputs and the three largest values after them."""
    sizes: list[int] = []

    class Sizes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                sizes.append(value_bytes(value))
            return value

    Sizes(module).run(*(row.clone() for row in rows))
    return sum(map(value_bytes, rows)) + sum(sorted(sizes)[-3:])


def value_bytes(value: Tensor) -> int:
    """Bytes of a value."""
    return value.element_size() * value.nelement()
