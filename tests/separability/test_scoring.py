from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probe.separability.features import bounds, columns_auroc, pairs_of, spread_of, tally
from probe.stats import auroc, cluster_counts


def drawn(seed: int, n: int = 40, n_clusters: int = 6, ties: int = 5):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.5
    labels[:2] = True, False
    clusters = np.r_[np.arange(n_clusters), rng.integers(0, n_clusters, n - n_clusters)]
    scores = rng.integers(0, ties, n).astype(float) + labels
    return labels, scores, clusters


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_auroc_by_cluster_is_the_weighted_auroc(seed: int) -> None:
    labels, scores, clusters = drawn(seed)
    pairs = pairs_of(labels, scores, clusters)
    assert pairs.auroc()[0] == pytest.approx(roc_auc_score(labels, scores))
    counts = cluster_counts(6, 20, seed)
    np.testing.assert_allclose(pairs.auroc(counts), auroc(labels, scores, counts[:, clusters]))


def test_samples_without_a_score_do_not_count() -> None:
    labels, scores, clusters = drawn(1)
    scores[3:7] = np.nan
    kept = np.isfinite(scores)
    found = pairs_of(labels, scores, clusters).auroc()[0]
    assert found == pytest.approx(roc_auc_score(labels[kept], scores[kept]))
    assert np.isnan(pairs_of(labels, np.full(40, np.nan), clusters).auroc()[0])


def test_auroc_of_columns_each_with_its_labels() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 9, (50, 7)).astype(float), rng.random((50, 7)) < 0.4
    found, pairs = columns_auroc(labels, scores)
    expected = [roc_auc_score(labels[:, i], scores[:, i]) for i in range(7)]
    np.testing.assert_allclose(found, expected)
    assert pairs[0] == labels[:, 0].sum() * (~labels[:, 0]).sum()
    same, _ = columns_auroc(labels[:, 0], scores)
    np.testing.assert_allclose(same, [roc_auc_score(labels[:, 0], s) for s in scores.T])
    assert np.isnan(columns_auroc(np.ones(50, bool), scores)[0]).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_dprime_and_balanced_means_of_resamples_are_those_of_repeated_samples(seed: int) -> None:
    labels, scores, clusters = drawn(seed, ties=30)
    counts = cluster_counts(6, 10, seed)
    along = spread_of(labels, scores, clusters).dprime(counts)
    means = tally(scores, labels.astype(int), clusters, 2).mean(counts)
    for c, one, mean in zip(counts, along, means, strict=True):
        rows = np.repeat(np.arange(40), c[clusters].astype(int))
        fake, real = scores[rows][labels[rows]], scores[rows][~labels[rows]]
        if not len(fake) or not len(real):
            assert np.isnan(one) and np.isnan(mean)
            continue
        assert mean == pytest.approx((fake.mean() + real.mean()) / 2)
        inside = ((fake - fake.mean()) ** 2).sum() + ((real - real.mean()) ** 2).sum()
        if inside > 1e-9:
            expected = (fake.mean() - real.mean()) / np.sqrt(inside / (len(rows) - 2))
            assert one == pytest.approx(expected)


def test_no_interval_below_five_clusters() -> None:
    assert np.isnan(bounds(lambda c: c.sum(axis=1), 4, 100, 0.95, 0)).all()
    low, high = bounds(lambda c: c[:, 0], 5, 2000, 0.9, 0)
    assert low == 0 and high >= 2
