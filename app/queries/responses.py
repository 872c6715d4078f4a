"""What a detector's units respond to: measurements by correlation, artifacts by dose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.deriving import derived
from app.run import Run
from app.selection import Selection
from probe.artifacts.responses import ResponseReport
from probe.errors import UnknownNameError

__all__ = [
    "AnswerRow",
    "AnswersView",
    "DosesView",
    "ResponsesView",
    "answer_of",
    "answers_frame",
    "answers_view",
    "artifacts_of",
    "doses_view",
    "first_artifact",
    "named_artifact",
    "responses_frame",
    "responses_view",
    "responding_units",
]

Floats = NDArray[np.float64]

#: Units that a heatmap has room for; universal units that a table lists, and units in all.
MOST_UNITS, MOST_UNIVERSAL, MOST_ANSWERS = 40, 30, 16


@dataclass(frozen=True)
class ResponsesView:
    """Partial rank correlation of units and measurements.

    Attributes
    ----------
    layer : str
        Of the units.
    unit : numpy.ndarray
        Units that are shown, universal ones first, then by their largest |rho|; shape (unit,).
    measurements : tuple of str
        Rows.
    rho, q : numpy.ndarray
        Shape (measurement, unit); NaN where not defined.
    universal : numpy.ndarray
        Whether a unit was found universal, shape (unit,).
    total : int
        Units in the layer.
    alpha : float
        False discovery rate of marks.
    reasons : tuple of str
        Why datasets were left out, each with its name.
    """

    layer: str
    unit: NDArray[np.int64]
    measurements: tuple[str, ...]
    rho: Floats
    q: Floats
    universal: NDArray[np.bool_]
    total: int
    alpha: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class DosesView:
    """Responses to one artifact's dose, of the logit or of one unit.

    Attributes
    ----------
    artifact, output, unit_of : str
        Which; what responds ("the fake logit" or "unit 3"); in which unit ("" or "SD").
    datasets : tuple of str
        Those whose method has the artifact.
    place : tuple of int
        Their places among all datasets, so that each keeps its color.
    dose : numpy.ndarray
        0 to 1, shape (dose,).
    value, low, high : numpy.ndarray
        Mean change from dose 0, shape (dataset, dose); NaN bounds with too few identities.
    reasons : tuple of str
        Why there are no intervals, dataset by dataset.
    """

    artifact: str
    output: str
    unit_of: str
    datasets: tuple[str, ...]
    place: tuple[int, ...]
    dose: Floats
    value: Floats
    low: Floats
    high: Floats
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class AnswerRow:
    """What one unit responds to most.

    Attributes
    ----------
    unit : int
        Which.
    universal : bool
        Whether it was found universal.
    answer, kind : str
        Artifact or measurement; "dose", "correlation" or "" for nothing.
    effect, q : float
        Response at the highest dose in SDs of the unit, or rho; and its q-value.
    beside, beside_rho, beside_q : str, float, float
        The measurement it goes along with most, whatever the answer is; empty and NaN where no
        images were measured.
    """

    unit: int
    universal: bool
    answer: str
    kind: str
    effect: float
    q: float
    beside: str
    beside_rho: float
    beside_q: float


@dataclass(frozen=True)
class AnswersView:
    """Answers of the universal units, and of others.

    Attributes
    ----------
    layer : str
        Of the units.
    rows : tuple of AnswerRow
        Those that are shown, universal ones first.
    n_universal, total : int
        Universal units, and all units of the layer.
    has_doses : bool
        Whether artifacts were turned up.
    alpha : float
        False discovery rate.
    """

    layer: str
    rows: tuple[AnswerRow, ...]
    n_universal: int
    total: int
    has_doses: bool
    alpha: float


def responses_view(run: Run, label: str) -> ResponsesView | None:
    """Read the correlations of units and measurements; None where no images were measured."""
    report = run.responses(label)
    if not report.has_correlations:
        return None
    data = report.data
    rho = data["rho"].transpose("measurement", "unit").values
    q = data["q"].transpose("measurement", "unit").values
    universal = np.isin(data["unit"].values, report.universal)
    strength = np.abs(np.nan_to_num(rho)).max(axis=0)
    shown = np.lexsort((-strength, ~universal))[:MOST_UNITS]
    return ResponsesView(
        layer=_layer(report),
        unit=data["unit"].values[shown].astype(np.int64),
        measurements=tuple(map(str, data["measurement"].values)),
        rho=rho[:, shown],
        q=q[:, shown],
        universal=universal[shown],
        total=data.sizes["unit"],
        alpha=_alpha(report),
        reasons=_reasons(report, "reason", None),
    )


def responding_units(run: Run, label: str) -> list[int]:
    """List the units of a report, universal ones first."""
    return list(derived(_responding, (run.responses(label),)))


def _responding(report: ResponseReport) -> tuple[int, ...]:
    units = report.data["unit"].values.astype(np.int64)
    order = np.argsort(~np.isin(units, report.universal), kind="stable")
    return tuple(units[order].tolist())


def artifacts_of(run: Run, label: str) -> list[str]:
    """List the artifacts whose dose was turned; none but on the lab."""
    report = run.responses(label)
    return [str(name) for name in report.data["artifact"].values] if report.has_doses else []


def named_artifact(run: Run, label: str, chosen: Selection) -> str:
    """Return the artifact that an address names, or the one to show first; empty without any."""
    allowed = artifacts_of(run, label)
    if not allowed:
        return ""
    return chosen.named("artifact", allowed) if chosen.artifact else first_artifact(run, label)


def first_artifact(run: Run, label: str) -> str:
    """Return what the first unit responds to if that is an artifact, else the first artifact."""
    found = run.responses(label).answer(responding_units(run, label)[0])
    return found.name if found.kind == "dose" else artifacts_of(run, label)[0]


def doses_view(run: Run, label: str, artifact: str, unit: int | None = None) -> DosesView:
    """Read the responses to one artifact's dose: of the logit, or of a unit.

    Raises
    ------
    UnknownNameError
        If there is no such artifact.
    """
    report = run.responses(label)
    allowed = artifacts_of(run, label)
    if artifact not in allowed:
        raise UnknownNameError("artifact", artifact, allowed, where="the responses of this run")
    one = report.data.sel(artifact=artifact)
    names = {"value": "logit_response", "low": "logit_low", "high": "logit_high"}
    if unit is not None:
        one = one.sel(unit=unit)
        names = {"value": "unit_response", "low": "unit_low", "high": "unit_high"}
    grids = {key: one[name].transpose("dataset", "dose").values for key, name in names.items()}
    there = np.isfinite(grids["value"]).any(axis=1)
    datasets = tuple(str(name) for name in one["dataset"].values[there])
    return DosesView(
        artifact=artifact,
        output="the fake logit" if unit is None else f"unit {unit}",
        unit_of="" if unit is None else "SD",
        datasets=datasets,
        place=tuple(int(i) for i in np.flatnonzero(there)),
        dose=one["dose"].values.astype(np.float64),
        **{key: values[there] for key, values in grids.items()},
        reasons=_reasons(report, "dose_reason", datasets),
    )


def answers_view(run: Run, label: str) -> AnswersView:
    """Read what each universal unit responds to, and others as far as there is room."""
    return derived(_answers, (run.responses(label),))


def _answers(report: ResponseReport) -> AnswersView:
    units = _responding(report)
    n_universal = len(report.universal)
    shown = units[: max(MOST_ANSWERS, min(n_universal, MOST_UNIVERSAL))]
    return AnswersView(
        layer=_layer(report),
        rows=tuple(_answer(report, unit) for unit in shown),
        n_universal=n_universal,
        total=len(units),
        has_doses=report.has_doses,
        alpha=_alpha(report),
    )


def answer_of(run: Run, label: str, unit: int) -> AnswerRow:
    """Read what one unit responds to.

    Raises
    ------
    ProbeError
        If the run's responses do not hold the unit.
    """
    report = run.responses(label)
    return _answer(report, Selection(unit=str(unit)).unit_number(responding_units(run, label)))


def responses_frame(run: Run, label: str) -> pd.DataFrame:
    """Return all correlations, one row a unit and measurement."""
    return run.responses(label).correlations()


def answers_frame(run: Run, label: str) -> pd.DataFrame:
    """Return the answers of all units, one row a unit."""
    return run.responses(label).answers()


def _answer(report: ResponseReport, unit: int) -> AnswerRow:
    found = report.answer(unit)
    beside, rho, q = "", float("nan"), float("nan")
    if report.has_correlations:
        one = report.data.sel(unit=unit)
        size = np.abs(np.nan_to_num(one["rho"].values))
        best = int(size.argmax())
        beside = str(one["measurement"].values[best])
        rho, q = float(one["rho"].values[best]), float(one["q"].values[best])
    universal = unit in report.universal
    return AnswerRow(unit, universal, found.name, found.kind, found.effect, found.q, beside, rho, q)


def _reasons(
    report: ResponseReport, name: str, datasets: tuple[str, ...] | None
) -> tuple[str, ...]:
    if name not in report.data:
        return ()
    pairs = zip(report.data["dataset"].values, report.data[name].values, strict=True)
    return tuple(
        f"{dataset}: {reason}"
        for dataset, reason in ((str(d), str(r)) for d, r in pairs)
        if reason and (datasets is None or dataset in datasets)
    )


def _layer(report: ResponseReport) -> str:
    return str(report.data.attrs.get("layer", ""))


def _alpha(report: ResponseReport) -> float:
    return float(report.data.attrs.get("alpha", 0.05))
