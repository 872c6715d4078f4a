"""What the checks look at: the samples of all datasets, and the facts of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.audit.facts import Facts, look_at_all
from probe.datasets.dataset import Dataset
from probe.datasets.samples import Samples

__all__ = ["Context", "named", "originals_of"]


@dataclass(frozen=True)
class Context:
    """Samples of all datasets in one table.

    Attributes
    ----------
    table : pandas.DataFrame
        The columns of `Samples`, those that ingest added, and ``file`` (whole path), ``row``
        (position of the file among the facts), ``space`` (whose names its persons have: the
        dataset's own, or that of the originals it shares), ``given`` (which of the datasets
        given it is of, by position), ``problem``, ``content`` (hash of the bytes as they are).
    facts : Facts
        One row a file; a file that several samples use stands once.
    reals : mapping
        From datasets of fakes to the dataset of their originals.
    """

    table: pd.DataFrame
    facts: Facts
    reals: Mapping[str, str]

    @cached_property
    def readable(self) -> pd.DataFrame:
        """The samples whose file can be decoded."""
        return self.table[self.table["problem"] == ""]

    def parts(self, table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
        """Iterate over the datasets in a table, fakes together with their originals."""
        names = list(dict.fromkeys(table["dataset"]))
        originals = {real for fake, real in self.reals.items() if fake in names}
        for name in names:
            own = table[table["dataset"] == name]
            if name in self.reals:
                shared = (table["dataset"] == self.reals[name]) & (table["label"] == 0)
                yield name, pd.concat([table[shared], own])
            elif name not in originals:
                yield name, own


def gather(datasets: Sequence[Dataset], n_workers: int) -> Context:
    """Look at all files of some datasets."""
    tables, reals = [], dict[str, str]()
    for position, one in enumerate(datasets):
        shared = originals_of(one)
        reals |= dict(one.card.get("reals") or {})
        table = one.samples.table.copy()
        table["given"] = position
        table["file"] = [str(one.root / path) for path in table["path"]]
        table["space"] = [shared.get(name, name) for name in table["dataset"]]
        table["mask_file"] = [str(one.root / mask) if mask else "" for mask in table["mask"]]
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    rows, files = pd.factorize(table["file"])
    facts = look_at_all([Path(file) for file in files], n_workers)
    table["row"] = rows
    table["problem"] = facts.table["problem"].to_numpy()[rows]
    table["content"] = facts.table["digest"].to_numpy()[rows]
    return Context(table, facts, reals)


def originals_of(data: Dataset) -> dict[str, str]:
    """Say of each dataset whose originals it shares, also where data were joined of sources.

    A joined table holds a dataset's originals under the dataset's own name; the card of its source
    still says where they are from, so that shared originals are not taken for copies.
    """
    if "parts" not in data.card:
        return dict(data.card.get("reals") or {})
    out = {}
    for name, card in data.card["parts"].items():
        shared = dict(card.get("reals") or {})
        # A dataset that the study renamed has the originals that all parts of its source share.
        common = set(shared.values())
        found = shared.get(name) or (common.pop() if len(common) == 1 else "")
        if found:
            out[str(name)] = str(found)
    return out


def clusters(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return cluster codes of some samples: the identity where it is known, else the video."""
    return Samples(table.assign(sample=np.arange(len(table)).astype(str))).clusters


def named(values: Iterable[Any], most: int = 5) -> tuple[str, ...]:
    """Return the first few different values as text."""
    return tuple(dict.fromkeys(str(value) for value in values))[:most]
