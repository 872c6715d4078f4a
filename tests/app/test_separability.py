"""The Separability page: tables and figures against the report, and what the page answers."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pandas as pd
import plotly.colors as pc
import plotly.graph_objects as go
import pytest
from flask.testing import FlaskClient

from app import card, ids
from app.card import At, part
from app.pages import CARDS, declared
from app.run import Run, first_layer, layer_names, named_layer
from app.selection import Selection
from probe import plots
from probe.errors import StoreError, UnknownNameError
from probe.plots.separability_layer import MOST, drawn_units
from probe.plots.style import contrast
from probe.plots.theme import DARK, LIGHT, Theme
from probe.run import MissingTableError
from probe.separability.report import SeparabilityReport, Similarity
from probe.tables import open_table
from tests.app.calling import call, exported, said
from tests.app.conftest import client_of
from tests.app.drawing import FEW, MEASURES
from tests.app.making import DATASETS, DETECTORS, LAYER, LAYERS, UNITS, MadeRun

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
LABEL = DETECTORS[0]
#: Cards that are of one layer.
OF_LAYER = (
    "separability-probes",
    "depth",
    "separability",
    "transfer",
    "unit-knowledge",
    "specific-to-methods",
    "similarity",
)


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture
def report(made: MadeRun) -> SeparabilityReport:
    return SeparabilityReport.open(made.folder.path("separability", LABEL))


def at(run: Run, **chosen: Any) -> At:
    return At(run, Selection(**chosen))


def shown(run: Run, name: str, search: str = "", scheme: str = "light") -> str:
    """What a card shows, as text."""
    found = card.render(CARDS[name], run, {"search": search, "scheme": scheme})
    return json.dumps(found, default=lambda c: c.to_plotly_json(), ensure_ascii=False)


def words(component: Any) -> str:
    return json.dumps(
        component.to_plotly_json(), default=lambda c: c.to_plotly_json(), ensure_ascii=False
    )


def figure(given: dict[str, Any]) -> Any:
    """A figure as plotly's own, checked."""
    return go.Figure(given)


def same(one: float, other: float) -> bool:
    return one == other or (np.isnan(one) and np.isnan(other))


# --- Tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_its_part_of_the_table(
    made: MadeRun, report: SeparabilityReport, layer: str
) -> None:
    frame = plots.layer_measures(report, layer)
    table = open_table(made.folder.path("separability", LABEL))
    assert frame.attrs["datasets"] == list(DATASETS) and len(frame) == 3 * len(MEASURES)
    for one in frame.to_dict("records"):
        there = table.sel(measure=one["measure"], layer=layer, dataset=one["dataset"])
        for name in ("value", "low", "high", "q"):
            assert same(one[name], float(there[name])), one
        assert one["reason"] == str(there["reason"].values)
    information = plots.layer_information(report, layer)
    assert set(information["measure"]) == {"probe_auroc", "control_auroc"}
    for one in information.to_dict("records"):
        there = table.sel(layer=layer, dataset=one["dataset"])
        assert same(one["blind_low"], float(there["blind_low"]))
        assert one["own"] == float(there["own"])
    reasons = dict(zip(frame["dataset"], frame["reason"], strict=True))
    assert list(reasons.values()) == ["", "", "3 clusters; an interval takes 5"]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_through_the_layers(
    made: MadeRun, report: SeparabilityReport, measure: str
) -> None:
    frame = plots.measure_by_layer(report, measure)
    table = open_table(made.folder.path("separability", LABEL))["value"].sel(measure=measure)
    assert len(frame) == table.size
    for one in frame.to_dict("records"):
        assert one["value"] == float(table.sel(layer=one["layer"], dataset=one["dataset"]))


def test_measures_are_those_of_the_report(run: Run) -> None:
    controls = declared(run, "/separability", "")["controls"]
    assert controls["measure"]["first"] == MEASURES[0]
    assert "is not known" in shown(run, "depth", "?measure=nothing")


