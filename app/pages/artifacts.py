"""Artifacts: what forgeries leave in the image, and which units respond to it."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import html

from app.card import DETECTOR, At, Call, Card, Control, Group, Page, graph, jump
from app.help import HELP
from app.layout import figures_table, interval_text, level_text, number_text, signed_text
from probe import plots
from probe.errors import ProbeError
from probe.plots.responses import MOST_COLUMNS

__all__ = ["PAGE"]

#: Universal units that the table of answers lists at most, and units that it lists in all.
MOST_UNIVERSAL, MOST_ANSWERS = 30, 16

#: Units that are proposed while typing.
SUGGESTED = 200


# --- What is shown ------------------------------------------------------------------------------


def _measured(at: At) -> list[str]:
    """List the datasets of the artifact report."""
    return [str(name) for name in at.run.artifacts.data["dataset"].values]


def _dataset(at: At) -> str:
    """Return the chosen dataset, or the first."""
    return at.chosen.named("dataset", _measured(at))


def _options(at: At) -> dict[str, str]:
    """Return the datasets to choose from; none where a card says why."""
    try:
        return {name: name for name in _measured(at)}
    except ProbeError:
        return {}


DATASET = Control("dataset", "Dataset", _options, width=200, head=True)


def _answers_call(at: At) -> Call:
    return Call("answers", at.table("responses"))


def _units(at: At) -> list[int]:
    """List the units, universal ones first."""
    return [int(unit) for unit in _answers_call(at).frame()["unit"]]


def _unit(at: At) -> int:
    """Return the chosen unit, or the first."""
    return at.chosen.unit_number(_units(at))


def _artifacts(at: At) -> list[str]:
    """List the artifacts that were dosed: first what the first unit responds to, if it does."""
    report = at.run.responses(at.detector)
    if not report.has_doses:
        return []
    names = [str(name) for name in report.data["artifact"].values]
    first = _answers_call(at).frame().iloc[0]
    return sorted(names, key=lambda name: (first["answer_kind"], first["answer"]) != ("dose", name))


def _artifact(at: At) -> str:
    """Return the chosen artifact, or the first."""
    names = _artifacts(at)
    if not names:
        raise ProbeError(f"No artifact was turned up for {at.detector}; the page says why.")
    return at.chosen.named("artifact", names)


def _needs(at: At) -> None:
    """Raise where the address names a detector or a dataset that there is not."""
    assert at.detector
    if _options(at):
        _dataset(at)


# --- Images -------------------------------------------------------------------------------------


def _of_dataset(plot: str) -> Any:
    return lambda at: Call(plot, at.whole("artifacts"), dataset=_dataset(at))


def _spectra_text(at: At, frame: pd.DataFrame) -> Any:
    """Say what the bands are, or why there are none."""
    said = "No bands: fewer than five clusters."
    if frame["power_low"].notna().any():
        said = f"Bands: {frame.attrs['ci']:.0%} intervals of the mean, clusters resampled."
    return html.Div(f"{_dataset(at)}. {said}", className="reading")


SPECTRA = Card(
    id="spectra",
    title="Spectra",
    uses=("dataset",),
    call=_of_dataset("spectra"),
    figure=lambda at, frame: plots.figure_spectra(frame, at.theme),
    below=_spectra_text,
    label="Power spectra of real and fake images",
    height=440,
    about=("dataset",),
    help=HELP["spectra"],
)


def _balance(at: At, frame: pd.DataFrame) -> Any:
    """Show what beside forgery differs, what stood for the forged area, and what is missing."""
    about = frame.attrs["datasets"][_dataset(at)]
    known = frame[frame["imbalance"].notna()]
    unknown = frame["covariate"][frame["imbalance"].isna()]
    facts = [
        ("Images", f"{about['n_samples']:,} in {about['n_clusters']:,} clusters"),
        ("Region", about["region"] or "not stated"),
        *([("Unknown", ", ".join(unknown))] if len(unknown) else []),
        *([("Missing", about["reason"])] if about["reason"] else []),
    ]
    pairs = [part for name, value in facts for part in (html.Dt(name), html.Dd(value))]
    body = [_covariate(one) for one in known.to_dict("records")]
    return html.Div(
        [
            html.Div(_balance_sentence(frame), className="sentence"),
            figures_table(["covariate", "AUROC", "interval"], body, numeric_from=1),
            html.Dl(pairs, className="facts facts-below"),
        ]
    )


def _covariate(one: dict[Any, Any]) -> list[Any]:
    text = number_text(one["imbalance"])
    value = html.B(text) if one["unbalanced"] else text
    bounds = interval_text(one["imbalance_low"], one["imbalance_high"])
    return [one["covariate"], value, html.Span(bounds, className="muted")]


def _balance_sentence(frame: pd.DataFrame) -> list[Any]:
    names = list(frame["covariate"][frame["unbalanced"]])
    if names:
        alone = " alone tells" if len(names) == 1 else " each tell"
        return [html.B(", ".join(names)), f"{alone} fake from real: look at effects with control."]
    if frame["imbalance_low"].isna().all():
        return ["Whether covariates are balanced cannot be said without intervals."]
    return ["No covariate tells fake from real beyond its interval."]


BALANCE = Card(
    id="balance",
    title="What else differs?",
    uses=("dataset",),
    call=_of_dataset("balance"),
    text=_balance,
    about=("dataset",),
    help=HELP["balance"],
)


def _effects_text(at: At, frame: pd.DataFrame) -> Any:
    """Count what is significant, and what stays so under both controls."""
    kept, alpha = int(frame["kept"].sum()), frame.attrs["alpha"]
    if not frame.filter(regex="^q($|_)").notna().any(axis=None):
        words: list[Any] = ["Nothing was tested: too few clusters."]
    else:
        words = [
            html.B(f"{kept} of {len(frame)}"),
            f" measurements differ between real and fake with every control (q ≤ {alpha:g}); ",
            f"{int((frame['q'] <= alpha).sum())} without control.",
        ]
    return html.Div(html.Div(words, className="sentence"), className="line-room")


_EFFECTS_NOTE = (
    "Filled: q ≤ 0.05 within that control. Bold name: with every control. Largest without control "
    "first. Point at a mark for the measurement's definition and source."
)

EFFECTS = Card(
    id="artifact-effects",
    title="Measurements, real against fake",
    uses=("dataset",),
    call=_of_dataset("artifact_effects"),
    text=_effects_text,
    figure=lambda at, frame: plots.figure_artifact_effects(frame, at.theme),
    below=lambda at, frame: html.Div(_EFFECTS_NOTE, className="reading"),
    label="Effect sizes; also in the CSV file",
    about=("dataset",),
    help=HELP["artifact_effects"],
)


def _tells_text(at: At, frame: pd.DataFrame) -> Any:
    """Say how to read the cells."""
    text = (
        "Orange: larger on that method's fakes than on all others; purple: smaller. Bold: "
        f"{frame.attrs['ci']:.0%} interval leaves 0.5 out. Point at a cell for the definition."
    )
    return html.Div(text, className="reading")


TELLS = Card(
    id="tells",
    title="Which measurement tells which method?",
    uses=(),
    call=lambda at: Call("tells", at.whole("artifacts")),
    figure=lambda at, frame: plots.figure_tells(frame, at.theme),
    below=_tells_text,
    label="Heatmap of measurements and methods",
    about=(),
    help=HELP["tells"],
)

NO_IMAGES = Card(
    id="no-artifacts",
    title="Real against fake",
    uses=(),
    body=_measured,
    help=HELP["artifact_effects"],
)


# --- Units --------------------------------------------------------------------------------------

_UNITS = "Which units go along with it?"


def _correlations_call(at: At) -> Call:
    return Call("correlations", at.table("responses"))


def _heatmap(at: At, frame: pd.DataFrame) -> dict[str, Any]:
    unit = _unit(at) if not _wrong_unit(at) else None
    return plots.figure_correlations(frame, at.theme, unit=unit)


def _correlations(at: At) -> Any:
    """Show units and measurements; or say that there is nothing to relate."""
    frame = _correlations_call(at).frame()
    if not len(frame):
        said = (
            "No images were measured for this report, so units are not related to measurements; "
            "only their responses to doses are known."
        )
        return html.Div(said, className="reading")
    figure = graph(CORRELATIONS.id, _heatmap(at, frame), 320, "Units and measurements")
    return [figure, html.Div(_correlations_text(frame), className="reading")]


def _correlations_text(frame: pd.DataFrame) -> list[Any]:
    """Say which units are shown and what was left out."""
    about, total = frame.attrs, frame["unit"].nunique()
    which = "all" if total <= MOST_COLUMNS else f"{MOST_COLUMNS} of"
    first = (
        f"Layer {about['layer']}: {which} {total} units, universal ones (bold) first, then by "
        f"their strongest correlation. Dots: q ≤ {about['alpha']:g}. A click on a cell chooses "
        "its unit below."
    )
    left_out = (f"{dataset}: {reason}" for dataset, reason in about["reasons"].items())
    return [html.Div(first), *map(html.Div, left_out)]


CORRELATIONS = Card(
    id="responses",
    title=_UNITS,
    uses=("detector", "unit"),
    call=_correlations_call,
    figure=_heatmap,
    body=_correlations,
    help=HELP["responses"],
)

NO_RESPONSES = Card(id="no-responses", title=_UNITS, body=_units, help=HELP["responses"])


# --- Doses --------------------------------------------------------------------------------------


def _wrong_unit(at: At) -> str:
    """Return what is wrong with the unit in the address."""
    try:
        _unit(at)
    except ProbeError as error:
        return str(error)
    return ""


def _search(id: dict[str, str], at: At) -> Any:
    """Place the choice of a unit, of which there may be thousands."""
    units = [str(unit) for unit in _units(at)]
    return dmc.Select(
        id=id,
        label="Unit",
        data=units,
        value=at.chosen.unit or units[0],
        allowDeselect=False,
        searchable=True,
        limit=SUGGESTED,
        w=120,
    )


ARTIFACT = Control(
    "artifact", "Artifact", lambda at: {one: one for one in _artifacts(at)}, width=200, head=True
)
UNIT = Control(
    "unit", "Unit", lambda at: {str(one): str(one) for one in _units(at)}, make=_search, head=True
)


def _doses_head(at: At) -> Any:
    wrong = html.Span(_wrong_unit(at), className="title-note")
    return dmc.Title(["Turning up an artifact", wrong], order=2)


DOSES_HEAD = Card(
    id="doses-head",
    uses=("detector", "unit"),
    body=_doses_head,
    controls=(ARTIFACT, UNIT),
    height=30,
    is_framed=False,
)

DOSES = Card(
    id="doses",
    title="Dose and logit",
    uses=("detector", "artifact"),
    call=lambda at: Call("doses", at.table("responses"), artifact=_artifact(at)),
    figure=lambda at, frame: plots.figure_doses(frame, at.theme),
    label="Change of the fake logit by dose",
    height=340,
    about=("detector", "artifact"),
    help=HELP["dose"],
)


def _unit_doses_call(at: At) -> Call:
    return Call("doses", at.table("responses"), artifact=_artifact(at), unit=_unit(at))


def _no_intervals(at: At, frame: pd.DataFrame) -> Any:
    """Say why a dataset has no interval."""
    reasons = frame.attrs["reasons"].items()
    said = [html.Div(f"No interval for {dataset}: {reason}") for dataset, reason in reasons]
    return html.Div(said, className="reading")


UNIT_DOSES = Card(
    id="unit-responses",
    title="Dose and unit",
    uses=("detector", "artifact", "unit"),
    call=_unit_doses_call,
    figure=lambda at, frame: plots.figure_doses(frame, at.theme),
    below=_no_intervals,
    label="Change of the unit by dose",
    height=340,
    about=("detector", "artifact", "unit"),
    help=HELP["dose"],
)


def _no_doses(at: At) -> Any:
    """Say why there is no dose-response, and what there is in its place."""
    text = (
        "Only the embedded lab can render the same face with more or less of an artifact, and "
        "this report holds no such rendering. The correlations above are what is known of these "
        "units; they do not show causes."
    )
    title = html.Div("No doses were turned", className="message-title")
    return html.Div(
        [title, html.Div(text, className="message-text")], className="message", role="status"
    )


NO_DOSES = Card(id="no-doses", title="Dose and response", body=_no_doses, help=HELP["dose"])


# --- Answers ------------------------------------------------------------------------------------


def _answers(at: At, frame: pd.DataFrame) -> Any:
    """List what each universal unit responds to, and others as far as there is room."""
    n_universal = int(frame["universal"].sum())
    shown = frame.head(max(MOST_ANSWERS, min(n_universal, MOST_UNIVERSAL)))
    head = ["unit", "responds to", "known by", "strength", "q", "correlates most with", "ρ", "q"]
    body = [_answer_row(one) for one in shown.to_dict("records")]
    return html.Div(
        [
            html.Div(_answers_sentence(frame), className="sentence"),
            figures_table(head, body, numeric_from=3),
            html.Div(_answers_note(frame, len(shown)), className="reading"),
        ]
    )


def _answer_row(one: dict[Any, Any]) -> list[Any]:
    kind, tag = one["answer_kind"], html.Span("universal", className="tag")
    strength = signed_text(one["answer_effect"], 2)
    scale = {"dose": " SD", "correlation": " ρ"}.get(kind, "")
    return [
        [str(one["unit"]), tag] if one["universal"] else one["unit"],
        html.B(one["answer"]) if kind else html.Span(one["answer"], className="muted"),
        {"dose": "dose (cause)", "correlation": "correlation"}.get(kind, "—"),
        f"{strength}{scale}" if kind else "—",
        level_text(one["answer_q"]) if kind else "—",
        html.Span(one["strongest"] or "—", className="muted"),
        number_text(one["strongest_rho"]),
        level_text(one["strongest_q"]),
    ]


def _answers_sentence(frame: pd.DataFrame) -> list[Any]:
    universal = frame[frame["universal"]]
    if not len(universal):
        return ["No unit of this detector is universal by the test; these are its other units."]
    found = int((universal["answer_kind"] != "").sum())
    return [
        html.B(f"{found} of {len(universal)}"),
        f" universal units of layer {frame.attrs['layer']} respond to something that was measured "
        "or dosed.",
    ]


def _answers_note(frame: pd.DataFrame, listed: int) -> str:
    text = "Strength: response at full dose in standard deviations of the unit, or ρ."
    if not frame.attrs["has_doses"]:
        text += " No doses were turned, so every answer is a correlation."
    if listed < len(frame):
        text += f" {listed} units are listed; the CSV file holds all {len(frame)}."
    return text


ANSWERS = Card(
    id="answers",
    title="What does each universal unit respond to?",
    call=_answers_call,
    text=_answers,
    help=HELP["answers"],
)


def _elsewhere(at: At) -> Any:
    """Say where the study's own analysis of artifacts belongs."""
    return html.Div(
        [
            html.B("Not here. "),
            "The study's Grad-CAM heatmaps and their SSIM between variants are attributions, not "
            "measurements of the image; they are on the page ",
            jump("Attribution", "/attribution"),
            ".",
        ],
        className="notice",
        role="note",
    )


