from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.budget import parse_memory
from probe.datasets.subset import spread
from probe.errors import ProbeError, StoreError
from probe.separability import features as module
from probe.separability.features import (
    Features,
    choose_samples,
    read_features,
)
from tests.separability.making import write_store


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 << 30), ("800M", 800 << 20), ("1.5GiB", 3 << 29), (123, 123)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "4 apples", "-1G", "G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ProbeError, match="give a size such as 4G"):
        parse_memory(text)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 70))
def test_thinning_prefers_no_group(groups: list[int], max_samples: int) -> None:
    given_ = np.array(groups)
    kept = spread(given_, max_samples, 0)
    assert len(kept) == len(set(kept)) <= max_samples and (np.diff(kept) > 0).all()
    if len(groups) <= max_samples:
        assert len(kept) == len(groups)
        return
    sizes, left = np.bincount(given_), np.bincount(given_[kept], minlength=given_.max() + 1)
    assert len(kept) == max_samples
    quota = left.max()
    assert all(k in (min(quota - 1, n), min(quota, n)) for k, n in zip(left, sizes, strict=True))


def store_of(tmp_path, n: int = 240, units: int = 6):
    rng = np.random.default_rng(0)
    dataset = np.array(["b", "a"])[(np.arange(n) % 3 == 0).astype(int)]
    identity = [f"p{i % 20}" if d == "b" else "" for i, d in enumerate(dataset)]
    values = rng.normal(size=(n, units)) * np.arange(units) + 3
    label = rng.random(n) < 0.5
    video = [f"v{i % 15}" for i in range(n)]
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": values},
        dataset=dataset,
        label=label,
        identity=identity,
        video=video,
    )
    return store, values.astype(np.float32), dataset, np.asarray(label)


def test_units_are_divided_by_their_deviation_within_datasets(tmp_path) -> None:
    store, values, dataset, label = store_of(tmp_path)
    sampled = choose_samples(store, 2 << 30, 6)
    found = read_features(store, "fc", sampled)
    assert sampled.names == ("a", "b") and len(found.values) == 240
    assert (sampled.labels == label[sampled.rows]).all()
    raw = values[sampled.rows].astype(float)
    inside = np.concatenate(
        [raw[sampled.datasets == d] - raw[sampled.datasets == d].mean(axis=0) for d in (0, 1)]
    )
    expected = (raw - raw.mean(axis=0))[:, 1:] / inside[:, 1:].std(axis=0)
    np.testing.assert_allclose(found.values[:, 1:], expected, atol=1e-4)
    assert (found.values[:, 0] == 0).all()  # a constant


def test_people_are_identities_wherever_they_appear_else_videos(tmp_path) -> None:
    store, *_ = store_of(tmp_path)
    sampled = choose_samples(store, 2 << 30, 6)
    for person in np.unique(sampled.people):
        assert len(np.unique(sampled.folds[sampled.people == person])) == 1
    assert len(np.unique(sampled.people)) == 20 + 5
    assert sampled.n_folds == 5


def test_samples_are_thinned_to_the_memory(tmp_path, monkeypatch) -> None:
    store, *_ = store_of(tmp_path)
    monkeypatch.setattr(module, "BASE_MEMORY", 0)
    monkeypatch.setattr(module, "PAIRWISE_COPIES", 0)
    # 6 units: 36 doubles for each of 9 matrices, and 24 bytes a sample with all that goes with it.
    memory = 9 * 8 * 36 + int(1.7 * 24 * 150)
    sampled = choose_samples(store, memory, 6)
    assert 100 <= len(sampled) <= 150
    assert list(sampled.total) == [80, 160]
    with pytest.raises(ProbeError, match=r"holds \d+ samples of 6 units. Give at least 1M"):
        choose_samples(store, 9 * 8 * 36 + 100, 6)


def test_one_person_is_not_enough(tmp_path) -> None:
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": np.zeros((8, 2))},
        dataset=["d"] * 8,
        label=np.arange(8) % 2,
        identity=["p"] * 8,
    )
    with pytest.raises(ProbeError, match="All samples show one person"):
        choose_samples(store, 2 << 30, 2)


def test_values_that_are_not_finite_are_refused(tmp_path) -> None:
    values = np.zeros((8, 2))
    values[3, 1] = np.nan
    store = write_store(
        tmp_path / "s.zarr",
        {"fc": values},
        dataset=["d"] * 8,
        label=np.arange(8) % 2,
        identity=list("aabbccdd"),
    )
    with pytest.raises(StoreError, match="1 of 8 samples have activations of 'fc' that are not"):
        read_features(store, "fc", choose_samples(store, 2 << 30, 2))


def test_compact_features_have_the_same_inner_products(tmp_path) -> None:
    store, *_ = store_of(tmp_path)
    sampled = choose_samples(store, 2 << 30, 6)
    wide = np.random.default_rng(0).normal(size=(240, 500)).astype(np.float32)
    given_ = Features("fc", wide, sampled, 500)
    small = given_.compact()
    assert small.values.shape == (240, 240) and small.units == 500
    np.testing.assert_allclose(small.values @ small.values.T, wide @ wide.T, atol=2e-3)
    assert Features("fc", wide[:, :9], sampled, 9).compact().values.shape == (240, 9)
