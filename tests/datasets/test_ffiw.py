"""FFIW-10K: sources and targets by folders, and masks beside the targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import LAYOUTS, VideoFile
from probe.datasets.layouts.recognition import recognize
from probe.errors import DatasetError
from tests.datasets.trees import ffiw


def test_classes_splits_and_masks(tmp_path: Path) -> None:
    root = ffiw(tmp_path)
    found = LAYOUTS["ffiw"].inventory(root)
    rows = {one.video: (one.label, one.split, one.masks is not None) for one in found.videos}
    assert rows == {
        f"{kind}/{split}/{split}_00000001": (int(kind == "target"), split, kind == "target")
        for kind in ("source", "target")
        for split in ("train", "val", "test")
    }
    for one in found.videos:
        if isinstance(one.masks, VideoFile) and isinstance(one.media, VideoFile):
            assert one.masks.file == one.media.file.parents[1] / "masks" / one.media.file.name
    assert set(found.left_out) == {"train_v2.txt"}
    assert any(note.startswith("3 of 3 fakes have masks") for note in found.notes)


def test_videos_directly_in_the_split_and_parts_that_are_missing(tmp_path: Path) -> None:
    for name in ("source/test/a.mp4", "target/test/a.mp4", "target/test/deep/er/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert recognize(tmp_path)[0] == "ffiw"
    found = LAYOUTS["ffiw"].inventory(tmp_path)
    assert sorted(one.key for one in found.videos) == ["ffiw/source/test/a", "ffiw/target/test/a"]
    assert set(found.left_out) == {"target/test/deep/"}
    said = "The folders source/train, source/val, target/train, target/val are missing."
    assert said in found.notes


def test_other_folders_of_these_names(tmp_path: Path) -> None:
    """Source and target are common names: without videos in splits they are nothing."""
    for name in ("source/test/a.txt", "target/b.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert LAYOUTS["ffiw"].recognize(tmp_path) is None
    (tmp_path / "c").mkdir()
    with pytest.raises(DatasetError, match="is not an FFIW tree"):
        LAYOUTS["ffiw"].inventory(tmp_path / "c")
