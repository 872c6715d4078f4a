"""What reading an operation gives, and what carrying a channel through it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, fx, nn

from probe.hooks.touched import Place, Touched, column

__all__ = ["Reading", "Run", "Step"]


@dataclass(frozen=True)
class Reading:
    """What is known of a graph before it runs.

    Attributes
    ----------
    shapes : mapping
        Node to the shape of its value for one image.
    modules : mapping
        Path to module.
    constants : mapping
        Node of a weight or constant to its value.
    seen : set
        Nodes that depend on the images.
    places : dict
        Node to where units stand in its value; filled as steps are read.
    """

    shapes: Mapping[fx.Node, tuple[int, ...]]
    modules: Mapping[str, nn.Module]
    constants: Mapping[fx.Node, Tensor]
    seen: set[fx.Node]
    places: dict[fx.Node, Place]


@dataclass(frozen=True)
class Run:
    """One block of units on its way.

    Attributes
    ----------
    units : Tensor
        Which units, shape (unit,).
    touched : dict
        Node to the touched value.
    base : mapping
        Node to the untouched full value, samples on axis 0.
    """

    units: Tensor
    touched: dict[fx.Node, Touched]
    base: Mapping[fx.Node, Tensor]

    def old(self, node: fx.Node) -> Tensor:
        """Take the units' untouched values, shape (unit, 1, sample, ...)."""
        return column(self.base[node], self.touched[node].place, self.units)


@dataclass(frozen=True)
class Step:
    """How one operation is done on a channel alone.

    Attributes
    ----------
    node : torch.fx.Node
        The operation.
    place : Place or None
        Where units stand in its result; None where it mixes them in, and `run` gives full rows of
        shape (unit · dose · sample, ...).
    run : callable
        From `Run` to the value.
    needs : tuple of torch.fx.Node
        Untouched values that it reads.
    """

    node: fx.Node
    place: Place | None
    run: Callable[[Run], Tensor]
    needs: tuple[fx.Node, ...] = ()
