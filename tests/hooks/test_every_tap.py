"""Every program at every tap of every registered detector equals a plain forward hook."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probe.detectors import ARCHITECTURES, Detector, load_detector
from probe.errors import TraceError
from probe.hooks import TracedDetector, compile_suffix, trace
from probe.hooks.capture import units_first

SIZES = {"xception": 71, "timm:vit_tiny_patch16_224": 64}
TIMM = [
    "timm:resnet18",
    "timm:convnext_atto",
    "timm:vit_tiny_patch16_224",
    "timm:tf_efficientnet_b0",
]
NAMES = [*ARCHITECTURES, *TIMM]
LARGE = ["xception", "efficientnet_b0", *TIMM]


def by_hook(
    detector: Detector, layer: str, images: Tensor, unit: int, to: float, positions: bool
) -> np.ndarray:
    path, _, call = layer.partition("@")
    calls = [0]

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
        calls[0] += 1
        if calls[0] != int(call or 1):
            return None
        out = output.clone(memory_format=torch.contiguous_format)
        (out.view(len(out), -1) if positions else units_first(out))[:, unit] = to
        return out

    handle = detector.module.get_submodule(path).register_forward_hook(hook)
    try:
        return detector.logits(images)
    finally:
        handle.remove()


def traced(name: str) -> tuple[Detector, TracedDetector, Tensor]:
    """Load a detector whose BatchNorms are not the identity, and two images."""
    size = SIZES.get(name, 32)
    detector = load_detector(name, input_size=size)
    draw = torch.Generator().manual_seed(1)
    for buffer in detector.module.buffers():
        if buffer.is_floating_point() and buffer.ndim == 1:
            buffer.data = torch.rand(buffer.shape, generator=draw) + 0.5
    return detector, trace(detector), torch.rand(2, 3, size, size, generator=draw)


def check(name: str, every: int, readings: tuple[bool, ...], n_units: int = 3) -> int:
    detector, graph, images = traced(name)
    full = np.abs(detector.logits(images)).max()
    compared = 0
    for layer in list(graph.layers)[::every]:
        for positions in readings:
            try:
                program = compile_suffix(graph, layer, positions=positions)
            except TraceError:
                continue  # windows, or logits: no units
            units = np.unique([program.units // 2, 0, program.units - 1][:n_units])
            values = np.tile([0.3, -1.2][:n_units], (len(units), 1))
            found = program.sweep(program.state(images), values, units)
            close = 1e-5 + 1e-4 * max(full, np.abs(found).max())
            for i, k in np.ndindex(*values.shape):
                unit = int(units[i])
                wanted = by_hook(detector, layer, images, unit, values[i, k], positions)
                np.testing.assert_allclose(
                    found[:, i, k], wanted, atol=close, rtol=0, err_msg=f"{layer} {unit}"
                )
                compared += 1
    return compared


@pytest.mark.parametrize("name", [name for name in NAMES if "efficientnet" not in name])
def test_some_taps_equal_the_hook(name: str) -> None:
    large = name in LARGE
    assert check(name, 37 if large else 7, (False, True), 1 if large else 2) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_tap_equals_the_hook(name: str) -> None:
    assert check(name, 1, (False, True), 1 if name in LARGE else 3) > 100
