"""Parts of a dataset: drawn over people and videos, halves, pairs, and shuffled labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset, Samples
from probe.errors import DatasetError, ProbeError, UnknownNameError
from probe.schema import FAKE

if TYPE_CHECKING:
    from probe.datasets.dataset import Dataset

__all__ = [
    "ORDERS",
    "draw",
    "draw_rows",
    "draw_videos",
    "first_videos",
    "halve",
    "original_positions",
    "quota",
    "shuffle_labels",
    "spread",
    "undivided",
    "video_order",
]


def halve(dataset: Dataset, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Divide a dataset into two that share no identity (else no video), at random.

    An identity that stands in several of its datasets falls on one side in all of them, and each
    dataset is divided as evenly as that allows.

    Parameters
    ----------
    dataset : Dataset
        With two identities or more in each of the datasets that it is composed of.
    seed : int, default 0
        Seed of the draw.

    Raises
    ------
    DatasetError
        If one of its datasets cannot be divided.
    """
    rng = np.random.default_rng(seed)
    side: dict[str, int] = {}
    table = dataset.samples.table
    keys = np.where(
        table["identity"] != "", table["identity"], table["dataset"] + "|" + table["video"]
    )
    for name in dict.fromkeys(table["dataset"]):
        own = sorted(set(keys[table["dataset"] == name]))
        new = [key for key in own if key not in side]
        count = sum(side[key] for key in own if key in side)
        for i, key in enumerate(rng.permutation(new).tolist()):
            first = len(own) - len(new) + i - count
            side[key] = int(count < first or (count == first and i % 2 == 1))
            count += side[key]
        if not 0 < count < len(own):
            raise DatasetError(
                f"Dataset {name!r} has {len(own)} identities (else videos) and cannot be divided "
                "into halves; two at least are needed. Leave it out, or use more of it."
            )
    which = np.array([side[key] for key in keys])
    return dataset.take(np.flatnonzero(which == 0)), dataset.take(np.flatnonzero(which == 1))


def undivided(dataset: Dataset, seed: int = 0) -> str:
    """Say why `halve` would not give two halves of both classes; empty if it does."""
    try:
        lacking = {_missing(half) for half in halve(dataset, seed)} - {""}
    except DatasetError:
        return "all images are of one person (else one video), who cannot be divided into halves"
    found = " or no ".join(sorted(lacking))
    return f"one half of its people (else videos) would hold no {found}" if found else ""


def _missing(dataset: Dataset) -> str:
    present = set(dataset.labels.tolist())
    return "" if len(present) == 2 else "real image" if FAKE in present else "fake"


def shuffle_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """Exchange labels as the permutation test does, split by split and dataset by dataset.

    An identity (else video) that has both labels swaps them or not, by a coin; those that have one
    exchange them among each other. A detector trained on this is the null of label-shuffled
    training: give it to `neuron_importance` as ``shuffled``.

    Parameters
    ----------
    dataset : Dataset
        Any; methods and paths stay as they are.
    seed : int, default 0
        Seed of the draw.
    """
    table = dataset.samples.table.reset_index(drop=True).copy()
    table["cluster"] = dataset.samples.clusters
    rng = np.random.default_rng(seed)
    for _, rows in table.groupby(["dataset", "split"], sort=True):
        by_cluster = rows.groupby("cluster")["label"]
        mixed = by_cluster.nunique() > 1
        swap = mixed.index[mixed & (rng.random(len(mixed)) < 0.5)]
        turned = rows.index[rows["cluster"].isin(swap)]
        table.loc[turned, "label"] = 1 - table.loc[turned, "label"]
        alone = by_cluster.first()[~mixed]
        drawn = pd.Series(rng.permutation(alone.to_numpy(copy=True)), index=alone.index)
        pure = rows.index[rows["cluster"].isin(alone.index)]
        table.loc[pure, "label"] = table.loc[pure, "cluster"].map(drawn).astype(np.int8)
    card = {**dataset.card, "labels_shuffled": seed}
    return replace(dataset, samples=Samples(table.drop(columns="cluster")), card=card)


