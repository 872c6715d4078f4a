"""What the Artifacts page leaves to take away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import script
from app.queries.artifacts import (
    effects_frame,
    named_dataset,
    spectra_frame,
    tells_frame,
)
from app.queries.layers import known_detector
from app.queries.responses import (
    answers_frame,
    named_artifact,
    responding_units,
    responses_frame,
)
from app.run import Run
from app.selection import Selection
from probe.artifacts import ResponseReport
from probe.errors import ProbeError
from probe.plots.artifacts import effects_figure, spectra_figure, tells_figure
from probe.plots.responses import correlation_figure, unit_response_figure

__all__ = ["EXPORTS"]

_REPORT, _RESPONSES = "from probe import ArtifactReport", "from probe import ResponseReport"
_OPEN = "report = ArtifactReport.open(run.path('artifacts'))"
_BALANCE = ["imbalance", "imbalance_low", "imbalance_high"]
_UNIT = ["unit_response", "unit_low", "unit_high"]


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return run.artifacts.data.attrs


def _one(run: Run, chosen: Selection) -> xr.Dataset:
    """Return what the report says of the chosen dataset."""
    return run.artifacts.data.sel(dataset=[named_dataset(run, chosen)])


def _spectra(run: Run, chosen: Selection) -> pd.DataFrame:
    return spectra_frame(run, named_dataset(run, chosen))


def _spectra_figure(run: Run, chosen: Selection) -> Figure:
    return spectra_figure(_one(run, chosen))


def _spectra_code(run: Run, chosen: Selection) -> str:
    name = named_dataset(run, chosen)
    return script(
        run,
        "spectra",
        [_REPORT, "from probe.plots.artifacts import spectra_figure"],
        [
            _OPEN,
            f"one = report.data.sel(dataset=[{name!r}])",
            'names = ["power", "power_low", "power_high"]',
            "table = one[names].to_dataframe().reset_index()",
            'table = table[["dataset", "label", "frequency", *names]]',
        ],
        ["figure = spectra_figure(one)"],
    )


def _balance(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return how well each covariate alone tells fake from real, one row a covariate."""
    return _one(run, chosen)[_BALANCE].to_dataframe().reset_index()


def _balance_code(run: Run, chosen: Selection) -> str:
    name = named_dataset(run, chosen)
    return script(
        run,
        "balance",
        [_REPORT],
        [
            _OPEN,
            f"one = report.data[{_BALANCE!r}].sel(dataset=[{name!r}])",
            "table = one.to_dataframe().reset_index()",
        ],
    )


def _effects(run: Run, chosen: Selection) -> pd.DataFrame:
    return effects_frame(run, named_dataset(run, chosen))


def _effects_figure(run: Run, chosen: Selection) -> Figure:
    return effects_figure(_one(run, chosen))


def _effects_code(run: Run, chosen: Selection) -> str:
    name = named_dataset(run, chosen)
    return script(
        run,
        "artifact-effects",
        [_REPORT, "from probe.plots.artifacts import effects_figure"],
        [
            _OPEN,
            "table = report.to_dataframe()",
            f'table = table[table["dataset"] == {name!r}]',
            "# Rank 0 stands for no effect without control, and comes last.",
            'last = table["rank"].where(table["rank"] > 0, float("inf"))',
            'table = table.loc[last.sort_values(kind="stable").index]',
        ],
        [f"figure = effects_figure(report.data.sel(dataset=[{name!r}]))"],
    )


def _tells(run: Run, chosen: Selection) -> pd.DataFrame:
    return tells_frame(run)


def _tells_figure(run: Run, chosen: Selection) -> Figure:
    return tells_figure(run.artifacts.data)


def _tells_code(run: Run, chosen: Selection) -> str:
    return script(
        run,
        "tells",
        [_REPORT, "from probe.plots.artifacts import tells_figure"],
        [
            _OPEN,
            'names = ["tells", "tells_low", "tells_high"]',
            "table = report.data[names].to_dataframe().reset_index()",
            'table = table[["method", "measurement", *names]]',
        ],
        ["figure = tells_figure(report.data)"],
    )


def _response_attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return _report(run, chosen).data.attrs


def _report(run: Run, chosen: Selection) -> ResponseReport:
    return run.responses(known_detector(run, chosen))


