"""Linear probes against scikit-learn and against what is known of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import Ridge

from probe.separability.probes import class_weights, fit_probe, ridge, sum_folds
from probe.separability.realfake import Part, Settings, fit_dataset, measure_dataset
from tests.separability.making import gaussians

SETTINGS = Settings(n_controls=99, n_permutations=199, n_resamples=400)


def part_of(values, labels, clusters, n_folds: int = 5) -> Part:
    return Part(values, labels, clusters, clusters % n_folds, labels.astype(float))


def test_ridge_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 12)) * rng.uniform(0.5, 2, 12)).astype(np.float32)
    labels, folds = rng.random(300) < 0.3, np.arange(300) % 4
    targets = np.stack([np.where(labels, 1.0, -1.0), rng.normal(size=300)], axis=1)
    weights = class_weights(labels.astype(int))
    sums = sum_folds(x, lambda rows: targets[rows], weights, folds, 4)
    kept = folds != 2
    w = weights[kept] / weights[kept].sum()
    mean = w @ x[kept]
    size = (w[:, None] * (x[kept] - mean) ** 2).sum() / 12
    for penalty, fit in zip((0.01, 1.0), ridge(sums, [0, 1, 3], (0.01, 1.0)), strict=True):
        model = Ridge(alpha=penalty * size).fit(x[kept], targets[kept], w)
        np.testing.assert_allclose(fit.coefficients.T, model.coef_, atol=2e-6)
        np.testing.assert_allclose(fit(x), model.predict(x), atol=1e-5)


def test_scores_of_one_deviation() -> None:
    values, labels, clusters = gaussians(400, 6, 1.0)
    folds = clusters % 4
    weights = class_weights(labels.astype(int))
    targets = np.where(labels, 1.0, -1.0)[:, None]
    sums = sum_folds(values, lambda rows: targets[rows], weights, folds, 4)
    fit = ridge(sums, [0, 1, 2], [0.1], unit=True)[0]
    fitted = fit(values)[folds != 3, 0]
    w = weights[folds != 3] / weights[folds != 3].sum()
    assert np.sqrt(w @ (fitted - w @ fitted) ** 2) == pytest.approx(1, abs=1e-4)


def test_nobody_is_scored_by_a_fit_that_saw_their_labels() -> None:
    """Turn the labels of one fold: its own scores stay, those of all others change."""
    values, labels, clusters = gaussians(200, 5, 0.5)
    folds = clusters % 5
    before = fit_dataset(part_of(values, labels, clusters), 5, SETTINGS)
    turned = np.where(folds == 1, ~labels, labels)
    after = fit_dataset(part_of(values, turned, clusters), 5, SETTINGS)
    same = before.probe.penalties[1] == after.probe.penalties[1]
    assert same
    np.testing.assert_allclose(after.scores[folds == 1], before.scores[folds == 1], rtol=1e-5)
    assert not np.allclose(after.scores[folds != 1], before.scores[folds != 1])


@pytest.mark.parametrize("delta", [0.5, 1.5])
def test_the_probe_reaches_what_gaussians_allow(delta: float) -> None:
    values, labels, clusters = gaussians(6000, 10, delta)
    part = part_of(values, labels, clusters)
    found = measure_dataset(part, fit_dataset(part, 5, SETTINGS), SETTINGS)
    assert found["probe_auroc"][0] == pytest.approx(norm.cdf(delta / np.sqrt(2)), abs=0.012)
    assert found["c2st_accuracy"][0] == pytest.approx(norm.cdf(delta / 2), abs=0.012)
    assert found["fisher"][0] == pytest.approx(delta**2, rel=0.12)
    assert found["dprime"][0] == pytest.approx(delta, rel=0.08)
    for name in ("probe_auroc", "c2st_accuracy", "fisher", "dprime", "silhouette", "mmd2"):
        value, low, high, _ = found[name]
        assert low <= value <= high
    assert found["probe_auroc"][3] == 1 / 100 and found["mmd2"][3] == 1 / 200


def test_fisher_and_dprime_differ_where_the_noise_is_not_round() -> None:
    """With covariance Σ Fisher's ratio is δᵀΣ⁻¹δ and d' along the means δᵀδ / √(δᵀΣδ)."""
    rng = np.random.default_rng(3)
    root = np.array([[1.0, 0.0, 0.0], [1.2, 0.6, 0.0], [0.0, 0.3, 1.0]])
    delta, labels = np.array([0.6, 0.0, 0.4]), np.arange(8000) % 2 == 1
    values = rng.normal(size=(8000, 3)) @ root.T + labels[:, None] * delta
    part = part_of(values.astype(np.float32), labels, np.arange(8000) // 4)
    found = measure_dataset(part, fit_dataset(part, 5, SETTINGS), SETTINGS)
    sigma = root @ root.T
    assert found["fisher"][0] == pytest.approx(delta @ np.linalg.solve(sigma, delta), rel=0.12)
    assert found["dprime"][0] == pytest.approx(
        delta @ delta / np.sqrt(delta @ sigma @ delta), rel=0.1
    )


def test_the_control_task_is_at_one_half_and_the_probe_of_nothing_too() -> None:
    values, labels, clusters = gaussians(400, 8, 0.0, seed=5)
    part = part_of(values, labels, clusters)
    found = measure_dataset(part, fit_dataset(part, 5, SETTINGS), SETTINGS)
    value, low, high, _ = found["control_auroc"]
    assert low < 0.5 < high and value == pytest.approx(0.5, abs=0.02)
    assert found["probe_auroc"][1] < 0.5 < found["probe_auroc"][2]
    assert found["selectivity"][0] == pytest.approx(found["probe_auroc"][0] - value)
    assert found["probe_auroc"][3] > 0.05 and found["mmd2"][3] > 0.01


def test_p_values_of_the_probe_are_level_with_dependent_frames() -> None:
    """Frames of a person are alike; people have one label each; the label means nothing."""
    rng, p = np.random.default_rng(0), []
    few = Settings(n_controls=39, n_permutations=1, n_resamples=0)
    for _ in range(60):
        clusters = np.repeat(np.arange(24), 6)
        labels = clusters % 2 == 1
        values = rng.normal(size=(24, 4))[clusters] + 0.3 * rng.normal(size=(144, 4))
        part = Part(values.astype(np.float32), labels, clusters, clusters // 2 % 4, labels * 1.0)
        fitted = fit_dataset(part, 4, few)
        auroc = float(fitted.pairs.auroc()[0])
        p.append((1 + (fitted.controls >= auroc).sum()) / 40)
    # Binomial(60, .1): at most 13 with probability .997.
    assert (np.array(p) <= 0.1).sum() <= 13 and np.mean(p) == pytest.approx(0.5, abs=0.13)


def test_a_class_that_is_in_one_fold_only_leaves_the_probe_undefined() -> None:
    values, labels, clusters = gaussians(60, 3, 1.0)
    labels = clusters == 0
    part = part_of(values, labels, clusters)
    found = measure_dataset(part, fit_dataset(part, 5, SETTINGS), SETTINGS)
    assert np.isnan(found["probe_auroc"][0]) and np.isnan(found["c2st_accuracy"][0])
    assert "fakes show 1 person" in part.problem


def test_the_inner_choice_of_a_penalty_wants_the_largest_criterion() -> None:
    values, labels, clusters = gaussians(100, 3, 1.0)
    folds = clusters % 4
    weights = class_weights(labels.astype(int))
    targets = np.where(labels, 1.0, -1.0)[:, None]
    sums = sum_folds(values, lambda rows: targets[rows], weights, folds, 4)
    seen: list[float] = []

    def criterion(where, scores) -> float:
        seen.append(float(np.abs(scores).mean()))
        return -seen[-1]  # the strongest penalty shrinks scores most

    probe = fit_probe(values, sums, folds, lambda kept: True, criterion)
    assert set(probe.penalties) == {10.0}
