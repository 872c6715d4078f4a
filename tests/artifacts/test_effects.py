"""Effects, intervals, tests and controls against slower statements and known answers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.artifacts import artifact_report
from probe.artifacts.controls import COVARIATES, design, matched_rows
from probe.artifacts.effects import Group, effects_of, p_values
from probe.errors import DatasetError
from probe.stats import auroc, benjamini_hochberg, cluster_counts
from tests.artifacts.making import measured

FAST = {"n_permutations": 499, "n_resamples": 100, "progress": False}


def drawn(n: int = 80, m: int = 3, seed: int = 0, shift: float = 1.0) -> Group:
    """Groups of four images of one cluster, half of them fakes, larger by `shift`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    clusters = np.arange(n) // 4
    values = rng.normal(size=(n, m)) + rng.normal(size=n // 4)[clusters][:, None]
    return Group(values + shift * labels[:, None], labels.astype(np.int8), clusters)


def none_of(group: Group) -> np.ndarray:
    return np.empty((len(group.labels), 0))


def slow_effect(values: np.ndarray, labels: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    x = np.column_stack([np.ones(len(values)), labels, covariates])
    slope = np.linalg.lstsq(x, values, rcond=None)[0][1]
    return np.asarray(slope / values[labels == 0].std(axis=0))


def test_effect_is_the_difference_in_deviations_of_reals() -> None:
    group = drawn()
    found = effects_of(group, np.arange(80), none_of(group), n_resamples=0)
    fake, real = (group.values[group.labels == y] for y in (1, 0))
    assert np.allclose(found.effect, (fake.mean(0) - real.mean(0)) / real.std(0))


def test_partialled_effect_is_the_coefficient_of_the_label() -> None:
    group = drawn(seed=1)
    x = np.random.default_rng(2).normal(size=(80, 2)) + group.labels[:, None]
    found = effects_of(group, np.arange(80), x, n_resamples=0)
    assert np.allclose(found.effect, slow_effect(group.values, group.labels, x))


def test_interval_is_that_of_images_drawn_again_by_cluster() -> None:
    group = drawn(seed=3)
    x = np.random.default_rng(4).normal(size=(80, 1))
    found = effects_of(group, np.arange(80), x, n_resamples=60, seed=5)
    draws = []
    for counts in cluster_counts(20, 60, 5):
        rows = np.repeat(np.arange(80), counts[group.clusters].astype(int))
        draws.append(slow_effect(group.values[rows], group.labels[rows], x[rows]))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    assert np.allclose(found.low, low) and np.allclose(found.high, high)


def test_measurements_that_some_images_lack_rest_on_the_others() -> None:
    group = drawn(seed=6)
    lacking = group.values.copy()
    lacking[:8, 1] = np.nan
    found = effects_of(Group(lacking, group.labels, group.clusters), np.arange(80), none_of(group))
    whole = effects_of(group, np.arange(80), none_of(group))
    rest = Group(group.values[8:], group.labels[8:], group.clusters[8:] - 2)
    other = effects_of(rest, np.arange(72), none_of(rest))
    assert found.effect[0] == pytest.approx(whole.effect[0])
    assert found.effect[1] == pytest.approx(other.effect[1])
    p = p_values(Group(lacking, group.labels, group.clusters), none_of(group), 199)
    assert p[1] == pytest.approx(p_values(rest, none_of(rest), 199)[1])


def test_p_values_are_two_sided_and_see_both_directions() -> None:
    group = drawn(seed=7, shift=0.0)
    signed = np.column_stack([group.values[:, 0] + group.labels, group.values[:, 0] - group.labels])
    p = p_values(Group(signed, group.labels, group.clusters), none_of(group), 999)
    assert (p < 0.02).all()
    opposite = p_values(Group(-signed, group.labels, group.clusters), none_of(group), 999)
    assert np.allclose(p, opposite)


def test_p_values_hold_their_level_without_an_effect() -> None:
    """Also where a covariate differs between labels and the measurement follows it."""
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        group = drawn(m=4, seed=seed, shift=0.0)
        x = rng.normal(size=(80, 1)) + group.labels[:, None]
        values = group.values + 2 * x
        p.append(p_values(Group(values, group.labels, group.clusters), x, 199, seed))
    assert np.mean(np.concatenate(p) <= 0.05) < 0.09


def test_identical_pairs_have_no_effect_and_p_of_one() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 3)).repeat(2, axis=0)
    group = Group(values, np.tile([0, 1], 20).astype(np.int8), np.arange(40) // 4)
    found = effects_of(group, np.arange(40), none_of(group))
    assert np.abs(found.effect).max() < 1e-12 and (p_values(group, none_of(group), 99) == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 2))
