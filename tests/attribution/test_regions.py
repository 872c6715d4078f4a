"""Regions of faces: exact in the lab, by landmarks elsewhere, and how well the two agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from probe.attribution.regions import BY_DRAWING, BY_LANDMARKS, face_regions, landmark_regions
from probe.datasets import Dataset, concatenate
from probe.datasets.faces import FINDERS
from probe.datasets.lab import Clip, make
from probe.datasets.lab.rendering import FACE_REGIONS
from probe.errors import DatasetError, UnknownNameError
from tests.attribution.mapping import table_of

POINTS = np.array([[44.0, 50.0], [84, 50], [64, 74], [48, 92], [80, 92]])


@pytest.fixture(scope="session")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two datasets of three videos each, 48 images."""
    names = ["deepfakes", "neuraltextures"]
    where = tmp_path_factory.mktemp("lab") / "lab"
    return make(where, datasets=names, counts={"test": 24}, seed=3, n_workers=1)


def center(labels: np.ndarray, code: int) -> np.ndarray:
    """Centroid (x, y) of a region."""
    return np.argwhere(labels == code).mean(axis=0)[::-1] + 0.5


def test_lab_regions_lie_where_landmarks_are_found(small_lab: Dataset) -> None:
    """YuNet knows nothing of how heads are drawn; sides are 128 pixels, eyes some 30 apart."""
    regions, finder = face_regions(small_lab), FINDERS["yunet"]()
    assert regions.source == "lab" and regions.names == BY_DRAWING
    away = {"mouth": [], "nose": [], "eyes": []}
    for i in range(len(small_lab)):
        faces = finder.find(small_lab.image(i))
        assert len(faces) == 1
        left, right, tip, *corners = np.array(faces[0].points)
        found = regions.find(i, 128, 128)
        assert found is not None
        wanted = {"mouth": np.mean(corners, axis=0), "nose": tip, "eyes": (left + right) / 2}
        for name, point in wanted.items():
            away[name].append(center(found, BY_DRAWING.index(name)) - point)
    for name, shifts in away.items():
        # The nose's middle lies above its tip, the lips' middle below their corners.
        dx, dy = np.mean(shifts, axis=0)
        assert abs(dx) < 3 and -12 < dy < 7, name


def test_all_of_the_picture_is_one_region_each(small_lab: Dataset) -> None:
    found = face_regions(small_lab).find(1, 128, 128)
    assert found is not None and set(np.unique(found)) <= set(range(len(BY_DRAWING)))
    heights = {name: center(found, code)[1] for code, name in enumerate(BY_DRAWING[:-1])}
    order = ["hair", "forehead", "brows", "eyes", "nose", "mouth", "neck"]
    assert sorted(order, key=heights.__getitem__) == order
    assert heights["nose"] < heights["chin"] < heights["neck"]
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == BY_DRAWING.index("background")).all()


def test_fakes_have_the_regions_of_the_forged_head() -> None:
    """A swapped face has its own mouth; outside the mask all is as in the real frame."""
    clip = Clip("deepfakes", "test", 0, 4, seed=3)
    real, fake = clip.regions(0), clip.regions(0, fake=True)
    mask = clip.frame(0).mask > 0
    assert (real != fake).any() and (real == fake)[~mask].all()
    none = clip.regions(0, fake=True, doses={"identity": 0.0})
    np.testing.assert_array_equal(none, real)
    # Where the identity alone is swapped, whole, the mask's inside is the other rendering.
    mouth = FACE_REGIONS.index("mouth")
    assert not np.array_equal(real == mouth, fake == mouth)
    same = Clip("neuraltextures", "test", 0, 4, seed=3)
    np.testing.assert_array_equal(same.regions(1), same.regions(1, fake=True))


def test_clips_of_a_plan_are_those_on_disk(small_lab: Dataset, tmp_path: Path) -> None:
    """With fewer identities than videos too: the image drawn again is the image on disk."""
    few = make(
        tmp_path / "few",
        datasets=["deepfakes"],
        identities=6,
        counts={"val": 8, "test": 32},
        seed=1,
        size=64,
        n_workers=1,
    )
    for data in (small_lab, few):
        for i in range(0, len(data), 5):
            row = data.samples.table.iloc[i]
            video = int(str(row["video"]).split("-")[1])
            clip = Clip.of_plan(data.card["plan"], row["dataset"], row["split"], video)
            frame = clip.frame(int(row["frame"]))
            again = frame.fake if row["label"] else frame.real
            np.testing.assert_array_equal(data.image(i), again)


