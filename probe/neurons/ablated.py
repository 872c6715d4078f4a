"""`Ablation`: what detection loses without sets of units, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr

from probe.errors import StoreError
from probe.tables import export_frame, open_table, parsed, save_table

__all__ = ["BOTH_HALVES", "MEAN", "Ablation"]

#: Name of the row that averages over datasets.
MEAN = "mean"

#: Where a set has to be found so that it is taken out; in the words of what says that it was not.
BOTH_HALVES = "in both halves of the identities"


@dataclass(frozen=True)
class Ablation:
    """Detection with and without sets of units.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``set``, ``dataset`` (and, last, ``mean`` over them), ``metric`` (``accuracy``,
        ``auroc``) and ``random``:

        - ``full(dataset, metric)``, ``without(set, dataset, metric)``: in [0, 1];
        - ``drop(set, dataset, metric)``: full − without, above 0 where the units help; with
          ``drop_low`` and ``drop_high`` (cluster bootstrap of the difference);
        - ``random_drop(set, random, dataset, metric)``: the same for random sets that match the
          set in size and in |weight| × range;
        - ``excess(set, dataset, metric)``: drop − mean drop of the random sets, with
          ``excess_low`` and ``excess_high``;
        - ``p(set, dataset, metric)``: share of sets, the one in question among them, whose drop is
          at least as large;
        - ``n_units(set)``, ``n_distinct(set)`` random sets that differ, and ``balance(set)``: mean
          |weight| × range of the random sets over that of the set; 1 is a perfect match.

        Attributes: ``layer, values, n_random``, fingerprints, and how sets were chosen.
    """

    data: xr.Dataset

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a set, dataset and metric."""
        columns = [
            "full",
            "without",
            "drop",
            "drop_low",
            "drop_high",
            "excess",
            "excess_low",
            "excess_high",
            "p",
            "n_units",
            "n_distinct",
            "balance",
        ]
        frame = self.data[columns].to_dataframe().reset_index()
        return frame[["set", "dataset", "metric", *columns]]

    def export(self, path: str | Path) -> Path:
        """Write the frame as ``.csv``, ``.parquet``, ``.tex`` or ``.md``."""
        return export_frame(self.to_dataframe(), path, self.data.attrs)

    def save(self, path: Path) -> None:
        """Write the labeled arrays as Zarr."""
        save_table(self.data, path)

    @classmethod
    def open(cls, path: Path) -> Ablation:
        """Read what `save` wrote."""
        data = open_table(path)
        if "random_drop" not in data:
            raise StoreError(f"The table {str(path)!r} holds no 'random_drop': no ablation.")
        return cls(data.assign_attrs({key: parsed(value) for key, value in data.attrs.items()}))
