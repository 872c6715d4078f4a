"""Suffix programs equal a forward hook that overwrites the unit, on random small networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probe.detectors import Detector
from probe.detectors.detector import FakeLogit
from probe.hooks import (
    AffineProgram,
    LocalProgram,
    SuffixProgram,
    compile_suffix,
    intervene,
    trace,
)
from tests.hooks.toys import detector_of, overwritten

SIZE = 4


class Chain(nn.Module):
    """A dense tap, then layers in a row, then a one- or two-way head."""

    def __init__(self, width: int, layers: list[nn.Module], outputs: int) -> None:
        super().__init__()
        self.tap = nn.Linear(3 * SIZE * SIZE, width)
        self.layers = nn.Sequential(*layers)
        last = [layer.out_features for layer in layers if isinstance(layer, nn.Linear)]
        self.head = nn.Linear(last[-1] if last else width, outputs, bias=outputs == 1)
        self.logit = FakeLogit(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.logit(self.head(self.layers(self.tap(x.flatten(1)))))


class Block(nn.Module):
    """Two convolutions, joined with their input by a sum or a concatenation."""

    def __init__(self, width: int, join: str, inplace: bool) -> None:
        super().__init__()
        self.join = join
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=inplace)
        self.second = nn.Conv2d(width, width, 1)
        self.fuse = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.relu(self.norm(self.first(x))))
        return x + y if self.join == "sum" else self.fuse(torch.cat([x, y], 1))


class Maps(nn.Module):
    """Blocks on maps; the head may ask the images how many they are."""

    def __init__(self, width: int, joins: list[str], inplace: bool, sized: bool) -> None:
        super().__init__()
        self.sized = sized
        self.stem = nn.Conv2d(3, width, 1)
        self.start = nn.ReLU(inplace=inplace)
        self.blocks = nn.ModuleList(Block(width, join, inplace) for join in joins)
        self.head = nn.Linear(width, 2)
        self.logit = FakeLogit(2)

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        x = self.start(stem)
        for block in self.blocks:
            x = block(x)
        pooled = (x + stem).mean((2, 3))  # the stem is what an in-place ReLU has left of it
        if self.sized:
            pooled = pooled.view(images.shape[0], -1)
        return self.logit(self.head(pooled))


def settled(module: nn.Module, seed: int) -> Detector:
    """Draw weights and running statistics, so that no BatchNorm is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for value in [*module.parameters(), *module.buffers()]:
        if value.is_floating_point():
            value.data = torch.rand(value.shape, generator=generator) + 0.5
    for weight in module.parameters():
        weight.data -= 1.0
    return detector_of(module, SIZE)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Detector, bool]:
    """Draw a chain and whether all behind its tap is affine."""
    width = first = draw(st.integers(1, 5))
    layers: list[nn.Module] = []
    kinds = draw(st.lists(st.sampled_from(["linear", "norm", "plain", "drop", "relu"]), max_size=4))
    for kind in kinds:
        if kind == "linear":
            out = draw(st.integers(1, 4))
            layers.append(nn.Linear(width, out, bias=draw(st.booleans())))
            width = out
        else:
            layers.append(
                {
                    "norm": lambda width=width: nn.BatchNorm1d(width),
                    "plain": lambda width=width: nn.BatchNorm1d(width, affine=False),
                    "drop": lambda: nn.Dropout(0.5),
                    "relu": lambda: nn.ReLU(),
                }[kind]()
            )
    module = Chain(first, layers, draw(st.sampled_from([1, 2])))
    return settled(module, draw(st.integers(0, 99))), "relu" not in kinds


@st.composite
def maps(draw: st.DrawFn) -> tuple[Detector, str]:
    """Draw a network on maps and one of its layers."""
    joins = draw(st.lists(st.sampled_from(["sum", "concatenation"]), min_size=1, max_size=2))
    module = Maps(draw(st.integers(1, 3)), joins, draw(st.booleans()), draw(st.booleans()))
    detector = settled(module, draw(st.integers(0, 99)))
    layers = [name for name in trace(detector).layers if name not in ("head", "logit")]
    return detector, draw(st.sampled_from(layers))


def images_of(n: int, seed: int) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def by_hook(detector: Detector, layer: str, images: Tensor, values: np.ndarray) -> np.ndarray:
    """Run everything again for every unit and value."""
    out = np.empty((len(images), *values.shape), dtype=np.float32)
    for unit, value in np.ndindex(*values.shape):
        with overwritten(detector, layer, {unit: float(values[unit, value])}):
            out[:, unit, value] = detector.logits(images)
    return out


def check(
    program: SuffixProgram, detector: Detector, layer: str, n: int, v: int, seed: int
) -> None:
    images = images_of(n, seed)
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (program.units, v))
    wanted = by_hook(detector, layer, images, values)
    state = program.state(images)
    close = {"rtol": 1e-4, "atol": 2e-4}
    for _ in range(2):  # what a sweep has used has to be as it was
        np.testing.assert_allclose(program.sweep(state, values), wanted, **close)
    summed = wanted.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(program.sums(state, values, False), summed, **close)
    likely = (1 / (1 + np.exp(-wanted.astype(np.float64)))).sum(axis=0)
    np.testing.assert_allclose(program.sums(state, values, True), likely, **close)


COUNTS = st.integers(1, 5), st.integers(1, 3), st.integers(0, 9)


@settings(max_examples=60, deadline=None)
@given(chains(), *COUNTS)
def test_chains_equal_the_hook(chain: tuple[Detector, bool], n: int, v: int, seed: int) -> None:
    detector, affine = chain
    program = compile_suffix(detector, "tap")
    assert isinstance(program, AffineProgram if affine else LocalProgram)
    check(program, detector, "tap", n, v, seed)


@settings(max_examples=60, deadline=None)
@given(maps(), *COUNTS, st.sampled_from([1, 6, 256]))
def test_maps_equal_the_hook(
    drawn: tuple[Detector, str], n: int, v: int, seed: int, rows: int
) -> None:
    detector, layer = drawn
    program = compile_suffix(detector, layer)
    if isinstance(program, LocalProgram):
        program = replace(program, rows=rows)
    check(program, detector, layer, n, v, seed)


@settings(max_examples=40, deadline=None)
@given(maps(), st.integers(1, 4), st.integers(0, 9), st.data())
def test_intervening_equals_the_hook(
    drawn: tuple[Detector, str], n: int, seed: int, data: st.DataObject
) -> None:
    detector, layer = drawn
    width = compile_suffix(detector, layer).units
    units = data.draw(
        st.dictionaries(st.integers(0, width - 1), st.floats(-3, 3, width=32), max_size=3)
    )
    images = images_of(n, seed)
    found = intervene(detector, images, layer, units)
    with overwritten(detector, layer, units):
        np.testing.assert_allclose(found, detector.logits(images), rtol=1e-5, atol=1e-5)
