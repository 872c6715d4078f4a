"""Every method on every detector: it works, or says why not; and it is what captum gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import captum.attr as ca
import numpy as np
import pytest
import torch

from probe.attribution import METHODS, AttributionMap, Refusal, attribute
from probe.attribution.maps import MAGNITUDE, TOWARDS
from probe.detectors import ARCHITECTURES, Detector, load_detector
from probe.detectors.detector import weights_hash
from probe.hooks import trace

SIZES = {
    **{name: 71 if name == "xception" else 64 for name in ARCHITECTURES},
    "timm:resnet50": 48,
    "timm:convnext_tiny": 64,
    "timm:vit_small_patch16_224": 32,
    "timm:swin_tiny_patch4_window7_224": 64,
}

#: What cannot be, and the reason that has to be given. All else has to work.
RELU = "changes gradients of ReLU, and there is none"
TRANSFORMERS = ("timm:vit_small_patch16_224", "timm:swin_tiny_patch4_window7_224")
SMOOTH = ("efficientnet_b0", "timm:convnext_tiny", *TRANSFORMERS)
REFUSED = {
    "guided_backprop": dict.fromkeys(SMOOTH, RELU),
    "guided_gradcam": dict.fromkeys(SMOOTH, RELU),
    "deeplift": {
        "efficientnet_b0": "no rule for 49 × SiLU",
        "timm:convnext_tiny": "no rule for 23 × layer_norm",
        "timm:vit_small_patch16_224": "scaled_dot_product_attention",
        "timm:swin_tiny_patch4_window7_224": "24 × matmul",
    },
    "lrp": {
        "efficientnet_b0": "no rule for 49 × SiLU",
        "timm:convnext_tiny": "layer_norm",
        "timm:vit_small_patch16_224": "scaled_dot_product_attention",
        "timm:swin_tiny_patch4_window7_224": "24 × matmul",
    },
    **{
        method: {
            **{name: "no attention" for name in SIZES if name not in TRANSFORMERS},
            "timm:swin_tiny_patch4_window7_224": "within windows",
        }
        for method in ("rollout", "gradient_rollout")
    },
}
#: Fewer steps than a user would take.
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 3},
    "gradient_shap": {"samples": 3},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"window": 0.5},
    "feature_ablation": {"parts": 4},
    "lime": {"parts": 4, "samples": 8},
    "kernel_shap": {"parts": 4, "samples": 16},
}


def calibrated(name: str) -> Detector:
    """Load a detector whose batch norms have seen images, so that its logits are of size 1."""
    detector = load_detector(name, input_size=SIZES[name])
    norms = [m for m in detector.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for one in norms:
        one.momentum = None
        one.reset_running_stats()
    detector.module.train()
    with torch.no_grad():
        detector.module(torch.from_numpy(images(name, 4)))
    return Detector(detector.module.eval(), detector.spec)


def images(name: str, n: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((n, 3, SIZES[name], SIZES[name]), dtype=np.float32)


#: Those that take longest; as graphs they are like others.
LONG = (
    "xception",
    "efficientnet_b0",
    "timm:resnet50",
    "timm:convnext_tiny",
    "timm:swin_tiny_patch4_window7_224",
)


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in SIZES],
)
def detector(request: pytest.FixtureRequest) -> Iterator[tuple[str, Detector]]:
    yield request.param, calibrated(request.param)


def test_every_method_explains_a_detector_or_says_why_not(detector: tuple[str, Detector]) -> None:
    name, one = detector
    before, requires = weights_hash(one.module), [p.requires_grad for p in one.module.parameters()]
    wrong, traced = [], trace(one)
    for method in METHODS:
        reason = REFUSED.get(method, {}).get(name)
        try:
            found = attribute(traced, images(name), method, progress=False, **QUICK.get(method, {}))
        except Refusal as why:
            if reason is None or reason not in str(why) or one.name not in str(why):
                wrong.append(f"{method}: {why}")
            continue
        if reason is not None:
            wrong.append(f"{method} works, which was thought impossible: {reason}")
        else:
            check(found, method, one)
    assert not wrong
    assert weights_hash(one.module) == before and not one.module.training
    assert [p.requires_grad for p in one.module.parameters()] == requires
    for module in one.module.modules():
        assert not module._forward_hooks and not module._backward_hooks
        assert not module._forward_pre_hooks and not hasattr(module, "rule")
    assert all(p.grad is None for p in one.module.parameters())


def check(found: AttributionMap, name: str, detector: Detector) -> None:
    method, attrs, size = METHODS[name], found.data.attrs, detector.spec.input_size
    assert found.data["attribution"].dims == ("sample", "y", "x")
    assert found.values.shape == (2, size, size), name
    assert np.isfinite(found.values).all() and found.values.dtype == np.float32
    assert attrs["method"] == name and attrs["signed"] == method.signed
    assert attrs["sign"] == (TOWARDS if method.signed else MAGNITUDE)
    assert method.signed or found.values.min() >= 0, name
    assert ("by_channel" in found.data) == method.channels, name
    assert bool(attrs["layer"]) == method.layer, name
    assert bool(attrs["baseline"]) == bool(method.baseline), name
    assert np.isfinite(found.data["gap"].values).all() == method.complete, name
    np.testing.assert_allclose(found.data["value"], detector.logits(_own(detector)), atol=1e-4)
    # Guided Grad-CAM is zero where the ReLU leaves nothing of Grad-CAM's map.
    if name not in ("gradcam_relu", "guided_gradcam"):
        assert np.ptp(found.values) > 0, name
    if name in ("deeplift", "kernel_shap"):
        assert attrs["relative_gap"] < 1e-3, name


def _own(detector: Detector) -> np.ndarray:
    rng, size = np.random.default_rng(0), detector.spec.input_size
    return rng.random((2, 3, size, size), dtype=np.float32)


def test_methods_are_described() -> None:
    for name in METHODS:
        method = METHODS[name]
        assert (
            method.name == name
            and method.title
            and ("arXiv" in method.paper or "doi" in method.paper)
        )
        assert method.random == ("samples" in method.options), name


# What captum gives by hand on a detector that needs no rewriting.


@pytest.fixture(scope="module")
def meso() -> Detector:
    detector = load_detector("meso4", input_size=32, seed=2)
    return Detector(detector.module, detector.spec)


def given(n: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).random((n, 3, 32, 32), dtype=np.float32))


def same(found: AttributionMap, wanted: torch.Tensor, name: str = "by_channel") -> None:
    wanted = wanted.detach()
    scale = float(wanted.abs().max())
    assert scale > 0
    np.testing.assert_allclose(found.data[name].values, wanted.numpy(), atol=1e-5 * scale)


def test_gradients_are_captums(meso: Detector) -> None:
    x, module = given(), meso.module
    black = torch.zeros_like(x)
    wanted = {
        "saliency": ca.Saliency(module).attribute(x.clone().requires_grad_()),
        "input_x_gradient": ca.InputXGradient(module).attribute(x.clone().requires_grad_()),
        "guided_backprop": ca.GuidedBackprop(module).attribute(x.clone().requires_grad_()),
        "integrated_gradients": ca.IntegratedGradients(module).attribute(x, black, n_steps=50),
        "deeplift": ca.DeepLift(module).attribute(x.clone().requires_grad_(), black),
        "guided_gradcam": ca.GuidedGradCam(module, module.conv4).attribute(
            x.clone().requires_grad_(), interpolate_mode="bilinear"
        ),
    }
    for method, one in wanted.items():
        same(attribute(meso, x, method, progress=False), one)


def test_maps_of_a_layer_are_captums(meso: Detector) -> None:
    x, module = given(), meso.module
    cam = ca.LayerGradCam(module, module.conv4)
    for method, relu in (("gradcam", False), ("gradcam_relu", True)):
        small = cam.attribute(x, relu_attributions=relu)
        large = ca.LayerAttribution.interpolate(small, (32, 32), "bilinear")[:, 0]
        same(attribute(meso, x, method, progress=False), large, "attribution")


def test_parts_taken_away_are_captums(meso: Detector) -> None:
    x, module = given(2), meso.module
    mean = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    wanted = ca.Occlusion(module).attribute(x, (3, 8, 8), strides=(3, 4, 4), baselines=mean)[:, 0]
    found = attribute(meso, x, "occlusion", progress=False, window=0.25)
    same(found, wanted, "attribution")
    grid = (torch.arange(32) // 8)[:, None] * 4 + (torch.arange(32) // 8)[None]
    effects = ca.FeatureAblation(module).attribute(x, mean, feature_mask=grid[None, None])[:, 0]
    found = attribute(meso, x, "feature_ablation", progress=False, parts=16, segments="grid")
    same(found, effects / 64, "attribution")


def test_lrp_is_captums() -> None:
    """On a network that captum's LRP takes as it is: no normalization, no LeakyReLU."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1, bias=False),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 6, 3, bias=False),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
    )

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.fc = net, torch.nn.Linear(6, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.net(x).flatten(1))[:, 0]

    from tests.attribution.networks import detector_of

    module, x = Head(), given()
    found = attribute(detector_of(module, 32), x, "lrp", progress=False, epsilon=0.0)
    assert found.data.attrs["relative_gap"] < 1e-3
    wanted = ca.LRP(module).attribute(x.clone().requires_grad_())
    same(found, wanted)


