"""Sources that were not ingested: what DF40's trees and lists are known for is found and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import probe
from probe.datasets.audit import audit
from probe.errors import DatasetError
from tests.datasets.audit.making import make_clean
from tests.datasets.trees import df40, put_image
from tests.test_cli import run

PREFIX = "deepfakes_detection_datasets\\DF40\\"


def frames(root: Path, method: str, video: str, exist: bool = True) -> dict[str, object]:
    names = [f"{method}/frames/{video}/{i:03}.png" for i in range(2)]
    for i, name in enumerate(names if exist else ()):
        put_image(root / name, int(video[2]) + i)
    return {"label": "x", "frames": [PREFIX + name.replace("/", "\\") for name in names]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lists of four methods beside the images: one sound, three each with a fault."""
    root = tmp_path / "DF40"
    real = {f"00{i}": frames(root, "youtube", f"00{i}") for i in range(4)}

    def write(method: str, train: dict[str, object], test: dict[str, object], **reals: object):
        splits = {"train": {"000": real["000"], **reals}, "val": {}, "test": {"001": real["001"]}}
        groups = {f"{method}_Real": splits, f"{method}_Fake": {"train": train, "test": test}}
        file = root / f"dataset_json/{method}_ff.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({f"{method}_ff": groups}))

    one, two = (frames(root, "simswap", name) for name in ("000_001", "001_000"))
    write("simswap", {"a": one}, {"b": two})
    write("lia", {"a": one, "b": two}, {"b": two, "c": one})
    write("fsgan", {"a": frames(root, "fsgan", "000_001", exist=False)}, {"b": two})
    write("e4s", {"a": one}, {"b": two}, again=real["000"])
    (root / "uniface/frames/000_001").mkdir(parents=True)
    (root / "uniface/frames/001_000").mkdir()
    return root


def test_each_fault_is_found_where_it_is(root: Path) -> None:
    found = {(one.check, one.dataset): one for one in audit(root).findings}
    assert {key for key in found if key[0] not in ("left-out", "not-read", "layout")} == {
        ("empty-folder", "DF40"),
        ("train-equals-test", "dataset_json/lia_ff.json: lia_Fake"),
        ("missing-file", "dataset_json/fsgan_ff.json: fsgan_Fake"),
        ("duplicated-real", "dataset_json/e4s_ff.json: train"),
    }
    assert found["empty-folder", "DF40"].examples == ("uniface",)
    equal = found["train-equals-test", "dataset_json/lia_ff.json: lia_Fake"]
    assert equal.severity == "error" and equal.count == 4
    missing = found["missing-file", "dataset_json/fsgan_ff.json: fsgan_Fake"]
    assert missing.message.startswith("2 of 4 listed files are not on disk")
    assert found["duplicated-real", "dataset_json/e4s_ff.json: train"].count == 2


def test_a_list_alone_is_checked_against_the_folder_around_it(root: Path) -> None:
    report = audit(root / "dataset_json/lia_ff.json")
    assert "train-equals-test" in {one.check for one in report.findings}
    assert "missing-file" not in {one.check for one in report.findings}


def sound(root: Path) -> Path:
    """A tree of DF40 without equal images."""
    put_image(df40(root) / "MidJourney/real/30.png", 5)
    return root


def test_a_tree_with_copied_reals(tmp_path: Path) -> None:
    root = sound(tmp_path)
    put_image(root / "ddpm/real/7.png", 4)
    put_image(root / "ddpm/fake/8.png", 4)
    found = {one.check: one for one in audit(root).findings}
    copies = found["duplicated-real"]
    assert copies.dataset == "ddpm, midjourney" and copies.count == 2
    assert copies.examples == ("ddpm/real/7 = midjourney/real/4",)
    assert found["layout"].message.startswith("Read as df40: ")


def test_a_sound_tree_gives_notes_alone(tmp_path: Path) -> None:
    report = audit(sound(tmp_path))
    assert report.clean and report.images == 15


def test_damaged_lists_and_unknown_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    checks = {one.check for one in audit(tmp_path).errors}
    assert checks == {"unreadable-list", "not-read"}
    with pytest.raises(DatasetError, match="is missing. Give the folder"):
        audit(tmp_path / "nowhere")


def test_sources_and_datasets_together(tmp_path: Path) -> None:
    data = make_clean(tmp_path / "clean")
    report = probe.audit([data, df40(tmp_path / "tree")], n_workers=1)
    assert set(report.datasets) == {"clean/train", "clean/val", "clean/test", "tree"}
    assert report.images == 80 + 15


def test_on_the_command_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("audit", root) == 3
    assert "train-equals-test" in capsys.readouterr().out
    assert run("audit", sound(tmp_path / "sound")) == 0
    assert run("audit", tmp_path / "nowhere") == 2
