"""Partial rank correlations against loops, enumerated permutations, and nulls with clusters."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probe.artifacts.correlation import (
    exchange_blocks,
    partial_correlations,
    residual_ranks,
    strata_of,
)
from tests.responses.making import clustered, table_of


def correlated(x, y, datasets, cells, clusters, covariates=None, n=199, seed=0):
    extra = np.empty((len(x), 0)) if covariates is None else covariates
    strata = strata_of(datasets, cells, extra)
    return partial_correlations(
        residual_ranks(x, strata), residual_ranks(y, strata), strata, clusters, cells, n, seed
    )


def slow_residuals(values, datasets, cells, covariates):
    """Ranks within datasets, less their regression on dummies of cells and ranked covariates."""
    out = np.zeros(len(values))
    for code in set(datasets.tolist()):
        own = np.flatnonzero(datasets == code)
        columns = [(cells[own] == cell).astype(float) for cell in sorted(set(cells[own].tolist()))]
        columns += [stats.rankdata(z) for z in covariates[own].T]
        design = np.stack(columns, axis=1)
        ranks = stats.rankdata(values[own])
        fitted = design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        out[own] = (ranks - fitted) / (len(own) + 1)
    return out


def design(people=8, datasets=2, seed=0):
    rng = np.random.default_rng(seed)
    table = table_of(datasets, people, frames=1)
    codes = pd.factorize(table["dataset"])[0]
    person = pd.factorize(table["dataset"] + table["identity"])[0]
    return table, codes, 2 * codes + table["label"].to_numpy(), person, rng


def test_rho_is_the_correlation_of_residual_ranks() -> None:
    table, codes, cells, person, rng = design()
    z = rng.normal(size=(len(table), 2))
    x = rng.normal(size=(len(table), 3)) + z[:, :1] + table["label"].to_numpy()[:, None]
    y = rng.normal(size=(len(table), 4)) + 0.5 * x[:, :1] - z[:, 1:]
    found = correlated(x, y, codes, cells, person, z)
    for u, m in itertools.product(range(3), range(4)):
        a, b = (slow_residuals(v, codes, cells, z) for v in (x[:, u], y[:, m]))
        assert found.rho[u, m] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)


def test_with_one_dataset_and_label_it_is_spearmans() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, (30, 3)).astype(float), rng.normal(size=(30, 2)) ** 3
    zero = np.zeros(30, dtype=np.int64)
    found = correlated(x, y, zero, zero, np.arange(30))
    for u, m in itertools.product(range(3), range(2)):
        expected = stats.spearmanr(x[:, u], y[:, m])
        assert found.rho[u, m] == pytest.approx(expected.statistic, abs=1e-12)
        assert found.p[u, m] == pytest.approx(expected.pvalue, abs=0.12)


def test_p_is_the_share_of_all_exchanges_of_people() -> None:
    table, codes, cells, person, rng = design(people=4, datasets=1, seed=3)
    z = rng.normal(size=(len(table), 1))
    x = rng.normal(size=(len(table), 2)) + z
    y = rng.normal(size=(len(table), 2)) + x
    a = np.stack([slow_residuals(v, codes, cells, z) for v in x.T], axis=1)
    b = np.stack([slow_residuals(v, codes, cells, z) for v in y.T], axis=1)
    dummies = np.column_stack([(cells == c).astype(float) for c in (0, 1)] + [stats.rankdata(z)])
    draws = []
    for order in itertools.permutations(range(4)):
        # Two rows a person: real and fake go together.
        moved = b.reshape(4, 2, 2)[list(order)].reshape(8, 2)
        again = moved - dummies @ np.linalg.lstsq(dummies, moved, rcond=None)[0]
        draws.append([[np.corrcoef(p, q)[0, 1] for q in again.T] for p in a.T])
    share = (np.abs(draws) >= np.abs(draws[0]) - 1e-9).mean(axis=0)
    largest = np.abs(draws).max(axis=(1, 2))
    share_max = (largest[:, None, None] >= np.abs(draws[0]) - 1e-9).mean(axis=0)
    found = correlated(x, y, codes, cells, person, z, n=4000)
    np.testing.assert_allclose(found.rho, draws[0], atol=1e-12)
    np.testing.assert_allclose(found.p, share, atol=0.03)
    np.testing.assert_allclose(found.p_max, share_max, atol=0.03)


def null_p(table, seed, people_torn=False, frames_torn=False, columns=400):
    """p-values of independent columns, at each of three ways to exchange."""
    rng = np.random.default_rng(seed)
    x, y = clustered(table, columns, rng), clustered(table, 1, rng)
    codes = pd.factorize(table["dataset"])[0]
    person = pd.factorize(table["dataset"] + table["identity"])[0]
    label = table["label"].to_numpy()
    if not frames_torn:
        keys = pd.DataFrame({"d": codes, "c": person, "l": label})
        x = pd.DataFrame(x).groupby([keys.d, keys.c, keys.l]).mean().to_numpy()
        y = pd.DataFrame(y).groupby([keys.d, keys.c, keys.l]).mean().to_numpy()
        rows = keys.drop_duplicates().sort_values(["d", "c", "l"])
        codes, person, label = (rows[name].to_numpy() for name in "dcl")
    if people_torn or frames_torn:
        person = np.arange(len(x))
    return correlated(x, y, codes, 2 * codes + label, person, n=199, seed=seed).p.ravel()


#: 99.9% range of the share of p ≤ .05 among 1,200 of which each has a chance of .05.
LOW, HIGH = stats.binom(1200, 0.05).ppf([0.0005, 0.9995]) / 1200


def shares(**options) -> float:
    table = table_of(datasets=2, people=12, frames=4)
    drawn = [null_p(table, seed, **options) for seed in range(3)]
    return float((np.concatenate(drawn) <= 0.05).mean())


def test_the_null_is_calibrated_when_people_change_places() -> None:
    assert LOW <= shares() <= HIGH


def test_a_permutation_of_frames_would_fail_that_test() -> None:
    assert shares(frames_torn=True) > 4 * HIGH


def test_a_permutation_of_reals_and_fakes_apart_would_fail_it_too() -> None:
    assert shares(people_torn=True) > 1.5 * HIGH


def test_covariates_are_taken_out_and_do_not_spoil_the_level() -> None:
    table, codes, cells, person, rng = design(people=12, datasets=2, seed=5)
    z = rng.normal(size=(len(table), 1))
    x = z + rng.normal(size=(len(table), 400))
    y = z + rng.normal(size=(len(table), 1))
    assert (correlated(x, y, codes, cells, person).p <= 0.05).mean() > 0.8
    drawn = []
    for seed in range(60):
        z = rng.normal(size=(len(table), 1))
        x, y = (z + 2 * rng.normal(size=(len(table), columns)) for columns in (20, 1))
        drawn.append(correlated(x, y, codes, cells, person, z, seed=seed).p)
    assert LOW <= (np.stack(drawn) <= 0.05).mean() <= HIGH


def test_the_largest_statistic_bounds_the_chance_of_any_false_finding() -> None:
    table, codes, cells, person, rng = design(people=8, datasets=1, seed=2)
    hits = 0
    for seed in range(100):
        x, y = rng.normal(size=(len(table), 6)), rng.normal(size=(len(table), 5))
        hits += correlated(x, y, codes, cells, person, n=99, seed=seed).p_max.min() <= 0.05
    assert hits <= stats.binom(100, 0.05).ppf(0.999)


@pytest.mark.parametrize("side", [0, 1])
def test_constants_have_rho_0_and_p_1_and_warn_of_nothing(side: int) -> None:
    table, codes, cells, person, rng = design()
    pair = [rng.normal(size=(len(table), 2)), rng.normal(size=(len(table), 2))]
    pair[side][:, 0] = 7.25
    # Explained by the label is as good as constant.
    pair[side][:, 1] = 3.0 * table["label"].to_numpy() - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = correlated(*pair, codes, cells, person)
    assert (found.rho == 0).all() and (found.p == 1).all() and (found.p_max == 1).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(5, 9))
def test_only_order_counts_and_the_two_sides_are_alike(
    seed: int, datasets: int, people: int
) -> None:
    table, codes, cells, person, rng = design(people, datasets, seed)
    x, y = rng.normal(size=(len(table), 2)), rng.normal(size=(len(table), 3))
    found = correlated(x, y, codes, cells, person, n=19)
    bent = correlated(np.exp(x), y**3, codes, cells, person, n=19)
    turned = correlated(y, x, codes, cells, person, n=1)
    np.testing.assert_allclose(bent.rho, found.rho, atol=1e-12)
    np.testing.assert_array_equal(bent.p, found.p)
    np.testing.assert_allclose(turned.rho.T, found.rho, atol=1e-12)
    mirrored = correlated(-x, y, codes, cells, person, n=1)
    np.testing.assert_allclose(mirrored.rho, -found.rho, atol=1e-12)


def test_people_change_places_with_people_of_the_same_rows() -> None:
    clusters, cells = np.array([0, 0, 1, 1, 2, 3, 3]), np.array([0, 1, 0, 1, 2, 1, 0])
    blocks = exchange_blocks(clusters, cells)
    assert [block.tolist() for block in blocks] == [[[0, 1], [2, 3], [6, 5]], [[4]]]


def test_memory_does_not_grow_with_permutations() -> None:
    rng = np.random.default_rng(0)
    rows, measured = 2000, 26
    clusters = np.repeat(np.arange(rows // 4), 4)
    same = np.zeros(rows, dtype=np.int64)
    x, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, measured))
    peaks = []
    for n in (100, 1000):
        tracemalloc.start()
        correlated(x, y, same, same, clusters, n=n)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # All permuted values at once would take 416 MB.
    assert peaks[1] < 1.2 * peaks[0] and peaks[1] < 250e6


def test_blocks_of_permutations_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table, rng = table_of(datasets=2, people=8, frames=2), np.random.default_rng(0)
    x, y = clustered(table, 3, rng), clustered(table, 2, rng)
    codes, people = pd.factorize(table["dataset"])[0], table["dataset"] + table["identity"]
    cells, clusters = 2 * codes + table["label"].to_numpy(), pd.factorize(people)[0]
    whole = correlated(x, y, codes, cells, clusters)
    monkeypatch.setattr("probe.artifacts.correlation.BLOCK", 1)
    single = correlated(x, y, codes, cells, clusters)
    for a, b in zip(whole, single, strict=True):
        np.testing.assert_array_equal(a, b)
