"""Taps: which axis of a value holds the units, how the others are reduced; a batch held at one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from probe.errors import ProbeError, TraceError
from probe.registry import Registry

__all__ = [
    "REDUCERS",
    "State",
    "Tap",
    "asked_units",
    "check_rows",
    "check_values",
    "full",
    "run_prefix",
    "set_unit",
    "unit_axis",
    "units_first",
]

#: From values with units on axis 1, shape (n, unit, ...), to (n, unit).
REDUCERS: Registry[Callable[[Tensor], Tensor]] = Registry("reducer")


@dataclass(frozen=True)
class Tap:
    """A named value in the graph and how it becomes (sample, unit).

    Attributes
    ----------
    layer : str
        Module path.
    reducer : str
        Name of a registered reducer, applied over all axes but sample and unit.
    axis : int or None
        Axis of the units; None finds it by `unit_axis`.
    """

    layer: str
    reducer: str = "mean"
    axis: int | None = None

    def apply(self, value: Tensor) -> Tensor:
        """Reduce a value of the layer to shape (n, unit)."""
        return REDUCERS[self.reducer](units_first(value, self.axis))


@REDUCERS.register("mean")
def _mean(value: Tensor) -> Tensor:
    return value.flatten(2).mean(dim=2) if value.ndim > 2 else value


@REDUCERS.register("max")
def _max(value: Tensor) -> Tensor:
    return value.flatten(2).amax(dim=2) if value.ndim > 2 else value


@REDUCERS.register("rms")
def _rms(value: Tensor) -> Tensor:
    return value.flatten(2).square().mean(dim=2).sqrt() if value.ndim > 2 else value.abs()


@REDUCERS.register("full")
def _full(value: Tensor) -> Tensor:
    return value.flatten(1)


def unit_axis(value: Tensor) -> int:
    """Find the axis of the units.

    Dense values (n, unit): 1. Tokens (n, token, unit): the last. Maps: 1, as (n, channel, y, x),
    unless axes 1 and 2 are equal and 3 differs, which is a square map with channels last.

    Raises
    ------
    TraceError
        If the value has another number of axes.
    """
    if value.ndim == 4:
        _, a, b, c = value.shape
        return 3 if a == b != c else 1
    if value.ndim in (2, 3):
        return value.ndim - 1
    raise TraceError(
        f"A value of shape {tuple(value.shape)} has no axis of units; dense values (n, unit), "
        "tokens (n, token, unit) and maps (n, channel, y, x) have. Tap another layer."
    )


def full(value: Any) -> Any:
    """Give a tensor of 16-bit numbers as float32; anything else as it is."""
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


def check_rows(layer: str, value: Tensor, images: int) -> None:
    """Raise `TraceError` unless a layer's value has one row an image.

    Windows of attention, for instance, are folded into the first axis.
    """
    if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != images:
        rows = len(value) if isinstance(value, Tensor) and value.ndim else "no"
        raise TraceError(
            f"Layer {layer!r} gives {rows} rows for {images} image{'s' if images > 1 else ''}; "
            "one row an image is needed to keep its units apart by sample. Tap a layer around it."
        )


def units_first(value: Tensor, axis: int | None = None) -> Tensor:
    """Move the units to axis 1, as a view."""
    return value.movedim(unit_axis(value) if axis is None else axis, 1)


def set_unit(value: Tensor, unit: int, to: float | Tensor, axis: int | None = None) -> Tensor:
    """Return a copy in which one unit is set, a channel over its whole map.

    Parameters
    ----------
    value : Tensor
        A layer's value, samples on axis 0.
    unit : int
        Position on the axis of units.
    to : float or Tensor
        What it is set to; a tensor of shape (n,) sets one value a sample.
    axis : int, optional
        Axis of the units; found by `unit_axis` by default.
    """
    out = value.clone()
    view = units_first(out, axis)[:, unit]
    if isinstance(to, Tensor):
        to = to.to(out).view(-1, *[1] * (view.ndim - 1)).expand_as(view)
        view.copy_(to)
    else:
        view.fill_(to)
    return out


def asked_units(count: int, units: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Give the units that are asked for, all of them by default.

    Raises
    ------
    ProbeError
        If there is no such unit.
    """
    if units is None:
        return np.arange(count)
    asked = np.asarray(units)
    if asked.ndim != 1 or not np.issubdtype(asked.dtype, np.integer):
        raise ProbeError(
            f"Units of shape {asked.shape} and type {asked.dtype} were given; a row of whole "
            f"numbers from 0 to {count - 1} is allowed."
        )
    if asked.size and not 0 <= asked.min() <= asked.max() < count:
        raise ProbeError(
            f"Units from {asked.min()} to {asked.max()} were given; the tap has 0 to {count - 1}."
        )
    return asked.astype(np.int64)


def check_values(
    values: NDArray[np.float64], units: int, samples: int, like: Tensor | None = None
) -> Tensor:
    """Give doses as a tensor of doubles, or of the kind and on the device of another.

    Raises
    ------
    ProbeError
        If their shape is neither (units, v) nor (samples, units, v).
    """
    given = np.asarray(values, dtype=np.float64)
    if given.shape[:-1] not in ((units,), (samples, units)):
        raise ProbeError(
            f"Values of shape {given.shape} were given; allowed are ({units}, v) and, a value a "
            f"sample, ({samples}, {units}, v)."
        )
    doses = torch.from_numpy(given)
    # The kind first: not every device has doubles.
    return doses if like is None else doses.to(like.dtype).to(like.device)


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
