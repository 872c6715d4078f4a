"""Selections in a picture: as text in an address, what they hold, and density."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient

from app import ids
from app.figures import picture_figure
from app.figures.density import LEVELS, MOST_COLORS
from app.queries import activations, density, pictures
from app.queries.activations import rows_by_unit
from app.queries.arranging import ArrangingError
from app.queries.density import density_of, nearest
from app.queries.lasso import CORNERS, LONGEST, Rule, drawn, outline_of, read, ruled, selected_by
from app.queries.pictures import COLORS, PictureView, coloring, picture_view
from app.queries.selected import selected_view, telling_view
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.images import token_of
from probe.stats import auroc
from tests.app.calling import call
from tests.app.making import DATASETS, DETECTORS, FRAMES, IDENTITIES, LAYER, LAYERS, UNITS, MadeRun

LABEL = DETECTORS[0]
HALF = len(DATASETS) * IDENTITIES * FRAMES


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture
def view(run: Run) -> PictureView:
    return picture_view(run, LABEL, LAYER, "tsne")


def loop(view: PictureView, corners: int = 200, size: float = 0.35) -> dict[str, Any]:
    """What plotly reports of a lasso drawn as a circle."""
    x0, x1, y0, y1 = view.extent
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    x = (x0 + x1) / 2 + size * (x1 - x0) * np.cos(turn)
    y = (y0 + y1) / 2 + size * (y1 - y0) * np.sin(turn)
    return {"points": [], "lassoPoints": {"x": list(x), "y": list(y)}}


def box(view: PictureView) -> dict[str, Any]:
    """What plotly reports of a box over the left half, drawn from the right."""
    x0, x1, y0, y1 = view.extent
    return {"points": [], "range": {"x": [(x0 + x1) / 2, x0 - 0.01], "y": [y1 + 0.01, y0 - 0.01]}}


def test_a_lasso_fits_into_an_address_and_holds_what_it_went_round(view: PictureView) -> None:
    text = drawn(LABEL, view, loop(view))
    assert len(text) == 5 + 6 * CORNERS <= LONGEST and text.isalnum()
    lasso = read(LABEL, view, text)
    assert lasso is not None and len(lasso.corners) == CORNERS
    x0, x1, y0, y1 = view.extent
    away = (view.position - ((x0 + x1) / 2, (y0 + y1) / 2)) / (x1 - x0, y1 - y0)
    distance, inside = np.hypot(*away.T), selected_by(view, lasso)
    # 24 corners of a circle miss 1.2 % of its area at the rim.
    assert inside[distance < 0.34].all() and not inside[distance > 0.36].any()
    assert 0 < inside.sum() < view.total


def test_what_was_read_is_written_as_it_was(view: PictureView) -> None:
    for event in (loop(view), loop(view, 5), box(view)):
        text = drawn(LABEL, view, event)
        lasso = read(LABEL, view, text)
        assert lasso is not None
        x, y = lasso.corners.T
        again: dict[str, Any] = {"lassoPoints": {"x": list(x), "y": list(y)}}
        if lasso.box:
            again = {"range": {"x": [x.min(), x.max()], "y": [y.min(), y.max()]}}
        assert drawn(LABEL, view, again) == text
        (shape,) = outline_of(lasso)
        assert shape["type"] == ("rect" if lasso.box else "path")


def test_a_box_holds_what_lies_in_it(view: PictureView) -> None:
    lasso = read(LABEL, view, drawn(LABEL, view, box(view)))
    assert lasso is not None
    x0, x1 = view.extent[:2]
    assert list(selected_by(view, lasso)) == list(view.position[:, 0] < (x0 + x1) / 2)


def test_a_polygon_with_a_notch_leaves_the_notch_out(view: PictureView) -> None:
    x0, x1, y0, y1 = view.extent
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    x = [x0 - 0.1, x1 + 0.1, middle[0], x1 + 0.1, x0 - 0.1]
    y = [y0 - 0.1, y0 - 0.1, middle[1], y1 + 0.1, y1 + 0.1]
    lasso = read(LABEL, view, drawn(LABEL, view, {"lassoPoints": {"x": x, "y": y}}))
    assert lasso is not None
    right = (view.position - middle) / (x1 + 0.1 - middle[0], y1 + 0.1 - middle[1])
    notch = right[:, 0] > np.abs(right[:, 1])
    sure = np.abs(right[:, 0] - np.abs(right[:, 1])) > 0.01
    assert list(selected_by(view, lasso)[sure]) == list(~notch[sure])


def test_a_polygon_belongs_to_one_picture(run: Run, view: PictureView) -> None:
    text = drawn(LABEL, view, loop(view))
    assert read(LABEL, picture_view(run, LABEL, LAYER, "pca"), text) is None
    assert read(DETECTORS[1], view, text) is None
    rule = ruled(Rule(label="fake"))
    assert read(LABEL, picture_view(run, LABEL, LAYER, "pca"), rule) is not None


def test_a_rule_is_what_its_fields_say(made: MadeRun, view: PictureView) -> None:
    table = made.data.samples.table
    score = 1 / (1 + np.exp(-made.logits[LABEL].astype(np.float64)))
    rule = Rule("beta", "fake", "", 0.25, 0.75)
    lasso = read(LABEL, view, ruled(rule))
    assert lasso is not None and lasso.rule == rule and outline_of(lasso) == []
    wanted = (table["dataset"] == "beta") & (table["label"] == 1) & (abs(score - 0.5) <= 0.25)
    assert list(selected_by(view, lasso)) == list(wanted) and 0 < wanted.sum() < 12
    assert ruled(Rule()) == ""
    with pytest.raises(ProbeError, match="too long"):
        ruled(Rule(method="m" * 300))


@pytest.mark.parametrize(
    "text",
    [
        "p",
        "x123",
        "p00000",
        "bffff" + "0" * 18,
        "p0000" + "0" * 6 * 25,
        "r",
        "rlabel=odd",
        "rlow=x",
        "p0000" + "é" * 12,
        "r" + "&".join(f"a{i}=1" for i in range(9)),
    ],
)
def test_a_forged_selection_is_refused(view: PictureView, text: str) -> None:
    with pytest.raises(ProbeError, match="address"):
        read(LABEL, view, text)


def test_what_plotly_reports_without_an_outline_selects_nothing(view: PictureView) -> None:
    for event in (None, {}, {"points": []}, {"lassoPoints": {"x": [1], "y": [1]}}):
        assert drawn(LABEL, view, event) == ""


def test_a_selection_is_counted_and_its_images_are_near_its_middle(
    made: MadeRun, run: Run, view: PictureView
) -> None:
    lasso = read(LABEL, view, drawn(LABEL, view, loop(view)))
    assert lasso is not None
    inside, table = selected_by(view, lasso), made.data.samples.table
    found = selected_view(run, LABEL, view, lasso)
    assert (found.selected, found.total) == (inside.sum(), len(table))
    for by in ("dataset", "method"):
        counts = table[by][inside].value_counts()
        assert {g.name: g.selected for g in found.groups[by]} == counts.to_dict()
        assert {g.total for g in found.groups[by]} <= set(table[by].value_counts())
    score = 1 / (1 + np.exp(-made.logits[LABEL].astype(np.float64)))
    assert found.p_fake == pytest.approx(score[inside].mean(), abs=1e-6)
    assert found.rest_p_fake == pytest.approx(score[~inside].mean(), abs=1e-6)
    videos = table[inside].groupby(["dataset", "video", "label"]).ngroups
    assert found.n_videos == videos and len(found.images) == min(24, videos)
    chosen = table.set_index("sample").loc[[image.sample for image in found.images]]
    assert not chosen[["dataset", "method", "video", "label"]].duplicated().any()
    assert {i.sample for i in found.images} <= set(table["sample"][inside])
    at = {s: p for s, p in zip(view.samples["sample"], view.position, strict=True)}
    x0, x1, y0, y1 = view.extent
    middle = np.median(view.position[inside], axis=0)
    away = [np.hypot(*((at[i.sample] - middle) / (x1 - x0, y1 - y0))) for i in found.images]
    assert away == sorted(away)


def test_units_are_compared_over_all_samples(made: MadeRun, run: Run, view: PictureView) -> None:
    text = ruled(Rule(dataset="alpha"))
    lasso = read(LABEL, view, text)
    assert lasso is not None
    inside = selected_by(view, lasso)
    found = telling_view(run, LABEL, view, text)
    wanted = {u: float(auroc(inside, made.activations[LABEL][:, u])[0]) for u in range(UNITS)}
    table = found.table
    assert found.n_units == UNITS and not found.drawn
    for unit, value in zip(table["unit"].values, table["auroc"].values, strict=True):
        assert value == pytest.approx(wanted[int(unit)])
    strength = np.abs(table["auroc"].values - 0.5)
    assert list(strength) == sorted(strength, reverse=True)
    # All of a dataset is selected, and nothing of the others.
    assert np.isnan(table["within"]).all() and table.attrs["n_clusters"] == IDENTITIES


def test_only_some_of_many_samples_are_looked_at(
    run: Run, view: PictureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.queries import selected

    for name, value in (("MOST", 20), ("FIRST", 10), ("CANDIDATES", 5), ("LISTED", 3)):
        monkeypatch.setattr(selected, name, value)
    found = telling_view(run, LABEL, view, ruled(Rule(label="real")))
    assert found.drawn and found.table.sizes["unit"] == 3 and found.n_units == UNITS
    assert found.table.attrs["n_selected"] == found.table.attrs["n_rest"] == 20


def test_what_cannot_be_compared_says_so(run: Run, view: PictureView) -> None:
    with pytest.raises(ProbeError, match="nothing to compare"):
        telling_view(run, LABEL, view, ruled(Rule(dataset="nowhere")))
    first = picture_view(run, LABEL, LAYERS[0], "pca")
    with pytest.raises(ProbeError, match="were not kept"):
        telling_view(run, LABEL, first, ruled(Rule(label="fake")))


@pytest.mark.parametrize("by", list(COLORS))
def test_density_counts_every_sample_once(run: Run, view: PictureView, by: str) -> None:
    color = coloring(run, LABEL, view, by, 3)
    x0, x1, y0, y1 = view.extent
    window = (x0, (x0 + x1) / 2, y0, y1)
    rows = view.seen(window)
    found = density_of(view, color, rows, window)
    assert found.count.sum() == len(rows) < view.total
    up, across = found.count.shape
    for row in rows:
        x, y = view.position[row]
        i = min(int((y - y0) / (y1 - y0) * up), up - 1)
        j = min(int((x - x0) / (window[1] - x0) * across), across - 1)
        assert found.count[i, j] >= 1
        if found.count[i, j] == 1 and color.names:
            assert found.group[i, j] == color.code[row] and found.share[i, j] == 1
        elif found.count[i, j] == 1:
            assert found.mean[i, j] == pytest.approx(color.value[row])
    empty = found.group == -1 if color.names else np.isnan(found.mean)
    assert np.array_equal(empty, found.count == 0)


def test_majority_and_lone_samples(
    run: Run, view: PictureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(density, "GRID", (2, 1))
    monkeypatch.setattr(density, "FEW", 30)
    monkeypatch.setattr(density, "MARKED", 5)
    color = coloring(run, LABEL, view, "label", None)
    x0, x1 = view.extent[:2]
    right = view.position[:, 0] >= (x0 + x1) / 2
    found = density_of(view, color, view.seen(None), None)
    for cell, part in enumerate((~right, right)):
        fakes = color.code[part].mean()
        assert found.count[0, cell] == part.sum()
        assert found.share[0, cell] == pytest.approx(max(fakes, 1 - fakes))
        if fakes != 0.5:
            assert found.group[0, cell] == int(fakes > 0.5)
    sparse = [r for r in range(view.total) if found.count[0, int(right[r])] < 30]
    assert list(found.lone[: len(found.lone) - found.marked]) == sparse
    # Where too many lie alone, none is drawn so.
    monkeypatch.setattr(density, "MOST_LONE", 0)
    monkeypatch.setattr(density, "FEW", 80)
    assert (
        density_of(view, coloring(run, LABEL, view, "score", None), view.seen(None), None).few < 80
    )


@pytest.mark.parametrize("by", list(COLORS))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_density_is_one_map_of_colors_and_is_small(
    run: Run, view: PictureView, by: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST", 20)
    color = coloring(run, LABEL, view, by, 3)
    figure = picture_figure(view, color, None, scheme)
    (heat,) = [trace for trace in figure.data if trace.type == "heatmap"]
    cells, found = np.asarray(heat.z), density_of(view, color, view.seen(None), None)
    assert np.array_equal(cells > 0, found.count > 0) and cells.max() < MOST_COLORS
    assert len(heat.colorscale) == 2 * (heat.zmax + 0.5) and heat.zmax >= cells.max()
    if color.names:
        levels = min(LEVELS, (MOST_COLORS - 1) // len(color.names))
        assert np.array_equal(((cells - 1) // levels)[cells > 0], found.group[cells > 0])
    words = np.asarray(heat.text)
    assert (words[found.count == 0] == "").all() and (words[found.count > 0] != "").all()
    assert len(figure.to_json()) < 120_000


def test_a_click_on_a_cell_picks_the_nearest_sample(
    client: FlaskClient, made: MadeRun, view: PictureView
) -> None:
    for row in (3, 50):
        x, y = view.position[row]
        assert nearest(view, float(x), float(y)) == row
        values = picture() | {f"{ids.PICTURE}.clickData": {"points": [{"x": x, "y": y}]}}
        changed = f"{ids.PICTURE}.clickData"
        found = call(client, f"{ids.PICTURE_URL}.search", values, changed)["response"]
        assert found[ids.PICKED]["data"] == token_of(made.data.samples.table["sample"][row])


def picture(**more: Any) -> dict[str, Any]:
    return {
        f"{ids.LAYER}.value": LAYER,
        f"{ids.SEPARABILITY_DETECTOR}.value": LABEL,
        f"{ids.EMBEDDING}.value": "tsne",
        f"{ids.COLOR}.value": "label",
        f"{ids.SELECTING_URL}.search": "?embedding=tsne",
        f"{ids.SELECTED}.data": "",
        f"{ids.PICTURE_URL}.search": "?embedding=tsne",
        f"{ids.DRAG}.value": "zoom",
    } | more


def test_zooming_asks_again_only_where_there_is_more_to_see(
    client: FlaskClient, view: PictureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0, x1, y0, y1 = view.extent
    changed = f"{ids.PICTURE_WINDOW}.data"
    held = {"key": f"{LAYER} tsne", "range": [x0, x0 + (x1 - x0) / 4, y0, y1]}
    values = picture() | {changed: held}
    seen = len(view.seen(tuple(held["range"])))
    found = call(client, f"{ids.PICTURE}.figure", values, changed)["response"]
    assert ids.PICTURE not in found
    assert f"{seen} of {view.total} samples are in view" in json.dumps(found)
    monkeypatch.setattr(pictures, "MOST", max(seen, 1))
    found = call(client, f"{ids.PICTURE}.figure", values, changed)["response"]
    figure = found[ids.PICTURE]["figure"]
    assert all(trace["type"] == "scatter" for trace in figure["data"])
    assert sum(len(trace.get("customdata", ())) for trace in figure["data"]) in (seen, 5 * seen)
    assert figure["layout"]["xaxis"]["range"] == held["range"][:2]
    whole = call(client, f"{ids.PICTURE}.figure", picture())["response"]
    assert "heatmap" in {trace["type"] for trace in whole[ids.PICTURE]["figure"]["data"]}
    assert "range" not in whole[ids.PICTURE]["figure"]["layout"]["xaxis"]
    assert "drawn as density" in json.dumps(whole)


def test_a_lasso_is_put_into_the_address_and_its_parts_are_shown(
    client: FlaskClient, view: PictureView
) -> None:
    changed = f"{ids.PICTURE}.selectedData"
    values = picture() | {changed: loop(view)}
    found = call(client, f"{ids.SELECTED}.data", values, changed)["response"]
    text = found[ids.SELECTED]["data"]
    assert text == drawn(LABEL, view, loop(view))
    chosen = Selection.parse(found[ids.SELECTING_URL]["search"])
    assert chosen == Selection(embedding="tsne", lasso=text)
    values = picture() | {f"{ids.SELECTED}.data": text}
    shown = json.dumps(call(client, f"{ids.SELECTED_TEXT}.children", values))
    assert "samples are selected" in shown and "/thumb/" in shown
    table = json.dumps(call(client, f"{ids.TELLING}.children", values))
    assert table.count(ids.TELLING_UNIT) == 12 and "no p-value" in table
    patch = json.dumps(call(client, f"{ids.SELECTED_CLEAR}.disabled", values))
    assert "selectionrevision" in patch and "path" in patch
    # The picture reports the outline that it was given: nothing changes.
    values |= {changed: loop(view), f"{ids.SELECTING_URL}.search": chosen.search}
    body = call(client, f"{ids.SELECTED}.data", values, changed)
    assert body is None or not body.get("response")


def test_a_forged_selection_in_an_address_is_answered_with_a_message(client: FlaskClient) -> None:
    values = picture() | {f"{ids.SELECTED}.data": "p<script>"}
    for output in (f"{ids.SELECTED_TEXT}.children", f"{ids.TELLING}.children"):
        assert "no selection that can be read" in json.dumps(call(client, output, values))
    assert call(client, f"{ids.PICTURE}.figure", values)["response"][ids.PICTURE]["figure"]["data"]


@pytest.mark.parametrize("kind", ["lasso", "rule"])
def test_the_units_can_be_had_as_a_file_and_as_python(
    client: FlaskClient,
    made: MadeRun,
    run: Run,
    view: PictureView,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = drawn(LABEL, view, loop(view)) if kind == "lasso" else ruled(Rule("", "fake", "", 0.3))
    search = Selection(detector=LABEL, embedding="tsne", lasso=text).search
    answer = client.get(f"/export/selection-units.csv{search}")
    frame = pd.read_csv(io.BytesIO(answer.data), comment="#")
    wanted = telling_view(run, LABEL, view, text).table
    assert list(frame["unit"]) == list(wanted["unit"].values)
    assert np.allclose(frame["auroc"], wanted["auroc"]) and "within_low" in frame
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(client.get(f"/export/selection-units.py{search}").text, names)
    for name in ("unit", "auroc", "low", "within"):
        assert np.allclose(names["table"][name], wanted[name], equal_nan=True)
    answer = client.get("/export/selection-units.csv")
    assert answer.status_code == 404 and "Nothing is selected" in answer.text


def test_units_are_read_alike_from_a_copy_by_unit(
    made: MadeRun, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, places = np.array([5, 70, 0, 33]), np.array([2, 3, 11])
    wanted = made.activations[LABEL][rows]

    def found() -> tuple[np.ndarray, np.ndarray]:
        every = list(rows_by_unit(run, LABEL, LAYER, rows))
        some = list(rows_by_unit(run, LABEL, LAYER, rows, places))
        return np.concatenate(every, axis=1), np.concatenate(some, axis=1)

    every, some = found()
    assert np.array_equal(every, wanted) and np.array_equal(some, wanted[:, places])
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path))
    monkeypatch.setattr(activations, "SMALL", 0)
    monkeypatch.setattr(activations, "BLOCK", 1000)
    for _ in range(200):
        try:
            every, some = found()
            break
        except ArrangingError:
            time.sleep(0.02)
    assert list(tmp_path.rglob("*.bin"))
    assert np.array_equal(every, wanted) and np.array_equal(some, wanted[:, places])