def test_transfer_has_rows_fitted_on_and_columns_scored_on(
    made: MadeRun, report: SeparabilityReport
) -> None:
    frame = plots.transfer(report, LAYER).set_index(["dataset", "scored"])
    table = open_table(made.folder.path("separability", LABEL)).sel(layer=LAYER)
    for fitted in DATASETS:
        for scored in DATASETS:
            one, there = frame.loc[(fitted, scored)], table.sel(dataset=fitted, scored=scored)
            assert one["transfer"] == float(there["transfer"])
            assert same(one["transfer_low"], float(there["transfer_low"]))
            for name in ("own", "own_low", "n_samples", "n_clusters"):
                assert same(one[name], float(table[name].sel(dataset=scored)))


def test_a_layer_that_is_not_in_the_report_is_refused_with_those_that_are(
    report: SeparabilityReport,
) -> None:
    for table in (
        plots.layer_information,
        plots.layer_measures,
        plots.transfer,
        lambda found, layer: plots.unit_information(found, layer=layer),
    ):
        with pytest.raises(UnknownNameError, match="Did you mean 'leaky'"):
            table(report, "leky")


def units(run: Run, **chosen: Any) -> pd.DataFrame:
    call = CARDS["unit-knowledge"].call
    assert call is not None
    return call(at(run, **chosen)).frame()


def test_units_are_those_of_the_layer_and_universal_ones_are_marked(
    report: SeparabilityReport, run: Run
) -> None:
    frame = units(run)
    assert list(frame["unit"]) == list(range(UNITS))
    rows = report.units()
    rows = rows[rows["layer"] == LAYER].set_index("unit")
    for one in frame.to_dict("records"):
        for name in ("label_information", "method_information", "label_q", "method_q"):
            assert one[name] == rows.loc[one["unit"], name]
    universal = set(run.universality(LABEL).universal.tolist())
    assert set(frame["unit"][frame["universal"]]) == universal and universal


def test_universal_units_are_not_marked_where_they_are_not_known(own: MadeRun) -> None:
    run = Run(own.folder)
    # Units of another layer have other numbers.
    assert "universal" not in units(run, layer=LAYERS[0])
    assert "are not marked" in shown(run, "unit-knowledge", f"?layer={LAYERS[0]}")
    shutil.rmtree(own.folder.path("universality", LABEL))
    assert "universal" not in units(run)


def test_detectors_that_lack_the_layer_are_left_out(made: MadeRun) -> None:
    found = Similarity.open(made.folder.path("similarity"))
    first, whole = (plots.detector_similarity(found, layer) for layer in LAYERS)
    assert first.attrs["detectors"] == list(DETECTORS[:-1])
    assert whole.attrs["detectors"] == list(DETECTORS)
    cka = found.data["cka"].sel(layer=LAYER, detector=DETECTORS[0], other=DETECTORS[1])
    assert list(whole["cka"]) == [float(cka)]
    with pytest.raises(UnknownNameError):
        plots.detector_similarity(found, "block9")


def test_layers_are_those_of_both_tables_and_the_units_layer_comes_first(own: MadeRun) -> None:
    run = Run(own.folder)
    assert layer_names(run, LABEL) == list(LAYERS)
    assert first_layer(run, LABEL) == LAYER
    assert named_layer(run, LABEL, Selection(layer=LAYERS[0])) == LAYERS[0]
    shutil.rmtree(own.folder.path("separability", LABEL))
    assert layer_names(run, LABEL) == list(LAYERS)
    shutil.rmtree(own.folder.path("embeddings", LABEL))
    assert layer_names(run, LABEL) == [LAYER]


READ = {
    "separability report of meso4/base": lambda run: run.separability(LABEL),
    "embeddings of meso4/base": lambda run: run.embeddings(LABEL),
    "responses of meso4/base": lambda run: run.responses(LABEL),
    "artifact report": lambda run: run.artifacts,
    "similarity of detectors": lambda run: run.similarity,
}
PATHS = {
    "separability report of meso4/base": lambda folder: folder.path("separability", LABEL),
    "embeddings of meso4/base": lambda folder: folder.path("embeddings", LABEL),
    "responses of meso4/base": lambda folder: folder.path("responses", LABEL),
    "artifact report": lambda folder: folder.path("artifacts"),
    "similarity of detectors": lambda folder: folder.path("similarity"),
}
#: What of it this page shows.
HERE = ("separability report of meso4/base", "embeddings of meso4/base", "similarity of detectors")


