"""Celeb-DF++: no fake is lost, whichever version the list and the folder's name suggest."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import LAYOUTS, Inventory
from probe.datasets.layouts.celebdfpp import METHODS
from probe.datasets.layouts.recognition import recognize
from probe.datasets.splits import assign_splits
from probe.errors import DatasetError

LIST = "List_of_testing_videos.txt"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """All 22 methods; two videos each, of which the second is listed."""
    root = tmp_path / "Celeb-DF-v2"
    touch(root, *(f"Celeb-real/id{i}_0000.mp4" for i in range(4)), "Youtube-real/00001.mp4")
    lines = ["1 Celeb-real/id0_0000.mp4", "1 YouTube-real/00001.mp4"]
    for family, methods in METHODS.items():
        names = ["id0_id1_0000", "id2_id3_0000"]
        if family == "TalkingFace":
            names = ["id0_0000_test_id08701_b", "id2_0000_id9"]
        for method in methods:
            paths = [f"Celeb-synthesis/{family}/{method}/{name}.mp4" for name in names]
            touch(root, *paths)
            lines.append(f"0 {paths[1]}")
    (root / LIST).write_text("\n".join(lines) + "\n")
    return root


def read(root: Path) -> Inventory:
    return LAYOUTS["celeb-df++"].inventory(root)


def test_every_fake_is_kept_once_a_method(root: Path) -> None:
    assert recognize(root)[0] == "celeb-df++"
    found = read(root)
    fakes = [one for one in found.videos if one.label]
    assert len(fakes) == 44 and not found.left_out
    assert len({one.dataset for one in fakes}) == len({one.method for one in fakes}) == 22
    assert dict(found.reals) == {one.dataset: "celebdf-real" for one in fakes}
    assert {one.split for one in fakes if "id2" in one.identity} == {"test"}
    assert {one.split for one in fakes if "id0" in one.identity} == {"train"}


def test_people_of_each_family(root: Path) -> None:
    found = {one.key: one for one in read(root).videos}
    rows = {
        key: (found[key].identity, found[key].source, found[key].driver, found[key].original)
        for key in (
            "faceswap-celeb-df/id0_id1_0000",
            "facereenact-lia/id0_id1_0000",
            "talkingface-ip_lap/id0_0000_test_id08701_b",
            "celebdf-real/00001",
        )
    }
    assert list(rows.values()) == [
        ("id0", "id1", "", "celebdf-real/id0_0000"),
        ("id0", "id1", "id1", "celebdf-real/id0_0000"),
        ("id0", "", "", "celebdf-real/id0_0000"),
        ("", "", "", ""),
    ]


def test_a_list_of_518_lines_does_not_make_it_version_2(root: Path) -> None:
    lines = (root / LIST).read_text().splitlines()
    lines += [f"1 YouTube-real/{i:05}.mp4" for i in range(9, 9 + 518 - len(lines))]
    (root / LIST).write_text("\n".join(lines))
    assert recognize(root)[0] == "celeb-df++"
    assert LAYOUTS["celebdf-v2"].recognize(root) is None
    with pytest.raises(DatasetError, match=r"Read it by the layout celeb-df\+\+.* every fake"):
        LAYOUTS["celebdf-v2"].inventory(root)


def test_a_list_of_version_2_is_refused_or_noted(root: Path) -> None:
    (root / LIST).write_text("1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n")
    with pytest.raises(DatasetError, match=r"Line 2 of .*Restore the official list of Celeb-DF\+"):
        read(root)
    (root / LIST).write_text("1 Celeb-real/id0_0000.mp4\n")
    assert any("names no video of" in note and "are train" in note for note in read(root).notes)


def test_a_label_that_contradicts_the_folder(root: Path) -> None:
    (root / LIST).write_text("1 Celeb-synthesis/FaceSwap/GHOST/id0_id1_0000.mp4\n")
    with pytest.raises(DatasetError, match=r"Line 1 .* contradicts the folder"):
        read(root)


def test_what_is_missing_or_more_is_said(root: Path) -> None:
    (root / LIST).unlink()
    touch(
        root,
        "Celeb-synthesis/FaceSwap/NewSwap/videos/id0_id1_0000.mp4",
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-real/deep/id7_0000.mp4",
    )
    for file in (root / "Celeb-synthesis/TalkingFace/FLOAT").iterdir():
        file.unlink()
    found = read(root)
    said = " ".join(found.notes)
    assert "1 of the 22 methods are missing: talkingface-float" in said
    assert "faceswap-newswap is not among the 22 methods" in said
    assert f"{LIST} is missing: no split is known" in said
    assert set(found.left_out) == {
        "Celeb-synthesis/id0_id1_0000.mp4",
        "Celeb-real/deep/id7_0000.mp4",
        "Celeb-synthesis/TalkingFace/FLOAT/",
    }


def test_methods_share_the_split_of_their_people(root: Path) -> None:
    """Without a list, a person is in one split whatever the method."""
    (root / LIST).unlink()
    split: dict[str, set[str]] = {}
    for video in assign_splits(read(root), "official", 0).videos:
        for person in filter(None, (video.identity, video.source)):
            split.setdefault(person, set()).add(video.split)
    assert split and all(len(found) == 1 for found in split.values())


def test_the_list_is_found_in_another_folder_and_case(root: Path) -> None:
    wanted = {video.key: video.split for video in LAYOUTS["celeb-df++"].inventory(root).videos}
    assert set(wanted.values()) == {"train", "test"}
    (root / "lists").mkdir()
    (root / LIST).rename(root / "lists" / LIST.lower())
    found = LAYOUTS["celeb-df++"].inventory(root)
    assert {video.key: video.split for video in found.videos} == wanted
    assert not any("is missing: no split" in note for note in found.notes)
    assert not found.left_out
