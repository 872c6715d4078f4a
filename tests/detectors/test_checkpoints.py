"""Synthetic checkpoints in the published form against forward passes written from their arrays."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from probe.detectors import load_detector, save_detector
from probe.errors import CheckpointError

Floats = NDArray[np.float64]
Weights = dict[str, Floats]

MESO4_CONVS = [(3, 3, 8), (5, 8, 8), (5, 8, 16), (5, 16, 16)]
BRANCHES_1 = [(1, 3, 1), (1, 3, 4), (3, 4, 4), (1, 3, 4), (3, 4, 4), (1, 3, 2), (3, 2, 2)]
BRANCHES_2 = [(1, 11, 2), (1, 11, 4), (3, 4, 4), (1, 11, 4), (3, 4, 4), (1, 11, 2), (3, 2, 2)]
KERAS = {
    "meso4": (MESO4_CONVS, [8, 8, 16, 16], 5),
    "mesoinception4": ([*BRANCHES_1, *BRANCHES_2, (5, 12, 16), (5, 16, 16)], [11, 12, 16, 16], 1),
}


def keras_weights(name: str, seed: int) -> Weights:
    """Random arrays under the published names: numbering from 5 in Meso4, from 1 in the other."""
    rng = np.random.default_rng(seed)
    convs, norms, first = KERAS[name]
    out = {}
    for i, (kernel, inputs, outputs) in enumerate(convs, start=first):
        scale = 1.5 / np.sqrt(kernel * kernel * inputs)
        out[f"conv2d_{i}/kernel"] = rng.normal(0, scale, (kernel, kernel, inputs, outputs))
        out[f"conv2d_{i}/bias"] = rng.normal(0, 0.1, outputs)
    for i, channels in enumerate(norms, start=first):
        layer = f"batch_normalization_{i}"
        out[f"{layer}/gamma"] = rng.uniform(0.5, 1.5, channels)
        out[f"{layer}/beta"] = rng.normal(0, 0.3, channels)
        out[f"{layer}/moving_mean"] = rng.normal(0, 0.2, channels)
        out[f"{layer}/moving_variance"] = rng.uniform(0.05, 1.0, channels)
    for i, (inputs, outputs) in enumerate([(1024, 16), (16, 1)], start=3 if first == 5 else 1):
        out[f"dense_{i}/kernel"] = rng.normal(0, 1 / np.sqrt(inputs), (inputs, outputs))
        out[f"dense_{i}/bias"] = rng.normal(0, 0.1, outputs)
    return {key: value.astype(np.float32).astype(np.float64) for key, value in out.items()}


def write_keras(file: Path, weights: Weights, group: str | None = None) -> Path:
    """Write as Keras 2 does; layers are listed in reverse, for their order must not matter."""
    layers = [*dict.fromkeys(key.split("/")[0] for key in weights)][::-1]
    with h5py.File(file, "w") as whole:
        root = whole.create_group(group) if group else whole
        root.attrs["layer_names"] = np.array([b"input_2", *(one.encode() for one in layers)])
        root.create_group("input_2").attrs["weight_names"] = np.array([])
        for layer in layers:
            own = [key for key in weights if key.startswith(f"{layer}/")]
            place = root.create_group(layer)
            place.attrs["weight_names"] = np.array([f"{key}:0".encode() for key in own])
            for key in own:
                place[f"{key}:0"] = weights[key].astype(np.float32)
    return file


def conv(x: Floats, kernel: Floats, bias: Floats, dilation: int = 1) -> Floats:
    """Same-padded convolution of (H, W, in) by (k, k, in, out), tap by tap, then ReLU."""
    k = len(kernel)
    pad = dilation * (k // 2)
    wide = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    height, width = x.shape[:2]
    out = np.zeros((height, width, kernel.shape[-1])) + bias
    for i in range(k):
        for j in range(k):
            top, left = i * dilation, j * dilation
            out += wide[top : top + height, left : left + width] @ kernel[i, j]
    return np.maximum(out, 0)


def norm_pool(x: Floats, weights: Weights, layer: str, pool: int) -> Floats:
    gamma, beta, mean, variance = (
        weights[f"{layer}/{one}"] for one in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    x = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    height, width, channels = x.shape
    return x.reshape(height // pool, pool, width // pool, pool, channels).max(axis=(1, 3))


def keras_real_logit(name: str, weights: Weights, image: Floats) -> float:
    """Logit of P(real) of one image, shape (H, W, 3), from the arrays in their own order."""
    convs, _, first = KERAS[name]
    numbers = iter(range(first, first + len(convs)))

    def one(x: Floats, dilation: int = 1) -> Floats:
        i = next(numbers)
        return conv(x, weights[f"conv2d_{i}/kernel"], weights[f"conv2d_{i}/bias"], dilation)

    def inception(x: Floats) -> Floats:
        return np.concatenate([one(x), *(one(one(x), d) for d in (1, 2, 3))], axis=-1)

    steps = [one, one, one, one] if name == "meso4" else [inception, inception, one, one]
    x = image
    for i, (step, pool) in enumerate(zip(steps, (2, 2, 2, 4), strict=True), start=first):
        x = norm_pool(step(x), weights, f"batch_normalization_{i}", pool)
    dense = 3 if first == 5 else 1
    x = x.reshape(-1) @ weights[f"dense_{dense}/kernel"] + weights[f"dense_{dense}/bias"]
    x = np.where(x > 0, x, 0.1 * x)
    x = x @ weights[f"dense_{dense + 1}/kernel"] + weights[f"dense_{dense + 1}/bias"]
    return float(x[0])


@pytest.mark.parametrize("name", KERAS)
def test_keras_weights_score_fake(name: str, tmp_path: Path) -> None:
    weights = keras_weights(name, 1)
    detector = load_detector(name, weights=write_keras(tmp_path / "Some_DF.h5", weights))
    images = np.random.default_rng(2).random((3, 256, 256, 3))
    found = detector.logits(images.transpose(0, 3, 1, 2).astype(np.float32))
    expected = [-keras_real_logit(name, weights, image) for image in images]
    require_close(found, expected)
    assert detector.name == f"{name}/Some_DF" and detector.spec.origin == "keras"
    assert detector.spec.licence == "Apache-2.0" and detector.spec.input_size == 256


def test_a_whole_keras_model_is_read_too(tmp_path: Path) -> None:
    weights = keras_weights("meso4", 3)
    plain = load_detector("meso4", weights=write_keras(tmp_path / "one.h5", weights))
    whole = write_keras(tmp_path / "two.h5", weights, group="model_weights")
    assert load_detector("meso4", weights=whole).fingerprint == plain.fingerprint


def meso_state(name: str, seed: int) -> dict[str, Tensor]:
    """A state dict with the names and shapes of DeepfakeBench's networks."""
    if name == "meso4":
        shapes = [(f"conv{i}", c) for i, c in enumerate(MESO4_CONVS, start=1)]
        norms = {"bn1": 8, "bn2": 16}
    else:
        parts = ("conv1", *(f"conv{b}_{i}" for b in (2, 3, 4) for i in (1, 2)))
        shapes = [(f"Incption1_{p}", c) for p, c in zip(parts, BRANCHES_1, strict=True)]
        shapes += [(f"Incption2_{p}", c) for p, c in zip(parts, BRANCHES_2, strict=True)]
        shapes += [("conv1", (5, 12, 16)), ("conv2", (5, 16, 16))]
        norms = {"Incption1_bn": 11, "Incption2_bn": 12, "bn1": 16}
    make = torch.Generator().manual_seed(seed)
    state = {
        f"{layer}.weight": conv_weight(make, outputs, inputs, kernel)
        for layer, (kernel, inputs, outputs) in shapes
    }
    for layer, channels in norms.items():
        state |= norm_state(make, layer, channels)
    state |= linear_state(make, "fc1", 16, 1024) | linear_state(make, "fc2", 2, 16)
    return {f"backbone.{key}": value for key, value in state.items()}