@pytest.mark.parametrize("what", READ)
def test_what_is_missing_is_named_with_its_command(own: MadeRun, what: str) -> None:
    shutil.rmtree(PATHS[what](own.folder))
    with pytest.raises(MissingTableError, match=f"no {what} yet") as missing:
        READ[what](Run(own.folder))
    assert missing.value.command == "probe demo --out somewhere"


@pytest.mark.parametrize(
    ("what", "lost"),
    [
        ("separability report of meso4/base", "blind"),
        ("embeddings of meso4/base", "trustworthiness"),
        ("responses of meso4/base", "unit_low"),
        ("artifact report", "power"),
        ("similarity of detectors", "cka_low"),
    ],
)
def test_half_a_table_is_damaged_and_not_shown(own: MadeRun, what: str, lost: str) -> None:
    shutil.rmtree(PATHS[what](own.folder) / lost)
    with pytest.raises(StoreError, match=f"lacks {lost}"):
        READ[what](Run(own.folder))


@pytest.mark.parametrize("label", ["../..", "/etc/passwd", "", "meso4"])
def test_a_detector_that_is_not_in_the_run_never_becomes_a_path(run: Run, label: str) -> None:
    for read in (run.separability, run.embeddings, run.responses):
        with pytest.raises(UnknownNameError):
            read(label)


# --- Figures -------------------------------------------------------------------------------------


def traces(drawn: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in drawn.data}


@THEMES
def test_probe_detector_and_control_are_drawn_where_they_are(
    report: SeparabilityReport, theme: Theme
) -> None:
    one = report.data.sel(layer=LAYER)
    drawn = figure(plots.figure_layer_information(plots.layer_information(report, LAYER), theme))
    found, probe = traces(drawn), one.sel(measure="probe_auroc")
    assert list(found["probe on the layer"].x) == list(probe["value"].values)
    assert list(found["the detector itself"].x) == list(one["own"].values)
    control = one.sel(measure="control_auroc")["value"].values
    assert list(found["control task: random labels"].x) == list(control)
    trace = found["probe on the layer"]
    ends = np.where(np.isnan(probe["high"]), probe["value"], probe["high"])
    assert np.allclose(np.array(trace.x) + np.array(trace.error_x.array), ends)
    texts = [a.text for a in drawn.layout.annotations]
    assert any("few clusters" in text for text in texts)
    assert sum("<b>" in text for text in texts) == int((one["blind_low"] > 0).sum())


def test_every_value_is_within_the_axis(report: SeparabilityReport) -> None:
    frame = plots.layer_information(report, LAYER).assign(low=0.02)
    drawn = figure(plots.figure_layer_information(frame))
    assert drawn.layout.xaxis.range[0] < 0.02


@THEMES
def test_the_chosen_layer_stands_out(report: SeparabilityReport, theme: Theme) -> None:
    frame = plots.measure_by_layer(report, "probe_auroc")
    drawn = figure(plots.figure_measure_by_layer(frame, theme, layer=LAYER))
    place = LAYERS.index(LAYER)
    assert [(s.x0, s.x1) for s in drawn.layout.shapes if s.type == "rect"] == [
        (place - 0.45, place + 0.45)
    ]
    values = report.data["value"].sel(measure="probe_auroc").transpose("dataset", "layer").values
    assert [list(t.y) for t in drawn.data] == values.tolist()
    # A line at 0.5 only where 0.5 means that nothing is told.
    assert any(s.type == "line" for s in drawn.layout.shapes)
    fisher = figure(plots.figure_measure_by_layer(plots.measure_by_layer(report, "fisher"), theme))
    assert not fisher.layout.shapes


def test_a_click_on_a_layer_chooses_it_and_forgets_units_of_the_other(
    report: SeparabilityReport,
) -> None:
    frame = plots.measure_by_layer(report, "fisher")
    for trace in plots.figure_measure_by_layer(frame, layer=LAYER)["data"]:
        assert trace["customdata"] == [f"layer={LAYERS[0]}&unit=", ""]


