"""Matching units of retrained detectors, and overlap between variants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from probe.errors import ProbeError
from probe.neurons import compare_neurons, match_units, reappearing, universal_neurons
from probe.neurons.universality import excess_over
from tests.test_importance import table_of


def test_a_permuted_copy_is_matched_to_itself() -> None:
    rng = np.random.default_rng(0)
    a, order = rng.normal(size=(200, 12)), rng.permutation(12)
    noisy = a[:, order] * rng.uniform(0.5, 2, 12) + 0.3 * rng.normal(size=a.shape)
    found = match_units(a, noisy)
    np.testing.assert_array_equal(order[found.second], found.first)
    assert found.correlation.min() > 0.8 > found.chance


def test_matching_maximizes_the_sum_of_correlations() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    found = match_units(a, b)
    corr = np.corrcoef(a.T, b.T)[:4, 4:]
    best = max(sum(corr[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(4)))
    assert found.correlation.sum() == pytest.approx(best)
    np.testing.assert_allclose(found.correlation, corr[found.first, found.second])


def test_constants_and_signs() -> None:
    a = np.random.default_rng(2).normal(size=(50, 3))
    b = -a
    b[:, 0] = 1.0
    assert np.isfinite(match_units(a, b).correlation).all()
    unsigned = match_units(a, -a, signed=False)
    np.testing.assert_array_equal(unsigned.first, unsigned.second)
    np.testing.assert_allclose(unsigned.correlation, -1)


def test_reappearing_counts_partners() -> None:
    a = np.random.default_rng(3).normal(size=(80, 10))
    match = match_units(a, a[:, ::-1])
    found = reappearing(match, [0, 1, 2, 3], [9, 8, 7, 0])
    assert found["first"] == 4 and found["both"] == 3
    assert found["expected"] == pytest.approx(4 * 4 / 10)
    # P(at least 3 of 4 drawn from 10 with 4 marked), by counting all draws.
    draws = list(itertools.combinations(range(10), 4))
    slow = np.mean([len({0, 1, 2, 3} & set(d)) >= 3 for d in draws])
    assert found["p"] == pytest.approx(slow)


def test_different_samples_are_refused() -> None:
    with pytest.raises(ProbeError, match="5 and 6 samples"):
        match_units(np.zeros((5, 2)), np.zeros((6, 2)))


def test_variants_are_compared_unit_by_unit() -> None:
    effects = np.tile(np.arange(20.0), (3, 1))
    found = {
        "base": universal_neurons(table_of(effects)),
        "deep": universal_neurons(table_of(effects[:, ::-1])),
        "same": universal_neurons(table_of(effects)),
    }
    frame = compare_neurons(found).set_index(["first", "second", "set"])
    assert frame.loc[("base", "same", "counted"), "jaccard"] == 1
    assert frame.loc[("base", "deep", "counted"), "both"] == 0
    assert frame.loc[("base", "deep", "counted"), "expected"] == pytest.approx(5)
    with pytest.raises(ProbeError, match="20 units and other 8"):
        compare_neurons(
            {"base": found["base"], "other": universal_neurons(table_of(effects[:, :8]))}
        )


def test_the_excess_widens_with_few_draws() -> None:
    rng = np.random.default_rng(0)
    boot = rng.normal(50, 2, 500)
    many = excess_over(50, boot, rng.normal(40, 3, 400))
    few = excess_over(50, boot, rng.normal(40, 3, 3))
    assert many.low < 10 < many.high and many.high - many.low < few.high - few.low
    assert many.p < 0.02 and few.p == pytest.approx(1 / 4)
    assert np.isnan(excess_over(50, boot, np.array([40.0])).low)
    known = excess_over(50, boot, rng.normal(40, 3, 100), mean=40.0)
    assert known.high - known.low == pytest.approx(2 * 1.96 * boot.std(ddof=1), rel=1e-3)
