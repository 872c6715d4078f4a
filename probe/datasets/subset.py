"""Subsets of a dataset: draws over identities and videos, halves, originals, shuffled labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset, Samples
from probe.errors import DatasetError, ProbeError, UnknownNameError
from probe.schema import FAKE

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
    """Split a dataset at random into two halves that share no identity (else no video).

    An identity that occurs in several datasets is in the same half in all of them. Each dataset is
    divided as evenly as this allows.

    Parameters
    ----------
    dataset : Dataset
        Data with two or more identities in each dataset.
    seed : int, default 0
        Random seed.

    Raises
    ------
    DatasetError
        If a dataset cannot be divided.
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
                "into halves; at least two are needed. Leave it out, or use more of it."
            )
    which = np.array([side[key] for key in keys])
    return dataset.take(np.flatnonzero(which == 0)), dataset.take(np.flatnonzero(which == 1))


def undivided(dataset: Dataset, seed: int = 0) -> str:
    """Return why `halve` would not give both halves both classes; empty if it does."""
    try:
        lacking = {_missing(half) for half in halve(dataset, seed)} - {""}
    except DatasetError:
        return "all images are of one identity (else one video), which cannot be divided"
    found = " or no ".join(sorted(lacking))
    return f"one half of its identities (else videos) would hold no {found}" if found else ""


def _missing(dataset: Dataset) -> str:
    present = set(dataset.labels.tolist())
    return "" if len(present) == 2 else "real image" if FAKE in present else "fake"


def shuffle_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """Shuffle labels as in the permutation test, within each split and dataset.

    An identity (else video) with both labels swaps them with probability 1/2. Identities with one
    label exchange it with each other. A detector trained on the result is a null of label-shuffled
    training: give it to `neuron_importance` as ``shuffled``.

    Parameters
    ----------
    dataset : Dataset
        Dataset to shuffle; only labels change.
    seed : int, default 0
        Random seed.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> shuffled = probe.shuffle_labels(data)
    >>> int(shuffled.labels.sum()) == int(data.labels.sum())
    True
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
    """Return for each fake a corresponding real image, to be shown beside it.

    It is the image named in the column ``pair``. Without one, it is the real image of the same
    identity with the nearest frame index, from the same dataset if possible. Frames of the two
    videos may not be aligned exactly: the pair is good enough to look at, but not to subtract.

    Parameters
    ----------
    data : Dataset
        Images.
    everything : Dataset
        Dataset to search for real images.

    Returns
    -------
    numpy.ndarray
        Positions in `everything`, shape (n,); −1 for real images, and if there is none.
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

#: How rows are selected: drawn by seed, or the first rows, which may all be of one class.
ORDERS = ("drawn", "first")

#: Columns that identify a video: its name alone may occur in several datasets and methods.
VIDEO = ["dataset", "label", "method", "video"]


