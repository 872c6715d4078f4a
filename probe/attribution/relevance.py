"""Methods that propagate relevance or attention through the layers: LRP and attention rollout."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from captum.attr import LRP
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn

from probe.attribution.gradients import quiet, single
from probe.attribution.problem import (
    RULED,
    Explained,
    Method,
    Problem,
    lrp_refusal,
    register,
    relevance_program,
    start_of,
)
from probe.attribution.rewrite import Rewritten
from probe.hooks.tracing import extract

__all__: list[str] = []

#: captum's own ε, which is absolute.
LEAST = 1e-9


class RelativeEpsilon(EpsilonRule):  # type: ignore[misc]
    """ε rule with ε relative to the root mean square of a layer's output for each image.

    An absolute ε is negligible in one layer and dominant in the next. Relevance absorbed by ε is
    missing from the sum of the map, in exchange for not dividing by outputs near zero.

    Parameters
    ----------
    share : float
        Share of the root mean square; 0 uses captum's own ε.
    n_images : int
        Number of images that run together; the first axis of every output is a multiple of it.
    """

    def __init__(self, share: float, n_images: int) -> None:
        super().__init__(LEAST)
        self.share, self.n_images = share, n_images

    def _create_backward_hook_output(self, outputs: Tensor) -> Any:
        # One ε for a whole batch would make the map of an image depend on the images beside it.
        each = outputs.detach().reshape(self.n_images, -1).square().mean(dim=1).sqrt()
        rows = (self.share * each).clamp(min=LEAST).repeat_interleave(len(outputs) // len(each))
        self.STABILITY_FACTOR = rows.reshape(-1, *(1 for _ in outputs.shape[1:]))
        return super()._create_backward_hook_output(outputs)


def _lrp(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    """Propagate relevance by the ε rule, from the target to the normalized image."""
    program, share = relevance_program(problem).module, float(problem.options["epsilon"])
    for module in program.modules():
        if isinstance(module, RULED):
            module.rule = RelativeEpsilon(share, len(x))
    with torch.no_grad():
        given, value = _normalized(problem, x), problem.program.module(x)
    with quiet():
        relevance = LRP(program).attribute(given.requires_grad_())
    return Explained(relevance.detach(), value, torch.zeros_like(value))


def _normalized(problem: Problem, x: Tensor) -> Tensor:
    graph = problem.traced.graph
    images = next(node for node in graph.nodes if node.op == "placeholder")
    out: Tensor = extract(problem.traced, [images], [start_of(graph)])(x)[0]
    return out.clone()


def _attention(program: Rewritten, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Run images; return the output of every softmax, and the target."""
    kept: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _, __, output: kept.append(output))
        for module in program.modules_of((nn.Softmax,))
    ]
    try:
        value = program.module(x)
    finally:
        for handle in handles:
            handle.remove()
    return kept, value


def _rollout_refusal(problem: Problem) -> str | None:
    program = problem.rewritten(explicit=True)
    with torch.no_grad():
        image = torch.zeros(1, 3, problem.size, problem.size, device=problem.device)
        kept, _ = _attention(program, image)
    if not kept:
        return "it has no attention to roll out. Use gradcam or integrated_gradients"
    if any(one.ndim != 4 or len(one) != 1 for one in kept):
        return (
            "its attention is within windows, and rollout needs attention between all tokens. "
            "Use gradcam or integrated_gradients"
        )
    sides = {one.shape[-2:] for one in kept}
    if len(sides) > 1 or len({n for side in sides for n in side}) > 1:
        return "its layers attend over different tokens, and rollout needs the same in all"
    if _square(problem, kept[0].shape[-1]) is None:
        return f"its {kept[0].shape[-1]} tokens are not a square grid"
    return None


def _square(problem: Problem, tokens: int) -> tuple[int, int] | None:
    """Return the number of tokens before the image's, and the side of their grid."""
    module = problem.traced.detector.module
    prefix = int(getattr(getattr(module, "body", module), "num_prefix_tokens", 0))
    side = round((tokens - prefix) ** 0.5)
    return (prefix, side) if side > 1 and side**2 + prefix == tokens else None


def _rollout(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    """Multiply head-averaged attention over layers; the residual path is half of each layer."""
    with torch.no_grad():
        kept, value = _attention(problem.rewritten(explicit=True), x)
        eye = torch.eye(kept[0].shape[-1], device=x.device)
        rolled = eye.expand(len(x), -1, -1)
        for one in kept:
            rolled = (0.5 * one.mean(dim=1) + 0.5 * eye) @ rolled
    return Explained(_map_of(problem, rolled, x), value)


def _gradient_rollout(
    problem: Problem, x: Tensor, baseline: Tensor | None, first: int
) -> Explained:
    """Weight attention by its positive gradient, and accumulate over layers."""
    kept, value = _attention(problem.rewritten(explicit=True), x.requires_grad_())
    slopes = torch.autograd.grad(value.sum(), kept)
    rolled = torch.eye(kept[0].shape[-1], device=x.device).expand(len(x), -1, -1)
    for one, slope in zip(kept, slopes, strict=True):
        rolled = rolled + (slope * one.detach()).relu().mean(dim=1) @ rolled
    return Explained(_map_of(problem, rolled, x), value.detach())


def _map_of(problem: Problem, rolled: Tensor, x: Tensor) -> Tensor:
    """Return the relevance of image tokens for the class token, or for all tokens without one."""
    found = _square(problem, rolled.shape[-1])
    assert found is not None  # refused before
    prefix, side = found
    row = rolled[:, 0] if prefix else rolled.mean(dim=1)
    maps = row[:, prefix:].reshape(len(x), 1, side, side)
    return F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


register(
    Method(
        "lrp",
        "LRP (ε)",
        "Bach et al. 2015, doi:10.1371/journal.pone.0130140; ε as in Montavon et "
        "al. 2019, doi:10.1007/978-3-030-28954-6_10",
        _lrp,
        lambda problem: problem.rows(extra=4),
        complete=True,
        channels=True,
        refuse=lrp_refusal,
        options={"epsilon": 0.25},
    )
)
register(
    Method(
        "rollout",
        "attention rollout",
        "Abnar and Zuidema 2020, arXiv:2005.00928",
        _rollout,
        single,
        signed=False,
        refuse=_rollout_refusal,
    )
)
register(
    Method(
        "gradient_rollout",
        "gradient rollout",
        "Chefer et al. 2021, arXiv:2103.15679",
        _gradient_rollout,
        single,
        signed=False,
        refuse=_rollout_refusal,
    )
)
