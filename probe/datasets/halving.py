"""Dividing people into halves: one to choose on, one to measure on."""

from __future__ import annotations

import numpy as np

from probe.datasets.dataset import Dataset
from probe.errors import DatasetError
from probe.schema import FAKE

__all__ = ["halve", "undivided"]


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
