"""The nouns of artifacts: measurements of images, and what they say of real and fake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from probe.results import Result

__all__ = ["CONTROLS", "ArtifactMeasurements", "ArtifactReport"]

#: How an effect is controlled for the covariates, in the order of tables and figures.
CONTROLS = ("none", "partialled", "matched")

#: Columns of `ArtifactMeasurements` that say what an image is, not what was measured on it.
ABOUT = ("dataset", "label", "method", "cluster", "video", "region")


@dataclass(frozen=True, repr=False)
class ArtifactMeasurements(Result):
    """What was measured on every image.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``sample`` (ids), ``measurement``, ``covariate`` and ``frequency`` (cycles a pixel, 0
        to 0.5):

        - ``value(sample, measurement)``: in the unit ``measurement_unit(measurement)``, with
          ``measurement_about`` and ``measurement_source``; ``measurement_needs`` is "region" for
          those that compare inside with outside, else "";
        - ``control(sample, covariate)``: what the effects are controlled for, text as codes; NaN
          where the table does not know it;
        - ``power(sample, frequency)``: log10 of the azimuthally averaged power spectrum;
        - ``dataset, label, method, cluster, video, region (sample)``: from the table; cluster is
          the identity where it is known, else the video; region is what stood for the forged area.

        Attributes: ``fingerprints`` of the datasets.
    """

    KIND: ClassVar[str] = "table of artifact measurements"
    REQUIRED: ClassVar[str] = "power"
    COMMAND: ClassVar[str] = "probe artifacts"

    def _frame(self) -> pd.DataFrame:
        """Return one row an image: what it is, a column a measurement, a column a covariate."""
        about = self.data[list(ABOUT)].to_dataframe()
        values = pd.DataFrame(_table(self.data["value"]))
        controls = pd.DataFrame(_table(self.data["control"], "covariate_"))
        return pd.concat([about.reset_index(), values, controls], axis=1)


@dataclass(frozen=True, repr=False)
class ArtifactReport(Result):
    """How real and fake images differ, measurement by measurement, dataset by dataset.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``dataset``, ``measurement``, ``control`` (`CONTROLS`), ``covariate``, ``method``,
        ``label`` (0, 1) and ``frequency`` (cycles a pixel, 0 to 0.5):

        - ``effect, low, high, p, q (control, dataset, measurement)``: mean of the fakes less mean
          of the reals in standard deviations of the real images, above 0 if larger on fakes; its
          clustered interval; two-sided permutation p over clusters; Benjamini-Hochberg over
          datasets and measurements within a control. NaN where not defined;
        - ``n_used(control, dataset)``: images that the effect rests on;
        - ``rank(dataset, measurement)``: 1 is the largest absolute effect without control; 0 where
          there is none;
        - ``mean, std (dataset, label, measurement)``: in the measurement's unit;
        - ``tells, tells_low, tells_high (method, measurement)``: AUROC of the method's fakes
          against all other fakes, each less the mean of its dataset's real images in their
          standard deviations; 0.5 tells nothing;
        - ``imbalance, imbalance_low, imbalance_high (dataset, covariate)``: AUROC of fake against
          real by the covariate alone, 0.5 where it is balanced;
        - ``power, power_low, power_high (dataset, label, frequency)``: mean log10 power with its
          clustered interval; ``power_gap`` with its bounds (dataset, frequency): fake less real;
        - ``region(dataset)``: what stood for the forged area; ``reason(dataset)``: why something
          is missing, "" if nothing is;
        - ``measurement_unit, measurement_source, measurement_about (measurement)``: text;
        - ``n_samples, n_clusters (dataset)``.

        Attributes: ``fingerprints, seed, ci, n_permutations, n_resamples, caliper``.
    """

    KIND: ClassVar[str] = "artifact report"
    REQUIRED: ClassVar[str] = "tells"
    COMMAND: ClassVar[str] = "probe artifacts"

    def _frame(self) -> pd.DataFrame:
        """Return one row a dataset and measurement, with the columns of every control."""
        rank = self.data["rank"].to_series()
        columns: dict[str, pd.Series[float]] = {"rank": rank}
        for control in map(str, self.data["control"].values):
            part = self.data.sel(control=control)
            suffix = "" if control == "none" else f"_{control}"
            for name in ("effect", "low", "high", "p", "q"):
                columns[name + suffix] = part[name].to_series()
        return pd.DataFrame(columns).reset_index()


def _table(values: xr.DataArray, prefix: str = "") -> dict[str, NDArray[np.float64]]:
    """Take columns apart, by the names of the second dimension."""
    names = values[values.dims[1]].values
    return {f"{prefix}{name}": values.values[:, i] for i, name in enumerate(names)}
