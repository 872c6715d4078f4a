"""Methods that weight the maps of a layer: Grad-CAM and related methods."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, LayerGradCam, LayerGradientXActivation
from torch import Tensor

from probe.attribution.gradients import quiet, single, valued
from probe.attribution.problem import Explained, Method, Problem, guided_refusal, register

__all__: list[str] = []


def _enlarged(maps: Tensor, x: Tensor) -> Tensor:
    """Upsample maps of a layer, shape (n, y, x), to the size of the images, bilinearly."""
    large = F.interpolate(maps[:, None], x.shape[-2:], mode="bilinear", align_corners=False)
    return large[:, 0]


def _gradcam_maps(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    module, tap = problem.program.module, problem.program.tap
    maps, value = valued(module, lambda: LayerGradCam(module, tap).attribute(x))
    return maps[:, 0], value


def _gradcam(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    maps, value = _gradcam_maps(problem, x)
    return Explained(_enlarged(maps, x), value)


def _gradcam_relu(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    maps, value = _gradcam_maps(problem, x)
    return Explained(_enlarged(maps.relu(), x), value)


def _guided_gradcam(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    maps, value = _gradcam_maps(problem, x)
    with quiet():
        guided = GuidedBackprop(problem.program.module).attribute(x.requires_grad_())
    return Explained(guided.detach() * _enlarged(maps.relu(), x)[:, None], value)


def _hirescam(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    module, tap = problem.program.module, problem.program.tap
    product = LayerGradientXActivation(module, tap)
    maps, value = valued(module, lambda: product.attribute(x))
    return Explained(_enlarged(maps.sum(dim=1), x), value)


def _layercam(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    """Weight each position of each map by its positive gradient; the activation keeps its sign."""
    module, tap = problem.program.module, problem.program.tap
    assert tap is not None  # registered with a layer
    kept: list[Tensor] = []
    handle = tap.register_forward_hook(lambda _, __, output: kept.append(output))
    try:
        value = module(x.requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(value.sum(), kept[0])
    maps = (gradient.relu() * kept[0].detach()).sum(dim=1).relu()
    return Explained(_enlarged(maps, x), value.detach())


register(
    Method(
        "gradcam",
        "Grad-CAM",
        "Selvaraju et al. 2017, arXiv:1610.02391, without the final ReLU",
        _gradcam,
        single,
        layer=True,
    )
)
register(
    Method(
        "gradcam_relu",
        "Grad-CAM (ReLU)",
        "Selvaraju et al. 2017, arXiv:1610.02391",
        _gradcam_relu,
        single,
        signed=False,
        layer=True,
    )
)
register(
    Method(
        "guided_gradcam",
        "guided Grad-CAM",
        "Selvaraju et al. 2017, arXiv:1610.02391",
        _guided_gradcam,
        single,
        layer=True,
        channels=True,
        refuse=guided_refusal,
    )
)
register(
    Method(
        "hirescam",
        "HiResCAM",
        "Draelos and Carin 2020, arXiv:2011.08891, without the final ReLU",
        _hirescam,
        single,
        layer=True,
    )
)
register(
    Method(
        "layercam",
        "LayerCAM",
        "Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        _layercam,
        single,
        signed=False,
        layer=True,
    )
)
