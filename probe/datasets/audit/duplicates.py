"""Check for near duplicates: images that look the same in several splits or datasets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.audit.facts import CHECKS, Context, named
from probe.datasets.audit.report import ERROR, WARNING, Finding, Measure

__all__ = ["CORRELATION", "RADIUS", "near_pairs"]

#: Maximum Hamming distance (of 64 bits) between the hashes of two copies; see docs/audit.md.
RADIUS = 6

#: Minimum correlation between the gray thumbnails of two copies.
CORRELATION = 0.98

#: Pairs compared at a time, which limits memory; this many fit into a processor's cache.
BLOCK = 100_000


@CHECKS.register("near-duplicate")
def check_near_duplicates(context: Context) -> Iterator[Finding | Measure]:
    """Find re-encoded, resized or brightened copies, across splits and datasets."""
    table = context.readable.drop_duplicates(["content", "split", "space"])
    if not len(table):
        return
    rows = table["row"].to_numpy()
    sides = table["split"].astype(str) + "|" + table["space"].astype(str)
    codes = pd.factorize(sides)[0]
    pairs = near_pairs(context.facts.hashes[rows], codes, RADIUS)
    content = table["content"].to_numpy(dtype=object)
    # Identical files are reported by another check.
    pairs = pairs[content[pairs[:, 0]] != content[pairs[:, 1]]]
    same = _correlations(context.facts.thumbs[rows], pairs) >= CORRELATION
    pairs = pairs[same]
    splits = table["split"].to_numpy(dtype=object)
    crosses = splits[pairs[:, 0]] != splits[pairs[:, 1]]
    yield from _finding(table, pairs[crosses], ERROR)
    yield from _finding(table, pairs[~crosses], WARNING)


def _finding(table: pd.DataFrame, pairs: NDArray[np.int64], severity: str) -> Iterator[Finding]:
    if not len(pairs):
        return
    paths, names = table["path"].to_numpy(dtype=object), table["dataset"].to_numpy(dtype=object)
    images = len(np.unique(pairs))
    if severity == ERROR:
        text = "in several splits: test images were used in training. Keep each in one split."
    else:
        text = "in several datasets: results on them are not independent. Count them once."
    yield Finding(
        "near-duplicate",
        severity,
        ", ".join(named(names[pairs].ravel())),
        f"{images} images, in {len(pairs)} pairs, are re-encoded or resized copies of each other, "
        f"{text}",
        len(pairs),
        named(f"{paths[a]} = {paths[b]}" for a, b in pairs[:5]),
    )


def _correlations(thumbs: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the correlation between the thumbnails of each pair; 1 if both are constant."""
    out = np.empty(len(pairs))
    for start in range(0, len(pairs), BLOCK // 10):
        block = pairs[start : start + BLOCK // 10]
        a, b = (thumbs[block[:, side]].astype(np.float64) for side in (0, 1))
        a -= a.mean(axis=1, keepdims=True)
        b -= b.mean(axis=1, keepdims=True)
        size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
        flat = size == 0
        both = (a == 0).all(axis=1) & (b == 0).all(axis=1)
        value = np.divide((a * b).sum(axis=1), size, out=np.zeros(len(block)), where=~flat)
        out[start : start + len(block)] = np.where(flat, both, value)
    return out


def near_pairs(
    hashes: NDArray[np.uint64], sides: NDArray[np.int64], radius: int
) -> NDArray[np.int64]:
    """Return all pairs of hashes on different sides within a Hamming distance.

    The search is exact without comparing all pairs: if two hashes differ in at most r bits, at
    least one of r + 1 bands of bits is equal in both (Norouzi, Punjani and Fleet 2012,
    arXiv:1307.2982). Candidates are pairs that share a band.

    Parameters
    ----------
    hashes : numpy.ndarray
        Hashes of 64 bits, shape (n,).
    sides : numpy.ndarray
        Side of each hash, such as its split, shape (n,); pairs within a side are not returned.
    radius : int
        Maximum Hamming distance in bits.

    Returns
    -------
    numpy.ndarray
        Positions, shape (pairs, 2), the smaller first, in ascending order.
    """
    found = [np.empty((0, 2), np.int64)]
    for band in np.array_split(np.arange(64, dtype=np.uint64), radius + 1):
        mask = np.bitwise_or.reduce(np.uint64(1) << band)
        for group in _sharing(hashes & mask, sides):
            found += _within(hashes, sides, group, radius)
        # A pair may share several bands.
        found = [np.unique(np.concatenate(found), axis=0)]
    return found[0]


def _sharing(keys: NDArray[np.uint64], sides: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield groups of positions with equal keys on several sides, sorted by side."""
    order = np.lexsort((sides, keys))
    bounds = np.flatnonzero(np.diff(keys[order])) + 1
    for group in np.split(order, bounds):
        if len(group) > 1 and sides[group[0]] != sides[group[-1]]:
            yield group


def _within(
    hashes: NDArray[np.uint64], sides: NDArray[np.int64], group: NDArray[np.int64], radius: int
) -> Iterator[NDArray[np.int64]]:
    """Yield, in blocks, the near pairs across sides of a group that is sorted by side."""
    codes, step = hashes[group], max(1, BLOCK // len(group))
    for start in range(0, len(group), step):
        # Earlier positions have been compared with these already.
        distance = np.bitwise_count(codes[start : start + step, None] ^ codes[start:])
        a, b = (group[start:][at] for at in np.nonzero(distance <= radius))
        across = sides[a] < sides[b]
        if across.any():
            yield np.sort(np.column_stack([a[across], b[across]]), axis=1)
