"""Registry of attribution methods, with their properties, requirements and memory needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from probe.attribution.rewrite import Grid, Rewritten, rewrite
from probe.attribution.targets import Target
from probe.budget import parse_memory
from probe.errors import ProbeError
from probe.hooks.tracing import TracedDetector
from probe.registry import Registry

__all__ = [
    "Explained",
    "Footprint",
    "METHODS",
    "Method",
    "Problem",
    "Refusal",
    "measure_footprint",
    "seeded",
]

#: Bytes needed per byte of known tensors: convolution workspaces, gradients in transit, and memory
#: kept by the allocator.
MARGIN = 1.6
#: Maximum number of rows per pass; more are not faster.
MOST_ROWS = 64


@dataclass(frozen=True)
class Footprint:
    """Memory of the tensors for one image, in bytes.

    Attributes
    ----------
    forward : int
        Largest size of live values in a pass without gradients.
    backward : int
        Size of what a pass with gradients saves, plus the largest gradients.
    image : int
        Size of the image.
    """

    forward: int
    backward: int
    image: int

    def rows(self, memory: str | int, *, gradients: bool, least: int = 1, extra: int = 0) -> int:
        """Return how many images fit in a memory limit.

        Parameters
        ----------
        memory : str or int
            Memory limit, such as "2G".
        gradients : bool
            Whether the pass needs gradients.
        least : int, default 1
            Number of rows that must fit.
        extra : int, default 0
            Further tensors of the image's size that a method holds per row.

        Raises
        ------
        ProbeError
            If fewer than `least` rows fit.
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
    """Runs a graph and tracks the size of live values."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.alive: dict[fx.Node, int] = {}
        self.most = 0

    def run_node(self, n: fx.Node) -> Any:
        """Run one operation and update the size."""
        result = super().run_node(n)
        if n.op != "get_attr":
            self.alive[n] = _bytes(result)
        self.most = max(self.most, sum(self.alive.values()))
        for node in self.user_to_last_uses.get(n, []):
            self.alive.pop(node, None)
        return result


def measure_footprint(module: fx.GraphModule, image: Tensor) -> Footprint:
    """Run one image and measure the memory of its tensors.

    Parameters
    ----------
    module : torch.fx.GraphModule
        Program from images to one value each, with weights that need no gradient.
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


class Refusal(ProbeError):
    """The method cannot be applied to the detector; the message gives the reason."""


@dataclass(frozen=True)
class Explained:
    """Result of a method for a batch.

    Attributes
    ----------
    maps : Tensor
        Shape (n, y, x), or (n, channel, y, x) for a method with channels.
    value : Tensor or None
        Target on the images, shape (n,), if the method computes it.
    baseline_value : Tensor or None
        Target on the baseline, shape (n,), if the method computes it.
    """

    maps: Tensor
    value: Tensor | None = None
    baseline_value: Tensor | None = None


@dataclass
class Problem:
    """An explanation to compute: detector, target, program and settings.

    Attributes
    ----------
    traced : TracedDetector
        Traced detector.
    target : Target
        Value to explain.
    program : Rewritten
        Program from images to the target.
    size : int
        Side of the images in pixels.
    layer : str
        Layer whose maps are weighted; "" if the method needs none.
    grid : Grid or None
        Arrangement of that layer's maps.
    memory : str or int
        Memory limit of a batch.
    options : mapping
        Options of the method.
    seed : int
        Seed of random draws.
    """

    traced: TracedDetector
    target: Target
    program: Rewritten
    size: int
    layer: str = ""
    grid: Grid | None = None
    memory: str | int = "2G"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    _footprint: Footprint | None = None

    @property
    def device(self) -> torch.device:
        """Device of the detector."""
        return self.traced.detector.device

    @property
    def footprint(self) -> Footprint:
        """Memory of one image, measured once."""
        if self._footprint is None:
            image = torch.zeros(1, 3, self.size, self.size, device=self.device)
            self._footprint = measure_footprint(self.program.module, image)
        return self._footprint

    def rows(self, *, gradients: bool = True, least: int = 1, extra: int = 0) -> int:
        """Return the number of rows per pass; see `Footprint.rows`."""
        return self.footprint.rows(self.memory, gradients=gradients, least=least, extra=extra)

    def rewritten(self, **how: Any) -> Rewritten:
        """Rewrite the detector in another form; see `rewrite`."""
        return rewrite(self.traced, self.target.node, head=self.target.head, **how)


#: Takes a problem, images (n, 3, h, w), their baselines or None, and the first image's position.
Explain = Callable[[Problem, Tensor, "Tensor | None", int], Explained]


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes
    ----------
    name, title, paper : str
        Registered name; name in figures; reference.
    explain : callable
        Maps (problem, images, baselines, position of the first image) to `Explained`.
    batch : callable
        Maps a problem to the batch size that fits in memory.
    signed : bool
        Whether positive values increase the target and negative ones decrease it; else maps are
        magnitudes.
    complete : bool
        Whether a map sums to the target on the image − the target on the baseline.
    channels : bool
        Whether there is a map per channel R, G, B.
    layer : bool
        Whether it weights the maps of a layer.
    baseline : str or None
        Default baseline; None if the method uses none.
    random : bool
        Whether it is random.
    options : mapping
        Option to default.
    refuse : callable or None
        Maps a problem to the reason why the method cannot be applied, or None.
    """

    name: str
    title: str
    paper: str
    explain: Explain
    batch: Callable[[Problem], int]
    signed: bool = True
    complete: bool = False
    channels: bool = False
    layer: bool = False
    baseline: str | None = None
    random: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    refuse: Callable[[Problem], str | None] | None = None

    def check_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options: the defaults, updated by the given ones.

        Raises
        ------
        ProbeError
            If the method lacks an option, or a value has the wrong type or is negative.
        """
        for name, value in given.items():
            if name not in self.options:
                known = ", ".join(f"{k}={v!r}" for k, v in self.options.items()) or "none"
                raise ProbeError(
                    f"Option {name}={value!r} was given; {self.name} has these: {known}."
                )
            default = self.options[name]
            right = isinstance(value, type(default)) or (
                isinstance(default, float) and isinstance(value, int)
            )
            if not right or isinstance(value, bool) or (not isinstance(value, str) and value < 0):
                raise ProbeError(
                    f"Option {name}={value!r} was given for {self.name}; allowed is a "
                    f"{type(default).__name__}, such as {default!r}."
                    if not isinstance(default, str)
                    else f"Option {name}={value!r} was given for {self.name}; allowed is a text, "
                    f"such as {default!r}."
                )
        return {**self.options, **given}


#: All attribution methods, by name.
METHODS: Registry[Method] = Registry(
    "attribution method", "List them with `probe attribute --methods`."
)


def register(method: Method) -> Method:
    """Register a method."""
    return METHODS.register(method.name)(method)


@contextmanager
def seeded(seed: int, position: int, device: torch.device) -> Iterator[None]:
    """Seed random draws by seed and image position, independent of batches and other draws.

    captum uses the global generators of torch and numpy on the device of the images; their state is
    restored afterwards. Results differ between devices, as between seeds.
    """
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed * 1_000_003 + position)
        np.random.seed((seed * 1_000_003 + position) % (1 << 32))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