ELSEWHERE = Card(id="elsewhere", uses=(), body=_elsewhere, height=46, is_framed=False)


# --- The page -----------------------------------------------------------------------------------


def _shown(at: At) -> list[Card | Group]:
    """Say once what is missing: the images, or the units, or their doses."""
    units, rest = _unit_cards(at)
    if not _options(at):
        return [NO_IMAGES, units, *rest, ELSEWHERE]
    images = Group((SPECTRA, BALANCE), "columns wide-columns")
    return [images, EFFECTS, Group((TELLS, units)), *rest, ELSEWHERE]


def _unit_cards(at: At) -> tuple[Card, list[Card | Group]]:
    try:
        doses = Group((DOSES, UNIT_DOSES)) if _artifacts(at) else NO_DOSES
    except ProbeError:
        return NO_RESPONSES, []
    return CORRELATIONS, [DOSES_HEAD, doses, ANSWERS]


PAGE = Page(
    path="/artifacts",
    title="Artifacts",
    question="What do the forgeries leave in the image, and which units respond to it?",
    controls=(DETECTOR, DATASET),
    needs=_needs,
    shown=_shown,
    items=(
        *(SPECTRA, BALANCE, EFFECTS, TELLS, NO_IMAGES),
        *(CORRELATIONS, NO_RESPONSES),
        *(DOSES_HEAD, DOSES, UNIT_DOSES, NO_DOSES, ANSWERS, ELSEWHERE),
    ),
)
