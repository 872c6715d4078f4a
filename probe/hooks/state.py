"""A batch held at a tap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

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


def run_prefix(prefix: fx.GraphModule, images: Any) -> State:
    """Run images, shape (n, 3, h, w), up to the tap."""
    device = next(prefix.parameters()).device if any(True for _ in prefix.parameters()) else "cpu"
    with torch.inference_mode():
        value, *bypass = prefix(torch.as_tensor(images).to(device))
    return State(value, tuple(bypass))
