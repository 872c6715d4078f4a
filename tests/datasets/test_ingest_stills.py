"""Images and archives: used where they lie, copied out of archives, or cropped when asked."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from probe.datasets import ingest, open_dataset, work
from probe.errors import DatasetError
from tests.datasets.drawing import draw_face
from tests.datasets.test_ingest import require_equal


def write_face(file: Path, seed: int, x: float = 60) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_face(x=x, y=60, radius=28, width=128, height=128, seed=seed)).save(file)
    return file


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """{train,test}/{real,fake}/<person>_<frame>.png of two persons each."""
    root, seed = tmp_path / "crops", 0
    for split in ("train", "test"):
        for kind in ("real", "fake"):
            for person in (1, 2):
                for frame in range(3):
                    seed += 1
                    name = f"{split}/{kind}/{split}{person}_{frame}.png"
                    write_face(root / name, seed)
    return root


def test_images_are_opened_where_they_lie(crops: Path) -> None:
    data = open_dataset("folder", root=crops)
    assert len(data) == 24 and data.labels.sum() == 12
    table = data.samples.table
    assert set(table["split"]) == {"train", "test"} and table["video"].nunique() == 8
    for i, row in table.iterrows():
        file = Path(row["path"])
        assert file.is_relative_to(crops) and row["split"] in file.parts
        assert ("fake" in file.parts) == row["label"]
        with Image.open(file) as image:
            np.testing.assert_array_equal(data.image(int(str(i))), np.asarray(image))
    assert data.card["layout"] == "folder" and "no face was cropped" in data.card["crop"]["rule"]
    assert len(open_dataset("auto", root=crops, split="test")) == 12


def test_ingest_takes_them_without_a_copy(crops: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = ingest("folder", crops, out, n_workers=1)
    data = open_dataset(out)
    assert report.written == len(data) == 24 and not list(out.rglob("*.png"))
    lying = open_dataset("folder", root=crops)
    columns = list(lying.samples.table.columns)
    pd.testing.assert_frame_equal(data.samples.table[columns], lying.samples.table)
    assert data.fingerprint == lying.fingerprint


def test_a_second_run_looks_at_nothing_again(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ingest("folder", crops, tmp_path / "out", n_workers=1)
    monkeypatch.setattr(work, "_do", lambda job: pytest.fail("an image was read again"))
    assert ingest("folder", crops, tmp_path / "out", n_workers=1).to_dict() == first.to_dict()


def test_a_mended_image_is_taken_by_the_next_run(crops: Path, tmp_path: Path) -> None:
    bad = crops / "train/real/train1_1.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:300])
    report = ingest("folder", crops, tmp_path / "out", n_workers=1)
    (broken,) = report.incomplete
    assert broken.not_decoded == (1,) and "train1_1.png" in broken.reasons["1"]
    assert report.written == 23 and "1 not decoded" in report.summary()
    with pytest.raises(DatasetError, match="strict was set, and 1 videos are incomplete"):
        ingest("folder", crops, tmp_path / "out", n_workers=1, strict=True)
    bad.write_bytes(whole)
    assert ingest("folder", crops, tmp_path / "out", n_workers=1, strict=True).written == 24


def test_odd_images_are_taken_converted_and_counted(crops: Path, tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64)).save(crops / "test/real/odd1_0.jpg")
    Image.new("RGBA", (64, 64)).save(crops / "test/fake/odd1_0.png")
    Image.fromarray(np.full((64, 64), 40000, np.uint16)).save(crops / "test/fake/odd2_0.png")
    Image.new("RGB", (1, 1)).save(crops / "test/fake/odd3_0.png")
    (crops / "test/fake/odd4_0.png").touch()
    report = ingest("folder", crops, tmp_path / "out", n_workers=1)
    assert report.conversions() == {
        "16-bit gray to 8-bit RGB": 1,
        "CMYK to RGB": 1,
        "alpha dropped": 1,
    }
    found = {video.key: video for video in report.incomplete}
    assert found["folder/test/fake/odd3"].too_small == (0,)
    assert "zero bytes" in found["folder/test/fake/odd4"].reasons["0"]
    assert report.written == len(open_dataset(tmp_path / "out")) == 27
    saved = json.loads((tmp_path / "out/ingest-report.json").read_text())
    assert saved["frames_too_small"] == 1 and saved["frames_not_decoded"] == 1


@pytest.mark.parametrize("options", [{"frames": 2}, {"every": 2}])
def test_frames_are_chosen_among_images(
    crops: Path, tmp_path: Path, options: dict[str, int]
) -> None:
    ingest("folder", crops, tmp_path / "out", n_workers=1, **options)
    table = open_dataset(tmp_path / "out").samples.table
    chosen = {tuple(rows["frame"]) for _, rows in table.groupby("video")}
    # Two parts of three frames: their middles are 0.75 and 2.25.
    assert chosen == ({(0, 2)})


def test_faces_are_cut_out_of_images_when_asked(crops: Path, tmp_path: Path) -> None:
    report = ingest("folder", crops, tmp_path / "out", crop=True, size=48, n_workers=1)
    data = open_dataset(tmp_path / "out")
    assert report.written == 24 and data.image(0).shape == (48, 48, 3)
    assert data.card["crop"]["margin"] == 1.3
    assert not any(Path(path).is_absolute() for path in data.samples.table["path"])


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_face(60, 60, 28, 128, 128, seed)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def wild(tmp_path: Path) -> Path:
    """Archives of two sequences each, one of them with a member that leads out."""
    root, seed = tmp_path / "wild", 0
    for folder in ("real_train", "fake_train", "real_test", "fake_test"):
        (root / folder).mkdir(parents=True)
        with tarfile.open(root / folder / "1.tar.gz", "w:gz") as tar:
            for sequence in (0, 1):
                for frame in (1, 2, 10):
                    seed += 1
                    add(tar, f"1/{folder[:4]}/{sequence}/{frame}.png", png(seed))
            if folder == "fake_test":
                add(tar, "../../escaped.png", png(0))
                add(tar, "1/fake/1/11.png", b"no image")
    return root


def test_archives_are_read_in_place(wild: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = ingest("wilddeepfake", wild, out, n_workers=1)
    data = open_dataset(out)
    assert report.written == len(data) == 24
    written = {path for path in tmp_path.rglob("*") if path.is_file() and wild not in path.parents}
    assert all(out in path.parents for path in written)
    assert not list(tmp_path.rglob("escaped*"))
    assert any("../../escaped.png" in name for name in report.left_out)
    (broken,) = report.incomplete
    assert broken.reasons and broken.available == 4
    # In the order of their numbers, byte for byte as they are in the archive.
    row = data.samples.table.iloc[2]
    assert row["sample"].endswith("/000002")
    with tarfile.open(wild / "real_train/1.tar.gz") as tar:
        member = tar.extractfile("1/real/0/10.png")
        assert member is not None
        assert (out / row["path"]).read_bytes() == member.read()
    two = ingest("wilddeepfake", wild, tmp_path / "two", n_workers=2)
    assert two.to_dict() == report.to_dict()
    require_equal(out, tmp_path / "two")


def test_an_archive_opens_by_its_layout(
    wild: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the cache, which a second call finds."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    data = open_dataset("wilddeepfake", root=wild, frames=1, n_workers=1, split="test")
    assert len(data) == 4 and data.root.is_relative_to(tmp_path / "cache")
    monkeypatch.setattr(work, "_do", lambda job: pytest.fail("an archive was read again"))
    again = open_dataset("wilddeepfake", root=wild, frames=1, n_workers=1, split="test")
    assert again.fingerprint == data.fingerprint


def test_a_trap_that_unpacks_without_end(tmp_path: Path) -> None:
    root = tmp_path / "wild"
    (root / "real_train").mkdir(parents=True)
    with tarfile.open(root / "real_train/1.tar.gz", "w:gz") as tar:
        add(tar, "1/real/0/1.png", bytes(40_000_000))
    with pytest.raises(DatasetError, match="No image was read from"):
        ingest("wilddeepfake", root, tmp_path / "out", n_workers=1)
    saved = json.loads((tmp_path / "out/ingest-report.json").read_text())
    assert "unpacks to more than 100 times its size" in saved["videos"][0]["error"]


def test_names_that_no_file_may_have(tmp_path: Path) -> None:
    """Spaces, quotes, line breaks and other scripts, in folders that become names of crops."""
    root = tmp_path / "odd"
    names = ["a b", "it's", 'say "x"', "line\nbreak", "日本", "-..1", "%2F", "x" * 200]
    for name in names:
        for kind in ("real", "fake"):
            write_face(root / "test" / kind / name / "0.png", len(name))
    report = ingest("folder", root, tmp_path / "out", crop=True, size=32, n_workers=1)
    assert report.written == 2 * len(names) and not report.left_out
    data = open_dataset(tmp_path / "out")
    assert {video.split("/")[-1] for video in data.samples.table["video"]} == set(names)
    assert data.image(0).shape == (32, 32, 3)
    made = [path.name for path in (tmp_path / "out/crops").glob("*/*")]
    assert len(made) == 2 * len(names) and all(name.isascii() and "\n" not in name for name in made)


@pytest.mark.parametrize("splits", [None, "none"])
def test_a_flat_folder_is_divided_and_said_or_all_test(tmp_path: Path, splits: str | None) -> None:
    for kind in ("real", "fake"):
        for k in range(28):
            (tmp_path / "in" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / kind / f"{k:04d}.png").write_bytes(png(k))
    given = {} if splits is None else {"splits": splits}
    report = ingest("folder", tmp_path / "in", tmp_path / "out", n_workers=1, **given)
    table = open_dataset(tmp_path / "out").samples.table
    counts = table.groupby(["split", "label"]).size().to_dict()
    said = [note for note in report.notes if "divided by probe" in note]
    if splits == "none":
        assert counts == {("test", 0): 28, ("test", 1): 28} and not said
    else:
        assert set(counts) == {(s, c) for s in ("train", "val", "test") for c in (0, 1)}
        assert "train 40 (20 real, 20 fake)" in said[0] and said[0] in report.summary()


def test_a_name_that_is_given_to_an_ingest(tmp_path: Path) -> None:
    for kind, seed in (("real", 1), ("fake", 2)):
        (tmp_path / "in/test" / kind).mkdir(parents=True)
        (tmp_path / "in/test" / kind / "0.png").write_bytes(png(seed))
    ingest("folder", tmp_path / "in", tmp_path / "out", n_workers=1, name="mine")
    data = open_dataset(tmp_path / "out")
    assert data.name == "mine" and set(data.samples.table["dataset"]) == {"mine"}
    assert set(data.samples.table["method"]) == {"real", "mine"}
    lying = open_dataset("folder", root=tmp_path / "in", name="mine")
    assert set(lying.samples.table["dataset"]) == {"mine"}
