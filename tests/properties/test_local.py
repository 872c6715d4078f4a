"""Programs that carry one channel alone equal plain hooks, over random small graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.detectors import Detector
from probe.hooks import LocalProgram, Rerun, compile_suffix, trace
from probe.hooks.capture import units_first
from tests.hooks.toys import detector_of

SIZE = 8
CLOSE = {"rtol": 2e-4, "atol": 2e-4}


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 2, 1), nn.Conv2d(2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()
        return x * gate


class ChannelsLast(nn.Module):
    """LayerNorm and an MLP on the last axis, scaled by a weight, as ConvNeXt has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return x + y * self.scale.reshape(1, -1, 1, 1)


class Attention(nn.Module):
    """One head over the positions as tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(self.q(tokens), self.k(tokens), self.v(tokens))
        return x + mixed.transpose(1, 2).mean(2, keepdim=True)[..., None]


class Residual(nn.Module):
    """A channel-local branch and a mixing one, summed with the input."""

    def __init__(self, width: int, inplace: bool) -> None:
        super().__init__()
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.local(x)) + 0.5 * x - self.mix(x)


class Beside(nn.Module):
    """The input beside a pooled copy of the image, joined by a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.fuse = nn.Conv2d(3, 2, 1), nn.Conv2d(width + 2, width, 1)

    def forward(self, x: Tensor, images: Tensor) -> Tensor:
        other = F.adaptive_avg_pool2d(self.stem(images), 1)
        return self.fuse(torch.cat([other * torch.ones_like(x[:, :1]), x], 1))


def block(kind: str, width: int, inplace: bool) -> nn.Module:
    return {
        "conv": lambda: nn.Conv2d(width, width, 3, padding=1),
        "strided": lambda: nn.Conv2d(width, width, 3, padding=1, stride=2),
        "depthwise": lambda: nn.Conv2d(width, width, 3, padding=1, groups=width),
        "grouped": lambda: nn.Conv2d(width, width, 3, padding=1, groups=2),
        "norm": lambda: nn.BatchNorm2d(width),
        "relu": lambda: nn.ReLU(inplace=inplace),
        "gelu": lambda: nn.GELU(),
        "silu": lambda: nn.SiLU(inplace=inplace),
        "max": lambda: nn.MaxPool2d(3, stride=1, padding=1),
        "avg": lambda: nn.AvgPool2d(3, stride=1, padding=1),
        "excite": lambda: SqueezeExcite(width),
        "last": lambda: ChannelsLast(width),
        "attention": lambda: Attention(width),
        "residual": lambda: Residual(width, inplace),
        "beside": lambda: Beside(width),
        "drop": lambda: nn.Dropout(0.5),
    }[kind]()


KINDS = (
    "conv",
    "strided",
    "depthwise",
    "grouped",
    "norm",
    "relu",
    "gelu",
    "silu",
    "max",
    "avg",
    "excite",
    "last",
    "attention",
    "residual",
    "beside",
    "drop",
)


