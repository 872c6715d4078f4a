"""Deepfake-Eval-2024: names that spreadsheets damaged and unknown labels are counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import LAYOUTS, Inventory
from probe.errors import DatasetError
from tests.datasets.trees import deepfake_eval


def read(root: Path) -> Inventory:
    return LAYOUTS["deepfake-eval-2024"].inventory(root)


def table(
    root: Path, kind: str, *rows: str, header: str = "Filename,Ground Truth,Finetuning Set"
) -> None:
    root.mkdir(exist_ok=True)
    text = "\n".join((header, *rows))
    (root / f"{kind}-metadata-publish.csv").write_text(text, encoding="utf-8-sig")


def test_labels_splits_and_what_is_left_out(tmp_path: Path) -> None:
    found = read(deepfake_eval(tmp_path))
    rows = {one.key: (one.label, one.split, one.method) for one in found.videos}
    assert rows == {
        "deepfake-eval-2024-image/a.jpg": (0, "train", "real"),
        "deepfake-eval-2024-image/b.png": (1, "test", "deepfake-eval-2024"),
        "deepfake-eval-2024-video/-x.mp4": (0, "test", "real"),
        "deepfake-eval-2024-video/y.mp4": (1, "train", "deepfake-eval-2024"),
    }
    assert found.left_out == {
        "audio-data/": "it is not part of this layout",
        "image-data/c.png": "its Ground Truth is 'unknown', neither Real nor Fake",
        "video-metadata-publish.csv::row 3": (
            "its file name is '#NAME?': a spreadsheet has overwritten it"
        ),
    }
    said = " ".join(found.notes)
    assert "Images: 1 have no label (Ground Truth: 1 'unknown') and were left out." in said
    assert "Videos: 1 rows have a file name that a spreadsheet has overwritten" in said


def test_missing_unlisted_and_odd_files(tmp_path: Path) -> None:
    table(
        tmp_path, "video", "a.mp4,FAKE,Validation", "gone.mp4,Real,", "b.gif,real,Test", "c.mp4,,"
    )
    for name in ("a.mp4", "b.gif", "c.mp4", "more.mp4"):
        (tmp_path / "video-data").mkdir(exist_ok=True)
        (tmp_path / "video-data" / name).touch()
    found = read(tmp_path)
    assert [(one.video, one.split) for one in found.videos] == [("a.mp4", "val")]
    assert set(found.left_out) == {
        f"video-data/{one}" for one in ("gone.mp4", "b.gif", "c.mp4", "more.mp4")
    }
    said = " ".join(found.notes)
    assert "1 are in video-metadata-publish.csv and not on disk" in said
    assert "1 on disk are not in video-metadata-publish.csv" in said
    assert "1 'empty'" in said and "image-metadata-publish.csv is missing" in said


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    table(tmp_path, "image", "a.png,Real,Train", "a.png,Fake,Train")
    with pytest.raises(DatasetError, match=r"Row 2 .* gives 'a.png' a second label, 'Fake' after"):
        read(tmp_path)
    table(tmp_path, "image", "a.png", header="Name")
    with pytest.raises(DatasetError, match="has no column filename and ground truth; it has name"):
        read(tmp_path)
    (tmp_path / "image-metadata-publish.csv").write_bytes(b"")
    with pytest.raises(DatasetError, match="has no column filename and ground truth"):
        read(tmp_path)
