"""`Samples`: the table with one row an image that every dataset is reduced to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probe.errors import DatasetError
from probe.schema import SAMPLE_COLUMNS, SPLITS

__all__ = ["Samples"]


@dataclass(frozen=True)
class Samples:
    """A table of images: what they show, where they lie, which clusters they belong to.

    Attributes
    ----------
    table : pandas.DataFrame
        One row an image. Columns: ``sample`` (unique id), ``dataset``, ``split`` (train, val,
        test), ``label`` (0 real, 1 fake), ``method`` (the forgery; "real" for real images),
        ``video`` (unique over dataset and method), ``identity`` (who is seen; empty if unknown),
        ``source`` (who gave the face or drove it; empty if real or unknown), ``frame`` (index in
        the video), ``path`` and ``mask`` (relative to the dataset's root; empty mask if none).
        Readers may add columns; the lab adds doses and pairs.

    Raises
    ------
    DatasetError
        If a column is missing, a sample id stands twice, or a label or split is out of range.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [name for name in SAMPLE_COLUMNS if name not in self.table.columns]
        if missing:
            raise DatasetError(
                f"The sample table has no column {', '.join(map(repr, missing))}. It needs "
                f"{', '.join(SAMPLE_COLUMNS)}; add what is missing (empty text where unknown)."
            )
        object.__setattr__(self, "table", _normalized(self.table))
        _check_values(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def where(self, **equal: Any) -> Samples:
        """Keep the rows whose columns equal the values given (a scalar or a collection)."""
        keep = np.ones(len(self), dtype=bool)
        for column, wanted in equal.items():
            values = [wanted] if isinstance(wanted, str | int) else list(wanted)
            keep &= self.table[column].isin(values).to_numpy()
        return Samples(self.table[keep])

    @property
    def labels(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        """Labels, shape (n,), 0 real and 1 fake."""
        return np.asarray(self.table["label"], dtype=np.int8)

    @property
    def clusters(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Cluster codes, shape (n,): the identity where it is known, else the video.

        Frames of one video and videos of one identity are not independent; every interval and
        every cross-validation is grouped by this.
        """
        identity = self.table["identity"].to_numpy(dtype=object)
        video = self.table["video"].to_numpy(dtype=object)
        dataset = self.table["dataset"].to_numpy(dtype=object)
        keys = [
            f"{d}|id|{i}" if i else f"{d}|video|{v}"
            for d, i, v in zip(dataset, identity, video, strict=True)
        ]
        return np.asarray(pd.factorize(np.asarray(keys, dtype=object))[0], dtype=np.int64)

    def counts(self) -> Mapping[str, int]:
        """Count the images of each "dataset/split/label" that occurs."""
        rows = zip(*(self.table[name] for name in ("dataset", "split", "label")), strict=True)
        return dict(
            sorted(Counter(f"{d}/{s}/{'fake' if y else 'real'}" for d, s, y in rows).items())
        )


def _normalized(table: pd.DataFrame) -> pd.DataFrame:
    out = table.reset_index(drop=True).copy()
    for name, dtype in SAMPLE_COLUMNS.items():
        if dtype == "str":
            out[name] = out[name].fillna("").astype(str)
        else:
            out[name] = out[name].to_numpy().astype(np.dtype(dtype))
    return out


def _check_values(table: pd.DataFrame) -> None:
    twice = table["sample"][table["sample"].duplicated()]
    if len(twice):
        raise DatasetError(
            f"Sample id {twice.iloc[0]!r} stands {1 + int((twice == twice.iloc[0]).sum())} times "
            f"({len(twice)} repeats in all). Ids have to be unique; prefix them by dataset."
        )
    wrong = sorted(set(table["label"]) - {0, 1})
    if wrong:
        raise DatasetError(f"Labels {wrong} were given; allowed are 0 (real) and 1 (fake).")
    splits = sorted(set(table["split"]) - set(SPLITS))
    if splits:
        raise DatasetError(f"Splits {splits} were given; allowed are {', '.join(SPLITS)}.")
