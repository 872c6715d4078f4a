"""Checks of consistency: classes, labels and files, and leaks between splits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from probe.datasets.audit.facts import CHECKS, Context, clusters, contents, named
from probe.datasets.audit.report import ERROR, NOTE, WARNING, Finding, Measure
from probe.datasets.decoding import decode
from probe.datasets.subset import draw_rows
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS
from probe.stats import MIN_CLUSTERS

__all__ = ["said_by_path"]

#: One class that outnumbers the other by more is said to be out of balance.
RATIO = 10.0


@CHECKS.register("balance")
def check_balance(context: Context) -> Iterator[Finding | Measure]:
    """Find splits with one class, imbalanced classes, and methods with few clusters."""
    for name, part in context.parts(context.table):
        for split, rows in part.groupby("split", sort=False):
            yield from _classes(name, str(split), rows, _not_given(context, name))
            yield from _clusters(name, str(split), rows)


def _not_given(context: Context, name: str) -> str:
    """Return the dataset with the other class, by the card, if it was not given; else ""."""
    others = [context.reals[name]] if name in context.reals else []
    others += [fake for fake, real in context.reals.items() if real == name]
    there = set(context.table["dataset"])
    return "" if there.intersection(others) else next(iter(others), "")


def _classes(name: str, split: str, rows: pd.DataFrame, other: str) -> Iterator[Finding]:
    counts = {label: int((rows["label"] == label).sum()) for label in (REAL, FAKE)}
    words = f"{counts[REAL]} real and {counts[FAKE]} fake"
    if not all(counts.values()) and other:
        yield Finding(
            "empty-class",
            NOTE,
            name,
            f"The split {split} holds {words} images; by its card the other class is in "
            f"{other}, which was not given. Audit both together.",
            sum(counts.values()),
        )
    elif not all(counts.values()):
        yield Finding(
            "empty-class",
            ERROR,
            name,
            f"The split {split} holds {words} images: with one class nothing can be "
            + ("measured. " if split == "test" else "learned or selected. ")
            + "Add the other class; real images of another dataset can be joined with its fakes.",
            sum(counts.values()),
        )
    elif max(counts.values()) > RATIO * min(counts.values()):
        yield Finding(
            "class-balance",
            WARNING,
            name,
            f"The split {split} holds {words} images: accuracy is misleading there, and training "
            "without class weights favors the larger class. Use AUROC, or balance the classes.",
            sum(counts.values()),
        )


def _clusters(name: str, split: str, rows: pd.DataFrame) -> Iterator[Finding]:
    coded = rows.assign(cluster=clusters(rows))
    few = [
        f"{method} {count}"
        for method, count in coded.groupby("method")["cluster"].nunique().items()
        if count < MIN_CLUSTERS
    ]
    if few:
        yield Finding(
            "few-clusters",
            WARNING if split == "test" else NOTE,
            name,
            f"The split {split} has fewer than {MIN_CLUSTERS} identities (else videos) of "
            f"{', '.join(few)}: no confidence interval can be given there.",
            len(few),
            tuple(few[:5]),
        )


#: Words in a path that name the class of an image.
REAL_WORDS = frozenset(
    {"real", "reals", "original", "originals", "pristine", "genuine", "authentic"}
)
FAKE_WORDS = frozenset(
    {"fake", "fakes", "deepfake", "deepfakes", "manipulated", "synthesis", "synthesized", "forged"}
)

#: Labels look inverted if at least `FEWEST` paths name a class, and this share the opposite one.
MOST = 0.9
FEWEST = 10

#: Number of masks of real images that are opened to check that they are empty.
MASKS = 100


def said_by_path(path: str) -> int | None:
    """Return the label named by a path: by the last word in it that means real or fake.

    Parameters
    ----------
    path : str
        Path of an image, such as "Celeb-real/id0_0000/12.png".

    Returns
    -------
    int or None
        0 for real, 1 for fake, None if no word names a class.
    """
    words = [word for word in re.split(r"[^a-z]+", path.lower()) if word in REAL_WORDS | FAKE_WORDS]
    return None if not words else FAKE if words[-1] in FAKE_WORDS else REAL


@CHECKS.register("labels")
def check_labels(context: Context) -> Iterator[Finding | Measure]:
    """Find labels that contradict methods, paths, sources, masks, or each other."""
    inside = context.table.groupby("given")["path"].transform(_told_apart)
    for name, table in context.table.assign(inside=inside).groupby("dataset", sort=False):
        yield from _against_paths(str(name), table)
        yield from _against_method(str(name), table)
        yield from _reals_with_traces(str(name), table)
    yield from _both_labels(context)


def _told_apart(paths: pd.Series[str]) -> pd.Series[str]:
    """Remove the folders that all paths share, since they do not distinguish images."""
    shared = len(os.path.commonprefix([PurePosixPath(path).parts[:-1] for path in paths]))
    return paths.map(lambda path: "/".join(PurePosixPath(path).parts[shared:]))


def _against_paths(name: str, table: pd.DataFrame) -> Iterator[Finding]:
    said = np.array([np.nan if (s := said_by_path(p)) is None else s for p in table["inside"]])
    labels = table["label"].to_numpy()
    telling = ~np.isnan(said)
    wrong = telling & (said != labels)
    if not wrong.any():
        return
    examples = named(table["path"][wrong])
    if telling.sum() >= FEWEST and wrong.sum() >= MOST * telling.sum():
        yield Finding(
            "inverted-labels",
            ERROR,
            name,
            f"The labels look inverted: {wrong.sum()} of {telling.sum()} paths that contain real "
            "or fake name the opposite of the label. Fake must be 1; convert the source's "
            "convention (in a manifest with fake_label).",
            int(wrong.sum()),
            examples,
        )
    else:
        yield Finding(
            "label-against-path",
            WARNING,
            name,
            f"{wrong.sum()} of {telling.sum()} paths that contain real or fake name the opposite "
            "of the label. Check them; fake must be 1.",
            int(wrong.sum()),
            examples,
        )


def _against_method(name: str, table: pd.DataFrame) -> Iterator[Finding]:
    wrong = table[(table["method"] == "real") != (table["label"] == REAL)]
    if len(wrong):
        yield Finding(
            "label-against-method",
            ERROR,
            name,
            f"{len(wrong)} of {len(table)} images have a label that contradicts their method: "
            'real images (0) must have the method "real", fakes (1) their forgery method. Correct '
            "the table.",
            len(wrong),
            named(wrong["sample"]),
        )


def _reals_with_traces(name: str, table: pd.DataFrame) -> Iterator[Finding]:
    reals = table[table["label"] == REAL]
    swapped = reals[reals["source"] != ""]
    if len(swapped):
        yield Finding(
            "real-with-source",
            ERROR,
            name,
            f"{len(swapped)} images are labeled real but name the source of a forgery. Correct "
            "their labels, or clear the column source.",
            len(swapped),
            named(swapped["sample"]),
        )
    masked = reals[reals["mask_file"] != ""]
    chosen = masked.iloc[draw_rows(masked, MASKS)]
    shown = chosen["sample"][[_shows(file) for file in chosen["mask_file"]]]
    if len(shown):
        yield Finding(
            "real-with-mask",
            ERROR,
            name,
            f"{len(shown)} of {len(chosen)} masks of real images that were opened are not empty, "
            "which means that something was forged. Correct the labels or the masks.",
            len(shown),
            named(shown),
        )


def _shows(file: str) -> bool:
    """Return whether a mask is not empty; a mask that cannot be read counts as empty."""
    try:
        return bool((decode(contents(Path(file)), file).pixels > 127).any())
    except (OSError, DatasetError):
        return False


def _both_labels(context: Context) -> Iterator[Finding]:
    table = context.readable
    torn = table[table.groupby("content")["label"].transform("nunique") > 1]
    if len(torn):
        count = torn["content"].nunique()
        yield Finding(
            "label-conflict",
            ERROR,
            ", ".join(named(torn["dataset"])),
            f"{_images(count)}, byte for byte, as real and as fake. Remove the wrong ones.",
            count,
            named(torn["path"]),
        )


@CHECKS.register("files")
def check_files(context: Context) -> Iterator[Finding | Measure]:
    """Find missing, unreadable and changed files; other checks skip missing and unreadable ones."""
    for name, table in context.table.groupby("dataset", sort=False):
        missing = table[table["problem"] == "missing"]
        broken = table[~table["problem"].isin(["", "missing"])]
        if len(missing):
            yield Finding(
                "missing-file",
                ERROR,
                str(name),
                f"{len(missing)} of {len(table)} images are not on disk; no other image is used "
                "instead, so evaluation and training stop there. Restore them, or remove their "
                "rows from the table.",
                len(missing),
                named(missing["path"]),
            )
        if len(broken):
            yield Finding(
                "unreadable-file",
                ERROR,
                str(name),
                f"{len(broken)} of {len(table)} images cannot be decoded "
                f"({broken['problem'].iloc[0]}). Restore them, or remove their rows from the "
                "table.",
                len(broken),
                named(broken["path"]),
            )
        yield from _changed(str(name), table)


def _changed(name: str, table: pd.DataFrame) -> Iterator[Finding]:
    if "digest" not in table:
        return
    known = table[table["digest"].notna() & (table["digest"] != "") & (table["content"] != "")]
    changed = known[known["digest"] != known["content"]]
    if len(changed):
        yield Finding(
            "changed-file",
            WARNING,
            name,
            f"{len(changed)} of {len(table)} images have changed since the table was made, so its "
            "fingerprint, and every result stored with it, belongs to other images. Create the "
            "dataset again.",
            len(changed),
            named(changed["path"]),
        )


#: Share of common content from which two splits are reported as equal.
SAME = 0.8

PEOPLE = ("identity", "source", "driver")


@CHECKS.register("leaked-video")
def check_videos(context: Context) -> Iterator[Finding | Measure]:
    """Find videos (by dataset, method and name) that are in several splits."""
    table = context.table
    keys = table["space"] + "|" + table["dataset"] + "|" + table["method"] + "|" + table["video"]
    for space, rows in table.assign(key=keys).groupby("space", sort=False):
        torn = _torn(rows, "key")
        if len(torn):
            yield Finding(
                "leaked-video",
                ERROR,
                str(space),
                f"{torn['key'].nunique()} videos are in several splits, {_between(torn)}: a "
                "detector is tested on frames whose neighbors it was trained on. Put each video "
                "into one split.",
                torn["key"].nunique(),
                named(torn["video"]),
            )


def _torn(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the rows whose key is in more than one split."""
    return rows[rows.groupby(key)["split"].transform("nunique") > 1]


