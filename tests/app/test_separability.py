"""The Separability page: queries and figures against the tables, and what the page answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.colors as pc
import pytest
from flask.testing import FlaskClient

from app import ids
from app.components.layers import information_text, measures_table, specific_table
from app.figures import (
    depth_figure,
    information_figure,
    knowledge_figure,
    similarity_figure,
    transfer_figure,
)
from app.queries.layers import first_layer, layer_names, named_layer
from app.queries.separability import (
    LayerView,
    depth_view,
    knowledge_view,
    layer_view,
    measures_of,
    specific_view,
    transfer_view,
)
from app.queries.similarity import similarity_view
from app.run import Run
from app.selection import Selection
from probe.errors import StoreError, UnknownNameError
from probe.plots.theme import DARK, LIGHT, Theme
from probe.run import MissingTableError
from probe.separability.report import SeparabilityReport, Similarity
from probe.tables import open_table
from tests.app.calling import call, exported, said
from tests.app.conftest import client_of
from tests.app.drawing import FEW, MEASURES
from tests.app.making import DATASETS, DETECTORS, LAYER, LAYERS, UNITS, MadeRun
from tests.app.test_figures import contrast

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark", None])
LABEL = DETECTORS[0]


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def same(one: float, other: float) -> bool:
    return one == other or (np.isnan(one) and np.isnan(other))


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_is_its_part_of_the_table(made: MadeRun, run: Run, layer: str) -> None:
    view = layer_view(run, LABEL, layer)
    table = open_table(made.folder.path("separability", LABEL))
    assert view.datasets == DATASETS and view.measures == MEASURES
    for m, measure in enumerate(MEASURES):
        for d, dataset in enumerate(DATASETS):
            at = table.sel(measure=measure, layer=layer, dataset=dataset)
            for name in ("value", "low", "high", "q"):
                assert same(getattr(view, name)[m, d], float(at[name])), (measure, dataset, name)
    for d, dataset in enumerate(DATASETS):
        at = table.sel(layer=layer, dataset=dataset)
        assert same(view.blind_low[d], float(at["blind_low"])) and view.own[d] == float(at["own"])
        assert view.reason[d] == str(at["reason"].values)
    assert view.reason == ("", "", "3 clusters; an interval takes 5")


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_through_the_layers(made: MadeRun, run: Run, measure: str) -> None:
    view = depth_view(run, LABEL, measure)
    table = open_table(made.folder.path("separability", LABEL))["value"].sel(measure=measure)
    for i, layer in enumerate(view.layers):
        for d, dataset in enumerate(view.datasets):
            assert view.value[i, d] == float(table.sel(layer=layer, dataset=dataset))
    assert measures_of(run, LABEL) == list(MEASURES)


def test_transfer_has_rows_fitted_on_and_columns_scored_on(made: MadeRun, run: Run) -> None:
    view = transfer_view(run, LABEL, LAYER)
    table = open_table(made.folder.path("separability", LABEL)).sel(layer=LAYER)
    for r, fitted in enumerate(DATASETS):
        for c, scored in enumerate(DATASETS):
            at = table.sel(dataset=fitted, scored=scored)
            assert view.value[r, c] == float(at["transfer"])
            assert same(view.low[r, c], float(at["transfer_low"]))
    assert list(view.own) == list(table["own"].values)


def test_a_layer_that_is_not_in_the_report_is_refused_with_those_that_are(run: Run) -> None:
    for read in (layer_view, transfer_view, specific_view):
        with pytest.raises(UnknownNameError, match="Did you mean 'leaky'"):
            read(run, LABEL, "leky")


def test_units_are_those_of_the_layer_and_universal_ones_are_marked(
    made: MadeRun, run: Run
) -> None:
    view = knowledge_view(run, LABEL, LAYER)
    assert list(view.unit) == list(range(UNITS))
    rows = SeparabilityReport.open(made.folder.path("separability", LABEL)).units()
    rows = rows[rows["layer"] == LAYER].set_index("unit")
    for i, unit in enumerate(view.unit):
        assert view.label[i] == rows.loc[unit, "label_information"]
        assert view.method_q[i] == rows.loc[unit, "method_q"]
    assert view.universal is not None
    assert set(view.unit[view.universal]) == set(run.universality(LABEL).universal.tolist())


def test_universal_units_are_not_marked_where_they_are_not_known(own: MadeRun) -> None:
    run = Run(own.folder)
    # Units of another layer have other numbers.
    assert knowledge_view(run, LABEL, LAYERS[0]).universal is None
    shutil.rmtree(own.folder.path("universality", LABEL))
    assert knowledge_view(run, LABEL, LAYER).universal is None


def test_detectors_that_lack_the_layer_are_left_out(made: MadeRun, run: Run) -> None:
    assert similarity_view(run, LAYERS[0]).detectors == DETECTORS[:-1]
    view = similarity_view(run, LAYER)
    table = Similarity.open(made.folder.path("similarity")).data.sel(layer=LAYER)
    assert view.detectors == DETECTORS
    assert view.value[0, 1] == float(table["cka"].sel(detector=DETECTORS[0], other=DETECTORS[1]))
    with pytest.raises(UnknownNameError):
        similarity_view(run, "block9")


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


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


@SCHEMES
def test_probe_detector_and_control_are_drawn_where_they_are(run: Run, scheme: str | None) -> None:
    view = layer_view(run, LABEL, LAYER)
    figure = information_figure(view, scheme)
    found = traces(figure)
    assert list(found["probe on the layer"].x) == list(view.value[0])
    assert list(found["the detector itself"].x) == list(view.own)
    assert list(found["control task: random labels"].x) == list(view.value[1])
    probe = found["probe on the layer"]
    assert np.allclose(
        probe.x + probe.error_x.array,
        np.nan_to_num(view.high[0], nan=0) + np.where(np.isnan(view.high[0]), view.value[0], 0),
    )
    texts = [a.text for a in figure.layout.annotations]
    assert any("few clusters" in text for text in texts)
    assert sum("<b>" in text for text in texts) == int((view.blind_low > 0).sum())


def test_every_value_is_within_the_axis(run: Run) -> None:
    view = layer_view(run, LABEL, LAYER)
    low = np.full_like(view.low, 0.02)
    figure = information_figure(replace(view, low=low))
    assert figure.layout.xaxis.range[0] < 0.02


@SCHEMES
def test_the_chosen_layer_stands_out(run: Run, scheme: str | None) -> None:
    view = depth_view(run, LABEL, "probe_auroc")
    figure = depth_figure(view, LAYER, scheme)
    at = LAYERS.index(LAYER)
    assert [(s.x0, s.x1) for s in figure.layout.shapes if s.type == "rect"] == [
        (at - 0.45, at + 0.45)
    ]
    assert [list(t.y) for t in figure.data] == view.value.T.tolist()
    # A line at 0.5 only where 0.5 means that nothing is told.
    assert any(s.type == "line" for s in figure.layout.shapes)
    fisher = depth_figure(depth_view(run, LABEL, "fisher"), LAYER, scheme)
    assert not any(s.type == "line" for s in fisher.layout.shapes)


@SCHEMES
def test_transfer_and_detector_have_one_scale(run: Run, scheme: str | None) -> None:
    view = transfer_view(run, LABEL, LAYER)
    figure = transfer_figure(view, scheme)
    matrix, own = figure.data
    assert (matrix.zmin, matrix.zmax) == (own.zmin, own.zmax) == (-1, 1)
    assert matrix.colorscale == own.colorscale
    assert np.allclose(matrix.z, 2 * view.value - 1) and np.allclose(own.z[0], 2 * view.own - 1)
    cells = [a for a in figure.layout.annotations if a.xref != "paper"]
    assert len(cells) == view.value.size + len(DATASETS)
    frames = {(s.x0 + s.x1, s.y0 + s.y1) for s in figure.layout.shapes}
    assert frames == {(2 * i, 2 * i) for i in range(len(DATASETS))}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_numbers_can_be_read_on_every_color(theme: Theme, run: Run) -> None:
    view = transfer_view(run, LABEL, LAYER)
    value = np.linspace(0, 1, view.value.size).reshape(view.value.shape)
    figure = transfer_figure(replace(view, value=value), "dark" if theme is DARK else "light")
    for annotation in figure.layout.annotations:
        if annotation.xref == "paper" or annotation.y > len(DATASETS) - 1:
            continue
        at = value[int(annotation.y), int(annotation.x)]
        ground = pc.sample_colorscale(list(theme.diverging), [at])[0]
        red, green, blue = (round(float(v)) for v in pc.unlabel_rgb(ground))
        assert contrast(annotation.font.color, f"#{red:02x}{green:02x}{blue:02x}") >= 3, at


@SCHEMES
def test_each_unit_is_drawn_once_and_the_chosen_one_ringed(run: Run, scheme: str | None) -> None:
    view = knowledge_view(run, LABEL, LAYER)
    figure = knowledge_figure(view, 3, scheme)
    ring, *groups = figure.data
    assert (list(ring.x), list(ring.y)) == ([view.method[3]], [view.label[3]])
    drawn = {
        int(row[0]): (x, y)
        for t in groups
        for row, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }
    assert drawn == {u: (view.method[u], view.label[u]) for u in range(UNITS)}
    found = {t.name: {int(row[0]) for row in t.customdata} for t in groups}
    assert view.universal is not None
    assert found["universal"] == set(np.flatnonzero(view.universal))
    assert not found["other units"] & found["universal"]


@SCHEMES
def test_similarity_shows_every_pair(run: Run, scheme: str | None) -> None:
    view = similarity_view(run, LAYER)
    figure = similarity_figure(view, scheme)
    assert np.array_equal(figure.data[0].z, view.value)
    assert len(figure.layout.annotations) == len(DETECTORS) ** 2


def test_markup_in_names_is_text(run: Run) -> None:
    name = "<a href='javascript:alert(1)'>x</a><img src=x onerror=alert(1)>"
    names = (name, *DATASETS[1:])
    view = replace(layer_view(run, LABEL, LAYER), datasets=names)
    depth = replace(depth_view(run, LABEL, "fisher"), datasets=names, layers=(name, LAYER))
    transfer = replace(transfer_view(run, LABEL, LAYER), datasets=names)
    alike = replace(similarity_view(run, LAYER), detectors=(name, DETECTORS[1]))
    for figure in (
        information_figure(view),
        depth_figure(depth, LAYER),
        transfer_figure(transfer),
        similarity_figure(alike),
    ):
        drawn = [*(figure.layout.xaxis.ticktext or []), *(figure.layout.yaxis.ticktext or [])]
        drawn += [str(t.name) for t in figure.data]
        drawn += [
            str(text) for t in figure.data for text in np.ravel(getattr(t, "text", None) or [])
        ]
        drawn += [str(getattr(t, "hovertemplate", "")) for t in figure.data]
        assert any("&lt;a href" in text for text in drawn)
        assert not any("<a" in text or "<img" in text for text in drawn)


def words(component: Any) -> str:
    return json.dumps(
        component.to_plotly_json(), default=lambda c: c.to_plotly_json(), ensure_ascii=False
    )


def judged(view: LayerView, blind_low: list[float], low: list[float]) -> LayerView:
    bounds = view.low.copy()
    bounds[0] = low
    return replace(view, blind_low=np.array(blind_low), low=bounds)


def test_the_question_is_answered_dataset_by_dataset(run: Run) -> None:
    view = layer_view(run, LABEL, LAYER)
    text = words(information_text(judged(view, [0.1, -0.1, np.nan], [0.6, 0.4, np.nan])))
    assert "1 of 2 datasets" in text and "blind to it: alpha." in text and "tell: beta." in text
    text = words(information_text(judged(view, [-0.1, -0.1, np.nan], [0.6, 0.6, np.nan])))
    assert "no dataset" in text and "Absent" not in text
    assert "no more than the head uses: alpha, beta." in text
    text = words(information_text(judged(view, [np.nan] * 3, [np.nan] * 3)))
    assert "cannot be said" in text


def test_the_table_says_where_there_is_no_interval(run: Run) -> None:
    view = layer_view(run, LABEL, LAYER)
    text = words(measures_table(view))
    assert text.count("no interval") == len(MEASURES)
    value = view.value.copy()
    value[3, 0] = np.nan
    assert "—" in words(measures_table(replace(view, value=value)))


def test_layer_numbers_stand_beside_chance(run: Run) -> None:
    view = specific_view(run, LABEL, LAYER)
    text = words(specific_table(view))
    assert f"{view.share:.0%}" in text and "0.33" in text
    none = replace(view, share=float("nan"))
    assert "there is no share to tell" in words(specific_table(none))


def state(layer: str = LAYER, **more: Any) -> dict[str, Any]:
    return {
        f"{ids.LAYER}.value": layer,
        f"{ids.SEPARABILITY_DETECTOR}.value": LABEL,
        f"{ids.MEASURE}.value": "probe_auroc",
        **more,
    }


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


@pytest.mark.parametrize(
    "output",
    [
        f"{ids.INFORMATION}.figure",
        f"{ids.DEPTH}.figure",
        f"{ids.TRANSFER}.figure",
        f"{ids.SPECIFIC}.children",
        f"{ids.KNOWLEDGE}.figure",
        f"{ids.SIMILARITY}.figure",
    ],
)
def test_every_card_follows_the_layer(client: FlaskClient, output: str) -> None:
    answers = [json.dumps(call(client, output, state(layer))) for layer in LAYERS]
    assert answers[0] != answers[1]
    assert "is not known" not in "".join(answers)


@pytest.mark.parametrize("output", [f"{ids.INFORMATION}.figure", f"{ids.TRANSFER}.figure"])
def test_a_layer_that_is_not_there_is_answered_with_a_message(
    client: FlaskClient, output: str
) -> None:
    assert "is not known" in json.dumps(call(client, output, state("../../etc/passwd")))


def test_what_is_shown_can_be_had_as_files(client: FlaskClient, made: MadeRun) -> None:
    measures = exported(client, "separability")
    assert len(measures) == len(MEASURES) * len(DATASETS) and set(measures["layer"]) == {LAYER}
    assert set(measures["reason"].dropna()) == {"3 clusters; an interval takes 5"}
    transfer = exported(client, "transfer")
    assert len(transfer) == len(DATASETS) ** 2 and set(transfer["layer"]) == {LAYER}
    assert list(exported(client, "specific-to-methods")["layer"]) == list(LAYERS)
    units = exported(client, "unit-knowledge")
    assert list(units["unit"]) == list(range(UNITS)) and "universal" in units
    alike = exported(client, "similarity")
    assert len(alike) == 1 and alike["layer"].iloc[0] == LAYER


def followed(client: FlaskClient, changed: str, **values: Any) -> dict[str, Any]:
    answer = call(client, f"{ids.REPORT_URL}.search", state(**values), changed)
    found: dict[str, Any] = answer["response"]
    return found


def test_a_click_on_a_unit_colors_the_picture_by_it(client: FlaskClient) -> None:
    click = {"points": [{"customdata": [7, 0.1, 0.1]}]}
    changed = f"{ids.KNOWLEDGE}.clickData"
    found = followed(client, changed, **{changed: click, f"{ids.REPORT_URL}.search": "?unit=2"})
    assert Selection.parse(found[ids.REPORT_URL]["search"]) == Selection(unit="7", color="unit")
    # The next click on the same unit is news again.
    assert found[ids.KNOWLEDGE]["clickData"] is None


def test_a_click_on_a_layer_chooses_it_and_forgets_units_of_the_other(client: FlaskClient) -> None:
    click = {"points": [{"customdata": [LAYERS[0], ""]}]}
    changed = f"{ids.DEPTH}.clickData"
    found = followed(client, changed, **{changed: click, f"{ids.REPORT_URL}.search": "?unit=2"})
    assert Selection.parse(found[ids.REPORT_URL]["search"]) == Selection(layer=LAYERS[0])


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


@pytest.mark.parametrize("what", READ)
def test_what_is_missing_leaves_the_rest_of_both_pages(own: MadeRun, what: str) -> None:
    shutil.rmtree(PATHS[what](own.folder))
    client = client_of(own.root)
    pages = said(client, "/separability") + said(client, "/artifacts")
    assert f"This run holds no {what} yet" in pages and "probe demo --out somewhere" in pages
    assert pages.count("Not computed yet") == 1


@pytest.mark.parametrize("few", [FEW])
def test_intervals_that_are_not_there_have_their_reason(run: Run, few: str) -> None:
    view = layer_view(run, LABEL, LAYER)
    at = view.datasets.index(few)
    assert np.isnan(view.low[:, at]).all() and view.reason[at]
