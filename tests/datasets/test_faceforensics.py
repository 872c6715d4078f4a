from __future__ import annotations

import json
from pathlib import Path

import pytest

from probe.datasets.layouts import Inventory, LayoutOptions, VideoFile
from probe.datasets.layouts.faceforensics import DFD, FACEFORENSICS
from probe.datasets.layouts.files import NO_PART
from probe.errors import DatasetError

YOUTUBE = "original_sequences/youtube/c23/videos"
FAKES = "manipulated_sequences"


def read_faceforensics(root: Path, compression: str) -> Inventory:
    return FACEFORENSICS.inventory(root, LayoutOptions(compression=compression))


def touch(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def write_splits(root: Path, **pairs: list[list[str]]) -> None:
    (root / "splits").mkdir(exist_ok=True)
    for split in ("train", "val", "test"):
        (root / "splits" / f"{split}.json").write_text(json.dumps(pairs.get(split, [])))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of empty files: reading the layout does not open videos."""
    touch(
        tmp_path,
        *(f"{YOUTUBE}/{one}.mp4" for one in ("000", "003", "010", "017", "999")),
        *(f"{FAKES}/Deepfakes/c23/videos/{one}.mp4" for one in ("000_003", "003_000", "000_010")),
        f"{FAKES}/Deepfakes/masks/videos/000_003.mp4",
        f"{FAKES}/NeuralTextures/c23/videos/010_017.mp4",
        f"{FAKES}/NeuralTextures/c40/videos/010_017.mp4",
        f"{FAKES}/FaceShifter/c23/videos/notes.txt",
        f"{FAKES}/DeepFakeDetection/c23/videos/01_02__walk_and_talk__YVGY8LOK.mp4",
        "original_sequences/actors/c23/videos/01__walk_and_talk.mp4",
    )
    write_splits(tmp_path, train=[["000", "003"]], test=[["010", "017"]])
    return tmp_path


def test_every_video_is_labeled(root: Path) -> None:
    found = {one.key: one for one in read_faceforensics(root, "c23").videos}
    assert list(found) == [
        "youtube/000",
        "youtube/003",
        "youtube/010",
        "youtube/017",
        "actors/01__walk_and_talk",
        "deepfakes/000_003",
        "deepfakes/003_000",
        "neuraltextures/010_017",
        "dfd/01_02__walk_and_talk__YVGY8LOK",
    ]
    fake = found["deepfakes/003_000"]
    assert (fake.label, fake.method, fake.split) == (1, "deepfakes", "train")
    assert (fake.identity, fake.source, fake.driver) == ("003", "000", "")
    assert fake.media == VideoFile(root / FAKES / "Deepfakes/c23/videos/003_000.mp4")
    assert fake.original == "youtube/003" and found["deepfakes/000_003"].original == "youtube/000"
    assert found["dfd/01_02__walk_and_talk__YVGY8LOK"].original == "actors/01__walk_and_talk"
    real = found["youtube/010"]
    assert (real.label, real.method, real.split, real.source) == (0, "real", "test", "")


def test_a_reenactment_names_its_driver(root: Path) -> None:
    (one,) = (v for v in read_faceforensics(root, "c23").videos if v.dataset == "neuraltextures")
    assert (one.identity, one.source, one.driver) == ("010", "017", "017")


def test_masks_are_found_where_they_are(root: Path) -> None:
    masks = {one.key: one.masks for one in read_faceforensics(root, "c23").videos}
    file = root / FAKES / "Deepfakes/masks/videos/000_003.mp4"
    assert masks["deepfakes/000_003"] == VideoFile(file)
    assert masks["deepfakes/003_000"] is None and masks["youtube/000"] is None


def test_what_is_left_out_is_said(root: Path) -> None:
    """An id in no split, a pair across splits, and a file that is no video of the tree."""
    found = read_faceforensics(root, "c23")
    assert dict(found.left_out) == {
        f"{YOUTUBE}/999.mp4": "it is outside the official splits",
        f"{FAKES}/Deepfakes/c23/videos/000_010.mp4": "it is outside the official splits",
        f"{FAKES}/FaceShifter/c23/videos/notes.txt": "its name does not have the official form",
        f"{FAKES}/NeuralTextures/c40/": NO_PART,
    }
    assert "manipulated_sequences/FaceSwap/c23/videos is missing." in found.notes


def test_deepfakedetection_has_no_official_split(root: Path) -> None:
    found = {one.dataset: one for one in read_faceforensics(root, "c23").videos}
    assert found["dfd"].split == found["actors"].split == ""
    assert (found["dfd"].identity, found["dfd"].source) == ("01", "02")
    assert found["actors"].identity == "01"
    assert read_faceforensics(root, "c23").reals["dfd"] == "actors"


def test_without_splits_all_is_test_and_said(root: Path) -> None:
    for file in (root / "splits").iterdir():
        file.unlink()
    (root / "splits").rmdir()
    found = read_faceforensics(root, "c23")
    assert {one.split for one in found.videos if one.dataset not in ("actors", "dfd")} == {"test"}
    assert "There is no splits folder: every video is test." in found.notes
    assert "its name does not have the official form" in found.left_out.values()
    assert "it is outside the official splits" not in found.left_out.values()


def test_another_compression(root: Path) -> None:
    assert [one.key for one in read_faceforensics(root, "c40").videos] == ["neuraltextures/010_017"]


def test_errors_say_what_is_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"'raw' was requested; .* holds c23, c40"):
        read_faceforensics(root, "raw")
    with pytest.raises(DatasetError, match=r"is missing. Give one with original_sequences"):
        read_faceforensics(tmp_path / "nowhere", "c23")
    with pytest.raises(DatasetError, match=r"Give its parent "):
        read_faceforensics(root / FAKES, "c23")
    with pytest.raises(DatasetError, match=r"is not a FaceForensics\+\+ tree.*download script"):
        read_faceforensics(root / YOUTUBE, "c23")


def test_the_folder_above_gets_a_hint(tmp_path: Path) -> None:
    touch(tmp_path / "inner", f"{YOUTUBE}/000.mp4")
    with pytest.raises(DatasetError, match=r"Its folder 'inner' has them"):
        read_faceforensics(tmp_path, "c23")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read"),
        ('{"train": []}', r"holds None; it must be a list of pairs"),
        ('[["000"]]', r"holds \['000'\]; it must be a list of pairs"),
        ("[[0, 3]]", r"holds \[0, 3\]"),
        ('[["000", "017"]]', r"Id '000' is in the splits train and val"),
    ],
)
def test_damaged_splits(root: Path, content: str, words: str) -> None:
    (root / "splits" / "val.json").write_text(content)
    with pytest.raises(DatasetError, match=words):
        read_faceforensics(root, "c23")


def test_a_missing_list_is_not_an_empty_one(root: Path) -> None:
    (root / "splits" / "val.json").unlink()
    with pytest.raises(DatasetError, match=r"val.json' cannot be read.*Restore the official"):
        read_faceforensics(root, "c23")


def test_nothing_that_can_be_taken(tmp_path: Path) -> None:
    touch(tmp_path, f"{YOUTUBE}/holiday.mp4")
    with pytest.raises(DatasetError, match=r"nothing that can be used \(1 left out: .*holiday"):
        read_faceforensics(tmp_path, "c23")


def test_dfd_alone_leaves_the_rest_out(root: Path) -> None:
    found = DFD.inventory(root)
    assert {one.dataset for one in found.videos} == {"actors", "dfd"}
    assert found.left_out["original_sequences/youtube/"] == NO_PART
    assert found.reals == {"dfd": "actors"}
    assert DFD.recognize(root) is None and FACEFORENSICS.recognize(root)


@pytest.mark.parametrize("place", [".", "dataset/splits", "lists/official"])
def test_official_lists_elsewhere_are_found_and_said(root: Path, place: str) -> None:
    before = {one.key: one.split for one in read_faceforensics(root, "c23").videos}
    (root / place).mkdir(parents=True, exist_ok=True)
    for file in sorted((root / "splits").iterdir()):
        file.rename(root / place / file.name)
    (root / "splits").rmdir()
    found = read_faceforensics(root, "c23")
    assert {one.key: one.split for one in found.videos} == before
    assert any("Splits were read from train.json, val.json, test.json" in n for n in found.notes)
    assert not any(name.endswith(".json") for name in found.left_out)


def test_other_lists_are_not_taken_and_named(root: Path) -> None:
    for file in (root / "splits").iterdir():
        file.unlink()
    (root / "splits").rmdir()
    (root / "train.json").write_text('{"images": []}')
    (root / "my_splits.csv").write_text("video,split\n")
    found = FACEFORENSICS.inventory(root)
    assert "There is no splits folder: every video is test." in found.notes
    assert any("not taken: my_splits.csv, train.json" in note for note in found.notes)


def test_lists_without_val_promise_one(root: Path) -> None:
    for name in ("train", "test"):
        (root / "splits" / f"{name}.json").rename(root / f"{name}.json")
    (root / "splits" / "val.json").unlink()
    (root / "splits").rmdir()
    assert FACEFORENSICS.inventory(root).without_val


def test_videos_in_other_containers(root: Path) -> None:
    (root / YOUTUBE / "000.mp4").rename(root / YOUTUBE / "000.avi")
    assert "youtube/000" in {one.key for one in read_faceforensics(root, "c23").videos}
