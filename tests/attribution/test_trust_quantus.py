"""Quantus as the reference, where its definition is that of the paper; where it is not, how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.attribution.trust.deletion import fill_images, pixel_ranks, replacement_curves
from probe.attribution.trust.metrics import (
    mask_auroc,
    mask_iou,
    mask_mass,
    pointing,
    sensitivity,
    spearman,
)
from probe.attribution.trust.randomization import efficient_mprt
from tests.attribution.trusting import SIZE, Small, detector, images, input_x_gradient

quantus = pytest.importorskip("quantus")

pytestmark = pytest.mark.filterwarnings("ignore")

QUIET = {"disable_warnings": True, "normalise": False}
FAKE = np.ones(4, dtype=int)


class TwoWay(nn.Module):
    """Quantus asks for classes: (0, logit), whose softmax is P(fake)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Small()

    def forward(self, x: Tensor) -> Tensor:
        logit = self.body(x)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def masked() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    masks = np.zeros((4, SIZE, SIZE), bool)
    for row, (top, left) in enumerate([(0, 0), (1, 3), (4, 2), (5, 5)]):
        masks[row, top : top + 3, left : left + 2 + row % 2] = True
    return rng.random((4, SIZE, SIZE)), masks


def localized(metric: Any, maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Run a localization metric on given maps."""
    found = metric(
        model=TwoWay().eval(),
        x_batch=images(4),
        y_batch=FAKE,
        a_batch=maps[:, None],
        s_batch=masks[:, None],
        channel_first=True,
    )
    return np.asarray(found, dtype=float)


def test_pointing_without_ties_is_quantus() -> None:
    maps, masks = masked()
    maps[1, 2, 3] = 2
    want = localized(quantus.PointingGame(**QUIET), maps, masks)
    np.testing.assert_array_equal(pointing(maps, masks), want)
    assert 0 < want.sum() < 4


def test_pointing_with_ties_quantus_counts_any_of_them_as_a_hit() -> None:
    _, masks = masked()
    flat = np.full(masks.shape, 0.5)
    flat[:, 7, 0] = 0
    assert localized(quantus.PointingGame(**QUIET), flat, masks).tolist() == [1, 1, 1, 1]
    assert pointing(flat, masks).max() < 0.2


def test_mass_of_maps_without_negative_values_is_quantus() -> None:
    maps, masks = masked()
    want = localized(quantus.RelevanceMassAccuracy(**QUIET), maps, masks)
    np.testing.assert_allclose(mask_mass(maps, masks), want)


def test_mass_of_signed_maps_quantus_lets_negative_values_cancel() -> None:
    maps, masks = masked()
    signed = maps - 0.5
    found = localized(quantus.RelevanceMassAccuracy(**QUIET), signed, masks)
    assert (found < 0).any() or (found > 1).any()
    want = localized(quantus.RelevanceMassAccuracy(**QUIET), np.maximum(signed, 0), masks)
    np.testing.assert_allclose(mask_mass(signed, masks), want)


def test_iou_follows_from_rank_accuracy_and_top_k() -> None:
    maps, masks = masked()
    rank = localized(quantus.RelevanceRankAccuracy(**QUIET), maps, masks)
    np.testing.assert_allclose(mask_iou(maps, masks), rank / (2 - rank))
    for row in range(4):
        size = int(masks[row].sum())
        top = localized(quantus.TopKIntersection(k=size, **QUIET), maps, masks)[row]
        assert top == pytest.approx(rank[row])


def test_auroc_is_quantus_ties_too() -> None:
    maps, masks = masked()
    for values in (maps, np.round(maps * 3)):
        want = localized(quantus.AUC(**QUIET), values, masks)
        np.testing.assert_allclose(mask_auroc(values, masks), want)


@pytest.mark.parametrize("fill", ["blur", "mean"])
def test_deletion_curves_are_pixel_flipping_of_whole_pixels(fill: str) -> None:
    """Quantus flips values of channels; with maps broadcast to channels these are pixels.

    Its curve lacks the start, and it has no blur: the fill is given to it.
    """
    # Sides for which Quantus takes steps of whole pixels in all channels.
    side, steps = 12, 9
    x, model = images(4, side), TwoWay().eval()
    maps = np.random.default_rng(1).random((4, side, side))
    filled = fill_images(x, fill).reshape(4, -1)

    def flip(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        out = arr.copy()
        np.put_along_axis(out, indices, np.take_along_axis(filled, indices, 1), 1)
        return out

    metric = quantus.PixelFlipping(
        features_in_step=3 * side * side // steps, perturb_func=flip, **QUIET
    )
    curves = metric(
        model=model,
        x_batch=x,
        y_batch=FAKE,
        a_batch=maps[:, None],
        channel_first=True,
        softmax=True,
    )
    ranks = pixel_ranks(maps, maps)
    found = replacement_curves(detector(model.body), x, ranks, fill=fill, n_steps=steps)
    np.testing.assert_allclose(found[:, 1:], np.asarray(curves), atol=1e-6)


def test_largest_sensitivity_is_max_sensitivity_of_the_same_noise() -> None:
    """Quantus draws noise of ±0.2 for the whole batch and does not keep images in [0, 1]."""
    x = images(4) * 0.8 + 0.1
    body = detector(Small())
    draws = iter(range(3))

    def noisy(arr: np.ndarray, **_: Any) -> np.ndarray:
        draw = next(draws)
        noise = [
            np.random.default_rng((0, draw, i)).uniform(-0.05, 0.05, x[i].shape) for i in range(4)
        ]
        return (arr + np.reshape(noise, arr.shape)).astype(np.float32)

    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        return input_x_gradient(body, np.asarray(inputs, np.float32))[:, None]

    maps = input_x_gradient(body, x)
    metric = quantus.MaxSensitivity(nr_samples=3, perturb_func=noisy, abs=False, **QUIET)
    want = metric(
        model=TwoWay().eval(),
        x_batch=x,
        y_batch=FAKE,
        a_batch=maps[:, None],
        channel_first=True,
        explain_func=explain,
    )
    found, _ = sensitivity(lambda y: input_x_gradient(body, y), x, maps, radius=0.05, n_draws=3)
    np.testing.assert_allclose(found, want, rtol=1e-4)


def explaining() -> Callable[..., np.ndarray]:
    def explain(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        return input_x_gradient(detector(model.body), np.asarray(inputs, np.float32))[:, None]

    return explain


def random_bodies(model: nn.Module, order: str) -> list[np.ndarray]:
    """Maps of each model that Quantus makes: it redraws modules that have ``reset_parameters``."""
    wrapped = quantus.helpers.utils.get_wrapped_model(
        model=model, channel_first=True, softmax=False, device="cpu", model_predict_kwargs={}
    )
    return [
        input_x_gradient(detector(one.body), images(4))
        for _, one in wrapped.get_random_layer_generator(order=order, seed=42)
    ]


def test_likeness_on_the_same_random_models_is_mprt() -> None:
    """Which weights are redrawn, and by which seed, differs; the likeness of maps does not."""
    model = TwoWay().eval()
    maps = input_x_gradient(detector(model.body), images(4))
    scores = quantus.MPRT(disable_warnings=True, abs=True)(
        model=model,
        x_batch=images(4),
        y_batch=FAKE,
        a_batch=maps[:, None].copy(),
        channel_first=True,
        explain_func=explaining(),
        device="cpu",
    )
    layers = list(scores)[1:]
    assert list(scores)[0] == "original" and len(layers) == 4
    for name, random in zip(layers, random_bodies(model, "top_down"), strict=True):
        np.testing.assert_allclose(spearman(maps, random), scores[name], atol=1e-6)


def test_relative_rise_on_the_same_random_model_is_efficient_mprt() -> None:
    model = TwoWay().eval()
    maps = input_x_gradient(detector(model.body), images(4))
    want = quantus.EfficientMPRT(**QUIET)(
        model=model,
        x_batch=images(4),
        y_batch=FAKE,
        a_batch=maps[:, None].copy(),
        channel_first=True,
        explain_func=explaining(),
        device="cpu",
    )
    random = random_bodies(model, "bottom_up")[-1]
    np.testing.assert_allclose(efficient_mprt(maps, random), want, rtol=1e-6)
