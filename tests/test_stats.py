from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from probe import stats


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(4, 40))
    labels = draw(hnp.arrays(np.int8, n, elements=st.integers(0, 1)))
    labels[0], labels[1] = 0, 1
    scores = draw(hnp.arrays(float, n, elements=st.sampled_from(np.linspace(0, 1, 7).tolist())))
    return labels, scores


def pairs_won(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUROC said slowly: the share of (fake, real) pairs in the right order."""
    won = [
        1.0 if f > r else 0.5 if f == r else 0.0
        for f in scores[labels == 1]
        for r in scores[labels == 0]
    ]
    return float(np.mean(won))


@given(scored())
def test_auroc_is_the_share_of_pairs_won(data: tuple[np.ndarray, np.ndarray]) -> None:
    assert stats.auroc(*data)[0] == pytest.approx(pairs_won(*data))
    assert stats.auroc(*data)[0] == pytest.approx(roc_auc_score(*data))


@given(scored())
def test_average_precision_is_sklearns(data: tuple[np.ndarray, np.ndarray]) -> None:
    assert stats.average_precision(*data)[0] == pytest.approx(average_precision_score(*data))


@given(scored())
def test_eer_lies_on_the_roc_where_errors_are_equal(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    rate = stats.equal_error_rate(labels, scores)[0]
    alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    # On the joined ROC, walk along its length and find where the two errors cross.
    along = np.linspace(0, len(alarms) - 1, 20_001)
    steps = np.arange(len(alarms))
    alarm, miss = np.interp(along, steps, alarms), 1 - np.interp(along, steps, hits)
    assert rate == pytest.approx(alarm[np.argmin(np.abs(alarm - miss))], abs=2e-3)


@given(scored(), st.integers(0, 2**31))
def test_whole_weights_are_repetitions(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    labels, scores = data
    weights = np.random.default_rng(seed).integers(0, 4, len(labels))
    weights[:2] = 1
    for metric in stats.METRICS.values():
        repeated = metric(np.repeat(labels, weights), np.repeat(scores, weights), None)
        assert metric(labels, scores, weights)[0] == pytest.approx(repeated[0])


def test_metrics_without_a_class_are_nan() -> None:
    for metric in (stats.auroc, stats.average_precision, stats.equal_error_rate):
        assert np.isnan(metric([0, 0, 0], [0.1, 0.2, 0.3], None)[0])


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        stats.auroc([0, 1], [0.1, np.nan])


def test_clusters_are_drawn_whole() -> None:
    clusters = np.repeat(np.arange(7), 3)
    weights = stats.cluster_weights(clusters, 50, seed=1)
    assert (weights.reshape(50, 7, 3) == weights.reshape(50, 7, 3)[:, :, :1]).all()
    assert (weights[:, ::3].sum(axis=1) == 7).all()


def test_few_clusters_give_no_interval() -> None:
    found = stats.cluster_bootstrap(
        stats.auroc, [0, 1] * 4, [0.2, 0.9] * 4, [0, 0, 1, 1, 2, 2, 3, 3]
    )
    assert found.n_clusters == 4
    assert found.estimate == 1.0
    assert np.isnan(found.low) and np.isnan(found.high)


def test_interval_covers_the_truth_at_about_its_level() -> None:
    """Clustered scores with a known AUROC: a clustered interval covers, a naive one does not."""
    rng = np.random.default_rng(0)
    truth, rounds, n_clusters, per = 0.760, 120, 30, 8
    covered = {"clustered": 0, "naive": 0}
    labels = np.tile([0, 1], n_clusters * per // 2)
    clusters = np.repeat(np.arange(n_clusters), per)
    for _ in range(rounds):
        shared = np.repeat(rng.normal(0, 1, (n_clusters, 2)), per // 2, axis=0).reshape(-1)
        shared = np.where(labels == 1, np.repeat(rng.normal(0, 1, n_clusters), per), shared)
        scores = shared + labels + 0.0
        for name, groups in (("clustered", clusters), ("naive", np.arange(len(labels)))):
            found = stats.cluster_bootstrap(stats.auroc, labels, scores, groups, n_resamples=200)
            covered[name] += found.low <= truth <= found.high
    assert covered["clustered"] / rounds > 0.85
    assert covered["naive"] < covered["clustered"]


def test_independent_lists_of_half_of_1024_units() -> None:
    expected = stats.independence_counts([512] * 5, 1024)
    np.testing.assert_allclose(expected, [32, 160, 320, 320, 160, 32])
    draws = stats.simulate_counts([512] * 5, 1024, n_draws=200)
    np.testing.assert_allclose(draws.mean(axis=0), expected, atol=5)
    assert (draws.sum(axis=1) == 1024).all()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_expected_counts_sum_to_units_and_to_places(kept: list[int]) -> None:
    expected = stats.independence_counts(kept, 20)
    assert expected.sum() == pytest.approx(20)
    assert (expected * np.arange(len(expected))).sum() == pytest.approx(sum(kept))
