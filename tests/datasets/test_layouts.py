"""What every layout promises, over the registry."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from probe.datasets import ingest, open_dataset
from probe.datasets.layouts import (
    LAYOUTS,
    ImageFiles,
    Inventory,
    LayoutOptions,
    Media,
    ParquetImages,
    TarImages,
    VideoFile,
)
from probe.datasets.layouts.recognition import recognize
from probe.errors import DatasetError, UnknownNameError
from probe.schema import SPLITS
from tests.datasets.trees import TREES

#: Files that a reader reads to learn what the others are.
LISTS = {
    "train.json",
    "val.json",
    "test.json",
    "train.txt",
    "val.txt",
    "test.txt",
    "metadata.json",
    "labels.csv",
    "dataset.json",
    "List_of_testing_videos.txt",
    "FF-DF.json",
    "Celeb-DF-v2.json",
    "manifest.csv",
    "image-metadata-publish.csv",
    "video-metadata-publish.csv",
    "meta_data.csv",
}

NAMES = sorted(LAYOUTS)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tree of each layout, each in a folder whose name says nothing."""
    made = {}
    for number, name in enumerate(NAMES):
        root = tmp_path_factory.mktemp("trees") / f"root{number}"
        root.mkdir()
        made[name] = TREES[name](root)
    return made


def files_of(media: Media | None) -> set[Path]:
    if isinstance(media, VideoFile | ParquetImages):
        return {media.file}
    if isinstance(media, ImageFiles):
        return set(media.files)
    return {media.archive} if isinstance(media, TarImages) else set()