def test_draws_do_not_depend_on_batches(meso: Detector) -> None:
    x = given(5).numpy()
    for method in ("smoothgrad", "gradient_shap", "lime", "kernel_shap"):
        options = {"samples": 6} if "shap" not in method[:6] else {"samples": 6}
        whole = attribute(meso, x, method, progress=False, **options).values
        again = attribute(meso, x, method, progress=False, **options).values
        np.testing.assert_array_equal(whole, again)
        other = attribute(meso, x, method, progress=False, seed=1, **options).values
        assert not np.array_equal(whole, other)
        torch.manual_seed(9)
        np.testing.assert_array_equal(
            attribute(meso, x[:1], method, progress=False, **options).values, whole[:1]
        )


@pytest.mark.parametrize("method", METHODS)
def test_what_lies_beside_an_image_does_not_change_its_map(meso: Detector, method: str) -> None:
    x = given(1)
    options = {"steps": 6} if method == "integrated_gradients" else {}
    try:
        alone = attribute(meso, x, method, progress=False, **options).values[0]
    except Refusal:
        return
    # Differences of logits are no finer than these.
    rounding = 4 * np.finfo(np.float32).eps * np.abs(meso.logits(x)).max()
    for value in (0.0, 1.0):
        both = torch.cat([x, torch.full((3, *x.shape[1:]), value)])
        beside = attribute(meso, both, method, progress=False, **options).values[0]
        np.testing.assert_allclose(beside, alone, atol=1e-5 * np.abs(alone).max() + rounding)


def test_global_generators_are_left_alone(meso: Detector) -> None:
    torch.manual_seed(4)
    wanted = torch.rand(3)
    torch.manual_seed(4)
    attribute(meso, given(1), "gradient_shap", progress=False, samples=2)
    assert torch.equal(torch.rand(3), wanted)