def test_another_labs_images_are_refused(small_lab: Dataset) -> None:
    other = {**small_lab.card, "plan": {**small_lab.card["plan"], "seed": 4}}
    with pytest.raises(DatasetError, match="differs from the image on disk"):
        face_regions(replace(small_lab, card=other))
    with pytest.raises(DatasetError, match="does not say that the lab made it"):
        face_regions(replace(small_lab, card={}), "lab")
    with pytest.raises(UnknownNameError, match="auto, lab, landmarks"):
        face_regions(small_lab, "guess")


def test_joined_parts_of_one_lab_are_still_the_lab(small_lab: Dataset) -> None:
    parts = [replace(one, name=name) for name, one in small_lab.by_dataset().items()]
    joined = concatenate(parts, "both")
    assert face_regions(joined).source == "lab"
    first, again = (face_regions(d).find(30, 128, 128) for d in (small_lab, joined))
    np.testing.assert_array_equal(first, again)
    assert face_regions(replace(small_lab, card={})).source == "landmarks"


def test_regions_follow_the_size_of_maps(small_lab: Dataset) -> None:
    large, small = (face_regions(small_lab).find(2, n, n) for n in (128, 64))
    assert large is not None and small is not None and small.shape == (64, 64)
    areas = [np.bincount(one.ravel(), minlength=11) / one.size for one in (large, small)]
    np.testing.assert_allclose(*areas, atol=0.01)


def test_landmark_regions_agree_with_the_exact_ones(small_lab: Dataset) -> None:
    """They are rough: this holds them to what the docs say of them."""
    exact, rough = face_regions(small_lab), face_regions(small_lab, "landmarks")
    both, either = np.zeros(7), np.zeros(7)
    for i in range(0, len(small_lab), 3):
        one, other = exact.find(i, 128, 128), rough.find(i, 128, 128)
        assert one is not None and other is not None
        for k, name in enumerate(BY_LANDMARKS[:-1]):
            a, b = one == BY_DRAWING.index(name), other == BY_LANDMARKS.index(name)
            both[k] += (a & b).sum()
            either[k] += (a | b).sum()
    assert (both / either > 0.25).all() and both.sum() / either.sum() > 0.5


def test_landmark_regions_by_hand() -> None:
    found = landmark_regions(POINTS, 128, 128)
    assert found is not None
    at = {
        name: found[y, x]
        for name, (x, y) in {
            "eyes": (44, 50),
            "nose": (64, 72),
            "mouth": (64, 95),
            "cheeks": (36, 72),
            "forehead": (64, 20),
            "chin": (64, 112),
            "outside": (2, 2),
            "brows": (84, 34),
        }.items()
    }
    assert at == {name: BY_LANDMARKS.index(name) for name in at}
    np.testing.assert_allclose(center(found, BY_LANDMARKS.index("eyes")), [64, 50], atol=0.6)
    assert landmark_regions(np.ones((5, 2)), 128, 128) is None


@settings(max_examples=20, deadline=None)
@given(st.floats(0.6, 1.4), st.floats(-0.4, 0.4), st.floats(-10, 10), st.floats(-10, 10))
def test_landmark_regions_turn_and_grow_with_the_face(
    scale: float, angle: float, dx: float, dy: float
) -> None:
    """A pixel's region is that of the same place on the face, wherever the face lies."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([64 + dx, 64 + dy]) - turn @ [64, 64]
    moved = landmark_regions(POINTS @ turn.T + shift, 128, 128)
    first = landmark_regions(POINTS, 128, 128)
    assert first is not None and moved is not None
    rng = np.random.default_rng(0)
    where = rng.uniform(10, 118, (400, 2))
    there = where @ turn.T + shift
    assume(((there > 0) & (there < 128)).all(axis=1).sum() > 50)
    inside = ((there > 0) & (there < 128)).all(axis=1)
    (x, y), (u, v) = (np.floor(one[inside]).astype(int).T for one in (where, there))
    # Pixels on an edge may fall on either side of it.
    assert (first[y, x] == moved[v, u]).mean() > 0.85


def test_images_without_a_face_and_of_any_shape(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    blank = table_of(tmp_path / "a", ["one"], 1, image=noise)
    assert face_regions(blank).find(0, 64, 64) is None
    frame = Clip("deepfakes", "test", 0, 4, seed=3).frame(0).real
    wide = np.asarray(Image.fromarray(frame).resize((150, 128)))
    data = table_of(tmp_path / "b", ["one"], 1, image=wide)
    square = table_of(tmp_path / "c", ["one"], 1, image=frame)
    one, other = (face_regions(d).find(0, 128, 128) for d in (data, square))
    assert one is not None and other is not None
    assert (one == other).mean() > 0.9
