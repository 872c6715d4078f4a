"""Taps, and activations captured in one forward pass that ends at the last tapped layer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from probe.detectors.detector import Detector
from probe.errors import ProbeError, TraceError
from probe.hooks.tracing import TracedDetector, extract, trace
from probe.registry import Registry

__all__ = [
    "REDUCERS",
    "Recorder",
    "State",
    "Tap",
    "asked_units",
    "capture",
    "check_rows",
    "check_values",
    "full",
    "run_prefix",
    "set_unit",
    "unit_axis",
    "units_first",
]


@dataclass(frozen=True)
class Recorder:
    """A detector compiled to return the values of taps together with the logit.

    Attributes
    ----------
    detector : Detector
        Detector to record.
    taps : tuple of Tap
        Layers to record and their reducers.
    names : tuple of str
        Full module paths of the taps.
    program : torch.fx.GraphModule
        Graph from images to the tapped values and, last, the logits.
    """

    detector: Detector
    taps: tuple[Tap, ...]
    names: tuple[str, ...]
    program: fx.GraphModule

    @classmethod
    def of(cls, detector: Detector | TracedDetector, taps: Sequence[Tap]) -> Recorder:
        """Compile a recorder for a detector and its taps.

        Raises
        ------
        UnknownNameError
            If a layer or a reducer is not known.
        """
        traced = trace(detector) if isinstance(detector, Detector) else detector
        for tap in taps:
            REDUCERS[tap.reducer]
        names = tuple(traced.resolve(tap.layer) for tap in taps)
        images, result = _ends(traced)
        wanted = [traced.layers[name] for name in names]
        return cls(
            traced.detector, tuple(taps), names, extract(traced, [images], [*wanted, result])
        )

    def __call__(self, images: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Run images; return reduced values, shape (n, unit) by layer name, and logits (n,).

        Raises
        ------
        TraceError
            If a layer's value does not have one row per image, or has no unit axis.
        """
        with torch.inference_mode():
            *values, logits = self.program(torch.as_tensor(images).to(self.detector.device))
            rows = list(zip(self.names, self.taps, values, strict=True))
            for name, _, value in rows:
                check_rows(name, value, len(logits))
            return {name: tap.apply(full(value)) for name, tap, value in rows}, logits


def capture(
    detector: Detector | TracedDetector, images: Any, layers: Sequence[str]
) -> dict[str, Tensor]:
    """Return the unreduced activations of layers, as forward hooks would.

    The network runs only as far as the last of these layers. No hooks are attached and the module
    is not changed. Values are copied before a later in-place operation can change them.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Detector to run.
    images : array_like
        Images of shape (n, 3, h, w), in [0, 1].
    layers : sequence of str
        Module paths; ``relu@2`` is the second call of a module that is called several times.

    Returns
    -------
    dict
        Layer name, as given, to its value.

    Raises
    ------
    UnknownNameError
        If there is no such layer.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> values = probe.capture(detector, data.array([0, 1], 64), ["leaky"])
    >>> tuple(values["leaky"].shape)
    (2, 16)
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    wanted = [traced.node(layer) for layer in layers]
    program = extract(traced, [_ends(traced)[0]], wanted)
    with torch.inference_mode():
        values = program(torch.as_tensor(images).to(traced.detector.device))
    return dict(zip(layers, values, strict=True))


def _ends(traced: TracedDetector) -> tuple[fx.Node, Any]:
    """Return the graph's input node (images) and the node of its output (logits)."""
    nodes = list(traced.graph.nodes)
    return nodes[0], nodes[-1].args[0]


#: Reducers from values with units on axis 1, shape (n, unit, ...), to shape (n, unit).
REDUCERS: Registry[Callable[[Tensor], Tensor]] = Registry("reducer")


