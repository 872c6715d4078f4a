"""`TrustReport`: methods × checks × datasets, with intervals, chance levels and reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from probe.results import Result

__all__ = ["ALL", "TrustReport"]


#: Name of all images together among the datasets.
ALL = "all"


@dataclass(frozen=True, repr=False)
class TrustReport(Result):
    """Trust in the maps of attribution methods, for one detector.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``method`` (as given, then the references ``random`` and ``edges``), ``check`` (names
        in `CHECKS`), ``dataset`` (by name, then ``all`` for all images) and ``reference``
        (``random, edges, shifted``):

        - ``value, low, high (method, check, dataset)``: the check and its interval over clusters
          (NaN below five). NaN if there is none; ``reason`` says why;
        - ``chance(method, check, dataset)``: level of a map without information on the same
          images: the area share of the masks, 0.5, the area of random orders, 0 or 1, see
          `CHECKS`; NaN if there is no such level;
        - ``gain, gain_low, gain_high (method, check, dataset, reference)``: improvement over the
          reference on the same images, with its paired interval. **Above 0 is better for every
          check**, also if low values are better: a deletion curve below that of a random order is
          a gain above 0. ``random`` compares with ``chance``, ``edges`` with the edges of the
          image, ``shifted`` with the same map shifted, which is as smooth but points elsewhere;
        - ``p, q (method, check, dataset, reference)``: one-sided p-value of the gain, by flipping
          the signs of the clusters' mean gains; Benjamini-Hochberg over the whole report. NaN
          below five clusters;
        - ``randomized, randomized_low, randomized_high (method, check, dataset)``: mean, smallest
          and largest value of the method, on the same images, over ``n_random`` copies of the
          detector with all weights drawn anew; mask checks only. A value within that range is no
          evidence of what the detector learned, however far it is from chance;
        - ``n_samples, n_clusters (method, check, dataset)``: numbers that the value is based on;
        - ``reason(method, check, dataset)``: why there is no value or no interval, else "";
        - ``title, group, better, chance_is, paper (check)``: text from `CHECKS`.

        Attributes: ``target, layer, n_resamples``, the settings of the checks, and the provenance.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> run.trust("meso4/base")
    <TrustReport of meso4/base: method 4, check 4, dataset 4, reference 3>
    """

    KIND: ClassVar[str] = "a trust report"
    REQUIRED: ClassVar[str] = "gain"
    COMMAND: ClassVar[str] = "probe attribute --check"

    def _frame(self) -> pd.DataFrame:
        """Return one row per method, check and dataset; gains over each reference in columns."""
        names = ["value", "low", "high", "chance"]
        names += ["randomized", "randomized_low", "randomized_high"]
        frame = self.data[names].to_dataframe()[names]
        for reference in self.data["reference"].values:
            part = self.data.sel(reference=reference)
            for name in ("gain", "gain_low", "gain_high", "p", "q"):
                frame[f"{name}_{reference}"] = part[name].to_series()
        about = self.data[["n_samples", "n_clusters", "reason"]].to_dataframe()
        frame = frame.join(about[["n_samples", "n_clusters", "reason"]]).reset_index()
        return frame

    def summary(self, dataset: str = "all") -> str:
        """Explain the marks, the sample sizes, and why values are missing."""
        data = self.data.sel(dataset=dataset)
        ci = round(100 * float(data.attrs["ci"]))
        found = int(data["n_samples"].max()), int(data["n_clusters"].max())
        return "\n".join(
            [
                f"Better (q ≤ .05) than a random map *, than image edges +, than the shifted "
                f"map °; {ci}% cluster bootstrap intervals in brackets; ↑ higher is better, "
                "↓ lower is better.",
                f"{dataset}: up to {found[0]} images, {found[1]} clusters.",
                *_weights_sentence(data),
                *_reasons(data),
            ]
        )


def _weights_sentence(data: Any) -> list[str]:
    if not np.isfinite(data["randomized"].values).any():
        return []
    return [
        f"random weights: the method applied to {data.attrs['n_random']} copies of the detector "
        "with reinitialized weights, mean (minimum to maximum); a value in that range is no "
        "evidence of what was learned."
    ]


def _reasons(data: Any) -> list[str]:
    """Return each reason once, with the methods and checks that it applies to."""
    held: dict[str, dict[str, list[str]]] = {}
    for method in map(str, data["method"].values):
        for check in map(str, data["check"].values):
            reason = str(data["reason"].sel({"method": method, "check": check}).values)
            # References never have values of checks that query the detector.
            if reason and not (is_reference(data, method) and reason.startswith("a reference")):
                held.setdefault(reason, {}).setdefault(method, []).append(check)
    return [_sentence(reason, where, data) for reason, where in held.items()]


def is_reference(part: Any, method: str) -> bool:
    """Whether a row is a reference map, and not an attribution method."""
    return method in map(str, part["reference"].values)


def _sentence(reason: str, where: dict[str, list[str]], data: Any) -> str:
    if reason.startswith("No interval"):
        return reason
    checks = list(dict.fromkeys(check for those in where.values() for check in those))
    every = data.sizes["check"]
    what = "all checks" if len(checks) == every else ", ".join(checks)
    return f"{', '.join(where)} ({what}): {reason.rstrip('.')}."
