"""A batch held at a tap."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from probe.hooks.values import full

__all__ = ["State", "run_prefix"]


@dataclass(frozen=True)
class State:
    """A batch on its way through a detector, held at the tap.

    Attributes
    ----------
    value : Tensor
        The tapped value, samples on axis 0.
    bypass : tuple
        Other values that the suffix needs.
    """

    value: Tensor
    bypass: tuple[Any, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        held = [self.value, *(item for item in self.bypass if isinstance(item, Tensor))]
        return sum(item.element_size() * item.nelement() for item in held)


def run_prefix(prefix: fx.GraphModule, images: Any, suffix: fx.GraphModule | None = None) -> State:
    """Run images, shape (n, 3, h, w), up to the tap, on the device of the weights.

    A tap before all weights has a prefix without any; then the suffix says where they are.
    """
    modules = [prefix] if suffix is None else [prefix, suffix]
    held = (t for one in modules for t in itertools.chain(one.parameters(), one.buffers()))
    device = next((tensor.device for tensor in held), torch.device("cpu"))
    with torch.inference_mode():
        value, *bypass = prefix(torch.as_tensor(images).to(device))
    # What follows runs in float32, in whatever the prefix ran.
    return State(full(value), tuple(map(full, bypass)))
