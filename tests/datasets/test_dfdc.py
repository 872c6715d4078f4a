from __future__ import annotations

import json
from pathlib import Path

import pytest

from probe.datasets.layouts import VideoEntry
from probe.datasets.layouts.dfdc import DFDC, DFDC_PREVIEW, PERSONS
from probe.errors import DatasetError


def write(root: Path, part: str, rows: object, *videos: str) -> None:
    (root / part).mkdir(parents=True, exist_ok=True)
    for video in videos:
        (root / part / video).touch()
    (root / part / "metadata.json").write_text(json.dumps(rows))


def videos(root: Path) -> dict[str, VideoEntry]:
    return {one.video: one for one in DFDC.inventory(root).videos}


def test_labels_originals_and_people(tmp_path: Path) -> None:
    rows = {
        "real.mp4": {"label": "REAL", "split": "train", "original": None},
        "fake.mp4": {"label": "Fake", "original": "real.mp4"},
        "orphan.mp4": {"label": "FAKE"},
        "other.mp4": {"label": "FAKE", "original": "elsewhere.mp4"},
    }
    write(tmp_path, "dfdc_train_part_0", rows, *rows)
    found = videos(tmp_path)
    assert {key: (v.label, v.split, v.identity, v.original) for key, v in found.items()} == {
        "real": (0, "train", "real", ""),
        "fake": (1, "train", "real", "dfdc/real"),
        "orphan": (1, "train", "", ""),
        "other": (1, "train", "elsewhere", ""),
    }
    assert PERSONS in DFDC.inventory(tmp_path).notes


def test_files_and_rows_that_do_not_meet(tmp_path: Path) -> None:
    rows = {"a.mp4": {"label": "REAL"}, "gone.mp4": {"label": "FAKE"}}
    write(tmp_path, "dfdc_train_part_0", rows, "a.mp4", "stranger.mp4")
    (tmp_path / "dfdc_train_part_1").mkdir()
    (tmp_path / "dfdc_train_part_1/x.mp4").touch()
    found = DFDC.inventory(tmp_path)
    assert dict(found.left_out) == {
        "dfdc_train_part_0/stranger.mp4": "it is not in metadata.json",
        "dfdc_train_part_0/gone.mp4": "it is in metadata.json and not on disk",
        "dfdc_train_part_1/": "it is not part of this layout",
    }
    assert any("dfdc_train_part_1 has no metadata.json" in note for note in found.notes)


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/secret.mp4", "sub/a.mp4"])
def test_rows_never_lead_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.mp4").touch()
    rows = {"a.mp4": {"label": "REAL"}, name: {"label": "FAKE"}}
    write(tmp_path / "root", "dfdc_train_part_0", rows, "a.mp4")
    found = DFDC.inventory(tmp_path / "root")
    assert [one.video for one in found.videos] == ["a"]
    assert "it is in metadata.json and not on disk" in found.left_out.values()


def test_the_test_folder(tmp_path: Path) -> None:
    """1 is fake in labels.csv; videos lie beside it or in videos."""
    for place in ("beside/test", "inside/test/videos"):
        (tmp_path / place).mkdir(parents=True)
        for name in ("a.mp4", "b.mp4"):
            (tmp_path / place / name).touch()
    for kind in ("beside", "inside"):
        (tmp_path / kind / "test/labels.csv").write_text("filename,label\na.mp4,1\nb.mp4,0\n")
        found = videos(tmp_path / kind)
        assert {key: (v.label, v.split) for key, v in found.items()} == {
            "a": (1, "test"),
            "b": (0, "test"),
        }


def test_a_test_folder_with_metadata_alone(tmp_path: Path) -> None:
    rows = {"a.mp4": {"is_fake": 1, "augmentations": {}}, "b.mp4": {"is_fake": 0}}
    write(tmp_path, "test", rows, "a.mp4", "b.mp4")
    assert {key: (v.label, v.split) for key, v in videos(tmp_path).items()} == {
        "a": (1, "test"),
        "b": (0, "test"),
    }


