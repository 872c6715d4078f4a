"""Maps that are known without any library: linear networks, one kink, loops."""

from __future__ import annotations

import captum.attr as ca
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.attribution import METHODS, attribute
from probe.attribution.rewrite import WindowsApart
from probe.detectors import load_detector
from tests.attribution.networks import Awkward, Convs, Kink, Sum, detector_of, images


def linear() -> tuple[np.ndarray, np.ndarray]:
    """Return images and the weights of `Sum`, each of shape (n or 1, 3, 4, 4)."""
    weights = Sum().fc.weight.detach().numpy().reshape(1, 3, 4, 4)
    return images(), weights


@pytest.mark.parametrize("method", ["input_x_gradient", "integrated_gradients", "deeplift", "lrp"])
def test_a_linear_network_from_black(method: str) -> None:
    x, w = linear()
    options = {"epsilon": 0.0} if method == "lrp" else {}
    found = attribute(detector_of(Sum()), x, method, progress=False, **options).data
    np.testing.assert_allclose(found["by_channel"], w * x, atol=1e-5)
    np.testing.assert_allclose(found["attribution"], (w * x).sum(axis=1), atol=1e-5)
    if method in ("integrated_gradients", "deeplift"):
        np.testing.assert_allclose(found["gap"], 0, atol=1e-5)
    if method == "lrp":  # the bias takes its share
        np.testing.assert_allclose(found["gap"], -1.5, atol=1e-5)


def test_a_linear_network_from_other_baselines() -> None:
    x, w = linear()
    detector = detector_of(Sum())
    mean = x.mean(axis=(2, 3), keepdims=True)
    for baseline, at in (("mean", mean), (x[::-1], x[::-1]), (x[:1], x[:1])):
        for method in ("integrated_gradients", "deeplift"):
            found = attribute(detector, x, method, baseline=baseline, progress=False).data
            np.testing.assert_allclose(found["by_channel"], w * (x - at), atol=1e-5)
            np.testing.assert_allclose(found["gap"], 0, atol=1e-5)


def test_magnitudes_of_a_linear_network() -> None:
    x, w = linear()
    detector = detector_of(Sum())
    for method in ("saliency", "smoothgrad"):
        found = attribute(detector, x, method, progress=False).data
        np.testing.assert_allclose(found["by_channel"], np.abs(w).repeat(2, axis=0), atol=1e-6)
        np.testing.assert_allclose(
            found["attribution"], np.abs(w).max(axis=1).repeat(2, axis=0), atol=1e-6
        )


@pytest.mark.parametrize("method", ["feature_ablation", "lime", "kernel_shap"])
def test_parts_of_a_linear_network(method: str) -> None:
    """Quarters of the image, each worth Σ w (x − mean), spread over its four pixels."""
    x, w = linear()
    effect = (w * (x - x.mean(axis=(2, 3), keepdims=True))).sum(axis=1)
    quarters = effect.reshape(2, 2, 2, 2, 2).sum(axis=(2, 4)) / 4
    wanted = quarters.repeat(2, axis=1).repeat(2, axis=2)
    options = {} if method == "feature_ablation" else {"samples": 400}
    found = attribute(
        detector_of(Sum()), x, method, progress=False, parts=4, segments="grid", **options
    )
    # LIME's ridge shrinks; the order and most of the size stay.
    tolerance = {"lime": 0.12 * np.abs(wanted).max()}.get(method, 1e-3)
    np.testing.assert_allclose(found.values, wanted, atol=tolerance)


def test_occlusion_by_loops() -> None:
    x, _ = linear()
    detector, n = detector_of(Sum()), np.zeros((4, 4))
    wanted, mean = np.zeros((2, 4, 4)), x.mean(axis=(2, 3), keepdims=True)
    whole = detector.logits(x)
    for top in range(0, 3):
        for left in range(0, 3):
            hidden = x.copy()
            hidden[:, :, top : top + 2, left : left + 2] = mean
            change = whole - detector.logits(hidden)
            wanted[:, top : top + 2, left : left + 2] += change[:, None, None]
            n[top : top + 2, left : left + 2] += 1
    found = attribute(detector, x, "occlusion", progress=False, window=0.5).values
    np.testing.assert_allclose(found, wanted / n, atol=1e-5)


