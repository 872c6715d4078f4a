"""Units that tell a selection from the rest: AUROC, its intervals, and the same within strata."""

from __future__ import annotations

import numpy as np
import pytest

from probe.separability.selection import screen, tell_apart
from probe.stats import auroc, cluster_bootstrap

N, PEOPLE = 600, 60


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values with ties of four units, who is selected, people, and strata."""
    rng = np.random.default_rng(3)
    clusters, strata = rng.integers(0, PEOPLE, N), rng.integers(0, 4, N)
    selected = rng.random(N) < 0.2 + 0.15 * strata
    common = rng.normal(size=PEOPLE)[clusters]
    values = np.stack(
        [
            rng.normal(size=N) + selected + common,
            rng.normal(size=N) - 0.5 * selected,
            # Tells strata alone.
            5.0 * strata + rng.normal(size=N),
            rng.normal(size=N),
        ],
        axis=1,
    )
    return np.round(values, 1), selected, clusters, strata


def test_aurocs_are_those_of_the_metric(drawn: tuple[np.ndarray, ...]) -> None:
    values, selected, clusters, strata = drawn
    wanted = [float(auroc(selected, one)[0]) for one in values.T]
    found = tell_apart(values, selected, clusters, strata, [7, 8, 9, 11])
    assert np.allclose(found["auroc"], wanted) and list(found["unit"].values) == [7, 8, 9, 11]
    assert np.allclose(screen(values, selected), wanted)
    assert found.attrs["n_selected"] == selected.sum()
    assert found.attrs["n_clusters"] == len(set(clusters[selected]))


def test_within_strata_only_pairs_of_one_stratum_count(drawn: tuple[np.ndarray, ...]) -> None:
    values, selected, clusters, strata = drawn
    found = tell_apart(values, selected, clusters, strata)
    for unit, one in enumerate(values.T):
        wins = total = 0.0
        for stratum in range(4):
            here = strata == stratum
            gaps = one[here & selected][:, None] - one[here & ~selected][None]
            wins += (gaps > 0).sum() + 0.5 * (gaps == 0).sum()
            total += gaps.size
        assert float(found["within"][unit]) == pytest.approx(wins / total)
    # What picks strata tells nothing within them.
    assert float(found["auroc"][2]) > 0.6
    assert float(found["within_low"][2]) < 0.5 < float(found["within_high"][2])


def test_intervals_are_as_wide_as_those_of_resampled_people(
    drawn: tuple[np.ndarray, ...],
) -> None:
    values, selected, clusters, strata = drawn
    found = tell_apart(values, selected, clusters, strata)
    for unit, one in enumerate(values.T):
        wanted = cluster_bootstrap(auroc, selected, one, clusters, n_resamples=2000)
        width = float(found["high"][unit] - found["low"][unit])
        assert width == pytest.approx(wanted.high - wanted.low, rel=0.15)
        assert float(found["low"][unit]) == pytest.approx(wanted.low, abs=0.02)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(0), 0
    clusters = np.repeat(np.arange(40), 5)
    for _ in range(200):
        selected = rng.random(200) < 0.3
        common = rng.normal(size=40)[clusters]
        values = (rng.normal(size=200) + common)[:, None]
        found = tell_apart(values, selected, clusters, np.zeros(200, dtype=np.int64))
        held += float(found["low"][0]) <= 0.5 <= float(found["high"][0])
    # 95% of 200 are 190, with a standard deviation of 3.
    assert 181 <= held <= 199


def test_there_is_no_interval_of_few_people_nor_of_complete_separation() -> None:
    rng = np.random.default_rng(1)
    selected, zeros = np.arange(40) < 20, np.zeros(40, dtype=np.int64)
    values = np.stack([rng.normal(size=40), np.where(selected, 1.0, 0.0)], axis=1)
    found = tell_apart(values, selected, np.arange(40) // 8, zeros)
    assert np.isnan(found["low"]).all() and np.isfinite(found["auroc"]).all()
    found = tell_apart(values, selected, np.arange(40), zeros)
    assert np.isfinite(found["low"][0]) and np.isnan(found["low"][1])
    assert float(found["auroc"][1]) == 1.0


def test_what_cannot_be_compared_is_nan() -> None:
    values = np.array([[1.0, np.nan], [2.0, 1.0], [3.0, 2.0], [4.0, np.inf]])
    selected, people = np.array([True, True, False, False]), np.arange(4)
    found = tell_apart(values, selected, people, selected.astype(np.int64))
    assert float(found["auroc"][0]) == 0 and np.isnan(found["auroc"][1])
    # Each stratum is selected wholly or not at all.
    assert np.isnan(found["within"]).all() and found.attrs["n_within"] == 0
    assert list(np.isnan(screen(values, selected))) == [False, True]
    assert np.isnan(screen(values, np.ones(4, dtype=bool))).all()