def _between(torn: pd.DataFrame) -> str:
    splits = set(torn["split"])
    return " and ".join(split for split in SPLITS if split in splits)


@CHECKS.register("leaked-identity")
def check_identities(context: Context) -> Iterator[Finding | Measure]:
    """Find persons that are in several splits: as identity, as source or as driver."""
    table = context.table
    for space, rows in table.groupby("space", sort=False):
        columns = [name for name in PEOPLE if name in rows]
        roles = rows.melt(
            id_vars=["split"], value_vars=columns, var_name="role", value_name="person"
        )
        known = roles[roles["person"].notna() & (roles["person"] != "")]
        torn = _torn(known.drop_duplicates(), "person")
        people = torn["person"].nunique()
        if not people:
            continue
        seen = known[known["role"] == "identity"].drop_duplicates()
        both = _torn(seen, "person")["person"].nunique()
        pairs = people - both
        how = f"{both} are shown in both" if both else "none is shown in both"
        if pairs:
            how += f"; {pairs} cross only as the source or driver of a fake"
        yield Finding(
            "leaked-identity",
            ERROR,
            str(space),
            f"{people} persons are in several splits, {_between(torn)} ({how}): a detector can "
            "recognize the face instead of the forgery. Split by persons (`probe ingest --splits "
            "cut` or `seeded`), or report that the split is not identity-disjoint.",
            people,
            named(torn["person"]),
        )


