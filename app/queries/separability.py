"""How well a detector's layers tell fakes from reals, and what they tell instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.run import Run
from probe.errors import ProbeError, UnknownNameError
from probe.separability.report import SeparabilityReport

__all__ = [
    "DepthView",
    "KnowledgeView",
    "LayerView",
    "SpecificView",
    "TransferView",
    "depth_view",
    "knowledge_frame",
    "knowledge_view",
    "layer_view",
    "measures_of",
    "specific_view",
    "transfer_frame",
    "transfer_view",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerView:
    """All measures of one layer, dataset by dataset.

    Attributes
    ----------
    layer : str
        Which.
    datasets, measures : tuple of str
        Columns and rows.
    value, low, high, q : numpy.ndarray
        Shape (measure, dataset); NaN where not defined, NaN bounds where there are too few
        clusters; q over layers and datasets.
    own, own_low, own_high : numpy.ndarray
        AUROC of the detector's own logit, shape (dataset,).
    blind, blind_low, blind_high : numpy.ndarray
        AUROC of the probe less that of the detector, shape (dataset,).
    n_samples, n_clusters, sampled : numpy.ndarray
        Images there, clusters, and images used, shape (dataset,).
    reason : tuple of str
        Why there is no interval or value; empty where there is one.
    coverage : float
        Of the intervals.
    """

    layer: str
    datasets: tuple[str, ...]
    measures: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    q: Floats
    own: Floats
    own_low: Floats
    own_high: Floats
    blind: Floats
    blind_low: Floats
    blind_high: Floats
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    sampled: NDArray[np.int64]
    reason: tuple[str, ...]
    coverage: float

    def measure(self, name: str) -> tuple[Floats, Floats, Floats]:
        """Return value, low and high of a measure, each of shape (dataset,); NaN if not there."""
        if name not in self.measures:
            none = np.full(len(self.datasets), np.nan)
            return none, none, none
        i = self.measures.index(name)
        return self.value[i], self.low[i], self.high[i]


@dataclass(frozen=True)
class DepthView:
    """One measure through the layers.

    Attributes
    ----------
    measure : str
        Which.
    layers, datasets : tuple of str
        In the order of the table.
    value, low, high : numpy.ndarray
        Shape (layer, dataset).
    own : numpy.ndarray
        AUROC of the detector's own logit, shape (dataset,).
    coverage : float
        Of the intervals.
    """

    measure: str
    layers: tuple[str, ...]
    datasets: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    own: Floats
    coverage: float


@dataclass(frozen=True)
class TransferView:
    """The probe of one layer fitted on each dataset and scored on each, beside the detector.

    Attributes
    ----------
    layer : str
        Which.
    datasets : tuple of str
        Fitted on (rows) and scored on (columns).
    value, low, high : numpy.ndarray
        AUROC, shape (fitted, scored).
    own, own_low, own_high : numpy.ndarray
        AUROC of the detector's own logit, shape (scored,).
    n_samples, n_clusters : numpy.ndarray
        Shape (scored,).
    coverage : float
        Of the intervals.
    """

    layer: str
    datasets: tuple[str, ...]
    value: Floats
    low: Floats
    high: Floats
    own: Floats
    own_low: Floats
    own_high: Floats
    n_samples: NDArray[np.int64]
    n_clusters: NDArray[np.int64]
    coverage: float


@dataclass(frozen=True)
class Answered:
    """How well a layer answers a question: balanced accuracy, its interval, p and chance."""

    value: float
    low: float
    high: float
    p: float
    chance: float


@dataclass(frozen=True)
class SpecificView:
    """What of a layer is specific to synthesis methods.

    Attributes
    ----------
    layer : str
        Which.
    method, domain : Answered
        Methods told among fakes; datasets told among reals.
    share, share_low, share_high : float
        Share of the squared difference of fakes and reals that is specific to single methods.
    cosine : float
        Mean cosine between the differences of two methods.
    angle, angle_null : float
        Squared cosine between the label direction and the methods' subspace, and that of a
        direction drawn at random.
    """

    layer: str
    method: Answered
    domain: Answered
    share: float
    share_low: float
    share_high: float
    cosine: float
    angle: float
    angle_null: float


@dataclass(frozen=True)
class KnowledgeView:
    """What single units of a layer know of the label and of the method.

    Attributes
    ----------
    layer : str
        Which.
    unit : numpy.ndarray
        Numbers, shape (unit,).
    label, method : numpy.ndarray
        Mutual information as a share of the entropy, in [0, 1], shape (unit,).
    label_q, method_q : numpy.ndarray
        Adjusted p-values, shape (unit,).
    universal : numpy.ndarray or None
        Whether the unit contributes to detection in every dataset; None where that is not known
        of this layer.
    """

    layer: str
    unit: NDArray[np.int64]
    label: Floats
    method: Floats
    label_q: Floats
    method_q: Floats
    universal: NDArray[np.bool_] | None


def layer_view(run: Run, label: str, layer: str) -> LayerView:
    """Read all measures of one layer."""
    data = _at(run, label, layer)
    grid = {name: data[name].transpose("measure", "dataset").values for name in _GRID}
    rows = {name: data[name].values for name in _ROWS}
    return LayerView(
        layer=layer,
        datasets=_texts(data["dataset"]),
        measures=_texts(data["measure"]),
        **grid,
        **rows,
        reason=_texts(data["reason"]),
        coverage=_coverage(data),
    )


def measures_of(run: Run, label: str) -> list[str]:
    """List the measures of a detector's report."""
    return list(_texts(run.separability(label).data["measure"]))


