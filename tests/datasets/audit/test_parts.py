"""The parts of the audit: hashes, pairs, qualities, words of paths."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from probe.datasets.audit.consistency import said_by_path
from probe.datasets.audit.duplicates import near_pairs
from probe.datasets.audit.facts import jpeg_quality


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 40),
    sides=st.integers(1, 4),
    radius=st.integers(0, 12),
    seed=st.integers(0, 1000),
)
def test_near_pairs_are_those_of_brute_force(n: int, sides: int, radius: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centers = rng.integers(0, 2, (5, 64))
    bits = centers[rng.integers(0, 5, n)] ^ (rng.random((n, 64)) < rng.uniform(0, 0.1))
    hashes = (
        np.packbits(bits.astype(np.uint8), axis=1).reshape(n, 8).copy().view(np.uint64).reshape(n)
    )
    where = rng.integers(0, sides, n)
    wanted = [
        (a, b)
        for a in range(n)
        for b in range(a + 1, n)
        if where[a] != where[b] and (bits[a] != bits[b]).sum() <= radius
    ]
    assert [tuple(pair) for pair in near_pairs(hashes, where, radius).tolist()] == wanted


def test_near_pairs_of_many_equal_hashes_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.datasets.audit.duplicates.BLOCK", 7)
    hashes = np.zeros(12, np.uint64)
    sides = np.array([0, 1, 2] * 4)
    pairs = near_pairs(hashes, sides, 4)
    assert len(pairs) == len(np.unique(pairs, axis=0)) == 3 * 4 * 4
    assert (sides[pairs[:, 0]] != sides[pairs[:, 1]]).all()


@pytest.mark.parametrize("quality", [5, 20, 40, 50, 60, 75, 85, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_read_off_its_tables(quality: int) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        assert jpeg_quality(image.quantization[0]) == quality


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("train/real/1.png", 0),
        ("train/fake/1.png", 1),
        ("Celeb-real/id0_0000/1.png", 0),
        ("Celeb-synthesis/id0_id1_0000/1.png", 1),
        ("crops/deepfakes/000_003/1.png", 1),
        ("deepfakes/test/real/1.png", 0),
        ("crops/youtube/000/1.png", None),
        ("really/refaked/1.png", None),
        ("images/face/realism.png", None),
    ],
)
def test_a_path_says_what_an_image_is(path: str, label: int | None) -> None:
    assert said_by_path(path) == label
