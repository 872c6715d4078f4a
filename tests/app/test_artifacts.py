"""The Artifacts page: tables and figures against the raw tables, and what its cards answer."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from flask.testing import FlaskClient
from plotly.utils import PlotlyJSONEncoder

from app.card import At, declared, part, render, script
from app.pages import CARDS
from app.pages import artifacts as page
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.artifacts.report import ArtifactReport
from probe.artifacts.responses import ResponseReport, answered
from probe.errors import ProbeError, UnknownNameError
from probe.plots import responses as responding
from probe.plots.theme import DARK, LIGHT, Theme
from probe.tables import open_table
from tests.app.calling import exported, said
from tests.app.conftest import client_of
from tests.app.drawing import ARTIFACTS, COVARIATES, FEW, MEASUREMENTS
from tests.app.making import DATASETS, DETECTORS, LAYER, UNITS, MadeRun

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK])
LABEL, NO_DOSES = DETECTORS
UNIVERSAL = [0, 3, 6, 9]
FORGED = ["../../../../etc/passwd", "%00", "-1", "a" * 5000, "<script>"]
OF_IMAGES = ("spectra", "balance", "artifact-effects")
OF_UNITS = ("responses", "doses", "unit-responses", "answers")


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture
def report(made: MadeRun) -> ArtifactReport:
    return ArtifactReport.open(made.folder.path("artifacts"))


@pytest.fixture
def responses(made: MadeRun) -> ResponseReport:
    return ResponseReport.open(made.folder.path("responses", LABEL))


def shown(run: Run, card: str, search: str = "", scheme: str = "light") -> str:
    """What a card shows for an address, as text."""
    found = render(CARDS[card], run, {"search": search, "scheme": scheme})
    return json.dumps(found, cls=PlotlyJSONEncoder, ensure_ascii=False)


def at_of(run: Run, **chosen: str) -> At:
    return At(run, Selection(**chosen))


def columns_of(control: str) -> str:
    return "" if control == "none" else f"_{control}"


# --- Tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", DATASETS)
def test_effects_are_the_tables_the_largest_first(
    made: MadeRun, report: ArtifactReport, dataset: str
) -> None:
    frame = plots.artifact_effects(report, dataset)
    table = open_table(made.folder.path("artifacts")).sel(dataset=dataset)
    assert sorted(frame["measurement"]) == sorted(MEASUREMENTS)
    for one in frame.to_dict("records"):
        for control in frame.attrs["controls"]:
            at = table.sel(control=control, measurement=one["measurement"])
            for name in ("effect", "low", "q"):
                value = one[name + columns_of(control)]
                assert np.array_equal(value, float(at[name]), equal_nan=True), (control, name)
    sizes = np.abs(frame["effect"])
    there = sizes[np.isfinite(sizes)]
    assert list(there) == sorted(there, reverse=True)
    # What is not defined comes last.
    assert np.isfinite(sizes[: len(there)]).all()
    first = frame["measurement"][0]
    assert frame.attrs["measurements"][first][2] == f"source of {first}"


def test_effects_of_all_datasets_are_in_the_order_of_measurements(report: ArtifactReport) -> None:
    frame = plots.artifact_effects(report)
    assert list(frame["measurement"]) == list(MEASUREMENTS) * len(DATASETS)
    assert list(frame["dataset"].unique()) == list(DATASETS)


def test_kept_is_what_every_control_leaves(report: ArtifactReport) -> None:
    frame = plots.artifact_effects(report, DATASETS[0])
    controls = [columns_of(one) for one in frame.attrs["controls"]]
    for one in frame.to_dict("records"):
        assert one["kept"] == all(one[f"q{end}"] <= 0.05 for end in controls)
    assert 0 < frame["kept"].sum() < len(frame)
    assert not plots.artifact_effects(report, FEW)["kept"].iloc[-1]


def test_spectra_are_those_of_the_table(made: MadeRun, report: ArtifactReport) -> None:
    table = open_table(made.folder.path("artifacts"))
    for dataset in DATASETS:
        frame = plots.spectra(report, dataset)
        assert set(frame["dataset"]) == {dataset}
        for label in (0, 1):
            at = table.sel(dataset=dataset, label=label)
            assert list(frame["power"][frame["label"] == label]) == list(at["power"].values)
        assert frame["power_low"].notna().any() == (dataset != FEW)
    assert list(plots.spectra(report)["dataset"].unique()) == list(DATASETS)
    with pytest.raises(UnknownNameError, match="Did you mean 'alpha'"):
        plots.spectra(report, "alpa")


def test_tells_is_the_table(made: MadeRun, report: ArtifactReport) -> None:
    table = open_table(made.folder.path("artifacts"))["tells"]
    frame = plots.tells(report)
    assert len(frame) == table.size
    for one in frame.to_dict("records"):
        at = table.sel({"method": one["method"], "measurement": one["measurement"]})
        assert one["tells"] == float(at)
        assert one["clear"] == (one["tells_low"] > 0.5 or one["tells_high"] < 0.5)


def test_balance_marks_what_tells_fakes_by_itself(run: Run, report: ArtifactReport) -> None:
    frame = plots.balance(report, DATASETS[0])
    assert tuple(frame["covariate"]) == COVARIATES
    assert list(frame["unbalanced"]) == [True, False, False]
    text = shown(run, "balance")
    assert "codec" in text and "alone tells fake from real" in text and "forgery mask" in text
    assert not plots.balance(report, FEW)["unbalanced"].any()
    few = shown(run, "balance", f"?dataset={FEW}")
    assert "cannot be said" in few and "an interval takes 5" in few and "no interval" in few
    assert "No covariate tells" in shown(run, "balance", "?dataset=beta")


def test_several_covariates_that_tell_and_one_that_is_unknown(own: MadeRun) -> None:
    path = own.folder.path("artifacts")
    data = ArtifactReport.open(path).data.load()
    data["imbalance_low"][0, 1] = 0.6
    data["imbalance"][0, 2] = np.nan
    ArtifactReport(data).save(path)
    text = shown(Run(own.folder), "balance")
    assert "codec, size" in text and "each tell" in text and "Unknown" in text


def test_units_come_universal_first_then_by_their_strongest_correlation(
    responses: ResponseReport,
) -> None:
    frame, data = plots.correlations(responses), responses.data
    assert frame.attrs["layer"] == LAYER and len(frame) == UNITS * len(MEASUREMENTS)
    units = list(frame["unit"].unique())
    strongest = {int(u): float(np.abs(data["rho"].sel(unit=u)).max()) for u in data["unit"].values}
    keys = [(int(u) not in UNIVERSAL, -strongest[int(u)]) for u in units]
    assert keys == sorted(keys) and set(units) == set(range(UNITS))
    for one in frame.to_dict("records"):
        at = data.sel(unit=one["unit"], measurement=one["measurement"])
        assert (one["rho"], one["q"]) == (float(at["rho"]), float(at["q"]))
        assert one["clear"] == (one["q"] <= 0.05)
        assert one["universal"] == (one["unit"] in UNIVERSAL)


def test_a_wide_layer_shows_as_many_units_as_there_is_room_for(
    run: Run, responses: ResponseReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responding, "MOST_COLUMNS", 5)
    monkeypatch.setattr(page, "MOST_COLUMNS", 5)
    figure = plots.figure_correlations(plots.correlations(responses))
    assert np.shape(figure["data"][0]["z"]) == (len(MEASUREMENTS), 5)
    named = [text.strip("</b>") for text in figure["layout"]["xaxis"]["ticktext"]]
    assert set(UNIVERSAL) < set(map(int, named))
    assert f"5 of {UNITS} units" in shown(run, "responses")


def test_doses_are_those_of_datasets_that_have_the_artifact(responses: ResponseReport) -> None:
    for artifact in ARTIFACTS:
        for unit in (None, 7):
            frame = plots.doses(responses, artifact, unit)
            name = "logit_response" if unit is None else "unit_response"
            at = responses.data[name].sel(artifact=artifact)
            at = at if unit is None else at.sel(unit=unit)
            has = [d for d in DATASETS if np.isfinite(at.sel(dataset=d)).all()]
            assert list(frame["dataset"].unique()) == has
            for dataset in has:
                values = frame[name][frame["dataset"] == dataset]
                assert list(values) == list(at.sel(dataset=dataset).values)
    assert set(plots.doses(responses, ARTIFACTS[-1])["dataset"]) == set(DATASETS[1:])
    assert list(plots.doses(responses)["artifact"].unique()) == list(ARTIFACTS)
    frame = plots.doses(responses, ARTIFACTS[0])
    assert frame.attrs["reasons"] == {FEW: "3 identities; an interval takes 5"}
    with pytest.raises(UnknownNameError, match="Did you mean 'blending'"):
        plots.doses(responses, "blendin")
    with pytest.raises(ProbeError, match="Unit 99 was given"):
        plots.doses(responses, ARTIFACTS[0], 99)


def test_effects_of_doses_are_the_table(responses: ResponseReport) -> None:
    for one in plots.dose_effects(responses).to_dict("records"):
        at = responses.data.sel(unit=one["unit"], artifact=one["artifact"])
        assert one["effect"] == float(at["effect"])
        assert one["clear"] == (float(at["effect_q"]) <= 0.05)


def test_without_the_lab_there_are_no_doses(run: Run) -> None:
    assert "No doses were turned" in shown(run, "no-doses", f"?detector={NO_DOSES}")
    text = shown(run, "answers", f"?detector={NO_DOSES}")
    assert "every answer is a correlation" in text and "dose (cause)" not in text
    assert "No artifact was turned up" in shown(run, "doses", f"?detector={NO_DOSES}")


def test_each_unit_has_its_answer(run: Run, responses: ResponseReport) -> None:
    frame = plots.answers(responses)
    assert list(frame["unit"][:4]) == UNIVERSAL and len(frame) == UNITS
    for one in frame.to_dict("records"):
        answer = responses.answer(one["unit"])
        assert (one["answer"], one["answer_kind"]) == (answer.name, answer.kind)
        rho = responses.data["rho"].sel(unit=one["unit"])
        best = max(MEASUREMENTS, key=lambda name: abs(float(rho.sel(measurement=name))))
        assert one["strongest"] == best
        assert one["strongest_rho"] == float(rho.sel(measurement=best))
    found = sum(responses.answer(unit).kind != "" for unit in UNIVERSAL)
    assert f"{found} of {len(UNIVERSAL)}" in shown(run, "answers")


def test_what_the_first_unit_responds_to_is_shown_first(
    run: Run, responses: ResponseReport
) -> None:
    answer = responses.answer(UNIVERSAL[0])
    wanted = answer.name if answer.kind == "dose" else ARTIFACTS[0]
    assert f"dose of {wanted}" in shown(run, "doses")
    assert "dose of blending" in shown(run, "doses", "?artifact=blending")
    control = next(one for one in page.DOSES_HEAD.controls if one.field == "artifact")
    options = list(control.options(at_of(run)))
    assert options[0] == wanted and set(options) == set(ARTIFACTS)
    assert control.options(at_of(run, detector=NO_DOSES)) == {}


def changed(run: MadeRun, **attrs: Any) -> Run:
    """The run with other responses of its first detector."""
    path = run.folder.path("responses", LABEL)
    data = ResponseReport.open(path).data
    drop = attrs.pop("drop", [])
    data = data.drop_vars(drop).assign_attrs(attrs)
    ResponseReport(answered(data)).save(path)
    return Run(run.folder)


@pytest.mark.parametrize(("universal", "listed"), [(0, 5), (2, 5), (9, 7), (6, 6)])
def test_universal_units_are_listed_before_others_have_room(
    own: MadeRun, monkeypatch: pytest.MonkeyPatch, universal: int, listed: int
) -> None:
    monkeypatch.setattr(page, "MOST_ANSWERS", 5)
    monkeypatch.setattr(page, "MOST_UNIVERSAL", 7)
    text = shown(changed(own, universal=list(range(universal))), "answers")
    assert text.count('"type": "TableTr"') == listed + 1
    assert text.count('"universal"') == min(universal, listed)
    assert f"{listed} units are listed; the CSV file holds all {UNITS}" in text


def test_without_universal_units_the_others_are_listed(own: MadeRun) -> None:
    text = shown(changed(own, universal=[]), "answers")
    assert text.count('"type": "TableTr"') == UNITS + 1
    assert "No unit of this detector is universal" in text


def test_doses_without_correlations(own: MadeRun) -> None:
    run = changed(own, drop=["rho", "p", "p_max", "q", "measurement"])
    report = ResponseReport.open(own.folder.path("responses", LABEL))
    assert not len(plots.correlations(report))
    assert set(plots.answers(report)["strongest"]) == {""}
    text = shown(run, "responses")
    assert "No images were measured" in text and "Graph" not in text
    answer = client_of(own.root).get("/export/responses.pdf")
    assert answer.status_code >= 400 and "compute them with" in answer.text


# --- Figures ------------------------------------------------------------------------------------


def drawn(figure: dict[str, Any]) -> go.Figure:
    """The figure, all of whose properties plotly checks."""
    return go.Figure(figure)


@THEMES
def test_effects_are_filled_where_significant(report: ArtifactReport, theme: Theme) -> None:
    frame = plots.artifact_effects(report, DATASETS[0])
    figure = drawn(plots.figure_artifact_effects(frame, theme))
    for trace, control in zip(figure.data, frame.attrs["controls"], strict=True):
        assert list(trace.x) == list(frame[f"effect{columns_of(control)}"])
        filled = [not symbol.endswith("open") for symbol in trace.marker.symbol]
        assert filled == list(frame[f"q{columns_of(control)}"] <= 0.05)
        used = int(report.data["n_used"].sel(control=control, dataset=DATASETS[0]))
        assert f"({used} images)" in trace.name
        for name, hover in zip(frame["measurement"], trace.hovertext, strict=True):
            for text in frame.attrs["measurements"][name]:
                assert text in hover
    bold = ["<b>" in text for text in figure.layout.yaxis.ticktext]
    assert bold == list(frame["kept"])


def test_what_is_not_defined_is_said_on_its_row(report: ArtifactReport) -> None:
    frame = plots.artifact_effects(report, FEW)
    notes = drawn(plots.figure_artifact_effects(frame)).layout.annotations
    assert [note.y for note in notes] == [len(MEASUREMENTS) - 1]
    assert "not defined" in notes[0].text


@THEMES
def test_both_panels_of_spectra_hold_the_same_curves(report: ArtifactReport, theme: Theme) -> None:
    frame = plots.spectra(report, DATASETS[0])
    figure = drawn(plots.figure_spectra(frame, theme))
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.name]
    above, below = lines[:2], lines[2:]
    mean = [frame["power"][frame["label"] == label].to_numpy() for label in (0, 1)]
    for label in (0, 1):
        assert np.allclose(above[label].y, mean[label])
        assert np.allclose(below[label].y, mean[label] - mean[0])
    assert len({trace.line.dash for trace in above}) == 2


def test_no_band_is_drawn_where_there_is_none(run: Run, report: ArtifactReport) -> None:
    for dataset, length in ((FEW, 0), (DATASETS[0], 48)):
        figure = drawn(plots.figure_spectra(plots.spectra(report, dataset)))
        bands = [trace for trace in figure.data if trace.fill == "toself"]
        assert bands and all(len(trace.x) == length for trace in bands)
    assert "No bands: fewer than five clusters" in shown(run, "spectra", f"?dataset={FEW}")
    assert "95% intervals" in shown(run, "spectra")


@THEMES
def test_grids_hold_every_pair(
    report: ArtifactReport, responses: ResponseReport, theme: Theme
) -> None:
    table = report.data["tells"].transpose("measurement", "method")
    frame = plots.tells(report)
    figure = drawn(plots.figure_tells(frame, theme))
    assert np.allclose(figure.data[0].z, 2 * table.values - 1)
    assert sum("<b>" in a.text for a in figure.layout.annotations) == frame["clear"].sum()
    for r, name in enumerate(MEASUREMENTS):
        assert all(f"about of {name}" in hover for hover in figure.data[0].text[r])
    whole = plots.correlations(responses)
    units = list(whole["unit"].unique())
    figure = drawn(plots.figure_correlations(whole, theme, unit=units[2]))
    chosen = {"unit": units, "measurement": list(MEASUREMENTS)}
    data = responses.data[["rho", "q"]].sel(chosen).transpose("measurement", "unit")
    assert np.array_equal(figure.data[0].z, data["rho"].values)
    marks = {(a.y, a.x) for a in figure.layout.annotations}
    assert marks == {(int(r), int(c)) for r, c in np.argwhere(data["q"].values <= 0.05)}
    assert [(s.x0 + s.x1) / 2 for s in figure.layout.shapes] == [2]
    # A click on a cell chooses its unit.
    assert [list(row) for row in figure.data[0].customdata] == [
        [f"unit={unit}" for unit in units]
    ] * len(MEASUREMENTS)


@THEMES
def test_a_dataset_keeps_its_color_whatever_else_has_the_artifact(
    responses: ResponseReport, theme: Theme
) -> None:
    looks = []
    for artifact in ARTIFACTS:
        figure = drawn(plots.figure_doses(plots.doses(responses, artifact, 3), theme))
        beta = next(trace for trace in figure.data if trace.name == "beta")
        looks.append((beta.line.color, beta.marker.symbol))
    assert len(set(looks)) == 1 and looks[0][0] == theme.series[1]


def test_print_has_the_numbers_of_the_page(
    report: ArtifactReport, responses: ResponseReport
) -> None:
    axes = plots.plot_artifact_effects(report, DATASETS[0]).axes[0]
    frame = plots.artifact_effects(report, DATASETS[0])
    assert [one.get_text() for one in axes.get_yticklabels()] == list(frame["measurement"])
    axes = plots.plot_correlations(responses).axes[0]
    units = [one.get_text().removeprefix("★ ") for one in axes.get_yticklabels()]
    assert list(map(int, units)) == list(plots.correlations(responses)["unit"].unique())
    assert len(plots.plot_doses(responses).axes) >= len(ARTIFACTS)
    assert plots.plot_doses(responses, ARTIFACTS[0], 3).axes[0].get_ylabel().endswith("3 (SD)")


def test_figures_that_select_nothing_carry_no_query(run: Run) -> None:
    for card in (*OF_IMAGES, "tells", "doses", "unit-responses"):
        assert "customdata" not in shown(run, card).replace("unit=", "")
    assert "unit=3" in shown(run, "responses")


def test_markup_in_names_is_text(report: ArtifactReport, responses: ResponseReport) -> None:
    name = "<img src=x onerror=alert(1)>"
    data = report.data.assign_coords(
        measurement=[name, *MEASUREMENTS[1:]], method=[name, *DATASETS[1:]]
    )
    data = data.assign(
        {
            f"measurement_{what}": ("measurement", [name] * len(MEASUREMENTS))
            for what in ("about", "unit", "source")
        }
    )
    hostile = ArtifactReport(data)
    other = ResponseReport(
        responses.data.assign_coords(
            measurement=[name, *MEASUREMENTS[1:]],
            artifact=[name, *ARTIFACTS[1:]],
            dataset=[name, *DATASETS[1:]],
        )
    )
    figures = [
        plots.figure_artifact_effects(plots.artifact_effects(hostile, DATASETS[0])),
        plots.figure_tells(plots.tells(hostile)),
        plots.figure_doses(plots.doses(other, name)),
        plots.figure_correlations(plots.correlations(other)),
    ]
    for figure in figures:
        text = json.dumps(figure)
        assert "<img" not in text and "\\u003cimg" not in text.lower() and "&lt;img" in text


def test_the_count_of_effects_is_that_of_the_table(own: MadeRun, run: Run) -> None:
    path = own.folder.path("artifacts")
    frame = plots.artifact_effects(run.artifacts, DATASETS[0])
    text = shown(run, "artifact-effects")
    assert f"{int(frame['kept'].sum())} of {len(MEASUREMENTS)}" in text
    assert f"{int((frame['q'] <= 0.05).sum())} without control" in text
    data = ArtifactReport.open(path).data
    ArtifactReport(data.assign(q=data["q"] * np.nan)).save(path)
    assert "Nothing was tested" in shown(Run(own.folder), "artifact-effects")


# --- The page -----------------------------------------------------------------------------------


def asked(client: FlaskClient, card: str, search: str) -> str:
    """What a browser gets for a card."""
    output = ".".join((_id(part("card", ["MATCH"])), "children"))
    style = ".".join((_id(part("card", ["MATCH"])), "style"))
    key = {"id": part("key", card), "property": "data"}
    body = {
        "output": f"..{output}...{style}..",
        "outputs": [{"id": part("card", card), "property": one} for one in ("children", "style")],
        "inputs": [{**key, "value": {"search": search, "scheme": "light"}}],
        "changedPropIds": [f"{_id(part('key', card))}.data"],
    }
    answer = client.post("/_dash-update-component", json=body)
    assert answer.status_code == 200, answer.text[:500]
    return json.dumps(answer.get_json(), ensure_ascii=False)


def _id(one: dict[str, Any]) -> str:
    return json.dumps(one, sort_keys=True, separators=(",", ":"))


def test_the_page_is_laid_out(client: FlaskClient) -> None:
    text = said(client, "/artifacts")
    for title in (
        "Spectra",
        "What else differs?",
        "real against fake",
        "which method",
        "go along with it",
        "Dose and logit",
        "each universal unit respond",
    ):
        assert title in text
    assert "Not computed yet" not in text
    text = asked(client, "elsewhere", "")
    assert "Grad-CAM" in text and "/attribution" in text
    assert "Turning up an artifact" in asked(client, "doses-head", "")


def test_a_detector_without_doses_says_so(client: FlaskClient) -> None:
    text = said(client, "/artifacts", f"?detector={quote(NO_DOSES)}")
    assert "Dose and response" in text and "Dose and unit" not in text
    assert '"disabled": true' in text


def test_what_is_missing_is_said_once(own: MadeRun) -> None:
    client = client_of(own.root)
    shutil.rmtree(own.folder.path("artifacts"))
    text = said(client, "/artifacts")
    assert "Real against fake" in text and "go along with it" in text
    assert "Spectra" not in text and "which method" not in text
    assert "Not computed yet" in asked(client, "no-artifacts", "")
    shutil.rmtree(own.folder.path("responses", LABEL))
    text = said(client, "/artifacts")
    assert "go along with it" in text and "each universal unit" not in text
    assert "Not computed yet" in asked(client, "no-responses", "")
    # Another detector has its own.
    assert "each universal unit" in said(client, "/artifacts", f"?detector={quote(NO_DOSES)}")


@pytest.mark.parametrize("card", OF_IMAGES)
def test_every_card_of_the_images_follows_the_dataset(client: FlaskClient, card: str) -> None:
    answers = [asked(client, card, f"?dataset={dataset}") for dataset in DATASETS]
    assert len(set(answers)) == len(DATASETS) and "dataset" in CARDS[card].fields
    assert "is not known" in asked(client, card, "?dataset=../../etc")


@pytest.mark.parametrize("given", FORGED)
@pytest.mark.parametrize("name", ["detector", "dataset", "artifact", "unit"])
def test_a_forged_selection_is_answered_with_a_message(
    client: FlaskClient, name: str, given: str
) -> None:
    search = f"?{name}={quote(given)}"
    text = said(client, "/artifacts", search)
    for card in (*OF_IMAGES, *OF_UNITS, "doses-head"):
        text += asked(client, card, search)
    assert "root:" not in text and "Traceback" not in text
    assert any(w in text for w in ("is not known", "is not in this table", "characters"))


def test_the_address_is_in_the_controls(client: FlaskClient, run: Run) -> None:
    text = said(client, "/artifacts", "?artifact=blending&unit=9&dataset=beta")
    assert '"value": "blending"' in text and '"value": "9"' in text and '"value": "beta"' in text
    found = declared(page.PAGE, at_of(run))["controls"]
    assert (found["dataset"]["first"], found["unit"]["first"]) == ("alpha", "0")
    # Units of another detector are others.
    assert "unit" in found["detector"]["resets"] and not found["dataset"]["resets"]
    assert "unit" in page.UNIT_DOSES.fields and "unit" not in page.DOSES.fields


def test_what_is_shown_can_be_had_as_files(client: FlaskClient, made: MadeRun) -> None:
    spectra = exported(client, "spectra")
    assert len(spectra) == 2 * 24 and set(spectra["dataset"]) == {"alpha"}
    effects = exported(client, "artifact-effects")
    assert list(effects["rank"]) == list(range(1, len(MEASUREMENTS) + 1))
    wanted = ArtifactReport.open(made.folder.path("artifacts")).to_dataframe()
    assert set(effects.columns) == {*wanted.columns, "kept"}
    tells = exported(client, "tells")
    assert len(tells) == len(DATASETS) * len(MEASUREMENTS)
    found = exported(client, "responses")
    assert len(found) == UNITS * len(MEASUREMENTS)
    answers = exported(client, "answers")
    assert list(answers["unit"][answers["universal"]]) == UNIVERSAL
    doses = exported(client, "doses", f"?artifact={ARTIFACTS[1]}")
    assert set(doses["artifact"]) == {ARTIFACTS[1]} and set(doses["dataset"]) == set(DATASETS)
    unit = exported(client, "unit-responses", f"?artifact={ARTIFACTS[1]}&unit=3")
    assert set(unit["unit"]) == {3} and len(unit) == 5 * len(DATASETS)
    refused = client.get(f"/export/doses.csv?detector={quote(NO_DOSES)}")
    assert refused.status_code >= 400 and "No artifact was turned up" in refused.text


@pytest.mark.parametrize("card", [*OF_IMAGES, "tells", *OF_UNITS])
def test_a_script_makes_the_table_of_the_menu(
    client: FlaskClient, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, card: str
) -> None:
    chosen = {"dataset": "beta", "artifact": ARTIFACTS[1], "unit": "6"}
    code = script(run, CARDS[card], at_of(run, **chosen))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, card, "exec"), {})
    table = exported(client, card, Selection(**chosen).search)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{card}.csv"), table)
    assert (tmp_path / f"{card}.pdf").is_file() == (".pdf" in CARDS[card].suffixes)


def test_figures_for_print_are_served(client: FlaskClient) -> None:
    for card in ("spectra", "artifact-effects", "tells", "responses", "doses", "unit-responses"):
        answer = client.get(f"/export/{card}.pdf?dataset=beta&unit=3")
        assert answer.status_code == 200 and BytesIO(answer.data).read(4) == b"%PDF"


def test_a_table_that_figures_cannot_be_drawn_from_is_refused(own: MadeRun) -> None:
    path = own.folder.path("artifacts")
    ArtifactReport(ArtifactReport.open(path).data.drop_vars("power_gap")).save(path)
    client = client_of(own.root)
    assert client.get("/export/spectra.csv").status_code == 200
    answer = client.get("/export/spectra.pdf")
    assert answer.status_code >= 400 and "power_gap" in answer.text
