"""What one image takes of memory, and how many fit a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from probe.budget import parse_memory
from probe.errors import ProbeError

__all__ = ["Footprint", "measure_footprint"]

#: Bytes taken for each byte of tensors that is known of: workspaces of convolutions, gradients on
#: their way, and what the allocator keeps.
MARGIN = 1.6
#: More rows at once than this gain nothing.
MOST_ROWS = 64


@dataclass(frozen=True)
class Footprint:
    """Bytes of tensors that one image takes.

    Attributes
    ----------
    forward : int
        Most that are alive at once in a pass without gradients.
    backward : int
        What a pass with gradients keeps for them, and the largest gradients.
    image : int
        The image itself.
    """

    forward: int
    backward: int
    image: int

    def rows(self, memory: str | int, *, gradients: bool, least: int = 1, extra: int = 0) -> int:
        """Return how many images fit a budget.

        Parameters
        ----------
        memory : str or int
            Budget, such as "2G".
        gradients : bool
            Whether the pass needs them.
        least : int, default 1
            Rows that have to fit.
        extra : int, default 0
            Further tensors of an image's size that a method keeps a row.

        Raises
        ------
        ProbeError
            If fewer than `least` fit.
        """
        one = self.backward if gradients else self.forward
        per_row = int(MARGIN * (one + (2 + extra) * self.image))
        rows = min(parse_memory(memory) // per_row, MOST_ROWS)
        if rows < least:
            need = -(-least * per_row // (1 << 20))
            raise ProbeError(
                f"memory={memory!r} was given, and {least} image{'s' if least > 1 else ''} at a "
                f"time already take{'s' if least == 1 else ''} about {need} MB here. Give "
                f"memory='{need}M' or more, or smaller images."
            )
        return rows


class _Counting(fx.Interpreter):
    """Runs a graph and follows how many bytes of its values are alive."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.alive: dict[fx.Node, int] = {}
        self.most = 0

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation and count."""
        result = super().run_node(n)
        if n.op != "get_attr":
            self.alive[n] = _bytes(result)
        self.most = max(self.most, sum(self.alive.values()))
        for node in self.user_to_last_uses.get(n, []):
            self.alive.pop(node, None)
        return result


def measure_footprint(module: fx.GraphModule, image: Tensor) -> Footprint:
    """Run one image, and count the tensors that it takes.

    Parameters
    ----------
    module : torch.fx.GraphModule
        From images to one value each, with weights that want no gradient.
    image : Tensor
        Shape (1, 3, h, w).
    """
    counting = _Counting(module)
    with torch.no_grad():
        counting.run(image)
    kept: dict[int, int] = {}
    largest = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal largest
        if not isinstance(tensor, nn.Parameter):
            size = tensor.numel() * tensor.element_size()
            kept[tensor.untyped_storage()._cdata] = size
            largest = max(largest, size)
        return tensor

    given = image.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        out = module(given)
    del out
    own = image.numel() * image.element_size()
    return Footprint(counting.most, sum(kept.values()) + 3 * largest, own)


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(_bytes(one) for one in value)
    return 0