def test_matched_images_are_alike(seed: int, caliper: float) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    labels = rng.integers(0, 2, n).astype(np.int8)
    controls = np.column_stack(
        [
            rng.normal(size=n) + labels,
            rng.integers(0, 3, n).astype(float),
            np.where(rng.random(n) < 0.2, np.nan, 5.0),
        ]
    )
    names = ["quality", "format", "crop_side"]
    rows = matched_rows(controls, labels, rng.integers(0, 9, n), caliper, names, seed)
    assert len(set(rows.tolist())) == len(rows)
    assert (labels[rows] == 1).sum() == (labels[rows] == 0).sum()
    width = caliper * controls[:, 0].std()
    cells = np.floor((controls[:, 0] - controls[:, 0].min()) / width + 1e-9)
    key = [(cells[i], controls[i, 1], np.isnan(controls[i, 2])) for i in range(n)]
    for cell in set(key):
        of = [i for i in range(n) if key[i] == cell]
        most = min((labels[of] == y).sum() for y in (0, 1))
        assert sum(i in of for i in rows) == 2 * most
        assert np.ptp(controls[of, 0]) <= width + 1e-9


def test_pairs_of_one_cluster_come_first() -> None:
    labels = np.array([0, 0, 1], np.int8)
    for seed in range(5):
        rows = matched_rows(np.zeros((3, 1)), labels, np.array([0, 1, 1]), 0.2, ["width"], seed)
        assert rows.tolist() == [1, 2]


def test_design_leaves_out_what_does_not_vary() -> None:
    controls = np.column_stack(
        [
            np.full(10, 128.0),
            np.arange(10.0),
            3 * np.arange(10.0) + 1,
            np.full(10, np.nan),
            np.arange(10) % 3,
        ]
    )
    x = design(controls, ["width", "quality", "crop_side", "source_fps", "format"])
    assert x.shape == (10, 4)  # quality once, its square, and two of three formats
    assert np.allclose(x.mean(axis=0), 0) and np.allclose(x.std(axis=0), 1)


