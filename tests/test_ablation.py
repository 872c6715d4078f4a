"""Taking sets of units out, against hooks, and against matched random sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from probe.datasets.dataset import Dataset
from probe.datasets.loader import Images
from probe.datasets.subset import halve, shuffle_labels
from probe.detectors import Detector, load_detector
from probe.errors import DatasetError, ProbeError
from probe.hooks import compile_suffix
from probe.neurons import Ablation
from probe.neurons.ablation import NEIGHBORS, NoSetsError, ablate, ablate_universal, matched_sets
from probe.neurons.sweep import States
from probe.stats import accuracy, auroc, cluster_bootstrap, sigmoid


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("meso4", input_size=32, seed=4)


@pytest.fixture(scope="module")
def test(noise: Dataset) -> Dataset:
    return noise.select(split="test")


def without(detector: Detector, part: Dataset, units: list[int], mean: bool) -> np.ndarray:
    """Logits with units set to their mean or zero, by a hook."""
    images = part.array(range(len(part)), 32)
    kept = []

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        out = output.clone()
        kept.append(output)
        out[:, units] = output.mean(dim=0)[units] if mean else 0.0
        return out

    handle = detector.module.leaky.register_forward_hook(hook)
    try:
        return detector.logits(images)
    finally:
        handle.remove()


@pytest.mark.parametrize("values", ["mean", "zero"])
def test_drops_equal_the_hook(detector: Detector, test: Dataset, values: str) -> None:
    sets = {"some": [1, 4, 7], "one": [2]}
    found = ablate(detector, test, units=sets, values=values, n_random=5, n_resamples=50).data
    for name, part in test.by_dataset().items():
        full = detector.logits(part.array(range(len(part)), 32))
        for which, units in sets.items():
            gone = without(detector, part, units, values == "mean")
            at = found.sel(set=which, dataset=name)
            drop = auroc(part.labels, full)[0] - auroc(part.labels, gone)[0]
            assert float(at.sel(metric="auroc")["drop"]) == pytest.approx(drop, abs=1e-6)
            right = accuracy(part.labels, sigmoid(full)) - accuracy(part.labels, sigmoid(gone))
            assert float(at.sel(metric="accuracy")["drop"]) == pytest.approx(float(right[0]))
    each = found["drop"].isel(dataset=slice(0, 2)).mean("dataset")
    np.testing.assert_allclose(found["drop"].sel(dataset="mean"), each)


def test_p_is_the_share_of_random_sets_that_lose_as_much(detector: Detector, test: Dataset) -> None:
    found = ablate(detector, test, units=[0, 3, 5], n_random=40, n_resamples=20).data
    reached = (found["random_drop"].values >= found["drop"].values[:, None] - 1e-12).sum(axis=1)
    np.testing.assert_allclose(found["p"], (1 + reached) / 41)
    np.testing.assert_allclose(
        found["excess"], found["drop"] - found["random_drop"].mean("random"), atol=1e-12
    )


def test_the_interval_is_the_bootstrap_of_the_difference(detector: Detector, test: Dataset) -> None:
    part = test.select(dataset="one")
    found = ablate(detector, [part], units=[1, 4], n_random=1, n_resamples=400).data
    full = detector.logits(part.array(range(len(part)), 32))
    gone = without(detector, part, [1, 4], True)

    def metric(labels: object, which: object, weights: object) -> np.ndarray:
        return auroc(labels, full, weights) - auroc(labels, gone, weights)

    slow = cluster_bootstrap(
        metric, part.labels, full, part.samples.clusters, n_resamples=400, seed=0
    )
    at = found.sel(set="units", dataset="one", metric="auroc")
    assert float(at["drop_low"]) == pytest.approx(slow.low, abs=1e-6)
    assert float(at["drop_high"]) == pytest.approx(slow.high, abs=1e-6)


def test_random_sets_match_in_size_and_leave_the_chosen_out() -> None:
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(0, 2, 200))
    chosen = np.zeros(200, dtype=bool)
    chosen[np.argsort(-size)[:40:2]] = True  # among the largest
    drawn = matched_sets(chosen, size, 50, rng)
    assert (drawn.sum(axis=1) == 20).all() and not (drawn & chosen).any()
    matched = np.log(size[None]).repeat(50, 0)[drawn].mean()
    assert abs(matched - np.log(size[chosen]).mean()) < 0.5
    assert abs(np.log(size).mean() - np.log(size[chosen]).mean()) > 2
    assert len(np.unique(drawn, axis=0)) > 45


def slowly_matched(
    chosen: np.ndarray, size: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Sort all open units anew for each chosen one, as 0.2.0 did."""
    place = np.log(size + 1e-9 * max(float(size.max()), 1e-300))
    free = np.ones_like(chosen) if 2 * chosen.sum() > len(chosen) else ~chosen
    out = np.zeros((count, len(chosen)), dtype=bool)
    for row in out:
        for unit in rng.permutation(np.flatnonzero(chosen)):
            open_ = np.flatnonzero(free & ~row)
            near = np.argsort(np.abs(place[open_] - place[unit]), kind="stable")[:NEIGHBORS]
            row[open_[rng.choice(near)]] = True
    return out


