"""Check for near duplicates: in several splits, datasets or clusters, and of fakes with reals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.audit.facts import CHECKS, Context, clusters, contents, named
from probe.datasets.audit.report import ERROR, NOTE, WARNING, Finding, Measure
from probe.datasets.decoding import decode

__all__ = ["CORRELATION", "RADIUS", "near_pairs"]

#: Maximum Hamming distance (of 64 bits) between the hashes of two copies; see docs/audit.md.
RADIUS = 6

#: Minimum correlation between the gray thumbnails of two copies.
CORRELATION = 0.98

#: Maximum number of images of a split that are compared between clusters, and of fakes that are
#: compared with their reals; messages state the number.
MOST = 20_000

#: Reals of a cluster that its fakes are compared with.
MOST_REALS = 200

#: A fake is nearly a real image below this mean difference of gray, of 255; see docs/audit.md.
UNCHANGED = 2.0

#: Gray thumbnails differ by at most as much as the images, but for the rounding of both.
ROUNDING = 0.5

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
        text = "in several splits: a detector is tested on what it has seen. Keep each in one."
    else:
        text = "in several datasets: results on them are not independent. Count them once."
    yield Finding(
        "near-duplicate",
        severity,
        ", ".join(named(names[pairs].ravel())),
        f"{images} images, in {_pairs(len(pairs))}, look nearly the same (encoded anew, resized, "
        f"or of the same footage), {text}",
        len(pairs),
        named(f"{paths[a]} = {paths[b]}" for a, b in pairs[:5]),
    )


@CHECKS.register("copies-between-clusters")
def check_clusters(context: Context) -> Iterator[Finding | Measure]:
    """Find copies in different clusters of one split, which intervals take for independent."""
    table = context.readable
    # Shared originals have the names of several datasets.
    table = table.assign(cluster=clusters(table.assign(dataset=table["space"])))
    table = table.drop_duplicates(["content", "split", "space", "cluster"])
    for (space, split), part in table.groupby(["space", "split"], sort=False):
        drawn = len(part) > MOST
        part = part.sample(MOST, random_state=0).sort_index() if drawn else part
        rows = part["row"].to_numpy()
        pairs = near_pairs(context.facts.hashes[rows], part["cluster"].to_numpy(), RADIUS)
        pairs = pairs[_correlations(context.facts.thumbs[rows], pairs) >= CORRELATION]
        if not len(pairs):
            continue
        of = f" of {MOST:,} drawn" if drawn else ""
        paths = part["path"].to_numpy(dtype=object)
        yield Finding(
            "copies-between-clusters",
            WARNING,
            str(space),
            f"{len(np.unique(pairs))} images{of} of {split}, in {_pairs(len(pairs))}, look nearly "
            "the same (encoded anew, resized, or of the same footage), and have different "
            "identities (else videos): intervals take them for independent. Give each pair one "
            "identity, or keep one of them.",
            len(pairs),
            named(f"{paths[a]} = {paths[b]}" for a, b in pairs),
        )


@CHECKS.register("unchanged-fake")
def check_unchanged(context: Context) -> Iterator[Finding | Measure]:
    """Find fakes that differ much less than others from a real image of their cluster."""
    for name, part in context.parts(context.readable):
        pairs, apart = _with_reals(context, part.assign(cluster=clusters(part)))
        # Where all forgeries are small, a small difference says nothing.
        if not len(pairs) or np.median(apart) < 2 * UNCHANGED:
            continue
        pairs = pairs[apart < UNCHANGED + ROUNDING]
        files, paths = (part[one].to_numpy(dtype=object) for one in ("file", "path"))
        content = part["content"].to_numpy(dtype=object)
        # Identical files are reported by another check.
        pairs = pairs[content[pairs[:, 0]] != content[pairs[:, 1]]]
        found = [(a, b) for a, b in pairs if _gray_difference(files[a], files[b]) < UNCHANGED]
        if found:
            yield Finding(
                "unchanged-fake",
                NOTE,
                name,
                f"{len(found)} of {len(apart):,} fakes differ by less than {UNCHANGED:g} gray "
                "levels, on average, from a real image of the same identity (else video), half of "
                f"all by more than {np.median(apart):.1f}: their forgery is small, elsewhere, or "
                "was not made. Look at them.",
                len(found),
                named(f"{paths[a]} = {paths[b]}" for a, b in found),
            )


def _pairs(count: int) -> str:
    return f"{count:,} pair{'s' * (count > 1)}"


def _with_reals(
    context: Context, part: pd.DataFrame
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return fakes with the real image of their cluster that is nearest by its thumbnail.

    Positions in the table, shape (n, 2), and mean differences of gray, shape (n,); at most `MOST`
    fakes are drawn.
    """
    rng = np.random.default_rng(0)
    labels, rows = part["label"].to_numpy(), part["row"].to_numpy()
    fakes = np.flatnonzero(labels == 1)
    if len(fakes) > MOST:
        fakes = np.sort(rng.choice(fakes, MOST, replace=False))
    reals = pd.Series(np.flatnonzero(labels == 0)).groupby(part["cluster"].to_numpy()[labels == 0])
    nearest, apart = [np.empty((0, 2), np.int64)], [np.empty(0)]
    own = {key: positions.to_numpy() for key, positions in reals}
    for key, positions in pd.Series(fakes).groupby(part["cluster"].to_numpy()[fakes]):
        there = own.get(key, np.empty(0, np.int64))
        if len(there) > MOST_REALS:
            there = rng.choice(there, MOST_REALS, replace=False)
        for fake in positions if len(there) else ():
            thumbs = context.facts.thumbs[rows[there]].astype(np.float32)
            far = np.abs(thumbs - context.facts.thumbs[rows[fake]]).mean(axis=1)
            nearest.append(np.array([[fake, there[far.argmin()]]]))
            apart.append(far.min(keepdims=True))
    return np.concatenate(nearest), np.concatenate(apart).astype(np.float64)


def _gray_difference(one: str, other: str) -> float:
    """Return the mean difference of gray of two images; infinite if their sizes differ."""
    a, b = (
        cv2.cvtColor(decode(contents(Path(file)), file).pixels, cv2.COLOR_RGB2GRAY)
        for file in (one, other)
    )
    return float(cv2.absdiff(a, b).mean()) if a.shape == b.shape else float("inf")


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