def draw(data: Dataset, n: int | None, seed: int = 0, order: str = "drawn") -> Dataset:
    """Draw a balanced random subset of the images of each dataset.

    Fakes and real images alternate, so that each class has half; if one class has fewer, all its
    images are used and the other class fills up. Within a class, every video gives one image
    before any gives a second, and the first video of every identity comes before anyone's second.
    A hash of the seed and the name determines which identity, video and frame comes first.

    A draw therefore depends neither on the order of rows nor on the rest of the table. A smaller
    draw is part of a larger one, reals and fakes are of the same identities, and originals shared
    by several datasets are drawn alike in each.

    Parameters
    ----------
    data : Dataset
        Images to draw from.
    n : int or None
        Number of images per dataset, at least 1; all if there are no more, or for None.
    seed : int, default 0
        Random seed.
    order : {"drawn", "first"}
        Whether to draw at random, or to take the first rows.

    Returns
    -------
    Dataset
        The drawn images, in the order of the table.

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
    """Draw rows of a sample table as in `draw`, over all its datasets together.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the columns of `Samples`.
    n, seed, order
        As in `draw`, but `n` is the number of rows of the whole table.
    turns : sequence of str, default ("label",)
        Columns whose values alternate: with ``("dataset", "label")`` each class of each dataset
        gives the same number of rows, as far as it has them.

    Returns
    -------
    numpy.ndarray
        Positions of the drawn rows, ascending.
    """
    if order not in ORDERS:
        raise UnknownNameError("order", order, ORDERS)
    if n is not None and n < 1:
        raise ProbeError(f"A draw of {n} images was requested; give at least 1.")
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
    """Draw whole videos until they have enough images; the last may exceed the number.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the columns of `Samples`, of one dataset and split.
    images : int
        Number of images wanted.
    seed : int, default 0
        Random seed.

    Returns
    -------
    numpy.ndarray
        Positions of the drawn rows, ascending. A smaller draw is part of a larger one.
    """
    codes, videos = _videos(table)
    kept = first_videos(videos, np.bincount(codes), images, seed)
    return np.flatnonzero(np.isin(codes, kept))


def first_videos(videos: pd.DataFrame, counts: Integers, images: int, seed: int = 0) -> Integers:
    """Draw videos until they have enough images together, with at least one video per class.

    Parameters
    ----------
    videos : pandas.DataFrame
        Table of videos, as in `video_order`.
    counts : numpy.ndarray
        Number of images of each video, or the planned number before an ingest.
    images : int
        Number of images wanted.
    seed : int, default 0
        Random seed.

    Returns
    -------
    numpy.ndarray
        Positions of the drawn videos, ascending. A smaller draw is part of a larger one.
    """
    order = video_order(videos, seed)
    before = np.r_[0, np.cumsum(np.asarray(counts)[order])[:-1]]
    labels = videos["label"].to_numpy()[order]
    enough = before < images
    # If one video has more images than wanted, the other class would be missing.
    enough[np.unique(labels, return_index=True)[1]] = True
    return np.sort(order[enough])


def video_order(videos: pd.DataFrame, seed: int = 0) -> Integers:
    """Return the order in which videos are drawn: classes alternate, each identity once per round.

    Parameters
    ----------
    videos : pandas.DataFrame
        One row per video, with the columns ``dataset``, ``label``, ``method``, ``video`` and
        ``identity``.
    seed : int, default 0
        Random seed.

    Returns
    -------
    numpy.ndarray
        Positions in drawing order; the order of videos does not depend on the order of rows.
    """
    turns = ("label",)
    return _in_turn(videos, _groups(videos, turns), _video_places(videos, seed, turns))


def spread(groups: NDArray[np.generic], n: int, seed: int = 0) -> Integers:
    """Draw at most `n` rows, spread evenly over groups.

    Each group keeps the same number of rows, as far as it has them, and randomly drawn groups keep
    one more. If there are more than `n` groups, groups are drawn.

    Parameters
    ----------
    groups : numpy.ndarray
        Group of each row, such as identity and label, shape (rows,).
    n : int
        Number of rows to draw, at least 1.
    seed : int, default 0
        Random seed.

    Returns
    -------
    numpy.ndarray
        Positions of the drawn rows, ascending.
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
    """Return the code of each row's video, and a table with one row per video."""
    codes = _groups(table, VIDEO)
    return codes, table[[*VIDEO, "identity"]].iloc[np.unique(codes, return_index=True)[1]]


def _video_places(videos: pd.DataFrame, seed: int, turns: Sequence[str]) -> Integers:
    """Return the rank of each video in the drawing order of its stratum."""
    stratum = _groups(videos, turns)
    person = videos["identity"].where(videos["identity"] != "", videos["video"])
    mine = _places(seed, (videos["method"], videos["video"]))
    people = _codes(person)
    number = _ranks(stratum * len(videos) + people, mine, _codes(videos["dataset"]))
    return _ranks(stratum, number, _places(seed, (person,)), people)


def _in_turn(table: pd.DataFrame, stratum: Integers, place: Integers) -> Integers:
    """Return the order of rows by place, then label (fakes first), then stratum."""
    return np.lexsort((stratum, -table["label"].to_numpy(np.int64), place))


def _groups(table: pd.DataFrame, columns: Sequence[str]) -> Integers:
    return np.asarray(table.groupby(list(columns)).ngroup(), dtype=np.int64)


def _codes(values: pd.Series) -> Integers:
    """Encode names by alphabetical order, which does not depend on the order of rows."""
    return np.asarray(pd.factorize(values, sort=True)[0], dtype=np.int64)


def _places(seed: int, columns: Sequence[pd.Series]) -> NDArray[np.uint64]:
    """Return a hash of seed and names per row: a random number that is the same in every table."""
    found = [
        hashlib.blake2b("\x1f".join(map(str, (seed, *name))).encode(), digest_size=8).digest()
        for name in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return np.frombuffer(b"".join(found), dtype="<u8")


def _ranks(group: Integers, *keys: NDArray[np.generic]) -> Integers:
    """Return the rank of each row within its group, from 0, by the keys."""
    order = np.lexsort((*reversed(keys), group))
    first = np.r_[True, np.diff(group[order]) != 0] if len(group) else np.zeros(0, dtype=bool)
    starts = np.flatnonzero(first)
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
    return ranks
