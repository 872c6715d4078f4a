from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from probe.detectors import ARCHITECTURES, load_detector, save_detector
from probe.detectors.loading import CARD_FILE
from probe.errors import CheckpointError, ProbeError, UnknownNameError

SIZE = 96


@pytest.mark.parametrize("name", [*ARCHITECTURES, "timm:resnet18"])
def test_every_architecture_keeps_the_contract(name: str, tmp_path: Path) -> None:
    """Logits of shape (N,), eval mode, seeded weights, and a round trip through its folder."""
    detector = load_detector(name, input_size=SIZE, seed=3)
    images = np.random.default_rng(0).random((2, 3, SIZE, SIZE), dtype=np.float32)
    logits = detector.logits(images)
    assert logits.shape == (2,) and logits.dtype == np.float32 and np.isfinite(logits).all()
    assert not detector.module.training
    assert detector.fingerprint == load_detector(name, input_size=SIZE, seed=3).fingerprint
    assert detector.fingerprint != load_detector(name, input_size=SIZE, seed=4).fingerprint
    save_detector(detector, tmp_path / "saved", {})
    again = load_detector(tmp_path / "saved")
    assert again.fingerprint == detector.fingerprint and again.spec == detector.spec
    np.testing.assert_array_equal(again.logits(images), logits)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_registered_layers_exist(name: str) -> None:
    architecture = ARCHITECTURES[name]
    modules = dict(load_detector(name, input_size=SIZE).module.named_modules())
    for path in (*architecture.last_layers, architecture.units, architecture.last_conv):
        assert path in modules


@pytest.mark.parametrize(
    ("name", "size", "weights"),
    [("meso4", 256, 27_977), ("mesoinception4", 256, 28_615), ("shallownet", 256, None)],
)
def test_sizes_are_those_published(name: str, size: int, weights: int | None) -> None:
    """27,977 and 28,615 trainable weights are the figures of the MesoNet paper, section 3."""
    if weights is None:
        side = ((size - 4) // 2 - 2) // 2 - 2
        assert 32 * side * side * 1024 == pytest.approx(118e6, rel=0.01)
        return
    found = sum(p.numel() for p in load_detector(name, input_size=size).module.parameters())
    assert found == weights


def test_meso4_is_its_layer_list() -> None:
    """The forward pass, stated again with functions and the state dict alone."""
    detector = load_detector("meso4", input_size=64, seed=1)
    state = {k: v.double() for k, v in detector.module.state_dict().items()}
    for i in range(1, 5):
        detector.module.state_dict()[f"bn{i}.running_mean"].normal_()
    state = {k: v.clone() for k, v in detector.module.state_dict().items()}
    x = images = torch.rand(3, 3, 64, 64)
    for i, pool in enumerate((2, 2, 2, 4), start=1):
        w = state[f"conv{i}.weight"]
        x = torch.conv2d(x, w, state[f"conv{i}.bias"], padding=w.shape[-1] // 2).relu()
        mean, var = state[f"bn{i}.running_mean"], state[f"bn{i}.running_var"]
        scale = state[f"bn{i}.weight"] / (var + 1e-3).sqrt()
        x = (x - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
        x = x + state[f"bn{i}.bias"].view(1, -1, 1, 1)
        x = torch.max_pool2d(x, pool)
    x = x.flatten(1) @ state["fc1.weight"].T + state["fc1.bias"]
    x = torch.where(x > 0, x, 0.1 * x) @ state["fc2.weight"].T + state["fc2.bias"]
    np.testing.assert_allclose(detector.logits(images), x[:, 0].numpy(), rtol=1e-4, atol=1e-5)


def test_two_way_heads_give_the_softmax_logit_of_fake() -> None:
    detector = load_detector("efficientnet_b0", input_size=64)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        both = detector.module.body(images)
    p_fake = torch.softmax(both, dim=1)[:, 1]
    np.testing.assert_allclose(
        torch.sigmoid(torch.from_numpy(detector.logits(images))), p_fake, rtol=1e-5
    )


def test_unknown_names_are_answered() -> None:
    with pytest.raises(
        UnknownNameError, match="Detector 'meso5' is not known. Did you mean 'meso4'"
    ):
        load_detector("meso5")
    with pytest.raises(UnknownNameError, match="Timm model 'resnet5' is not known"):
        load_detector("timm:resnet5")


def test_wrong_input_sizes_are_answered() -> None:
    with pytest.raises(ProbeError, match="input_size=100 was given for meso4; it takes a multiple"):
        load_detector("meso4", input_size=100)


def test_a_checkpoint_that_does_not_fit_says_what_does_not(tmp_path: Path) -> None:
    save_detector(load_detector("meso4", input_size=64), tmp_path, {})
    file = tmp_path / "model.safetensors"
    with pytest.raises(
        CheckpointError, match=r"'model.safetensors' does not fit meso4: of another"
    ):
        load_detector("meso4", input_size=128, weights=file)
    with pytest.raises(CheckpointError, match="does not fit shallownet: missing .* not known"):
        load_detector("shallownet", input_size=64, weights=file)


def test_weights_that_cannot_be_read_are_answered(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_detector("meso4", weights=tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="are missing"):
        load_detector("meso4", weights=tmp_path / "none.h5")
    (tmp_path / "w.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match="unknown format"):
        load_detector("meso4", weights=tmp_path / "w.onnx")


def test_a_folder_whose_weights_were_exchanged_is_refused(tmp_path: Path) -> None:
    save_detector(load_detector("meso4", input_size=64), tmp_path, {})
    card = json.loads((tmp_path / CARD_FILE).read_text())
    card["weights_hash"] = "0" * 32
    (tmp_path / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="are not those named in its card"):
        load_detector(tmp_path)


def test_pretrained_without_a_hub_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    # As where no hub is reachable, without waiting for its retries.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="could not be loaded .* Use pretrained=False"):
        load_detector("timm:resnet18", pretrained=True)
