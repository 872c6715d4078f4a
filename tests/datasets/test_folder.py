from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets.ingestion import plan_ingest
from probe.datasets.layouts import ImageFiles, Inventory, LayoutOptions, VideoEntry, VideoFile
from probe.datasets.layouts.files import without_frame
from probe.datasets.layouts.folder import FOLDER
from probe.errors import DatasetError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def read(root: Path, pattern: str | None = None) -> Inventory:
    return FOLDER.inventory(root, LayoutOptions(video_pattern=pattern))


def rows(found: Inventory) -> dict[str, tuple[int, str, list[str]]]:
    return {one.key: (one.label, one.split, names(one)) for one in found.videos}


def names(one: VideoEntry) -> list[str]:
    assert isinstance(one.media, ImageFiles)
    return [file.name for file in one.media.files]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/real/v1/0.png", ("folder", "train", 0)),
        ("real/train/v1/0.png", ("folder", "train", 0)),
        ("Validation/1_fake/v1/0.png", ("folder", "val", 1)),
        ("dev/Pristine/v1/0.png", ("folder", "val", 0)),
        ("CELEB/testing/Manipulated/v1/0.png", ("celeb", "test", 1)),
        ("test/CELEB/synthesis/v1/0.png", ("celeb", "test", 1)),
        ("a/b/fake/v1/0.png", ("a-b", "", 1)),
        # A dataset may be called after its fakes, and videos after anything.
        ("Deepfakes/train/real/v1/0.png", ("deepfakes", "train", 0)),
        ("Deepfakes/train/fake/v1/0.png", ("deepfakes", "train", 1)),
        ("fake/deepfakes/v1/0.png", ("folder", "", 1)),
    ],
)
def test_folders_say_dataset_split_and_class(
    tmp_path: Path, path: str, expected: tuple[str, str, int]
) -> None:
    touch(tmp_path, path)
    (one,) = read(tmp_path).videos
    assert (one.dataset, one.split, one.label) == expected


def test_both_classes_are_needed_to_be_recognized(tmp_path: Path) -> None:
    touch(tmp_path, "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4")
    assert FOLDER.recognize(tmp_path) is None
    touch(tmp_path, "b/test/Real/0.png")
    assert FOLDER.recognize(tmp_path) == "it holds b/test/Real and manipulated_sequences/Deepfakes"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("holiday/0.png", "no folder above it says real or fake"),
        ("0.png", "no folder above it says real or fake"),
        ("fake/real/0.png", "folders above it say both real and fake"),
        ("real/manipulated/0.png", "folders above it say both real and fake"),
        ("train/real/test/0.png", "folders above it name several splits"),
        ("real/notes.txt", "it is neither an image nor a video"),
    ],
)
def test_what_the_folders_do_not_say_is_left_out(tmp_path: Path, path: str, why: str) -> None:
    touch(tmp_path, path, "good/real/0.png")
    found = read(tmp_path)
    assert dict(found.left_out) == {path: why}
    assert len(found.videos) == 1


def test_images_in_the_class_folder_are_grouped_by_name(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"fake/{n}" for n in ("id0_0001_00023.png", "id0_0001_00003.png", "000_003_12.jpg")),
        *(f"fake/{n}" for n in ("00017.png", "img_7.png", "img_8.png", "plain.png")),
    )
    found = read(tmp_path)
    assert rows(found) == {
        "folder/fake/id0_0001": (1, "", ["id0_0001_00003.png", "id0_0001_00023.png"]),
        "folder/fake/000_003": (1, "", ["000_003_12.jpg"]),
        "folder/fake/00017": (1, "", ["00017.png"]),
        "folder/fake/img_7": (1, "", ["img_7.png"]),
        "folder/fake/img_8": (1, "", ["img_8.png"]),
        "folder/fake/plain": (1, "", ["plain.png"]),
    }
    (note,) = found.notes
    assert note.startswith("4 images have no known video") and "video_pattern" in note


