"""Splits that no identity crosses, where a dataset comes without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from probe.datasets.layouts import Inventory, VideoEntry
from probe.errors import DatasetError
from probe.schema import SPLITS

__all__ = ["SHARES", "SPLIT_CHOICES", "assign_splits", "components"]

#: Shares of train, val and test.
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}

#: Share of an official train list that is set aside as val where there is no official val.
VAL_OF_TRAIN = 0.1

SPLIT_CHOICES = ("official", "seeded", "cut")

#: A split is refused as made by whole components if it misses its share by more of the videos.
TOLERANCE = 0.1


def assign_splits(found: Inventory, choice: str = "official", seed: int = 0) -> Inventory:
    """Give every video a split.

    Videos hang together if they share an identity, as the person seen, the one whose face was
    put in, or the one who drives, or if one is the original of the other. Whole components of
    that graph are assigned, so that no identity crosses a split.

    Parameters
    ----------
    found : Inventory
        What a reader found; ``split`` is empty where there is no official one.
    choice : {"official", "seeded", "cut"}
        ``official`` keeps official splits; videos without one are divided by components, and
        where the official division has no val, one is taken out of train. Where the components
        are too few for that, videos without a split become test, and train has no val; a note
        says so. ``cut`` then divides the identities themselves, and leaves out the videos whose
        identities fall into different splits. ``seeded`` divides all videos anew in the same
        way, whatever the official lists say.
    seed : int, default 0
        Seed of the division.

    Returns
    -------
    Inventory
        The same, with splits, notes and what was left out.

    Raises
    ------
    DatasetError
        If the choice is not one of the three.
    """
    if choice not in SPLIT_CHOICES:
        raise DatasetError(f"splits={choice!r} was given; allowed are {', '.join(SPLIT_CHOICES)}.")
    videos = list(found.videos)
    if choice == "seeded":
        videos = [replace(video, split="") for video in videos]
    work = _Division(videos, seed, choice != "official", found.reals)
    for space in dict.fromkeys(work.space(video) for video in videos):
        present = {video.split for video in videos if work.space(video) == space}
        if "" in present:
            work.divide(space, "", SHARES)
        elif found.without_val and "train" in present and "val" not in present:
            work.divide(space, "train", {"train": 1 - VAL_OF_TRAIN, "val": VAL_OF_TRAIN})
    kept = tuple(video for video in work.videos if video.split)
    rule = " ".join(part for part in (found.split_rule, *work.rules) if part)
    return replace(
        found,
        videos=kept,
        left_out={**found.left_out, **work.left_out},
        notes=(*found.notes, *work.notes),
        split_rule=rule,
    )


def components(videos: Sequence[VideoEntry]) -> list[list[int]]:
    """Group videos that share an identity, directly or through others.

    Parameters
    ----------
    videos : sequence of VideoEntry
        Identities are those of one dataset, or of all datasets that share originals: names are
        compared as they are.

    Returns
    -------
    list of list of int
        Positions, each in exactly one group, groups in the order of their first.
    """
    parent = list(range(len(videos)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    owner: dict[str, int] = {}
    for i, video in enumerate(videos):
        for node in _nodes(video):
            first = root(owner.setdefault(node, i))
            here = root(i)
            parent[max(first, here)] = min(first, here)
    groups: dict[int, list[int]] = {}
    for i in range(len(videos)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def _people(video: VideoEntry) -> list[str]:
    return list(dict.fromkeys(one for one in (video.identity, video.source, video.driver) if one))


def _nodes(video: VideoEntry) -> list[str]:
    """List what a video can share with others: people, itself, and its original."""
    people = [f"person {one}" for one in _people(video)]
    own = [f"video {video.key}"]
    return people + own + ([f"video {video.original}"] if video.original else [])


@dataclass
class _Division:
    """Splits in the making, with what has to be said of them."""

    videos: list[VideoEntry]
    seed: int
    cut: bool
    reals: Mapping[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def space(self, video: VideoEntry) -> str:
        """Name the dataset whose names of people a video uses: that of its originals."""
        return self.reals.get(video.dataset, video.dataset)

    def divide(self, space: str, split: str, shares: Mapping[str, float]) -> None:
        """Divide the videos of one split ("" for those without any) into several."""
        those = [
            i for i, v in enumerate(self.videos) if v.split == split and self.space(v) == space
        ]
        part = [self.videos[i] for i in those]
        groups = components(part)
        chosen = _whole_components([len(g) for g in groups], shares, self.seed)
        what = f"videos of {space} without an official split"
        if split:
            what = f"videos of {space} in the official {split}"
        if self.cut and chosen is not None and _lacks_class(part, groups, chosen):
            # Videos of people who are in no fake would fill a split with one class.
            chosen = None
        names = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        if chosen is not None:
            for group, name in zip(groups, chosen, strict=True):
                for k in group:
                    self._set(those[k], name)
            self.rules.append(
                f"{_upper(what)} were divided ({names}) by whole groups of videos that share "
                f"an identity, {len(groups)} in all, with seed {self.seed}."
            )
        elif self.cut:
            self._divide_people(those, shares)
            self.rules.append(
                f"{_upper(what)} were divided ({names}) by identity with seed {self.seed}; "
                "videos whose identities fall into different splits are left out."
            )
        else:
            self._give_up(those, split, what, max(map(len, groups)) / len(part))

    def _set(self, i: int, split: str) -> None:
        self.videos[i] = replace(self.videos[i], split=split)

    def _give_up(self, those: Sequence[int], split: str, what: str, largest: float) -> None:
        for i in those:
            self._set(i, split or "test")
        became = "all of them are test" if not split else "there is no val"
        self.rules.append(f"{_upper(what)} were not divided: {became}.")
        self.notes.append(
            f"{_upper(what)} hang together by their identities ({largest:.0%} of them in one "
            f"group), so that no division by whole groups comes near the shares wanted: {became}. "
            "With splits='cut' the identities are divided, and videos that cross are left out."
        )

    def _divide_people(self, those: Sequence[int], shares: Mapping[str, float]) -> None:
        people = sorted({p for i in those for p in _people(self.videos[i]) or [self._alone(i)]})
        rng = np.random.default_rng((self.seed, 1))
        order = [people[k] for k in rng.permutation(len(people))]
        bounds = np.cumsum([share * len(order) for share in shares.values()])
        ends = np.round(bounds).astype(int)
        split_of = {
            person: list(shares)[int(np.searchsorted(ends, k, side="right"))]
            for k, person in enumerate(order)
        }
        crossing: Counter[str] = Counter()
        for i in those:
            video = self.videos[i]
            found = [split_of[p] for p in _people(video) or [self._alone(i)]]
            if len(set(found)) == 1:
                self._set(i, found[0])
                continue
            between = " and ".join(name for name in SPLITS if name in found)
            crossing[between] += 1
            self._set(i, "")
            self.left_out[video.key] = f"its identities fall into {between}"
        if crossing:
            self.notes.append(
                f"{crossing.total()} videos were left out because their identities fall into "
                "different splits."
            )

    def _alone(self, i: int) -> str:
        # A video of nobody known is divided on its own.
        return f"video {self.videos[i].key}"


def _lacks_class(
    part: Sequence[VideoEntry], groups: Sequence[Sequence[int]], chosen: Sequence[str]
) -> bool:
    """Say whether a split lacks a class that the videos have."""
    labels: dict[str, set[int]] = {}
    for group, name in zip(groups, chosen, strict=True):
        labels.setdefault(name, set()).update(part[k].label for k in group)
    return any(found != {video.label for video in part} for found in labels.values())


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _whole_components(
    sizes: Sequence[int], shares: Mapping[str, float], seed: int
) -> list[str] | None:
    """Assign groups to splits, each to the one that lacks most; None where that misses a share."""
    total = sum(sizes)
    wanted = {name: share * total for name, share in shares.items()}
    filled = dict.fromkeys(shares, 0.0)
    chosen = [""] * len(sizes)
    # In random order, but the large ones first: the small ones even the shares out.
    shuffled = np.random.default_rng((seed, 0)).permutation(len(sizes))
    for k in sorted(shuffled, key=lambda k: -sizes[k]):
        name = max(shares, key=lambda one: wanted[one] - filled[one])
        chosen[k], filled[name] = name, filled[name] + sizes[k]
    misses = any(abs(filled[name] - wanted[name]) > TOLERANCE * total for name in shares)
    return None if misses or min(filled.values()) == 0 else chosen
