"""Synthetic checkpoints in the published form against forward passes written from their arrays."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.detectors import load_detector, save_detector
from probe.errors import CheckpointError
from tests.detectors.published import (
    KERAS,
    Weights,
    keras_real_logit,
    keras_weights,
    meso_fake_logit,
    meso_state,
    write_keras,
    xception_fake_logit,
    xception_state,
)


@pytest.mark.parametrize("name", KERAS)
def test_keras_weights_score_fake(name: str, tmp_path: Path) -> None:
    weights = keras_weights(name, 1)
    detector = load_detector(name, weights=write_keras(tmp_path / "Some_DF.h5", weights))
    images = np.random.default_rng(2).random((3, 256, 256, 3))
    found = detector.logits(images.transpose(0, 3, 1, 2).astype(np.float32))
    expected = [-keras_real_logit(name, weights, image) for image in images]
    require_close(found, expected)
    assert detector.name == f"{name}/Some_DF" and detector.spec.origin == "keras"
    assert detector.spec.license == "Apache-2.0" and detector.spec.input_size == 256


def test_a_whole_keras_model_is_read_too(tmp_path: Path) -> None:
    weights = keras_weights("meso4", 3)
    plain = load_detector("meso4", weights=write_keras(tmp_path / "one.h5", weights))
    whole = write_keras(tmp_path / "two.h5", weights, group="model_weights")
    assert load_detector("meso4", weights=whole).fingerprint == plain.fingerprint


def require_close(found: NDArray[np.float32], expected: object) -> None:
    """Equal to single precision, and neither constant nor overflown, so that it means something."""
    wanted = np.asarray(expected)
    assert np.ptp(wanted) > 1e-2 and np.abs(wanted).max() < 200
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["meso4", "mesoinception4"])
def test_deepfakebench_meso(name: str, tmp_path: Path) -> None:
    state = meso_state(name, 4)
    torch.save(state, tmp_path / "meso_best.pth")
    detector = load_detector(name, weights=tmp_path / "meso_best.pth")
    images = torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(5))
    expected = meso_fake_logit(name, state, images).numpy()
    require_close(detector.logits(images), expected)
    assert detector.spec.origin == "deepfakebench" and "CC BY-NC" in detector.spec.license


@pytest.mark.parametrize("head", ["last_linear", "last_linear.1"])
def test_deepfakebench_xception(head: str, tmp_path: Path) -> None:
    """With and without dropout before its last layer, which changes that layer's name."""
    state = xception_state(6, head)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "x.pth")
    detector = load_detector("xception", weights=tmp_path / "x.pth", input_size=96)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(7))
    expected = xception_fake_logit(state, head, images).numpy()
    require_close(detector.logits(images), expected)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("meso4", lambda p: write_keras(p / "w.h5", keras_weights("meso4", 8))),
        ("mesoinception4", lambda p: save(p, meso_state("mesoinception4", 8))),
        ("xception", lambda p: save(p, xception_state(8))),
    ],
)
def test_imported_detectors_survive_saving(
    name: str, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    detector = load_detector(name, weights=make(tmp_path))
    save_detector(detector, tmp_path / "saved", {})
    again = load_detector(tmp_path / "saved")
    images = torch.rand(1, 3, 256, 256)
    assert again.spec == detector.spec and again.fingerprint == detector.fingerprint
    np.testing.assert_array_equal(again.logits(images), detector.logits(images))


def save(folder: Path, state: object) -> Path:
    torch.save(state, folder / "w.pth")
    return folder / "w.pth"


def changed(state: dict[str, Tensor], **edits: Tensor | None) -> dict[str, Tensor]:
    for key, value in edits.items():
        state.pop(f"backbone.{key}", None)
        if value is not None:
            state[f"backbone.{key}"] = value
    return state


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"fc2.bias": None}, r"does not fit meso4: missing fc2.bias \(1\)"),
        ({"conv9.weight": torch.ones(1)}, r"not known conv9.weight \(1\)"),
        ({"conv1.weight": torch.ones(8, 3, 5, 5)}, r"conv1.weight is \(8, 3, 5, 5\), meso4 has"),
        ({"fc2.weight": torch.full((2, 16), np.nan)}, r"not finite, in fc2.weight"),
        ({"bn2.running_var": None}, r"missing bn3.running_var, bn4.running_var \(2\)"),
    ],
)
def test_state_dicts_that_do_not_fit(
    edit: dict[str, Tensor | None], words: str, tmp_path: Path
) -> None:
    file = save(tmp_path, changed(meso_state("meso4", 9), **edit))
    with pytest.raises(CheckpointError, match=words):
        load_detector("meso4", weights=file)