class Net(nn.Module):
    """A tap, blocks in a row, and a pooled, flattened or two-layer head."""

    def __init__(self, kinds: list[str], head: str, inplace: bool) -> None:
        super().__init__()
        width = 4
        self.tap = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(block(kind, width, inplace) for kind in kinds)
        size = SIZE // 2 ** kinds.count("strided")
        self.pool = nn.AdaptiveAvgPool2d(1) if head == "pool" else nn.Identity()
        self.flatten = nn.Flatten()
        features = width * (1 if head == "pool" else size * size)
        self.hidden = nn.Linear(features, 5) if head == "deep" else nn.Identity()
        self.act = nn.LeakyReLU(0.1, inplace=inplace)
        self.fc = nn.Linear(5 if head == "deep" else features, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.tap(images)
        for one in self.blocks:
            x = one(x, images) if isinstance(one, Beside) else one(x)
        x = self.act(self.hidden(self.flatten(self.pool(x))))
        return self.fc(x)[:, 0]


@st.composite
def nets(draw: st.DrawFn) -> Detector:
    kinds = draw(
        st.lists(st.sampled_from(KINDS), max_size=4).filter(lambda k: k.count("strided") < 3)
    )
    torch.manual_seed(draw(st.integers(0, 99)))
    net = Net(kinds, draw(st.sampled_from(["pool", "flat", "deep"])), draw(st.booleans()))
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.data = torch.rand(buffer.shape) + 0.5
    return detector_of(net, SIZE)


def by_hook(detector: Detector, images: Tensor, change: object) -> np.ndarray:
    """Score images while a hook on the tap changes a copy of its output."""

    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        out = output.clone(memory_format=torch.contiguous_format)
        change(out)
        return out

    handle = detector.module.tap.register_forward_hook(hook)
    try:
        return detector.logits(images)
    finally:
        handle.remove()


def setting(unit: int, to: object, positions: bool) -> object:
    def change(out: Tensor) -> None:
        view = out.view(len(out), -1) if positions else units_first(out)
        value = torch.as_tensor(to, dtype=out.dtype)
        view[:, unit] = value.view(-1, *[1] * (view.ndim - 2)) if value.ndim else value

    return change


IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@settings(max_examples=75, deadline=None)
@given(nets(), st.booleans(), st.integers(0, 9), st.sampled_from([1, 5, 10_000]))
def test_every_graph_equals_the_hook(
    detector: Detector, positions: bool, seed: int, rows: int
) -> None:
    program = compile_suffix(detector, "tap", positions=positions)
    assert isinstance(program, LocalProgram)
    program = replace(program, rows=rows)
    state, rng = program.state(IMAGES), np.random.default_rng(seed)
    units = np.unique(rng.integers(0, program.units, 3))
    values = rng.normal(0, 2, (len(units), 2))
    each = rng.normal(0, 2, (len(IMAGES), len(units), 2))
    found, own = program.sweep(state, values, units), program.sweep(state, each, units)
    for i, unit in enumerate(units.tolist()):
        for k in range(2):
            wanted = by_hook(detector, IMAGES, setting(unit, values[i, k], positions))
            np.testing.assert_allclose(found[:, i, k], wanted, **CLOSE)
            wanted = by_hook(detector, IMAGES, setting(unit, each[:, i, k], positions))
            np.testing.assert_allclose(own[:, i, k], wanted, **CLOSE)
    again = program.sweep(state, values, units)
    np.testing.assert_array_equal(again, found)


@settings(max_examples=60, deadline=None)
@given(nets(), st.booleans(), st.integers(0, 9))
def test_donors_and_sets_equal_the_hook(detector: Detector, positions: bool, seed: int) -> None:
    program = compile_suffix(detector, "tap", positions=positions)
    rng = np.random.default_rng(seed)
    state, donor = program.state(IMAGES), program.state(IMAGES.flip(0))
    values, sets = rng.normal(size=program.units), rng.random((3, program.units)) < 0.4
    units = np.unique(rng.integers(0, program.units, 2))
    given_ = program.donate(state, donor, units)
    held = donor.value.contiguous()
    for i, unit in enumerate(units.tolist()):

        def transplant(out: Tensor, u: int = unit) -> None:
            if positions:
                out.view(len(out), -1)[:, u] = held.view(len(out), -1)[:, u]
            else:
                out[:, u] = held[:, u]

        np.testing.assert_allclose(given_[:, i], by_hook(detector, IMAGES, transplant), **CLOSE)
    without = program.ablate_sets(state, sets, values)
    for i, chosen in enumerate(sets):

        def take_out(out: Tensor, chosen: np.ndarray = chosen) -> None:
            for unit in np.flatnonzero(chosen).tolist():
                setting(unit, values[unit], positions)(out)

        np.testing.assert_allclose(without[:, i], by_hook(detector, IMAGES, take_out), **CLOSE)


@settings(max_examples=30, deadline=None)
@given(nets(), st.integers(0, 9))
def test_the_plain_rerun_gives_the_same(detector: Detector, seed: int) -> None:
    """Two programs that share nothing but the graph."""
    from probe.hooks import split

    local = compile_suffix(detector, "tap")
    plain = Rerun("tap", SIZE, *split(trace(detector), "tap"), local.units)
    values = np.random.default_rng(seed).normal(0, 2, (local.units, 2))
    one, two = (p.sweep(p.state(IMAGES), values) for p in (local, plain))
    np.testing.assert_allclose(one, two, **CLOSE)
    sums = [p.sums(p.state(IMAGES), values, True) for p in (local, plain)]
    np.testing.assert_allclose(*sums, **CLOSE)


def test_what_is_recognized_is_said() -> None:
    torch.manual_seed(0)
    detector = detector_of(Net(["depthwise", "norm", "relu", "conv", "gelu"], "deep", True), SIZE)
    program = compile_suffix(detector, "tap")
    text = program.explain()
    assert "on the intervened unit alone: blocks.0, blocks.1, blocks.2" in text
    assert "updated by its change: blocks.3" in text
    assert "run again: blocks.4" in text
    assert program.cost.program < program.cost.suffix < program.cost.network


def test_a_channel_costs_less_than_the_suffix() -> None:
    """Without anything channel-local, nothing is claimed."""
    torch.manual_seed(0)
    program = compile_suffix(detector_of(Net(["last"], "pool", False), SIZE), "tap")
    assert "on the intervened unit alone: nothing" in program.explain()
    assert program.cost.program == program.cost.suffix
