"""Squares and turned squares, against plain loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets.cutting import TEMPLATE, Similarity, Square, align, crop_square
from probe.datasets.faces import Face

boxes = st.builds(
    lambda x, y, w, h: Face(float(x), float(y), float(w), float(h), 0.9),
    st.integers(-5, 40),
    st.integers(-5, 40),
    st.integers(1, 30),
    st.integers(1, 30),
)


@given(face=boxes, margin=st.floats(1, 3), width=st.integers(8, 60), height=st.integers(8, 60))
def test_crops_lie_inside_and_centered_where_they_can(
    face: Face, margin: float, width: int, height: int
) -> None:
    square = crop_square(face, margin, width, height)
    assert square.x >= 0 and square.y >= 0
    assert square.x + square.side <= width and square.y + square.side <= height
    wanted = margin * max(face.width, face.height)
    assert square.side == min(width, height) or square.side == pytest.approx(wanted, abs=0.51)
    center = face.x + face.width / 2
    if square.side < min(width, height) and wanted / 2 + 1 < center < width - wanted / 2 - 1:
        # Rounded twice: the side to whole pixels, then the edge.
        assert square.x + square.side / 2 == pytest.approx(center, abs=0.51)
    elif center < 0:
        assert square.x == 0


def test_cut_by_hand() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    square = Square(4, 2, 8)
    part = image[2:10, 4:12]
    np.testing.assert_array_equal(square.cut(image, 8), part)
    means = part.reshape(4, 2, 4, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(square.cut(image, 4), means, atol=0.51)
    assert square.cut(image, 16).shape == (16, 16, 3)


def turned(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    """Points of the template, turned, scaled and shifted as in a frame."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return TEMPLATE @ turn.T * scale + [x, y]


@given(
    angle=st.floats(-1.5, 1.5),
    scale=st.floats(20, 400),
    x=st.floats(-100, 800),
    y=st.floats(-100, 800),
    margin=st.floats(1, 2),
)
def test_aligned_landmarks_land_on_the_template(
    angle: float, scale: float, x: float, y: float, margin: float
) -> None:
    points = turned(angle, scale, x, y)
    found = align([tuple(p) for p in points], margin)
    landed = [
        (found.a * px - found.b * py + found.u, found.b * px + found.a * py + found.v)
        for px, py in points
    ]
    wanted = (TEMPLATE + (margin - 1) / 2) / margin
    np.testing.assert_allclose(landed, wanted, atol=1e-6)
    assert found.side == pytest.approx(scale * margin, rel=1e-6)


def test_alignment_is_the_least_squares_fit() -> None:
    """Noisy landmarks: no nearby transform does better."""
    rng = np.random.default_rng(0)
    points = turned(0.3, 90, 50, 40) + rng.normal(0, 3, (5, 2))
    best = align([tuple(p) for p in points], 1.0)

    def loss(a: float, b: float, u: float, v: float) -> float:
        x, y = points.T
        landed = np.column_stack([a * x - b * y + u, b * x + a * y + v])
        return float(((landed - TEMPLATE) ** 2).sum())

    least = loss(best.a, best.b, best.u, best.v)
    for step in rng.normal(0, 1e-3, (200, 4)):
        assert loss(*(np.array([best.a, best.b, best.u, best.v]) + step)) >= least


def test_an_upright_similarity_cuts_what_the_square_cuts() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    same = Similarity(1 / 16, 0, -10 / 16, -4 / 16)
    np.testing.assert_array_equal(same.cut(image, 16), image[4:20, 10:26])
    assert same.side == 16 and same.outside(50, 40) == 0
    np.testing.assert_allclose(same.corners(), [[10, 4], [26, 4], [26, 20], [10, 20]])


def test_a_quarter_turn_by_hand() -> None:
    """The upper left of the crop is the lower left of the frame."""
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    turn = Similarity(0, 1 / 8, 1, 0)
    np.testing.assert_array_equal(turn.cut(image, 8), np.rot90(image, -1))


@given(angle=st.floats(-3, 3), x=st.floats(-30, 60), y=st.floats(-30, 60))
def test_the_share_outside_is_counted(angle: float, x: float, y: float) -> None:
    """Against a grid of points of the crop, asked one by one."""
    side, width, height = 30, 40, 50
    a, b = np.cos(angle) / side, np.sin(angle) / side
    region = Similarity(a, b, -(a * x - b * y), -(b * x + a * y))
    grid = (np.indices((60, 60)).reshape(2, -1).T + 0.5) / 60
    inverse = np.linalg.inv([[a, -b], [b, a]])
    frame = (grid - [region.u, region.v]) @ inverse.T
    inside = ((frame >= 0) & (frame <= [width, height])).all(axis=1)
    assert region.outside(width, height) == pytest.approx(1 - inside.mean(), abs=0.03)


def test_black_outside_the_frame() -> None:
    image = np.full((20, 20, 3), 200, np.uint8)
    region = Similarity(1 / 20, 0, 0.5, 0)
    out = region.cut(image, 20)
    assert (out[:, :10] == 0).all() and (out[:, 10:] == 200).all()
    assert region.outside(20, 20) == pytest.approx(0.5)
