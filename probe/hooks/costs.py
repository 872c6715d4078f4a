"""Cost of programs: multiply-adds, and bytes per row."""

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
        Per sample, unit and dose: of the program, of the plain suffix, and of the whole network.
    """

    program: int
    suffix: int
    network: int

    def __str__(self) -> str:
        return (
            f"{_short(self.program)} multiply-adds per sample, unit and dose; the plain suffix "
            f"takes {_short(self.suffix)}, the whole network {_short(self.network)}."
        )


def _short(count: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def _addcmul(*shapes: Any, out_shape: tuple[int, ...], **_: Any) -> int:
    """Count an update by one column like a matrix product, with two FLOPs per output element."""
    return 2 * math.prod(out_shape)


_FORMULAS = {torch.ops.aten.addcmul: _addcmul}


def multiply_adds(work: Callable[[], Any]) -> int:
    """Return the number of multiply-adds of `work`, counted by running it once."""
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        work()
    return int(counter.get_total_flops()) // 2


class _Watching(fx.Interpreter):
    """Runs a graph and records all shapes, and the values that do not depend on the images."""

    def __init__(self, traced: TracedDetector, seen: set[fx.Node]) -> None:
        super().__init__(traced.detector.module, graph=traced.graph)
        self.extra, self.seen = traced.constants, seen
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.constants: dict[fx.Node, Tensor] = {}

    def fetch_attr(self, target: str) -> Any:
        """Return an attribute, also one of the constants that tracing removed from the module."""
        return self.extra[target] if target in self.extra else super().fetch_attr(target)

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and record its result."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
            if n not in self.seen:
                self.constants[n] = value.detach()
        return value


def constants_and_shapes(
    traced: TracedDetector, seen: set[fx.Node]
) -> tuple[dict[fx.Node, Tensor], dict[fx.Node, tuple[int, ...]]]:
    """Run one blank image; return the values that do not depend on it, and all shapes."""
    size = traced.detector.spec.input_size
    watching = _Watching(traced, seen)
    with torch.inference_mode():
        watching.run(torch.zeros(1, 3, size, size, device=traced.detector.device))
    return watching.constants, watching.shapes


def row_bytes(module: fx.GraphModule, rows: list[Tensor]) -> int:
    """Estimate the bytes per row: its inputs and the three largest intermediate values."""
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
    """Return the size of a tensor in bytes."""
    return value.element_size() * value.nelement()
