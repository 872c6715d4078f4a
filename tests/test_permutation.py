"""Permutation tests, partial conjunction and false discovery rates, against slower statements."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import UnknownNameError
from probe.stats import (
    COMBINERS,
    adjust_together,
    benjamini_hochberg,
    benjamini_yekutieli,
    cluster_rows,
    exchange_labels,
    partial_conjunction,
    permutation_test,
)


def row_means(values: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> dict:
    keys = sorted(set(zip(clusters.tolist(), labels.tolist(), strict=True)))
    return {k: values[(clusters == k[0]) & (labels == k[1])].mean(axis=0) for k in keys}


def relabelings(keys: list[tuple[int, int]]) -> list[list[int]]:
    """All ways of giving labels to rows: swaps within pairs, permutations among the others."""
    both = [c for c in {c for c, _ in keys} if (c, 0) in keys and (c, 1) in keys]
    alone = [k for k in keys if k[0] not in both]
    out = []
    for swaps in itertools.product([0, 1], repeat=len(both)):
        for order in set(itertools.permutations([y for _, y in alone])):
            flip, given_ = dict(zip(both, swaps, strict=True)), dict(zip(alone, order, strict=True))
            out.append([given_[k] if k in given_ else k[1] ^ flip[k[0]] for k in keys])
    return out


def brute(values: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> tuple:
    """Difference, statistic, p and maxT by all relabelings, one at a time."""
    rows = row_means(values, labels, clusters)
    keys, table = list(rows), np.array(list(rows.values()))
    draws = []
    for given_ in relabelings(keys):
        y = np.array(given_, dtype=bool)
        draws.append(table[y].mean(axis=0) - table[~y].mean(axis=0))
    null = np.array(draws)
    y = np.array([k[1] for k in keys], dtype=bool)
    observed = table[y].mean(axis=0) - table[~y].mean(axis=0)
    scale = null.std(axis=0)
    z = np.where(scale > 1e-12, (null - null.mean(axis=0)) / np.maximum(scale, 1e-12), 0)
    zero = np.where(scale > 1e-12, (observed - null.mean(axis=0)) / np.maximum(scale, 1e-12), 0)
    p = (z >= zero - 1e-9).mean(axis=0)
    return observed, zero, p, (z.max(axis=1)[:, None] >= zero - 1e-9).mean(axis=0)


def paired(rng: np.random.Generator, clusters: int, units: int, frames: int = 2) -> tuple:
    labels = np.tile(np.repeat([0, 1], frames), clusters)
    groups = np.repeat(np.arange(clusters), 2 * frames)
    return rng.normal(size=(len(labels), units)), labels, groups


@pytest.mark.parametrize("seed", range(4))
def test_all_swaps_equal_enumeration(seed: int) -> None:
    values, labels, groups = paired(np.random.default_rng(seed), 6, 3)
    found = permutation_test(values, labels, groups)
    for mine, slow in zip(found, brute(values, labels, groups), strict=True):
        np.testing.assert_allclose(mine, slow, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_mixed_clusters_approach_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, labels, groups = paired(rng, 3, 2)
    alone = rng.normal(size=(6, 2))
    values = np.concatenate([values, alone])
    labels = np.concatenate([labels, [0, 0, 0, 1, 1, 1]])
    groups = np.concatenate([groups, 10 + np.arange(6)])
    found = permutation_test(values, labels, groups, n_permutations=20000)
    difference, statistic, p, p_max = brute(values, labels, groups)
    np.testing.assert_allclose(found.difference, difference, rtol=1e-9)
    np.testing.assert_allclose(found.statistic, statistic, rtol=1e-9)
    np.testing.assert_allclose(found.p, p, atol=0.015)
    np.testing.assert_allclose(found.p_max, p_max, atol=0.015)


def test_level_on_label_blind_values() -> None:
    """Under the null hypothesis p is uniform, and maxT bounds the chance of any false finding."""
    below, any_below, runs = 0.0, 0, 200
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        values, labels, groups = paired(rng, 12, 10)
        values += rng.normal(size=(12, 10))[groups] * 3  # a cluster's own level is no effect
        found = permutation_test(values, labels, groups, n_permutations=999, seed=seed)
        below += float((found.p <= 0.05).mean())
        any_below += bool((found.p_max <= 0.05).any())
    assert 0.035 < below / runs < 0.065
    assert any_below / runs < 0.09


def test_power_and_sign() -> None:
    rng = np.random.default_rng(0)
    values, labels, groups = paired(rng, 25, 3)
    values[:, 0] += 1.0 * labels
    values[:, 1] -= 1.0 * labels
    found = permutation_test(values, labels, groups)
    assert found.p[0] < 0.001 and found.p_max[0] < 0.003
    assert found.p[1] > 0.99
    assert found.difference[0] > 0 > found.difference[1]


def test_frames_do_not_count_as_evidence() -> None:
    """Copies of the same frames change nothing."""
    values, labels, groups = paired(np.random.default_rng(3), 8, 2)
    once = permutation_test(values, labels, groups)
    copied = permutation_test(*(np.concatenate([v, v, v]) for v in (values, labels, groups)))
    np.testing.assert_allclose(once.p, copied.p)


def test_constants_are_no_finding() -> None:
    _, labels, groups = paired(np.random.default_rng(0), 10, 1)
    constant = np.full((len(labels), 2), 0.1) * [1, 0]
    found = permutation_test(constant, labels, groups)
    assert (found.p == 1).all() and (found.statistic == 0).all()


def test_bad_input_is_refused() -> None:
    values, labels, groups = paired(np.random.default_rng(0), 4, 2)
    with pytest.raises(ValueError, match="do not match"):
        permutation_test(values, labels[1:], groups)
    with pytest.raises(ValueError, match="not finite"):
        permutation_test(values * np.nan, labels, groups)
    with pytest.raises(ValueError, match="all labels are the same"):
        permutation_test(values, labels * 0, groups)


def test_rows_average_clusters() -> None:
    values, labels, groups = paired(np.random.default_rng(1), 5, 3)
    shuffled = np.random.default_rng(2).permutation(len(labels))
    rows = cluster_rows(values[shuffled], labels[shuffled], groups[shuffled])
    np.testing.assert_allclose(rows.values, list(row_means(values, labels, groups).values()))
    assert (rows.labels[rows.partner] != rows.labels).all()


P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=7)


@given(P_VALUES, st.sampled_from(["simes", "bonferroni"]), st.data())
def test_partial_conjunction_by_its_definition(p: list[float], method: str, data: st.DataObject):
    """The largest of the combined p-values over all sets of D − r + 1 datasets (valid form)."""
    r = data.draw(st.integers(1, len(p)))
    slow = 0.0
    for some in itertools.combinations(sorted(p), len(p) - r + 1):
        m = len(some)
        each = [m * q / (i + 1) for i, q in enumerate(some)] if method == "simes" else [m * some[0]]
        slow = max(slow, min(each))
    found = partial_conjunction(np.array(p)[:, None], r, method)
    np.testing.assert_allclose(found, [min(slow, 1.0)])


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=7), st.sampled_from(sorted(COMBINERS)))
def test_all_datasets_is_the_largest_p(p: list[float], method: str) -> None:
    found = partial_conjunction(np.array(p)[:, None], len(p), method)
    np.testing.assert_allclose(found, [max(p)], rtol=1e-9)


@settings(max_examples=50)
@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=20))
def test_false_discovery_by_its_definition(p: list[float]) -> None:
    n, order = len(p), sorted(p)
    slow = [min(order[j] * n / (j + 1) for j in range(n) if order[j] >= q) for q in p]
    np.testing.assert_allclose(benjamini_hochberg(p), np.minimum(slow, 1))
    harmonic = sum(1 / (i + 1) for i in range(n))
    np.testing.assert_allclose(benjamini_yekutieli(p), np.minimum(np.array(slow) * harmonic, 1))


def test_partial_conjunction_refuses() -> None:
    with pytest.raises(ValueError, match="r=3"):
        partial_conjunction(np.full((2, 4), 0.5), 3)
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        partial_conjunction(np.zeros((2, 4)), 1)
    with pytest.raises(UnknownNameError, match="stouffer"):
        partial_conjunction(np.full((2, 4), 0.5), 1, "stouffer")


def test_adjusting_together_leaves_what_is_not_there() -> None:
    p = np.array([[0.01, np.nan], [0.02, 0.6]])
    found = adjust_together(p)
    assert np.isnan(found[0, 1])
    np.testing.assert_allclose(found[np.isfinite(p)], benjamini_hochberg([0.01, 0.02, 0.6]))
    assert np.isnan(adjust_together([np.nan, np.nan])).all()


def test_exchanged_labels_keep_people_and_counts() -> None:
    """Who has both labels swaps them or not; the others exchange theirs; frames stay together."""
    clusters = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    labels = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    drawn = exchange_labels(labels, clusters, 400, 0)
    assert drawn.shape == (400, 8)
    both, rest = drawn[:, :3], drawn[:, 3:]
    assert ((both[:, 0] != both[:, 1]) & (both[:, 1] == both[:, 2])).all()
    assert (rest[:, 0] == rest[:, 1]).all() and (rest[:, 2] == rest[:, 3]).all()
    ones = rest[:, [0, 2, 4]]
    assert (ones.sum(axis=1) == 1).all() and len(np.unique(ones, axis=0)) == 3
    assert 0.35 < both[:, 0].mean() < 0.65


@pytest.mark.parametrize("clusters", [8, 24, 60])
def test_blocks_draw_the_same_relabelings(clusters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swaps, exchanges and both: few at a time as all at once."""
    rng = np.random.default_rng(clusters)
    labels, groups = rng.integers(0, 2, 60), rng.integers(0, clusters, 60)
    values = rng.normal(size=(60, 3))
    whole = permutation_test(values, labels, groups, 200, seed=3)
    monkeypatch.setattr("probe.stats.permutation.BLOCK", 500)
    for one, other in zip(
        permutation_test(values, labels, groups, 200, seed=3), whole, strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_many_clusters_are_permuted_in_bounded_memory() -> None:
    n, rng = 4000, np.random.default_rng(0)
    labels, values = np.tile([0, 1], n // 2), rng.normal(size=(n, 1))
    tracemalloc.start()
    permutation_test(values, labels, np.repeat(np.arange(n // 2), 2), 3000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # all weights are 96 MB, and their draws as much again
