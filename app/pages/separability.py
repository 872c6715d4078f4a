"""Separability: whether the information is there and the head blind, or whether it is absent."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import numpy as np
import pandas as pd
from dash import html

from app.card import DETECTOR, At, Call, Card, Control, Group, Page, help_mark
from app.help import HELP, MEASURE_HELP
from app.layout import figures_table, interval_text, level_text, number_text
from app.pages import picture
from app.run import Ref, first_layer, layer_names, named_layer
from probe import plots
from probe.errors import ProbeError
from probe.plots.separability import MEASURES
from probe.plots.separability_layer import ALPHA, drawn_units

__all__ = ["PAGE"]

#: Room in pixels of the sentences above a figure, which the figure beside it has for itself.
TEXT = 116


# --- What is shown ------------------------------------------------------------------------------


def _layer(at: At) -> str:
    """Return the chosen layer, or the first to show."""
    return named_layer(at.run, at.detector, at.chosen)


def _layers(at: At) -> dict[str, str]:
    """Return the layers of the detector, the one that is shown at first before the others."""
    try:
        names = [first_layer(at.run, at.detector), *layer_names(at.run, at.detector)]
    except ProbeError:
        # The page says which detector is not there.
        names = []
    return {name: name for name in names}


def _choice(id: dict[str, str], at: At) -> Any:
    """Place the choice of a layer; layers are in the order of the detector."""
    names = _layers(at)
    given = at.chosen.layer
    order = layer_names(at.run, at.detector) if names else []
    value = given if given in names else next(iter(names), None)
    return dmc.Select(id=id, label="Layer", data=order, value=value, allowDeselect=False, w=200)


LAYER = Control("layer", "Layer", _layers, make=_choice, resets=("unit",), head=True)


def _report(at: At) -> Ref:
    return at.table("separability")


def _of_layer(plot: str) -> Any:
    """Return what makes the call of a finding of the chosen layer."""
    return lambda at: Call(plot, _report(at), layer=_layer(at))


# --- Is it there, and does the head use it? -----------------------------------------------------


def _answer(at: At, frame: pd.DataFrame) -> Any:
    """Answer the page's question for the chosen layer, and say what cannot be answered."""
    probe = frame[frame["measure"] == "probe_auroc"]
    judged = probe[np.isfinite(probe["blind_low"])]
    if not len(judged):
        text = "Whether the head is blind cannot be said: no dataset has an interval."
        return html.Div(html.Div(text, className="sentence"), className="text-room")
    is_there = judged["blind_low"] > 0
    there, used = judged[is_there], judged[~is_there & (judged["low"] > 0.5)]
    nothing = probe[np.isfinite(probe["low"]) & (probe["low"] <= 0.5)]
    total = f"{len(there)} of {len(judged)} datasets" if len(there) else "no dataset"
    sentence: list[Any] = ["In ", html.B(total), " the layer tells more than the head uses."]
    lines = [
        html.Div(sentence, className="sentence"),
        _verdict("There, and the head blind to it", there, "beyond"),
        _verdict("There, and no more than the head uses", used, ""),
        _verdict("Absent as far as a linear probe can tell", nothing, ""),
    ]
    return html.Div(lines, className="text-room")


def _verdict(words: str, rows: pd.DataFrame, kind: str) -> Any:
    text = f"{words}: {', '.join(rows['dataset'])}."
    return html.Div(text, className=f"verdict {kind}") if len(rows) else None


INFORMATION = Card(
    id="separability-probes",
    title="Is it there, and does the head use it?",
    uses=("detector", "layer"),
    call=_of_layer("layer_information"),
    text=_answer,
    figure=lambda at, frame: plots.figure_layer_information(frame, at.theme),
    label="AUROC of probe, detector and control task",
    about=("detector", "layer"),
    height=368,
    help=HELP["information"],
)


def _measure(at: At) -> str:
    """Return the chosen measure, or the first of the report."""
    return at.chosen.named("measure", list(_measures(at)))


def _measures(at: At) -> dict[str, str]:
    names = map(str, _report(at).value.data["measure"].values)
    return {name: MEASURES.get(name, name) for name in names}


def _depth(at: At, frame: pd.DataFrame) -> dict[str, Any]:
    """Draw it as high as the card beside it."""
    figure = plots.figure_measure_by_layer(frame, at.theme, layer=_layer(at))
    beside = plots.figure_layer_information(
        Call("layer_information", _report(at), layer=frame.attrs["layers"][-1]).frame()
    )
    figure["layout"]["height"] = beside["layout"]["height"] + TEXT
    return figure


