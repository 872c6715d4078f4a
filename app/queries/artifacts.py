"""What forgeries leave in the image: spectra, measurements with their controls, confounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.run import Run
from app.selection import Selection

__all__ = [
    "BalanceView",
    "EffectsView",
    "Measurement",
    "SpectraView",
    "TellsView",
    "balance_view",
    "effects_frame",
    "effects_view",
    "measured_datasets",
    "measurements_of",
    "named_dataset",
    "spectra_frame",
    "spectra_view",
    "tells_frame",
    "tells_view",
]

Floats = NDArray[np.float64]

#: False discovery rate of what is marked.
ALPHA = 0.05

#: Columns of an effect.
_EFFECT = ("effect", "low", "high", "p", "q")


@dataclass(frozen=True)
class Measurement:
    """What is measured: its name, definition, unit and source."""

    name: str
    about: str
    unit: str
    source: str


@dataclass(frozen=True)
class SpectraView:
    """Power spectra of the real and the fake images of a dataset.

    Attributes
    ----------
    dataset : str
        Which.
    frequency : numpy.ndarray
        Cycles a pixel, 0 to 0.5, shape (frequency,).
    mean, low, high : numpy.ndarray
        Mean log10 power and its interval, shape (label, frequency), reals first; NaN bounds where
        there are too few clusters.
    coverage : float
        Of the band.
    """

    dataset: str
    frequency: Floats
    mean: Floats
    low: Floats
    high: Floats
    coverage: float

    @property
    def has_band(self) -> bool:
        """Whether there is an interval at any frequency."""
        return bool(np.isfinite(self.low).any())


@dataclass(frozen=True)
class EffectsView:
    """Effects of a dataset, the largest without control first.

    Attributes
    ----------
    dataset : str
        Which.
    measurements : tuple of Measurement
        Rows.
    controls : tuple of str
        How effects are controlled for covariates.
    effect, low, high, p, q : numpy.ndarray
        Shape (control, measurement); fakes less reals in standard deviations of the reals. NaN
        where not defined.
    n_used : numpy.ndarray
        Images, shape (control,).
    coverage, alpha : float
        Of the intervals; false discovery rate of marks.
    """

    dataset: str
    measurements: tuple[Measurement, ...]
    controls: tuple[str, ...]
    effect: Floats
    low: Floats
    high: Floats
    p: Floats
    q: Floats
    n_used: NDArray[np.int64]
    coverage: float
    alpha: float

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Whether an effect is marked, shape (control, measurement)."""
        return np.nan_to_num(self.q, nan=1.0) <= self.alpha

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Whether a measurement is significant with every control, shape (measurement,)."""
        return np.asarray(self.significant.all(axis=0))


@dataclass(frozen=True)
class TellsView:
    """How well each measurement tells each method from the others.

    Attributes
    ----------
    methods : tuple of str
        Columns.
    measurements : tuple of Measurement
        Rows.
    value, low, high : numpy.ndarray
        AUROC, shape (measurement, method); 0.5 tells nothing.
    coverage : float
        Of the intervals.
    """

    methods: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    value: Floats
    low: Floats
    high: Floats
    coverage: float


@dataclass(frozen=True)
class BalanceView:
    """What beside forgery differs between reals and fakes of a dataset.

    Attributes
    ----------
    dataset : str
        Which.
    covariates : tuple of str
        Such as codec and size.
    value, low, high : numpy.ndarray
        AUROC of fake against real by the covariate alone, shape (covariate,); 0.5 is balanced.
    region, reason : str
        What stood for the forged area; why something is missing, empty if nothing is.
    n_samples, n_clusters : int
        Of the dataset.
    """

    dataset: str
    covariates: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    region: str
    reason: str
    n_samples: int
    n_clusters: int

    @property
    def unbalanced(self) -> NDArray[np.bool_]:
        """Whether a covariate's interval leaves 0.5 out, shape (covariate,)."""
        return (self.low > 0.5) | (self.high < 0.5)


def measured_datasets(run: Run) -> list[str]:
    """List the datasets of the artifact report."""
    return list(_texts(run.artifacts.data["dataset"]))


def named_dataset(run: Run, chosen: Selection) -> str:
    """Return the dataset that an address names, or the first.

    Raises
    ------
    UnknownNameError
        If the report does not hold it.
    """
    return chosen.named("dataset", measured_datasets(run))