def _opened(run: Run, chosen: Selection) -> str:
    return f"report = ResponseReport.open(run.path('responses', {known_detector(run, chosen)!r}))"


def _responses(run: Run, chosen: Selection) -> pd.DataFrame:
    return responses_frame(run, known_detector(run, chosen))


def _responses_figure(run: Run, chosen: Selection) -> Figure:
    return correlation_figure(_report(run, chosen))


def _responses_code(run: Run, chosen: Selection) -> str:
    return script(
        run,
        "responses",
        [_RESPONSES, "from probe.plots.responses import correlation_figure"],
        [_opened(run, chosen), "table = report.correlations()"],
        ["figure = correlation_figure(report)"],
    )


def _answers(run: Run, chosen: Selection) -> pd.DataFrame:
    return answers_frame(run, known_detector(run, chosen))


def _answers_code(run: Run, chosen: Selection) -> str:
    return script(run, "answers", [_RESPONSES], [_opened(run, chosen), "table = report.answers()"])


def _turned(run: Run, chosen: Selection) -> tuple[ResponseReport, str]:
    """Return the report and the artifact that is turned up."""
    label = known_detector(run, chosen)
    artifact = named_artifact(run, label, chosen)
    if not artifact:
        raise ProbeError(f"No artifact was turned up for {label}; the page says why.")
    return run.responses(label), artifact


def _doses(run: Run, chosen: Selection) -> pd.DataFrame:
    report, artifact = _turned(run, chosen)
    frame = report.doses()
    return frame[frame["artifact"] == artifact]


def _doses_figure(run: Run, chosen: Selection) -> Figure:
    report, artifact = _turned(run, chosen)
    return unit_response_figure(report.data, artifact)


def _doses_code(run: Run, chosen: Selection) -> str:
    _, artifact = _turned(run, chosen)
    return script(
        run,
        "doses",
        [_RESPONSES, "from probe.plots.responses import unit_response_figure"],
        [
            _opened(run, chosen),
            "table = report.doses()",
            f'table = table[table["artifact"] == {artifact!r}]',
        ],
        [f"figure = unit_response_figure(report.data, {artifact!r})"],
    )


def _responding(run: Run, chosen: Selection) -> tuple[ResponseReport, str, int]:
    report, artifact = _turned(run, chosen)
    return report, artifact, chosen.unit_number(responding_units(run, known_detector(run, chosen)))


def _unit_doses(run: Run, chosen: Selection) -> pd.DataFrame:
    report, artifact, unit = _responding(run, chosen)
    one = report.data[_UNIT].sel({"artifact": artifact, "unit": unit})
    return one.to_dataframe().reset_index().dropna(subset="unit_response")


def _unit_doses_figure(run: Run, chosen: Selection) -> Figure:
    report, artifact, unit = _responding(run, chosen)
    return unit_response_figure(report.data, artifact, unit)


def _unit_doses_code(run: Run, chosen: Selection) -> str:
    _, artifact, unit = _responding(run, chosen)
    return script(
        run,
        f"unit-{unit}-responses",
        [_RESPONSES, "from probe.plots.responses import unit_response_figure"],
        [
            _opened(run, chosen),
            f"one = report.data[{_UNIT!r}].sel(artifact={artifact!r}, unit={unit})",
            'table = one.to_dataframe().reset_index().dropna(subset="unit_response")',
        ],
        [f"figure = unit_response_figure(report.data, {artifact!r}, unit={unit})"],
    )


_TURNED = ("detector", "artifact")

EXPORTS = {
    "spectra": Export(_spectra, _spectra_figure, _spectra_code, _attrs, ("dataset",)),
    "balance": Export(_balance, None, _balance_code, _attrs, ("dataset",)),
    "artifact-effects": Export(_effects, _effects_figure, _effects_code, _attrs, ("dataset",)),
    "tells": Export(_tells, _tells_figure, _tells_code, _attrs, ()),
    "responses": Export(_responses, _responses_figure, _responses_code, _response_attrs),
    "answers": Export(_answers, None, _answers_code, _response_attrs),
    "doses": Export(_doses, _doses_figure, _doses_code, _response_attrs, _TURNED),
    "unit-doses": Export(
        _unit_doses, _unit_doses_figure, _unit_doses_code, _response_attrs, (*_TURNED, "unit")
    ),
}
