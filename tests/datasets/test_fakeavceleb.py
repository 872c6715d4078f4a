"""FakeAVCeleb: the picture decides, not the sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import LAYOUTS, Inventory
from probe.datasets.splits import assign_splits
from probe.errors import DatasetError
from tests.datasets.trees import fakeavceleb

FOLDER = "African/men/id00076"


def read(root: Path) -> Inventory:
    return LAYOUTS["fakeavceleb"].inventory(root)


def test_labels_methods_and_people(tmp_path: Path) -> None:
    found = read(fakeavceleb(tmp_path))
    rows = {
        one.video.split("/")[0]: (one.label, one.method, one.identity, one.source)
        for one in found.videos
    }
    assert rows == {
        "RealVideo-RealAudio": (0, "real", "id00076", ""),
        "RealVideo-FakeAudio": (0, "real", "id00076", ""),
        "FakeVideo-RealAudio": (1, "faceswap", "id00076", "id00166"),
        "FakeVideo-FakeAudio": (1, "wav2lip", "id00076", "id00476"),
    }
    assert not found.left_out
    assert len(found.notes) == 1 and found.notes[0].startswith(
        "1 videos of RealVideo-FakeAudio are real: only their sound is forged"
    )


def test_a_persons_videos_stay_in_one_split(tmp_path: Path) -> None:
    for number in range(40):
        for kind in ("RealVideo-RealAudio", "FakeVideo-RealAudio"):
            file = tmp_path / kind / f"Asian/women/id{number:05}/0001.mp4"
            file.parent.mkdir(parents=True)
            file.touch()
    splits: dict[str, set[str]] = {}
    for one in assign_splits(read(tmp_path), "official", 0).videos:
        splits.setdefault(one.identity, set()).add(one.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_without_or_beside_the_table(tmp_path: Path) -> None:
    root = fakeavceleb(tmp_path)
    (root / "FakeVideo-RealAudio" / FOLDER / "unlisted.mp4").touch()
    (root / "FakeVideo-RealAudio/loose.mp4").touch()
    for file in (root / "RealVideo-RealAudio" / FOLDER).iterdir():
        file.unlink()
    found = read(root)
    said = " ".join(found.notes)
    assert "1 videos are not in meta_data.csv" in said
    assert "1 of the 4 videos of meta_data.csv are missing, such as realvideo-realaudio/id0" in said
    assert "its folders are not of the form" in found.left_out["FakeVideo-RealAudio/loose.mp4"]
    methods = {one.method for one in found.videos}
    assert methods == {"real", "faceswap", "wav2lip", "fakevideo-realaudio"}
    (root / "meta_data.csv").unlink()
    found = read(root)
    assert "meta_data.csv is missing: the method of a fake is" in " ".join(found.notes)
    (root / "meta_data.csv").write_text("source,type\n")
    with pytest.raises(DatasetError, match=r"cannot be read .*Restore the official file"):
        read(root)
