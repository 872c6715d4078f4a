"""Two detectors inside: units, features, and separability by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.compare import NotComparableError, Pair
from app.queries.runs import evaluation_notes
from probe.errors import ProbeError
from probe.neurons import compare_neurons
from probe.plots.neurons import OUTPUTS as OUTPUT_NAMES
from probe.separability import SeparabilityReport, probe_differences

__all__ = [
    "ALPHA",
    "PAIRED",
    "FeaturesView",
    "LayersView",
    "UnitsView",
    "features_frame",
    "features_view",
    "layers_frame",
    "layers_view",
    "units_frame",
    "units_view",
]

Floats = NDArray[np.float64]

#: False discovery rate at which a difference is called more than noise.
ALPHA = 0.05

#: Columns of a difference on the same people, by what `probe_differences` calls them.
PAIRED = {
    "difference": "difference",
    "low": "difference_low",
    "high": "difference_high",
    "p": "p",
    "q": "q",
}

#: Units that a scatter shows; of more, the strongest.
MOST = 4000


@dataclass(frozen=True)
class UnitsView:
    """Units of two variants that share their numbering.

    Attributes
    ----------
    layer : str
        Of both.
    unit : numpy.ndarray
        Numbers of the drawn units, shape (unit,).
    one, other : numpy.ndarray
        Mean effect over datasets, shape (unit,).
    in_one, in_other : numpy.ndarray
        Whether a unit is universal, by the test, shape (unit,).
    sets : pandas.DataFrame
        As `probe.neurons.compare_neurons` returns it, one row a set.
    spearman : float
        Rank correlation of contributions, mean over datasets.
    output : str
        Scale of the effects.
    total : int
        Units of the layer.
    """

    layer: str
    unit: NDArray[np.int64]
    one: Floats
    other: Floats
    in_one: NDArray[np.bool_]
    in_other: NDArray[np.bool_]
    sets: pd.DataFrame
    spearman: float
    output: str
    total: int


@dataclass(frozen=True)
class FeaturesView:
    """Debiased CKA of two detectors by layer, with its interval.

    Attributes
    ----------
    layers : tuple of str
        That both have.
    value, low, high : numpy.ndarray
        Shape (layer,).
    n_samples, n_clusters, coverage
        What they rest on, and of the intervals.
    """

    layers: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    n_samples: int
    n_clusters: int
    coverage: float


@dataclass(frozen=True)
class LayersView:
    """AUROC of the probes of two detectors, layer by layer.

    Attributes
    ----------
    names : tuple of str
        Titles of the two.
    layers, datasets : tuple of str
        That both have, in the order of the first.
    value, low, high : numpy.ndarray
        Shape (2, layer, dataset).
    difference, difference_low, difference_high, p, q : numpy.ndarray
        The first less the other on the same people, see `probe.separability.probe_differences`;
        shape (layer, dataset). NaN where `unpaired` says why.
    apart : numpy.ndarray
        −1, 0 or 1, shape (layer, dataset): where they differ by more than noise over people, and
        which is above. By q ≤ `ALPHA`, or where nothing is paired by intervals that do not overlap.
    unpaired : str
        Why no difference has an interval; else empty.
    coverage : float
        Of the intervals.
    """

    names: tuple[str, str]
    layers: tuple[str, ...]
    datasets: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    difference: Floats
    difference_low: Floats
    difference_high: Floats
    p: Floats
    q: Floats
    apart: NDArray[np.int64]
    unpaired: str
    coverage: float


def units_view(pair: Pair) -> UnitsView:
    """Compare the same units of two variants.

    Raises
    ------
    NotComparableError
        If their units have no common numbering.
    ProbeError
        If a table is missing.
    """
    _require_related(pair)
    tables = [side.run.neurons(side.label) for side in (pair.one, pair.other)]
    found = [side.run.universality(side.label) for side in (pair.one, pair.other)]
    layers = [str(table.data.attrs.get("layer", "")) for table in tables]
    sizes = [table.data.sizes["unit"] for table in tables]
    if layers[0] != layers[1] or sizes[0] != sizes[1]:
        raise NotComparableError(
            f"The units are those of {layers[0]!r} ({sizes[0]}) in one and of {layers[1]!r} "
            f"({sizes[1]}) in the other. Units are compared within one layer."
        )
    labels = pair.one.label, pair.other.label
    sets = compare_neurons(
        dict(zip(labels, found, strict=True)), dict(zip(labels, tables, strict=True))
    )
    units = tables[0].data["unit"].values
    effects = [table.data["effect"].mean("dataset").values for table in tables]
    inside = [np.isin(units, one.universal) for one in found]
    output = str(tables[0].data.attrs.get("output", "logit"))
    rows = np.arange(len(units))
    if len(rows) > MOST:
        strongest = np.argsort(-np.maximum(*effects), kind="stable")[:MOST]
        rows = np.sort(strongest)
    return UnitsView(
        layer=layers[0],
        unit=units[rows],
        one=effects[0][rows],
        other=effects[1][rows],
        in_one=inside[0][rows],
        in_other=inside[1][rows],
        sets=sets,
        spearman=float(sets["spearman"].iloc[0]),
        output=OUTPUT_NAMES.get(output, output),
        total=len(units),
    )


def units_frame(pair: Pair) -> pd.DataFrame:
    """Return the overlap of the sets, one row a set."""
    return units_view(pair).sets


def features_view(pair: Pair) -> FeaturesView:
    """Read how alike the features of two detectors of one run are.

    Raises
    ------
    NotComparableError
        If they are of two runs, or have no layer in common.
    ProbeError
        If the table is missing.
    """
    if not pair.same_run:
        raise NotComparableError(
            "Similarity of features is computed within a run. For detectors of two runs, record "
            "both on the same images and call `probe.compare_features` on the two stores."
        )
    data = pair.one.run.similarity.data
    known = [str(name) for name in data["detector"].values]
    lacking = [s.label for s in (pair.one, pair.other) if s.label not in known]
    if lacking:
        raise NotComparableError(f"The similarity table does not hold {', '.join(lacking)}.")
    part = data.sel(detector=pair.one.label, other=pair.other.label)
    there = np.isfinite(part["cka"].values)
    if not there.any():
        raise NotComparableError("No layer of the same name was recorded of both.")
    part = part.isel(layer=there)
    return FeaturesView(
        layers=tuple(map(str, part["layer"].values)),
        value=part["cka"].values,
        low=part["cka_low"].values,
        high=part["cka_high"].values,
        n_samples=int(data.attrs.get("n_samples", 0)),
        n_clusters=int(data.attrs.get("n_clusters", 0)),
        coverage=float(data.attrs.get("ci", 0.95)),
    )


def features_frame(pair: Pair) -> pd.DataFrame:
    """Return the similarity of features, one row a layer."""
    view = features_view(pair)
    return pd.DataFrame(
        {"layer": view.layers, "cka": view.value, "low": view.low, "high": view.high}
    ).assign(n_samples=view.n_samples, n_clusters=view.n_clusters)


def layers_view(pair: Pair) -> LayersView:
    """Set the probes' AUROC of two detectors side by side.

    Raises
    ------
    NotComparableError
        If no layer has the same name in both, or no dataset is in both.
    ProbeError
        If a report is missing.
    """
    reports = [side.run.separability(side.label) for side in (pair.one, pair.other)]
    data = [one.data for one in reports]
    layers, datasets = (
        _common(*(one[name].values for one in data)) for name in ("layer", "dataset")
    )
    if not layers or not datasets:
        raise NotComparableError(
            "The two reports have no layer of the same name, or no dataset, in common. Each stands "
            "on the Separability page."
        )
    parts = [
        one.sel({"measure": "probe_auroc", "layer": layers, "dataset": datasets}) for one in data
    ]
    value, low, high = (
        np.stack([part[name].transpose("layer", "dataset").values for part in parts])
        for name in ("value", "low", "high")
    )
    coverage = float(data[0].attrs.get("ci", 0.95))
    paired, unpaired = _paired(reports, layers, datasets, coverage)
    if unpaired:
        above, below = low[0] > high[1], high[0] < low[1]
    else:
        sure = np.nan_to_num(paired["q"], nan=1.0) <= ALPHA
        above, below = sure & (paired["difference"] > 0), sure & (paired["difference"] < 0)
    return LayersView(
        names=(pair.one.title, pair.other.title),
        layers=tuple(layers),
        datasets=tuple(datasets),
        value=value,
        low=low,
        high=high,
        apart=above.astype(np.int64) - below.astype(np.int64),
        unpaired=unpaired,
        coverage=coverage,
        **paired,
    )


def _paired(
    reports: list[SeparabilityReport], layers: list[str], datasets: list[str], coverage: float
) -> tuple[dict[str, Floats], str]:
    """Take differences on the same people; NaN, and why, where the reports are of others."""
    try:
        found = probe_differences(reports[0], reports[1], coverage)
    except ProbeError as error:
        nothing = np.full((len(layers), len(datasets)), np.nan)
        return dict.fromkeys(PAIRED.values(), nothing), str(error)
    part = found.sel(layer=layers, dataset=datasets)
    return {column: part[name].values for name, column in PAIRED.items()}, ""


def layers_frame(pair: Pair) -> pd.DataFrame:
    """Return the probes' AUROC of both, one row a layer and dataset."""
    view = layers_view(pair)
    keys = [(layer, dataset) for layer in view.layers for dataset in view.datasets]
    frame = pd.DataFrame(keys, columns=["layer", "dataset"])
    for k, name in enumerate(("one", "other")):
        for what in ("value", "low", "high"):
            frame[f"{name}_{what}"] = getattr(view, what)[k].ravel()
    if not view.unpaired:
        for what in PAIRED.values():
            frame[what] = getattr(view, what).ravel()
    return frame.assign(more_than_noise=view.apart.ravel())


def _require_related(pair: Pair) -> None:
    """Raise unless the two are known to come from one training."""
    why = pair.related
    if not why:
        specs = evaluation_notes(pair.one.run, "specs")
        brought = [
            side.label
            for side in (pair.one, pair.other)
            if str((specs.get(side.label) or {}).get("origin", "trained")) != "trained"
        ]
        if brought:
            why = (
                f"The weights of {' and '.join(brought)} were not trained in this run, so that "
                "one comes from the other is not known."
            )
    if why:
        raise NotComparableError(f"{why} How alike the features are is shown instead.")


def _common(one: Any, other: Any) -> list[str]:
    known = set(map(str, other))
    return [str(name) for name in one if str(name) in known]
