"""The crop cache: each video is cut once by a rule, whoever asks, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets import Dataset, clips, crops, ingest, open_dataset
from probe.datasets.crops import crops_folder
from probe.errors import DatasetError
from tests.datasets.drawing import make_tree, moving, write_video
from tests.datasets.trees import dfd

SMALL = {"frames": 3, "size": 48}
FAKE = "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FaceForensics++ with DeepFakeDetection under one root, as the download script leaves it."""
    return dfd(make_tree(tmp_path_factory.mktemp("trees")))


@pytest.fixture
def tree(whole_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(whole_tree, tmp_path / "tree"))


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the videos that were cut, in their order."""
    keys: list[str] = []
    real = clips.cut_clip

    def counted(task: clips.ClipTask) -> clips.Clip:
        keys.append(task.entry.key)
        return real(task)

    monkeypatch.setattr(clips, "cut_clip", counted)
    return keys


def opened(tree: Path, layout: str = "faceforensics", **options: object) -> Dataset:
    return open_dataset(layout, root=tree, n_workers=1, **{**SMALL, **options})


def entries() -> list[Path]:
    return sorted(file.parent for file in crops_folder().glob(f"*/*/*/{clips.CLIP_FILE}"))


def test_it_gives_what_an_ingest_gives(tree: Path, cut: list[str], tmp_path: Path) -> None:
    ingest("faceforensics", tree, tmp_path / "out", n_workers=1, **SMALL)
    own = open_dataset(tmp_path / "out")
    found = opened(tree)
    assert len(cut) == 2 * 7 and own.name == found.name
    assert own.card == {"name": own.name, **found.card}
    places = ["path", "mask"]
    pd.testing.assert_frame_equal(
        own.samples.table.drop(columns=places), found.samples.table.drop(columns=places)
    )
    for name in places:
        for mine, cached in zip(own.samples.table[name], found.samples.table[name], strict=True):
            assert bool(mine) == bool(cached)
            if mine:
                assert Path(cached).is_relative_to(crops_folder())
                assert (own.root / mine).read_bytes() == Path(cached).read_bytes()


def test_what_two_layouts_share_is_cut_once(tree: Path, cut: list[str]) -> None:
    both, alone = opened(tree), opened(tree, "dfd")
    assert sorted(cut) == sorted(set(cut)) and len(cut) == 7
    part = both.samples.table[both.samples.table["dataset"].isin(["actors", "dfd"])]
    assert list(part["path"]) == list(alone.samples.table["path"])


@pytest.mark.parametrize("change", [{"splits": "seeded", "seed": 5}, {"splits": "cut"}, {}])
def test_neither_splits_nor_places_nor_names_nor_ages_cut_again(
    tree: Path, cut: list[str], tmp_path: Path, change: dict[str, object]
) -> None:
    before = opened(tree)
    cut.clear()
    moved = tree.rename(tmp_path / "moved")
    for file in moved.rglob("*.mp4"):
        os.utime(file, ns=(10**9, 10**9))
    old = moved / "original_sequences/youtube/c23/videos/000.mp4"
    old.rename(old.with_name("777.mp4"))
    (moved / "splits/test.json").write_text(json.dumps([["777", "100"]]))
    after = opened(moved, **change).samples.table
    assert not cut
    assert set(after[after["video"] == "777"]["path"]) == set(
        before.samples.table.query("video == '000'")["path"]
    )


def test_a_file_that_stays_is_not_read_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tree)
    monkeypatch.setattr(crops, "_digest", lambda files: pytest.fail(f"{files} were read again"))
    opened(tree, margin=1.5)
    with pytest.raises(pytest.fail.Exception, match="000_003.mp4"):
        os.utime(tree / FAKE)
        opened(tree)


@pytest.mark.parametrize(
    "change", [{"margin": 1.5}, {"size": 64}, {"frames": 4}, {"align": True}, {"crop": False}]
)
def test_another_rule_cuts_all(tree: Path, cut: list[str], change: dict[str, object]) -> None:
    opened(tree)
    opened(tree, **change)
    assert len(cut) == 14 and len(entries()) == 14


def test_other_versions_cut_all(
    tree: Path, cut: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tree)
    monkeypatch.setattr("probe.datasets.report.version_of", lambda name: "99.1")
    opened(tree)
    assert len(cut) == 14


def test_another_mask_cuts_its_video(tree: Path, cut: list[str]) -> None:
    opened(tree)
    cut.clear()
    mask = tree / "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"
    shutil.copy(tree / "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4", mask)
    opened(tree)
    assert cut == ["deepfakes/000_003"]


def test_given_boxes_are_part_of_it(tree: Path, cut: list[str], tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    rows = ["video,frame,x,y,width,height"]
    keys = {
        f"{v.dataset}/{v.video}": v
        for v in ingest("faceforensics", tree, tmp_path / "out", n_workers=1, **SMALL).videos
    }
    cut.clear()
    rows += [f"{key},{frame},60,50,60,60" for key in keys for frame in range(24)]
    boxes.write_text("\n".join(rows))
    opened(tree, boxes=boxes)
    opened(tree, boxes=boxes)
    assert len(cut) == 7
    boxes.write_text(boxes.read_text().replace("deepfakes/000_003,9,60", "deepfakes/000_003,9,61"))
    opened(tree, boxes=boxes)
    assert cut[7:] == ["deepfakes/000_003"]


def remove(entry: Path) -> None:
    next(entry.glob("*.png")).unlink()


def shorten(entry: Path) -> None:
    file = next(entry.glob("*.png"))
    file.write_bytes(file.read_bytes()[:-1])


def alter(entry: Path) -> None:
    """Change one byte of an image, later than the record was written."""
    file = next(entry.glob("*.png"))
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(2 * 10**18, 2 * 10**18))


def garble(entry: Path) -> None:
    (entry / clips.CLIP_FILE).write_text('{"report": {}')


@pytest.mark.parametrize("harm", [remove, shorten, alter, garble])
def test_a_damaged_entry_is_said_and_made_again(
    tree: Path,
    cut: list[str],
    harm: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = opened(tree)
    entry = Path(before.samples.table["path"].iloc[0]).parent
    whole = {file.name: file.read_bytes() for file in entry.iterdir()}
    cut.clear()
    capsys.readouterr()
    harm(entry)
    after = opened(tree)
    assert len(cut) == 1 and "It is made again." in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in entry.iterdir()} == whole
    pd.testing.assert_frame_equal(before.samples.table, after.samples.table)
    assert not [one for one in crops_folder().rglob(".*") if one.is_file() or one.is_dir()]


def test_a_cache_that_was_copied_without_its_times_is_whole(
    tree: Path, cut: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tree)
    cut.clear()
    shutil.copytree(tmp_path / "cache", tmp_path / "other", copy_function=shutil.copyfile)
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "other"))
    for image in crops_folder().rglob("*.png"):
        os.utime(image, ns=(2 * 10**18, 2 * 10**18))
    assert Path(opened(tree).samples.table["path"].iloc[0]).is_relative_to(tmp_path / "other")
    assert not cut


def test_a_broken_video_is_said_and_tried_again(
    tree: Path, cut: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (tree / FAKE).read_bytes()
    (tree / FAKE).write_bytes(b"no video")
    opened(tree)
    assert "2 lack images" in (said := capsys.readouterr().err) and "ingest-report.json" in said
    with pytest.raises(DatasetError, match="strict was set. Of 7 videos .* 2 lack images"):
        opened(tree, strict=True)
    assert cut.count("deepfakes/000_003") == 2
    (tree / FAKE).write_bytes(whole)
    assert len(opened(tree)) == 20


def test_a_video_that_changes_while_it_is_read_is_no_entry(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, other = clips.cut_clip, moving(9, 7)

    def meddled(task: clips.ClipTask) -> clips.Clip:
        clip = real(task)
        if task.entry.key == "deepfakes/000_003":
            write_video(tree / FAKE, other)
        return clip

    monkeypatch.setattr(clips, "cut_clip", meddled)
    assert "deepfakes" not in set(opened(tree).samples.table["dataset"]) and len(entries()) == 6
    assert "2 lack images" in capsys.readouterr().err
    monkeypatch.setattr(clips, "cut_clip", real)
    assert "deepfakes" in set(opened(tree).samples.table["dataset"]) and len(entries()) == 7


RUN = """
import sys, time
from probe.datasets import clips, open_dataset
fast = clips.cut_clip
def slow(task):
    with open(sys.argv[2], "a") as log:
        log.write(task.entry.key + "\\n")
    time.sleep(0.3)
    return fast(task)