def measurements_of(run: Run) -> dict[str, Measurement]:
    """Return what is measured by name."""
    data = run.artifacts.data
    names = ("measurement", "measurement_about", "measurement_unit", "measurement_source")
    columns = (_texts(data[name]) for name in names)
    return {row[0]: Measurement(*row) for row in zip(*columns, strict=True)}


def spectra_view(run: Run, dataset: str) -> SpectraView:
    """Read the spectra of one dataset."""
    data = run.artifacts.data
    one = data.sel(dataset=dataset, label=[0, 1]).transpose("label", "frequency", ...)
    return SpectraView(
        dataset=dataset,
        frequency=data["frequency"].values,
        mean=one["power"].values,
        low=one["power_low"].values,
        high=one["power_high"].values,
        coverage=_coverage(data),
    )


def effects_view(run: Run, dataset: str) -> EffectsView:
    """Read the effects of one dataset."""
    data = run.artifacts.data
    one = data.sel(dataset=dataset)
    rank = one["rank"].values.astype(float)
    # 0 stands for "no effect without control" and comes last.
    order = np.argsort(np.where(rank > 0, rank, np.inf), kind="stable")
    about = list(measurements_of(run).values())
    grids = {n: one[n].transpose("control", "measurement").values[:, order] for n in _EFFECT}
    return EffectsView(
        dataset=dataset,
        measurements=tuple(about[i] for i in order),
        controls=_texts(data["control"]),
        **grids,
        n_used=one["n_used"].values.astype(np.int64),
        coverage=_coverage(data),
        alpha=ALPHA,
    )


def tells_view(run: Run) -> TellsView:
    """Read how well each measurement tells each method from the others."""
    data = run.artifacts.data
    parts = {"value": "tells", "low": "tells_low", "high": "tells_high"}
    return TellsView(
        methods=_texts(data["method"]),
        measurements=tuple(measurements_of(run).values()),
        **{
            key: data[name].transpose("measurement", "method").values for key, name in parts.items()
        },
        coverage=_coverage(data),
    )


def balance_view(run: Run, dataset: str) -> BalanceView:
    """Read what beside forgery differs between reals and fakes of one dataset."""
    one = run.artifacts.data.sel(dataset=dataset)
    return BalanceView(
        dataset=dataset,
        covariates=_texts(one["covariate"]),
        value=one["imbalance"].values,
        low=one["imbalance_low"].values,
        high=one["imbalance_high"].values,
        region=str(one["region"].values),
        reason=str(one["reason"].values),
        n_samples=int(one["n_samples"]),
        n_clusters=int(one["n_clusters"]),
    )


def spectra_frame(run: Run, dataset: str) -> pd.DataFrame:
    """Return the spectra of one dataset, one row a label and frequency."""
    names = ["power", "power_low", "power_high"]
    frame = run.artifacts.data[names].sel(dataset=dataset).to_dataframe().reset_index()
    return frame[["dataset", "label", "frequency", *names]]


def effects_frame(run: Run, dataset: str) -> pd.DataFrame:
    """Return the effects of one dataset, one row a measurement, the largest first."""
    one = run.artifacts.data.sel(dataset=dataset)
    columns = {"dataset": dataset, "measurement": _texts(one["measurement"]), "rank": one["rank"]}
    for control in _texts(one["control"]):
        suffix = "" if control == "none" else f"_{control}"
        part = one.sel(control=control)
        columns |= {name + suffix: part[name].values for name in _EFFECT}
    frame = pd.DataFrame(columns)
    return frame.sort_values("rank", key=lambda rank: rank.where(rank > 0, np.inf), kind="stable")


def tells_frame(run: Run) -> pd.DataFrame:
    """Return how well measurements tell methods, one row a method and measurement."""
    names = ["tells", "tells_low", "tells_high"]
    frame = run.artifacts.data[names].to_dataframe().reset_index()
    return frame[["method", "measurement", *names]]


def _coverage(data: xr.Dataset) -> float:
    return float(data.attrs.get("ci", 0.95))


def _texts(values: xr.DataArray) -> tuple[str, ...]:
    return tuple(map(str, values.values))