def confounded(seed: int, effect: float, n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two measurements that follow quality; the first of fakes differs beyond that."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    quality = rng.normal(80, 5, n) - 5 * labels
    values = np.column_stack([quality, quality]) / 5 + rng.normal(size=(n, 2)) * 0.5
    values[:, 0] += effect * labels
    return values, labels, quality


def test_controls_take_a_confound_out_and_leave_an_effect_in() -> None:
    values, labels, quality = confounded(0, 2.0)
    found = artifact_report(
        measured(values, labels, np.arange(400), controls={"quality": quality}), **FAST
    ).data.isel(dataset=0)
    truth = 2.0 / values[labels == 0, 0].std()
    own, follower = (found.isel(measurement=i) for i in (0, 1))
    assert float(follower["q"].sel(control="none")) < 0.01
    for control in ("partialled", "matched"):
        at = {"control": control}
        assert float(own["effect"].sel(at)) == pytest.approx(truth, abs=0.15)
        assert float(own["low"].sel(at)) < truth < float(own["high"].sel(at))
        assert float(own["q"].sel(at)) < 0.02
        assert abs(float(follower["effect"].sel(at))) < 0.15
    assert abs(float(follower["effect"].sel(control="none"))) > 0.5
    assert 0 < int(found["n_used"].sel(control="matched")) < 400
    told = auroc(labels, quality)[0]
    row = found.sel(covariate="quality")
    assert float(row["imbalance"]) == pytest.approx(told) and told < 0.35
    assert float(row["imbalance_low"]) < told < float(row["imbalance_high"])


def test_covariates_that_tell_all_leave_nothing_and_say_so() -> None:
    values, labels, _ = confounded(1, 0.0)
    found = artifact_report(
        measured(values, labels, np.arange(400), controls={"format": labels.astype(float)}), **FAST
    ).data.isel(dataset=0)
    assert np.isnan(found["effect"].sel(control=["partialled", "matched"])).all()
    assert np.isfinite(found["effect"].sel(control="none")).all()
    assert "nothing can be partialled" in str(found["reason"].values)
    assert "nothing can be matched" in str(found["reason"].values)
    assert found["n_used"].values.tolist() == [400, 0, 0]
    assert float(found["imbalance"].sel(covariate="format")) == 1


def test_few_clusters_have_no_interval_and_a_reason() -> None:
    group = drawn(16)
    found = artifact_report(measured(group.values, group.labels, group.clusters), **FAST).data
    assert int(found["n_clusters"][0]) == 4
    for name in ("low", "high", "power_low", "power_high", "power_gap_low"):
        assert np.isnan(found[name]).all(), name
    assert np.isfinite(found["effect"]).all() and np.isfinite(found["p"]).all()
    assert "4 clusters" in str(found["reason"].values[0])


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_effect_and_a_reason(label: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 2))
    one = measured(values, np.full(20, label), np.arange(20))
    found = artifact_report(one, **FAST).data
    for name in ("effect", "low", "p", "q", "imbalance", "tells"):
        assert np.isnan(found[name]).all(), name
    assert (found["rank"] == 0).all()
    assert f"all 20 images are {['real images', 'fakes'][label]}" in str(found["reason"].values[0])
    assert np.isfinite(found["mean"].isel(dataset=0, label=label)).all()
    assert np.isnan(found["power"].isel(dataset=0, label=1 - label)).all()


def two_datasets() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = np.arange(200) % 2
    of = np.repeat(["a", "b"], 100)
    values = rng.normal(size=(200, 3)) + 10.0 * (of == "b")[:, None]
    values[(of == "a") & (labels == 1), 0] += 2
    return {"values": values, "labels": labels, "of": of}


def test_tells_is_free_of_what_datasets_differ_in() -> None:
    given = two_datasets()
    found = artifact_report(
        measured(given["values"], given["labels"], np.arange(200) // 2, datasets=given["of"]),
        **FAST,
    ).data
    tells = found["tells"].sel({"method": "a"})
    assert float(tells[0]) > 0.85 and float(found["tells_low"].sel({"method": "a"})[0]) > 0.5
    assert np.all(np.abs(tells[1:] - 0.5) < 0.15)
    assert np.allclose(tells, 1 - found["tells"].sel({"method": "b"}))


def test_correction_is_over_datasets_and_measurements_within_a_control() -> None:
    given = two_datasets()
    found = artifact_report(
        measured(given["values"], given["labels"], np.arange(200) // 2, datasets=given["of"]),
        **FAST,
    ).data
    for control in found["control"].values:
        part = found.sel(control=control)
        expected = benjamini_hochberg(part["p"].values.ravel()).reshape(part["q"].shape)
        assert np.allclose(part["q"], expected)
    order = np.argsort(-np.abs(found["effect"].sel(control="none").values), axis=1)
    for row, places in zip(order, found["rank"].values, strict=True):
        assert all(places[a] < places[b] for a, b in pairwise(row))


def test_the_same_seed_gives_the_same_report() -> None:
    values, labels, quality = confounded(2, 1.0, 80)
    one = measured(values, labels, np.arange(80), controls={"quality": quality})
    first, again = (artifact_report(one, **FAST).data for _ in range(2))
    assert first.identical(again)
    assert not first["low"].equals(artifact_report(one, **FAST, seed=1).data["low"])


@pytest.mark.parametrize("wrong", [{"caliper": 0}, {"ci": 1.0}, {"n_permutations": 0}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    group = drawn(16)
    with pytest.raises(DatasetError, match="allowed are"):
        artifact_report(measured(group.values, group.labels, group.clusters), **wrong)  # type: ignore[arg-type]


def test_every_covariate_has_its_place() -> None:
    assert len(set(COVARIATES)) == len(COVARIATES)
