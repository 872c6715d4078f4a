"""Identity-disjoint splits for datasets without official splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from probe.datasets.layouts import Inventory, VideoEntry
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS

__all__ = ["SHARES", "SPLIT_CHOICES", "assign_splits", "components"]

#: Shares of train, val and test.
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}

#: Share of an official train list that is used as val if there is no official val.
VAL_OF_TRAIN = 0.1

SPLIT_CHOICES = ("official", "none", "seeded", "cut")

#: Largest deviation of a split from its share, in videos, for a split by whole components.
TOLERANCE = 0.1


def assign_splits(found: Inventory, choice: str = "official", seed: int = 0) -> Inventory:
    """Assign every video to a split.

    Videos are connected if they share an identity (person shown, source of the face, or driver),
    or if one is the original of the other. Connected components are assigned as a whole, so that
    no identity is in two splits.

    Parameters
    ----------
    found : Inventory
        Inventory of a layout; ``split`` is empty for videos without an official split.
    choice : {"official", "none", "seeded", "cut"}
        ``official`` keeps official splits. Videos without one are split by components, and if
        there is no official val, it is taken out of train. If the components are too large for
        that, videos without a split become test, or train gets no val; a note says so. ``cut``
        splits the identities instead in this case, and leaves out the videos whose identities
        are in different splits. ``none`` divides nothing: official splits are kept, and every
        other video is test, as for a detector that is only tested. ``seeded`` splits all videos
        again and ignores the official lists.
    seed : int, default 0
        Random seed of the splits.

    Returns
    -------
    Inventory
        The inventory with splits, notes, videos left out, and what was divided here.

    Raises
    ------
    DatasetError
        If the choice is not one of the four.
    """
    if choice not in SPLIT_CHOICES:
        raise DatasetError(f"splits={choice!r} was given; allowed are {', '.join(SPLIT_CHOICES)}.")
    videos = list(found.videos)
    if choice == "seeded":
        videos = [replace(video, split="") for video in videos]
    work = _Division(videos, seed, choice != "official", found.reals)
    for space in dict.fromkeys(work.space(video) for video in videos):
        present = {video.split for video in videos if work.space(video) == space}
        if choice == "none":
            work.keep_as_test(space)
        elif "" in present:
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
        divided=tuple(work.divided),
    )


def components(videos: Sequence[VideoEntry]) -> list[list[int]]:
    """Return the connected components of videos that share an identity or an original.

    Parameters
    ----------
    videos : sequence of VideoEntry
        Videos of one dataset, or of datasets that share originals, since identities are compared
        by name.

    Returns
    -------
    list of list of int
        Positions of the videos of each component, in the order of first appearance.
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
    """Return the graph nodes of a video: its identities, itself, and its original."""
    people = [f"person {one}" for one in _people(video)]
    own = [f"video {video.key}"]
    return people + own + ([f"video {video.original}"] if video.original else [])


