"""`ArtifactMeasurements` and `ArtifactReport`: measurements of images, and label effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.results import Result

__all__ = ["CONTROLS", "ArtifactMeasurements", "ArtifactReport"]

#: Controls of an effect for the covariates, in the order of tables and figures.
CONTROLS = ("none", "partialled", "matched")

#: Columns of `ArtifactMeasurements` that describe an image.
ABOUT = ("dataset", "label", "method", "cluster", "video", "region")


@dataclass(frozen=True, repr=False)
class ArtifactMeasurements(Result):
    """Artifact measurements of images.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``sample`` (ids), ``measurement``, ``covariate`` and ``frequency`` (cycles per pixel,
        0 to 0.5):

        - ``value(sample, measurement)``: in the unit ``measurement_unit(measurement)``, with
          ``measurement_about`` and ``measurement_source``; ``measurement_needs`` is "region" for
          those that compare inside with outside, else "";
        - ``control(sample, covariate)``: covariates to control effects for, text as codes; NaN
          where unknown;
        - ``power(sample, frequency)``: log10 of the azimuthally averaged power spectrum;
        - ``dataset, label, method, cluster, video, region (sample)``: from the sample table;
          ``cluster`` is the identity if known, else the video; ``region`` says how the region was
          chosen (forgery mask or central ellipse).

        Attributes: ``dataset``, names and fingerprints of the datasets.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.measurements
    <ArtifactMeasurements: sample 72, measurement 6, frequency 4, covariate 1>
    """

    KIND: ClassVar[str] = "a table of artifact measurements"
    LARGE: ClassVar[tuple[str, ...]] = ("value",)
    REQUIRED: ClassVar[str] = "power"
    COMMAND: ClassVar[str] = "probe artifacts"

    def _frame(self) -> pd.DataFrame:
        """Return one row per image: description, measurements and covariates."""
        about = self.data[list(ABOUT)].to_dataframe()
        values = pd.DataFrame(_table(self.data["value"]))
        controls = pd.DataFrame(_table(self.data["control"], "covariate_"))
        return pd.concat([about.reset_index(), values, controls], axis=1)

    def summary(self) -> str:
        """Summarize how much was measured."""
        names = ", ".join(dict.fromkeys(map(str, self.data["dataset"].values)))
        sizes = self.data.sizes
        return f"{sizes['measurement']} measurements of {sizes['sample']} images of {names}."


@dataclass(frozen=True, repr=False)
class ArtifactReport(Result):
    """Effects of the label on measurements, per measurement and dataset.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``measurement``, ``control`` (`CONTROLS`), ``covariate``, ``method``,
        ``label`` (0, 1) and ``frequency`` (cycles per pixel, 0 to 0.5):

        - ``effect, low, high, p, q (control, dataset, measurement)``: mean of fakes − mean of
          reals in standard deviations of the real images, above 0 if larger on fakes; its cluster
          bootstrap interval; two-sided permutation p-value over clusters; Benjamini-Hochberg over
          datasets and measurements within a control. NaN where undefined;
        - ``n_used(control, dataset)``: number of images used;
        - ``rank(dataset, measurement)``: 1 is the largest absolute effect without control; 0 where
          undefined;
        - ``mean, std (dataset, label, measurement)``: in the measurement's unit;
        - ``tells, tells_low, tells_high (method, measurement)``: AUROC of the method's fakes
          against all other fakes, with values standardized by the real images of each dataset; 0.5
          is chance;
        - ``imbalance, imbalance_low, imbalance_high (dataset, covariate)``: AUROC of fake against
          real by the covariate alone; 0.5 is balanced;
        - ``power, power_low, power_high (dataset, label, frequency)``: mean log10 power with its
          interval; ``power_gap`` with its bounds (dataset, frequency): fake − real;
        - ``region(dataset)``: how the region was chosen; ``reason(dataset)``: why something is
          missing, "" if nothing is;
        - ``measurement_unit, measurement_source, measurement_about (measurement)``: text;
        - ``n_samples, n_clusters (dataset)``.

        Attributes: ``dataset`` (fingerprints), ``seed, ci, n_permutations, n_resamples, caliper``.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.artifacts
    <ArtifactReport: control 3, dataset 3, measurement 6, method 3, covariate 3, label 2,
    frequency 24>
    """

    PLOTS: ClassVar[tuple[str, ...]] = ("artifact_effects", "spectra", "tells")
    KIND: ClassVar[str] = "an artifact report"
    REQUIRED: ClassVar[str] = "tells"
    COMMAND: ClassVar[str] = "probe artifacts"

    def _frame(self) -> pd.DataFrame:
        """Return one row per dataset and measurement, with columns for every control."""
        rank = self.data["rank"].to_series()
        columns: dict[str, pd.Series[float]] = {"rank": rank}
        for control in map(str, self.data["control"].values):
            part = self.data.sel(control=control)
            suffix = "" if control == "none" else f"_{control}"
            for name in ("effect", "low", "high", "p", "q"):
                columns[name + suffix] = part[name].to_series()
        return pd.DataFrame(columns).reset_index()

    def summary(self) -> str:
        """Summarize each dataset and method, a line each: effect, controls, gaps."""
        data = self.data
        return "\n".join(
            [
                *(_dataset_sentence(data.sel(dataset=name)) for name in data["dataset"].values),
                *(_tell_sentence(data.sel({"method": name})) for name in data["method"].values),
            ]
        )


def _table(values: xr.DataArray, prefix: str = "") -> dict[str, NDArray[np.float64]]:
    """Return the columns of an array by the names of its second dimension."""
    names = values[values.dims[1]].values
    return {f"{prefix}{name}": values.values[:, i] for i, name in enumerate(names)}


def _dataset_sentence(at: Any) -> str:
    name, reason = str(at["dataset"].values), str(at["reason"].values)
    used = dict(zip(map(str, at["control"].values), map(int, at["n_used"].values), strict=True))
    parts = [f"{int(at['n_samples'])} images, {int(at['n_clusters'])} clusters"]
    parts.append(f"{used['matched']} matched")
    parts.append(f"inner region: {at['region'].values}")
    uneven = [
        f"{covariate} {value:.2f}"
        for covariate, value in zip(at["covariate"].values, at["imbalance"].values, strict=True)
        if np.isfinite(value) and abs(value - 0.5) >= 0.05
    ]
    if uneven:
        parts.append(f"covariates that predict the label (AUROC): {', '.join(uneven)}")
    first = _first(at)
    return f"{name}: {first}{'; '.join(parts)}. {reason}".strip()


def _first(at: Any) -> str:
    if not (at["rank"] == 1).any():
        return ""
    best = at.isel(measurement=int(np.argmax(at["rank"].values == 1)))
    effects = ", ".join(
        f"{control} {float(value):+.2f} (q = {float(q):.2g})"
        for control, value, q in zip(
            best["control"].values, best["effect"].values, best["q"].values, strict=True
        )
    )
    return f"largest effect {best['measurement'].values}, {effects}; "


def _tell_sentence(at: Any) -> str:
    name, tells = str(at["method"].values), at["tells"].values
    if not np.isfinite(tells).any():
        return f"{name}: there is no other method to compare it with."
    best = at.isel(measurement=int(np.nanargmax(np.abs(tells - 0.5))))
    low, high = float(best["tells_low"]), float(best["tells_high"])
    bounds = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    way = "above" if float(best["tells"]) > 0.5 else "below"
    return (
        f"{name} is best separated by {best['measurement'].values}, {way} all other methods with "
        f"AUROC {float(best['tells']):.2f}{bounds}."
    )
