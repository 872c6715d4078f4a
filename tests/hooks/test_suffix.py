"""The do-operator on the registered detectors and on awkward networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.detectors import ARCHITECTURES, load_detector
from probe.hooks import AffineProgram, LocalProgram, Rerun, compile_suffix, intervene, split, trace
from tests.hooks import toys

AFFINE = ["meso4", "mesoinception4", "shallownet", "xception", "efficientnet_b0"]


def images(size: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_every_registered_detector_is_held_here() -> None:
    assert set(AFFINE) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", AFFINE)
def test_last_maps_and_units_equal_the_hook(name: str) -> None:
    size = 96 if name == "xception" else 64
    detector = load_detector(name, input_size=size)
    kind = ARCHITECTURES[name]
    for layer in (kind.last_conv, kind.units):
        units = {0: 1.5, 3: -2.0}
        found = intervene(detector, images(size), layer, units)
        with toys.overwritten(detector, layer, units):
            np.testing.assert_allclose(found, detector.logits(images(size)), atol=1e-5)
        assert not np.allclose(found, detector.logits(images(size)), atol=1e-7)


@pytest.mark.parametrize("name", AFFINE)
def test_default_units_are_swept_in_closed_form(name: str) -> None:
    size = 96 if name == "xception" else 64
    detector = load_detector(name, input_size=size)
    program = compile_suffix(detector, ARCHITECTURES[name].units)
    assert isinstance(program, AffineProgram)
    text = program.explain()
    assert text.startswith(f"{program.layer}: closed form over {program.units} units")
    batch = images(size)
    values = np.tile([0.0, 2.0], (program.units, 1))
    found = program.sweep(program.state(batch), values)
    for unit in (0, program.units - 1):
        for k, value in enumerate(values[unit]):
            wanted = intervene(detector, batch, program.layer, {unit: value})
            np.testing.assert_allclose(found[:, unit, k], wanted, atol=1e-5)


def test_tokens_are_set_on_their_last_axis() -> None:
    detector = load_detector("timm:vit_small_patch16_224", input_size=64)
    layer, batch = "body.blocks.10", images(64)

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[..., 7] = 40.0
        return output

    found = intervene(detector, batch, layer, {7: 40.0})
    handle = detector.module.get_submodule(layer).register_forward_hook(hook)
    np.testing.assert_allclose(found, detector.logits(batch), atol=1e-5)
    handle.remove()
    assert np.abs(found - detector.logits(batch)).max() > 1e-4


def test_the_second_call_of_a_module_is_set_alone() -> None:
    torch.manual_seed(0)
    detector = toys.detector_of(toys.InPlace())
    net, batch = detector.module, images(8)
    with torch.inference_mode():
        start = net.conv(batch).relu()
        second = (net.mix(start) + start).relu()
        second[:, 2] = 3.0
        wanted = net.fc(second.mean((2, 3)))[:, 0]
    found = intervene(detector, batch, "relu@2", {2: 3.0})
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", [toys.InPlace, toys.Gated, toys.Table, toys.Constant])
def test_awkward_networks_equal_the_hook(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    detector = toys.detector_of(kind())
    batch = images(8, 3)
    names = set(trace(detector).layers)
    # A hook would set every call of a module that is called twice.
    for layer in [name for name in names if "@" not in name and f"{name}@2" not in names]:
        program = compile_suffix(detector, layer)
        values = np.random.default_rng(0).normal(size=(program.units, 2))
        found = program.sweep(program.state(batch), values)
        for unit, k in np.ndindex(*values.shape):
            with toys.overwritten(detector, layer, {unit: values[unit, k]}):
                wanted = detector.logits(batch)
            np.testing.assert_allclose(found[:, unit, k], wanted, atol=1e-5, err_msg=layer)


def test_a_split_joined_again_is_the_detector() -> None:
    detector = load_detector("efficientnet_b0", input_size=64)
    traced, batch = trace(detector), images(64)
    with torch.inference_mode():
        for layer in ("body.blocks.2.1.se", "body.blocks.3.0", "body.conv_head"):
            before, after = split(traced, layer)
            assert torch.equal(after(*before(batch))[0], detector.module(batch))


def test_a_program_says_what_it_costs() -> None:
    program = compile_suffix(load_detector("meso4", input_size=64), "conv4")
    assert isinstance(program, LocalProgram)
    assert "on the touched one alone: relu4, bn4, pool4, flatten, dropout1" in program.explain()
    assert "144 multiply-adds" in program.explain()


def test_a_rerun_says_why() -> None:
    program = compile_suffix(load_detector("timm:vit_tiny_patch16_224"), "blocks.10")
    assert isinstance(program, Rerun)
    assert "run again for each of 192 units and every value" in program.explain()
