"""Pictures of layers: positions, colorings, and the image behind a point."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import ids
from app.figures import picture_figure
from app.figures.picture import RING
from app.pages.pictures import window_of
from app.queries.pictures import (
    COLORS,
    coloring,
    kinds_of,
    picked,
    picture_view,
    place_of,
    token_at,
    units_of,
)
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.plots.theme import DARK, LIGHT, Theme
from probe.separability.report import Embeddings
from tests.app.calling import call, exported, said
from tests.app.drawing import KINDS, make_embeddings
from tests.app.making import DATASETS, DETECTORS, LAYER, LAYERS, UNITS, MadeRun
from tests.app.test_figures import contrast

LABEL = DETECTORS[0]


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_picture_is_its_part_of_the_table(made: MadeRun, run: Run, layer: str, kind: str) -> None:
    view = picture_view(run, LABEL, layer, kind)
    table = Embeddings.open(made.folder.path("embeddings", LABEL)).data
    one = table.sel({"layer": layer, "method": kind})
    for i, sample in enumerate(view.samples["sample"]):
        assert list(view.position[i]) == list(one["position"].sel(sample=sample).values)
        assert place_of(run, LABEL, layer, kind, token_of(sample)) == tuple(view.position[i])
    assert view.trustworthiness == float(one["trustworthiness"])
    assert view.preservation == float(one["preservation"])
    assert view.total == len(made.data) and view.n_fitted == int(table["fitted"].sum())
    assert kinds_of(run, LABEL) == list(KINDS)


def test_what_was_not_embedded_is_refused(run: Run) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'leaky'"):
        picture_view(run, LABEL, "leky", "pca")
    with pytest.raises(UnknownNameError, match="umap"):
        picture_view(run, LABEL, LAYER, "umpa")


def test_points_are_colored_by_what_the_store_says(made: MadeRun, run: Run) -> None:
    view = picture_view(run, LABEL, LAYER, "pca")
    table = made.data.samples.table
    for by in ("label", "dataset", "method"):
        found = coloring(run, LABEL, view, by, None)
        wanted = table[by] if by != "label" else table["label"].map({0: "real", 1: "fake"})
        assert [found.names[code] for code in found.code] == list(wanted)
    score = coloring(run, LABEL, view, "score", None)
    assert np.allclose(score.value, 1 / (1 + np.exp(-made.logits[LABEL])), atol=1e-6)
    unit = coloring(run, LABEL, view, "unit", 5)
    assert np.allclose(unit.value, made.activations[LABEL][:, 5])
    assert not unit.names and not len(unit.code)


def test_datasets_come_in_the_order_of_the_run(run: Run) -> None:
    view = picture_view(run, LABEL, LAYER, "pca")
    turned = view.samples.iloc[::-1].reset_index(drop=True)
    found = coloring(run, LABEL, type(view)(**{**vars(view), "samples": turned}), "dataset", None)
    assert found.names == DATASETS


def test_units_are_shown_only_of_layers_that_were_kept(run: Run) -> None:
    assert units_of(run, LABEL, LAYER) == list(range(UNITS))
    assert units_of(run, LABEL, LAYERS[0]) == []
    view = picture_view(run, LABEL, LAYERS[0], "pca")
    with pytest.raises(ProbeError, match="were not kept"):
        coloring(run, LABEL, view, "unit", 0)
    with pytest.raises(ProbeError, match="not in the activation store"):
        coloring(run, LABEL, picture_view(run, LABEL, LAYER, "pca"), "unit", UNITS)
    with pytest.raises(UnknownNameError):
        coloring(run, LABEL, view, "color", None)


def test_a_row_names_the_sample_that_is_drawn_there(run: Run) -> None:
    view = picture_view(run, LABEL, LAYER, "pca")
    for row, sample in enumerate(view.samples["sample"]):
        assert token_at(run, LABEL, row) == token_of(sample)


def test_a_window_shows_what_lies_in_it(run: Run) -> None:
    view = picture_view(run, LABEL, LAYER, "pca")
    x, y = view.position.T
    window = (float(np.median(x)), float(x.max()), float(y.min()), float(np.median(y)))
    wanted = [i for i in range(view.total) if x[i] >= window[0] and y[i] <= window[3]]
    assert list(view.seen(window)) == wanted and 0 < len(wanted) < view.total
    assert len(view.seen(None)) == len(view.seen(view.extent)) == view.total


def test_what_is_in_view_is_read_from_what_the_browser_holds(run: Run) -> None:
    view = picture_view(run, LABEL, LAYER, "pca")
    x0, x1, y0, y1 = view.extent
    half = (x0 + x1) / 2
    key = f"{LAYER} pca"
    assert window_of(view, {"key": key, "range": [x0, half, y0, y1]}) == (x0, half, y0, y1)
    # A zoom along one axis alone, and an axis that was turned round.
    assert window_of(view, {"key": key, "range": [half, x0, None, None]}) == (x0, half, y0, y1)
    assert window_of(view, {"key": key, "range": [x0 - 1, x1 + 1, y0, y1]}) is None
    assert window_of(view, {"key": f"{LAYER} umap", "range": [x0, half, y0, y1]}) is None
    for forged in (
        None,
        3,
        {},
        {"key": key},
        {"key": key, "range": ["a"]},
        {"key": key, "range": [1, 2]},
        {"key": key, "range": [float("nan")] * 4},
    ):
        assert window_of(view, forged) is None


@pytest.mark.parametrize("row", [-1, 10**9])
def test_a_row_that_is_not_there_has_no_token(run: Run, row: int) -> None:
    assert token_at(run, LABEL, row) == ""


def test_the_picked_image_is_the_samples(made: MadeRun, run: Run) -> None:
    table = made.data.samples.table
    for row in (0, 2, len(table) - 1):
        found = picked(run, LABEL, LAYER, token_of(table["sample"][row]), 3)
        assert found.shown.sample == table["sample"][row]
        assert found.dataset == table["dataset"][row] and found.shown.video == table["video"][row]
        assert found.shown.label == table["label"][row]
        assert found.shown.activation == pytest.approx(float(made.activations[LABEL][row, 3]))
        assert found.shown.p_fake == pytest.approx(
            1 / (1 + np.exp(-float(made.logits[LABEL][row]))), abs=1e-6
        )
    assert np.isnan(picked(run, LABEL, LAYER, token_of(table["sample"][0]), None).shown.activation)


@pytest.mark.parametrize("token", ["../../etc/passwd", "x", "0", "a" * 24])
def test_a_forged_token_is_no_image(run: Run, token: str) -> None:
    with pytest.raises(ProbeError, match="not in this run"):
        picked(run, LABEL, LAYER, token, None)
    assert place_of(run, LABEL, LAYER, "pca", token) is None


def test_a_picture_of_other_recordings_is_refused(own: MadeRun) -> None:
    rng = np.random.default_rng(0)
    names = [f"other-{i}" for i in range(8)]
    make_embeddings(rng, names, LAYERS).save(own.folder.path("embeddings", LABEL))
    with pytest.raises(StoreError, match="holds no sample 'other-0'"):
        picture_view(Run(own.folder), LABEL, LAYER, "pca")


@pytest.mark.parametrize("scheme", ["light", "dark", None])
@pytest.mark.parametrize("by", list(COLORS))
def test_every_sample_is_drawn_once(run: Run, by: str, scheme: str | None) -> None:
    view = picture_view(run, LABEL, LAYER, "tsne")
    color = coloring(run, LABEL, view, by, 2)
    figure = picture_figure(view, color, (0.25, -0.5), scheme)
    ring, corners, *groups = figure.data
    assert (list(corners.x), list(corners.y)) == (list(view.extent[:2]), list(view.extent[2:]))
    assert figure.data[RING] == ring and (list(ring.x), list(ring.y)) == ([0.25], [-0.5])
    drawn = {
        int(row[0]): (x, y)
        for t in groups
        for row, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }
    assert drawn == {int(r): tuple(p) for r, p in enumerate(view.position)}
    if color.names:
        # No group is told from another by color alone.
        assert len({t.marker.symbol for t in groups}) == len(groups)
    assert figure.layout.uirevision == f"{LAYER} tsne"
    nowhere = picture_figure(view, color, None, scheme).data[RING]
    assert list(nowhere.x) == []


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_no_point_vanishes_in_the_ground(theme: Theme) -> None:
    for color in (*theme.points, *theme.ramp, *theme.series):
        assert contrast(color, theme.ground) >= 2, color
    for color in (*theme.points, *theme.ramp):
        assert contrast(color, theme.ground) >= 3, color


def state(**more: Any) -> dict[str, Any]:
    values = {
        f"{ids.LAYER}.value": LAYER,
        f"{ids.SEPARABILITY_DETECTOR}.value": LABEL,
        f"{ids.EMBEDDING}.value": "pca",
        f"{ids.COLOR}.value": "label",
        f"{ids.UNIT}.value": None,
        f"{ids.PICKED}.data": "",
        f"{ids.PICTURE_URL}.search": "",
    }
    return values | {name.replace("__", "."): value for name, value in more.items()}


def followed(client: FlaskClient, changed: str, values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = call(client, f"{ids.PICTURE_URL}.search", values, changed)["response"]
    return found


def test_a_click_picks_the_image_and_the_address_names_it(
    client: FlaskClient, made: MadeRun
) -> None:
    changed = f"{ids.PICTURE}.clickData"
    values = state() | {changed: {"points": [{"customdata": [5, "real", "alpha", "real"]}]}}
    found = followed(client, changed, values)
    token = token_of(made.data.samples.table["sample"][5])
    assert Selection.parse(found[ids.PICTURE_URL]["search"]).sample == token
    assert found[ids.PICKED]["data"] == token and found[ids.PICTURE]["clickData"] is None
    shown = call(client, f"{ids.PICKED_IMAGE}.children", state() | {f"{ids.PICKED}.data": token})
    text = json.dumps(shown, ensure_ascii=False)
    assert f"/thumb/{token}" in text and "P(fake)" in text and "alpha" in text


def test_who_chooses_a_unit_sees_it(client: FlaskClient) -> None:
    changed = f"{ids.UNIT}.value"
    found = followed(client, changed, state() | {changed: "4"})
    assert Selection.parse(found[ids.PICTURE_URL]["search"]) == Selection(unit="4", color="unit")
    assert found[ids.COLOR]["value"] == "unit"


def test_the_address_sets_all_controls(client: FlaskClient) -> None:
    changed = f"{ids.PICTURE_URL}.search"
    search = "?embedding=tsne&color=unit&unit=4&sample=abc"
    found = followed(client, changed, state() | {changed: search})
    values = {name: next(iter(props.values())) for name, props in found.items()}
    assert values == {ids.EMBEDDING: "tsne", ids.COLOR: "unit", ids.UNIT: "4", ids.PICKED: "abc"}


def test_nothing_changes_what_is_already_so(client: FlaskClient) -> None:
    changed = f"{ids.EMBEDDING}.value"
    assert ids.PICTURE_URL not in followed(client, changed, state())


def test_the_note_states_how_far_the_picture_can_be_believed(client: FlaskClient, run: Run) -> None:
    view = picture_view(run, LABEL, LAYER, "pca")
    text = json.dumps(call(client, f"{ids.PICTURE}.figure", state()), ensure_ascii=False)
    assert f"{view.trustworthiness:.2f}" in text and f"{view.preservation:.0%}" in text
    assert "no measurement" in text and "were projected into it" in text


@pytest.mark.parametrize("name", ["embedding", "color"])
def test_a_forged_choice_is_answered_with_a_message(client: FlaskClient, name: str) -> None:
    assert "is not known" in said(client, "/separability", f"?{name}=../../etc/passwd")


def test_a_unit_that_is_not_there_is_answered_with_a_message(client: FlaskClient) -> None:
    values = state() | {f"{ids.COLOR}.value": "unit", f"{ids.UNIT}.value": "99"}
    text = json.dumps(call(client, f"{ids.PICTURE}.figure", values))
    assert "is not in this table" in text


def test_the_points_can_be_had_as_a_file(client: FlaskClient, run: Run, made: MadeRun) -> None:
    frame = exported(client, "embedding", "?embedding=pca&color=unit&unit=2")
    view = picture_view(run, LABEL, LAYER, "pca")
    assert list(frame["sample"]) == list(view.samples["sample"])
    assert np.allclose(frame["unit_2"], made.activations[LABEL][:, 2], atol=1e-6)
    assert np.allclose(frame[["x", "y"]], view.position, atol=1e-6)
