"""Methods that remove parts of the image: occlusion, ablation, LIME, KernelSHAP."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from captum._utils.models.linear_model import SkLearnLinearModel
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from captum.attr._core.lime import get_exp_kernel_similarity_function
from skimage.segmentation import slic
from torch import Tensor

from probe.attribution.gradients import value_of
from probe.attribution.problem import Explained, Method, Problem, register, seeded
from probe.errors import ProbeError

__all__ = ["superpixels"]

#: Kernel width and ridge penalty of LIME's original code for images.
KERNEL_WIDTH, PENALTY = 0.25, 1.0


def superpixels(image: Tensor, count: int, kind: str = "slic") -> Tensor:
    """Divide an image into about `count` parts.

    Parameters
    ----------
    image : Tensor
        Shape (3, h, w), in [0, 1].
    count : int
        Approximate number of parts.
    kind : {"slic", "grid"}
        SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120), or equal rectangles.

    Returns
    -------
    Tensor
        Shape (h, w), part of each pixel, numbered from 0 without gaps.

    Raises
    ------
    ProbeError
        If the kind is unknown.
    """
    _, height, width = image.shape
    if kind == "slic":
        pixels = image.detach().cpu().numpy().transpose(1, 2, 0)
        found = slic(pixels, n_segments=count, compactness=10, sigma=1, start_label=0)
    elif kind == "grid":
        side = max(1, round(count**0.5))
        rows, columns = (np.arange(n) * side // n for n in (height, width))
        found = rows[:, None] * side + columns[None]
    else:
        raise ProbeError(f"segments={kind!r} was given; allowed are 'slic' and 'grid'.")
    _, codes = np.unique(found, return_inverse=True)
    return torch.from_numpy(codes.reshape(height, width).astype(np.int64))


def _occlusion(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    window = _window(problem, x)
    stride = max(1, window // 2)
    rows = problem.rows(gradients=False, extra=4)
    with torch.no_grad():
        maps = Occlusion(problem.program.module).attribute(
            x,
            (x.shape[1], window, window),
            strides=(x.shape[1], stride, stride),
            baselines=baseline,
            perturbations_per_eval=max(1, rows // len(x)),
        )
    # The window covers all channels at once, so each channel holds the whole effect.
    return Explained(maps[:, 0], value_of(problem, x))


def _window(problem: Problem, x: Tensor) -> int:
    return max(1, min(x.shape[-1], round(float(problem.options["window"]) * x.shape[-1])))


def _ablation(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    def explain(image: Tensor, other: Tensor, parts: Tensor, rows: int) -> Tensor:
        out: Tensor = FeatureAblation(problem.program.module).attribute(
            image, other, feature_mask=parts, perturbations_per_eval=rows
        )
        return out

    return _by_part(problem, x, baseline, first, explain)


def _lime(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    def explain(image: Tensor, other: Tensor, parts: Tensor, rows: int) -> Tensor:
        similarity = get_exp_kernel_similarity_function("cosine", kernel_width=KERNEL_WIDTH)
        lime = Lime(
            problem.program.module,
            SkLearnLinearModel("linear_model.Ridge", alpha=PENALTY),
            similarity,
        )
        out: Tensor = lime.attribute(
            image,
            other,
            feature_mask=parts,
            n_samples=int(problem.options["samples"]),
            perturbations_per_eval=rows,
        )
        return out

    return _by_part(problem, x, baseline, first, explain)


def _kernel_shap(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    def explain(image: Tensor, other: Tensor, parts: Tensor, rows: int) -> Tensor:
        out: Tensor = KernelShap(problem.program.module).attribute(
            image,
            other,
            feature_mask=parts,
            n_samples=int(problem.options["samples"]),
            perturbations_per_eval=rows,
        )
        return out

    assert baseline is not None  # the method is registered with a default
    found = _by_part(problem, x, baseline, first, explain)
    return Explained(found.maps, found.value, value_of(problem, baseline))


def _by_part(
    problem: Problem, x: Tensor, baseline: Tensor | None, first: int, explain: Any
) -> Explained:
    """Explain images one by one, each by its own superpixels.

    The effect of a part is spread evenly over its pixels, so that a map sums to the effects.
    """
    assert baseline is not None  # the method is registered with a default
    rows, found = problem.rows(gradients=False, extra=4), []
    for i in range(len(x)):
        parts = superpixels(x[i], int(problem.options["parts"]), str(problem.options["segments"]))
        parts = parts.to(x.device)
        sizes = torch.bincount(parts.flatten()).to(x)
        if len(sizes) == 1:
            # A single part has the whole effect; captum would divide by zero.
            change = value_of(problem, x[i : i + 1]) - value_of(problem, baseline[i : i + 1])
            found.append((change / sizes).expand(x.shape[-2:])[None])
            continue
        with seeded(problem.seed, first + i, x.device), torch.no_grad():
            effects = explain(x[i : i + 1], baseline[i : i + 1], parts[None, None], rows)
        found.append(effects[:, 0] / sizes[parts])
    return Explained(torch.cat(found), value_of(problem, x))


def _forward(problem: Problem) -> int:
    return problem.rows(gradients=False, extra=4)


_PARTS = {"parts": 49, "segments": "slic"}

register(
    Method(
        "occlusion",
        "occlusion",
        "Zeiler and Fergus 2013, arXiv:1311.2901",
        _occlusion,
        _forward,
        baseline="mean",
        options={"window": 0.125},
    )
)
register(
    Method(
        "feature_ablation",
        "superpixel ablation",
        "one part at a time, as in captum's "
        "FeatureAblation (Kokhlikyan et al. 2020, arXiv:2009.07896)",
        _ablation,
        _forward,
        baseline="mean",
        options=_PARTS,
    )
)
register(
    Method(
        "lime",
        "LIME",
        "Ribeiro et al. 2016, arXiv:1602.04938",
        _lime,
        _forward,
        baseline="mean",
        random=True,
        options={**_PARTS, "samples": 256},
    )
)
register(
    Method(
        "kernel_shap",
        "KernelSHAP",
        "Lundberg and Lee 2017, arXiv:1705.07874",
        _kernel_shap,
        _forward,
        complete=True,
        baseline="mean",
        random=True,
        options={**_PARTS, "samples": 256},
    )
)
