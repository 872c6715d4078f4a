"""Ways to cut: every K-th frame, boxes of one's own, alignment, whole frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.datasets import ingest, open_dataset
from probe.datasets.cutting import TEMPLATE
from probe.errors import DatasetError, UnknownNameError
from tests.datasets.test_ingest import decoded

VIDEO = "original_sequences/youtube/c23/videos/000.mp4"


def run(tree: Path, out: Path, **options: object) -> pd.DataFrame:
    ingest("faceforensics", tree, out, n_workers=1, size=48, **options)  # type: ignore[arg-type]
    return open_dataset(out).samples.table


def test_every_kth_frame(tree: Path, tmp_path: Path) -> None:
    table = run(tree, tmp_path / "out", every=7)
    first = table[(table["dataset"] == "youtube") & (table["video"] == "000")]
    assert list(first["frame"]) == [0, 7, 14]


def test_source_facts_are_in_the_table(tree: Path, tmp_path: Path) -> None:
    table = run(tree, tmp_path / "out", frames=1)
    assert set(table["source_codec"]) == {"h264"} and set(table["source_fps"]) == {25.0}
    assert set(table["source_width"]) == {240} and set(table["source_height"]) == {180}
    size = (tree / VIDEO).stat().st_size
    # 20 frames at 25 a second: bits over .8 s, container included at most.
    assert 0 < table["source_bitrate"].iloc[0] <= size * 8 / 0.8


def test_whole_frames(tree: Path, tmp_path: Path) -> None:
    table = run(tree, tmp_path / "out", frames=2, crop=False)
    data = open_dataset(tmp_path / "out")
    at = int(np.flatnonzero((table["dataset"] == "youtube") & (table["video"] == "000"))[0])
    expected = decoded(tree / VIDEO, int(table["frame"].iloc[at]))
    np.testing.assert_array_equal(data.image(at), expected)
    fake = data.select(dataset="deepfakes")
    mask = fake.mask(0)
    assert mask is not None and mask.shape == (180, 240)
    assert "no face was cropped" in data.card["crop"]["rule"]


def boxes(table: pd.DataFrame, file: Path) -> Path:
    table.to_csv(file, index=False)
    return file


def test_boxes_of_ones_own(tree: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "video": ["youtube/000"] * 2,
            "frame": [3, 10],
            "x": [20, 30],
            "y": [10, 20],
            "width": [40, 40],
            "height": [40, 30],
        }
    )
    file = boxes(rows, tmp_path / "boxes.csv")
    report = ingest(
        "faceforensics",
        tree,
        tmp_path / "out",
        every=1,
        boxes=file,
        margin=1.5,
        size=60,
        n_workers=1,
    )
    data = open_dataset(tmp_path / "out")
    table = data.samples.table
    assert list(table["frame"]) == [3, 10] and report.frames_without_face == 18 + 24 + 20 + 16
    frame = decoded(tree / VIDEO, 3)
    np.testing.assert_array_equal(data.image(0), frame[0:60, 10:70])
    assert data.card["crop"]["face_detector"] == "boxes given"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"video": ["000_004"]}, "'000_004' in .* is not in the dataset"),
        ({"width": [0]}, "Row 1 of .* is not a box"),
        ({"x": ["left"]}, "Row 1 of .* is not a box"),
    ],
)
def test_boxes_that_do_not_fit(
    tree: Path, tmp_path: Path, change: dict[str, list[object]], words: str
) -> None:
    row = {"video": ["000_003"], "frame": [1], "x": [1], "y": [1], "width": [9], "height": [9]}
    file = boxes(pd.DataFrame(row | change), tmp_path / "boxes.csv")
    with pytest.raises(DatasetError, match=words):
        run(tree, tmp_path / "out", boxes=file)
    assert not (tmp_path / "out").exists()


def test_more_boxes_that_do_not_fit(tree: Path, tmp_path: Path) -> None:
    row = {"video": ["000_003"] * 2, "frame": [1, 1], "x": 1, "y": 1, "width": 9, "height": 9}
    twice = boxes(pd.DataFrame(row), tmp_path / "twice.csv")
    with pytest.raises(DatasetError, match="Frame 1 of 'deepfakes/000_003' occurs twice"):
        run(tree, tmp_path / "out", boxes=twice)
    lacking = boxes(pd.DataFrame(row).drop(columns="height"), tmp_path / "lacking.csv")
    with pytest.raises(DatasetError, match="no column 'height'; they need video, frame"):
        run(tree, tmp_path / "out", boxes=lacking)
    with pytest.raises(DatasetError, match=r"a .csv or .parquet file is needed"):
        run(tree, tmp_path / "out", boxes=tmp_path / "boxes.json")
    with pytest.raises(DatasetError, match="cannot be read"):
        run(tree, tmp_path / "out", boxes=tmp_path / "gone.csv")


def test_alignment_puts_the_eyes_in_their_places(tree: Path, tmp_path: Path) -> None:
    """The drawn eyes, dark on white, end where the template has them, in every crop."""
    table = run(tree, tmp_path / "out", frames=3, align=True)
    data = open_dataset(tmp_path / "out")
    assert data.card["crop"]["aligned"] and "template" in data.card["crop"]["rule"]
    fake = table[table["dataset"] == "deepfakes"]
    for _, row in fake.iterrows():
        for side, wanted in ((-1, TEMPLATE[0]), (1, TEMPLATE[1])):
            x, y = 90 + 2 * row["frame"] + side * 0.36 * 28, 80 - 0.2 * 28
            landed = (
                row["align_a"] * x - row["align_b"] * y + row["align_u"],
                row["align_b"] * x + row["align_a"] * y + row["align_v"],
            )
            np.testing.assert_allclose(landed, (wanted + 0.15) / 1.3, atol=0.06)
    assert (fake["outside"] < 0.2).all()
    mask = data.select(dataset="deepfakes").mask(0)
    assert mask is not None and mask.shape == (48, 48) and (mask > 127).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 3, "every": 2}, "two ways to choose frames"),
        ({"every": 0}, "every=0 was given; allowed are 1"),
        ({"align": True, "crop": False}, r"align=True was given with crop=False"),
        ({"align": True, "finder": "dlib"}, "align=True was given with the face detector 'dlib'"),
        ({"splits": "random"}, "splits='random' was given"),
        ({"reals": "x"}, "reals='x' was given, but the layout faceforensics takes compression"),
    ],
)
def test_options_that_contradict(
    tree: Path, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        run(tree, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_unknown_finder(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Face detector 'yunt' is not known.*'yunet'"):
        run(tree, tmp_path / "out", finder="yunt")
    assert not (tmp_path / "out").exists()


def test_other_splits_cut_nothing_again(tree: Path, tmp_path: Path) -> None:
    first = run(tree, tmp_path / "out", frames=2)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    again = run(tree, tmp_path / "out", frames=2, splits="cut", seed=3)
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    assert list(first["sample"]) == list(again["sample"])