@dataclass(frozen=True)
class Tap:
    """A layer to tap, and how its value is reduced to shape (sample, unit).

    Attributes
    ----------
    layer : str
        Module path of the layer.
    reducer : str
        Name of a registered reducer, applied over all axes except samples and units.
    axis : int or None
        Axis of the units; None to find it by `unit_axis`.
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
    """Return the axis of a layer's value that holds the units.

    It is 1 for dense values (n, unit), and the last axis for tokens (n, token, unit). For maps
    (n, channel, y, x) it is 1, unless axes 1 and 2 are equal and axis 3 differs: this is a square
    map with channels last.

    Raises
    ------
    TraceError
        If the value does not have two, three or four axes.
    """
    if value.ndim == 4:
        _, a, b, c = value.shape
        return 3 if a == b != c else 1
    if value.ndim in (2, 3):
        return value.ndim - 1
    raise TraceError(
        f"A value of shape {tuple(value.shape)} has no unit axis; dense values (n, unit), tokens "
        "(n, token, unit) and maps (n, channel, y, x) have one. Tap another layer."
    )


def full(value: Any) -> Any:
    """Convert a 16-bit floating-point tensor to float32; return anything else unchanged."""
    half = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


def check_rows(layer: str, value: Tensor, images: int) -> None:
    """Raise `TraceError` unless a layer's value has one row per image.

    Windowed attention, for instance, folds its windows into the first axis.
    """
    if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != images:
        rows = len(value) if isinstance(value, Tensor) and value.ndim else "no"
        raise TraceError(
            f"Layer {layer!r} gives {rows} rows for {images} image{'s' if images > 1 else ''}; "
            "one row per image is needed to assign activations to samples. Tap a layer around it."
        )


def units_first(value: Tensor, axis: int | None = None) -> Tensor:
    """Return a view with the units on axis 1."""
    return value.movedim(unit_axis(value) if axis is None else axis, 1)


def set_unit(value: Tensor, unit: int, to: float | Tensor, axis: int | None = None) -> Tensor:
    """Return a copy in which one unit is set to a value, a channel over its whole map.

    Parameters
    ----------
    value : Tensor
        Value of a layer, samples on axis 0.
    unit : int
        Index on the unit axis.
    to : float or Tensor
        Value to set; a tensor of shape (n,) sets one value per sample.
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
    """Return the indices of the requested units, all of them by default.

    Raises
    ------
    ProbeError
        If an index is out of range or the array is not one-dimensional and of integers.
    """
    if units is None:
        return np.arange(count)
    asked = np.asarray(units)
    if asked.ndim != 1 or not np.issubdtype(asked.dtype, np.integer):
        raise ProbeError(
            f"Units of shape {asked.shape} and type {asked.dtype} were given; give a "
            f"one-dimensional array of integers from 0 to {count - 1}."
        )
    if asked.size and not 0 <= asked.min() <= asked.max() < count:
        raise ProbeError(
            f"Units from {asked.min()} to {asked.max()} were given; allowed are 0 to {count - 1}."
        )
    return asked.astype(np.int64)


def check_values(
    values: NDArray[np.float64], units: int, samples: int, like: Tensor | None = None
) -> Tensor:
    """Return doses as a tensor: double, or with the dtype and device of `like`.

    Raises
    ------
    ProbeError
        If their shape is neither (units, v) nor (samples, units, v).
    """
    given = np.asarray(values, dtype=np.float64)
    if given.shape[:-1] not in ((units,), (samples, units)):
        raise ProbeError(
            f"Values of shape {given.shape} were given; allowed are ({units}, v) or, with one "
            f"value per sample, ({samples}, {units}, v)."
        )
    doses = torch.from_numpy(given)
    # Convert the dtype first: not every device supports doubles.
    return doses if like is None else doses.to(like.dtype).to(like.device)


@dataclass(frozen=True)
class State:
    """The state of a batch at a tap: everything that the suffix needs.

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
        """Size of the held tensors in bytes."""
        held = [self.value, *(item for item in self.bypass if isinstance(item, Tensor))]
        return sum(item.element_size() * item.nelement() for item in held)


def run_prefix(prefix: fx.GraphModule, images: Any, suffix: fx.GraphModule | None = None) -> State:
    """Run images, shape (n, 3, h, w), up to the tap, on the device of the weights.

    If the prefix has no weights, the device is that of the suffix.
    """
    modules = [prefix] if suffix is None else [prefix, suffix]
    held = (t for one in modules for t in itertools.chain(one.parameters(), one.buffers()))
    device = next((tensor.device for tensor in held), torch.device("cpu"))
    with torch.inference_mode():
        value, *bypass = prefix(torch.as_tensor(images).to(device))
    # The suffix runs in float32, whatever the precision of the prefix.
    return State(full(value), tuple(map(full, bypass)))
