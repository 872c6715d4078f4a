"""Neuron importance and universality: tables of causal effects, and counts beside their nulls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.errors import ProbeError, StoreError
from probe.stats import independence_counts, simulate_counts
from probe.tables import export_frame, open_table, save_table

__all__ = ["NeuronTable", "Universality", "ranks", "universal_neurons"]


@dataclass(frozen=True)
class NeuronTable:
    """Causal effects of units on the fake score, dataset by dataset.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``unit``, ``dose`` and ``draw`` (seeds of untrained detectors):

        - ``effect(dataset, unit)``: max − min over doses of the mean response, at least 0; logits
          or probability, see attribute ``output``;
        - ``slope(dataset, unit)``: its sign, as response at the highest dose − at the lowest;
        - ``rank(dataset, unit)``: 1 is the largest effect, ties in order of units;
        - ``value(dataset, unit, dose)``: what the unit was set to;
        - ``response(dataset, unit, dose)``: mean score of the samples under do(unit = value);
        - ``null_effect(draw, dataset, unit)``: effects in untrained detectors.

        Attributes: ``measure, mode, output, layer, split, detector, program``, fingerprints.
    """

    data: xr.Dataset

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a dataset and unit: ``dataset, unit, effect, slope, rank``."""
        frame = self.data[["effect", "slope", "rank"]].to_dataframe().reset_index()
        return frame[["dataset", "unit", "effect", "slope", "rank"]]

    def export(self, path: str | Path) -> Path:
        """Write the frame as ``.csv``, ``.parquet`` or ``.tex``."""
        return export_frame(self.to_dataframe(), path, self.data.attrs)

    def save(self, path: Path) -> None:
        """Write the labelled arrays as Zarr."""
        save_table(self.data, path)

    @classmethod
    def open(cls, path: Path) -> NeuronTable:
        """Read what `save` wrote."""
        data = open_table(path)
        if "effect" not in data:
            raise StoreError(f"The table {str(path)!r} is no neuron table: it holds no 'effect'.")
        return cls(data)


@dataclass(frozen=True)
class Universality:
    """In how many datasets each unit is among the top, and how many units chance puts there.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``unit``, ``count`` (0..D) and ``draw``:

        - ``selected(dataset, unit)``: whether the unit is among the top of the dataset;
        - ``n_datasets(unit)``: in how many it is;
        - ``observed(count)``: number of units with that count;
        - ``independence(count)``, ``independence_low``, ``independence_high``: expected number if
          lists were independent of each other, with the 95 % range of simulated lists;
        - ``untrained(draw, count)``: the same count in untrained detectors.

        Attributes: ``top`` and those of the neuron table.
    """

    data: xr.Dataset

    @property
    def universal(self) -> NDArray[np.int64]:
        """Units that are among the top of every dataset."""
        chosen = self.data["n_datasets"] == self.data.sizes["dataset"]
        return np.asarray(self.data["unit"].values[chosen.values], dtype=np.int64)

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a count: ``count, observed, independence, …, untrained_1, …``."""
        columns = ["observed", "independence", "independence_low", "independence_high"]
        frame = self.data[columns].to_dataframe().reset_index()
        for draw in range(self.data.sizes["draw"]):
            frame[f"untrained_{draw + 1}"] = self.data["untrained"].values[draw]
        return frame

    def units(self) -> pd.DataFrame:
        """Return one row a unit: ``unit, n_datasets`` and one column a dataset."""
        frame = pd.DataFrame(
            {"unit": self.data["unit"].values, "n_datasets": self.data["n_datasets"].values}
        )
        for name in self.data["dataset"].values:
            frame[str(name)] = self.data["selected"].sel(dataset=name).values
        return frame

    def export(self, path: str | Path) -> Path:
        """Write the frame of counts as ``.csv``, ``.parquet`` or ``.tex``."""
        return export_frame(self.to_dataframe(), path, self.data.attrs)

    def save(self, path: Path) -> None:
        """Write the labelled arrays as Zarr."""
        save_table(self.data, path)

    @classmethod
    def open(cls, path: Path) -> Universality:
        """Read what `save` wrote."""
        data = open_table(path)
        if "n_datasets" not in data:
            raise StoreError(f"The table {str(path)!r} holds no 'n_datasets': no universality.")
        return cls(data)


def universal_neurons(
    table: NeuronTable, top: float = 0.5, *, n_draws: int = 1000, seed: int = 0
) -> Universality:
    """Count in how many datasets each unit is among the top, beside what chance gives.

    The count is the study's (arXiv:2308.04177), where top = 0.5 and five datasets were used. It
    is no evidence by itself: independent lists of half of 1024 units leave 32 in all five, and
    since effects of one unit resemble each other in any network, an untrained one leaves many
    more.

    Parameters
    ----------
    table : NeuronTable
        Effects over at least two datasets.
    top : float, default 0.5
        Share of units kept a dataset, in (0, 1); at least one unit is kept.
    n_draws : int, default 1000
        Draws of independent lists, for the range of the independence null.
    seed : int, default 0
        Seed of those draws.

    Returns
    -------
    Universality
        Counts a unit, the histogram of counts, and both nulls.

    Raises
    ------
    ProbeError
        If `top` is out of range or the table has fewer than two datasets.
    """
    data = table.data
    if not 0 < top < 1:
        raise ProbeError(f"top={top} was given; it is a share of the units, in (0, 1).")
    if data.sizes["dataset"] < 2:
        raise ProbeError("Universality needs at least two datasets; the table has one.")
    n_units = data.sizes["unit"]
    kept = max(1, int(n_units * top))
    kept_each = [kept] * data.sizes["dataset"]
    selected = data["rank"] <= kept
    null = data["null_effect"].values
    draws = simulate_counts(kept_each, n_units, n_draws, seed)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    out = xr.Dataset(
        {
            "selected": selected,
            "n_datasets": selected.sum("dataset").astype(np.int64),
            "observed": ("count", _histogram(selected.values)),
            "independence": ("count", independence_counts(kept_each, n_units)),
            "independence_low": ("count", low),
            "independence_high": ("count", high),
            "untrained": (("draw", "count"), _null_histograms(null, kept)),
        },
        coords={"count": np.arange(len(kept_each) + 1)},
        attrs={**data.attrs, "top": top, "kept": kept},
    )
    return Universality(out)


def ranks(effects: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank units within datasets, 1 for the largest effect; shape (..., unit) in and out.

    Ties are broken by the order of units, so that exactly k units have a rank of at most k.
    """
    order = np.argsort(-effects, axis=-1, kind="stable")
    out = np.empty_like(order)
    np.put_along_axis(out, order, np.arange(1, effects.shape[-1] + 1), axis=-1)
    return np.asarray(out, dtype=np.int64)


def _histogram(selected: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Units at each count; from (dataset, unit) to (datasets + 1,)."""
    return np.asarray(np.bincount(selected.sum(axis=0), minlength=len(selected) + 1), np.int64)


def _null_histograms(effects: NDArray[np.float64], kept: int) -> NDArray[np.int64]:
    rows = [_histogram(ranks(one) <= kept) for one in effects]
    return np.asarray(rows, np.int64).reshape(len(effects), effects.shape[1] + 1)