@CHECKS.register("shared-file")
def check_content(context: Context) -> Iterator[Finding | Measure]:
    """Find identical files in several splits, or in datasets that should not share any."""
    files = context.readable.drop_duplicates(["content", "split", "space"])
    torn = _torn(files, "content")
    if len(torn):
        yield from _same_splits(context.readable)
        count = torn["content"].nunique()
        yield Finding(
            "shared-file",
            ERROR,
            ", ".join(named(torn["dataset"])),
            f"{_images(count)}, byte for byte, in several splits, {_between(torn)}: test "
            "images were used in training. Keep each image in one split.",
            count,
            named(torn["path"]),
        )
        yield from _same_reals(context.readable)
    left = files[~files["content"].isin(torn["content"])]
    shared = left[left.groupby("content")["space"].transform("nunique") > 1]
    if len(shared):
        names = named(shared["dataset"])
        count = shared["content"].nunique()
        yield Finding(
            "shared-file",
            WARNING,
            ", ".join(names),
            f"{_images(count)}, byte for byte, in several datasets: results on {names[0]} and "
            f"{names[1] if len(names) > 1 else 'another'} are not independent of each other. "
            "Count them once where datasets are compared.",
            count,
            named(shared["path"]),
        )


def _same_splits(table: pd.DataFrame) -> Iterator[Finding]:
    for space, rows in table.groupby("space", sort=False):
        contents = {split: set(part["content"]) for split, part in rows.groupby("split")}
        pairs = [(a, b) for k, a in enumerate(SPLITS) for b in SPLITS[k + 1 :]]
        for a, b in pairs:
            if a not in contents or b not in contents:
                continue
            both = contents[a] & contents[b]
            share = len(both) / min(len(contents[a]), len(contents[b]))
            if share >= SAME:
                yield Finding(
                    f"{a}-equals-{b}",
                    ERROR,
                    str(space),
                    f"{a} and {b} are the same images ({share:.0%} of the smaller): a checkpoint "
                    f"selected on {a} has been selected on {b}. Create another {a}, for example "
                    "from train, by persons.",
                    len(both),
                )


def _same_reals(table: pd.DataFrame) -> Iterator[Finding]:
    reals = table[table["label"] == REAL]
    for space, rows in reals.groupby("space", sort=False):
        torn = _torn(rows, "content")
        share = torn["content"].nunique() / max(rows["content"].nunique(), 1)
        if share >= SAME:
            yield Finding(
                "same-reals",
                ERROR,
                str(space),
                f"{share:.0%} of the real images are in several splits, {_between(torn)}: only the "
                "fakes were split, and a detector can memorize every real image. Split real videos "
                "like fakes.",
                torn["content"].nunique(),
                named(torn["path"]),
            )


def _images(count: int) -> str:
    return f"{count:,} images occur" if count > 1 else "1 image occurs"
