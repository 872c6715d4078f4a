"""What stands on both sides of a split: videos, persons, files."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from probe.datasets.audit.checks import CHECKS
from probe.datasets.audit.context import Context, named
from probe.datasets.audit.findings import ERROR, WARNING, Finding, Measure
from probe.schema import REAL, SPLITS

__all__: list[str] = []

#: Two splits that share more of their content than this are said to be the same.
SAME = 0.8

PEOPLE = ("identity", "source", "driver")


@CHECKS.register("leaked-video")
def check_videos(context: Context) -> Iterator[Finding | Measure]:
    """Find videos of one name, dataset and method in several splits."""
    table = context.table
    keys = table["space"] + "|" + table["dataset"] + "|" + table["method"] + "|" + table["video"]
    for space, rows in table.assign(key=keys).groupby("space", sort=False):
        torn = _torn(rows, "key")
        if len(torn):
            yield Finding(
                "leaked-video",
                ERROR,
                str(space),
                f"{torn['key'].nunique()} videos stand in several splits, {_between(torn)}: a "
                "detector is tested on frames whose neighbors it was trained on. Put each video "
                "into one split.",
                torn["key"].nunique(),
                named(torn["video"]),
            )


def _torn(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Keep the rows whose key stands in more than one split."""
    return rows[rows.groupby(key)["split"].transform("nunique") > 1]


def _between(torn: pd.DataFrame) -> str:
    splits = set(torn["split"])
    return " and ".join(split for split in SPLITS if split in splits)


@CHECKS.register("leaked-identity")
def check_identities(context: Context) -> Iterator[Finding | Measure]:
    """Find persons in several splits, as seen, as giver of the face, or as driver."""
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
        how = f"{both} are seen in both" if both else "none is seen in both"
        if pairs:
            how += f"; {pairs} cross through a swap pair, whose face or movement is the other's"
        yield Finding(
            "leaked-identity",
            ERROR,
            str(space),
            f"{people} persons stand in several splits, {_between(torn)} ({how}): a detector can "
            "know the face instead of the forgery. Divide by persons (`probe ingest --splits cut` "
            "or `seeded` does), or say that the split is not identity-disjoint.",
            people,
            named(torn["person"]),
        )


@CHECKS.register("shared-file")
def check_content(context: Context) -> Iterator[Finding | Measure]:
    """Find the same bytes in several splits, or in datasets that are not meant to share any."""
    files = context.readable.drop_duplicates(["content", "split", "space"])
    torn = _torn(files, "content")
    if len(torn):
        yield from _same_splits(context.readable)
        count = torn["content"].nunique()
        yield Finding(
            "shared-file",
            ERROR,
            ", ".join(named(torn["dataset"])),
            f"{count} images stand, byte for byte, in several splits, {_between(torn)}: what is "
            "tested on was trained on. Keep each image in one split.",
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
            f"{count} images stand, byte for byte, in several datasets: results on {names[0]} and "
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
                    f"chosen on {a} has been chosen on {b}. Make another {a}, for example out of "
                    "train, by persons.",
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
                f"{share:.0%} of the real images stand in several splits, {_between(torn)}: only "
                "the fakes were divided, and a detector can know every real image by heart. "
                "Divide real videos like fakes.",
                torn["content"].nunique(),
                named(torn["path"]),
            )