def test_a_kink_by_hand() -> None:
    """At a = .5, b = .3 only relu(2 a − b) is on: its path from black is straight."""
    x = np.zeros((1, 3, 2, 2), dtype=np.float32)
    x[:, 0], x[:, 1] = 0.5, 0.3
    detector = detector_of(Kink(), 2)
    wanted = np.zeros((1, 3, 2, 2))
    wanted[:, 0], wanted[:, 1] = 2 * 0.5 / 4, -0.3 / 4
    for method in ("integrated_gradients", "deeplift", "lrp", "input_x_gradient"):
        options = {"epsilon": 0.0} if method == "lrp" else {}
        found = attribute(detector, x, method, progress=False, **options).data
        np.testing.assert_allclose(found["by_channel"], wanted, atol=1e-6)
        assert float(found["value"][0]) == pytest.approx(0.7, abs=1e-6)


def test_integrated_gradients_cross_a_kink() -> None:
    """From b = 1, a = 0 to a = .5, b = .3: relu(2 a − b) turns on where 1 t = 1 − .7 t."""
    at, start = np.array([0.5, 0.3]), np.array([0.0, 1.0])
    x, other = (np.zeros((1, 3, 2, 2), dtype=np.float32) for _ in range(2))
    for c in range(2):
        x[:, c], other[:, c] = at[c], start[c]
    on = 1 - 1 / 1.7  # share of the path with a slope
    wanted = on * np.array([2, -1]) * (at - start)
    found = attribute(
        detector_of(Kink(), 2),
        x,
        "integrated_gradients",
        baseline=other,
        steps=400,
        progress=False,
        memory="4G",
    ).data
    np.testing.assert_allclose(
        found["by_channel"].values.sum(axis=(2, 3))[0, :2], wanted, atol=4e-3
    )
    assert abs(float(found["gap"][0])) < 8e-3


def test_maps_of_a_layer_by_loops() -> None:
    """Each kind of CAM, from activations and gradients that plain autograd gives."""
    module, x = Convs(), images(2, 6)
    kept: list[torch.Tensor] = []
    handle = module.conv4.register_forward_hook(lambda _, __, out: kept.append(out))
    value = module(torch.from_numpy(x))
    handle.remove()
    (slope,) = torch.autograd.grad(value.sum(), kept[0])
    act, grad = kept[0].detach().numpy(), slope.numpy()
    wanted = {name: np.zeros((2, 6, 6)) for name in ("gradcam", "hirescam", "layercam")}
    for i in range(2):
        for c in range(4):
            wanted["gradcam"][i] += grad[i, c].mean() * act[i, c]
            wanted["hirescam"][i] += grad[i, c] * act[i, c]
            wanted["layercam"][i] += np.maximum(grad[i, c], 0) * act[i, c]
    wanted["layercam"] = np.maximum(wanted["layercam"], 0)
    wanted["gradcam_relu"] = np.maximum(wanted["gradcam"], 0)
    for method, maps in wanted.items():
        found = attribute(detector_of(module, 6), x, method, layer="conv4", progress=False).values
        np.testing.assert_allclose(found, maps, atol=1e-6, err_msg=method)


def test_rollout_by_loops() -> None:
    """From attention that a plain copy of timm's layer computes step by step."""
    detector = load_detector("timm:vit_tiny_patch16_224", input_size=48, seed=1)
    x = torch.from_numpy(images(2, 48))
    kept: list[torch.Tensor] = []
    body = detector.module.body
    for block in body.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, __, out: kept.append(out))
    value = detector.module(x)
    slopes = torch.autograd.grad(value.sum(), kept)
    eye = np.eye(10)
    rolled, weighted = (np.stack([eye] * 2) for _ in range(2))
    for one, slope in zip(kept, slopes, strict=True):
        for i in range(2):
            layer = one[i].detach().numpy()
            rolled[i] = (0.5 * layer.mean(axis=0) + 0.5 * eye) @ rolled[i]
            pushed = np.maximum(slope[i].numpy() * layer, 0).mean(axis=0)
            weighted[i] += pushed @ weighted[i]
    fresh = load_detector("timm:vit_tiny_patch16_224", input_size=48, seed=1)
    for method, full in (("rollout", rolled), ("gradient_rollout", weighted)):
        small = torch.from_numpy(full[:, 0, 1:].reshape(2, 1, 3, 3))
        large = torch.nn.functional.interpolate(small, (48, 48), mode="bilinear")[:, 0]
        found = attribute(fresh, x, method, progress=False).values
        np.testing.assert_allclose(found, large.numpy(), atol=1e-6 + 1e-5 * float(large.max()))


