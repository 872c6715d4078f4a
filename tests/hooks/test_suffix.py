"""The do-operator on the registered detectors and on awkward networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.detectors import ARCHITECTURES, load_detector
from probe.errors import ProbeError
from probe.hooks import AffineProgram, LocalProgram, Rerun, compile_suffix, intervene, split, trace
from probe.hooks.costs import Cost
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
    assert "on the intervened unit alone: relu4, bn4, pool4, flatten, dropout1" in program.explain()
    assert "144 multiply-adds" in program.explain()


def test_a_token_feature_updates_the_layer_behind_it() -> None:
    program = compile_suffix(load_detector("timm:vit_tiny_patch16_224"), "blocks.10.mlp.fc1")
    assert isinstance(program, LocalProgram) and program.units == 768
    assert "updated by its change: blocks.10.mlp.fc2" in program.explain()
    assert program.cost.program < program.cost.suffix


def test_the_closed_form_costs_one_multiply_add() -> None:
    program = compile_suffix(load_detector("shallownet", input_size=32), "relu")
    assert program.cost == Cost(1, 1024, program.cost.network)
    assert program.cost.network > 1e6 and "1 multiply-adds" in program.explain()


class Centered(nn.Module):
    """Subtracts the mean of the batch: rows depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu()
        return self.fc((y - y.mean(0, keepdim=True)).mean((2, 3)))[:, 0]


@pytest.mark.parametrize(
    ("kind", "layer", "reason"),
    [
        (Centered, "conv", "the rows of a batch depend on each other after it"),
        (toys.Gated, "stage.before", "stage.gate could not be traced"),
        (toys.Sized, "conv", "the batch size is used after it"),
        (toys.Batched, "conv", "a BatchNorm after it has no running statistics"),
    ],
)
def test_a_rerun_says_why(kind: type[nn.Module], layer: str, reason: str) -> None:
    torch.manual_seed(0)
    detector = toys.detector_of(kind())
    program = compile_suffix(detector, layer)
    assert isinstance(program, Rerun) and reason in program.explain()
    assert "are run again for each of 4 units and every value" in program.explain()
    batch = images(8, 3)
    found = program.sweep(program.state(batch), np.array([[0.5], [2.0]]), np.array([1, 3]))
    for i, (unit, to) in enumerate([(1, 0.5), (3, 2.0)]):
        with toys.overwritten(detector, layer, {unit: to}):
            np.testing.assert_allclose(found[:, i, 0], detector.logits(batch), atol=1e-5)


class Flattened(nn.Module):
    """Normalizes every position by itself; names `inplace` by its place only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm1d(4 * 36)
        self.fc = nn.Linear(4 * 36, 1)
        for buffer in (self.norm.running_mean, self.norm.running_var):
            buffer.data = torch.rand(buffer.shape) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = nn.functional.leaky_relu(y.clone(), 0.2, True) + y
        return self.fc(self.norm(z.contiguous(memory_format=torch.contiguous_format).flatten(1)))[
            :, 0
        ]


@pytest.mark.parametrize("positions", [False, True])
def test_each_position_has_its_own_parameters(positions: bool) -> None:
    torch.manual_seed(0)
    detector, batch = toys.detector_of(Flattened()), images(8, 3)
    program = compile_suffix(detector, "conv", positions=positions)
    assert "updated by its change: fc" in program.explain()
    plain = Rerun("conv", 8, *split(trace(detector), "conv"), program.units, positions)
    values = np.random.default_rng(0).normal(size=(program.units, 2))
    one, two = (p.sweep(p.state(batch), values) for p in (program, plain))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_small_budget_gives_the_same() -> None:
    detector, batch = load_detector("meso4", input_size=32), images(32, 5)
    wide, narrow = (compile_suffix(detector, "conv2", memory=m) for m in (2**27, 1))
    assert isinstance(narrow, LocalProgram) and narrow.rows == narrow.plain_rows == 1 < wide.rows
    values = np.random.default_rng(0).normal(size=(5, wide.units, 2))
    sets = np.random.default_rng(1).random((3, wide.units)) < 0.5
    for ask in (
        lambda p: p.sweep(p.state(batch), values),
        lambda p: p.sums(p.state(batch), values[0], True),
        lambda p: p.donate(p.state(batch), p.state(batch.flip(0))),
        lambda p: p.ablate_sets(p.state(batch), sets, values[0, :, 0]),
    ):
        np.testing.assert_allclose(ask(wide), ask(narrow), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["relu", "stage3.3"])
def test_questions_that_do_not_fit_are_refused(layer: str) -> None:
    program = compile_suffix(load_detector("shallownet", input_size=32), layer)
    state, n = program.state(images(32)), program.units
    with pytest.raises(ProbeError, match=rf"Units from -1 to {n} were given; allowed are 0 to"):
        program.sweep(state, np.zeros((2, 1)), np.array([-1, n]))
    with pytest.raises(ProbeError, match="one-dimensional array of integers"):
        program.donate(state, state, np.array([0.5]))
    with pytest.raises(ProbeError, match=rf"are \({n}, v\) or, with one value per sample, \(2, "):
        program.sums(state, np.zeros((n - 1, 2)), True)


def test_values_of_each_sample_are_summed() -> None:
    program = compile_suffix(load_detector("shallownet", input_size=32), "relu")
    state, values = program.state(images(32)), np.random.default_rng(0).random((2, 1024, 2))
    wanted = 1 / (1 + np.exp(-program.sweep(state, values).astype(float)))
    np.testing.assert_allclose(program.sums(state, values, True), wanted.sum(0), atol=1e-6)
