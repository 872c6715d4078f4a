"""Planted detectors: truth against plain reruns, and against doses of the lab's artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from probe.datasets.dataset import Dataset, Samples
from probe.datasets.lab import Clip, make
from probe.detectors.planted import (
    KINDS,
    FilterBank,
    Planted,
    Population,
    measure_population,
    plant,
    planted_detector,
)
from probe.errors import ProbeError
from probe.hooks import AffineProgram, compile_suffix

SIZE = 64
NAMES = ("celebdf", "deepfakes", "dfd")


def synthetic_population(
    datasets: int = 6, clusters: int = 40, shift: float = 0.5, seed: int = 0
) -> Population:
    """Gaussian features in place of the bank's: two reals and two fakes a cluster."""
    rng = np.random.default_rng(seed)
    width = FilterBank().features
    shifts = shift * rng.normal(size=(datasets, 1, 1, width))
    drawn = rng.normal(size=(datasets, clusters, 4, width)) / np.sqrt(2)
    drawn += rng.normal(size=(datasets, clusters, 1, width)) / np.sqrt(2)
    drawn[:, :, 2:] += shifts
    features = drawn.reshape(-1, width).astype(np.float32)
    values = features.astype(float).reshape(datasets, clusters, 2, 2, width).mean(axis=3)
    return Population(
        features,
        np.tile(np.array([0, 0, 1, 1], np.int8), datasets * clusters),
        np.repeat(np.arange(datasets * clusters), 4),
        np.repeat(np.arange(datasets), clusters * 4),
        tuple(f"d{i}" for i in range(datasets)),
        np.zeros(width),
        np.ones(width),
        SIZE,
        tuple(one[:, 1] - one[:, 0] for one in values),
    )