DEPTH = Card(
    id="depth",
    title="Through the layers",
    uses=("detector", "layer"),
    call=lambda at: Call("measure_by_layer", _report(at), measure=_measure(at)),
    figure=_depth,
    label="One measure by layer, a line a dataset",
    controls=(Control("measure", "Measure", _measures, width=160),),
    about=("detector", "measure"),
    height=368,
    help=HELP["depth"],
)


# --- All measures -------------------------------------------------------------------------------


def _table(at: At, frame: pd.DataFrame) -> Any:
    """Show all measures of a layer, a column a dataset, value and interval in each cell."""
    datasets = frame.attrs["datasets"]
    cells = {(one["measure"], one["dataset"]): one for one in frame.to_dict("records")}
    body = [
        [_named(name), *(_cell(cells[name, dataset]) for dataset in datasets)]
        for name in dict.fromkeys(frame["measure"])
    ]
    rows = frame.drop_duplicates("dataset").to_dict("records")
    table = figures_table(["measure", *datasets], body, numeric_from=1)
    return html.Div([table, html.Div(_reasons(rows), className="reading")])


def _named(name: str) -> Any:
    words = html.Span(MEASURES.get(name, name))
    mark = [help_mark(MEASURE_HELP[name])] if name in MEASURE_HELP else []
    return html.Div([words, *mark], className="with-help")


def _cell(one: dict[Any, Any]) -> Any:
    value, q = one["value"], one["q"]
    if not np.isfinite(value):
        return html.Span("—", className="muted", title=one["reason"] or "not defined")
    number = html.B(number_text(value)) if q <= ALPHA else html.Span(number_text(value))
    title = f"q {level_text(q)}" if np.isfinite(q) else "not tested"
    bounds = html.Span(interval_text(one["low"], one["high"]), className="muted small")
    return html.Div([number, " ", bounds], title=title, className="whole")


def _reasons(rows: list[dict[Any, Any]]) -> list[Any]:
    """Say why intervals or values are missing, and how many samples were used."""
    lines = [
        html.Div([html.B(f"{one['dataset']}: "), one["reason"]]) for one in rows if one["reason"]
    ]
    counts = ", ".join(
        f"{one['dataset']} {int(one['sampled']):,} of {int(one['n_samples']):,}"
        for one in rows
        if one["sampled"] < one["n_samples"]
    )
    return [*lines, html.Div(f"Sub-sampled by people: {counts}.")] if counts else lines


ALL = Card(
    id="separability",
    title="All measures of this layer",
    uses=("detector", "layer"),
    call=_of_layer("layer_measures"),
    text=_table,
    about=("detector", "layer"),
    height=358,
    help=HELP["measures"],
)


# --- Transfer -----------------------------------------------------------------------------------


def _scale(at: At, frame: pd.DataFrame) -> Any:
    text = (
        "Framed: fitted on other people of the same dataset. Both parts have one scale: from "
        "always wrong (purple) over chance (neutral) to perfect (orange). Small: "
        f"{frame.attrs['ci']:.0%} interval over resampled clusters."
    )
    return html.Div(text, className="reading")


TRANSFER = Card(
    id="transfer",
    title="Does it transfer?",
    uses=("detector", "layer"),
    call=_of_layer("transfer"),
    figure=lambda at, frame: plots.figure_transfer(frame, at.theme),
    below=_scale,
    label="Heatmap of AUROC by dataset fitted on and scored on; also in the CSV file",
    about=("detector", "layer"),
    height=358,
    help=HELP["transfer"],
)


# --- Units and methods --------------------------------------------------------------------------


def _known(at: At) -> Call:
    """Mark universal units where their test is of this layer."""
    layer, refs = _layer(at), [_report(at)]
    try:
        found, neurons = at.table("universality"), at.table("neurons")
        if neurons.value.data.attrs.get("layer", "") == layer and "q" in found.value.data:
            refs.append(found)
    except ProbeError:
        # The card says that universal units are not known; the tables are no part of this page.
        pass
    return Call("unit_information", *refs, layer=layer)


def _units(at: At, frame: pd.DataFrame) -> dict[str, Any]:
    given = at.chosen.unit
    unit = int(given) if given.isascii() and given.isdigit() else None
    return plots.figure_unit_information(frame, at.theme, unit=unit)


def _count(at: At, frame: pd.DataFrame) -> Any:
    """Count units by what they know more of, and say whether universal ones are marked."""
    known = frame[(frame["method_q"] <= ALPHA) | (frame["label_q"] <= ALPHA)]
    more = int((known["method_information"] > known["label_information"]).sum())
    text = (
        f"{more} of {len(known)} units that know something know more of the method than of "
        f"real or fake; {len(frame)} units in all."
    )
    drawn = int(drawn_units(frame).sum())
    if drawn < len(frame):
        text += f" {drawn:,} are drawn: universal ones, those that know most, others at random."
    if "universal" in frame:
        text += " A click on a unit colors the picture by it."
    else:
        text += " Universal units are not marked: that test is not of this layer."
    return html.Div(text, className="reading")


