"""Reducers and units against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from probe.errors import TraceError, UnknownNameError
from probe.hooks import REDUCERS, Recorder, Tap
from probe.hooks.capture import set_unit, unit_axis
from tests.hooks.toys import InPlace, detector_of

MAP = torch.randn(2, 5, 3, 3, generator=torch.Generator().manual_seed(1))

PLAIN = {
    "mean": lambda values: sum(values) / len(values),
    "max": max,
    "rms": lambda values: math.sqrt(sum(v * v for v in values) / len(values)),
}


def plain(reducer: str, value: torch.Tensor) -> torch.Tensor:
    """Reduce a map (n, channel, y, x) value by value."""
    rows = [[PLAIN[reducer](channel.flatten().tolist()) for channel in one] for one in value]
    return torch.tensor(rows)


@pytest.mark.parametrize("reducer", PLAIN)
@pytest.mark.parametrize("layout", ["first", "last", "tokens", "dense"])
def test_reducers_equal_plain_loops(reducer: str, layout: str) -> None:
    value = {
        "first": MAP,
        "last": MAP.permute(0, 2, 3, 1),
        "tokens": MAP.flatten(2).transpose(1, 2),
        "dense": MAP[:, :, 0, 0],
    }[layout]
    wanted = plain(reducer, MAP[:, :, :1, :1] if layout == "dense" else MAP)
    torch.testing.assert_close(Tap("x", reducer).apply(value), wanted)


def test_full_keeps_every_position_of_a_unit_together() -> None:
    assert torch.equal(Tap("x", "full").apply(MAP), MAP.flatten(1))
    assert torch.equal(Tap("x", "full").apply(MAP.permute(0, 2, 3, 1)), MAP.flatten(1))


def test_every_reducer_is_held_against_a_loop() -> None:
    assert set(REDUCERS) == {*PLAIN, "full"}


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 7), 1), ((2, 9, 7), 2), ((2, 7, 4, 4), 1), ((2, 4, 4, 7), 3), ((2, 4, 4, 4), 1)],
)
def test_axis_of_units(shape: tuple[int, ...], axis: int) -> None:
    assert unit_axis(torch.zeros(shape)) == axis


def test_an_axis_can_be_given_where_the_shape_is_ambiguous() -> None:
    value = MAP[:, :3]
    found = Tap("x", "mean", axis=3).apply(value)
    torch.testing.assert_close(found, value.mean((1, 2)))


def test_a_value_without_units_is_an_error() -> None:
    with pytest.raises(TraceError, match=r"shape \(2,\) has no unit axis"):
        unit_axis(torch.zeros(2))


def test_an_unknown_reducer_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Reducer 'mean2' is not known.*'mean'"):
        Recorder.of(detector_of(InPlace()), [Tap("conv", "mean2")])


def test_set_unit_leaves_its_argument_alone() -> None:
    before = MAP.clone()
    out = set_unit(MAP, 1, torch.tensor([5.0, 6.0]))
    assert torch.equal(MAP, before)
    assert bool((out[0, 1] == 5).all()) and bool((out[1, 1] == 6).all())
    others = [0, 2, 3, 4]
    assert torch.equal(out[:, others], MAP[:, others])
