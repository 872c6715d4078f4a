"""Parquet files with images: columns found or named, labels by their words, streamed by rows."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from probe.datasets import ingest, open_dataset, parts_of
from probe.datasets.layouts import LAYOUTS, Inventory, LayoutOptions, ParquetImages
from probe.datasets.layouts.recognition import recognize
from probe.datasets.parquet import ImageColumn
from probe.errors import DatasetError, ImageError
from tests.datasets.trees import put_table


def image(number: int, size: int = 24, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def structs(count: int) -> list[dict[str, Any]]:
    return [{"bytes": image(i), "path": f"{i}.png"} for i in range(count)]


def read(root: Path, **options: str) -> Inventory:
    return LAYOUTS["huggingface-parquet"].inventory(root, LayoutOptions(**options))


def rows(found: Inventory) -> list[tuple[str, str, int, str]]:
    return [(one.dataset, one.method, one.label, one.split) for one in found.videos]


def test_openfake(tmp_path: Path) -> None:
    put_table(
        tmp_path / "data/test-00000-of-00001.parquet",
        {
            "image": structs(4),
            "label": ["real", "fake", "fake", None],
            "model": ["real", "SD-3.5", None, "x"],
            "prompt": ["a"] * 4,
        },
    )
    found = read(tmp_path)
    assert rows(found) == [
        ("real", "real", 0, "test"),
        ("sd-3.5", "sd-3.5", 1, "test"),
        ("unnamed", "unnamed", 1, "test"),
    ]
    assert dict(found.reals) == {"sd-3.5": "real", "unnamed": "real"}
    assert found.left_out == {"data/test-00000-of-00001.parquet::row 3": "it has no label"}
    assert "1 rows have no label and were left out." in found.notes


def test_community_forensics(tmp_path: Path) -> None:
    """Plain binary images, label 1 fake, a column of splits, and the set's own split in names."""
    put_table(
        tmp_path / "data/CompEval-00000-of-00002.parquet",
        {
            "image_name": list("ab"),
            "image_data": [image(0), image(1)],
            "model_name": ["LAION", "sdxl"],
            "architecture": ["real", "LatDiff"],
            "label": [0, 1],
            "split": ["train", "odd"],
        },
    )
    assert rows(read(tmp_path)) == [("real", "real", 0, "train"), ("sdxl", "sdxl", 1, "test")]


def test_sid_set_has_masks_of_its_tampered_images(tmp_path: Path) -> None:
    mask = np.zeros((24, 24), np.uint8)
    mask[:9] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    masks = [None, {"bytes": None, "path": None}, {"bytes": buffer.getvalue(), "path": "m"}]
    put_table(
        tmp_path / "data/validation-00000-of-00001.parquet",
        {"img_id": list("abc"), "image": structs(3), "mask": masks, "label": [0, 1, 2]},
    )
    found = read(tmp_path)
    assert rows(found) == [
        ("real", "real", 0, "val"),
        ("full_synthetic", "full_synthetic", 1, "val"),
        ("tampered", "tampered", 1, "val"),
    ]
    assert [one.masks is not None for one in found.videos] == [False, False, True]
    report = ingest("auto", tmp_path, tmp_path / "out", n_workers=1)
    assert report.written == 3 and not any(one.no_mask for one in report.videos)
    data = open_dataset(tmp_path / "out")
    table = data.samples.table
    assert (table["mask"] != "").tolist() == [False, False, True]
    written = np.asarray(Image.open(tmp_path / "out" / table["mask"].iloc[2]))
    assert np.array_equal(written, mask)
    assert {one.name for one in parts_of(data)} == {"full_synthetic", "tampered"}


def test_images_are_written_as_they_were_encoded(tmp_path: Path) -> None:
    """Byte for byte, with the suffix of their content."""
    given = [image(0), image(1, kind="JPEG"), image(2, kind="WEBP")]
    put_table(tmp_path / "x.parquet", {"image": given, "label": [0, 1, 1]}, row_group_size=2)
    ingest("auto", tmp_path / "x.parquet", tmp_path / "out", n_workers=1)
    files = [tmp_path / "out" / one for one in open_dataset(tmp_path / "out").samples.table["path"]]
    assert [one.read_bytes() for one in files] == given
    assert [one.suffix for one in files] == [".png", ".jpg", ".webp"]


