"""One channel on its way through the operations that keep it to itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Place", "Touched", "column", "placed"]


@dataclass(frozen=True)
class Place:
    """Where the units of a tap stand in a later value, known before anything runs.

    Attributes
    ----------
    axis : int
        Axis of the units in the full value; −1 where every scalar is one (positions).
    shape : tuple of int
        Shape of the full value for one image, samples included as 1.
    first : int
        Position of unit 0 on the axis; a concatenation moves it.
    features : int
        Consecutive places that a unit takes on the axis; a flattened map gives each as many as it
        has pixels.
    """

    axis: int
    shape: tuple[int, ...]
    first: int = 0
    features: int = 1

    @property
    def width(self) -> int:
        """Places on the axis."""
        return math.prod(self.shape[1:]) if self.axis < 0 else self.shape[self.axis]

    @property
    def extent(self) -> tuple[int, ...]:
        """Shape of one unit's value: all axes but samples and units."""
        if self.axis < 0:
            return ()
        inner = (*self.shape[1 : self.axis], *self.shape[self.axis + 1 :])
        return (*inner, self.features) if self.features > 1 else inner

    def moved(self, shape: tuple[int, ...], **changes: int) -> Place:
        """Return the place in another value."""
        return replace(self, shape=shape, **changes)

    def channel(self, units: Tensor) -> Tensor:
        """Return the index of each unit's parameters in an operation with one set a channel."""
        if self.axis >= 0:
            return units + self.first
        return units // math.prod(self.shape[2:])


@dataclass(frozen=True)
class Touched:
    """Values of some units under some doses.

    Attributes
    ----------
    value : Tensor
        Shape (unit, dose, sample, ...). The sample axis has length 1 as long as the values are the
        same for all samples, and the rest are ones as long as a value is the same everywhere.
    place : Place
        Where these units stand in the full value.
    """

    value: Tensor
    place: Place

    def spread(self) -> Tensor:
        """Give the value with its whole extent."""
        shape = (*self.value.shape[:3], *self.place.extent)
        return self.value.expand(shape)

    @property
    def flat(self) -> bool:
        """Whether the value is the same everywhere on the unit's extent."""
        return all(size == 1 for size in self.value.shape[3:])


def column(full: Tensor, place: Place, units: Tensor) -> Tensor:
    """Take units out of a full value, as shape (unit, 1, sample, ...).

    Parameters
    ----------
    full : Tensor
        Samples on axis 0; of length 1, without samples, for what does not depend on the image.
    place : Place
        Where units stand in it.
    units : Tensor
        Which, shape (unit,).
    """
    if place.axis < 0:
        return full.flatten(1)[:, units].T[:, None]
    if place.features > 1:
        blocks = full.reshape(*full.shape[: place.axis], -1, place.features)
        return blocks.index_select(place.axis, units + place.first).movedim(place.axis, 0)[:, None]
    return full.index_select(place.axis, units + place.first).movedim(place.axis, 0)[:, None]


def placed(full: Tensor, touched: Touched, units: Tensor) -> Tensor:
    """Put units into copies of a full value, as shape (unit · dose · sample, ...)."""
    place, value = touched.place, touched.spread()
    n, (some, doses) = len(full), value.shape[:2]
    out = full.expand(some, doses, *full.shape).clone(memory_format=torch.contiguous_format)
    value = value.expand(some, doses, n, *value.shape[3:])
    if place.axis < 0:
        flat = out.view(some, doses, n, -1)
        for i, unit in enumerate(units.tolist()):
            flat[i, :, :, unit] = value[i]
        return out.flatten(0, 2)
    axis = place.axis + 1  # of what is left when the unit is chosen
    for i, unit in enumerate(units.tolist()):
        here = out[i].narrow(axis, (unit + place.first) * place.features, place.features)
        here.copy_(value[i] if place.features > 1 else value[i].unsqueeze(axis))
    return out.flatten(0, 2)