clips.cut_clip = slow
open_dataset("faceforensics", root=sys.argv[1], frames=3, size=48, n_workers=1)
"""


def started(tree: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(tree), str(log)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_two_at_once_cut_nothing_twice(tree: Path, tmp_path: Path, cut: list[str]) -> None:
    log = tmp_path / "log"
    both = [started(tree, log) for _ in range(2)]
    said = [one.communicate(timeout=120)[1].decode() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert len(log.read_text().split()) == 7 == len(entries())
    opened(tree)
    assert not cut


def test_a_kill_loses_one_video_at_most(tree: Path, tmp_path: Path, cut: list[str]) -> None:
    process = started(tree, tmp_path / "log")
    deadline = time.monotonic() + 60
    while len(entries()) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = len((tmp_path / "log").read_text().split())
    found = opened(tree)
    assert len(cut) <= 7 - (begun - 1) and len(found) == 20
    assert not list(crops_folder().rglob(".*"))


@given(st.data())
def test_a_torn_index_costs_a_reading_and_no_wrong_entry(data: st.DataObject) -> None:
    """Whatever lines are cut, joined or doubled: what is known is what was written."""
    pairs = {f"{i:032x}": f"{i * i:032x}" for i in range(5)}
    lines = [f"{a} {b} {crops._check(a, b)}" for a, b in pairs.items()]
    text = "\n".join(data.draw(st.permutations(lines + lines)))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    known = crops.parse_sources(text[:start] + text[stop:])
    assert all(pairs[stamp] == content for stamp, content in known.items())
    assert crops.parse_sources(text) == pairs


def test_a_cache_that_cannot_be_written(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tree / FAKE))
    with pytest.raises(DatasetError, match=r"cache .* cannot be written .*PROBE_CACHE"):
        opened(tree)
