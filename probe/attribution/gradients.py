"""Methods by gradients w.r.t. the image: saliency, integrated gradients and related methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import (
    DeepLift,
    GradientShap,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

from probe.attribution.problem import (
    Explained,
    Method,
    Problem,
    deeplift_refusal,
    guided_refusal,
    register,
    seeded,
)

__all__: list[str] = []

#: Threshold of DeepLIFT below which the gradient is used instead of the difference; as in captum.
DELTA = 1e-10


def single(problem: Problem) -> int:
    """Return the batch size of a method that runs the network once per image."""
    return problem.rows()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress captum's warnings about hooks and gradients; the rewritten program is our own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting (forward|backward)", UserWarning)
        warnings.filterwarnings("ignore", "Input Tensor", UserWarning)
        yield


def valued(module: nn.Module, explain: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Run captum; return the maps and the first outputs of the network."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        if not kept:
            kept.append(output.detach())

    handle = module.register_forward_hook(keep)
    try:
        with quiet():
            maps = explain()
    finally:
        handle.remove()
    return maps.detach(), kept[0]


def value_of(problem: Problem, images: Tensor) -> Tensor:
    """Return the target on images."""
    with torch.no_grad():
        out: Tensor = problem.program.module(images)
    return out


def _saliency(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    return Explained(
        *valued(
            problem.program.module,
            lambda: _tensor(
                Saliency(problem.program.module).attribute(x.requires_grad_(), abs=True)
            ),
        )
    )


def _input_x_gradient(
    problem: Problem, x: Tensor, baseline: Tensor | None, first: int
) -> Explained:
    return Explained(
        *valued(
            problem.program.module,
            lambda: _tensor(InputXGradient(problem.program.module).attribute(x.requires_grad_())),
        )
    )


def _guided(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    return Explained(
        *valued(
            problem.program.module,
            lambda: _tensor(GuidedBackprop(problem.program.module).attribute(x.requires_grad_())),
        )
    )


def _smoothgrad(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    """Average gradients over noisy copies, image by image, so that batches do not matter."""
    draws, rows = int(problem.options["samples"]), problem.rows(extra=1)
    tunnel = NoiseTunnel(Saliency(problem.program.module))
    found = []
    for i in range(len(x)):
        with seeded(problem.seed, first + i, x.device):
            found.append(
                tunnel.attribute(
                    x[i : i + 1],
                    nt_type="smoothgrad",
                    nt_samples=draws,
                    nt_samples_batch_size=min(draws, rows),
                    stdevs=float(problem.options["noise"]),
                    abs=False,
                ).detach()
            )
    return Explained(torch.cat(found).abs(), value_of(problem, x))


def _integrated(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    steps = int(problem.options["steps"])
    maps = IntegratedGradients(problem.program.module).attribute(
        x,
        baseline,
        n_steps=steps,
        method="gausslegendre",
        internal_batch_size=problem.rows(extra=3),
    )
    return _complete(problem, _tensor(maps), x, baseline)


def _integrated_batch(problem: Problem) -> int:
    # captum never uses fewer rows than images, and does not split a step.
    return max(1, problem.rows(extra=3) // int(problem.options["steps"]))


def _gradient_shap(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    """Average over draws in portions that fit in memory; captum itself runs all at once."""
    assert baseline is not None  # the method is registered with a default
    draws, rows = int(problem.options["samples"]), problem.rows(extra=4)
    shap = GradientShap(problem.program.module)
    found = []
    for i in range(len(x)):
        total = torch.zeros_like(x[i : i + 1])
        with seeded(problem.seed, first + i, x.device):
            for start in range(0, draws, rows):
                part = min(rows, draws - start)
                total += (
                    part
                    * shap.attribute(
                        x[i : i + 1],
                        baseline[i : i + 1],
                        n_samples=part,
                        stdevs=float(problem.options["noise"]),
                    ).detach()
                )
        found.append(total / draws)
    return _complete(problem, torch.cat(found), x, baseline)


def _deeplift(problem: Problem, x: Tensor, baseline: Tensor | None, first: int) -> Explained:
    with quiet():
        module = problem.rewritten(apart=True).module
        maps = DeepLift(module, eps=DELTA).attribute(x.requires_grad_(), baseline)
    return _complete(problem, _tensor(maps), x.detach(), baseline)


def _complete(problem: Problem, maps: Tensor, x: Tensor, baseline: Tensor | None) -> Explained:
    assert baseline is not None  # the method is registered with a default
    return Explained(maps, value_of(problem, x), value_of(problem, baseline))


def _tensor(found: Any) -> Tensor:
    value: Tensor = found[0] if isinstance(found, tuple) else found
    return value.detach()


register(
    Method(
        "saliency",
        "saliency",
        "Simonyan et al. 2013, arXiv:1312.6034",
        _saliency,
        single,
        signed=False,
        channels=True,
    )
)
register(
    Method(
        "input_x_gradient",
        "input × gradient",
        "Shrikumar et al. 2016, arXiv:1605.01713",
        _input_x_gradient,
        single,
        channels=True,
    )
)
register(
    Method(
        "guided_backprop",
        "guided backprop",
        "Springenberg et al. 2014, arXiv:1412.6806",
        _guided,
        single,
        channels=True,
        refuse=guided_refusal,
    )
)
register(
    Method(
        "smoothgrad",
        "SmoothGrad",
        "Smilkov et al. 2017, arXiv:1706.03825",
        _smoothgrad,
        single,
        signed=False,
        channels=True,
        random=True,
        options={"samples": 25, "noise": 0.1},
    )
)
register(
    Method(
        "integrated_gradients",
        "integrated gradients",
        "Sundararajan et al. 2017, arXiv:1703.01365",
        _integrated,
        _integrated_batch,
        complete=True,
        channels=True,
        baseline="black",
        options={"steps": 50},
    )
)
register(
    Method(
        "gradient_shap",
        "gradient SHAP",
        "Lundberg and Lee 2017, arXiv:1705.07874; Erion et al. 2019, arXiv:1906.10670",
        _gradient_shap,
        single,
        complete=True,
        channels=True,
        baseline="black",
        random=True,
        options={"samples": 25, "noise": 0.02},
    )
)
register(
    Method(
        "deeplift",
        "DeepLIFT",
        "Shrikumar et al. 2017, arXiv:1704.02685",
        _deeplift,
        lambda problem: problem.rows(least=2, extra=4) // 2,
        complete=True,
        channels=True,
        baseline="black",
        refuse=deeplift_refusal,
    )
)