def test_every_layout_has_a_tree() -> None:
    assert set(TREES) == set(NAMES)
    assert all(LAYOUTS[name].name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_recognized_and_as_nothing_else(name: str, trees: dict[str, Path]) -> None:
    found, why = recognize(trees[name])
    assert found == name and why
    claims = {one for one in NAMES if LAYOUTS[one].recognize(trees[name])}
    generic = {one for one in NAMES if LAYOUTS[one].generic}
    assert claims - generic == {name} - generic


SPECIFIC = [name for name in NAMES if not LAYOUTS[name].generic]


@pytest.mark.parametrize("name", SPECIFIC)
def test_beside_another_none_is_guessed(name: str, trees: dict[str, Path], tmp_path: Path) -> None:
    """Any two side by side are an error that names both; a part of another needs no second."""
    for other in SPECIFIC[SPECIFIC.index(name) + 1 :]:
        root = tmp_path / other
        shutil.copytree(trees[name], root, copy_function=os.link)
        try:
            shutil.copytree(trees[other], root, copy_function=os.link, dirs_exist_ok=True)
        except shutil.Error:
            continue  # Two versions of one dataset, which lie at the same place.
        claims = {one for one in SPECIFIC if LAYOUTS[one].recognize(root)}
        assert {name, other} <= claims or claims == {"faceforensics"}, (name, other)
        if len(claims) > 1:
            with pytest.raises(DatasetError, match=f"(?s){re.escape(name)}, since .*Give the name"):
                recognize(root)


@pytest.mark.parametrize("name", NAMES)
def test_its_inventory_is_sound(name: str, trees: dict[str, Path]) -> None:
    found = LAYOUTS[name].inventory(trees[name])
    keys = [video.key for video in found.videos]
    assert keys and len(set(keys)) == len(keys)
    assert {video.label for video in found.videos} <= {0, 1}
    assert {video.split for video in found.videos} <= {*SPLITS, ""}
    assert all((video.method == "real") == (video.label == 0) for video in found.videos)
    assert all(video.original == "" or video.original in keys for video in found.videos)
    datasets = {video.dataset for video in found.videos}
    assert {*found.reals.keys(), *found.reals.values()} <= datasets
    assert found.label_convention and found.split_rule and found.license
    assert LAYOUTS[name].title and LAYOUTS[name].shape
    assert all(file.is_file() for video in found.videos for file in files_of(video.media))
    assert not any(str(trees[name]) in one for one in (*found.notes, *found.left_out))
    for video in found.videos:
        if isinstance(video.media, ImageFiles) and video.media.frames:
            assert len(video.media.frames) == len(video.media.files)
            assert list(video.media.frames) == sorted(set(video.media.frames))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_ingested_and_opened(
    name: str, trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `auto` into a folder, and by its name without one: the same samples and labels."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    before = {file: file.stat().st_mtime_ns for file in trees[name].rglob("*")}
    report = ingest("auto", trees[name], tmp_path / "out", frames=2, size=64, n_workers=1)
    data = open_dataset(tmp_path / "out")
    assert report.written == len(data) > 0 and f"Recognized as {name}: " in report.notes[0]
    assert data.card["layout"] == name and data.card["crop"]["rule"]
    found = {one.key: one for one in LAYOUTS[name].inventory(trees[name]).videos}
    for row in data.samples.table.itertuples():
        entry = found[f"{row.dataset}/{row.video}"]
        assert (row.label, row.method) == (entry.label, entry.method)
        assert row.split == entry.split or not entry.split or row.split == "val"
        assert data.image(int(row.Index)).ndim == 3
    assert {one.key for one in report.videos} | set(report.left_out) >= set(found)
    options = (
        {}
        if "taken" in {one.name for one in (tmp_path / "out").iterdir()}
        else ({"frames": 2, "size": 64, "n_workers": 1})
    )
    opened = open_dataset(name, root=trees[name], **options)
    assert set(data.samples.table["sample"]) <= set(opened.samples.table["sample"])
    assert before == {file: file.stat().st_mtime_ns for file in trees[name].rglob("*")}


@pytest.mark.parametrize("name", NAMES)
def test_images_on_disk_are_only_where_the_layout_says_so(
    name: str, trees: dict[str, Path]
) -> None:
    """Else they would be ingested without need, and archives listed twice."""
    found = LAYOUTS[name].inventory(trees[name]).videos
    still = all(isinstance(video.media, ImageFiles) for video in found)
    assert not still or LAYOUTS[name].may_lie


def test_layouts_whose_division_has_no_val_say_so(trees: dict[str, Path]) -> None:
    found = {name for name in NAMES if LAYOUTS[name].inventory(trees[name]).without_val}
    assert found == {
        "celebdf-v1",
        "celebdf-v2",
        "celeb-df++",
        "deepfake-eval-2024",
        "dfdc",
        "dfdc-preview",
        "wilddeepfake",
        "deepfakebench",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_accounted_for(name: str, trees: dict[str, Path]) -> None:
    """Taken, a mask, a list, or left out with its reason, itself or with its folder."""
    root = trees[name]
    (root / "stray notes.txt").touch()
    (root / "stray/deep").mkdir(parents=True, exist_ok=True)
    (root / "stray/deep/ünused\n.bin").touch()
    found = LAYOUTS[name].inventory(root)
    taken = set().union(*(files_of(v.media) | files_of(v.masks) for v in found.videos))
    for file in (one for one in root.rglob("*") if one.is_file()):
        path = file.relative_to(root)
        above = {f"{parent.as_posix()}/" for parent in path.parents}
        left_out = path.as_posix() in found.left_out or above & found.left_out.keys()
        assert file in taken or file.name in LISTS or left_out, path
        assert not (file in taken and left_out), path
    assert found.left_out["stray notes.txt"]
    assert all(reason for reason in found.left_out.values())


def _contents(found: Inventory) -> tuple[Any, ...]:
    return found.videos, dict(found.reals), dict(found.left_out), found.notes


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_file_system_does_not_matter(
    name: str, trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = LAYOUTS[name].inventory(trees[name])
    scandir, iterdir = os.scandir, Path.iterdir

    class Backwards:
        def __init__(self, path: Any = ".") -> None:
            with scandir(path) as entries:
                self.entries = iter(sorted(entries, key=lambda one: one.name, reverse=True))

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            return self.entries

        def __next__(self) -> os.DirEntry[str]:
            return next(self.entries)

        def __enter__(self) -> Backwards:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    again = LAYOUTS[name].inventory(trees[name])
    assert _contents(again) == _contents(first)
    assert list(again.left_out.items()) == list(first.left_out.items())


@pytest.mark.parametrize("name", NAMES)
def test_the_place_does_not_matter(name: str, tmp_path: Path) -> None:
    """Two copies in folders of other names give the same but for where the files are."""
    seen = []
    for place in ("a", "b c"):
        root = tmp_path / place
        root.mkdir()
        found = LAYOUTS[name].inventory(TREES[name](root))
        rows = [(v.key, v.label, v.method, v.split, v.identity, v.source) for v in found.videos]
        seen.append((rows, dict(found.left_out), found.notes))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_loop_of_links_ends(name: str, tmp_path: Path) -> None:
    root = TREES[name](tmp_path)
    before = {video.key for video in LAYOUTS[name].inventory(root).videos}
    deepest = max(root.rglob("*"), key=lambda one: (len(one.parts), one.name)).parent
    (deepest / "loop").symlink_to(root, target_is_directory=True)
    found = LAYOUTS[name].inventory(root)
    assert {video.key for video in found.videos} == before


@pytest.mark.parametrize("name", NAMES)
def test_options_it_does_not_take_are_refused(name: str, trees: dict[str, Path]) -> None:
    options = {
        "compression": "c23",
        "reals": trees[name],
        "image_root": trees[name],
        "fake_label": "1",
        "video_pattern": "(?P<video>.+)",
        "columns": "label=label",
    }
    for option in options.keys() - LAYOUTS[name].takes:
        with pytest.raises(DatasetError, match=f"{option}=.* was given, but the layout {name}"):
            LAYOUTS[name].inventory(trees[name], LayoutOptions(**{option: options[option]}))


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(DatasetError, match=r"Give |Rename |Choose "):
        LAYOUTS[name].inventory(tmp_path)
    with pytest.raises(DatasetError, match=r"is missing\. Give one with"):
        LAYOUTS[name].inventory(tmp_path / "nowhere")
    assert LAYOUTS[name].recognize(tmp_path) is None
    assert LAYOUTS[name].recognize(tmp_path / "holiday.txt") is None


def test_unknown_layouts_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Layout 'faceforensic' .*mean 'faceforensics'"):
        LAYOUTS["faceforensic"]