@given(
    hnp.arrays(bool, st.integers(3, 60)).filter(lambda one: 0 < one.sum() < len(one)),
    st.integers(0, 2**31),
    st.sampled_from(["even", "whole", "powers", "dead"]),
)
def test_matched_sets_are_those_of_sorting_anew(chosen: np.ndarray, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    size = {
        "even": np.exp(rng.normal(0, 2, len(chosen))),
        "whole": rng.integers(0, 4, len(chosen)).astype(float),
        "powers": 2.0 ** rng.integers(-3, 4, len(chosen)),
        "dead": np.zeros(len(chosen)),
    }[kind]
    one, other = (
        f(chosen, size, 4, np.random.default_rng(seed + 1)) for f in (matched_sets, slowly_matched)
    )
    np.testing.assert_array_equal(one, other)


def test_first_pass_without_rows_sees_the_same(detector: Detector, test: Dataset) -> None:
    program = compile_suffix(detector, "leaky")
    images = Images(test, program.input_size)
    kept, without = (
        States(program, test, 7, images, detector.device).seen(rows=rows) for rows in (True, False)
    )
    np.testing.assert_array_equal(kept.mean, kept.activation.mean(axis=0, dtype=np.float64))
    assert len(kept.activation) == len(test) and not len(without.activation)
    for name in ("low", "high", "mean"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(without, name))


def test_halves_share_nobody(noise: Dataset) -> None:
    one, two = halve(noise, seed=3)
    assert len(one) + len(two) == len(noise)
    assert not set(one.samples.table["identity"]) & set(two.samples.table["identity"])
    for name in ("one", "two"):
        people = [h.select(dataset=name).samples.table["identity"].nunique() for h in (one, two)]
        assert abs(people[0] - people[1]) <= 1
    with pytest.raises(DatasetError, match="cannot be divided"):
        halve(noise.take([0]))


def test_a_fake_that_units_carry_is_missed_without_them(noise: Dataset) -> None:
    """Units wired to the checkerboard of the fakes: taking them out costs more than any others."""
    detector = load_detector("meso4", input_size=32, seed=0)
    train, test = (noise.select(split=name) for name in ("train", "test"))
    images, labels = train.array(range(len(train)), 32), train.labels
    kept = []
    handle = detector.module.leaky.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    detector.logits(images)
    handle.remove()
    gap = np.array([float(auroc(labels, h)[0]) - 0.5 for h in kept[0].numpy().T])
    weight = np.zeros(16, dtype=np.float32)
    strong = np.argsort(-np.abs(gap))[:4]
    weight[strong] = np.sign(gap[strong])
    weight[weight == 0] = 0.02
    detector.module.fc2.weight.data = torch.from_numpy(weight[None])
    found = ablate(
        detector,
        test,
        units={"wired": strong, "others": np.setdiff1d(range(16), strong)[:4]},
        n_random=30,
        n_resamples=50,
    ).data
    mean = found.sel(dataset="mean", metric="auroc")
    assert float(mean["drop"].sel(set="wired")) > float(mean["drop"].sel(set="others"))
    assert float(mean["p"].sel(set="wired")) < 0.1


def test_chosen_on_one_half_and_measured_on_the_other(
    detector: Detector, noise: Dataset, tmp_path: Path
) -> None:
    found = ablate_universal(detector, noise, n_random=5, n_resamples=20)
    assert found.data.attrs["chosen_on"].startswith("the other half")
    both = [set(side) for side in found.data.attrs["units"]]
    assert set(found.data["set"].values) == both[0] & both[1]
    found.save(tmp_path / "a.zarr")
    again = Ablation.open(tmp_path / "a.zarr")
    np.testing.assert_array_equal(again.data["drop"], found.data["drop"])
    assert again.data.attrs["units"] == found.data.attrs["units"]
    assert found.export(tmp_path / "a.csv").stat().st_size > 100


def test_bad_sets_are_answered(detector: Detector, test: Dataset) -> None:
    for units, message in (
        ([], "a set is a list of at least one unit number"),
        ([3, 99], "units 0 to 15"),
        ([0.5], "a set is a list of at least one unit number"),
        (range(16), "some must be left"),
    ):
        with pytest.raises(ProbeError, match=message):
            ablate(detector, test, units=np.array(units))
    with pytest.raises(ProbeError, match="holds one class only"):
        ablate(detector, test.select(label=1), units=[1], n_random=1)
    assert issubclass(NoSetsError, ProbeError)


def test_shuffled_labels_are_exchanged_over_people(noise: Dataset) -> None:
    found = shuffle_labels(noise, seed=1)
    before, after = noise.samples.table, found.samples.table
    assert list(before["sample"]) == list(after["sample"])
    changed = before["label"].to_numpy() != after["label"].to_numpy()
    assert 0.2 < changed.mean() < 0.8
    for _, rows in after.assign(changed=changed).groupby(["dataset", "split", "identity"]):
        assert rows["changed"].nunique() == 1 and rows["label"].mean() == 0.5
    assert found.fingerprint != noise.fingerprint
    one_each = noise.take(
        np.flatnonzero(
            before["label"].to_numpy() == before["identity"].str[-1].astype(int).to_numpy() % 2
        )
    )
    alone = shuffle_labels(one_each, seed=1).samples.table
    counts = one_each.samples.table.groupby(["dataset", "split"])["label"].sum()
    assert (alone.groupby(["dataset", "split"])["label"].sum() == counts).all()
    assert (alone.groupby(["dataset", "split", "identity"])["label"].nunique() == 1).all()
