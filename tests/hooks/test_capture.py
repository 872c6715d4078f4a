"""Captures equal plain forward hooks bit for bit, and leave the module as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from probe import attribute
from probe.detectors import ARCHITECTURES, Detector, load_detector
from probe.detectors.detector import weights_hash
from probe.errors import TraceError, UnknownNameError
from probe.hooks import Recorder, Tap, capture, compile_suffix, intervene, split, trace
from tests.hooks import toys

#: The smallest input that each network takes with its structure intact.
SIZES = {
    "xception": 96,
    "timm:resnet50": 64,
    "timm:convnext_tiny": 64,
    "timm:vit_small_patch16_224": 64,
    "timm:swin_tiny_patch4_window7_224": 224,
}
NAMES = [*ARCHITECTURES, *(name for name in SIZES if name.startswith("timm:"))]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if "swin" in name else ()) for name in NAMES],
)
def detector(request: pytest.FixtureRequest) -> Detector:
    return load_detector(request.param, input_size=SIZES.get(request.param, 64))


def images_for(detector: Detector, n: int = 2) -> torch.Tensor:
    size = detector.spec.input_size
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_captures_equal_forward_hooks_bit_for_bit(detector: Detector) -> None:
    before, weights = toys.flags(detector.module), weights_hash(detector.module)
    images = images_for(detector)
    traced = trace(detector)
    found = capture(traced, images, list(traced.layers))
    assert toys.flags(detector.module) == before
    assert weights_hash(detector.module) == weights

    wanted, _ = toys.hooked(detector, images)
    assert set(found) == set(wanted)
    different = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    assert different == []


def test_recorder_gives_the_detectors_own_logits(detector: Detector) -> None:
    images = images_for(detector)
    layer = list(trace(detector).layers)[0]
    _, logits = Recorder.of(detector, [Tap(layer)])(images)
    assert torch.equal(logits, torch.from_numpy(detector.logits(images)))


AWKWARD = [
    toys.InPlace,
    toys.Gated,
    toys.Windows,
    toys.Table,
    toys.Returned,
    toys.Constant,
]


def toy(kind: type[nn.Module]) -> Detector:
    torch.manual_seed(3)
    return toys.detector_of(kind())


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_networks_too(kind: type[nn.Module]) -> None:
    detector = toy(kind)
    images = images_for(detector)
    traced = trace(detector)
    found = capture(traced, images, list(traced.layers))
    wanted, _ = toys.hooked(detector, images)
    assert set(found) <= set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in found)


def test_a_value_is_taken_before_an_in_place_operation_changes_it() -> None:
    detector = toy(toys.InPlace)
    found = capture(detector, images_for(detector), ["conv", "relu", "relu@2"])
    assert found["conv"].min() < 0 <= found["relu"].min()
    assert torch.equal(found["relu"], found["conv"].relu())
    assert not torch.equal(found["relu"], found["relu@2"])


def test_a_capture_runs_no_further_than_its_last_layer() -> None:
    detector = toy(toys.InPlace)
    ran = []
    handle = detector.module.get_submodule("mix").register_forward_pre_hook(
        lambda module, inputs: ran.append(1)
    )
    traced = trace(detector)
    ran.clear()  # tracing calls the hooks with proxies
    capture(traced, images_for(detector), ["relu"])
    assert not ran
    capture(traced, images_for(detector), ["mix"])
    assert ran
    handle.remove()


def test_the_smallest_module_becomes_the_leaf_and_the_report_names_it() -> None:
    traced = trace(toy(toys.Gated))
    assert list(traced.report.leaves) == ["stage.gate"]
    assert "control flow" in traced.report.leaves["stage.gate"]
    assert "stage.gate" in str(traced.report)
    assert {"stage.before", "stage.gate", "stage.after", "stage", "fc"} == set(traced.layers)
    assert str(trace(toy(toys.InPlace)).report).endswith("all traced.")


def test_an_outermost_forward_that_cannot_be_traced_is_an_error() -> None:
    detector = toy(toys.GatedOutside)
    before = toys.flags(detector.module)
    with pytest.raises(TraceError, match="toy cannot be traced .* Move the part of forward"):
        trace(detector)
    assert toys.flags(detector.module) == before


def test_flags_of_mixed_modes_survive_everything() -> None:
    detector = toy(toys.Gated)
    detector.module.get_submodule("stage.before").train()
    detector.module.get_submodule("fc").requires_grad_(False)
    before, weights = toys.flags(detector.module), weights_hash(detector.module)
    images = images_for(detector)
    capture(detector, images, ["stage.gate"])
    intervene(detector, images, "stage.before", {0: 1.0})
    compile_suffix(detector, "stage.gate")
    split(trace(detector), "stage.before")
    with pytest.raises(RuntimeError):
        capture(detector, images[:, :2], ["stage.after"])
    with pytest.raises(UnknownNameError):
        capture(detector, images, ["stage.nowhere"])
    assert toys.flags(detector.module) == before
    assert weights_hash(detector.module) == weights


def test_the_users_own_hooks_stay() -> None:
    detector = toy(toys.InPlace)
    handle = detector.module.get_submodule("conv").register_forward_hook(lambda m, i, o: None)
    capture(detector, images_for(detector), ["conv"])
    assert list(detector.module.get_submodule("conv")._forward_hooks) == [handle.id]


def test_an_unknown_layer_is_named_with_the_nearest() -> None:
    detector = load_detector("xception", input_size=96)
    with pytest.raises(UnknownNameError) as error:
        capture(detector, images_for(detector), ["blok3"])
    text = str(error.value)
    assert text.startswith("Layer 'blok3' is not known in xception. Did you mean 'block3'")
    assert text.endswith("List them with `probe layers xception`.")


def test_a_wrapper_may_be_left_out_of_a_layers_name() -> None:
    traced = trace(load_detector("xception", input_size=96))
    assert traced.resolve("block12") == traced.resolve("body.block12") == "body.block12"


def test_a_layer_without_a_sample_axis_cannot_be_recorded_or_swept() -> None:
    detector = toy(toys.Windows)
    with pytest.raises(TraceError, match="'inner' gives 128 rows for 2 images"):
        Recorder.of(detector, [Tap("inner")])(images_for(detector))
    with pytest.raises(TraceError, match="'inner' gives 64 rows for 1 image"):
        compile_suffix(detector, "inner")


class Caching(nn.Module):
    """Keeps what it computes on first use: in a dictionary, a list, an attribute and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bias = nn.Linear(12, 3), nn.Parameter(torch.randn(4, 3))
        self.kept: dict[str, list[torch.Tensor]] = {}
        self.scale: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if "bias" not in self.kept:
            self.kept["bias"] = [self.bias.mean(0)]
        if self.scale is None:
            self.scale = self.bias.exp().mean()
        if not hasattr(self, "shift"):
            self.register_buffer("shift", self.bias.sum(0))
        hidden = self.fc(x.flatten(1)[:, :12]) + self.kept["bias"][0] + self.shift
        return (hidden * self.scale).sum(1)


