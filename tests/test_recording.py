"""Recording: right values, one pass, resumed after any kill, nothing skipped."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.datasets.dataset import Dataset, Samples
from probe.detectors import Detector, load_detector
from probe.errors import ImageError, ProbeError, StoreError, UnknownNameError
from probe.recording import record
from probe.store import ActivationStore, StoreWriter
from tests.conftest import make_images
from tests.killed_recording import BATCH, LAYERS, child


@pytest.fixture(scope="module")
def meso4() -> Detector:
    return load_detector("meso4", input_size=32, seed=3)


@pytest.fixture(scope="module")
def test_split(noise: Dataset) -> Dataset:
    return noise.select(split="test")


def hooked(detector: Detector, data: Dataset, layer: str, batch: int) -> torch.Tensor:
    """Values of a layer by a plain forward hook, batch by batch."""
    kept: list[torch.Tensor] = []
    handle = detector.module.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: kept.append(output.detach().clone())
    )
    with torch.inference_mode():
        for _, images in data.batches(detector.spec.input_size, batch):
            detector.module(torch.from_numpy(images))
    handle.remove()
    return torch.cat(kept)


def same(one: ActivationStore, two: ActivationStore) -> None:
    """Fail unless two stores hold the same values, bit for bit."""
    assert one.layers == two.layers and one.attrs == two.attrs
    assert one.samples.equals(two.samples)
    for layer in one.layers:
        np.testing.assert_array_equal(one[layer]["activation"], two[layer]["activation"])
        assert one.moments(layer).identical(two.moments(layer))


def test_a_store_holds_what_hooks_see(meso4: Detector, test_split: Dataset, tmp_path: Path) -> None:
    store = record(meso4, test_split, tmp_path / "x.zarr", layers=["leaky", "conv4"], batch_size=7)
    dense = hooked(meso4, test_split, "leaky", 7)
    maps = hooked(meso4, test_split, "conv4", 7)
    np.testing.assert_array_equal(store["leaky"]["activation"], dense)
    np.testing.assert_array_equal(store["conv4"]["activation"], maps.flatten(2).mean(dim=2))
    logits = [meso4.logits(images) for _, images in test_split.batches(32, 7)]
    np.testing.assert_array_equal(store.samples["logit"], np.concatenate(logits))
    assert list(store.samples["sample"]) == list(test_split.samples.table["sample"])
    assert store.attrs["detector"]["fingerprint"] == meso4.fingerprint
    assert store.attrs["dataset"]["fingerprint"] == test_split.fingerprint
    assert store.attrs["dataset"]["card"] == {"crop": "none"}


@pytest.mark.parametrize("reducer", ["mean", "max", "rms", "full"])
def test_reducers(meso4: Detector, test_split: Dataset, tmp_path: Path, reducer: str) -> None:
    few = test_split.take(range(5))
    store = record(
        meso4, few, tmp_path / "x.zarr", layers=["pool4"], reducer=reducer, dtype="float16"
    )
    maps = hooked(meso4, few, "pool4", 64).numpy().astype(np.float64)
    expected = {
        "mean": maps.mean(axis=(2, 3)),
        "max": maps.max(axis=(2, 3)),
        "rms": np.sqrt((maps**2).mean(axis=(2, 3))),
        "full": maps.reshape(5, -1),
    }[reducer]
    found = store["pool4"]["activation"]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)


def test_several_datasets_are_joined(meso4: Detector, test_split: Dataset, tmp_path: Path) -> None:
    parts = list(test_split.by_dataset().values())
    store = record(meso4, parts, tmp_path / "x.zarr", layers=["leaky"])
    assert list(store.samples["sample"]) == [s for p in parts for s in p.samples.table["sample"]]
    assert list(store.moments("leaky")["dataset"].values) == ["one", "two"]
    assert store.moments("leaky")["count"].values.tolist() == [[12, 12], [12, 12]]


def test_a_complete_store_is_not_recorded_again(
    meso4: Detector, test_split: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record(meso4, test_split, tmp_path / "x.zarr", layers=["leaky"])

    def never(*args: object) -> None:
        raise AssertionError("written twice")

    monkeypatch.setattr(StoreWriter, "write", never)
    same(first, record(meso4, test_split, tmp_path / "x.zarr", layers=["leaky"]))


def test_another_recording_is_not_continued(
    meso4: Detector, test_split: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "x.zarr"
    record(meso4, test_split, out, layers=["leaky"])
    other = load_detector("meso4", input_size=32, seed=4)
    with pytest.raises(StoreError, match=r"another recording: detector meso4 \[.*now meso4 \["):
        record(other, test_split, out, layers=["leaky"])
    with pytest.raises(StoreError, match=r"another recording: dataset noise \["):
        record(meso4, test_split.take(range(9)), out, layers=["leaky"])
    with pytest.raises(StoreError, match=r"another recording: layers leaky \(now conv4, leaky\)"):
        record(meso4, test_split, out, layers=["leaky", "conv4"])


def test_an_unreadable_image_stops_the_recording_and_nothing_else(
    meso4: Detector, tmp_path: Path
) -> None:
    """The error names the file; with the file restored, the recording goes on."""
    data = make_images(tmp_path / "d", datasets=("one",), identities=5, splits=("test",))
    digests = data.samples.table.assign(digest=[f"{i}" for i in range(len(data))])
    data = replace(data, samples=Samples(digests))
    bad = data.root / data.samples.table["path"].iloc[13]
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    out = tmp_path / "x.zarr"
    with pytest.raises(ImageError, match=f"{bad.name}.*cannot be decoded.*No other image is used"):
        record(meso4, data, out, layers=["leaky"], batch_size=4)
    half = ActivationStore.open(out, incomplete=True)
    assert half.samples["written"].tolist() == [True] * 12 + [False] * 8
    with pytest.raises(StoreError, match="incomplete"):
        ActivationStore.open(out)
    bad.write_bytes(content)
    done = record(meso4, data, out, layers=["leaky"], batch_size=4)
    same(done, record(meso4, data, tmp_path / "y.zarr", layers=["leaky"], batch_size=4))


def test_a_missing_image_is_named(meso4: Detector, tmp_path: Path) -> None:
    data = make_images(tmp_path / "d", datasets=("one",), identities=1, splits=("test",))
    gone = data.root / data.samples.table["path"].iloc[2]
    gone.unlink()
    with pytest.raises(ImageError, match=f"{gone.name}.*is missing"):
        record(meso4, data, tmp_path / "x.zarr", layers=["leaky"])
    assert not (tmp_path / "x.zarr").exists()


@pytest.mark.slow
def test_kills_at_any_moment_leave_no_trace(tmp_path: Path) -> None:
    data = make_images(tmp_path / "data", identities=8, splits=("test",))
    out = tmp_path / "killed.zarr"
    command = [sys.executable, "-m", "tests.killed_recording", data.root, out, "0"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) >= 5, done.stderr[-2000:]
    child(data.root, out)
    child(data.root, tmp_path / "undisturbed.zarr")
    same(ActivationStore.open(out), ActivationStore.open(tmp_path / "undisturbed.zarr"))
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.glob("*.part"))
    store = ActivationStore.open(out)
    assert store.layers == tuple(LAYERS) and store.attrs["batch_size"] == BATCH


def test_bad_input_is_answered(meso4: Detector, test_split: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "x.zarr"
    with pytest.raises(UnknownNameError, match="Layer 'leeky' .* in meso4.*Did you mean 'leaky'"):
        record(meso4, test_split, out, layers=["leeky"])
    with pytest.raises(UnknownNameError, match="Reducer 'men' .*Did you mean 'mean'"):
        record(meso4, test_split, out, layers=["leaky"], reducer="men")
    with pytest.raises(UnknownNameError, match="Dtype 'float64' .*'float32'"):
        record(meso4, test_split, out, layers=["leaky"], dtype="float64")
    with pytest.raises(ProbeError, match="batch_size=0 was given; it takes at least 1"):
        record(meso4, test_split, out, layers=["leaky"], batch_size=0)
    with pytest.raises(ProbeError, match=r"layers=\[\] was given"):
        record(meso4, test_split, out, layers=[])
    with pytest.raises(ProbeError, match="layers='leaky' was given; it takes a list"):
        record(meso4, test_split, out, layers="leaky")
    with pytest.raises(ProbeError, match="No dataset was given"):
        record(meso4, [], out, layers=["leaky"])
    assert not out.exists()