UNITS = Card(
    id="unit-knowledge",
    title="Units: method or forgery?",
    uses=("detector", "layer", "unit"),
    call=_known,
    figure=_units,
    below=_count,
    label="Units by information on method and label",
    about=("detector", "layer"),
    height=468,
    help=HELP["knowledge"],
)


def _specific(at: At, frame: pd.DataFrame) -> Any:
    """Show what of a layer is specific to methods, each number beside what chance gives."""
    layer = Call("layer_measures", _report(at), layer=_layer(at)).frame().attrs["layer"]
    one: dict[Any, Any] = frame[frame["layer"] == layer].to_dict("records")[0]
    share = one["specific_share"]
    body = [
        [
            "Share specific to single methods",
            number_text(share),
            _interval(one["specific_low"], one["specific_high"]),
            "0",
        ],
        ["Cosine between two methods", number_text(one["shared_cosine"]), "", "0"],
        ["Method told among fakes", *_told(one, "method")],
        ["Dataset told among reals", *_told(one, "domain")],
        [
            "Label direction in the methods' subspace",
            number_text(one["label_angle_share"]),
            "",
            number_text(one["label_angle_null"]),
        ],
    ]
    text = (
        "Told: balanced accuracy on other people. Share: of the squared real-to-fake "
        "difference; 0 = one direction for all methods, 1 = nothing shared. Subspace: "
        "squared cosine, beside that of a random direction."
    )
    return html.Div(
        [
            html.Div(_share(share, one.get("method_chance", np.nan)), className="sentence"),
            figures_table(["", "value", "interval", "chance"], body, numeric_from=1),
            html.Div(text, className="reading"),
        ]
    )


def _share(share: float, chance: float) -> list[Any]:
    if np.isfinite(share):
        words = " of what sets fakes apart in this layer belongs to single methods."
        return [html.B(f"{share:.0%}"), words]
    if np.isfinite(chance):
        return ["Nothing beyond noise sets fakes apart in this layer: there is no share to tell."]
    return ["Fewer than two methods: what is specific to one cannot be said."]


def _told(one: dict[Any, Any], question: str) -> list[Any]:
    """Return accuracy, interval and chance of a question; bold where it is beyond chance."""
    parts = ("accuracy", "low", "high", "p", "chance")
    value, low, high, p, chance = (one.get(f"{question}_{part}", np.nan) for part in parts)
    text = html.B(number_text(value)) if p <= ALPHA else number_text(value)
    return [text, _interval(low, high), number_text(chance)]


def _interval(low: float, high: float) -> Any:
    return html.Span(interval_text(low, high), className="muted whole")


SPECIFIC = Card(
    id="specific-to-methods",
    title="What is specific to methods?",
    uses=("detector", "layer"),
    call=lambda at: Call("method_specificity", _report(at)),
    text=_specific,
    height=468,
    help=HELP["specific"],
)


# --- How alike the detectors are ----------------------------------------------------------------


def _alike(at: At, frame: pd.DataFrame) -> Any:
    about = frame.attrs
    text = (
        f"Debiased CKA at {about['layer']}, {about['n_samples']:,} images in "
        f"{about['n_clusters']:,} clusters. Small: {about['ci']:.0%} interval. Orange: alike; "
        "neutral: nothing in common."
    )
    return html.Div(text, className="reading")


SIMILARITY = Card(
    id="similarity",
    title="How alike are the detectors?",
    uses=("detector", "layer"),
    call=lambda at: Call("detector_similarity", at.whole("similarity"), layer=_layer(at)),
    figure=lambda at, frame: plots.figure_detector_similarity(frame, at.theme),
    below=_alike,
    label="Heatmap of CKA of all detectors",
    about=("layer",),
    height=209,
    help=HELP["similarity"],
)


PAGE = Page(
    path="/separability",
    title="Separability",
    question="Is the information there and the head blind, or is it absent?",
    controls=(DETECTOR, LAYER),
    needs=_layer,
    items=(
        Group(
            (
                Group((INFORMATION, DEPTH)),
                ALL,
                TRANSFER,
                Group((UNITS, SPECIFIC), "columns wide-columns"),
            ),
            "",
            needs=_report,
        ),
        picture.PICTURE,
        SIMILARITY,
    ),
    register=picture.register,
)
