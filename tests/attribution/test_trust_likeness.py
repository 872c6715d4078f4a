from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from probe.attribution.trust.metrics import (
    LIKENESS,
    edge_maps,
    histogram_entropy,
    random_maps,
    relative_changes,
    sensitivity,
    shifted_maps,
    spearman,
    ssim,
)
from tests.attribution.trusting import images


def maps(seed: int = 0, n: int = 2, side: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, side, side))


def test_ssim_is_its_equation_window_by_window() -> None:
    first, second = maps(1), maps(2)
    for a, b, found in zip(first, second, ssim(first, second), strict=True):
        a, b = np.abs(a) / np.abs(a).max(), np.abs(b) / np.abs(b).max()
        values = []
        for y in range(len(a) - 6):
            for x in range(len(a) - 6):
                p, q = a[y : y + 7, x : x + 7].ravel(), b[y : y + 7, x : x + 7].ravel()
                both = np.cov(p, q)
                light = (2 * p.mean() * q.mean() + 1e-4) / (p.mean() ** 2 + q.mean() ** 2 + 1e-4)
                form = (2 * both[0, 1] + 9e-4) / (both[0, 0] + both[1, 1] + 9e-4)
                values.append(light * form)
        assert found == pytest.approx(np.mean(values), abs=1e-9)


def test_spearman_is_the_correlation_of_mean_ranks() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(-3, 4, (2, 5, 5)), rng.integers(-3, 4, (2, 5, 5))
    for a, b, found in zip(first, second, spearman(first, second), strict=True):
        ranks = []
        for values in (np.abs(a).ravel(), np.abs(b).ravel()):
            ranks.append([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])
        x, y = (np.array(one) - np.mean(one) for one in ranks)
        assert found == pytest.approx((x @ y) / math.sqrt((x @ x) * (y @ y)))


def test_entropy_counts_equal_bins() -> None:
    for values, found in zip(maps(), histogram_entropy(maps(), 7), strict=True):
        width = (values.max() - values.min()) / 7
        bins = Counter(min(int((v - values.min()) / width), 6) for v in values.ravel())
        shares = [count / values.size for count in bins.values()]
        assert found == pytest.approx(-sum(p * math.log(p) for p in shares))
    even = np.linspace(0, 1, 100).reshape(1, 10, 10)
    assert histogram_entropy(even)[0] == pytest.approx(math.log(100), abs=0.02)
    assert histogram_entropy(np.full((1, 4, 4), 3.0))[0] == 0


@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_scale_and_sign_do_not_change_likeness(seed: int, scale: float, turn: bool) -> None:
    first, second = maps(seed), maps(seed + 1)
    other = second * (-scale if turn else scale)
    for likeness in LIKENESS.values():
        np.testing.assert_allclose(likeness(first, other), likeness(first, second), atol=1e-9)
        np.testing.assert_allclose(likeness(first, first * scale), 1)
        np.testing.assert_allclose(likeness(first, second), likeness(second, first), atol=1e-9)
    entropy = histogram_entropy(first * scale + 3 * scale)
    np.testing.assert_allclose(entropy, histogram_entropy(first), atol=0.15)


def test_constant_and_infinite_maps() -> None:
    flat, zero = np.ones((2, 12, 12)), np.zeros((2, 12, 12))
    np.testing.assert_array_equal(spearman(flat, zero), [1, 1])
    np.testing.assert_array_equal(spearman(maps(), flat), [0, 0])
    np.testing.assert_array_equal(ssim(zero, zero), [1, 1])
    broken = maps()
    broken[1, 0, 0] = np.inf
    for found in (ssim(broken, maps(1)), spearman(maps(1), broken), histogram_entropy(broken)):
        assert np.isfinite(found[0]) and np.isnan(found[1])


def test_edges_are_sobel_of_gray() -> None:
    x = images(3, 6)
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    for image, found in zip(x, edge_maps(x), strict=True):
        gray = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
        across = ndimage.correlate(gray, kernel, mode="reflect")
        down = ndimage.correlate(gray, kernel.T, mode="reflect")
        np.testing.assert_allclose(found, np.sqrt(across**2 + down**2), rtol=1e-4)


def test_noise_of_an_image_does_not_depend_on_its_batch() -> None:
    whole = random_maps(range(5), 6, 6, seed=3)
    np.testing.assert_array_equal(random_maps([4, 2], 6, 6, seed=3), whole[[4, 2]])
    assert (random_maps([0], 6, 6, seed=3, draw=1) != whole[0]).all()
    a = maps(0, 5, 8).astype(np.float32)
    shifted = shifted_maps(a, range(5), seed=1)
    np.testing.assert_array_equal(shifted_maps(a[[3]], [3], seed=1), shifted[[3]])
    for before, after in zip(a, shifted, strict=True):
        np.testing.assert_array_equal(np.sort(before.ravel()), np.sort(after.ravel()))
        assert (before != after).all()


def test_sensitivity_of_a_linear_map_is_the_noise_itself() -> None:
    """Of the identity the change is δ; kept in [0, 1], and drawn by position."""
    x = images(3)
    a = x.sum(axis=1)
    largest, mean = sensitivity(lambda y: y.sum(axis=1), x, a, radius=0.02, n_draws=4)
    changes = []
    for draw in range(4):
        row = []
        for i in range(3):
            noise = np.random.default_rng((0, draw, i)).uniform(-0.02, 0.02, x[i].shape)
            moved = np.minimum(np.maximum(x[i] + noise, 0), 1).sum(axis=0)
            top = sum(
                (float(p) - float(q)) ** 2 for p, q in zip(moved.flat, a[i].flat, strict=True)
            )
            row.append(math.sqrt(top / sum(float(v) ** 2 for v in a[i].flat)))
        changes.append(row)
    np.testing.assert_allclose(largest, np.max(changes, axis=0), rtol=1e-4)
    np.testing.assert_allclose(mean, np.mean(changes, axis=0), rtol=1e-4)
    part = sensitivity(lambda y: y.sum(axis=1), x[2:], a[2:], samples=[2], radius=0.02, n_draws=4)
    np.testing.assert_allclose(part[0], largest[2:])


def test_a_map_of_nothing_has_no_relative_change() -> None:
    found = relative_changes(np.zeros((1, 3, 3)), np.ones((1, 3, 3)))
    assert np.isnan(found).all()
    assert relative_changes(np.ones((1, 3, 3)), np.zeros((1, 3, 3)))[0] == 1
