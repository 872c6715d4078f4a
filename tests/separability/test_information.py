from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score

from probe.separability.information import (
    entropy_of,
    exchange_rows,
    judge,
    mutual_bits,
    quantile_bins,
)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_bits_are_scikit_learns_for_every_labeling(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.r_[np.arange(12), rng.integers(0, 12, 60)]
    labelings = rng.integers(0, n_classes, (3, 12))
    labelings[:, :n_classes] = np.arange(n_classes)
    bins = quantile_bins(rng.normal(size=(72, 5)) + labelings[0][rows][:, None])
    found = mutual_bits(bins, rows, labelings)
    expected = [
        [mutual_info_score(labels[rows], b) / np.log(2) for b in bins.T] for labels in labelings
    ]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_bins_hold_about_the_same_number_and_equal_values_share_one() -> None:
    values = np.stack([np.arange(80.0), np.repeat([0.0, 1.0], 40), np.zeros(80)], axis=1)
    bins = quantile_bins(values)
    assert (np.bincount(bins[:, 0]) == 10).all()
    assert len(np.unique(bins[:, 1])) == 2 and len(np.unique(bins[:, 2])) == 1


def test_a_unit_that_knows_everything_and_one_that_knows_nothing() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 2)  # a row for either class
    classes = np.tile([0, 1], 40)
    rows = np.repeat(np.arange(80), 5)
    values = np.stack([classes[rows] + 0.01 * rng.random(400), rng.random(400)], axis=1)
    drawn = exchange_rows(classes, clusters, 499, 0)
    bits = mutual_bits(quantile_bins(values), rows, np.concatenate([classes[None], drawn]))
    told = judge(bits, entropy_of(classes[rows]))
    assert told.share[0] == pytest.approx(1, abs=0.06) and told.p[0] == 1 / 500
    assert told.share[1] < 0.03 and told.p[1] > 0.02


def test_frames_of_a_person_do_not_make_knowledge() -> None:
    """A unit that knows the person looks informed to the plug-in estimate, and not to the test."""
    rng, p, plugin = np.random.default_rng(0), [], []
    clusters, rows = np.arange(20), np.repeat(np.arange(20), 10)
    classes = clusters % 2
    for seed in range(100):
        values = rng.normal(size=(20, 1))[rows]
        drawn = exchange_rows(classes, clusters, 39, seed)
        bits = mutual_bits(quantile_bins(values), rows, np.concatenate([classes[None], drawn]))
        told = judge(bits, 1.0)
        p.append(told.p[0])
        plugin.append(bits[0, 0])
    assert np.mean(plugin) > 0.15
    # Binomial(100, .1): at most 20 with probability .999.
    assert (np.array(p) <= 0.1).sum() <= 20


def test_rows_of_a_cluster_exchange_among_themselves() -> None:
    classes = np.array([0, 1, 2, 0, 1, 1, 2])
    clusters = np.array([0, 0, 0, 1, 2, 3, 4])
    drawn = exchange_rows(classes, clusters, 200, 0)
    assert (np.sort(drawn[:, :3], axis=1) == [0, 1, 2]).all()
    assert (np.sort(drawn[:, 3:], axis=1) == [0, 1, 1, 2]).all()
    assert len(np.unique(drawn[:, :3], axis=0)) == 6
    assert len(np.unique(drawn[:, 3:], axis=0)) == 12


def test_entropy() -> None:
    assert entropy_of(np.array([0, 1])) == 1 and entropy_of(np.array([0, 0])) == 0
