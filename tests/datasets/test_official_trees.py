"""The maintainer's trees: the official shapes are read, divided as a study asks, and show faces."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path

import av

from probe.datasets.layouts import LAYOUTS, LayoutOptions
from probe.datasets.splits import assign_splits
from tools.official_trees import celebdf, dfd, faceforensics, make_job, split_pairs
from tools.short_paper import PEOPLE, STUDY, shortened, to_toml


def touched(jobs: list) -> None:
    for file in (file for job in jobs for file in job.files()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_splits_are_the_official_ones_in_proportion() -> None:
    official = split_pairs(1000)
    assert [len(official[name]) for name in ("train", "val", "test")] == [360, 70, 70]
    few = split_pairs(48)
    assert len({one for pairs in few.values() for pair in pairs for one in pair}) == 48
    assert len(few["val"]) == len(few["test"]) == 6


def test_trees_are_read_whole_with_both_classes_in_each_split(tmp_path: Path) -> None:
    root = tmp_path / "FaceForensics++"
    jobs = [*faceforensics(root, PEOPLE[0], 1, 64, 0), *dfd(root, PEOPLE[2], 1, 64, 0)]
    touched(jobs)
    found = LAYOUTS["faceforensics"].read(root, LayoutOptions())
    assert not found.left_out and len(found.videos) == 48 * 5 + 12 * 2 * 2
    assert all(video.masks for video in found.videos if video.label)
    originals = {f"{video.dataset}/{video.video}" for video in found.videos if not video.label}
    assert {video.original for video in found.videos if video.label} <= originals
    celeb = tmp_path / "Celeb-DF-v2"
    touched(list(celebdf(celeb, PEOPLE[1], 1, 64, 0)))
    found = assign_splits(LAYOUTS["celebdf-v2"].read(celeb, LayoutOptions()), "cut", 0)
    counts = Counter((video.split, video.label) for video in found.videos)
    assert all(counts[split, label] for split in ("train", "val", "test") for label in (0, 1))
    assert counts["test", 1] >= 10 and counts["train", 1] >= 30


def test_videos_are_h264_in_pairs_that_differ_under_the_mask(tmp_path: Path) -> None:
    job = next(dfd(tmp_path, 3, 2, 160, 0))
    make_job(job)
    decoded = []
    for file in job.files():
        with av.open(str(file)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            decoded.append(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int))
    real, fake, mask = decoded
    inside, change = mask[..., 0] > 128, abs(real - fake).mean(axis=2)
    assert 0.02 < inside.mean() < 0.5
    assert change[inside].mean() > 3 * change[~inside].mean()
    before = {file: file.stat().st_mtime_ns for file in job.files()}
    make_job(job)
    assert before == {file: file.stat().st_mtime_ns for file in job.files()}


def test_the_short_study_has_the_papers_shape() -> None:
    plain = tomllib.loads(STUDY.read_text(encoding="utf-8"))
    short = tomllib.loads(to_toml(shortened(plain)))
    assert [one.get("part", one.get("name")) for one in short["datasets"]] == [
        one.get("part", one.get("name")) for one in plain["datasets"]
    ]
    for key in ("names", "variants", "source", "target"):
        assert short["detectors"][key] == plain["detectors"][key]
    assert short["neurons"]["mode"] == "authors"
    assert json.dumps(shortened(plain), sort_keys=True) == json.dumps(short, sort_keys=True)
