"""The registry of attribution methods: what each is, needs and promises, and what it costs."""

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


class Refusal(ProbeError):
    """A method that cannot be applied to a detector, with the reason."""


@dataclass(frozen=True)
class Explained:
    """What a method gives for a batch.

    Attributes
    ----------
    maps : Tensor
        Shape (n, y, x), or (n, channel, y, x) for a method with channels.
    value : Tensor or None
        The target on the images, shape (n,), where the method comes by it.
    baseline_value : Tensor or None
        The target on the baseline, likewise.
    """

    maps: Tensor
    value: Tensor | None = None
    baseline_value: Tensor | None = None


@dataclass
class Problem:
    """What is explained, ready for a method.

    Attributes
    ----------
    traced : TracedDetector
        Whom.
    target : Target
        What of it.
    program : Rewritten
        From images to the target.
    layer : str
        Layer whose maps are weighted; "" where the method needs none.
    grid : Grid or None
        How it is laid out.
    memory : str or int
        Budget of a batch.
    options : mapping
        Of the method.
    seed : int
        Of its random draws.
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
        """Where the detector is."""
        return self.traced.detector.device

    @property
    def footprint(self) -> Footprint:
        """What one image takes, measured once."""
        if self._footprint is None:
            image = torch.zeros(1, 3, self.size, self.size, device=self.device)
            self._footprint = measure_footprint(self.program.module, image)
        return self._footprint

    def rows(self, *, gradients: bool = True, least: int = 1, extra: int = 0) -> int:
        """Return how many rows the network may see at once; see `Footprint.rows`."""
        return self.footprint.rows(self.memory, gradients=gradients, least=least, extra=extra)

    def rewritten(self, **how: Any) -> Rewritten:
        """Rewrite the detector in another form; see `rewrite`."""
        return rewrite(self.traced, self.target.node, head=self.target.head, **how)


#: From a problem, images (n, 3, h, w), their baselines or None, and the first image's position.
Explain = Callable[[Problem, Tensor, "Tensor | None", int], Explained]


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes
    ----------
    name, title, paper : str
        Registered name; name in figures; source.
    explain : callable
        From (problem, images, baselines, position of the first image) to `Explained`.
    batch : callable
        From a problem to how many images it takes at once within the budget.
    signed : bool
        Whether positive means that the target is pushed up and negative down; else maps are
        magnitudes.
    complete : bool
        Whether a map promises to sum to the target on the image less that on the baseline.
    channels : bool
        Whether there is a value for each of R, G, B.
    layer : bool
        Whether it weights the maps of a layer.
    baseline : str or None
        Default baseline; None where the method has none.
    random : bool
        Whether it draws at random.
    options : mapping
        Option to default.
    refuse : callable or None
        From a problem to the reason why it cannot be solved, or None.
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
        """Return all options, the given ones over the defaults.

        Raises
        ------
        ProbeError
            If the method has no such option, or the value is of another kind.
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
    """Put a method into the registry."""
    return METHODS.register(method.name)(method)


@contextmanager
def seeded(seed: int, position: int, device: torch.device) -> Iterator[None]:
    """Draw by seed and position of an image, whatever else is drawn and in which batches.

    captum draws from the global generators of torch and numpy, on the device of the images; all
    are left as they were. Another device draws other numbers, as another seed would.
    """
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed * 1_000_003 + position)
        np.random.seed((seed * 1_000_003 + position) % (1 << 32))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002