def conv_weight(make: torch.Generator, outputs: int, inputs: int, kernel: int) -> Tensor:
    scale = 1.0 / (inputs * kernel * kernel) ** 0.5
    return scale * torch.randn(outputs, inputs, kernel, kernel, generator=make)


def norm_state(make: torch.Generator, layer: str, channels: int) -> dict[str, Tensor]:
    return {
        f"{layer}.weight": 0.5 + torch.rand(channels, generator=make),
        f"{layer}.bias": 0.3 * torch.randn(channels, generator=make),
        f"{layer}.running_mean": 0.2 * torch.randn(channels, generator=make),
        f"{layer}.running_var": 0.5 + torch.rand(channels, generator=make),
        f"{layer}.num_batches_tracked": torch.tensor(7),
    }


def linear_state(make: torch.Generator, layer: str, outputs: int, inputs: int) -> dict[str, Tensor]:
    return {
        f"{layer}.weight": torch.randn(outputs, inputs, generator=make) / inputs**0.5,
        f"{layer}.bias": 0.1 * torch.randn(outputs, generator=make),
    }


def norm(s: dict[str, Tensor], layer: str, x: Tensor) -> Tensor:
    return F.batch_norm(
        x, s[f"{layer}.running_mean"], s[f"{layer}.running_var"],
        s[f"{layer}.weight"], s[f"{layer}.bias"], eps=1e-5,
    )  # fmt: skip