def original_positions(data: Dataset, everything: Dataset) -> NDArray[np.int64]:
    """Find the real image that shows what a fake shows, to be looked at beside it.

    It is the one that the column ``pair`` names; else, of the real images of the same identity,
    that of the nearest frame, from the same dataset if there are any. Frames of two videos may lie
    apart by some: good enough to look at, and not to subtract.

    Parameters
    ----------
    data : Dataset
        Images.
    everything : Dataset
        Where the real images are.

    Returns
    -------
    numpy.ndarray
        Shape (n,), positions in `everything`; −1 for real images, and where there is none.
    """
    table, place = data.samples.table, everything.samples.table
    by_id = {name: i for i, name in enumerate(place["sample"])}
    out = np.full(len(table), -1, dtype=np.int64)
    frames, real = place["frame"].to_numpy(), (place["label"] != FAKE).to_numpy()
    people: dict[tuple[str, str], list[int]] = {}
    for i, (name, who) in enumerate(zip(place["dataset"], place["identity"], strict=True)):
        if real[i] and who:
            for key in ((name, who), ("", who)):
                people.setdefault(key, []).append(i)
    for i, row in enumerate(table.itertuples(index=False)):
        pair = by_id.get(getattr(row, "pair", ""), -1)
        name, who = str(row.dataset), str(row.identity)
        rows = people.get((name, who)) or people.get(("", who))
        if row.label != FAKE:
            continue
        if pair >= 0:
            out[i] = pair
        elif rows:
            out[i] = rows[int(np.argmin(np.abs(frames[rows] - row.frame)))]
    return out


Integers = NDArray[np.int64]

#: How rows are taken: drawn by seed, or the first as they stand, which may all be of one class.
ORDERS = ("drawn", "first")

#: What tells videos apart: a name alone may stand in several datasets and methods.
VIDEO = ["dataset", "label", "method", "video"]


def draw(data: Dataset, n: int | None, seed: int = 0, order: str = "drawn") -> Dataset:
    """Draw images of each dataset that the data are composed of.

    The rule, for one dataset: fakes and real images come in turn, so that each class has half;
    where one has fewer, all of it stays and the other fills up. Within a class every video gives
    one image before any gives a second, and the first video of every person comes before anyone's
    second. A hash of the seed and the name decides which person, video and frame comes first.

    So a draw depends on neither the order of rows nor the rest of the table: a smaller one is part
    of a larger one, reals and fakes are of the same people, and originals that several datasets
    share are drawn alike in each.

    Parameters
    ----------
    data : Dataset
        Images.
    n : int or None
        Images of each dataset, at least 1; all where there are no more, or for None.
    seed : int, default 0
        Seed of the draw.
    order : {"drawn", "first"}
        ``first`` takes the first rows instead.

    Returns
    -------
    Dataset
        What is kept, in the order of the table.

    Raises
    ------
    UnknownNameError
        If the order is not known.
    ProbeError
        If `n` is below 1.

    Examples
    --------
    >>> draw(data, 30 * 64, seed=0)  # doctest: +SKIP
    """
    table = data.samples.table
    parts = table.groupby("dataset", sort=False).indices.values()
    drawn = [where[draw_rows(table.iloc[where], n, seed, order)] for where in parts]
    kept = np.concatenate([np.zeros(0, dtype=np.int64), *drawn])
    return data if len(kept) == len(data) else data.take(np.sort(kept))


def draw_rows(
    table: pd.DataFrame,
    n: int | None,
    seed: int = 0,
    order: str = "drawn",
    turns: Sequence[str] = ("label",),
) -> Integers:
    """Draw rows of a sample table by the rule of `draw`, over all its datasets together.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns of `Samples`.
    n, seed, order
        As in `draw`, but `n` rows of the whole table.
    turns : sequence of str, default ("label",)
        Columns whose values come in turn: with ``("dataset", "label")`` each class of each dataset
        gives as many rows, as far as it has them.

    Returns
    -------
    numpy.ndarray
        Positions, ascending.
    """
    if order not in ORDERS:
        raise UnknownNameError("order", order, ORDERS)
    if n is not None and n < 1:
        raise ProbeError(f"A draw of {n} images was asked for; it has at least 1.")
    if n is None or n >= len(table):
        return np.arange(len(table))
    if order == "first":
        return np.arange(n)
    codes, videos = _videos(table)
    frames = _places(seed, (table["method"], table["video"], table["frame"]))
    turn = _ranks(codes, frames, _codes(table["sample"]))
    stratum = _groups(table, turns)
    place = _ranks(stratum, turn, _video_places(videos, seed, turns)[codes])
    return np.sort(_in_turn(table, stratum, place)[:n])


def draw_videos(table: pd.DataFrame, images: int, seed: int = 0) -> Integers:
    """Draw whole videos until there are so many images; the last may go a few beyond.

    Parameters
    ----------
    table : pandas.DataFrame
        With the columns of `Samples`, of one dataset and split.
    images : int
        Images that are wanted.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Positions, ascending. Of a larger number they hold those of a smaller one.
    """
    codes, videos = _videos(table)
    kept = first_videos(videos, np.bincount(codes), images, seed)
    return np.flatnonzero(np.isin(codes, kept))