@THEMES
def test_transfer_and_detector_have_one_scale(report: SeparabilityReport, theme: Theme) -> None:
    drawn = figure(plots.figure_transfer(plots.transfer(report, LAYER), theme))
    one = report.data.sel(layer=LAYER)
    value = one["transfer"].transpose("dataset", "scored").values
    matrix, own = drawn.data
    assert (matrix.zmin, matrix.zmax) == (own.zmin, own.zmax) == (-1, 1)
    assert matrix.colorscale == own.colorscale
    assert np.allclose(matrix.z, 2 * value - 1)
    assert np.allclose(own.z[0], 2 * one["own"].values - 1)
    cells = [a for a in drawn.layout.annotations if a.xref != "paper"]
    assert len(cells) == value.size + len(DATASETS)
    frames = {(round(s.x0 + s.x1), round(s.y0 + s.y1)) for s in drawn.layout.shapes}
    assert frames == {(2 * i, 2 * i) for i in range(len(DATASETS))}


@THEMES
def test_numbers_can_be_read_on_every_color(report: SeparabilityReport, theme: Theme) -> None:
    frame = plots.transfer(report, LAYER)
    value = np.linspace(0, 1, len(frame)).reshape(len(DATASETS), -1)
    frame["transfer"] = value.ravel()
    drawn = figure(plots.figure_transfer(frame, theme))
    for annotation in drawn.layout.annotations:
        if annotation.xref == "paper" or annotation.y > len(DATASETS) - 1:
            continue
        share = value[int(annotation.y), int(annotation.x)]
        ground = pc.sample_colorscale(list(theme.diverging), [share])[0]
        red, green, blue = (round(float(v)) for v in pc.unlabel_rgb(ground))
        assert contrast(annotation.font.color, f"#{red:02x}{green:02x}{blue:02x}") >= 3, share


@THEMES
def test_each_unit_is_drawn_once_and_the_chosen_one_ringed(run: Run, theme: Theme) -> None:
    frame = units(run)
    drawn = figure(plots.figure_unit_information(frame, theme, unit=3))
    ring, *groups = drawn.data
    method, label = (frame[f"{name}_information"] for name in ("method", "label"))
    assert (list(ring.x), list(ring.y)) == ([method[3]], [label[3]])
    places = {
        query: (x, y) for t in groups for query, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }
    # A click colors the picture by the unit.
    assert places == {f"unit={u}&color=unit": (method[u], label[u]) for u in range(UNITS)}
    found = {t.name: {int(q.split("&")[0][5:]) for q in t.customdata} for t in groups}
    assert found["universal"] == set(frame["unit"][frame["universal"]])
    assert not found["other units"] & found["universal"]


