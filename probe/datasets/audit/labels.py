"""Labels that contradict what else is known of an image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from probe.datasets.audit.checks import CHECKS
from probe.datasets.audit.context import Context, named
from probe.datasets.audit.facts import contents
from probe.datasets.audit.findings import ERROR, WARNING, Finding, Measure
from probe.datasets.decoding import decode
from probe.datasets.subset import draw_rows
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["said_by_path"]

#: Words of a path that say what an image is.
REAL_WORDS = frozenset(
    {"real", "reals", "original", "originals", "pristine", "genuine", "authentic"}
)
FAKE_WORDS = frozenset(
    {"fake", "fakes", "deepfake", "deepfakes", "manipulated", "synthesis", "synthesized", "forged"}
)

#: Labels look inverted if so many of the paths that say something say the opposite.
MOST = 0.9
FEWEST = 10

#: Masks of real images that are opened to see whether they are empty, drawn over videos.
MASKS = 100


def said_by_path(path: str) -> int | None:
    """Read a label off a path: the last word in it that says real or fake.

    Parameters
    ----------
    path : str
        Such as "Celeb-real/id0_0000/12.png".

    Returns
    -------
    int or None
        0 real, 1 fake, None where no word says either.
    """
    words = [word for word in re.split(r"[^a-z]+", path.lower()) if word in REAL_WORDS | FAKE_WORDS]
    return None if not words else FAKE if words[-1] in FAKE_WORDS else REAL


@CHECKS.register("labels")
def check_labels(context: Context) -> Iterator[Finding | Measure]:
    """Find labels against the method, the path, the sources, the masks, and each other."""
    inside = context.table.groupby("given")["path"].transform(_told_apart)
    for name, table in context.table.assign(inside=inside).groupby("dataset", sort=False):
        yield from _against_paths(str(name), table)
        yield from _against_method(str(name), table)
        yield from _reals_with_traces(str(name), table)
    yield from _both_labels(context)


def _told_apart(paths: pd.Series[str]) -> pd.Series[str]:
    """Leave out the folders that all paths share, which tell no image from another."""
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
            f"The labels look inverted: {wrong.sum()} of {telling.sum()} paths that say real or "
            "fake say the opposite of the label. Here fake is 1; convert the source's convention "
            "(in a manifest with fake_label).",
            int(wrong.sum()),
            examples,
        )
    else:
        yield Finding(
            "label-against-path",
            WARNING,
            name,
            f"{wrong.sum()} of {telling.sum()} paths that say real or fake say the opposite of the "
            "label. Look at them; here fake is 1.",
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
            'real images (0) have the method "real", fakes (1) that of their forgery. Correct '
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
            f"{len(swapped)} images are labeled real and name whose face was put in or who "
            "drove it. Correct their labels, or empty the column source.",
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
            f"{len(shown)} of {len(chosen)} masks of real images that were opened are not empty: "
            "they say that something was forged. Correct the labels or the masks.",
            len(shown),
            named(shown),
        )


def _shows(file: str) -> bool:
    """Say whether a mask shows something; one that cannot be read shows nothing."""
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
            f"{count} images stand, byte for byte, as real and as fake. Take out what is wrong.",
            count,
            named(torn["path"]),
        )