def depth_view(run: Run, label: str, measure: str) -> DepthView:
    """Read one measure of all layers."""
    data = run.separability(label).data.sel(measure=measure)
    return DepthView(
        measure=measure,
        layers=_texts(data["layer"]),
        datasets=_texts(data["dataset"]),
        **{n: data[n].transpose("layer", "dataset").values for n in ("value", "low", "high")},
        own=data["own"].values,
        coverage=_coverage(data),
    )


def transfer_view(run: Run, label: str, layer: str) -> TransferView:
    """Read the transfer matrix of one layer."""
    data = _at(run, label, layer)
    parts = {"value": "transfer", "low": "transfer_low", "high": "transfer_high"}
    rows = ("own", "own_low", "own_high", "n_samples", "n_clusters")
    return TransferView(
        layer=layer,
        datasets=_texts(data["dataset"]),
        **{k: data[name].transpose("dataset", "scored").values for k, name in parts.items()},
        **{name: data[name].values for name in rows},
        coverage=_coverage(data),
    )


def specific_view(run: Run, label: str, layer: str) -> SpecificView:
    """Read what of one layer is specific to methods."""
    data = _at(run, label, layer)
    return SpecificView(
        layer=layer,
        method=_answered(data, "method"),
        domain=_answered(data, "domain"),
        share=float(data["specific_share"]),
        share_low=float(data["specific_low"]),
        share_high=float(data["specific_high"]),
        cosine=float(data["shared_cosine"]),
        angle=float(data["label_angle_share"]),
        angle_null=float(data["label_angle_null"]),
    )


def knowledge_view(run: Run, label: str, layer: str) -> KnowledgeView:
    """Read what the units of one layer know."""
    data = run.separability(label).data
    data = data.isel(row=np.flatnonzero(data["row_layer"].values.astype(str) == layer))
    unit = data["row_unit"].values.astype(np.int64)
    return KnowledgeView(
        layer=layer,
        unit=unit,
        label=data["label_information"].values,
        method=data["method_information"].values,
        label_q=data["label_q"].values,
        method_q=data["method_q"].values,
        universal=_universal(run, label, layer, unit),
    )


def transfer_frame(run: Run, label: str, layer: str) -> pd.DataFrame:
    """Return the transfer matrix of one layer, one row a pair of datasets."""
    frame = run.separability(label).transfer()
    return frame[frame["layer"].astype(str) == layer]


def knowledge_frame(run: Run, label: str, layer: str) -> pd.DataFrame:
    """Return what the units of one layer know, one row a unit."""
    view = knowledge_view(run, label, layer)
    columns = {
        "layer": layer,
        "unit": view.unit,
        "label_information": view.label,
        "method_information": view.method,
        "label_q": view.label_q,
        "method_q": view.method_q,
    }
    if view.universal is not None:
        columns["universal"] = view.universal
    return pd.DataFrame(columns)


_GRID = ("value", "low", "high", "q")
_ROWS = (
    "own",
    "own_low",
    "own_high",
    "blind",
    "blind_low",
    "blind_high",
    "n_samples",
    "n_clusters",
    "sampled",
)


def _at(run: Run, label: str, layer: str) -> xr.Dataset:
    report: SeparabilityReport = run.separability(label)
    layers = _texts(report.data["layer"])
    if layer not in layers:
        raise UnknownNameError(
            "layer",
            layer,
            layers,
            where="the separability report",
            remedy="Choose one of them above, or record the layer and compute the report again.",
        )
    return report.data.sel(layer=layer)


def _answered(data: xr.Dataset, question: str) -> Answered:
    if question not in _texts(data["question"]):
        return Answered(*[float("nan")] * 5)
    one = data.sel(question=question)
    names = ("answer", "answer_low", "answer_high", "answer_p", "chance")
    return Answered(*(float(one[name]) for name in names))


def _universal(
    run: Run, label: str, layer: str, unit: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Mark the units that the test finds in every dataset; None for another layer than theirs."""
    try:
        found = run.universality(label)
        if str(run.neurons(label).data.attrs.get("layer", "")) != layer or "q" not in found.data:
            return None
    except ProbeError:
        # The card says that universal units are not known; the table is no part of this page.
        return None
    return np.isin(unit, found.universal)


def _coverage(data: xr.Dataset) -> float:
    return float(data.attrs.get("ci", 0.95))


def _texts(values: xr.DataArray) -> tuple[str, ...]:
    return tuple(map(str, values.values))
