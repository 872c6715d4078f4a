"""`probe_differences`: what probes find in two detectors, on the same people."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probe.errors import ProbeError
from probe.separability.report import SeparabilityReport
from probe.stats import adjust_together, inverted_level, percentile_bounds

__all__ = ["probe_differences"]

#: What two reports have to share for their resamples to be of the same people.
_SHARED = ("dataset", "seed", "n_resamples")


def probe_differences(
    one: SeparabilityReport, other: SeparabilityReport, ci: float = 0.95
) -> xr.Dataset:
    """Subtract the probes of one detector from those of another, layer by layer.

    Both were scored on the same images of the same people, and people are resampled alike for
    both, so what is hard for both cancels. The probes are not fitted anew on resamples. What other
    people to fit them on would change is allowed for as Nadeau and Bengio [1]_ do: deviations of
    the resamples from the estimate are widened by √(1 + k / (k − 1)) for k folds. Without it two
    detectors that tell the same were called different in 7 to 21 % of draws at 5 %; with it in 1
    to 6 % (docs/separability.md).

    Parameters
    ----------
    one, other : SeparabilityReport
        Of the same datasets, thinned alike, with the same seed.
    ci : float, default 0.95
        Coverage of the intervals.

    Returns
    -------
    xarray.Dataset
        Over (layer, dataset), of those that both have: ``value, reference`` (AUROC of each),
        ``difference`` (one less other, in [−1, 1]), ``low, high`` (percentile interval, widened),
        ``p`` (two-sided, see `probe.stats.inverted_level`) and ``q`` (Benjamini-Hochberg over all
        layers and datasets); NaN below five clusters. Attribute ``widened``: by how much.

    Raises
    ------
    ProbeError
        If the reports are not of the same samples, hold no resamples, or share no layer.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 2003.

    Examples
    --------
    >>> places = [run.separability(f"meso4/{variant}") for variant in ("base", "deep")]
    >>> base, deep = map(SeparabilityReport.open, places)
    >>> probe_differences(deep, base)["difference"].to_series()
    """
    _check(one, other)
    layers = [str(name) for name in one.data["layer"].values if name in other.data["layer"].values]
    datasets = [
        str(name) for name in one.data["dataset"].values if name in other.data["dataset"].values
    ]
    if not layers or not datasets:
        raise ProbeError(
            "The two reports have no layer of the same name, or no dataset, in common. Measure "
            "layers that both detectors have, on the same datasets."
        )
    where = {"layer": layers, "dataset": datasets}
    parts = [
        report.data[["value", "probe_draw", "n_clusters", "sampled"]].sel(where)
        for report in (one, other)
    ]
    for name in ("n_clusters", "sampled"):
        if not np.array_equal(parts[0][name].values, parts[1][name].values):
            raise ProbeError(
                f"The reports differ in {name!r}: their samples were thinned differently, so they "
                "are of other images. Measure both with the same memory."
            )
    values = [
        part["value"].sel(measure="probe_auroc").transpose("layer", "dataset").values
        for part in parts
    ]
    draws = [
        part["probe_draw"].transpose("layer", "dataset", "resample").values.astype(np.float64)
        for part in parts
    ]
    difference, widened = values[0] - values[1], _refitting(one, other)
    gaps = difference[..., None] + widened * (draws[0] - draws[1] - difference[..., None])
    low, high = percentile_bounds(np.moveaxis(gaps, -1, 0), ci)
    p = inverted_level(gaps)
    dims = ("layer", "dataset")
    arrays = {
        "value": values[0],
        "reference": values[1],
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
        "q": adjust_together(p),
    }
    return xr.Dataset(
        {name: (dims, array) for name, array in arrays.items()},
        coords=where,
        attrs={"ci": ci, "n_resamples": int(gaps.shape[-1]), "widened": widened},
    )


def _refitting(one: SeparabilityReport, other: SeparabilityReport) -> float:
    """Return the factor by which other people to fit on widen a deviation of cross-validation."""
    # Of the folds, the fewer, where they differ: people limit them.
    k = min(int(report.data.attrs["n_folds"]) for report in (one, other))
    return float(np.sqrt(1 + k / (k - 1)))


def _check(one: SeparabilityReport, other: SeparabilityReport) -> None:
    if not all("probe_draw" in report.data for report in (one, other)):
        raise ProbeError(
            "A report holds no resamples of its probes: it was made by an earlier version, or "
            "without resamples. Measure it again (`probe separability`)."
        )
    for name in _SHARED:
        found = [report.data.attrs.get(name) for report in (one, other)]
        if found[0] != found[1]:
            raise ProbeError(
                f"The two reports differ in {name!r} ({found[0]!r} and {found[1]!r}), so their "
                "resamples are not of the same people. Measure both alike on the same datasets."
            )