def test_folders_below_the_class_are_videos(tmp_path: Path) -> None:
    touch(tmp_path, "real/v1/2.png", "real/v1/10.png", "real/v1/sub/1.png", "real/v2.mp4")
    found = read(tmp_path)
    media = {one.video: one.media for one in found.videos}
    assert media == {
        "real/v1": ImageFiles((tmp_path / "real/v1/2.png", tmp_path / "real/v1/10.png"), (2, 10)),
        "real/v1/sub": ImageFiles((tmp_path / "real/v1/sub/1.png",), (1,)),
        "real/v2": VideoFile(tmp_path / "real/v2.mp4"),
    }
    assert found.notes == ()


def test_one_name_in_several_splits_is_noted(tmp_path: Path) -> None:
    touch(tmp_path, "train/real/v1/0.png", "test/real/v1/0.png", "val/real/v2/0.png")
    assert any(
        "1 names of videos occur in several splits, such as 'v1'" in n for n in read(tmp_path).notes
    )


def test_a_pattern_says_what_belongs_together(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "fake/id0_id1_a-9.png",
        "fake/id0_id1_a-10.png",
        "fake/sub/id2_id0_b-1.png",
        "fake/other.png",
    )
    pattern = r"(?P<video>(?P<identity>id\d+)_(?P<source>id\d+)_\w)-(?P<frame>\d+)"
    found = read(tmp_path, pattern)
    assert dict(found.left_out) == {"fake/other.png": "its path does not match video_pattern"}
    one, two = found.videos
    assert (one.video, one.identity, one.source) == ("fake/id0_id1_a", "id0", "id1")
    assert isinstance(one.media, ImageFiles) and one.media.frames == (9, 10)
    assert two.video == "fake/id2_id0_b"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "is not a regular expression"), ("(?P<frame>.)", "has no group named video")],
)
def test_bad_patterns(tmp_path: Path, pattern: str, words: str) -> None:
    touch(tmp_path, "fake/0.png")
    with pytest.raises(DatasetError, match=words):
        read(tmp_path, pattern)


def test_a_pattern_that_gives_a_video_two_people(tmp_path: Path) -> None:
    touch(tmp_path, "fake/a_v1_0.png", "fake/b_v1_0.png")
    with pytest.raises(DatasetError, match=r"'v1' two identities or sources: \('a', ''\) and"):
        read(tmp_path, r"(?P<identity>\w)_(?P<video>v\d)")


def test_frames_that_stand_twice_are_ordered_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "fake/v1/1.png", "fake/v1/01.png", "fake/v1/0.png")
    (one,) = read(tmp_path).videos
    assert isinstance(one.media, ImageFiles) and one.media.frames == ()
    assert names(one) == ["0.png", "01.png", "1.png"]


def test_odd_names(tmp_path: Path) -> None:
    odd = ["with space.png", "quo'te\".png", "new\nline.png", "ümläut.png", "半.png"]
    touch(tmp_path, *(f"real/{one}" for one in odd))
    (tmp_path / "real/broken.png").symlink_to(tmp_path / "nowhere.png")
    bad = (str(tmp_path) + "/real/").encode() + b"bad\xff.png"
    open(bad, "wb").close()
    found = read(tmp_path)
    assert sorted(file for one in found.videos for file in names(one)) == sorted(odd)
    assert dict(found.left_out) == {
        "real/bad\\udcff.png": "its name is not valid UTF-8, which tables need; rename it",
        "real/broken.png": "it is a broken link or not a regular file",
    }


def test_nothing_that_can_be_taken(tmp_path: Path) -> None:
    touch(tmp_path, "a/0.png")
    with pytest.raises(DatasetError, match=r"no images or videos in folders named real or fake"):
        read(tmp_path)
    assert FOLDER.recognize(tmp_path) is None


@given(st.text(alphabet="ab_-. 019", max_size=12), st.text(alphabet="0123456789", max_size=12))
def test_a_name_without_its_frame(name: str, digits: str) -> None:
    """Frames of one video have one name, and it holds a digit; others keep theirs whole."""
    found = without_frame(name + "_" + digits)
    if found != name + "_" + digits:
        assert 0 < len(digits) <= 9 and any(one.isdigit() for one in found)
        assert found == name.rstrip("_-. ")
        assert without_frame(name + "_7") == found


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        ("df", "real"),
        ("ai", "nature"),
        ("altered", "original"),
        ("Tampered", "Pristine"),
        ("FaceSwap", "youtube"),
        ("1_fake", "0_real"),
        ("training_fake", "training_real"),
        ("generated_images", "authentic_images"),
        ("sd3_fake", "coco_real"),
    ],
)
def test_other_words_for_the_classes(tmp_path: Path, fake: str, real: str) -> None:
    touch(tmp_path, f"{fake}/v1/0.png", f"{real}/v1/0.png")
    found = read(tmp_path)
    assert {one.label for one in found.videos} == {0, 1} and not found.left_out
    assert FOLDER.recognize(tmp_path) is not None


