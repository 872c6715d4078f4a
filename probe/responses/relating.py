"""`relate`: which image measurements go together with each unit's activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.errors import ProbeError
from probe.responses.partial import (
    Correlated,
    Stratum,
    partial_correlations,
    residual_ranks,
    strata_of,
)
from probe.responses.report import ResponseReport, answered
from probe.responses.rows import Rows, cells_of, gather_rows
from probe.stats import MIN_CLUSTERS, Floats, benjamini_hochberg
from probe.store import ActivationStore

__all__ = ["relate"]


def relate(
    store: ActivationStore,
    layer: str,
    measurements: xr.Dataset,
    covariates: Sequence[str] = (),
    universal: Sequence[int] = (),
    *,
    n_permutations: int = 1999,
    alpha: float = 0.05,
    seed: int = 0,
) -> ResponseReport:
    """Correlate every unit of a layer with every image measurement, given the label.

    A correlation, not a cause: a unit may go with a measurement because both go with something
    else. On the lab `dose_response` asks for the cause.

    Activations and measurements are averaged over the images of one person, dataset and label, and
    ranked within datasets; label and covariates (ranked too) are regressed out within datasets, and
    residuals correlated over all datasets together. p-values are by permutation of residuals
    (Freedman and Lane 1983) between whole people of the same datasets and labels.

    Parameters
    ----------
    store : ActivationStore
        A recording.
    layer : str
        Which of its layers.
    measurements : xarray.Dataset
        The data of `probe.artifacts.ArtifactMeasurements`: ``value(sample, measurement)``, and
        ``control(sample, covariate)`` where covariates are named. Images that are not in the store
        do not count.
    covariates : sequence of str
        What is held constant beside label and dataset: ranks, or, where values have no order
        (formats, codecs), the values.
    universal : sequence of int
        Units to be marked in tables and figures.
    n_permutations : int, default 1999
        Draws beside the observed order; the smallest p is 1 / (n_permutations + 1).
    alpha : float, default 0.05
        False discovery rate at which an answer is given.
    seed : int, default 0
        Seed of the draws.

    Returns
    -------
    ResponseReport
        With the part on correlation. A dataset with fewer than five people, or where a covariate
        is not known, is left out, with its reason.

    Raises
    ------
    UnknownNameError
        If the layer or a covariate is not known.
    ProbeError
        If no image of the store was measured, or no dataset is left.
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
    detector = store.attrs["detector"]
    attrs = {
        "layer": store.attrs["layers"].get(layer, layer),
        "detector": detector["name"],
        "detector_fingerprint": detector["fingerprint"],
        "dataset": store.attrs["dataset"]["fingerprint"],
        "universal": sorted(map(int, universal)),
        "covariates": list(covariates),
        "n_permutations": n_permutations,
        "alpha": alpha,
        "seed": seed,
    }
    names = np.array([str(name) for name in measurements["measurement"].values], dtype=object)
    return ResponseReport(answered(_assembled(found, counts, reasons, names, attrs)))


def _found(
    rows: Rows, keep: NDArray[np.bool_], n_permutations: int, seed: int
) -> tuple[Correlated, NDArray[np.int64]]:
    """Relate the rows that are kept; also count the datasets where a measurement is defined."""
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
    """Say by dataset how many people there are, whether it is left out, and why."""
    out = []
    cells = cells_of(rows.table)
    alone = np.bincount(cells)[cells] == 1
    for dataset, part in rows.table.groupby("dataset", sort=False):
        people, texts = part["cluster"].nunique(), []
        # Nobody to change places with: the regression on cells leaves nothing of them.
        single = part["cluster"][alone[part.index]].nunique()
        if single:
            texts.append(f"{single} of {people} clusters are seen as no other is, and do not count")
        if people - single < MIN_CLUSTERS:
            texts.append(f"{people - single} clusters: left out below {MIN_CLUSTERS}")
        unknown = np.isnan(rows.covariates[part.index])
        left_out = people - single < MIN_CLUSTERS or bool(unknown.any())
        for column in np.flatnonzero(unknown.any(axis=0)).tolist():
            count = int(unknown[:, column].sum())
            name = rows.covariate_names[column]
            texts.append(f"{name} is not known of {count} of {len(part)} rows")
        lacking = int(rows.samples["unmeasured"].to_dict()[dataset])
        if lacking:
            texts.append(f"{lacking} images of the store were not measured")
        out.append((dataset, people, left_out, "; ".join(dict.fromkeys(texts))))
    frame = pd.DataFrame(out, columns=["dataset", "n_clusters", "left_out", "reason"])
    # In the order of the store.
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
