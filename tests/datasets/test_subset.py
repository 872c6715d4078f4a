"""Draws of images: against a slow loop, and by their properties."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.datasets import Dataset, Samples
from probe.datasets.subset import draw, draw_rows, draw_videos, video_order
from probe.errors import ProbeError, UnknownNameError

Video = tuple[str, int, str, str, int]


def table_of(videos: list[Video]) -> pd.DataFrame:
    """One row a frame; a video is its dataset, label, name, person and number of frames."""
    rows = [
        {
            "sample": f"{dataset}/{label}/{name}/{frame}",
            "dataset": dataset,
            "split": "test",
            "label": label,
            "method": "swap" if label else "real",
            "video": name,
            "identity": person,
            "source": "",
            "frame": frame,
            "path": "x.png",
            "mask": "",
        }
        for dataset, label, name, person, frames in videos
        for frame in range(frames)
    ]
    return Samples(pd.DataFrame(rows)).table


def dataset_of(table: pd.DataFrame) -> Dataset:
    return Dataset("d", Samples(table), Path())


def number(seed: int, *name: Any) -> int:
    text = "\x1f".join(map(str, (seed, *name)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def slow(table: pd.DataFrame, n: int, seed: int) -> set[str]:
    """State the rule anew: a queue a class, and turns of people, videos and frames."""
    queues = []
    for label in (1, 0):
        part = table[table["label"] == label]
        people: dict[str, list[tuple[str, str]]] = {}
        for method, video, identity in dict.fromkeys(
            zip(part["method"], part["video"], part["identity"], strict=True)
        ):
            people.setdefault(identity or video, []).append((method, video))
        for videos in people.values():
            videos.sort(key=lambda video: number(seed, *video))
        order = sorted(people, key=lambda person: number(seed, person))
        rounds = zip_longest(*(people[person] for person in order))
        videos = [video for one in rounds for video in one if video is not None]
        frames = []
        for method, video in videos:
            rows = part[(part["method"] == method) & (part["video"] == video)]
            own = zip(rows["frame"], rows["sample"], strict=True)
            frames.append(sorted(own, key=lambda one: number(seed, method, video, one[0])))
        turns = zip_longest(*frames)
        queues.append([one[1] for turn in turns for one in turn if one is not None])
    merged = [one for pair in zip_longest(*queues) for one in pair if one is not None]
    return set(merged[:n])


@st.composite
def tables(draw_of: Any) -> pd.DataFrame:
    videos = []
    for label in (0, 1):
        for i in range(draw_of(st.integers(0, 5))):
            person = draw_of(st.sampled_from(["", "a", "b", "c"]))
            videos.append(("d", label, f"v{i}", person, draw_of(st.integers(1, 4))))
    return table_of(videos or [("d", 0, "v", "a", 2)])


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(1, 40), st.integers(0, 3))
def test_it_is_the_rule_whatever_the_order_of_rows(table: pd.DataFrame, n: int, seed: int) -> None:
    drawn = table.iloc[draw_rows(table, n, seed)]
    assert set(drawn["sample"]) == slow(table, n, seed)
    assert list(drawn.index) == sorted(drawn.index)
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    assert set(shuffled.iloc[draw_rows(shuffled, n, seed)]["sample"]) == set(drawn["sample"])


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(1, 40))
def test_classes_and_videos_have_equal_shares_as_far_as_they_go(
    table: pd.DataFrame, n: int
) -> None:
    drawn = table.iloc[draw_rows(table, n, 0)]
    assert len(drawn) == min(n, len(table))
    total, kept = (Counter(part["label"]) for part in (table, drawn))
    for one, other in ((0, 1), (1, 0)):
        assert kept[one] == total[one] or kept[one] >= kept[other] - 1
    for label in (0, 1):
        own = Counter(table["video"][table["label"] == label])
        mine = Counter(drawn["video"][drawn["label"] == label])
        for video in own:
            assert mine[video] == own[video] or mine[video] >= max(mine.values(), default=0) - 1


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(1, 30))
def test_a_larger_draw_holds_a_smaller_one(table: pd.DataFrame, n: int) -> None:
    assert set(draw_rows(table, n, 1)) <= set(draw_rows(table, n + 1, 1))
    assert set(draw_videos(table, n, 1)) <= set(draw_videos(table, n + 1, 1))


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(1, 30))
def test_videos_are_drawn_whole_until_there_are_enough_images(table: pd.DataFrame, n: int) -> None:
    kept = draw_videos(table, n, 0)
    key = ["label", "video"]
    sizes = table.groupby(key).size()
    drawn = table.iloc[kept].groupby(key).size()
    assert (sizes[drawn.index] == drawn).all()
    last = video_order(table.drop_duplicates(key), 0)[len(drawn) - 1]
    name = table.drop_duplicates(key).iloc[last]
    without = len(kept) - sizes[(name["label"], name["video"])]
    # One video of each class stays, however few images are wanted.
    assert without < n or drawn.groupby("label").size().tolist() == [1, 1]
    assert set(drawn.index.get_level_values("label")) == set(table["label"])
    assert len(kept) >= n or len(kept) == len(table)


def test_few_images_are_of_many_people_and_the_same_ones_in_both_classes() -> None:
    videos = [
        ("d", label, f"{person}-{i}", person, 8)
        for label in (0, 1)
        for person in "abcdefgh"
        for i in range(3)
    ]
    drawn = table_of(videos).iloc[draw_rows(table_of(videos), 8, 0)]
    by_class = [set(drawn["identity"][drawn["label"] == label]) for label in (0, 1)]
    assert by_class[0] == by_class[1] and len(by_class[0]) == 4


def test_the_first_rows_are_an_option_and_may_be_of_one_class() -> None:
    table = table_of([("d", 0, "r", "a", 6), ("d", 1, "f", "a", 6)])
    assert draw_rows(table, 5, order="first").tolist() == [0, 1, 2, 3, 4]
    assert set(table.iloc[draw_rows(table, 5)]["label"]) == {0, 1}


def test_each_dataset_gives_so_many_and_shared_originals_are_drawn_alike() -> None:
    videos: list[Video] = []
    for name in ("a", "b"):
        videos += [(name, 0, f"r{i}", f"p{i}", 4) for i in range(9)]
        videos += [(name, 1, f"{name}{i}", f"p{i}", 4) for i in range(9)]
    data = dataset_of(table_of(videos))
    table = draw(data, 10, 3).samples.table
    assert Counter(zip(table["dataset"], table["label"], strict=True)) == {
        (name, label): 5 for name in ("a", "b") for label in (0, 1)
    }
    reals = table[table["label"] == 0]
    mine, other = (
        set(zip(part["video"], part["frame"], strict=True)) for _, part in reals.groupby("dataset")
    )
    assert mine == other
    assert draw(data, 72) is data and draw(data, None) is data


def test_strata_come_in_turn() -> None:
    table = table_of(
        [
            ("a", 0, "r", "p", 50),
            ("a", 1, "f", "p", 3),
            ("b", 0, "r", "p", 9),
            ("b", 1, "f", "p", 9),
        ]
    )
    drawn = table.iloc[draw_rows(table, 24, turns=("dataset", "label"))]
    counts = drawn.groupby(["dataset", "label"]).size().to_dict()
    assert counts == {("a", 0): 7, ("a", 1): 3, ("b", 0): 7, ("b", 1): 7}


def test_seeds_differ_and_numbers_stay_as_they_are() -> None:
    table = table_of([("d", label, f"v{i}", f"p{i}", 5) for label in (0, 1) for i in range(40)])
    draws = [tuple(draw_rows(table, 6, seed)) for seed in range(5)]
    assert len(set(draws)) == 5
    # A draw is part of a result: it may not change with a version of anything.
    assert draws[0] == (33, 143, 183, 232, 344, 382)


def test_what_is_asked_for_has_to_make_sense() -> None:
    table = table_of([("d", 0, "r", "a", 6)])
    with pytest.raises(UnknownNameError, match="drawn, first"):
        draw_rows(table, 2, order="random")
    with pytest.raises(ProbeError, match="at least 1"):
        draw_rows(table, 0)
