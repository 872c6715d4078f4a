from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.attribution.trust.metrics import (
    MASK_CHECKS,
    area_share,
    fit_mask,
    mask_auroc,
    mask_chance,
    mask_iou,
    mask_mass,
    pointing,
)

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Maps with many ties, and masks with some pixels and not all."""
    n, side = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    maps = rng.integers(-levels, levels + 1, (n, side, side)) / 4
    masks = rng.random((n, side, side)) < draw(st.floats(0.1, 0.9))
    masks[:, 0, 0], masks[:, 0, 1] = True, False
    return maps, masks


@given(cases())
@settings(max_examples=60, deadline=None)
def test_checks_equal_their_definitions_in_loops(case: Case) -> None:
    maps, masks = case
    for row, (a, m) in enumerate(zip(maps, masks, strict=True)):
        pixels = [(a[y, x], m[y, x]) for y in range(len(a)) for x in range(len(a))]
        best = max(value for value, _ in pixels)
        top = [inside for value, inside in pixels if value == best]
        assert pointing(maps, masks)[row] == pytest.approx(sum(top) / len(top))

        mass = sum(max(value, 0.0) for value, _ in pixels)
        within = sum(max(value, 0.0) for value, inside in pixels if inside)
        want = within / mass if mass else m.mean()
        assert mask_mass(maps, masks)[row] == pytest.approx(want)

        wins = [
            (one > other) + (one == other) / 2
            for one, inside in pixels
            if inside
            for other, out in pixels
            if not out
        ]
        assert mask_auroc(maps, masks)[row] == pytest.approx(sum(wins) / len(wins))


@given(cases(), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_iou_counts_ties_as_random_breaking_does_on_average(case: Case, seed: int) -> None:
    maps, masks = case
    rng = np.random.default_rng(seed)
    for a, m, found in zip(maps, masks, mask_iou(maps, masks), strict=True):
        size, hits = int(m.sum()), []
        for _ in range(400):
            order = np.lexsort((rng.random(a.size), -a.ravel()))
            hits.append(m.ravel()[order[:size]].sum())
        mean = np.mean(hits)
        # Five standard errors of a mean of 400.
        assert found * (2 * size - mean) == pytest.approx(
            mean, abs=5 * (np.std(hits) + 0.02) * 2 / 20
        )


@given(cases(), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_order_is_all_that_rank_checks_see(case: Case, scale: float) -> None:
    maps, masks = case
    for check in (pointing, mask_iou, mask_auroc):
        want = check(maps, masks)
        np.testing.assert_allclose(check(np.arctan(maps / 500) * scale - 3, masks), want)
    np.testing.assert_allclose(mask_mass(maps * scale, masks), mask_mass(maps, masks))


@given(cases(), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_where_pixels_lie_in_memory_does_not_count(case: Case, seed: int) -> None:
    maps, masks = case
    order = np.random.default_rng(seed).permutation(maps[0].size)
    moved = [one.reshape(len(one), -1)[:, order].reshape(one.shape) for one in case]
    for check in MASK_CHECKS.values():
        np.testing.assert_allclose(check(*moved), check(maps, masks))


@given(cases())
@settings(max_examples=30, deadline=None)
def test_a_perfect_map_gets_one_its_negative_zero_a_constant_chance(case: Case) -> None:
    _, masks = case
    for name, check in MASK_CHECKS.items():
        np.testing.assert_allclose(check(masks.astype(float), masks), 1)
        np.testing.assert_allclose(check(1.0 - masks, ~masks & True), check(~masks * 1.0, ~masks))
        outside = check(1.0 - masks, masks)
        small = masks.reshape(len(masks), -1).mean(axis=1) <= 0.5
        np.testing.assert_allclose(outside[small], 0, atol=1e-12)
        for constant in (0.0, 2.0, -1.0):
            flat = np.full(masks.shape, constant)
            np.testing.assert_allclose(check(flat, masks), mask_chance(name, masks))


@pytest.mark.parametrize("name", MASK_CHECKS)
def test_a_random_map_gets_chance(name: str) -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((600, 24, 24), bool)
    masks[:, 4:14, 6:20] = True
    values = MASK_CHECKS[name](rng.random(masks.shape), masks)
    error = values.std() / np.sqrt(len(values))
    assert values.mean() == pytest.approx(mask_chance(name, masks)[0], abs=4 * error)


def test_only_positive_attribution_is_mass() -> None:
    maps = np.array([[[3.0, 1.0], [-8.0, 0.0]]])
    masks = np.array([[[True, False], [True, False]]])
    assert mask_mass(maps, masks)[0] == 0.75


def test_extreme_maps_have_mass() -> None:
    masks = np.zeros((1, 4, 4), bool)
    masks[0, :2] = True
    for scale in (1e-320, 1e-40, 1e307):
        assert mask_mass(np.full((1, 4, 4), scale), masks)[0] == 0.5


def test_masks_without_an_inside_or_an_outside_have_no_answer() -> None:
    maps = np.random.default_rng(0).random((2, 4, 4))
    masks = np.stack([np.zeros((4, 4), bool), np.ones((4, 4), bool)])
    assert np.isnan(mask_auroc(maps, masks)).all()
    np.testing.assert_array_equal(area_share(masks), [0, 1])
    assert np.isnan(mask_iou(maps, masks)[0]) and mask_iou(maps, masks)[1] == 1


def test_masks_are_resized_without_new_values() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4], mask[0, 0] = 255, 127
    found = fit_mask(mask, 4, 4)
    assert found[:2].all() and not found[2:].any()
    assert not fit_mask(mask, 8, 8)[0, 0] and fit_mask(mask, 8, 8)[0, 1]


def test_shapes_have_to_fit() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        pointing(np.zeros((2, 4, 4)), np.zeros((2, 4, 5), bool))