def test_the_wrong_architecture_is_named(tmp_path: Path) -> None:
    keras = write_keras(tmp_path / "w.h5", keras_weights("mesoinception4", 9))
    with pytest.raises(CheckpointError, match=r"16 of kind conv2d, meso4 has 4.*fit mesoincep"):
        load_detector("meso4", weights=keras)
    with pytest.raises(CheckpointError, match=r"given for xception; they can be read for meso4"):
        load_detector("xception", weights=keras)
    with pytest.raises(CheckpointError, match=r"does not fit meso4: missing .*not known"):
        load_detector("meso4", weights=save(tmp_path, meso_state("mesoinception4", 9)))
    with pytest.raises(CheckpointError, match=r"given for shallownet; they can be read for meso4"):
        load_detector("shallownet", weights=save(tmp_path, meso_state("meso4", 9)))


def test_keras_files_with_something_missing_or_foreign(tmp_path: Path) -> None:
    weights = keras_weights("meso4", 10)
    weights["dense_9/kernel"] = np.ones((1, 1))
    with pytest.raises(CheckpointError, match=r"3 of kind dense, meso4 has 2"):
        load_detector("meso4", weights=write_keras(tmp_path / "a.h5", weights))
    weights = keras_weights("meso4", 10)
    weights["lstm_1/kernel"] = np.ones((1, 1))
    with pytest.raises(CheckpointError, match=r"not known: lstm_1 \(1\)"):
        load_detector("meso4", weights=write_keras(tmp_path / "b.h5", weights))
    weights = keras_weights("meso4", 10)
    del weights["conv2d_6/bias"]
    with pytest.raises(CheckpointError, match=r"missing conv2.bias \(1\)"):
        load_detector("meso4", weights=write_keras(tmp_path / "c.h5", weights))


@pytest.mark.parametrize("kind", ["keras", "pth"])
def test_another_input_size_is_refused(kind: str, tmp_path: Path) -> None:
    file = (
        write_keras(tmp_path / "w.h5", keras_weights("meso4", 11))
        if kind == "keras"
        else save(tmp_path, meso_state("meso4", 11))
    )
    assert load_detector("meso4", weights=file, input_size=256).spec.input_size == 256
    with pytest.raises(CheckpointError, match=r"input_size=128 was given .* fit 256×256 images"):
        load_detector("meso4", weights=file, input_size=128)


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("touched-by-a-pickle"),)  # type: ignore[return-value]


def test_no_pickle_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc1.weight": Evil()}, "evil.pth")
    Path("old.pth").write_bytes(pickle.dumps({"fc1.weight": Evil()}))
    for name in ("evil.pth", "old.pth"):
        with pytest.raises(CheckpointError, match=r"cannot be read as tensors only"):
            load_detector("meso4", weights=name)
    assert not Path("touched-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.h5", b"not hdf5", "cannot be read as Keras weights"),
        ("w.h5", b"", "cannot be read as Keras weights"),
        ("w.pth", b"", "cannot be read as tensors only"),
        ("w.pth", b"not a pickle", "cannot be read as tensors only"),
    ],
)
def test_files_of_another_kind(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        load_detector("meso4", weights=tmp_path / name)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}])
def test_files_without_a_state_dict(content: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_detector("meso4", weights=save(tmp_path, content))


def test_hdf5_that_is_not_keras(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(CheckpointError, match=r"Give an HDF5 file with `layer_names`"):
        load_detector("meso4", weights=tmp_path / "w.h5")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("meso4", "Meso4_DF"),
        ("meso4", "Meso4_F2F"),
        ("mesoinception4", "MesoInception_DF"),
        ("mesoinception4", "MesoInception_F2F"),
    ],
)
def test_published_weights(name: str, file: str, real_data: Path) -> None:
    """The published files, against the forward pass written from their arrays."""
    place = real_data / "mesonet" / f"{file}.h5"
    weights: Weights = {}
    with h5py.File(place) as root:
        root.visititems(
            lambda key, item: (
                weights.update({key.split("/", 1)[1].removesuffix(":0"): item[()].astype(float)})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    images = np.random.default_rng(12).random((2, 256, 256, 3))
    images[1] = np.linspace(0, 1, 256)[:, None, None] * images[1, :1, :1]
    detector = load_detector(name, weights=place)
    found = detector.logits(images.transpose(0, 3, 1, 2).astype(np.float32))
    require_close(found, [-keras_real_logit(name, weights, image) for image in images])
