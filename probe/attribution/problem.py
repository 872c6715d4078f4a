"""Registry of attribution methods, their properties, and whether a detector supports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from captum.attr._utils.custom_modules import Addition_Module
from torch import Tensor, fx, nn

from probe.attribution.rewrite import Grid, Mean, Rewritten, rewrite
from probe.attribution.targets import Target, UnitMean
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
    "RULED",
    "Refusal",
    "deeplift_refusal",
    "guided_refusal",
    "lrp_refusal",
    "measure_footprint",
    "seeded",
    "start_of",
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


#: Operations that only move values, or read shapes.
MOVING = frozenset(
    "getattr getitem eq _assert size flatten reshape view permute transpose contiguous cat unbind "
    "chunk split clone squeeze unsqueeze floordiv mod pad roll expand movedim".split()
)
#: Functions that are affine if one of their operands is constant.
SCALING = frozenset("add sub truediv mul div".split())
#: Affine functions.
AFFINE = frozenset(("conv2d", "linear", "batch_norm", "avg_pool2d", "adaptive_avg_pool2d"))
LINEAR_MODULES: tuple[type[nn.Module], ...] = (
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    Mean,
    Addition_Module,
    UnitMean,
)
#: Modules with a rule in captum's LRP, or given the ε rule here.
RULED: tuple[type[nn.Module], ...] = (*LINEAR_MODULES, nn.MaxPool2d, nn.LeakyReLU)
RELEVANCE_MODULES: tuple[type[nn.Module], ...] = (*RULED, nn.ReLU)
#: Own modules that rearrange values as maps; they only move values.
LAYOUT = ("ToMaps", "FromMaps", "Identity")
ACTIVATIONS = (nn.ReLU, nn.SiLU, nn.GELU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Hardswish, nn.ReLU6)


def guided_refusal(problem: Problem) -> str | None:
    """Return why guided backprop is not possible: it changes gradients of ReLU only."""
    if problem.program.modules_of((nn.ReLU,)):
        return None
    found = Counter(type(m).__name__ for m in problem.program.modules_of(ACTIVATIONS))
    found.update(
        name
        for name, _, module in problem.program.operations()
        if module is None and name in ("gelu", "silu", "hardswish")
    )
    return (
        f"guided backprop changes gradients of ReLU, and there is none ({_listed(found)}), so "
        "the result would be the plain gradient. Use saliency or integrated_gradients"
    )


def deeplift_refusal(problem: Problem) -> str | None:
    """Return why DeepLIFT is not possible: it needs a rule for all that is not affine."""
    allowed = (*LINEAR_MODULES, *SUPPORTED_NON_LINEAR)
    odd = _odd(problem.program, allowed, MOVING | AFFINE, scaling=True)
    if not odd:
        return None
    return (
        f"captum's DeepLIFT has no rule for {_listed(odd)}, and would silently use plain "
        "gradients there; maps would not sum to what they should. Use integrated_gradients"
    )


def lrp_refusal(problem: Problem) -> str | None:
    """Return why LRP is not possible: it needs a rule for every module."""
    program = relevance_program(problem)
    odd = _odd(program, RELEVANCE_MODULES, MOVING, scaling=False)
    if not odd:
        return None
    return (
        f"captum's LRP has no rule for {_listed(odd)}. Use integrated_gradients, which needs none"
    )


def relevance_program(problem: Problem) -> Rewritten:
    """Rewrite a detector for LRP: from normalized images, with a linear two-way head."""
    start = start_of(problem.traced.graph)
    found = _two_way(problem.target.node) if problem.target.head is None else None
    if found is None:
        return problem.rewritten(start=start)
    both, signs = found
    difference = nn.Linear(2, 1, bias=False)
    difference.weight = nn.Parameter(difference.weight.new_tensor([signs]), False)
    return rewrite(problem.traced, both, start=start, head=difference.to(problem.device))


def start_of(graph: fx.Graph) -> fx.Node:
    """Return the last value that is the images normalized per channel, before anything else."""
    node: fx.Node = next(one for one in graph.nodes if one.op == "placeholder")
    while len(node.users) == 1:
        user = next(iter(node.users))
        name = getattr(user.target, "__name__", "")
        others = [one for one in user.all_input_nodes if one is not node]
        if name not in ("sub", "truediv") or any(one.op != "get_attr" for one in others):
            break
        node = user
    return node


def _two_way(result: fx.Node) -> tuple[fx.Node, list[float]] | None:
    """Return a head's two outputs and their signs, if the logit is their difference; else None."""
    if getattr(result.target, "__name__", "") != "sub" or len(result.args) != 2:
        return None
    sides = [one for one in result.args if isinstance(one, fx.Node)]
    if len(sides) != 2 or any(getattr(n.target, "__name__", "") != "getitem" for n in sides):
        return None
    (more, first), (less, second) = sides[0].args[:2], sides[1].args[:2]
    columns = [(slice(None), 0), (slice(None), 1)]
    if more is not less or not isinstance(more, fx.Node) or first == second:
        return None
    if first not in columns or second not in columns:
        return None
    return more, [1.0 if column == first else -1.0 for column in columns]


def _odd(
    program: Rewritten, modules: Iterable[type[nn.Module]], functions: frozenset[str], scaling: bool
) -> Counter[str]:
    """Count operations that are not among the allowed ones."""
    allowed, odd = set(modules), Counter[str]()
    varying = _varying(program)
    for name, node, module in program.operations():
        if node not in varying:
            continue
        if module is not None:
            right = type(module) in allowed or type(module).__name__ in LAYOUT
        elif scaling and name in SCALING:
            both = sum(one in varying for one in node.all_input_nodes)
            right = both == 1 and (name not in ("truediv", "div") or node.args[0] in varying)
            right = right or (name == "sub" and both == 2)
        else:
            right = name in functions
        if not right:
            odd[name] += 1
    return odd


def _varying(program: Rewritten) -> set[fx.Node]:
    """Return values that depend on the pixels, which shapes do not."""
    found: set[fx.Node] = set()
    for node in program.module.graph.nodes:
        shape = getattr(node.target, "__name__", node.target) in ("getattr", "size")
        if node.op == "placeholder" or (
            not shape and any(source in found for source in node.all_input_nodes)
        ):
            found.add(node)
    return found


def _listed(found: Counter[str]) -> str:
    if not found:
        return "no activation that is known"
    return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in found.most_common(4))
