from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts.celebdf import CELEBDF_V1, CELEBDF_V2, TESTING_LIST
from probe.errors import DatasetError
from tests.datasets.trees import celebdf_v2


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of empty files with a short list: its name must say which version it is."""
    root = tmp_path / "Celeb-DF-v2"
    touch(
        root,
        "Celeb-real/id0_0000.mp4",
        "Celeb-real/id0_0001.mp4",
        "Celeb-real/videos/id1_0000.mp4",
        "Youtube-real/00000.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-synthesis/id1_id0_0007.mp4",
        "Celeb-synthesis/readme.txt",
    )
    (root / TESTING_LIST).write_text(
        "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\r\n\n"
        "1 YouTube-real/00000.mp4\n1 YouTube-real/00009.mp4\n"
    )
    return root


def test_labels_people_and_splits(root: Path) -> None:
    found = {one.key: one for one in CELEBDF_V2.inventory(root).videos}
    rows = {
        key.removeprefix("celebdf/"): (v.label, v.method, v.split, v.identity, v.source, v.original)
        for key, v in found.items()
    }
    assert rows == {
        "id0_0000": (0, "real", "test", "id0", "", ""),
        "id0_0001": (0, "real", "train", "id0", "", ""),
        "id1_0000": (0, "real", "train", "id1", "", ""),
        "00000": (0, "real", "test", "", "", ""),
        "id0_id1_0000": (1, "celebdf", "test", "id0", "id1", "celebdf/id0_0000"),
        # Its original, id1_0007, is not there.
        "id1_id0_0007": (1, "celebdf", "train", "id1", "id0", ""),
    }


def test_absent_listed_videos_are_one_note(root: Path) -> None:
    notes = CELEBDF_V2.inventory(root).notes
    assert notes == (
        f"1 of the 4 videos of {TESTING_LIST} are missing, such as youtube-real/00009.",
    )


def test_a_label_that_contradicts_the_folder(root: Path) -> None:
    """The trap: with 1 taken for fake, every line would contradict."""
    (root / TESTING_LIST).write_text(
        "1 Celeb-real/id0_0000.mp4\n1 Celeb-synthesis/id0_id1_0000.mp4\n"
    )
    with pytest.raises(DatasetError, match=r"Line 2 .*id0_id1_0000.* contradicts the folder"):
        CELEBDF_V2.inventory(root)


@pytest.mark.parametrize(
    "line", ["Celeb-real/id0_0000.mp4", "2 Celeb-real/id0_0000.mp4", "1 Elsewhere/a.mp4", "1 a.mp4"]
)
def test_a_damaged_list(root: Path, line: str) -> None:
    (root / TESTING_LIST).write_text(line + "\n")
    with pytest.raises(DatasetError, match=r"Line 1 of .* it must be a label and a path"):
        CELEBDF_V2.inventory(root)


def test_a_list_that_is_no_text(root: Path) -> None:
    (root / TESTING_LIST).write_bytes(b"\xff\xfe1")
    with pytest.raises(DatasetError, match=r"cannot be read .*Restore the official list"):
        CELEBDF_V2.inventory(root)
    assert CELEBDF_V2.recognize(root) is not None


def test_without_a_list_no_split_is_known(root: Path) -> None:
    (root / TESTING_LIST).unlink()
    found = CELEBDF_V2.inventory(root)
    assert {one.split for one in found.videos} == {""}
    assert f"{TESTING_LIST} is missing: no split is known." in found.notes


def test_one_name_in_two_places_is_taken_once(root: Path) -> None:
    touch(root, "Celeb-real/videos/id0_0000.mp4")
    found = CELEBDF_V2.inventory(root)
    assert found.left_out["Celeb-real/videos/id0_0000.mp4"] == (
        "another file is already used as the video celebdf/id0_0000"
    )


def test_the_length_of_the_list_decides_the_version(tmp_path: Path) -> None:
    misnamed = tmp_path / "celeb_v1"
    misnamed.mkdir()
    root = celebdf_v2(misnamed)
    assert CELEBDF_V1.recognize(root) is None
    assert "518 lines" in (CELEBDF_V2.recognize(root) or "")
    assert any("as that of v2; v1 was read" in one for one in CELEBDF_V1.inventory(root).notes)


@pytest.mark.parametrize("name", ["celeb-v1", "CelebDF_V1", "Celeb-DF (v1)"])
def test_then_its_name_does(root: Path, name: str) -> None:
    other = root.rename(root.with_name(name))
    assert CELEBDF_V2.recognize(other) is None
    assert "its name says v1" in (CELEBDF_V1.recognize(other) or "")


def test_else_both_claim_it(root: Path) -> None:
    other = root.rename(root.with_name("celeb"))
    reasons = {CELEBDF_V1.recognize(other), CELEBDF_V2.recognize(other)}
    assert reasons == {
        "it holds Celeb-real and Youtube-real, which fits celebdf-v1 and celebdf-v2 alike"
    }


def test_the_testing_list_is_found_in_another_folder(tmp_path: Path) -> None:
    root = celebdf_v2(tmp_path / "Celeb")
    before = CELEBDF_V2.inventory(root)
    (root / "lists").mkdir()
    (root / TESTING_LIST).rename(root / "lists" / TESTING_LIST.lower())
    found = CELEBDF_V2.inventory(root)
    assert found.videos == before.videos and not found.left_out
    assert CELEBDF_V2.recognize(root)