def meso_fake_logit(name: str, state: dict[str, Tensor], images: Tensor) -> Tensor:
    """The published forward pass, with functions: one batch norm for two convolutions."""
    s = {k.removeprefix("backbone."): v.double() for k, v in state.items()}
    x = (images.double() - 0.5) / 0.5

    def block(x: Tensor, layer: str, bn: str, padding: int, pool: int) -> Tensor:
        x = F.relu(F.conv2d(x, s[f"{layer}.weight"], padding=padding))
        return F.max_pool2d(norm(s, bn, x), pool)

    def inception(x: Tensor, i: int) -> Tensor:
        outs = [F.conv2d(x, s[f"Incption{i}_conv1.weight"])]
        for branch, dilation in ((2, 1), (3, 2), (4, 3)):
            y = F.conv2d(x, s[f"Incption{i}_conv{branch}_1.weight"])
            outs.append(
                F.conv2d(
                    y, s[f"Incption{i}_conv{branch}_2.weight"], padding=dilation, dilation=dilation
                )
            )
        return F.max_pool2d(norm(s, f"Incption{i}_bn", torch.cat(outs, dim=1)), 2)

    if name == "meso4":
        x = block(block(x, "conv1", "bn1", 1, 2), "conv2", "bn1", 2, 2)
        x = block(block(x, "conv3", "bn2", 2, 2), "conv4", "bn2", 2, 4)
    else:
        x = inception(inception(x, 1), 2)
        x = block(block(x, "conv1", "bn1", 2, 2), "conv2", "bn1", 2, 4)
    x = F.leaky_relu(F.linear(x.flatten(1), s["fc1.weight"], s["fc1.bias"]), 0.1)
    log_p = F.linear(x, s["fc2.weight"], s["fc2.bias"]).log_softmax(dim=1)
    return log_p[:, 1] - log_p[:, 0]


BLOCKS = [
    # name, inputs, outputs, separable convolutions, stride, starts with ReLU, grows first
    ("block1", 64, 128, 2, 2, False, True),
    ("block2", 128, 256, 2, 2, True, True),
    ("block3", 256, 728, 2, 2, True, True),
    *((f"block{i}", 728, 728, 3, 1, True, True) for i in range(4, 12)),
    ("block12", 728, 1024, 2, 2, True, False),
]


def block_layers(block: tuple[str, int, int, int, int, bool, bool]) -> list[tuple[int, int, int]]:
    """Index in ``rep``, inputs and outputs of each separable convolution of a block."""
    _, inputs, outputs, reps, _, relu, grows = block
    widths = [inputs, *([outputs] * reps)] if grows else [*([inputs] * reps), outputs]
    return [(3 * i + int(relu), widths[i], widths[i + 1]) for i in range(reps)]


