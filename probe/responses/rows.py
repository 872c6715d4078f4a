"""Rows that may be exchanged: means by dataset, person and label, streamed from a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse

from probe.artifacts.covariates import TEXT
from probe.errors import ProbeError, UnknownNameError
from probe.stats import Floats
from probe.store import ActivationStore

__all__ = ["Rows", "cells_of", "gather_rows"]

#: Samples that are read at once.
BLOCK = 4096


@dataclass(frozen=True)
class Rows:
    """Means over the images of one person, in one dataset, of one label.

    Attributes
    ----------
    table : pandas.DataFrame
        One row each: ``dataset, cluster, label`` and ``n``, the number of images.
    units, measured, covariates : numpy.ndarray
        Shapes (rows, units), (rows, measurements) and (rows, covariates); NaN where no image of the
        row has a value.
    covariate_names : tuple of str
        Name of every column of `covariates`; a covariate without order has a column a value.
    samples : pandas.DataFrame
        Index dataset; ``n_samples`` that were used, and ``unmeasured`` of the store.
    """

    table: pd.DataFrame
    units: Floats
    measured: Floats
    covariates: Floats
    covariate_names: tuple[str, ...]
    samples: pd.DataFrame


def gather_rows(
    store: ActivationStore, layer: str, measurements: xr.Dataset, covariates: Sequence[str]
) -> Rows:
    """Average activations and measurements over the images of a person, by dataset and label.

    A person who is seen in several datasets is one cluster: images of them are not independent.
    Where no identity is known the video stands for it.
    """
    _check_measurements(measurements, covariates)
    samples = store.samples
    known = pd.Series(np.arange(measurements.sizes["sample"]), _texts(measurements, "sample"))
    at = known.reindex(samples["sample"].astype(str), fill_value=-1).to_numpy(np.int64)
    if not (at >= 0).any():
        raise ProbeError(
            f"None of the {len(samples)} images of the store {str(store.path)!r} was measured "
            f"({len(known)} others were). Measure the dataset that was recorded."
        )
    kept = samples[at >= 0].assign(cluster=_clusters(samples[at >= 0]))
    keys = ["dataset", "cluster", "label"]
    table = kept.groupby(keys, sort=True).size().rename("n").reset_index()
    place = pd.MultiIndex.from_frame(table[keys])
    codes = np.full(len(samples), -1, dtype=np.int64)
    codes[at >= 0] = place.get_indexer(pd.MultiIndex.from_frame(kept[keys]))
    values = _values(measurements, "value", at[at >= 0])
    extra, names = _controls(measurements, covariates, at[at >= 0])
    used = codes[at >= 0]
    counts = pd.DataFrame(
        {
            "n_samples": kept.groupby("dataset", sort=False).size(),
            "unmeasured": samples[at < 0].groupby("dataset").size(),
        }
    ).reindex(list(dict.fromkeys(kept["dataset"])), fill_value=0)
    return Rows(
        table,
        _activations(store, layer, codes, table["n"].to_numpy()),
        _means(values, used, len(table)),
        _means(extra, used, len(table)),
        names,
        counts.fillna(0).astype(np.int64),
    )


def _check_measurements(measurements: xr.Dataset, covariates: Sequence[str]) -> None:
    if "value" not in measurements or {*measurements["value"].dims} != {"sample", "measurement"}:
        raise ProbeError(
            "The measurements hold no value(sample, measurement). Measure the images with `probe "
            "artifacts` and give what it wrote."
        )
    known = _texts(measurements, "covariate") if "control" in measurements else []
    for name in covariates:
        if name not in known:
            raise UnknownNameError("covariate", name, known, where="the measurements")


def _texts(data: xr.Dataset, name: str) -> list[str]:
    return [str(value) for value in data[name].values]


def _clusters(samples: pd.DataFrame) -> NDArray[Any]:
    identity = samples["identity"].to_numpy(dtype=object)
    video = (samples["dataset"] + "|video|" + samples["video"]).to_numpy(dtype=object)
    return np.where(identity != "", "id|" + identity, video)


def cells_of(table: pd.DataFrame) -> NDArray[np.int64]:
    """Give the number of the cell in which each row may change places, shape (rows,).

    A cell is a dataset, a label, and what other rows there are of the person.
    """
    kind = table["dataset"] + "|" + table["label"].astype(str)
    pattern = kind.groupby(table["cluster"]).agg(lambda k: "\n".join(sorted(k)))
    cell = kind + "\r" + table["cluster"].map(pattern)
    return np.asarray(pd.factorize(cell)[0], dtype=np.int64)


def _values(data: xr.Dataset, name: str, at: NDArray[np.int64]) -> Floats:
    """Read (sample, …) at some samples; infinite values do not count as measured."""
    values = np.asarray(data[name].transpose("sample", ...).values[at], dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _controls(
    data: xr.Dataset, covariates: Sequence[str], at: NDArray[np.int64]
) -> tuple[Floats, tuple[str, ...]]:
    """Read covariates, shape (images, columns); those without order as 0 or 1 for each value."""
    columns, names = [np.empty((len(at), 0))], []
    for name in covariates:
        values = _values(data.sel(covariate=[name]), "control", at)
        if name in TEXT:
            codes = np.unique(values[np.isfinite(values)])
            # The last follows from the others.
            equal = values == codes[: max(1, len(codes) - 1)]
            values = np.where(np.isnan(values), np.nan, equal) if len(codes) else values
        columns.append(values)
        names += [name] * values.shape[1]
    return np.concatenate(columns, axis=1), tuple(names)


def _means(values: Floats, codes: NDArray[np.int64], rows: int) -> Floats:
    known = np.isfinite(values)
    counts, sums = np.zeros((2, rows, values.shape[1]))
    np.add.at(counts, codes, known)
    np.add.at(sums, codes, np.where(known, values, 0.0))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _activations(
    store: ActivationStore, layer: str, codes: NDArray[np.int64], counts: NDArray[np.int64]
) -> Floats:
    """Average activations by row, block by block; shape (rows, units)."""
    data = store[layer]["activation"]
    sums = np.zeros((len(counts), data.sizes["unit"]))
    for start in range(0, len(codes), BLOCK):
        where = codes[start : start + BLOCK]
        used = np.flatnonzero(where >= 0)
        if not len(used):
            continue
        values = np.asarray(data[start : start + BLOCK].values, dtype=np.float64)
        if not np.isfinite(values[used]).all():
            raise ProbeError(
                f"Layer {layer!r} of the store {str(store.path)!r} holds activations that are not "
                "finite. Record it again, as float32."
            )
        shape = (len(counts), len(values))
        sums += sparse.csr_array((np.ones(len(used)), (where[used], used)), shape=shape) @ values
    return np.asarray(sums / counts[:, None])