def first_videos(videos: pd.DataFrame, counts: Integers, images: int, seed: int = 0) -> Integers:
    """Draw videos until they have so many images together, one of each class at least.

    Parameters
    ----------
    videos : pandas.DataFrame
        As in `video_order`.
    counts : numpy.ndarray
        Images of each, or as many as are planned where they are not cut yet.
    images : int
        Images that are wanted.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Positions, ascending. Of a larger number they hold those of a smaller one.
    """
    order = video_order(videos, seed)
    before = np.r_[0, np.cumsum(np.asarray(counts)[order])[:-1]]
    labels = videos["label"].to_numpy()[order]
    enough = before < images
    # Where one video has more images than are wanted, the other class would be missing.
    enough[np.unique(labels, return_index=True)[1]] = True
    return np.sort(order[enough])


def video_order(videos: pd.DataFrame, seed: int = 0) -> Integers:
    """Say in which order videos are drawn: classes in turn, and people before their second video.

    Parameters
    ----------
    videos : pandas.DataFrame
        One row a video, with the columns ``dataset``, ``label``, ``method``, ``video`` and
        ``identity``.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Positions, the first to be drawn first; independent of the order of rows.
    """
    turns = ("label",)
    return _in_turn(videos, _groups(videos, turns), _video_places(videos, seed, turns))


def spread(groups: NDArray[np.generic], n: int, seed: int = 0) -> Integers:
    """Draw at most `n` positions of groups that nothing else is known of.

    Groups are thinned alike: each keeps the same number, as far as it has so many, and some that
    are drawn one more. Where even one of each is too many, groups are drawn.

    Parameters
    ----------
    groups : numpy.ndarray
        Shape (rows,), what must not be preferred one to another, such as person and label.
    n : int
        How many, at least 1.
    seed : int, default 0
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Positions, ascending.
    """
    if len(groups) <= n:
        return np.arange(len(groups))
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    kept = np.minimum(sizes, quota(sizes, n))
    larger = np.flatnonzero(sizes > kept)
    kept[rng.permutation(larger)[: n - kept.sum()]] += 1
    return np.flatnonzero(_ranks(codes, rng.permutation(len(codes))) < kept[codes])


def quota(sizes: Integers, n: int) -> int:
    """Return the largest k with Σ min(size, k) ≤ n."""
    low, high = 0, int(sizes.max())
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= n else (low, middle - 1)
    return low


def _videos(table: pd.DataFrame) -> tuple[Integers, pd.DataFrame]:
    """Return the code of each row's video, and one row a video."""
    codes = _groups(table, VIDEO)
    return codes, table[[*VIDEO, "identity"]].iloc[np.unique(codes, return_index=True)[1]]


def _video_places(videos: pd.DataFrame, seed: int, turns: Sequence[str]) -> Integers:
    """Give each video its place in its stratum, in the order in which they are drawn."""
    stratum = _groups(videos, turns)
    person = videos["identity"].where(videos["identity"] != "", videos["video"])
    mine = _places(seed, (videos["method"], videos["video"]))
    people = _codes(person)
    number = _ranks(stratum * len(videos) + people, mine, _codes(videos["dataset"]))
    return _ranks(stratum, number, _places(seed, (person,)), people)


def _in_turn(table: pd.DataFrame, stratum: Integers, place: Integers) -> Integers:
    """Order rows by their place, and at each place by stratum; fakes first."""
    return np.lexsort((stratum, -table["label"].to_numpy(np.int64), place))


def _groups(table: pd.DataFrame, columns: Sequence[str]) -> Integers:
    return np.asarray(table.groupby(list(columns)).ngroup(), dtype=np.int64)


def _codes(values: pd.Series) -> Integers:
    """Encode names in alphabetical order, which no order of rows changes."""
    return np.asarray(pd.factorize(values, sort=True)[0], dtype=np.int64)


def _places(seed: int, columns: Sequence[pd.Series]) -> NDArray[np.uint64]:
    """Hash names with the seed: a random number that a name has in every table."""
    found = [
        hashlib.blake2b("\x1f".join(map(str, (seed, *name))).encode(), digest_size=8).digest()
        for name in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return np.frombuffer(b"".join(found), dtype="<u8")


def _ranks(group: Integers, *keys: NDArray[np.generic]) -> Integers:
    """Rank the rows of each group, from 0, by the keys."""
    order = np.lexsort((*reversed(keys), group))
    first = np.r_[True, np.diff(group[order]) != 0] if len(group) else np.zeros(0, dtype=bool)
    starts = np.flatnonzero(first)
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
    return ranks
