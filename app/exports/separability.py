"""What the Separability page leaves to take away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from app.exports.export import Export
from app.exports.script import script
from app.queries.layers import known_detector, named_layer
from app.queries.separability import knowledge_frame, knowledge_view, measures_of, transfer_frame
from app.queries.similarity import similarity_frame, similarity_view
from app.run import Run
from app.selection import MEASURES, Selection
from probe.errors import UnknownNameError
from probe.plots.separability import (
    depth_figure,
    likeness_figure,
    probes_figure,
    transfer_figure,
    units_figure,
)
from probe.separability import SeparabilityReport

__all__ = ["EXPORTS"]

_REPORT = "from probe import SeparabilityReport"
_LAYER = ("detector", "layer")


def _attrs(run: Run, chosen: Selection) -> Mapping[Any, Any]:
    return run.separability(known_detector(run, chosen)).data.attrs


def _at(run: Run, chosen: Selection) -> tuple[str, str]:
    """Return the detector and the layer; the report has to hold it."""
    label = known_detector(run, chosen)
    layer = named_layer(run, label, chosen)
    known = [str(name) for name in run.separability(label).data["layer"].values]
    if layer not in known:
        raise UnknownNameError("layer", layer, known, where="the separability report")
    return label, layer


def _one_layer(report: SeparabilityReport, layer: str) -> SeparabilityReport:
    rows = np.flatnonzero(report.data["row_layer"].values.astype(str) == layer)
    return SeparabilityReport(report.data.sel(layer=[layer]).isel(row=rows))


def _opened(label: str) -> str:
    return f"report = SeparabilityReport.open(run.path('separability', {label!r}))"


def _only(layer: str) -> list[str]:
    """Write the lines that leave one layer of a report in ``one``."""
    return [
        f'rows = np.flatnonzero(report.data["row_layer"].values.astype(str) == {layer!r})',
        f"one = SeparabilityReport(report.data.sel(layer=[{layer!r}]).isel(row=rows))",
    ]


def _probes(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return probe, control and the detector's own AUROC of one layer, one row a dataset."""
    label, layer = _at(run, chosen)
    names = ["own", "own_low", "own_high", "blind", "blind_low", "blind_high"]
    report = run.separability(label)
    frame = report.to_dataframe()
    frame = frame[
        (frame["layer"] == layer) & frame["measure"].isin(["probe_auroc", "control_auroc"])
    ]
    beside = report.data[names].sel(layer=layer).drop_vars("layer").to_dataframe().reset_index()
    return frame.merge(beside, on="dataset")


def _probes_figure(run: Run, chosen: Selection) -> Figure:
    label, layer = _at(run, chosen)
    return probes_figure(_one_layer(run.separability(label), layer))


def _probes_code(run: Run, chosen: Selection) -> str:
    label, layer = _at(run, chosen)
    return script(
        run,
        "separability-probes",
        [_REPORT, "import numpy as np", "from probe.plots.separability import probes_figure"],
        [
            _opened(label),
            *_only(layer),
            'names = ["own", "own_low", "own_high", "blind", "blind_low", "blind_high"]',
            f"beside = report.data[names].sel(layer={layer!r})",
            'beside = beside.drop_vars("layer").to_dataframe().reset_index()',
            "table = one.to_dataframe()",
            'table = table[table["measure"].isin(["probe_auroc", "control_auroc"])]',
            'table = table.merge(beside, on="dataset")',
        ],
        ["figure = probes_figure(one)"],
    )


def _measure(run: Run, chosen: Selection) -> tuple[str, str]:
    label = known_detector(run, chosen)
    return label, chosen.named("measure", measures_of(run, label))


def _depth(run: Run, chosen: Selection) -> pd.DataFrame:
    label, measure = _measure(run, chosen)
    frame = run.separability(label).to_dataframe()
    return frame[frame["measure"] == measure]


def _depth_figure(run: Run, chosen: Selection) -> Figure:
    label, measure = _measure(run, chosen)
    return depth_figure(run.separability(label).data, measure, MEASURES.get(measure, measure))


def _depth_code(run: Run, chosen: Selection) -> str:
    label, measure = _measure(run, chosen)
    title = MEASURES.get(measure, measure)
    return script(
        run,
        f"depth-{measure}",
        [_REPORT, "from probe.plots.separability import depth_figure"],
        [
            _opened(label),
            "table = report.to_dataframe()",
            f'table = table[table["measure"] == {measure!r}]',
        ],
        [f"figure = depth_figure(report.data, {measure!r}, {title!r})"],
    )


