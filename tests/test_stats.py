from __future__ import annotations

import tracemalloc

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


def by_threshold(y: np.ndarray, s: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of fakes and of reals at each distinct score, ascending, of all resamples at once."""
    order = np.argsort(s, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(s[order]) != 0])
    return tuple(np.add.reduceat((w * which)[:, order], starts, axis=1) for which in (y, ~y))


def whole(name: str, y: np.ndarray, s: np.ndarray, w: np.ndarray) -> np.ndarray:
    """What 0.2.0 computed from the weights of all samples in all resamples, to the last bit."""
    positive, negative = by_threshold(y, s, w)
    n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if name == "accuracy":
            return (w @ ((s >= 0.5) == y).astype(float)) / w.sum(axis=1)
        if name == "auroc":
            below = np.cumsum(negative, axis=1) - negative
            wins = np.sum(positive * (below + 0.5 * negative), axis=1)
            return wins / (n_positive * n_negative)
        hits, alarms = (np.cumsum(one[:, ::-1], axis=1) for one in (positive, negative))
        if name == "ap":
            called = hits + alarms
            precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
            out = np.sum(positive[:, ::-1] * precision, axis=1) / n_positive
            return np.where(n_negative > 0, out, np.nan)
        miss = np.c_[np.ones(len(w)), 1.0 - hits / n_positive[:, None]]
        alarm = np.c_[np.zeros(len(w)), alarms / n_negative[:, None]]
        gap, rows = miss - alarm, np.arange(len(w))
        after = np.argmax(gap <= 0, axis=1)
        before = np.maximum(after - 1, 0)
        step = gap[rows, before] - gap[rows, after]
        share = np.divide(gap[rows, before], step, out=np.zeros_like(step), where=step > 0)
        out = alarm[rows, before] + share * (alarm[rows, after] - alarm[rows, before])
        return np.where((n_positive > 0) & (n_negative > 0), out, np.nan)


@given(scored(), st.integers(0, 2**31), st.integers(2, 9), st.sampled_from([1, 7, 100, 10_000]))
def test_blocks_give_the_bounds_of_all_weights_at_once(
    data: tuple[np.ndarray, np.ndarray], seed: int, n_clusters: int, block: int
) -> None:
    labels, scores = data
    clusters = np.random.default_rng(seed).integers(0, n_clusters, len(labels))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("probe.stats.metrics.BLOCK", block)
        patched.setattr("probe.stats.bootstrap.BLOCK", block)
        found = stats.bootstrap_metrics(
            list(stats.METRICS), labels, scores, clusters, n_resamples=40, seed=seed
        )
    weights = stats.cluster_weights(clusters, 40, seed)
    for name, metric in stats.METRICS.items():
        draws = whole(name, labels == 1, scores, weights)
        draws = draws[np.isfinite(draws)]
        tail = 100 * (1 - 0.95) / 2
        low, high = np.percentile(draws, [tail, 100 - tail]) if len(draws) else (np.nan, np.nan)
        estimate = whole(name, labels == 1, scores, np.ones((1, len(labels))))[0]
        if found[name].n_clusters < stats.MIN_CLUSTERS:
            low = high = np.nan
        np.testing.assert_array_equal(
            [found[name].estimate, found[name].low, found[name].high], [estimate, low, high]
        )
        alone = stats.cluster_bootstrap(metric, labels, scores, clusters, n_resamples=40, seed=seed)
        np.testing.assert_array_equal([alone.low, alone.high], [low, high])


def test_a_metric_of_ones_own_is_resampled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, clusters = rng.normal(size=300), rng.integers(0, 20, 300)
    given: list[int] = []

    def mean(labels: object, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        w = np.ones((1, len(scores))) if weights is None else weights
        given.append(len(w))
        return w @ scores / w.sum(axis=1)

    monkeypatch.setattr("probe.stats.bootstrap.ROWS", 2000)
    found = stats.cluster_bootstrap(mean, np.zeros(300), scores, clusters, n_resamples=100)
    weights = stats.cluster_weights(clusters, 100, 0)
    bounds = np.percentile(weights @ scores / weights.sum(axis=1), [2.5, 97.5])
    np.testing.assert_allclose([found.low, found.high], bounds, rtol=1e-12)
    assert max(given) == 6 and sum(given) == 101


@pytest.mark.parametrize("n_clusters", [140, 60_000])
def test_memory_grows_with_samples_alone(n_clusters: int) -> None:
    """Peak of what numpy holds; a tenth of 600,000 rows takes less than a tenth of 300 MB."""
    n, rng = 60_000, np.random.default_rng(0)
    labels, clusters = rng.integers(0, 2, n), rng.permutation(n) % n_clusters
    scores = rng.random(n)

    def peak(n_resamples: int) -> int:
        tracemalloc.start()
        try:
            stats.bootstrap_metrics(
                list(stats.METRICS), labels, scores, clusters, n_resamples=n_resamples
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(10), peak(60)
    assert many < 30e6 and many < few + 1e6


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