def test_one_part_alone_and_a_part_in_a_folder_of_its_name(tmp_path: Path) -> None:
    write(tmp_path, "dfdc_train_part_00/dfdc_train_part_0", {"a.mp4": {"label": "REAL"}}, "a.mp4")
    for root in (
        tmp_path,
        tmp_path / "dfdc_train_part_00",
        tmp_path / "dfdc_train_part_00/dfdc_train_part_0",
    ):
        assert list(videos(root)) == ["a"]
        assert DFDC.recognize(root)


def test_one_name_in_two_parts_is_taken_once(tmp_path: Path) -> None:
    for part in ("dfdc_train_part_0", "dfdc_train_part_1"):
        write(tmp_path, part, {"a.mp4": {"label": "REAL"}}, "a.mp4")
    found = DFDC.inventory(tmp_path)
    assert len(found.videos) == 1
    assert "is already used as the video dfdc/a" in found.left_out["dfdc_train_part_1/a.mp4"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"a.mp4": {"label": "MAYBE"}}, r"the label 'maybe'; allowed are FAKE and REAL"),
        ({"a.mp4": {}}, r"the label ''; allowed"),
        (["a.mp4"], r"must map file names"),
        ({"a.mp4": "FAKE"}, r"must map file names"),
    ],
)
def test_damaged_metadata(tmp_path: Path, rows: object, words: str) -> None:
    write(tmp_path, "dfdc_train_part_0", rows, "a.mp4")
    with pytest.raises(DatasetError, match=words):
        DFDC.inventory(tmp_path)


@pytest.mark.parametrize("content", ["{", "\udcff", "\x00"])
def test_unreadable_metadata(tmp_path: Path, content: str) -> None:
    write(tmp_path, "dfdc_train_part_0", {}, "a.mp4")
    file = tmp_path / "dfdc_train_part_0/metadata.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DatasetError, match=r"cannot be read .*Restore the official file"):
        DFDC.inventory(tmp_path)


def test_a_table_without_the_columns(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/labels.csv").write_text("name,fake\na.mp4,1\n")
    with pytest.raises(DatasetError, match=r"cannot be read \(KeyError: 'filename'\)"):
        DFDC.inventory(tmp_path)


def preview(root: Path, rows: object, *files: str) -> Path:
    for name in ("original_videos/1/a.mp4", "method_B/2/b.mp4", *files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dataset.json").write_text(json.dumps(rows))
    return root


def test_the_preview(tmp_path: Path) -> None:
    rows = {
        "original_videos/1/a.mp4": {
            "label": "real",
            "set": "train",
            "target_id": 1,
            "swapped_id": None,
        },
        "method_B\\2\\b.mp4": {"label": "fake", "set": "test", "target_id": "2", "swapped_id": "1"},
        "method_A/gone.mp4": {"label": "fake", "set": "test"},
        "../../x.mp4": {"label": "fake", "set": "test"},
    }
    found = DFDC_PREVIEW.inventory(preview(tmp_path, rows, "method_A/stranger.mp4"))
    assert {v.video: (v.label, v.method, v.split, v.identity, v.source) for v in found.videos} == {
        "original_videos/1/a": (0, "real", "train", "1", ""),
        "method_B/2/b": (1, "dfdc-method_b", "test", "2", "1"),
    }
    assert dict(found.left_out) == {
        "../../x.mp4": "its path leads out of the folder",
        "method_A/gone.mp4": "it is in dataset.json and not on disk",
        "method_A/stranger.mp4": "it is not in dataset.json",
    }


def test_the_preview_with_an_unknown_set(tmp_path: Path) -> None:
    rows = {"method_B/2/b.mp4": {"label": "fake", "set": "public"}}
    with pytest.raises(DatasetError, match=r"into the set 'public'; allowed are train and test"):
        DFDC_PREVIEW.inventory(preview(tmp_path, rows))
