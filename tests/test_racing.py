"""Successive elimination: bounds that hold, the right units, and forward passes saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from probe.datasets.dataset import Dataset
from probe.detectors import load_detector
from probe.errors import ProbeError
from probe.neurons.screening import Race, top_units
from probe.stats import sigmoid
from tests.test_measures import hidden


def raced(seed: int, total: int, k: int, spread: float) -> tuple[Race, np.ndarray, bool]:
    """Race units whose means differ by steps; say whether bounds held all along."""
    rng = np.random.default_rng(seed)
    means = 0.5 + spread * np.arange(12) / 12
    values = np.clip(means + rng.normal(0, 0.05, (total, 12)), 0, 1)
    truth, race, held = values.mean(axis=0), Race(12, total, k, 0.05), True
    for start in range(0, total, 50):
        which = race.open
        if not len(which):
            break
        race.update(values[start : start + 50, which])
        held &= bool((race.low <= truth + 1e-9).all() and (race.high >= truth - 1e-9).all())
    return race, truth, held


def test_bounds_hold_and_passes_are_saved() -> None:
    held, right, saved = 0, 0, []
    for seed in range(60):
        race, truth, ok = raced(seed, 4000, 3, 0.4)
        held += ok
        right += set(np.flatnonzero(race.accepted)) == set(np.argsort(-truth)[:3])
        saved.append(1 - race.counts.sum() / (12 * 4000))
    assert held >= 57 and right >= 57
    assert np.mean(saved) > 0.5


def test_units_alike_are_run_to_the_end() -> None:
    race, truth, _ = raced(0, 300, 3, 0.0)
    assert race.counts.max() == 300
    assert race.accepted.sum() == 3
    assert set(np.flatnonzero(race.accepted)) == set(np.argsort(-truth)[:3])


def test_the_answer_is_that_of_a_whole_sweep(noise: Dataset, tmp_path: Path) -> None:
    detector = load_detector("meso4", input_size=32, seed=4)
    part = noise.select(split="test", dataset="one")
    found = top_units(detector, part, k=4, batch_size=8)
    order = np.random.default_rng(0).permutation(len(part))
    h, y = hidden(detector, part).double().numpy(), part.labels
    weight = detector.module.fc2.weight[0].detach().double().numpy()
    full = detector.logits(part.array(range(len(part)), 32)).astype(float)
    without = full[:, None] - weight * (h - h[order[:8]].mean(axis=0))
    gain = (np.where(y == 1, 1, -1)[:, None] * (sigmoid(full)[:, None] - sigmoid(without))).mean(0)
    assert set(found.units) == set(np.argsort(-gain)[:4])
    whole = found.frame["images"] == len(part)
    np.testing.assert_allclose(found.frame["gain"][whole], gain[whole], atol=1e-6)
    assert found.attrs["saved"] == found.attrs["full"] - found.attrs["passes"] >= 0
    assert found.export(tmp_path / "top.csv").stat().st_size > 50


def test_bad_input_is_answered(noise: Dataset) -> None:
    detector = load_detector("meso4", input_size=32)
    with pytest.raises(ProbeError, match="k is from 1 to 15"):
        top_units(detector, noise, k=16)
    with pytest.raises(ProbeError, match="delta=0"):
        top_units(detector, noise, k=2, delta=0.0)
