"""Names that croppers write, and words for classes and splits."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets.layouts.names import Reading, read_names
from probe.datasets.layouts.words import class_word, split_word
from probe.schema import FAKE, REAL

CLIPS = ("kjhqwe", "mnbzxcv", "poiuyt")


@pytest.mark.parametrize(
    "form",
    [
        "{clip}_{frame:04d}",
        "{clip}{frame:05d}",
        "{clip}-{frame:03d}-{face:02d}",
        "{clip}_{frame}_{face}",
        "{clip}.{frame}.{face}",
        "{clip}_frame{frame}_face{face}",
        "{clip}_face_{face}_frame_{frame}",
        "{clip}-frame-{frame}",
        "{clip} ({frame})",
        "{clip}@{frame}_crop",
        "{clip}_{frame}_aligned",
        "{clip}_{frame}_{face}_224x224",
        "{clip}.mp4_frame_{frame}.jpg_face_{face}",
        "{clip}_f{frame}_n{face}",
        "{clip}_det_{face:02d}_{frame:06d}",
        "{clip}_{frame}_0.93",
        "{clip}_{frame}_11_48_120_133",
        "{frame:05d}_{clip}",
        "frame{frame}_{clip}",
        "{clip}_{frame}_left",
        "{clip}_{frame}ms",
        "{clip}_frame_{frame}_of_100",
    ],
)
@pytest.mark.parametrize("step", [1, 7])
def test_croppers_names_tell_video_frame_and_face(form: str, step: int) -> None:
    frames = range(0, 4 * step, step)
    names = {
        form.format(clip=clip, frame=frame, face=0): (clip, frame)
        for clip, frame in itertools.product(CLIPS, frames)
    }
    found = {name: (one.video, one.frame) for name, one in read_names(names).items()}
    assert found == names


@pytest.mark.parametrize(
    ("names", "videos"),
    [
        # Two persons in some frames of each clip.
        (["aaa_3_0", "aaa_3_1", "aaa_9_0", "bbb_3_0", "bbb_6_0"], {"aaa", "bbb"}),
        # The face before the frame.
        (["aaa_0_30", "aaa_1_30", "aaa_0_60", "bbb_0_30"], {"aaa", "bbb"}),
        (["000_003_0", "000_003_14", "001_870_14"], {"000_003", "001_870"}),
        (["000_003_14_0", "000_003_28_0", "001_870_14_0"], {"000_003", "001_870"}),
        (["id3_id4_0007_30_0", "id3_id4_0008_30_0"], {"id3_id4_0007", "id3_id4_0008"}),
        (["01_02__talk__ABCDEF12_7_0", "01_02__talk__ABCDEF12_9_0"], {"01_02__talk__ABCDEF12"}),
        # Numbers, generic words and a word that all share tell no video.
        (["00012", "00013"], {""}),
        (["IMG_0012", "frame7", "seed0001", "real_00003"], {""}),
        (["zorb_0001", "zorb_0002"], {""}),
        # A code with a wide range is no face.
        (["easy_12_0011", "easy_12_1100", "hard_7_0100"], {"easy_12", "hard_7"}),
    ],
)
def test_which_images_are_of_one_video(names: list[str], videos: set[str]) -> None:
    assert {one.video for one in read_names(names).values()} == videos


@given(
    st.lists(
        st.sampled_from(["abcx", "bcdy", "q7", "id3_0004", "012_345"]), min_size=2, unique=True
    ),
    st.sets(st.integers(0, 900), min_size=2, max_size=6),
    st.sampled_from(["_", "-", "."]),
)
def test_frames_of_one_video_stay_together(clips: list[str], frames: set[int], sep: str) -> None:
    names = {f"{clip}{sep}{frame}{sep}0": clip for clip in clips for frame in frames}
    videos = defaultdict(set)
    for name, one in read_names(names).items():
        videos[names[name]].add(one.video)
    assert all(len(found) == 1 for found in videos.values())


@given(st.lists(st.text(alphabet="ab0f_- .19()é", max_size=14), max_size=12))
def test_any_names_are_read(names: list[str]) -> None:
    found = read_names(names)
    assert set(found) == set(names)
    assert all(isinstance(one, Reading) for one in found.values())


@pytest.mark.parametrize(
    ("name", "label", "plain"),
    [
        ("REAL", REAL, True),
        ("1_fake", FAKE, True),
        ("real-faces", REAL, True),
        ("FakeImages", FAKE, True),
        ("training_real", REAL, True),
        ("DF", FAKE, False),
        ("nature", REAL, False),
        ("AI", FAKE, False),
        ("Tampered", FAKE, False),
        ("bona-fide", REAL, False),
        ("ai_generated", FAKE, False),
        ("blendface_fake", FAKE, False),
        ("unaltered", REAL, False),
    ],
)
def test_words_for_classes(name: str, label: int, plain: bool) -> None:
    found = class_word(name)
    assert found is not None and (found.label, found.plain) == (label, plain)


@pytest.mark.parametrize(
    "name", ["real_vs_fake", "fake-and-real", "holiday", "0", "fake_detection", "Real-ESRGAN", ""]
)
def test_names_that_say_no_class(name: str) -> None:
    assert class_word(name) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Training", "train"),
        ("valid", "val"),
        ("dev", "val"),
        ("test_set", "test"),
        ("eval", "eval"),
        ("fake_test", "test"),
        ("dfdc_train_part_0", ""),
        ("latest", ""),
        ("train000", ""),
    ],
)
def test_words_for_splits(name: str, split: str) -> None:
    assert split_word(name) == split
