"""`relate`: partial rank correlations of units with measurements, tested by exchanging people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse, stats

from probe.artifacts.controls import TEXT
from probe.artifacts.responses import ResponseReport, answered
from probe.errors import ProbeError, UnknownNameError
from probe.progress import progress_bar
from probe.stats import MIN_CLUSTERS, Floats, benjamini_hochberg
from probe.store import ActivationStore

__all__ = [
    "Correlated",
    "Rows",
    "Stratum",
    "cells_of",
    "gather_rows",
    "partial_correlations",
    "relate",
    "residual_ranks",
    "strata_of",
]

#: Samples per block.
ROWS = 4096


@dataclass(frozen=True)
class Rows:
    """Means over the images of one person, dataset and label.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per mean: ``dataset, cluster, label`` and ``n``, the number of images.
    units, measured, covariates : numpy.ndarray
        Shapes (rows, units), (rows, measurements) and (rows, covariates); NaN where no image of the
        row has a value.
    covariate_names : tuple of str
        Name of each column of `covariates`; a categorical covariate has a column per value.
    samples : pandas.DataFrame
        Index dataset; ``n_samples``, samples used, and ``unmeasured``, samples of the store
        without measurements.
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
    """Average activations and measurements over the images of a person, per dataset and label.

    A person in several datasets is one cluster, because the images are not independent. Where the
    identity is unknown, the video is used instead.
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
    """Return the cell within which each row can be permuted, shape (rows,).

    A cell is a dataset, a label, and the combination of rows that the person has.
    """
    kind = table["dataset"] + "|" + table["label"].astype(str)
    pattern = kind.groupby(table["cluster"]).agg(lambda k: "\n".join(sorted(k)))
    cell = kind + "\r" + table["cluster"].map(pattern)
    return np.asarray(pd.factorize(cell)[0], dtype=np.int64)


def _values(data: xr.Dataset, name: str, at: NDArray[np.int64]) -> Floats:
    """Return the values (sample, …) of some samples; infinite values become NaN."""
    values = np.asarray(data[name].transpose("sample", ...).values[at], dtype=np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _controls(
    data: xr.Dataset, covariates: Sequence[str], at: NDArray[np.int64]
) -> tuple[Floats, tuple[str, ...]]:
    """Return covariates, shape (images, columns); categories as an indicator (0, 1) per value."""
    columns, names = [np.empty((len(at), 0))], []
    for name in covariates:
        values = _values(data.sel(covariate=[name]), "control", at)
        if name in TEXT:
            codes = np.unique(values[np.isfinite(values)])
            # The last indicator follows from the others.
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
    """Average activations by row, in blocks; shape (rows, units)."""
    data = store[layer]["activation"]
    sums = np.zeros((len(counts), data.sizes["unit"]))
    for start in range(0, len(codes), ROWS):
        where = codes[start : start + ROWS]
        used = np.flatnonzero(where >= 0)
        if not len(used):
            continue
        values = np.asarray(data[start : start + ROWS].values, dtype=np.float64)
        if not np.isfinite(values[used]).all():
            raise ProbeError(
                f"Layer {layer!r} of the store {str(store.path)!r} holds activations that are not "
                "finite. Record it again, as float32."
            )
        shape = (len(counts), len(values))
        sums += sparse.csr_array((np.ones(len(used)), (where[used], used)), shape=shape) @ values
    return np.asarray(sums / counts[:, None])


#: Maximum number of statistics (permutation × unit × measurement), and of permuted residuals
#: (permutation × row × measurement), held at once; a single permutation may exceed it.
BLOCK = 1 << 22

#: Residuals of ranks (0 to 1) below this are rounding errors.
ROUNDING = 1e-9


class Correlated(NamedTuple):
    """Result of `partial_correlations`, each array of shape (units, measurements).

    Attributes
    ----------
    rho : numpy.ndarray
        Partial rank correlation in [−1, 1]; 0 where one of the two is constant.
    p : numpy.ndarray
        Two-sided p-value in (0, 1]; 1 where one of the two is constant.
    p_max : numpy.ndarray
        p-value against the largest statistic of all pairs (Westfall and Young 1993).
    """

    rho: Floats
    p: Floats
    p_max: Floats


@dataclass(frozen=True)
class Stratum:
    """Rows of one dataset, and the regressors to remove there.

    Attributes
    ----------
    rows : numpy.ndarray
        Positions of the rows of the dataset.
    basis : numpy.ndarray
        Shape (rows, k), orthonormal: span of the cell indicators and of the covariates' ranks.
    moves : bool
        Whether the basis includes covariates, which must be removed again after a permutation
        within cells.
    """

    rows: NDArray[np.int64]
    basis: Floats
    moves: bool

    @property
    def freedom(self) -> int:
        """Degrees of freedom: rows minus the dimension of the basis."""
        return len(self.rows) - int(self.basis.shape[1])

    def residuals(self, values: Floats) -> Floats:
        """Remove what the basis explains, shape (..., rows, columns) in and out."""
        return np.asarray(values - self.basis @ (self.basis.T @ values))


def strata_of(
    datasets: NDArray[np.int64], cells: NDArray[np.int64], covariates: Floats
) -> list[Stratum]:
    """Set up the regression of each dataset on its cells and the ranks of its covariates.

    Parameters
    ----------
    datasets, cells : numpy.ndarray
        Shape (rows,): codes; a cell is within one dataset and label.
    covariates : numpy.ndarray
        Shape (rows, covariates), finite.
    """
    out = []
    for code in np.unique(datasets):
        rows = np.flatnonzero(datasets == code)
        _, at = np.unique(cells[rows], return_inverse=True)
        dummies = np.eye(at.max() + 1)[at]
        design = np.column_stack([dummies, _ranks(covariates[rows])])
        left, size, _ = np.linalg.svd(design, full_matrices=False)
        basis = left[:, size > ROUNDING * size[0]]
        out.append(Stratum(rows, basis, basis.shape[1] > dummies.shape[1]))
    return out


def residual_ranks(values: Floats, strata: list[Stratum]) -> Floats:
    """Rank within each dataset and regress out cells and covariates.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (rows, columns). A column with a NaN in a dataset is left out (0) there.
    strata : list of Stratum
        Regressions of the datasets.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns): residuals of rank / (n + 1); 0 where undefined.
    """
    out = np.zeros_like(values)
    for one in strata:
        own = values[one.rows]
        defined = np.isfinite(own).all(axis=0)
        ranks = one.residuals(_ranks(np.where(defined, own, 0.0)))
        out[one.rows] = np.where(np.abs(ranks).max(axis=0) > ROUNDING, ranks, 0.0)
    return out


def partial_correlations(
    x: Floats,
    y: Floats,
    strata: list[Stratum],
    clusters: NDArray[np.int64],
    cells: NDArray[np.int64],
    n_permutations: int = 1999,
    seed: int = 0,
) -> Correlated:
    """Correlate residual ranks, pooled over datasets, and test each pair by permutation.

    Residuals of `y` are permuted (Freedman and Lane 1983, doi:10.1080/07350015.1983.10509354), and
    covariates are regressed out again. Whole clusters are exchanged: all rows of one with all rows
    of another with the same cells. Rows of one person are dependent in `x` and in `y`, and a test
    that separates them gives too many false positives. All pairs use the same permutations.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shapes (rows, units) and (rows, measurements), from `residual_ranks`.
    strata : list of Stratum
        Regressions of the datasets; a dataset where a column of `y` is 0 is not used for it.
    clusters, cells : numpy.ndarray
        Shape (rows,): codes.
    n_permutations : int, default 1999
        Number of permutations in addition to the observed order.
    seed : int, default 0
        Seed of the permutations.

    Returns
    -------
    Correlated
        Correlations with p-values.
    """
    size_x, freedom = _sizes(x, y, strata)
    observed = _statistics(x, y[None], size_x, freedom)[0]
    bar = np.abs(observed) - 1e-9
    blocks = exchange_blocks(clusters, cells)
    rng = np.random.default_rng(seed)
    # The observed order counts as one of the draws.
    above, above_max = np.ones_like(bar), np.ones_like(bar)
    step = max(1, BLOCK // max(bar.size, y.size, 1))
    with progress_bar("relate units", n_permutations) as advance:
        for start in range(0, n_permutations, step):
            count = min(step, n_permutations - start)
            order = np.stack([_exchanged(blocks, len(x), rng) for _ in range(count)])
            drawn = np.abs(_statistics(x, _again(y[order], strata), size_x, freedom))
            above += (drawn >= bar).sum(axis=0)
            largest = np.sort(drawn.reshape(count, -1).max(axis=1))
            above_max += count - np.searchsorted(largest, bar)
            advance(count)
    draws = n_permutations + 1
    root = np.sqrt(np.maximum(freedom, 1))
    return Correlated(observed / root, above / draws, above_max / draws)


def _ranks(values: Floats) -> Floats:
    if not values.size:
        return values
    return np.asarray(stats.rankdata(values, axis=0) / (len(values) + 1))


def _sizes(x: Floats, y: Floats, strata: list[Stratum]) -> tuple[Floats, Floats]:
    """Return norms of x over the datasets used for each y, (units, measurements), and freedom."""
    used = np.stack([(y[one.rows] != 0).any(axis=0) for one in strata]).astype(float)
    squares = np.stack([(x[one.rows] ** 2).sum(axis=0) for one in strata])
    freedom = np.array([one.freedom for one in strata], dtype=float)
    return np.sqrt(squares.T @ used), freedom @ used


def _statistics(x: Floats, y: Floats, size_x: Floats, freedom: Floats) -> Floats:
    """Return correlation × √freedom; from y (draws, rows, m) to (draws, units, m).

    The factor makes measurements defined in different numbers of datasets comparable.
    """
    draws, rows, columns = y.shape
    flat = y.transpose(1, 0, 2).reshape(rows, draws * columns)
    cross = (x.T @ flat).reshape(x.shape[1], draws, columns).transpose(1, 0, 2)
    size_y = np.sqrt((y**2).sum(axis=1))[:, None]
    scale = size_x * size_y
    cross = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > ROUNDING)
    cross *= np.sqrt(freedom)
    return np.asarray(cross)


def _again(y: Floats, strata: list[Stratum]) -> Floats:
    """Regress covariates out of permuted residuals; cells are not affected by permutation."""
    for one in strata:
        if one.moves:
            y[:, one.rows] = one.residuals(y[:, one.rows])
    return y


def exchange_blocks(
    clusters: NDArray[np.int64], cells: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Group exchangeable clusters; each group has shape (clusters, rows per cluster)."""
    order = np.lexsort((cells, clusters))
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    groups: dict[tuple[int, ...], list[NDArray[np.int64]]] = {}
    for rows in np.split(order, starts[1:]):
        groups.setdefault(tuple(cells[rows].tolist()), []).append(rows)
    return [np.stack(group) for group in groups.values()]


