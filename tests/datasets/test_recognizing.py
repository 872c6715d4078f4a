from __future__ import annotations

from pathlib import Path

import pytest

from probe.datasets.layouts import LAYOUTS
from probe.datasets.layouts.recognition import recognize
from probe.errors import DatasetError
from tests.datasets.trees import TREES


def test_it_says_why(tmp_path: Path) -> None:
    assert recognize(TREES["faceforensics"](tmp_path)) == (
        "faceforensics",
        "it holds original_sequences/youtube",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("faceforensics", "celebdf-v2"),
        ("celebdf-v1", "dfdc"),
        ("wilddeepfake", "df40"),
        ("deeperforensics", "deepfakebench"),
        ("dfdc-preview", "dfd"),
    ],
)
def test_two_side_by_side_are_an_error_that_names_both(
    tmp_path: Path, one: str, other: str
) -> None:
    TREES[one](tmp_path)
    TREES[other](tmp_path)
    with pytest.raises(DatasetError) as error:
        recognize(tmp_path)
    for name in (one, other):
        assert f"{name}, since {LAYOUTS[name].recognize(tmp_path)}" in str(error.value)
    assert "Give the name of the right one" in str(error.value)


def test_generic_layouts_are_asked_last(tmp_path: Path) -> None:
    TREES["df40"](tmp_path)
    TREES["folder"](tmp_path)
    assert recognize(tmp_path)[0] == "df40"


def test_two_generic_layouts_are_an_error_too(tmp_path: Path) -> None:
    TREES["folder"](tmp_path)
    TREES["manifest"](tmp_path)
    with pytest.raises(DatasetError, match=r"in 2 layouts: folder, since .*; manifest, since "):
        recognize(tmp_path)


def test_nothing_known_lists_every_shape(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DatasetError) as error:
        recognize(tmp_path)
    for name in LAYOUTS:
        assert f"{name}: {LAYOUTS[name].shape}" in str(error.value)


def test_one_level_down_is_hinted_at(tmp_path: Path) -> None:
    """Also where a generic layout would take part of it for a dataset of its own."""
    for name in ("notes", "FaceForensics", "wild"):
        (tmp_path / name).mkdir()
    TREES["faceforensics"](tmp_path / "FaceForensics")
    TREES["folder"](tmp_path)
    hint = r"of its folders 'FaceForensics' is in the layout faceforensics. Give that one"
    with pytest.raises(DatasetError, match=hint):
        recognize(tmp_path)
    TREES["wilddeepfake"](tmp_path / "wild")
    hint = r"and 'wild' is in the layout wilddeepfake. Give one of them"
    with pytest.raises(DatasetError, match=hint):
        recognize(tmp_path)


def test_a_native_dataset_is_none_of_them(tmp_path: Path) -> None:
    for name in ("samples.parquet", "dataset.json"):
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r"it is a dataset written by `probe ingest`"):
        recognize(tmp_path)


def test_a_root_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is missing\. Give an existing one"):
        recognize(tmp_path / "nowhere")


def test_files_are_asked_about_too(tmp_path: Path) -> None:
    root = TREES["deepfakebench"](tmp_path)
    assert recognize(root / "preprocessing/dataset_json/FF-DF.json")[0] == "deepfakebench"
    (tmp_path / "a.csv").write_text("path,label\n")
    assert recognize(tmp_path / "a.csv")[0] == "manifest"
