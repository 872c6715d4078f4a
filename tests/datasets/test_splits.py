"""Splits that no identity crosses: against a plain search of the graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets.layouts import Inventory, VideoEntry, VideoFile
from probe.datasets.splits import assign_splits, components
from probe.errors import DatasetError


def video(
    name: str,
    identity: str = "",
    source: str = "",
    split: str = "",
    original: str = "",
    dataset: str = "d",
) -> VideoEntry:
    label = int(bool(source))
    media = VideoFile(Path(f"{name}.mp4"))
    return VideoEntry(
        dataset,
        name,
        media,
        label,
        "fake" if label else "real",
        split,
        identity,
        source,
        original=original,
    )


def pairs(n: int, split: str = "") -> list[VideoEntry]:
    """Persons who were swapped with one other each, as in FaceForensics++."""
    out = []
    for a in range(0, 2 * n, 2):
        for one, other in ((a, a + 1), (a + 1, a)):
            out.append(video(f"{one:03d}", f"{one}", split=split))
            out.append(video(f"{one:03d}_{other:03d}", f"{one}", f"{other}", split=split))
    return out


people = st.sampled_from(["", *"abcdefgh"])
videos = st.lists(st.tuples(people, people), max_size=14).map(
    lambda those: [video(str(k), a, b) for k, (a, b) in enumerate(those)]
)


@given(videos)
def test_components_are_those_of_a_plain_search(those: list[VideoEntry]) -> None:
    def touch(a: VideoEntry, b: VideoEntry) -> bool:
        return bool(({a.identity, a.source} & {b.identity, b.source}) - {""})

    left, groups = set(range(len(those))), set()
    while left:
        group = {min(left)}
        while more := {i for i in left - group if any(touch(those[i], those[k]) for k in group)}:
            group |= more
        groups.add(frozenset(group))
        left -= group
    assert {frozenset(group) for group in components(those)} == groups


def test_an_original_hangs_together_with_its_fakes() -> None:
    those = [video("a"), video("b"), video("c", source="x", original="d/a")]
    assert components(those) == [[0, 2], [1]]


def crossing(found: Inventory) -> set[str]:
    """People who are in more than one split, as seen, as source or as driver."""
    where: dict[str, set[str]] = {}
    for one in found.videos:
        for person in {one.identity, one.source, one.driver} - {""}:
            where.setdefault(person, set()).add(one.split)
    return {person for person, splits in where.items() if len(splits) > 1}


@given(videos, st.sampled_from(["official", "cut", "seeded"]), st.integers(0, 3))
def test_nobody_crosses_whatever_the_graph(those: list[VideoEntry], choice: str, seed: int) -> None:
    found = assign_splits(Inventory(tuple(those)), choice, seed)
    assert not crossing(found)
    assert all(one.split in ("train", "val", "test") for one in found.videos)
    kept = {one.key for one in found.videos}
    assert kept | set(found.left_out) == {one.key for one in those}
    assert not kept & set(found.left_out)
    assert found == assign_splits(Inventory(tuple(those)), choice, seed)


def test_pairs_are_divided_by_their_shares() -> None:
    found = assign_splits(Inventory(tuple(pairs(100))))
    counts = Counter(one.split for one in found.videos)
    assert not crossing(found) and not found.left_out and not found.notes
    for split, share in (("train", 280), ("val", 60), ("test", 60)):
        assert counts[split] == pytest.approx(share, abs=4)
    assert "100 in all, with seed 0" in found.split_rule
    other = assign_splits(Inventory(tuple(pairs(100))), seed=1)
    assert {v.key: v.split for v in other.videos} != {v.key: v.split for v in found.videos}


def ring(n: int) -> list[VideoEntry]:
    """Everybody is swapped with the next: one component."""
    reals = [video(f"{k}", f"{k}") for k in range(n)]
    return reals + [video(f"{k}_{(k + 1) % n}", f"{k}", f"{(k + 1) % n}") for k in range(n)]


def test_one_component_is_all_test_and_said() -> None:
    found = assign_splits(Inventory(tuple(ring(20))))
    assert {one.split for one in found.videos} == {"test"}
    (note,) = found.notes
    assert "100% of them in one group" in note and "splits='cut'" in note


def test_cut_leaves_out_what_crosses_and_counts_it() -> None:
    found = assign_splits(Inventory(tuple(ring(20))), "cut")
    assert {one.split for one in found.videos} == {"train", "val", "test"}
    assert not crossing(found)
    reals = [one for one in found.videos if not one.label]
    assert len(reals) == 20 and 0 < len(found.left_out) <= 20
    assert f"{len(found.left_out)} videos were left out" in found.notes[0]
    assert "its identities fall into" in next(iter(found.left_out.values()))


def test_val_is_taken_out_of_train_where_the_division_has_none() -> None:
    train, test = pairs(40, "train"), [video("t", "t", split="test")]
    plain = assign_splits(Inventory((*train, *test)))
    assert {one.split for one in plain.videos} == {"train", "test"}
    found = assign_splits(Inventory((*train, *test), without_val=True))
    counts = Counter(one.split for one in found.videos)
    assert counts["test"] == 1 and counts["val"] == pytest.approx(16, abs=4)
    assert not crossing(found)


def test_datasets_that_share_originals_share_names_and_others_do_not() -> None:
    """Person "1" of b is somebody else than person "1" of a."""
    those = [
        *(video(f"{k}", f"{k}", dataset="a") for k in range(20)),
        *(video(f"{k}", f"{k}", "x", dataset="b") for k in range(20)),
    ]
    alone = assign_splits(Inventory(tuple(those)))
    assert {v.split for v in alone.videos if v.dataset == "a"} == {"train", "val", "test"}
    assert {v.split for v in alone.videos if v.dataset == "b"} == {"test"}
    shared = assign_splits(Inventory(tuple(those), {"b": "a"}))
    assert {v.split for v in shared.videos} == {"test"}


def test_an_unknown_choice() -> None:
    with pytest.raises(DatasetError, match="splits='random' was given; allowed are official"):
        assign_splits(Inventory((video("a"),)), "random")


def alone(name: str, label: int, split: str = "") -> VideoEntry:
    media = VideoFile(Path(f"{name}.mp4"))
    return VideoEntry("d", name, media, label, ("real", "swap")[label], split, "")


def by_class(found: Inventory) -> dict[str, set[int]]:
    out: dict[str, set[int]] = {}
    for one in found.videos:
        out.setdefault(one.split, set()).add(one.label)
    return out


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 20))
def test_each_part_has_both_classes_and_is_said(reals: int, fakes: int, seed: int) -> None:
    those = [alone(f"r{k}", 0) for k in range(reals)] + [alone(f"f{k}", 1) for k in range(fakes)]
    found = assign_splits(Inventory(tuple(those)), seed=seed)
    if len(by_class(found)) == 1:
        # One class is too rare for its share of each part.
        assert min(reals, fakes) < 12 and "too few to have both classes" in found.notes[0]
        return
    assert by_class(found) == dict.fromkeys(("train", "val", "test"), {0, 1})
    counts = Counter((one.split, one.label) for one in found.videos)
    for split in ("train", "val", "test"):
        part = f"({counts[split, 0]} real, {counts[split, 1]} fake)"
        assert part in found.divided[0]
    assert "splits='none'" in found.divided[0]


def test_val_is_cut_off_train_by_groups_with_both_classes() -> None:
    train = [alone(f"r{k}", 0, "train") for k in range(30)]
    train += [alone(f"f{k}", 1, "train") for k in range(30)]
    test = [alone("t", 0, "test"), alone("u", 1, "test")]
    found = assign_splits(Inventory((*train, *test), without_val=True))
    assert by_class(found) == dict.fromkeys(("train", "val", "test"), {0, 1})
    assert found.divided[0].startswith("Videos of d in the official train were divided by probe")
    assert found.videos[-2:] == tuple(test)


def test_none_divides_nothing() -> None:
    those = (alone("a", 0), alone("b", 1), alone("c", 1, "train"), alone("e", 0, "val"))
    found = assign_splits(Inventory(those, without_val=True), "none")
    assert [one.split for one in found.videos] == ["test", "test", "train", "val"]
    assert not found.divided and "are all test" in found.split_rule
