from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import LayoutOptions
from probe.datasets.layouts.deeperforensics import DEEPERFORENSICS, NO_REALS, SOURCES
from probe.errors import DatasetError

ORIGINALS = "original_sequences/youtube/c23/videos"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_splits(root: Path, **lines: str) -> None:
    for split in ("train", "val", "test"):
        file = root / f"lists/splits/{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(lines.get(split, ""))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "deeper"
    for variant in ("end_to_end", "reenact_postprocess"):
        touch(
            root,
            *(f"manipulated_videos/{variant}/{one}.mp4" for one in ("000_M101", "003_W004")),
        )
    touch(root, "manipulated_videos/end_to_end/999_M001.mp4", "manipulated_videos/end_to_end/x.mp4")
    write_splits(root, train="000_M101.mp4\n", test="003_W004.mp4\r\n\n")
    return root


def test_variants_are_methods_of_one_dataset(root: Path) -> None:
    found = {one.video: one for one in DEEPERFORENSICS.inventory(root).videos}
    assert list(found) == [
        "end_to_end/000_M101",
        "end_to_end/003_W004",
        "reenact_postprocess/000_M101",
        "reenact_postprocess/003_W004",
    ]
    one = found["reenact_postprocess/003_W004"]
    assert (one.dataset, one.method, one.label, one.split, one.identity, one.source) == (
        "deeperforensics",
        "reenact_postprocess",
        1,
        "test",
        "003",
        "W004",
    )


def test_what_is_left_out(root: Path) -> None:
    touch(root, "source_videos/M101/a.mp4")
    found = DEEPERFORENSICS.inventory(root)
    assert dict(found.left_out) == {
        "manipulated_videos/end_to_end/999_M001.mp4": "it is outside the official splits",
        "manipulated_videos/end_to_end/x.mp4": "its name does not have the official form",
        "source_videos/": "it is not part of this layout",
    }
    assert found.notes == (SOURCES, NO_REALS)


@pytest.mark.parametrize(
    "prefix", ["end_to_end/", "manipulated_videos/end_to_end/", "end_to_end\\"]
)
def test_lists_with_the_variant_before_the_name(root: Path, prefix: str) -> None:
    write_splits(root, val=f"{prefix}000_M101.mp4\n", test="003_W004\n")
    found = {one.video: one.split for one in DEEPERFORENSICS.inventory(root).videos}
    assert found == {
        "end_to_end/000_M101": "val",
        "end_to_end/003_W004": "test",
        "reenact_postprocess/003_W004": "test",
    }


def test_without_lists_no_split_is_known(root: Path) -> None:
    for split in ("train", "val", "test"):
        (root / f"lists/splits/{split}.txt").unlink()
    found = DEEPERFORENSICS.inventory(root)
    assert {one.split for one in found.videos} == {""} and len(found.videos) == 5
    assert "lists/splits is missing: no split is known." in found.notes


def test_damaged_lists(root: Path) -> None:
    write_splits(root, train="000_M101.mp4\n", test="000_M101.mp4\n")
    with pytest.raises(DatasetError, match=r"'000_M101' is in the splits train and test"):
        DEEPERFORENSICS.inventory(root)
    (root / "lists/splits/val.txt").unlink()
    with pytest.raises(DatasetError, match=r"val.txt' cannot be read"):
        DEEPERFORENSICS.inventory(root)


def test_reals_have_the_split_of_their_fakes(root: Path, tmp_path: Path) -> None:
    touch(tmp_path / "ff", f"{ORIGINALS}/000.mp4", f"{ORIGINALS}/003.mp4", f"{ORIGINALS}/500.mp4")
    found = DEEPERFORENSICS.inventory(root, LayoutOptions(reals=tmp_path / "ff"))
    reals = {one.key: one for one in found.videos if one.label == 0}
    assert {key: one.split for key, one in reals.items()} == {
        "youtube/000": "train",
        "youtube/003": "test",
    }
    assert found.reals == {"deeperforensics": "youtube"}
    fakes = [one for one in found.videos if one.label == 1]
    assert {one.original for one in fakes} == set(reals)
    assert NO_REALS not in found.notes


def test_originals_of_fakes_in_several_splits_are_not_taken(root: Path, tmp_path: Path) -> None:
    touch(root, "manipulated_videos/end_to_end/000_W004.mp4")
    write_splits(root, train="000_M101.mp4\n", test="000_W004.mp4\n003_W004.mp4\n")
    touch(tmp_path / "ff", f"{ORIGINALS}/000.mp4", f"{ORIGINALS}/003.mp4")
    found = DEEPERFORENSICS.inventory(root, LayoutOptions(reals=tmp_path / "ff"))
    assert [one.key for one in found.videos if one.label == 0] == ["youtube/003"]
    assert any("1 originals have fakes in several splits, such as 000" in n for n in found.notes)


def test_reals_that_are_not_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds none of the 2 originals in original_sequences"):
        DEEPERFORENSICS.inventory(root, LayoutOptions(reals=tmp_path))