def test_labels_by_the_names_in_the_metadata(tmp_path: Path) -> None:
    """With fake = 0, as alphabetical order gives it."""
    names = {"info": {"features": {"label": {"names": ["AI", "Real"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": structs(2), "label": [0, 1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, tmp_path / "train.parquet")
    found = read(tmp_path)
    assert [one.label for one in found.videos] == [1, 0]
    assert "0 is ai, 1 is real" in found.label_convention


@pytest.mark.parametrize(
    ("labels", "fake_label", "expected"),
    [
        ([0, 1, 1], None, [0, 1, 1]),
        ([True, False, True], None, [1, 0, 1]),
        ([1.0, 0.0, 1.0], None, [1, 0, 1]),
        (["nature", "AI", "Generated"], None, [0, 1, 1]),
        ([0, 1, 1], "0", [1, 0, 0]),
        ([3, 4, 5], "4, 5", [0, 1, 1]),
        (["a", "b", "c"], "a,b", [1, 1, 0]),
    ],
)
def test_label_values(
    tmp_path: Path, labels: list[Any], fake_label: str | None, expected: list[int]
) -> None:
    put_table(tmp_path / "a.parquet", {"image": structs(3), "label": labels})
    options = {"fake_label": fake_label} if fake_label else {}
    assert [one.label for one in read(tmp_path, **options).videos] == expected


def test_labels_that_nothing_explains_are_refused(tmp_path: Path) -> None:
    put_table(tmp_path / "a.parquet", {"image": structs(3), "label": [0, 1, 2]})
    with pytest.raises(DatasetError, match=r"'0', '1', '2', and nothing says which are fake. Give"):
        read(tmp_path)
    with pytest.raises(DatasetError, match=r"fake_label='7' was given.* holds '0', '1', '2'"):
        read(tmp_path, fake_label="7")


def test_inverted_labels_are_noticed_by_the_generators(tmp_path: Path) -> None:
    columns = {"image": structs(3), "label": [1, 1, 0], "model": ["real", "real", "sdxl"]}
    put_table(tmp_path / "a.parquet", columns)
    with pytest.raises(DatasetError, match=r"2 rows have the generator 'real'.* inverted"):
        read(tmp_path)
    found = read(tmp_path, fake_label="0")
    assert rows(found) == [
        ("real", "real", 0, ""),
        ("real", "real", 0, ""),
        ("sdxl", "sdxl", 1, ""),
    ]


def test_columns_are_named(tmp_path: Path) -> None:
    columns = {"photo": structs(2), "b": structs(2), "y": [0, 1], "tool": ["-", "flux"]}
    put_table(tmp_path / "a.parquet", columns)
    with pytest.raises(
        DatasetError, match=r"No column was found for label; .*columns='label=NAME'"
    ):
        read(tmp_path)
    found = read(tmp_path, columns="label=y, generator=tool, image=b")
    assert rows(found)[1] == ("flux", "flux", 1, "")
    assert all(isinstance(one.media, ParquetImages) for one in found.videos)
    assert {one.media.column for one in found.videos if isinstance(one.media, ParquetImages)} == {
        "b"
    }
    for wrong in ("label", "label=nothing", "name=y"):
        with pytest.raises(DatasetError, match="must be a role"):
            read(tmp_path, columns=wrong)
    with pytest.raises(DatasetError, match="cannot be the image"):
        read(tmp_path, columns="image=y,label=y")


def test_a_list_is_no_label_and_a_set_of_fakes_says_so(tmp_path: Path) -> None:
    """X-AIGD: its column labels holds polygons, and every image is synthetic."""
    columns = {"image": structs(2), "labels": [["edge"], []]}
    put_table(tmp_path / "data/labeled_test-00000-of-00001.parquet", columns)
    with pytest.raises(DatasetError, match=r"give fake_label='all' if every image is fake"):
        read(tmp_path)
    found = read(tmp_path, fake_label="all")
    assert [(one.label, one.split) for one in found.videos] == [(1, "test")] * 2


def test_rows_of_a_video_stay_together(tmp_path: Path) -> None:
    columns = {"image": structs(5), "label": [0, 0, 1, 1, 1], "video_id": list("aabbc")}
    put_table(tmp_path / "a.parquet", columns, row_group_size=2)
    found = read(tmp_path)
    assert [
        len(one.media.rows) for one in found.videos if isinstance(one.media, ParquetImages)
    ] == [2, 2, 1]  # the video b lies in two row groups
    assert [one.identity for one in found.videos] == ["a", "b", "c"]
    assert ingest("auto", tmp_path, tmp_path / "out", n_workers=1, frames=9).written == 5


def test_thousands_of_generators_are_methods_of_one_dataset(tmp_path: Path) -> None:
    count = 120
    columns = {
        "image": structs(count),
        "label": [int(i > 0) for i in range(count)],
        "model_name": [f"lora {i}" for i in range(count)],
    }
    put_table(tmp_path / "a.parquet", columns)
    found = read(tmp_path)
    assert {one.dataset for one in found.videos} == {"images"} and not found.reals
    assert len({one.method for one in found.videos}) == count
    assert any(note.startswith("119 generators: they are methods") for note in found.notes)


def test_damage_is_named(tmp_path: Path) -> None:
    put_table(tmp_path / "data/a.parquet", {"image": structs(3), "label": [0, 1, 1]})
    put_table(tmp_path / "data/b.parquet", {"image": structs(3), "other": [0, 1, 1]})
    put_table(tmp_path / "data/c.parquet", {"label": [0, 1, 1]})
    (tmp_path / "data/d.parquet").write_bytes(b"PAR1 but nothing more")
    broken = [{"bytes": None, "path": "x.png"}, {"bytes": b"no image", "path": "y.png"}]
    put_table(tmp_path / "data/e.parquet", {"image": broken, "label": [0, 1]})
    found = read(tmp_path)
    assert found.left_out["data/b.parquet"] == "it lacks the column label"
    assert found.left_out["data/c.parquet"] == "it has no column of images"
    assert "cannot be read as Parquet" in found.left_out["data/d.parquet"]
    report = ingest("auto", tmp_path, tmp_path / "out", n_workers=1)
    assert report.written == 3
    said = {one.video: one.failures() for one in report.videos if not one.complete}
    assert "has no bytes in the column 'image'" in said["data/e/0"]
    assert "cannot be decoded" in said["data/e/1"]


def test_a_table_of_paths_is_a_manifest(tmp_path: Path) -> None:
    put_table(tmp_path / "manifest.parquet", {"path": ["a.png"], "label": [0]})
    assert recognize(tmp_path / "manifest.parquet")[0] == "manifest"
    put_table(tmp_path / "images.parquet", {"image": structs(1), "label": [0]})
    assert recognize(tmp_path / "images.parquet")[0] == "huggingface-parquet"


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [6, 0, 3, 3, 2, 5], [4], [1, 6, 5]])
def test_rows_in_any_order(tmp_path: Path, order: list[int]) -> None:
    given = [image(i) for i in range(7)]
    file = put_table(tmp_path / "a.parquet", {"image": given}, row_group_size=3)
    column = ImageColumn(file, "image")
    assert [column.bytes_of(i) for i in order] == [given[i] for i in order]
    with pytest.raises(ImageError):
        column.bytes_of(7)
    column.close()


@pytest.mark.slow
def test_100_000_rows_stream_under_1_gb(tmp_path: Path) -> None:
    """2.6 GB of images in one row group a file, ingested by one process."""
    noise = np.random.default_rng(0).bytes(25_000)
    for number in range(4):
        writer = None
        for part in range(25):
            first = (number * 25 + part) * 1000
            # Bytes after the end of an image are ignored by decoders, and cannot be compressed.
            images = [image(first + i, 16) + noise for i in range(1000)]
            table = pa.table({"image": images, "label": [i % 2 for i in range(1000)]})
            writer = writer or pq.ParquetWriter(tmp_path / f"train-{number}.parquet", table.schema)
            writer.write_table(table, row_group_size=1000)
        assert writer is not None
        writer.close()
    script = (
        "import resource, sys\n"
        "from probe.datasets import ingest\n"
        f"report = ingest('auto', {str(tmp_path)!r}, {str(tmp_path / 'out')!r}, n_workers=1)\n"
        "print(report.written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    written, peak = map(int, done.stdout.split()[-2:])
    assert written == 100_000
    assert peak < 1_000_000, f"{peak / 1e6:.2f} GB"