def _measures(run: Run, chosen: Selection) -> pd.DataFrame:
    """Return all measures of one layer."""
    label, layer = _at(run, chosen)
    frame = run.separability(label).to_dataframe()
    return frame[frame["layer"] == layer]


def _measures_code(run: Run, chosen: Selection) -> str:
    label, layer = _at(run, chosen)
    return script(
        run,
        "separability",
        [_REPORT],
        [
            _opened(label),
            "table = report.to_dataframe()",
            f'table = table[table["layer"] == {layer!r}]',
        ],
    )


def _transfer(run: Run, chosen: Selection) -> pd.DataFrame:
    return transfer_frame(run, *_at(run, chosen))


def _transfer_figure(run: Run, chosen: Selection) -> Figure:
    label, layer = _at(run, chosen)
    return transfer_figure(run.separability(label), layer)


def _transfer_code(run: Run, chosen: Selection) -> str:
    label, layer = _at(run, chosen)
    return script(
        run,
        "transfer",
        [_REPORT, "from probe.plots.separability import transfer_figure"],
        [
            _opened(label),
            "table = report.transfer()",
            f'table = table[table["layer"] == {layer!r}]',
        ],
        [f"figure = transfer_figure(report, {layer!r})"],
    )


def _knowledge(run: Run, chosen: Selection) -> pd.DataFrame:
    return knowledge_frame(run, *_at(run, chosen))


def _knowledge_figure(run: Run, chosen: Selection) -> Figure:
    label, layer = _at(run, chosen)
    return units_figure(_one_layer(run.separability(label), layer))


def _knowledge_code(run: Run, chosen: Selection) -> str:
    label, layer = _at(run, chosen)
    imports, marked = [_REPORT], []
    if knowledge_view(run, label, layer).universal is not None:
        imports.append("from probe import Universality")
        marked = [
            f"found = Universality.open(run.path('universality', {label!r}))",
            'table["universal"] = table["unit"].isin(found.universal)',
        ]
    return script(
        run,
        "unit-knowledge",
        [*imports, "import numpy as np", "from probe.plots.separability import units_figure"],
        [_opened(label), *_only(layer), "table = one.units()", *marked],
        ["figure = units_figure(one)"],
    )


def _specific(run: Run, chosen: Selection) -> pd.DataFrame:
    return run.separability(known_detector(run, chosen)).layers()


def _specific_code(run: Run, chosen: Selection) -> str:
    label = known_detector(run, chosen)
    return script(
        run, "specific-to-methods", [_REPORT], [_opened(label), "table = report.layers()"]
    )


def _compared(run: Run, chosen: Selection) -> str:
    """Return the layer that the page shows; the table of similarity has to hold it."""
    layer = named_layer(run, known_detector(run, chosen), chosen)
    return similarity_view(run, layer).layer


def _similarity(run: Run, chosen: Selection) -> pd.DataFrame:
    return similarity_frame(run)


def _similarity_figure(run: Run, chosen: Selection) -> Figure:
    return likeness_figure(run.similarity.data, _compared(run, chosen))


def _similarity_code(run: Run, chosen: Selection) -> str:
    return script(
        run,
        "similarity",
        ["from probe import Similarity", "from probe.plots.separability import likeness_figure"],
        ["found = Similarity.open(run.path('similarity'))", "table = found.to_dataframe()"],
        [f"figure = likeness_figure(found.data, {_compared(run, chosen)!r})"],
    )


EXPORTS = {
    "separability-probes": Export(_probes, _probes_figure, _probes_code, _attrs, _LAYER),
    "depth": Export(_depth, _depth_figure, _depth_code, _attrs, ("detector", "measure")),
    "separability": Export(_measures, None, _measures_code, _attrs, _LAYER),
    "transfer": Export(_transfer, _transfer_figure, _transfer_code, _attrs, _LAYER),
    "unit-knowledge": Export(_knowledge, _knowledge_figure, _knowledge_code, _attrs, _LAYER),
    "specific-to-methods": Export(_specific, None, _specific_code, _attrs),
    "similarity": Export(
        _similarity,
        _similarity_figure,
        _similarity_code,
        lambda run, chosen: run.similarity.data.attrs,
        ("layer",),
    ),
}
