"""Calibration: what rules see, what is counted, and that ours keep their level."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import LayerFeatureAblation
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.detectors.planted import plant
from probe.errors import ProbeError, UnknownNameError
from probe.neurons import RULES, Calibration, Draw, Verdict, calibrate
from probe.neurons import calibration as calibrating
from probe.plots import save_figure
from probe.plots.calibration import plot_calibration
from probe.registry import Registry
from tests.detectors.test_planted import POPULATION

OURS = ("partial conjunction, p ≤ .05", "partial conjunction, BH q ≤ .05")


@cache
def drawn(seed: int = 0, units: int = 32, clusters: int = 12) -> Draw:
    return Draw.of(plant(POPULATION, units, 1.0, seed), POPULATION, clusters, seed)


def responses(draw: Draw, dataset: int, unit: int, value: float) -> np.ndarray:
    """Logits under do(unit = value), through the module with a hook."""

    def do(module: object, given: object, out: torch.Tensor) -> torch.Tensor:
        changed = out.clone()
        changed[:, unit] = value
        return changed

    handle = draw.head[1].register_forward_hook(do)
    with torch.inference_mode():
        out = draw.head(torch.from_numpy(draw.features[dataset]))[:, 0]
    handle.remove()
    return np.asarray(out, dtype=float)


@settings(deadline=None, max_examples=15)
@given(clusters=st.integers(5, 60), seed=st.integers(0, 1000))
def test_a_draw_takes_whole_clusters_with_replacement(clusters: int, seed: int) -> None:
    draw = Draw.of(drawn().planted, POPULATION, clusters, seed)
    place = {row.tobytes(): i for i, row in enumerate(POPULATION.features)}
    for i in range(6):
        rows = np.array([place[row.tobytes()] for row in draw.features[i]])
        assert (POPULATION.datasets[rows] == i).all()
        np.testing.assert_array_equal(draw.labels[i], POPULATION.labels[rows])
        assert len(np.unique(draw.clusters[i])) == clusters
        for one in range(clusters):
            own = rows[draw.clusters[i] == one]
            whole = np.flatnonzero(POPULATION.clusters == POPULATION.clusters[own[0]])
            np.testing.assert_array_equal(np.sort(own), whole)


def test_draws_repeat_clusters_about_as_often_as_chance() -> None:
    found = Draw.of(drawn().planted, POPULATION, 40, 3)
    different = [len(np.unique(one, axis=0)) / 4 for one in found.features]
    # 40 of 40 with replacement show 1 − 1/e of them.
    assert 20 < np.mean(different) < 31


def test_contributions_are_what_ablation_costs() -> None:
    draw = drawn()
    net = draw.planted.detector.module
    for i in (0, 4):
        with torch.inference_mode():
            x = torch.from_numpy(draw.features[i])
            full, mean = draw.head(x)[:, 0].numpy(), net.relu(net.fc1(x)).mean(dim=0)
        for unit in range(0, 32, 5):
            slow = full - responses(draw, i, unit, float(mean[unit]))
            np.testing.assert_allclose(draw.contributions[i][:, unit], slow, atol=2e-4)


@pytest.mark.parametrize("authors", [True, False])
def test_ace_is_the_range_of_mean_responses(authors: bool) -> None:
    draw, found = drawn(), drawn().ace(clamp=authors, probability=authors)
    for i in (1, 5):
        values = draw.states[i].value.numpy().astype(float)
        for unit in range(0, 32, 4):
            low, high = values[:, unit].min(), values[:, unit].max()
            if authors:
                low, high = min(low, 1.0), max(high, 0.0)
            means = []
            for value in np.linspace(low, high, 4):
                logits = responses(draw, i, unit, value)
                real = 1 / (1 + np.exp(logits))
                means.append((real if authors else logits).mean())
            assert found[i, unit] == pytest.approx(max(means) - min(means), abs=2e-4)


def test_the_count_calls_the_top_half_everywhere() -> None:
    found = RULES["the study's count (authors)"](drawn())
    ace = drawn().ace(clamp=True, probability=True)
    for unit in range(32):
        beaten = [(row > row[unit]).sum() for row in ace]
        assert found.called[unit] == (max(beaten) < 16)
    np.testing.assert_array_equal(found.score, ace.min(axis=0))


def test_gradient_times_activation_is_captums_feature_ablation_here() -> None:
    draw = drawn()
    score = RULES["captum gradient × activation, count"](draw).score
    ablation = LayerFeatureAblation(draw.head, draw.head[1])
    mask = torch.arange(32)[None]
    rows = []
    for one in draw.features:
        found = ablation.attribute(torch.from_numpy(one), layer_baselines=0.0, layer_mask=mask)
        rows.append(found.abs().mean(dim=0).numpy())
    np.testing.assert_allclose(score, np.min(rows, axis=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rule", list(RULES))
def test_every_rule_gives_a_verdict_and_repeats_itself(rule: str) -> None:
    one, again = (RULES[rule](drawn()) for _ in range(2))
    assert one.called.shape == one.score.shape == (32,)
    assert one.called.dtype == bool and one.called.sum() < 32
    np.testing.assert_array_equal(one.called, again.called)
    if not rule.endswith("count") and "study" not in rule:
        rest = one.score[~one.called]
        assert (rest < one.score[one.called].min(initial=np.inf)).all()


def test_dead_and_silent_units_have_p_one() -> None:
    kind = drawn().planted.truth["kind"].isin(["dead", "silent"]).to_numpy()
    assert (drawn().tests[:, kind] == 1).all()


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules whose figures are known without drawing."""
    rules: Registry = Registry("rule")
    rules.register("all")(lambda d: Verdict(np.ones(32, bool), np.zeros(32)))
    rules.register("none")(lambda d: Verdict(np.zeros(32, bool), np.zeros(32)))
    rules.register("right")(lambda d: Verdict(d.planted.universal, d.planted.universal * 1.0))
    rules.register("wrong")(lambda d: Verdict(~d.planted.universal, d.planted.universal * -1.0))
    rules.register("two")(
        lambda d: Verdict(d.planted.datasets >= 2, 1.0 * (d.planted.datasets >= 2), 2)
    )
    rules.register("near")(
        lambda d: Verdict((d.planted.truth["kind"] == "near").to_numpy(), np.zeros(32))
    )
    monkeypatch.setattr(calibrating, "RULES", rules)