def test_a_dataset_named_after_its_fakes_holds_both_classes(tmp_path: Path) -> None:
    touch(tmp_path, "deepfakes/original/v1/0.png", "deepfakes/altered/v1/0.png")
    found = read(tmp_path)
    assert {(one.dataset, one.label) for one in found.videos} == {
        ("deepfakes", 0),
        ("deepfakes", 1),
    }


def test_one_class_and_unknown_folders_are_refused_with_a_remedy(tmp_path: Path) -> None:
    touch(tmp_path, "real/v1/0.png", "zorbs/v1/0.png", "zorbs/v2/0.png")
    with pytest.raises(
        DatasetError, match=r"real images only, and 2 files .*'zorbs/v1'.*fake_label"
    ):
        plan_ingest("folder", tmp_path)
    plan = plan_ingest("folder", tmp_path, fake_label="Zorbs")
    assert Counter(one.label for one in plan.found.videos) == {0: 1, 1: 2}
    with pytest.raises(DatasetError, match=r"'blorbs' was given, which is no folder of the tree"):
        plan_ingest("folder", tmp_path, fake_label="blorbs")


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "eval"), {"train", "test"}),
        (("train", "eval", "test"), {"train", "val", "test"}),
        (("train", "valid", "evaluation"), {"train", "val", "test"}),
    ],
)
def test_eval_is_val_where_there_is_a_test(
    tmp_path: Path, folders: tuple[str, ...], expected: set[str]
) -> None:
    touch(tmp_path, *(f"{one}/{kind}/v1/0.png" for one in folders for kind in ("real", "fake")))
    found = read(tmp_path)
    assert {one.split for one in found.videos} == expected
    assert any("that are named eval are" in note for note in found.notes)


def test_crops_with_face_numbers_are_grouped_and_said(tmp_path: Path) -> None:
    names = [f"fake/{v}_{f}_0.jpg" for v in ("qwerty", "asdfgh") for f in (0, 15, 30)]
    touch(tmp_path, *names)
    found = read(tmp_path)
    frames = {
        one.video: one.media.frames for one in found.videos if isinstance(one.media, ImageFiles)
    }
    assert frames == {"fake/qwerty": (0, 15, 30), "fake/asdfgh": (0, 15, 30)}
    (note,) = found.notes
    assert "6 names of images were read as <video>, <frame> and <face>" in note


def test_a_folder_of_faces_is_read_by_names(tmp_path: Path) -> None:
    touch(tmp_path, *(f"real/faces/{v}_{f}.jpg" for v in ("010", "020") for f in (1, 2)))
    touch(tmp_path, *(f"real/clip/{v}_{f}.jpg" for v in ("010", "020") for f in (1, 2)))
    assert {one.video for one in read(tmp_path).videos} == {
        "real/faces/010",
        "real/faces/020",
        "real/clip",
    }


def test_videos_of_one_image_are_said(tmp_path: Path) -> None:
    touch(tmp_path, *(f"real/p{n}_{n}.jpg" for n in range(6)))
    assert any(note.startswith("6 of 6 videos have one image") for note in read(tmp_path).notes)


def test_crops_of_known_datasets_name_their_people(tmp_path: Path) -> None:
    reals = [f"real/{v}_{f}.png" for v in ("000", "003") for f in (7, 9)]
    touch(tmp_path, *reals, *(f"fake/000_003_{f}_0.png" for f in (7, 9)))
    found = {one.video: one for one in read(tmp_path).videos}
    fake = found["fake/000_003"]
    assert (fake.identity, fake.source, fake.original) == ("000", "003", "folder/real/000")
    assert found["real/003"].identity == "003"
    # Where one video is named otherwise, the numbers may mean something else.
    touch(tmp_path, "real/holiday_7.png", "real/beach_7.png")
    assert {one.identity for one in read(tmp_path).videos} == {""}