def xception_state(seed: int, head: str = "last_linear") -> dict[str, Tensor]:
    make = torch.Generator().manual_seed(seed)
    state = {
        "conv1.weight": conv_weight(make, 32, 3, 3),
        "conv2.weight": conv_weight(make, 64, 32, 3),
    }
    state |= norm_state(make, "bn1", 32) | norm_state(make, "bn2", 64)

    def separable(layer: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return {
            f"{layer}.conv1.weight": conv_weight(make, inputs, 1, 3),
            f"{layer}.pointwise.weight": conv_weight(make, outputs, inputs, 1),
        }

    for block in BLOCKS:
        name, inputs, outputs, _, stride, _, _ = block
        for at, one, two in block_layers(block):
            state |= separable(f"{name}.rep.{at}", one, two)
            state |= norm_state(make, f"{name}.rep.{at + 1}", two)
        if stride > 1 or inputs != outputs:
            state[f"{name}.skip.weight"] = conv_weight(make, outputs, inputs, 1)
            state |= norm_state(make, f"{name}.skipbn", outputs)
    for i, (inputs, outputs) in ((3, (1024, 1536)), (4, (1536, 2048))):
        state |= separable(f"conv{i}", inputs, outputs) | norm_state(make, f"bn{i}", outputs)
    state |= linear_state(make, head, 2, 2048)
    state |= {"adjust_channel.0.weight": conv_weight(make, 512, 2048, 1)}
    state |= {"adjust_channel.0.bias": torch.zeros(512)}
    state |= norm_state(make, "adjust_channel.1", 512)
    return {f"backbone.{key}": value for key, value in state.items()}


def xception_fake_logit(state: dict[str, Tensor], head: str, images: Tensor) -> Tensor:
    s = {k.removeprefix("backbone."): v.double() for k, v in state.items()}

    def separable(x: Tensor, layer: str) -> Tensor:
        depthwise = s[f"{layer}.conv1.weight"]
        x = F.conv2d(x, depthwise, padding=1, groups=len(depthwise))
        return F.conv2d(x, s[f"{layer}.pointwise.weight"])

    x = (images.double() - 0.5) / 0.5
    x = F.relu(norm(s, "bn1", F.conv2d(x, s["conv1.weight"], stride=2)))
    x = F.relu(norm(s, "bn2", F.conv2d(x, s["conv2.weight"])))
    for block in BLOCKS:
        name, stride = block[0], block[4]
        y = x
        for at, _, _ in block_layers(block):
            y = y if at == 0 else F.relu(y)
            y = norm(s, f"{name}.rep.{at + 1}", separable(y, f"{name}.rep.{at}"))
        y = F.max_pool2d(y, 3, stride, 1) if stride > 1 else y
        skip = f"{name}.skip.weight"
        x = y + (norm(s, f"{name}.skipbn", F.conv2d(x, s[skip], stride=stride)) if skip in s else x)
    x = F.relu(norm(s, "bn3", separable(x, "conv3")))
    x = F.relu(norm(s, "bn4", separable(x, "conv4"))).mean(dim=(2, 3))
    log_p = F.linear(x, s[f"{head}.weight"], s[f"{head}.bias"]).log_softmax(dim=1)
    return log_p[:, 1] - log_p[:, 0]


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
    assert detector.spec.origin == "deepfakebench" and "CC BY-NC" in detector.spec.licence


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
    with pytest.raises(CheckpointError, match=r"given for xception; they are read for meso4"):
        load_detector("xception", weights=keras)
    with pytest.raises(CheckpointError, match=r"does not fit meso4: missing .*not known"):
        load_detector("meso4", weights=save(tmp_path, meso_state("mesoinception4", 9)))
    with pytest.raises(CheckpointError, match=r"given for shallownet; they are read for meso4"):
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
        with pytest.raises(CheckpointError, match=r"cannot be read as tensors alone"):
            load_detector("meso4", weights=name)
    assert not Path("touched-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.h5", b"not hdf5", "cannot be read as Keras weights"),
        ("w.h5", b"", "cannot be read as Keras weights"),
        ("w.pth", b"", "cannot be read as tensors alone"),
        ("w.pth", b"not a pickle", "cannot be read as tensors alone"),
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
        ("meso4", "Meso4_DF"), ("meso4", "Meso4_F2F"),
        ("mesoinception4", "MesoInception_DF"), ("mesoinception4", "MesoInception_F2F"),
    ],
)  # fmt: skip
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