@dataclass
class _Division:
    """State of the assignment of splits, with its notes and rules."""

    videos: list[VideoEntry]
    seed: int
    cut: bool
    reals: Mapping[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    divided: list[str] = field(default_factory=list)

    def space(self, video: VideoEntry) -> str:
        """Return the dataset whose identity names a video uses: that of its originals."""
        return self.reals.get(video.dataset, video.dataset)

    def keep_as_test(self, space: str) -> None:
        """Make the videos without a split test."""
        those = self._of(space, "")
        for i in those:
            self._set(i, "test")
        if those:
            self.rules.append(f"Videos of {space} without an official split are all test.")

    def _of(self, space: str, split: str) -> list[int]:
        return [i for i, v in enumerate(self.videos) if v.split == split and self.space(v) == space]

    def divide(self, space: str, split: str, shares: Mapping[str, float]) -> None:
        """Divide the videos of one split ("" for videos without a split) into several splits."""
        those = self._of(space, split)
        part = [self.videos[i] for i in those]
        groups = components(part)
        counts = [Counter(part[k].label for k in group) for group in groups]
        chosen = _whole_components(counts, shares, self.seed)
        what = f"videos of {space} without an official split"
        if split:
            what = f"videos of {space} in the official {split}"
        names = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        if chosen is not None:
            for group, name in zip(groups, chosen, strict=True):
                for k in group:
                    self._set(those[k], name)
            self.rules.append(
                f"{_upper(what)} were divided ({names}) by whole groups of videos that share "
                f"an identity, {len(groups)} in all, with seed {self.seed}."
            )
            self._say(those, what, shares)
        elif self.cut:
            self._divide_people(those, shares)
            self.rules.append(
                f"{_upper(what)} were divided ({names}) by identity with seed {self.seed}; "
                "videos whose identities fall into different splits are left out."
            )
            self._say(those, what, shares)
        else:
            self._give_up(those, split, what, counts)

    def _set(self, i: int, split: str) -> None:
        self.videos[i] = replace(self.videos[i], split=split)

    def _say(self, those: Sequence[int], what: str, shares: Mapping[str, float]) -> None:
        """Say what probe divided, with the classes of each part."""
        labels = {name: Counter[int]() for name in shares}
        for i in those:
            if (one := self.videos[i]).split:
                labels[one.split][one.label] += 1
        parts = ", ".join(
            f"{name} {n.total():,} ({n[REAL]:,} real, {n[FAKE]:,} fake)"
            for name, n in labels.items()
        )
        remedy = "" if "test" not in shares else " With splits='none' all of them are test."
        self.divided.append(f"{_upper(what)} were divided by probe: {parts}.{remedy}")

    def _give_up(
        self, those: Sequence[int], split: str, what: str, counts: Sequence[Counter[int]]
    ) -> None:
        for i in those:
            self._set(i, split or "test")
        became = "all of them are test" if not split else "there is no val"
        self.rules.append(f"{_upper(what)} were not divided: {became}.")
        largest = max(one.total() for one in counts) / len(those)
        if largest > TOLERANCE and max(one.total() for one in counts) > 1:
            why = (
                f"are connected by their identities ({largest:.0%} of them in one group), so that "
                "no division by whole groups comes near the wanted shares"
            )
        else:
            groups = {label: sum(label in one for one in counts) for label in (REAL, FAKE)}
            why = (
                f"form {groups[REAL]} groups with reals and {groups[FAKE]} with fakes, too few to "
                "have both classes in each part and come near the wanted shares"
            )
        self.notes.append(
            f"{_upper(what)} {why}: {became}. With splits='cut' the identities are divided, and "
            "videos that cross are left out."
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
        # A video without a known identity counts as an identity of its own.
        return f"video {self.videos[i].key}"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _whole_components(
    counts: Sequence[Counter[int]], shares: Mapping[str, float], seed: int
) -> list[str] | None:
    """Assign each group to the split that lacks most of its classes.

    Parameters
    ----------
    counts : sequence of Counter
        Number of videos of each label in each group.
    shares : mapping
        Share of each split.
    seed : int
        Random seed of the order of groups of one size.

    Returns
    -------
    list of str or None
        Split of each group; None if a share is missed, or a split would lack a class.
    """
    totals = sum(counts, Counter[int]())
    filled = {name: Counter[int]() for name in shares}
    chosen = [""] * len(counts)

    def lack(name: str, group: Counter[int]) -> float:
        return sum(
            group[c] * (shares[name] - filled[name][c] / totals[c])
            for c in sorted(group)
            if group[c]
        )

    # Large groups first, so that small ones can even out the shares; ties in random order.
    shuffled = np.random.default_rng((seed, 0)).permutation(len(counts))
    for k in sorted(shuffled, key=lambda k: -counts[k].total()):
        chosen[k] = max(shares, key=lambda name: lack(name, counts[k]))
        filled[chosen[k]] += counts[k]
    _even_out(counts, chosen, filled, totals)
    total = totals.total()
    misses = any(abs(filled[n].total() - shares[n] * total) > TOLERANCE * total for n in shares)
    lacks = any(not filled[name][label] for name in shares for label in totals)
    return None if misses or lacks else chosen


def _even_out(
    counts: Sequence[Counter[int]],
    chosen: list[str],
    filled: Mapping[str, Counter[int]],
    labels: Collection[int],
) -> None:
    """Move the smallest possible group into each split that lacks a class."""
    for name in reversed(list(filled)):
        for label in labels:
            if filled[name][label]:
                continue
            able = [
                k
                for k, one in enumerate(counts)
                if one[label] and all(filled[chosen[k]][c] > one[c] for c in one)
            ]
            if able:
                k = min(able, key=lambda k: (counts[k].total(), -filled[chosen[k]][label], k))
                filled[chosen[k]].subtract(counts[k])
                filled[name].update(counts[k])
                chosen[k] = name