def test_awkward_networks_are_complete_where_captum_by_hand_is_not() -> None:
    """Reused and in-place ReLU, a residual, overlapping pooling: handled on the graph."""
    module, x = Awkward(), images(3, 8)
    found = attribute(detector_of(module, 8), x, "deeplift", progress=False)
    assert found.data.attrs["relative_gap"] < 1e-5
    with pytest.raises(RuntimeError):
        ca.DeepLift(module).attribute(torch.from_numpy(x).requires_grad_())
    assert module.relu.inplace and not module.relu._forward_hooks


class Shared(torch.nn.Module):
    """A residual that reads the same value as a ReLU, as Xception's blocks do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 1)
        self.relu = torch.nn.ReLU()
        self.fc = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv(x) * 1.0
        return self.fc((self.relu(h) - 3.0 * h).mean((2, 3)))[:, 0]


def test_a_value_with_two_readers() -> None:
    """captum replaces the whole gradient of a ReLU's input, and loses the other reader's."""
    module, x = Shared(), images(2, 4)
    with torch.no_grad():
        promised = module(torch.from_numpy(x)) - module(torch.zeros(2, 3, 4, 4))
    alone = ca.DeepLift(module).attribute(torch.from_numpy(x).requires_grad_())
    assert (alone.sum((1, 2, 3)) - promised).abs().max() > 0.1 * promised.abs().max()
    found = attribute(detector_of(module, 4), x, "deeplift", progress=False)
    np.testing.assert_allclose(found.data["gap"], 0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(2, 5),
    stride=st.integers(1, 5),
    ceil=st.booleans(),
    height=st.integers(5, 12),
    width=st.integers(5, 12),
    data=st.data(),
)
def test_windows_laid_apart_pool_the_same(
    kernel: int, stride: int, ceil: bool, height: int, width: int, data: st.DataObject
) -> None:
    pool = torch.nn.MaxPool2d(
        kernel, stride, data.draw(st.integers(0, kernel // 2)), ceil_mode=ceil
    )
    x = torch.randn(1, 2, height, width, generator=torch.Generator().manual_seed(height * width))
    assert torch.equal(torch.nn.MaxPool2d(kernel)(WindowsApart(pool)(x)), pool(x))


def test_a_unit_is_explained_by_its_own_slope() -> None:
    detector = load_detector("meso4", input_size=32, seed=2)
    x = torch.from_numpy(images(2, 32))
    given_x = x.clone().requires_grad_()
    h = detector.module.conv1(detector.module.normalize(given_x))
    (slope,) = torch.autograd.grad(h[:, 3].mean(dim=(1, 2)).sum(), given_x)
    found = attribute(detector, x, "input_x_gradient", target=("conv1", 3), progress=False).data
    np.testing.assert_allclose(found["by_channel"], slope * x, atol=1e-6)
    assert found.attrs["target"] == "conv1[3]"
    np.testing.assert_allclose(found["value"], h[:, 3].mean(dim=(1, 2)).detach(), atol=1e-6)
    (both,) = torch.autograd.grad(
        detector.module.conv1(given_x)[:, [1, 5]].mean(dim=(1, 2, 3)).sum(), given_x
    )
    found = attribute(
        detector, x, "input_x_gradient", target=("conv1", [1, 5]), progress=False
    ).data
    np.testing.assert_allclose(found["by_channel"], both * x, atol=1e-6)
    assert found.attrs["target"] == "conv1[2 units]"
    for same in (np.int64(3), [3], np.array([3])):
        found = attribute(detector, x, "saliency", target=("conv1", same), progress=False).data
        assert found.attrs["target"] == "conv1[3]"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_explains_a_unit_or_refuses(method: str) -> None:
    from probe.attribution import Refusal

    detector = load_detector("mesoinception4", input_size=32)
    options = {"samples": 8} if METHODS[method].random else {}
    try:
        found = attribute(
            detector, images(1, 32), method, target=("conv4", 7), progress=False, **options
        )
    except Refusal:
        assert "rollout" in method
        return
    assert np.isfinite(found.values).all() and found.data.attrs["target"] == "conv4[7]"