def _exchanged(
    blocks: list[NDArray[np.int64]], rows: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw a permutation: the source row of each row's residuals."""
    source = np.empty(rows, dtype=np.int64)
    for block in blocks:
        source[block] = block[rng.permutation(len(block))]
    return source


def relate(
    store: ActivationStore,
    measurements: xr.Dataset,
    layer: str,
    *,
    covariates: Sequence[str] = (),
    universal: Sequence[int] = (),
    n_permutations: int = 1999,
    alpha: float = 0.05,
    seed: int = 0,
) -> ResponseReport:
    """Correlate each unit of a layer with each image measurement, given the label.

    This is correlation, not causation: a common cause can correlate a unit with a measurement. On
    the synthetic data, `dose_response` measures the causal effect.

    Activations and measurements are averaged over the images of one person, dataset and label, and
    ranked within datasets. Label and covariates (ranked too) are regressed out within datasets, and
    the residuals are correlated over all datasets together. p-values are by permutation of
    residuals (Freedman and Lane 1983) between whole persons with the same datasets and labels.

    Parameters
    ----------
    store : ActivationStore
        Activation store.
    measurements : xarray.Dataset
        `ArtifactMeasurements.data`: ``value(sample, measurement)``, and ``control(sample,
        covariate)`` if covariates are given. Images that are not in the store are ignored.
    layer : str
        Layer of the store.
    covariates : sequence of str
        Names of covariates to control for in addition to label and dataset: by their ranks, or,
        for categories (formats, codecs), by indicators of the values.
    universal : sequence of int
        Units to mark in tables and figures.
    n_permutations : int, default 1999
        Number of permutations; the smallest possible p-value is 1 / (n_permutations + 1).
    alpha : float, default 0.05
        False discovery rate at which a unit gets an answer, in (0, 1).
    seed : int, default 0
        Seed of the permutations.

    Returns
    -------
    ResponseReport
        Report with the correlations. Datasets with fewer than five people, or with unknown
        covariates, are left out; the report gives the reason.

    Raises
    ------
    UnknownNameError
        If the layer or a covariate is unknown.
    ProbeError
        If an argument is out of range, no image of the store was measured, or no dataset is left.

    Examples
    --------
    >>> import probe
    >>> store = probe.ActivationStore.open("meso4.zarr")
    >>> measured = probe.measure_artifacts(probe.open_dataset("crops", split="test"))
    >>> report = probe.relate(store, measured.data, "leaky", n_permutations=99)
    >>> report.answers().columns[:3].tolist()
    ['unit', 'universal', 'answer']
    """
    if n_permutations < 1 or not 0 < alpha < 1:
        raise ProbeError(
            f"n_permutations={n_permutations} and alpha={alpha} were given; at least 1 "
            "permutation and a false discovery rate in (0, 1) are needed."
        )
    rows = gather_rows(store, layer, measurements, covariates)
    units = rows.units.shape[1]
    if any(not 0 <= unit < units for unit in universal):
        raise ProbeError(
            f"universal={list(universal)} was given; {layer!r} has units 0 to {units - 1}."
        )
    reasons = _reasons(rows)
    keep = ~rows.table["dataset"].map(reasons["left_out"]).to_numpy(dtype=bool)
    if not keep.any():
        texts = "; ".join(f"{name}: {text}" for name, text in reasons["reason"].items())
        raise ProbeError(f"No dataset is left to relate units in ({texts}).")
    found, counts = _found(rows, keep, n_permutations, seed)
    attrs = {
        "layer": store.attrs["layers"].get(layer, layer),
        **replace(store.provenance, seed=seed).attrs(),
        "universal": sorted(map(int, universal)),
        "covariates": list(covariates),
        "n_permutations": n_permutations,
        "alpha": alpha,
    }
    names = np.array([str(name) for name in measurements["measurement"].values], dtype=object)
    return ResponseReport(answered(_assembled(found, counts, reasons, names, attrs)))


def _found(
    rows: Rows, keep: NDArray[np.bool_], n_permutations: int, seed: int
) -> tuple[Correlated, NDArray[np.int64]]:
    """Correlate the kept rows; also return the number of datasets that define a measurement."""
    table = rows.table[keep]
    datasets, clusters = (pd.factorize(table[name])[0] for name in ("dataset", "cluster"))
    cells = cells_of(table)
    strata = strata_of(datasets, cells, rows.covariates[keep])
    measured = rows.measured[keep]
    x, y = residual_ranks(rows.units[keep], strata), residual_ranks(measured, strata)
    found = partial_correlations(x, y, strata, clusters, cells, n_permutations, seed)
    return found, _counted(measured, strata)


def _counted(measured: Floats, strata: list[Stratum]) -> NDArray[np.int64]:
    whole = [np.isfinite(measured[one.rows]).all(axis=0) for one in strata]
    return np.asarray(np.sum(whole, axis=0), dtype=np.int64)


def _reasons(rows: Rows) -> pd.DataFrame:
    """Return, per dataset, the number of people, whether it is left out, and why."""
    out = []
    cells = cells_of(rows.table)
    alone = np.bincount(cells)[cells] == 1
    for dataset, part in rows.table.groupby("dataset", sort=False):
        people, texts = part["cluster"].nunique(), []
        # Without anyone to exchange with, the regression on cells leaves residuals of zero.
        single = part["cluster"][alone[part.index]].nunique()
        if single:
            texts.append(f"{single} of {people} clusters cannot be exchanged and are not used")
        if people - single < MIN_CLUSTERS:
            texts.append(f"{people - single} clusters: left out below {MIN_CLUSTERS}")
        unknown = np.isnan(rows.covariates[part.index])
        left_out = people - single < MIN_CLUSTERS or bool(unknown.any())
        for column in np.flatnonzero(unknown.any(axis=0)).tolist():
            count = int(unknown[:, column].sum())
            name = rows.covariate_names[column]
            texts.append(f"{name} is unknown in {count} of {len(part)} rows")
        lacking = int(rows.samples["unmeasured"].to_dict()[dataset])
        if lacking:
            texts.append(f"{lacking} images of the store were not measured")
        out.append((dataset, people, left_out, "; ".join(dict.fromkeys(texts))))
    frame = pd.DataFrame(out, columns=["dataset", "n_clusters", "left_out", "reason"])
    # Datasets in the order of the store.
    return rows.samples[["n_samples"]].join(frame.set_index("dataset"))


def _assembled(
    found: Correlated,
    counts: NDArray[np.int64],
    reasons: pd.DataFrame,
    names: NDArray[Any],
    attrs: dict[str, Any],
) -> xr.Dataset:
    dims, defined = ("unit", "measurement"), counts > 0
    rho, p, p_max = (np.where(defined, one, np.nan) for one in found)
    q = np.full_like(p, np.nan)
    if defined.any():
        q[:, defined] = benjamini_hochberg(p[:, defined].ravel()).reshape(len(p), -1)
    variables: dict[str, Any] = {
        "rho": (dims, rho),
        "p": (dims, p),
        "p_max": (dims, p_max),
        "q": (dims, q),
    }
    variables["n_datasets"] = ("measurement", counts)
    for name in ("n_samples", "n_clusters", "reason"):
        variables[name] = ("dataset", reasons[name].to_numpy())
    coords = {
        "unit": np.arange(len(rho)),
        "measurement": names,
        "dataset": reasons.index.to_numpy(dtype=object),
    }
    return xr.Dataset(variables, coords=coords, attrs=attrs)