def test_what_a_module_keeps_on_first_use_is_taken_back() -> None:
    detector = toys.detector_of(Caching().eval())
    images = torch.rand(3, 3, 8, 8)
    before = set(vars(detector.module)), set(detector.module.state_dict())
    logits = detector.logits(images)
    traced = trace(detector)
    attribute(detector, images, "saliency", progress=False)
    found = capture(traced, images, ["fc"])["fc"]
    assert torch.equal(found, toys.hooked(detector_copy(detector), images)[0]["fc"])
    assert detector.module.kept == {} and detector.module.scale is None
    assert (set(vars(detector.module)), set(detector.module.state_dict())) == before
    with torch.no_grad():
        detector.module.bias.mul_(2)
    assert not np.allclose(detector.logits(images), logits)


def detector_copy(detector: Detector) -> Detector:
    return Detector(copy.deepcopy(detector.module), detector.spec)


def test_what_was_kept_before_stays_also_after_an_error() -> None:
    class Failing(Caching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            super().forward(x)
            raise ValueError("on purpose")

    module = Failing().eval()
    module.kept["other"] = [torch.ones(1)]
    with pytest.raises(ValueError, match="on purpose"):
        toys.detector_of(module).logits(torch.rand(1, 3, 8, 8))
    assert list(module.kept) == ["other"] and module.scale is None