def test_of_many_units_those_that_know_most_are_drawn() -> None:
    n = 3 * MOST
    rng = np.random.default_rng(0)
    names = ("label_information", "method_information")
    frame = pd.DataFrame({name: rng.uniform(size=n) for name in names})
    frame["universal"] = np.arange(n) >= n - 5
    drawn = drawn_units(frame)
    assert drawn.sum() == MOST and drawn[-5:].all()
    assert drawn[np.argsort(-frame[list(names)].max(axis=1).to_numpy())[: MOST // 2 - 5]].all()


@THEMES
def test_similarity_shows_every_pair(made: MadeRun, theme: Theme) -> None:
    found = Similarity.open(made.folder.path("similarity"))
    drawn = figure(plots.figure_detector_similarity(plots.detector_similarity(found, LAYER), theme))
    assert np.array_equal(drawn.data[0].z, found.data["cka"].sel(layer=LAYER).values)
    assert len(drawn.layout.annotations) == len(DETECTORS) ** 2
    alone = figure(plots.figure_detector_similarity(plots.detector_similarity(found, LAYERS[0])))
    assert np.array_equal(alone.data[0].z, [[1.0]])


def test_markup_in_names_is_text(made: MadeRun, report: SeparabilityReport) -> None:
    name = "<a href='javascript:alert(1)'>x</a><img src=x onerror=alert(1)>"
    data = report.data.assign_coords(
        dataset=[name, *DATASETS[1:]], scored=[name, *DATASETS[1:]], layer=[name, LAYER]
    )
    hostile = SeparabilityReport(data)
    alike = Similarity.open(made.folder.path("similarity")).data
    named = [name, DETECTORS[1]]
    alike = alike.assign_coords(detector=named, other=named)
    for one in (
        plots.figure_layer_information(plots.layer_information(hostile, LAYER)),
        plots.figure_measure_by_layer(plots.measure_by_layer(hostile, "fisher"), layer=LAYER),
        plots.figure_transfer(plots.transfer(hostile, LAYER)),
        plots.figure_detector_similarity(plots.detector_similarity(Similarity(alike), LAYER)),
    ):
        drawn = figure(one)
        texts = [*(drawn.layout.xaxis.ticktext or []), *(drawn.layout.yaxis.ticktext or [])]
        for trace in drawn.data:
            texts.append(str(trace.name))
            for prop in ("text", "hovertext", "hovertemplate"):
                given = getattr(trace, prop, None)
                texts += list(map(str, np.ravel([] if given is None else given)))
        assert any("&lt;a href" in text for text in texts)
        assert not any("<a" in text or "<img" in text for text in texts)


# --- What the page says --------------------------------------------------------------------------


def answered(report: SeparabilityReport, run: Run, blind_low: list[float], low: list[float]) -> str:
    """What the first card answers where intervals begin here."""
    frame = plots.layer_information(report, LAYER)
    probe = frame["measure"] == "probe_auroc"
    frame.loc[probe, "blind_low"], frame.loc[probe, "low"] = blind_low, low
    text = CARDS["separability-probes"].text
    assert text is not None
    return words(text(at(run), frame))


def test_the_question_is_answered_dataset_by_dataset(report: SeparabilityReport, run: Run) -> None:
    text = answered(report, run, [0.1, -0.1, np.nan], [0.6, 0.4, np.nan])
    assert "1 of 2 datasets" in text and "blind to it: alpha." in text and "tell: beta." in text
    text = answered(report, run, [-0.1, -0.1, np.nan], [0.6, 0.6, np.nan])
    assert "no dataset" in text and "Absent" not in text
    assert "no more than the head uses: alpha, beta." in text
    text = answered(report, run, [np.nan] * 3, [np.nan] * 3)
    assert "cannot be said" in text


def test_the_table_says_where_there_is_no_interval(report: SeparabilityReport, run: Run) -> None:
    text = shown(run, "separability")
    assert text.count("no interval") == len(MEASURES) and "—" not in text
    frame = plots.layer_measures(report, LAYER)
    frame.loc[0, "value"] = np.nan
    table = CARDS["separability"].text
    assert table is not None
    assert "—" in words(table(at(run), frame))


def test_intervals_that_are_not_there_have_their_reason(report: SeparabilityReport) -> None:
    frame = plots.layer_measures(report, LAYER)
    few = frame[frame["dataset"] == FEW]
    assert few["low"].isna().all() and few["reason"].all()


def test_layer_numbers_stand_beside_chance(report: SeparabilityReport, run: Run) -> None:
    share = float(report.data["specific_share"].sel(layer=LAYER))
    text = shown(run, "specific-to-methods")
    assert f"{share:.0%}" in text and "0.33" in text
    frame = plots.method_specificity(report).assign(specific_share=np.nan)
    said = CARDS["specific-to-methods"].text
    assert said is not None
    assert "there is no share to tell" in words(said(at(run), frame))
    frame = frame.drop(columns=[name for name in frame if str(name).startswith("method_")])
    assert "Fewer than two methods" in words(said(at(run), frame))


def test_the_page_is_laid_out(client: FlaskClient) -> None:
    text = said(client, "/separability")
    for title in (
        "Is it there, and does the head use it?",
        "Through the layers",
        "transfer",
        "method or forgery",
        "two dimensions",
        "How alike",
    ):
        assert title in text
    assert "Not computed yet" not in text


@pytest.mark.parametrize("name", OF_LAYER)
def test_every_card_follows_the_layer(run: Run, name: str) -> None:
    answers = [shown(run, name, f"?layer={layer}") for layer in LAYERS]
    assert answers[0] != answers[1] and "message" not in "".join(answers)


@pytest.mark.parametrize("name", OF_LAYER)
def test_a_layer_that_is_not_there_is_answered_with_a_message(run: Run, name: str) -> None:
    assert "is not known" in shown(run, name, "?layer=../../etc/passwd")


def test_what_is_shown_can_be_had_as_files(client: FlaskClient) -> None:
    measures = exported(client, "separability")
    assert len(measures) == len(MEASURES) * len(DATASETS) and set(measures["layer"]) == {LAYER}
    assert set(measures["reason"].dropna()) == {"3 clusters; an interval takes 5"}
    transfer = exported(client, "transfer")
    assert len(transfer) == len(DATASETS) ** 2 and set(transfer["layer"]) == {LAYER}
    assert list(exported(client, "specific-to-methods")["layer"]) == list(LAYERS)
    found = exported(client, "unit-knowledge")
    assert list(found["unit"]) == list(range(UNITS)) and "universal" in found
    alike = exported(client, "similarity")
    assert len(alike) == 1 and alike["layer"].iloc[0] == LAYER


def test_layer_and_measure_are_followed(client: FlaskClient, report: SeparabilityReport) -> None:
    frame = exported(client, "separability-probes", "?layer=block1").pivot(
        index="dataset", columns="measure", values="value"
    )
    wanted = report.data["value"].sel(layer="block1", measure="probe_auroc").to_series()
    assert np.allclose(frame["probe_auroc"], wanted[frame.index])
    depth = exported(client, "depth", "?measure=fisher")
    assert set(depth["measure"]) == {"fisher"} and set(depth["layer"]) == set(LAYERS)


@pytest.mark.parametrize("name", [n for n in OF_LAYER if ".pdf" in CARDS[n].suffixes])
def test_figures_are_had_for_print_and_scripts_draw_them(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/export/{name}.pdf")
    assert answer.status_code == 200 and answer.data.startswith(b"%PDF")
    assert "probe.plots.plot_" in client.get(f"/export/{name}.py").text


@pytest.mark.parametrize("name", OF_LAYER)
def test_the_script_gives_the_same_table(
    client: FlaskClient, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = client.get(f"/export/{name}.py").text
    monkeypatch.chdir(tmp_path)
    exec(code.split("figure = ")[0], {})
    found = pd.read_csv(tmp_path / f"{name}.csv")
    pd.testing.assert_frame_equal(found, exported(client, name), check_dtype=False)


def test_what_a_layer_choice_resets_is_declared(run: Run) -> None:
    found = declared(run, "/separability", f"?layer={LAYERS[0]}")
    layer = found["controls"]["layer"]
    assert layer["first"] == LAYER and layer["resets"] == ("unit",)
    assert found["scope"] == {"detector": "", "layer": LAYERS[0]}
    # Who chooses a unit sees it.
    assert found["controls"]["unit"]["sets"] == (("color", "unit"),)


def test_units_and_layers_do_not_wander_to_other_pages(client: FlaskClient) -> None:
    values = {
        f"{ids.URL}.pathname": "/separability",
        f"{ids.URL}.search": f"?layer={LAYERS[0]}&unit=3&dataset=beta",
    }
    text = json.dumps(call(client, f"{ids.NAVIGATION}.children", values))
    assert '"/neurons?dataset=beta"' in text
    assert f'"/separability?layer={LAYERS[0]}&unit=3&dataset=beta"' in text
    # Without a layer, a unit is one of the layer of the units, as on the Neurons page.
    values[f"{ids.URL}.search"] = "?unit=3"
    assert '"/neurons?unit=3"' in json.dumps(call(client, f"{ids.NAVIGATION}.children", values))


@pytest.mark.parametrize("what", HERE)
def test_what_is_missing_is_said_once_and_leaves_the_rest(own: MadeRun, what: str) -> None:
    shutil.rmtree(PATHS[what](own.folder))
    text = said(client_of(own.root), "/separability")
    there = [name for name in CARDS if json.dumps(part("card", name)) in text]
    assert f"This run holds no {what} yet" in text and "probe demo --out somewhere" in text
    assert text.count("Not computed yet") == 1 and len(there) > 3
