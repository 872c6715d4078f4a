from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.attribution.trust.deletion import (
    BLUR,
    curve_area,
    deletion,
    fill_images,
    forward_batch,
    insertion,
    pixel_ranks,
    replacement_curves,
)
from probe.detectors.detector import weights_hash
from probe.errors import UnknownNameError
from tests.attribution.trusting import SIZE, Linear, Small, detector, images


def contributions(module: Linear, x: np.ndarray, fill: str) -> np.ndarray:
    """What the logit loses when a pixel gives way to the fill, exact for a linear logit."""
    weights = module.weight.detach().numpy()
    return (weights * (x - fill_images(x, fill))).sum(axis=1)


@pytest.mark.parametrize("fill", ["blur", "mean"])
@pytest.mark.parametrize("insert", [False, True])
@pytest.mark.parametrize("n_steps", [1, 7, 64])
def test_curves_are_replacement_pixel_by_pixel(fill: str, insert: bool, n_steps: int) -> None:
    one, x = detector(Small()), images(2)
    order = np.random.default_rng(0).random((2, SIZE, SIZE))
    found = replacement_curves(
        one, x, pixel_ranks(order, order), fill=fill, insert=insert, n_steps=n_steps
    )
    filled = fill_images(x, fill)
    for i in range(2):
        places = sorted(np.ndindex(SIZE, SIZE), key=lambda at: -order[i][at])
        for k in range(n_steps + 1):
            mixed = (filled if insert else x)[i].copy()
            for y, z in places[: round(k * SIZE * SIZE / n_steps)]:
                mixed[:, y, z] = (x if insert else filled)[i, :, y, z]
            logit = float(one.logits(mixed[None])[0])
            assert found[i, k] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)


@given(st.integers(0, 1000), st.sampled_from(["blur", "mean"]), st.integers(1, 64))
@settings(max_examples=25, deadline=None)
def test_no_order_beats_the_contributions_of_a_linear_logit(
    seed: int, fill: str, n_steps: int
) -> None:
    module = Linear(seed=seed % 7)
    one, x = detector(module), images(2, seed=seed)
    exact = contributions(module, x, fill)
    other = np.random.default_rng(seed).permuted(exact.reshape(2, -1), axis=1).reshape(exact.shape)
    options = {"fill": fill, "n_steps": n_steps}
    # Rounding decides between equals only.
    assert (deletion(one, x, exact, **options) <= deletion(one, x, other, **options) + 1e-6).all()
    assert (insertion(one, x, exact, **options) >= insertion(one, x, other, **options) - 1e-6).all()


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_inserting_is_deleting_the_reverse_backwards(seed: int) -> None:
    one, x = detector(Small()), images(2, seed=seed)
    ranks = pixel_ranks(*np.random.default_rng(seed).random((2, 2, SIZE, SIZE)))
    there = replacement_curves(one, x, ranks, insert=True, n_steps=8)
    back = replacement_curves(one, x, SIZE * SIZE - 1 - ranks, n_steps=8)
    np.testing.assert_allclose(there, back[:, ::-1], atol=1e-6)


@given(st.integers(0, 1000), st.floats(0.001, 1000))
@settings(max_examples=20, deadline=None)
def test_only_the_order_of_attributions_counts(seed: int, scale: float) -> None:
    one, x = detector(Small()), images(2)
    a = np.random.default_rng(seed).integers(-3, 4, (2, SIZE, SIZE)).astype(float)
    want = deletion(one, x, a, n_steps=5, seed=seed)
    np.testing.assert_array_equal(deletion(one, x, np.exp(a) * scale, n_steps=5, seed=seed), want)


def test_ties_are_broken_by_the_draw_not_by_the_place() -> None:
    ties = np.random.default_rng(0).random((1, SIZE, SIZE))
    flat = pixel_ranks(np.zeros((1, SIZE, SIZE)), ties)
    np.testing.assert_array_equal(flat, pixel_ranks(ties, np.zeros_like(ties)))
    assert sorted(flat.ravel()) == list(range(SIZE * SIZE))
    halves = np.zeros((1, SIZE, SIZE))
    halves[0, :, 4:] = 1
    assert (pixel_ranks(halves, ties)[0, :, 4:] < 32).all()


def test_area_by_hand() -> None:
    np.testing.assert_allclose(curve_area([[1.0, 0.0], [1.0, 1.0]]), [0.5, 1])
    assert curve_area([[1.0, 0.5, 0.0, 0.0, 0.0]])[0] == pytest.approx((0.75 + 0.25) / 4)


def test_fills() -> None:
    x = images(2, 32)
    mean = fill_images(x, "mean")
    np.testing.assert_allclose(mean[1, 2], x[1, 2].mean(), rtol=1e-5)
    blurred = fill_images(x, "blur")
    assert blurred.std() < x.std() and blurred.dtype == np.float32
    point = np.zeros((1, 3, 225, 225), np.float32)
    point[0, 1, 112, 112] = 1
    spread = fill_images(point, "blur")[0, 1].astype(float)
    offsets = np.arange(225) - 112
    assert np.sqrt((spread * offsets**2).sum()) == pytest.approx(BLUR * 225, rel=0.01)
    with pytest.raises(UnknownNameError, match="Fill 'black' is not known"):
        fill_images(x, "black")


def test_batches_do_not_change_curves() -> None:
    one, x = detector(Small()), images(5)
    a = np.random.default_rng(0).random((5, SIZE, SIZE))
    want = deletion(one, x, a, n_steps=6)
    assert forward_batch(one, x[:1], "2G") == 128 and forward_batch(one, x[:1], 1) == 1
    for memory in (1, "40K", "200K"):
        np.testing.assert_allclose(deletion(one, x, a, n_steps=6, memory=memory), want, atol=1e-6)


def test_the_detector_is_left_as_it_was() -> None:
    one = detector(Small())
    before = weights_hash(one.module)
    deletion(one, images(2), np.zeros((2, SIZE, SIZE)), n_steps=3)
    assert weights_hash(one.module) == before
    assert not any(module._forward_hooks for module in one.module.modules())
    assert all(p.grad is None for p in one.module.parameters())
    assert torch.is_grad_enabled()
