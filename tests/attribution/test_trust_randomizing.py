from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from probe.attribution.trust.metrics import edge_maps, histogram_entropy, spearman, ssim
from probe.attribution.trust.randomization import (
    Cascade,
    efficient_mprt,
    mprt,
    parameter_modules,
    redraw,
)
from probe.detectors import load_detector
from probe.detectors.detector import weights_hash
from probe.errors import UnknownNameError
from tests.attribution.trusting import Linear, Small, detector, images, input_x_gradient

RUNS = ["", "first", "norm", "second", "head"]


def changed(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    states = before.state_dict(), after.state_dict()
    return {key.rpartition(".")[0] for key in states[0] if (states[0][key] != states[1][key]).any()}


def test_modules_are_named_in_the_order_in_which_they_run() -> None:
    module = Small()
    module.idle = torch.nn.Linear(2, 2)
    assert parameter_modules(module, images(1)) == [*RUNS, "idle"]
    assert not any(one._forward_pre_hooks for one in module.modules())


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
def test_stages_randomize_from_one_end(order: str) -> None:
    one = detector(Small())
    before = weights_hash(one.module)
    cascade = Cascade(one, images(1), n_stages=5, order=order)
    expected = RUNS[::-1] if order == "top_down" else RUNS
    assert cascade.shares == (0.2, 0.4, 0.6, 0.8, 1.0)
    for index in range(5):
        stage = cascade.stage(index)
        assert changed(one.module, stage.module) == set(expected[: index + 1])
        assert not stage.module.training and stage.spec == one.spec
    assert weights_hash(one.module) == before


def test_the_last_stage_is_the_same_whatever_the_order_and_the_number() -> None:
    one = detector(Small())
    last = {
        weights_hash(Cascade(one, images(1), n_stages=n, order=order).stage(-1).module)
        for n in (1, 2, 3, 9)
        for order in ("top_down", "bottom_up")
    }
    assert len(last) == 1
    other = Cascade(one, images(1), seed=1).stage(-1)
    assert weights_hash(other.module) not in last
    with pytest.raises(UnknownNameError, match="Did you mean 'top_down'"):
        Cascade(one, images(1), order="topdown")


def test_weights_are_redrawn_as_initialized_or_permuted() -> None:
    module = Small()
    drawn = copy.deepcopy(module)
    state = torch.random.get_rng_state()
    redraw(drawn, RUNS, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    # A convolution of 27 inputs is drawn from ±1/√27.
    assert drawn.first.weight.abs().max() <= 27**-0.5
    assert (drawn.norm.running_mean == 0).all() and (drawn.norm.running_var == 1).all()
    assert torch.equal(drawn.gain.sort().values, module.gain.sort().values)
    assert not torch.equal(drawn.gain, module.gain)
    again = copy.deepcopy(module)
    redraw(again, RUNS, seed=5)
    assert weights_hash(again) == weights_hash(drawn)


@pytest.mark.parametrize("name", ["meso4", "timm:resnet18"])
def test_real_networks_stay_bit_identical_and_run_with_random_weights(name: str) -> None:
    one = load_detector(name, input_size=32)
    before, x = weights_hash(one.module), images(2, 32)
    logits = one.logits(x)
    cascade = Cascade(one, x[:1])
    found = mprt(input_x_gradient, x, input_x_gradient(one, x), cascade)
    assert len(cascade.shares) <= 5 and cascade.shares[-1] == 1
    assert all(values.shape == (2, len(cascade.shares)) for values in found.likeness.values())
    assert np.isfinite(found.rise).all()
    assert weights_hash(one.module) == before
    np.testing.assert_array_equal(one.logits(x), logits)
    assert all(p.grad is None for p in one.module.parameters())


def test_scores_are_likeness_stage_by_stage() -> None:
    one, x = detector(Small(seed=3)), images(3)
    cascade = Cascade(one, x[:1], n_stages=3)
    a = input_x_gradient(one, x)
    found = mprt(input_x_gradient, x, a, cascade)
    np.testing.assert_allclose(found.shares, [2 / 5, 4 / 5, 1])
    for index in range(3):
        b = input_x_gradient(cascade.stage(index), x)
        np.testing.assert_allclose(found.likeness["ssim"][:, index], ssim(a, b))
        np.testing.assert_allclose(found.likeness["spearman"][:, index], spearman(a, b))
    last = input_x_gradient(cascade.stage(-1), x)
    h, random = histogram_entropy(a), histogram_entropy(last)
    np.testing.assert_allclose(found.rise, [(r - e) / e for e, r in zip(h, random, strict=True)])
    for name, values in found.likeness.items():
        first, second, third = values[0]
        want = 0.4 * (1 + first) / 2 + 0.4 * (first + second) / 2 + 0.2 * (second + third) / 2
        assert found.area(name)[0] == pytest.approx(want)
    short = mprt(input_x_gradient, x, a, cascade, last_only=True)
    np.testing.assert_array_equal(short.likeness["ssim"][:, 0], found.likeness["ssim"][:, -1])


def test_edges_fail_the_test_as_they_should() -> None:
    one, x = detector(Small()), images(2)
    found = mprt(lambda _, y: edge_maps(y), x, edge_maps(x), Cascade(one, x[:1]))
    for name, values in found.likeness.items():
        np.testing.assert_allclose(values, 1)
        np.testing.assert_allclose(found.area(name), 1)
    np.testing.assert_array_equal(found.rise, [0, 0])


def test_a_map_of_weights_alone_is_lost_at_once() -> None:
    """Permuted weights of a linear logit are unrelated to the old ones."""
    one, x = detector(Linear(32), 32), images(4, 32)
    found = mprt(input_x_gradient, x, input_x_gradient(one, x), Cascade(one, x[:1]))
    assert np.abs(found.likeness["spearman"][:, -1]).max() < 0.3


def test_a_constant_map_has_no_relative_rise() -> None:
    flat = np.ones((1, 4, 4))
    assert np.isnan(efficient_mprt(flat, np.random.default_rng(0).random((1, 4, 4)))).all()
    assert efficient_mprt(np.random.default_rng(0).random((1, 4, 4)), flat)[0] == -1
