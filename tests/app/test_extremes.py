"""Images at both ends of a unit, thumbnails and outlines, and names that never become paths."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.images import extremes, outline, thumbnail
from app.run import Run
from probe.errors import ImageError, StoreError, UnknownNameError
from probe.images import token_of
from tests.app.making import DATASETS, DETECTORS, IDENTITIES, LAYER, UNITS, MadeRun


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.mark.parametrize("unit", [0, 7, UNITS - 1])
def test_extremes_are_the_ends_of_the_activations_one_image_a_video(
    made: MadeRun, run: Run, unit: int
) -> None:
    found = extremes(run, DETECTORS[1], LAYER, unit, each=4)
    assert [one.dataset for one in found] == list(DATASETS)
    table = made.data.samples.table.assign(
        activation=made.activations[DETECTORS[1]][:, unit], logit=made.logits[DETECTORS[1]]
    )
    for one in found:
        mine = table[table["dataset"] == one.dataset]
        highest = mine.groupby("video")["activation"].max().sort_values(ascending=False)
        lowest = mine.groupby("video")["activation"].min().sort_values()
        assert [s.activation for s in one.most] == pytest.approx(list(highest[:4]))
        assert [s.activation for s in one.least] == pytest.approx(list(lowest[:4]))
        assert one.n_videos == 2 * IDENTITIES
        for shown in (*one.most, *one.least):
            row = table[table["sample"] == shown.sample].iloc[0]
            assert shown.p_fake == pytest.approx(1 / (1 + np.exp(-row["logit"])), abs=1e-6)
            assert (shown.label, shown.method) == (row["label"], row["method"])
            assert shown.has_mask == bool(row["label"])
            assert shown.token == token_of(shown.sample)


def test_more_images_than_there_are_are_all_there_are(run: Run) -> None:
    one = extremes(run, DETECTORS[0], LAYER, 0, each=1000)[0]
    assert len(one.most) == len(one.least) == 2 * IDENTITIES


def test_a_unit_that_was_not_recorded_is_refused(run: Run) -> None:
    with pytest.raises(StoreError, match=f"unit {UNITS} is not among them"):
        extremes(run, DETECTORS[0], LAYER, UNITS, each=2)


def test_a_thumbnail_is_the_image_and_the_outline_its_masks_edge(made: MadeRun) -> None:
    table = made.data.samples.table
    fake = int(table.index[table["label"] == 1][0])
    run = Run(made.folder)
    picture = Image.open(io.BytesIO(thumbnail(run, fake)))
    assert picture.size == (16, 16) and picture.format == "WEBP"
    drawn = outline(run, fake)
    assert drawn is not None
    alpha = np.asarray(Image.open(io.BytesIO(drawn)))[..., 3] > 0
    side = len(alpha)
    # The mask is the middle half: nothing in its heart, nothing in the corner, a line between.
    assert not alpha[side // 2, side // 2] and not alpha[2, 2]
    assert alpha[side // 4 - 6 : side // 4 + 6, side // 2].any()
    real = int(table.index[table["label"] == 0][0])
    assert outline(run, real) is None


def test_an_image_that_cannot_be_read_is_an_error(own: MadeRun) -> None:
    file = own.data.root / own.data.samples.table["path"].iloc[0]
    file.write_bytes(b"no image")
    with pytest.raises(ImageError, match="cannot be decoded"):
        thumbnail(Run(own.folder), 0)


@pytest.mark.parametrize("label", ["../..", "/etc/passwd", "", "meso4", "..%2f"])
def test_a_detector_that_the_manifest_does_not_name_never_becomes_a_path(
    made: MadeRun, run: Run, label: str
) -> None:
    for read in (run.neurons, run.universality, run.store):
        with pytest.raises(UnknownNameError):
            read(label)


@given(st.text(max_size=40))
def test_tokens_are_hexadecimal_and_differ(name: str) -> None:
    token = token_of(name)
    assert token.isascii() and token.isalnum() and not Path(token).suffix
    assert token != token_of(name + "x")
