"""The Artifacts page: queries and figures against the tables, and what the page answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import ids
from app.components.artifacts import answers_table, balance_table, effects_text
from app.figures import (
    artifact_effects_figure,
    dose_figure,
    responses_figure,
    spectra_figure,
    tells_figure,
)
from app.queries import responses as responding
from app.queries.artifacts import (
    balance_view,
    effects_view,
    measured_datasets,
    spectra_view,
    tells_view,
)
from app.queries.responses import (
    answers_view,
    artifacts_of,
    doses_view,
    named_artifact,
    responding_units,
    responses_view,
)
from app.run import Run
from app.selection import Selection
from probe.artifacts.report import ArtifactReport
from probe.artifacts.responses import ResponseReport, answered
from probe.errors import UnknownNameError
from probe.plots.theme import LIGHT
from probe.tables import open_table
from tests.app.calling import call, exported, said
from tests.app.conftest import client_of
from tests.app.drawing import ARTIFACTS, COVARIATES, FEW, MEASUREMENTS
from tests.app.making import DATASETS, DETECTORS, LAYER, UNITS, MadeRun
from tests.app.test_separability import words

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark", None])
LABEL, NO_DOSES = DETECTORS
UNIVERSAL = [0, 3, 6, 9]
FORGED = ["../../../../etc/passwd", "%00", "-1", "a" * 5000, "<script>"]


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.mark.parametrize("dataset", DATASETS)
def test_effects_are_the_tables_the_largest_first(made: MadeRun, run: Run, dataset: str) -> None:
    view = effects_view(run, dataset)
    table = open_table(made.folder.path("artifacts")).sel(dataset=dataset)
    assert sorted(one.name for one in view.measurements) == sorted(MEASUREMENTS)
    for c, control in enumerate(view.controls):
        for m, measurement in enumerate(view.measurements):
            at = table.sel(control=control, measurement=measurement.name)
            for name in ("effect", "low", "q"):
                assert np.array_equal(getattr(view, name)[c, m], float(at[name]), equal_nan=True), (
                    control,
                    measurement,
                    name,
                )
    sizes = np.abs(view.effect[0])
    there = sizes[np.isfinite(sizes)]
    assert list(there) == sorted(there, reverse=True)
    # What is not defined comes last.
    assert np.isfinite(sizes[: len(there)]).all()
    assert view.measurements[0].source == f"source of {view.measurements[0].name}"


def test_kept_is_what_every_control_leaves(run: Run) -> None:
    view = effects_view(run, DATASETS[0])
    for m in range(len(MEASUREMENTS)):
        assert view.kept[m] == all(view.q[c, m] <= 0.05 for c in range(3))
    assert not effects_view(run, FEW).kept[-1]


def test_spectra_hold_reals_first(made: MadeRun, run: Run) -> None:
    table = open_table(made.folder.path("artifacts"))
    for dataset in DATASETS:
        view = spectra_view(run, dataset)
        for label in (0, 1):
            at = table.sel(dataset=dataset, label=label)
            assert list(view.mean[label]) == list(at["power"].values)
        assert view.has_band == (dataset != FEW)
    assert measured_datasets(run) == list(DATASETS)


def test_tells_has_measurements_in_rows_and_methods_in_columns(made: MadeRun, run: Run) -> None:
    view = tells_view(run)
    table = open_table(made.folder.path("artifacts"))["tells"]
    for r, one in enumerate(view.measurements):
        for c, method in enumerate(view.methods):
            at = table.sel({"method": method, "measurement": one.name})
            assert view.value[r, c] == float(at)


def test_balance_marks_what_tells_fakes_by_itself(run: Run) -> None:
    view = balance_view(run, DATASETS[0])
    assert view.covariates == COVARIATES and list(view.unbalanced) == [True, False, False]
    assert "codec" in words(balance_table(view)) and "forgery mask" in words(balance_table(view))
    few = balance_view(run, FEW)
    assert not few.unbalanced.any() and few.reason
    assert "cannot be said" in words(balance_table(few))
    both = replace(view, low=np.array([0.6, 0.6, 0.4]))
    assert "each tell" in words(balance_table(both))


def test_units_come_universal_first_then_by_their_strongest_correlation(
    made: MadeRun, run: Run
) -> None:
    view = responses_view(run, LABEL)
    assert view is not None and view.layer == LAYER and view.total == UNITS
    data = ResponseReport.open(made.folder.path("responses", LABEL)).data
    strongest = {int(u): float(np.abs(data["rho"].sel(unit=u)).max()) for u in data["unit"].values}
    keys = [(int(u) not in UNIVERSAL, -strongest[int(u)]) for u in view.unit]
    assert keys == sorted(keys) and set(map(int, view.unit)) == set(range(UNITS))
    for r, measurement in enumerate(view.measurements):
        for c, unit in enumerate(view.unit):
            at = data.sel(unit=unit, measurement=measurement)
            assert view.rho[r, c] == float(at["rho"]) and view.q[r, c] == float(at["q"])


def test_a_wide_layer_shows_as_many_units_as_there_is_room_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responding, "MOST_UNITS", 5)
    view = responses_view(run, LABEL)
    assert view is not None and len(view.unit) == 5 < view.total
    assert set(UNIVERSAL) < set(map(int, view.unit))


def test_doses_are_those_of_datasets_that_have_the_artifact(made: MadeRun, run: Run) -> None:
    data = ResponseReport.open(made.folder.path("responses", LABEL)).data
    for artifact in ARTIFACTS:
        for unit in (None, 7):
            view = doses_view(run, LABEL, artifact, unit)
            name = "logit_response" if unit is None else "unit_response"
            at = data[name].sel(artifact=artifact)
            at = at if unit is None else at.sel(unit=unit)
            has = [d for d in DATASETS if np.isfinite(at.sel(dataset=d)).all()]
            assert view.datasets == tuple(has)
            assert [DATASETS[i] for i in view.place] == has
            for i, dataset in enumerate(has):
                assert list(view.value[i]) == list(at.sel(dataset=dataset).values)
    assert doses_view(run, LABEL, ARTIFACTS[-1]).datasets == DATASETS[1:]
    assert doses_view(run, LABEL, ARTIFACTS[0]).reasons == (
        f"{FEW}: 3 identities; an interval takes 5",
    )
    with pytest.raises(UnknownNameError, match="Did you mean 'blending'"):
        doses_view(run, LABEL, "blendin")


def test_without_the_lab_there_are_no_doses(run: Run) -> None:
    assert artifacts_of(run, NO_DOSES) == [] and artifacts_of(run, LABEL) == list(ARTIFACTS)
    view = answers_view(run, NO_DOSES)
    assert not view.has_doses and all(row.kind != "dose" for row in view.rows)


def test_each_universal_unit_has_its_answer(made: MadeRun, run: Run) -> None:
    view = answers_view(run, LABEL)
    report = ResponseReport.open(made.folder.path("responses", LABEL))
    assert [row.unit for row in view.rows if row.universal] == UNIVERSAL
    assert [row.unit for row in view.rows[:4]] == UNIVERSAL and view.n_universal == 4
    for row in view.rows:
        answer = report.answer(row.unit)
        assert (row.answer, row.kind) == (answer.name, answer.kind)
        rho = report.data["rho"].sel(unit=row.unit)
        best = max(MEASUREMENTS, key=lambda name: abs(float(rho.sel(measurement=name))))
        assert row.beside == best and row.beside_rho == float(rho.sel(measurement=best))
    assert responding_units(run, LABEL)[:4] == UNIVERSAL


def test_what_the_first_unit_responds_to_is_shown_first(made: MadeRun, run: Run) -> None:
    answer = ResponseReport.open(made.folder.path("responses", LABEL)).answer(UNIVERSAL[0])
    wanted = answer.name if answer.kind == "dose" else ARTIFACTS[0]
    assert named_artifact(run, LABEL, Selection()) == wanted
    assert named_artifact(run, LABEL, Selection(artifact="blending")) == "blending"
    assert named_artifact(run, NO_DOSES, Selection()) == ""


@pytest.mark.parametrize(("universal", "listed"), [(0, 5), (2, 5), (9, 7), (6, 6)])
def test_universal_units_are_listed_before_others_have_room(
    own: MadeRun, monkeypatch: pytest.MonkeyPatch, universal: int, listed: int
) -> None:
    monkeypatch.setattr(responding, "MOST_ANSWERS", 5)
    monkeypatch.setattr(responding, "MOST_UNIVERSAL", 7)
    view = answers_view(changed(own, universal=list(range(universal))), LABEL)
    assert len(view.rows) == listed
    assert sum(row.universal for row in view.rows) == min(universal, listed)


def changed(run: MadeRun, **attrs: Any) -> Run:
    """The run with other responses of its first detector."""
    path = run.folder.path("responses", LABEL)
    data = ResponseReport.open(path).data
    drop = attrs.pop("drop", [])
    data = data.drop_vars(drop).assign_attrs(attrs)
    ResponseReport(answered(data)).save(path)
    return Run(run.folder)


def test_without_universal_units_the_others_are_listed(own: MadeRun) -> None:
    view = answers_view(changed(own, universal=[]), LABEL)
    assert len(view.rows) == UNITS and not view.n_universal
    assert "No unit of this detector is universal" in words(answers_table(view))


def test_doses_without_correlations(own: MadeRun) -> None:
    run = changed(own, drop=["rho", "p", "p_max", "q", "measurement"])
    assert responses_view(run, LABEL) is None
    assert all(row.beside == "" for row in answers_view(run, LABEL).rows)
    assert "No images were measured" in said(client_of(own.root), "/artifacts")


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


@SCHEMES
def test_effects_are_filled_where_significant(run: Run, scheme: str | None) -> None:
    view = effects_view(run, DATASETS[0])
    figure = artifact_effects_figure(view, scheme)
    assert [list(t.x) for t in figure.data] == view.effect.tolist()
    for i, trace in enumerate(figure.data):
        filled = [not symbol.endswith("open") for symbol in trace.marker.symbol]
        assert filled == list(view.significant[i])
        assert f"({int(view.n_used[i])} images)" in trace.name
        hovers = list(trace.customdata)
        for one, hover in zip(view.measurements, hovers, strict=True):
            assert one.about in hover and one.source in hover and one.unit in hover
    bold = ["<b>" in text for text in figure.layout.yaxis.ticktext]
    assert bold == list(view.kept)


def test_what_is_not_defined_is_said_on_its_row(run: Run) -> None:
    view = effects_view(run, FEW)
    notes = artifact_effects_figure(view).layout.annotations
    assert [note.y for note in notes] == [len(MEASUREMENTS) - 1]
    assert "not defined" in notes[0].text


@SCHEMES
def test_both_panels_of_spectra_hold_the_same_curves(run: Run, scheme: str | None) -> None:
    view = spectra_view(run, DATASETS[0])
    lines = [t for t in spectra_figure(view, scheme).data if t.mode == "lines" and t.name]
    above, below = lines[:2], lines[2:]
    for label in (0, 1):
        assert np.allclose(above[label].y, view.mean[label])
        assert np.allclose(below[label].y, view.mean[label] - view.mean[0])
    assert len({t.line.dash for t in above}) == 2


def test_no_band_is_drawn_where_there_is_none(run: Run) -> None:
    bands = [t for t in spectra_figure(spectra_view(run, FEW)).data if t.fill == "toself"]
    assert bands and all(len(t.x) == 0 for t in bands)
    bands = [t for t in spectra_figure(spectra_view(run, DATASETS[0])).data if t.fill == "toself"]
    assert all(len(t.x) == 48 for t in bands)


@SCHEMES
def test_grids_hold_every_pair(run: Run, scheme: str | None) -> None:
    tells = tells_view(run)
    figure = tells_figure(tells, scheme)
    assert np.allclose(figure.data[0].z, 2 * tells.value - 1)
    bold = sum("<b>" in a.text for a in figure.layout.annotations)
    assert bold == int(((tells.low > 0.5) | (tells.high < 0.5)).sum())
    view = responses_view(run, LABEL)
    assert view is not None
    figure = responses_figure(view, int(view.unit[2]), scheme)
    assert np.array_equal(figure.data[0].z, view.rho)
    marks = {(a.y, a.x) for a in figure.layout.annotations}
    assert marks == {(int(r), int(c)) for r, c in np.argwhere(view.q <= 0.05)}
    assert [(s.x0 + s.x1) / 2 for s in figure.layout.shapes] == [2]


@SCHEMES
def test_a_dataset_keeps_its_color_whatever_else_has_the_artifact(
    run: Run, scheme: str | None
) -> None:
    looks = []
    for artifact in ARTIFACTS:
        figure = dose_figure(doses_view(run, LABEL, artifact, 3), scheme)
        beta = traces(figure)["beta"]
        looks.append((beta.line.color, beta.marker.symbol))
    assert len(set(looks)) == 1
    if scheme != "dark":
        assert looks[0][0] == LIGHT.series[1]


def test_markup_in_names_is_text(run: Run) -> None:
    name = "<img src=x onerror=alert(1)>"
    effects = effects_view(run, DATASETS[0])
    one = replace(effects.measurements[0], name=name, about=name, source=name, unit=name)
    many = (one, *effects.measurements[1:])
    doses = doses_view(run, LABEL, ARTIFACTS[0])
    figures = [
        artifact_effects_figure(replace(effects, measurements=many)),
        tells_figure(replace(tells_view(run), measurements=many, methods=(name, *DATASETS[1:]))),
        dose_figure(replace(doses, artifact=name, datasets=(name, *DATASETS[1:]))),
    ]
    view = responses_view(run, LABEL)
    assert view is not None
    figures.append(responses_figure(replace(view, measurements=(name, *MEASUREMENTS[1:]))))
    for figure in figures:
        text = figure.to_json()
        assert "<img" not in text and "\\u003cimg" not in text.lower()


def test_the_count_of_effects_is_that_of_the_table(run: Run) -> None:
    view = effects_view(run, DATASETS[0])
    text = words(effects_text(view))
    assert f"{int(view.kept.sum())} of {len(MEASUREMENTS)}" in text
    assert "Nothing was tested" in words(
        effects_text(replace(view, q=np.full_like(view.q, np.nan)))
    )


def state(detector: str = LABEL, **more: Any) -> dict[str, Any]:
    return {
        f"{ids.ARTIFACTS_DETECTOR}.value": detector,
        f"{ids.ARTIFACTS_DATASET}.value": "alpha",
        f"{ids.ARTIFACT}.value": "upsampling",
        f"{ids.RESPONDER}.value": "3",
        **more,
    }


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
    assert "Grad-CAM" in text and "/attribution" in text
    assert "Not computed yet" not in text


def test_a_detector_without_doses_says_so(client: FlaskClient) -> None:
    text = said(client, "/artifacts", f"?detector={quote(NO_DOSES)}")
    assert "No doses were turned" in text and "every answer is a correlation" in text
    values = state(NO_DOSES) | {f"{ids.ARTIFACT}.value": None}
    assert call(client, f"{ids.LOGIT_DOSES}.figure", values)


@pytest.mark.parametrize(
    "output",
    [f"{ids.SPECTRA}.figure", f"{ids.BALANCE}.children", f"{ids.ARTIFACT_EFFECTS}.figure"],
)
def test_every_card_of_the_images_follows_the_dataset(client: FlaskClient, output: str) -> None:
    name = f"{ids.ARTIFACTS_DATASET}.value"
    answers = [json.dumps(call(client, output, state() | {name: d})) for d in DATASETS]
    assert len(set(answers)) == len(DATASETS)
    assert "is not known" in json.dumps(call(client, output, state() | {name: "../../etc"}))


@pytest.mark.parametrize("given", FORGED)
@pytest.mark.parametrize("name", ["detector", "dataset", "artifact", "unit"])
def test_a_forged_selection_is_answered_with_a_message(
    client: FlaskClient, name: str, given: str
) -> None:
    text = said(client, "/artifacts", f"?{name}={quote(given)}")
    if name == "unit" and len(given) < 200:
        values = state() | {f"{ids.RESPONDER}.value": given}
        text += json.dumps(call(client, f"{ids.RESPONSES}.figure", values))
        text += json.dumps(call(client, f"{ids.UNIT_DOSES}.figure", values))
    assert "root:" not in text and "Traceback" not in text
    assert any(w in text for w in ("is not known", "is not in this table", "characters"))


def followed(client: FlaskClient, output: str, what: str, values: dict[str, Any]) -> Any:
    return call(client, output, values, what)["response"]


def test_a_click_on_a_cell_chooses_its_unit(client: FlaskClient, run: Run) -> None:
    view = responses_view(run, LABEL)
    assert view is not None
    what = f"{ids.RESPONSES}.clickData"
    values = state() | {
        what: {"points": [{"x": 5, "y": 0}]},
        f"{ids.RESPONSES_URL}.search": "?dataset=beta",
    }
    found = followed(client, f"{ids.RESPONSES_URL}.search", what, values)
    unit = str(view.unit[5])
    wanted = Selection(dataset="beta", unit=unit)
    assert Selection.parse(found[ids.RESPONSES_URL]["search"]) == wanted
    assert found[ids.RESPONDER]["value"] == unit and found[ids.RESPONSES]["clickData"] is None


def test_the_address_sets_all_controls(client: FlaskClient) -> None:
    what = f"{ids.RESPONSES_URL}.search"
    found = followed(client, what, what, state() | {what: "?artifact=blending&unit=9"})
    assert found[ids.ARTIFACT]["value"] == "blending" and found[ids.RESPONDER]["value"] == "9"
    what = f"{ids.ARTIFACTS_URL}.search"
    found = followed(client, what, what, state() | {what: "?dataset=beta"})
    assert found[ids.ARTIFACTS_DATASET]["value"] == "beta" and ids.ARTIFACTS_BODY not in found


def test_another_dataset_goes_to_the_address_and_another_detector_is_laid_out(
    client: FlaskClient,
) -> None:
    what, url = f"{ids.ARTIFACTS_DATASET}.value", f"{ids.ARTIFACTS_URL}.search"
    found = followed(client, url, what, state() | {what: "gamma", url: "?unit=3"})
    chosen = Selection.parse(found[ids.ARTIFACTS_URL]["search"])
    assert chosen == Selection(dataset="gamma", unit="3") and ids.ARTIFACTS_BODY not in found
    what = f"{ids.ARTIFACTS_DETECTOR}.value"
    found = followed(client, url, what, state(NO_DOSES) | {url: "?unit=3"})
    # Units of another detector are others.
    assert Selection.parse(found[ids.ARTIFACTS_URL]["search"]) == Selection(detector=NO_DOSES)
    assert "No doses were turned" in json.dumps(found[ids.ARTIFACTS_BODY])


def test_what_is_shown_can_be_had_as_files(client: FlaskClient, made: MadeRun) -> None:
    spectra = exported(client, "spectra")
    assert len(spectra) == 2 * 24 and set(spectra["dataset"]) == {"alpha"}
    effects = exported(client, "artifact-effects")
    assert list(effects["rank"]) == list(range(1, len(MEASUREMENTS) + 1))
    wanted = ArtifactReport.open(made.folder.path("artifacts")).to_dataframe()
    assert set(effects.columns) == set(wanted.columns)
    tells = exported(client, "tells")
    assert len(tells) == len(DATASETS) * len(MEASUREMENTS)
    found = exported(client, "responses")
    assert len(found) == UNITS * len(MEASUREMENTS)
    answers = exported(client, "answers")
    assert list(answers["unit"][answers["universal"]]) == UNIVERSAL
