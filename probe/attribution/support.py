"""Checks whether a detector's graph supports a method, and reasons if it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from captum.attr._utils.custom_modules import Addition_Module
from torch import fx, nn

from probe.attribution.problem import Problem
from probe.attribution.rewrite import Mean, Rewritten, rewrite
from probe.attribution.targets import UnitMean

__all__ = ["RULED", "deeplift_refusal", "guided_refusal", "lrp_refusal", "start_of"]

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