def test_shares_are_counted_against_the_truth(made_up: None) -> None:
    found = calibrate(POPULATION, draws=2, settings=[(32, 1.0)]).to_dataframe().set_index("rule")
    # 32 units: 4 universal, 2 redundant, 4 near, 6 specific, 8 decoys, 4 blind, 2 silent, 2 dead.
    expected = pd.DataFrame(
        {
            "all": (1, 1, 1, 26 / 32, 0.5, 32),
            "none": (0, 0, 0, 0, 0.5, 0),
            "right": (1, 0, 0, 0, 1, 6),
            "wrong": (0, 1, 1, 1, 0, 26),
            "two": (1, 0, 0, 0, 1, 10),
            "near": (0, 4 / 26, 1, 1, 0.5, 4),
        },
        index=["power", "false_rate", "false_sharpest", "false_discovery", "auc", "called"],
    ).T
    pd.testing.assert_frame_equal(
        found.loc[expected.index, expected.columns], expected, check_names=False, check_dtype=False
    )
    assert found.loc["near", "false_near"] == 1 and found.loc["near", "false_decoy"] == 0
    assert np.isnan(found.loc["two", "false_near"]) and found.loc["two", "false_specific"] == 0
    assert (found["power_se"] == 0).all()


def test_every_draw_plants_and_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bytes]] = []

    def keep(draw: Draw) -> Verdict:
        seen.append((draw.planted.detector.fingerprint, draw.features[0].tobytes()))
        return Verdict(np.zeros(32, bool), np.zeros(32))

    rules: Registry = Registry("rule")
    rules.register("keep")(keep)
    monkeypatch.setattr(calibrating, "RULES", rules)
    calibrate(POPULATION, draws=3, settings=[(32, 0.5), (32, 1.0)])
    assert len({detector for detector, _ in seen}) == 6
    # The same clusters under every effect: settings are compared on the same draws.
    assert len({drawn_ for _, drawn_ in seen}) == 3


def test_standard_errors_are_over_draws() -> None:
    found = calibrate(POPULATION, draws=4, settings=[(32, 0.6)], rules=OURS[:1])
    power = found.draws["power"].to_numpy()
    assert power.std() > 0
    row = found.to_dataframe().iloc[0]
    assert row["power"] == pytest.approx(power.mean())
    assert row["power_se"] == pytest.approx(np.sqrt(np.var(power, ddof=1) / 4))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(POPULATION, draws=25, settings=[(64, 0.8), (64, 1.0)], rules=OURS)


@pytest.mark.slow
def test_ours_keeps_its_level_against_the_sharpest_null(calibration: Calibration) -> None:
    found = calibration.to_dataframe().set_index(["effect", "rule"])
    for effect in (0.8, 1.0):
        row = found.loc[effect, OURS[0]]
        assert row["power"] >= 0.8
        # A level of .05, within two standard errors; the bar of the project is .08.
        assert row["false_sharpest"] - 2 * row["false_sharpest_se"] <= 0.05
        assert row["false_sharpest"] <= 0.08
        assert row["auc"] > 0.98
    controlled = found.xs(OURS[1], level="rule")
    assert (controlled["false_discovery"] <= 0.05).all()
    assert controlled.loc[1.0, "power"] >= 0.8


def test_counts_of_ranges_do_not_see_the_truth() -> None:
    rules = ("the study's count (authors)", "captum conductance, count")
    found = calibrate(POPULATION, draws=4, settings=[(64, 1.0)], rules=rules).to_dataframe()
    assert found["auc"].between(0.4, 0.6).all()
    assert (found["false_decoy"] > 0.9).all()


def test_seeds_decide_everything_but_time() -> None:
    def run(seed: int) -> pd.DataFrame:
        found = calibrate(POPULATION, draws=2, settings=[(32, 0.7)], rules=OURS[:1], seed=seed)
        return found.draws.drop(columns="seconds")

    pd.testing.assert_frame_equal(run(3), run(3))
    assert not run(3).equals(run(9))


@pytest.mark.slow
def test_export_and_figure(calibration: Calibration, tmp_path: Path) -> None:
    frame = pd.read_csv(calibration.export(tmp_path / "c.csv"), comment="#")
    assert list(frame["rule"]) == list(OURS) * 2
    figure = plot_calibration(calibration)
    left, right = figure.axes
    assert [t.get_text() for t in left.get_yticklabels()] == list(OURS)
    shown = {line.get_label(): line.get_ydata() for line in right.get_lines()}
    power = calibration.to_dataframe().query("rule == @OURS[0]")["power"]
    np.testing.assert_allclose(shown[OURS[0]], power)
    assert save_figure(figure, tmp_path / "c.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "wrong", [{"draws": 0}, {"clusters": 4}, {"settings": []}], ids=lambda one: next(iter(one))
)
def test_nothing_to_draw_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ProbeError, match="at least 1 draw, 5 clusters and 1 setting"):
        calibrate(POPULATION, **wrong)  # type: ignore[arg-type]


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="count"):
        calibrate(POPULATION, rules=["delta_logit count"])