POPULATION = synthetic_population()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three lab datasets of 12 small videos."""
    folder = tmp_path_factory.mktemp("lab") / "lab"
    return make(folder, size=SIZE, datasets=NAMES, counts={"test": 96}, n_workers=1)


@pytest.fixture(scope="module")
def population(lab: Dataset) -> Population:
    return measure_population(lab, size=SIZE)


@pytest.fixture(scope="module")
def planted(population: Population) -> Planted:
    return plant(population, units=32, effect=1.0, seed=3)


def effects_of(truth: pd.DataFrame) -> np.ndarray:
    return np.asarray(truth.filter(like="effect_"))


def test_the_bank_is_filters_energies_and_logs() -> None:
    bank = FilterBank()
    image = np.random.default_rng(0).random((3, 48, 48), dtype=np.float32)
    slow = []
    for kernel in bank.filters.weight.detach().numpy():
        parts = [
            ndimage.correlate(channel.astype(float), k, mode="constant")
            for channel, k in zip(image, kernel, strict=True)
        ]
        energy = np.abs(sum(parts)).reshape(6, 8, 6, 8).mean(axis=(1, 3))
        slow.append(np.log(energy + 1e-4).ravel())
    with torch.inference_mode():
        found = bank(torch.from_numpy(image[None]))[0].numpy()
    np.testing.assert_allclose(found, np.concatenate(slow), rtol=2e-4, atol=2e-4)


def test_each_filter_sees_what_it_is_named_for() -> None:
    kernels = FilterBank().filters.weight.detach().numpy().sum(axis=1)
    # Bands of luminance below the coarsest know no mean; chroma filters know no gray at all.
    np.testing.assert_allclose(kernels[:4].sum(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(kernels[9:], 0, atol=1e-6)
    y, x = np.mgrid[:32, :32]
    boards = (x + y) % 2 * 2.0 - 1, np.cos(np.pi * x / 2) * np.cos(np.pi * y / 2)
    for number, board in enumerate(boards, start=7):
        energy = [
            np.abs(ndimage.correlate(board, k))[8:-8, 8:-8].mean() / np.linalg.norm(k)
            for k in kernels[:9]
        ]
        # The finest band passes all that is finest, the period-2 board too.
        rest = [e for i, e in enumerate(energy) if i not in (0, number)]
        assert energy[number] > 1.3 * max(rest)


def test_truth_is_what_taking_a_unit_out_costs(lab: Dataset, planted: Planted) -> None:
    images = torch.from_numpy(lab.array(range(len(lab)), SIZE))
    truth, relu = planted.truth, planted.detector.module.get_submodule("relu")
    full = planted.detector.logits(images).astype(float)
    table = lab.samples.table
    for unit in truth.groupby("kind").head(1)["unit"]:

        def without(module: object, given: object, out: torch.Tensor, u: int = unit) -> object:
            changed = out.clone()
            changed[:, u] = 5.0
            return changed

        handle = relu.register_forward_hook(without)
        cost = full - planted.detector.logits(images)
        handle.remove()
        rows = table.assign(cost=cost).groupby(["dataset", "identity", "label"])["cost"].mean()
        for name in NAMES:
            gap = rows[name].unstack("label")
            gap = (gap[1] - gap[0]).to_numpy()
            spread = gap.std()
            slow = gap.mean() / spread if spread > 1e-4 else 0.0
            assert truth.loc[unit, f"effect_{name}"] == pytest.approx(slow, abs=0.02)


def test_units_stay_in_the_linear_range(lab: Dataset, planted: Planted) -> None:
    kept: list[torch.Tensor] = []
    net = planted.detector.module
    handle = net.fc1.register_forward_hook(lambda m, i, o: kept.append(o))
    planted.detector.logits(lab.array(range(len(lab)), SIZE))
    handle.remove()
    before, dead = kept[0].numpy(), (planted.truth["kind"] == "dead").to_numpy()
    assert before[:, ~dead].min() > 0.5
    assert (before[:, dead] == -1).all()


def test_the_suffix_is_a_closed_form(planted: Planted) -> None:
    program = compile_suffix(planted.detector, "relu")
    assert isinstance(program, AffineProgram)
    weights = planted.truth["weight"].to_numpy()
    np.testing.assert_allclose(program.weight.numpy().ravel(), weights, rtol=1e-6)


@settings(deadline=None, max_examples=12)
@given(
    units=st.integers(16, 90),
    effect=st.floats(0.05, 1.2),
    seed=st.integers(0, 99),
    datasets=st.integers(2, 6),
)
def test_every_pattern_of_effects_holds_exactly(
    units: int, effect: float, seed: int, datasets: int
) -> None:
    population = synthetic_population(datasets)
    planted = plant(population, units, effect, seed)
    truth, names = planted.truth, np.array(population.names)
    assert len(truth) == units
    for row, found in zip(truth.itertuples(), effects_of(truth), strict=True):
        own = names == row.method
        wanted = {
            "universal": np.ones(datasets),
            "redundant": np.ones(datasets),
            "near": ~own * 1.0,
            "specific": own * 1.0,
        }.get(str(row.kind), np.zeros(datasets))
        np.testing.assert_allclose(found, effect * wanted, atol=1e-9)
        assert (row.method in population.names) == (row.kind in ("near", "specific"))
    expected = effects_of(truth).round(6) > 0
    np.testing.assert_array_equal(planted.datasets, expected.sum(axis=1))
    np.testing.assert_array_equal(planted.universal, expected.all(axis=1))


@pytest.mark.parametrize("units", [64, 256, 1024])
def test_shares_of_kinds(units: int) -> None:
    counts = plant(POPULATION, units).truth["kind"].value_counts()
    assert sum(KINDS.values()) == 16
    for kind, share in KINDS.items():
        assert counts[kind] == share * units // 16
    near = plant(POPULATION, units).truth.query("kind == 'near'")["method"].value_counts()
    assert len(near) == 6 and near.max() - near.min() <= 1


def test_kinds_are_what_they_are_called() -> None:
    planted = plant(POPULATION, 128, seed=1)
    net, kind = planted.detector.module, planted.truth["kind"].to_numpy()
    with torch.inference_mode():
        values = net.relu(net.fc1(torch.from_numpy(POPULATION.features))).numpy()
    size = np.abs(planted.truth["weight"].to_numpy()) * np.ptp(values, axis=0)
    assert (values[:, kind == "dead"] == 0).all()
    assert (planted.truth.query("kind == 'silent'")["weight"] == 0).all()
    assert np.median(size[kind == "decoy"]) > 2 * np.median(size[kind == "universal"])
    pair = values[:, kind == "redundant"]
    for first, second in zip(pair.T[::2], pair.T[1::2], strict=True):
        assert abs(np.corrcoef(first, second)[0, 1]) > 0.99
    # A silent unit responds as a universal one does; only nothing listens.
    fake = POPULATION.labels == 1
    gap = values[fake].mean(axis=0) - values[~fake].mean(axis=0)
    gap /= np.maximum(values.std(axis=0), 1e-9)
    quiet, loud = np.abs(gap[kind == "silent"]), np.abs(gap[kind == "universal"])
    assert quiet.min() > 0.5 * loud.min() > 5 * np.abs(gap[kind == "decoy"]).max()


def test_seeds_decide() -> None:
    one, again, other = (plant(POPULATION, 32, seed=s).detector for s in (0, 0, 1))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.spec.name == "planted" and one.spec.options["units"] == 32


def test_universal_units_respond_to_the_shared_artifact_alone(population: Population) -> None:
    planted = plant(population, units=64, effect=1.5, seed=0)
    kind = planted.truth["kind"].to_numpy()
    weights = np.sign(planted.truth["weight"].to_numpy())
    net = planted.detector.module
    for name in NAMES:
        rises = []
        for video in range(4):
            clip = Clip(name, "test", video, 12, SIZE)
            off = {artifact: 0.0 for artifact, dose in clip.doses.items() if dose}
            shots = [clip.frame(0, off | {"resampling": dose}).fake for dose in (0.0, 1.0)]
            images = np.stack(shots).transpose(0, 3, 1, 2).astype(np.float32) / 255
            with torch.inference_mode():
                x = net.standard((net.bank(torch.from_numpy(images)) - net.mean) / net.std)
                values = net.fc1(x).numpy() * weights
            rises.append(values[1] - values[0])
        rise = np.mean(rises, axis=0)
        universal, decoy = rise[kind == "universal"], rise[kind == "decoy"]
        assert (universal > 0).mean() > 0.8
        assert universal.mean() > 2 * np.abs(decoy).mean()
        assert universal.mean() > 4 * abs(decoy.mean())


def test_planted_detector_measures_first(lab: Dataset) -> None:
    data = lab.select(dataset=list(NAMES[:2]))
    found = planted_detector(data, units=16, effect=0.5)
    assert set(found.truth.columns) > {"effect_celebdf", "effect_deepfakes"}


@pytest.mark.parametrize(("units", "effect"), [(15, 1.0), (64, 0.0), (64, -1.0)])
def test_too_little_is_refused(units: int, effect: float) -> None:
    with pytest.raises(ProbeError, match="at least 16 units and an effect above 0"):
        plant(POPULATION, units, effect)


def test_an_effect_that_no_direction_has_is_refused() -> None:
    with pytest.raises(ProbeError, match="cannot be planted.*Give a smaller"):
        plant(POPULATION, 16, 1e4)


def test_equal_differences_are_refused() -> None:
    differences = (POPULATION.differences[0], POPULATION.differences[0])
    twice = synthetic_population(2)
    same = Population(
        twice.features,
        twice.labels,
        twice.clusters,
        twice.datasets,
        twice.names,
        twice.mean,
        twice.std,
        SIZE,
        differences,
    )
    with pytest.raises(ProbeError, match="in the same way in two datasets"):
        plant(same, 16)


def test_one_dataset_is_refused(lab: Dataset) -> None:
    with pytest.raises(ProbeError, match="is one dataset"):
        measure_population(lab.select(dataset="dfd"), size=SIZE)


def test_identities_without_partner_are_refused(lab: Dataset, tmp_path: Path) -> None:
    table = lab.samples.table
    cut = table[(table["label"] == 1) | (table["identity"] != table["identity"].iloc[0])]
    data = Dataset("cut", Samples(cut.reset_index(drop=True)), lab.root, lab.card)
    with pytest.raises(ProbeError, match="one label only"):
        measure_population(data, size=SIZE)
