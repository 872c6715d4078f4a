from __future__ import annotations

import numpy as np
import pytest
import torch

from probe.attribution import METHODS, attribute
from probe.detectors import ARCHITECTURES, load_detector
from probe.detectors.detector import weights_hash
from probe.errors import ProbeError, UnknownNameError

SIZE = 96


def images(n: int = 2, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).random((n, 3, size, size), dtype=np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_method_explains_every_detector_and_leaves_it_alone(name: str, method: str) -> None:
    detector = load_detector(name, input_size=SIZE)
    before = weights_hash(detector.module)
    found = attribute(detector, images(), method)
    assert found.values.shape == (2, SIZE, SIZE) and np.isfinite(found.values).all()
    assert found.data.dims == ("sample", "y", "x")
    assert found.data.attrs["method"] == method
    assert weights_hash(detector.module) == before and not detector.module.training
    for module in detector.module.modules():
        assert not module._forward_hooks and not module._backward_hooks
    assert all(p.grad is None and p.requires_grad for p in detector.module.parameters())


def test_gradcam_is_its_equation() -> None:
    """Weights are mean gradients; the map is the weighted sum of channels, not rectified."""
    detector = load_detector("meso4", input_size=SIZE, seed=2)
    kept: list[torch.Tensor] = []

    def keep(module: object, inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = detector.module.conv4.register_forward_hook(keep)
    detector.module(torch.from_numpy(images())).sum().backward()
    handle.remove()
    detector.module.zero_grad(set_to_none=True)
    (values,) = kept
    assert values.grad is not None
    weights = values.grad.mean(dim=(2, 3), keepdim=True)
    small = (weights * values).sum(dim=1, keepdim=True)
    large = torch.nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear")[:, 0]
    found = attribute(detector, images()).values
    np.testing.assert_allclose(found, large.detach().numpy(), atol=1e-6)
    assert found.min() < 0 < found.max()


def test_input_times_gradient_by_finite_differences() -> None:
    detector = load_detector("meso4", input_size=32, seed=2)
    detector.module.double()
    x = torch.from_numpy(images(1, 32)).double()
    row, column, step = 11, 17, 1e-6
    slope = 0.0
    with torch.no_grad():
        for channel in range(3):
            moved = x.clone()
            moved[0, channel, row, column] += step
            rise = float(detector.module(moved) - detector.module(x)) / step
            slope += rise * float(x[0, channel, row, column])
    detector.module.float()
    found = attribute(detector, images(1, 32), "input_x_gradient").values[0, row, column]
    assert found == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_batches_do_not_change_maps() -> None:
    detector = load_detector("mesoinception4", input_size=32)
    one = attribute(detector, images(5, 32), batch_size=2).values
    np.testing.assert_allclose(one, attribute(detector, images(5, 32)).values, atol=1e-6)


def test_bad_input_is_answered() -> None:
    detector = load_detector("meso4", input_size=32)
    with pytest.raises(UnknownNameError, match="method 'gradcamm' .* Did you mean 'gradcam'"):
        attribute(detector, images(1, 32), "gradcamm")
    with pytest.raises(UnknownNameError, match="Layer 'conv5' is not known in meso4"):
        attribute(detector, images(1, 32), layer="conv5")
    with pytest.raises(ProbeError, match=r"shape \(3, 32, 32\) were given"):
        attribute(detector, images(1, 32)[0])
    with pytest.raises(ProbeError, match="needs a layer"):
        attribute(load_detector("timm:resnet18", input_size=64), images(1, 64))
