"""Whether every split has what a measurement needs: both classes, enough clusters."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from probe.datasets.audit.checks import CHECKS
from probe.datasets.audit.context import Context, clusters
from probe.datasets.audit.findings import ERROR, NOTE, WARNING, Finding, Measure
from probe.schema import FAKE, REAL
from probe.stats import MIN_CLUSTERS

__all__: list[str] = []

#: One class that outnumbers the other by more is said to be out of balance.
RATIO = 10.0


@CHECKS.register("balance")
def check_balance(context: Context) -> Iterator[Finding | Measure]:
    """Find splits with one class, classes out of balance, and methods with few clusters."""
    for name, part in context.parts(context.table):
        for split, rows in part.groupby("split", sort=False):
            yield from _classes(name, str(split), rows, _not_given(context, name))
            yield from _clusters(name, str(split), rows)


def _not_given(context: Context, name: str) -> str:
    """Return the dataset that, by the card, has this one's other class, if it was not given."""
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
            + ("measured. " if split == "test" else "learned or chosen. ")
            + "Add the other class; real images of another dataset are joined with its fakes.",
            sum(counts.values()),
        )
    elif max(counts.values()) > RATIO * min(counts.values()):
        yield Finding(
            "class-balance",
            WARNING,
            name,
            f"The split {split} holds {words} images: accuracy says little there, and a training "
            "without weights leans to the larger class. Look at AUROC, or balance it.",
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
            f"{', '.join(few)}: no interval can be given there.",
            len(few),
            tuple(few[:5]),
        )
