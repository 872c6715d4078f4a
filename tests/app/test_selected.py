"""Selections in a picture: as text in an address, what they hold, and density."""

from __future__ import annotations

import io
import json
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from flask.testing import FlaskClient

from app import activations, ids
from app.activations import ArrangingError, rows_by_unit
from app.card import At
from app.lasso import CORNERS, LONGEST, Rule, drawn, read, ruled
from app.pages.picture import _compared, colored, frame_of, groups_of, images_of, nearest
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.errors import ProbeError
from probe.images import token_of
from probe.plots import density
from probe.plots import embedding as pictures
from probe.plots.density import LEVELS, MOST_COLORS, density_of, extent_of
from probe.plots.embedding import coloring, seen_in
from probe.plots.theme import DARK, LIGHT, Theme
from probe.separability import compare_selection, selection
from probe.stats import auroc
from tests.app.calling import call
from tests.app.making import DATASETS, DETECTORS, FRAMES, IDENTITIES, LAYER, LAYERS, UNITS, MadeRun
from tests.app.test_pictures import FIGURE, draw
from tests.app.test_pictures import at as here
from tests.app.test_separability import shown

LABEL = DETECTORS[0]
HALF = len(DATASETS) * IDENTITIES * FRAMES
COLORS = ["label", "dataset", "method", "score", "unit"]


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def at(run: Run, **chosen: Any) -> At:
    return here(run, **{"embedding": "tsne", **chosen})


@pytest.fixture
def frame(run: Run) -> pd.DataFrame:
    return frame_of(at(run))


def loop(frame: pd.DataFrame, corners: int = 200, size: float = 0.35) -> dict[str, Any]:
    """What plotly reports of a lasso drawn as a circle."""
    x0, x1, y0, y1 = extent_of(frame)
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    x = (x0 + x1) / 2 + size * (x1 - x0) * np.cos(turn)
    y = (y0 + y1) / 2 + size * (y1 - y0) * np.sin(turn)
    return {"points": [], "lassoPoints": {"x": list(x), "y": list(y)}}


def box(frame: pd.DataFrame) -> dict[str, Any]:
    """What plotly reports of a box over the left half, drawn from the right."""
    x0, x1, y0, y1 = extent_of(frame)
    return {"points": [], "range": {"x": [(x0 + x1) / 2, x0 - 0.01], "y": [y1 + 0.01, y0 - 0.01]}}


def test_a_lasso_fits_into_an_address_and_holds_what_it_went_round(frame: pd.DataFrame) -> None:
    text = drawn(LABEL, frame, loop(frame))
    assert len(text) == 5 + 6 * CORNERS <= LONGEST and text.isalnum()
    lasso = read(LABEL, frame, text)
    assert lasso is not None and len(lasso.corners) == CORNERS
    x0, x1, y0, y1 = extent_of(frame)
    position = frame[["x", "y"]].to_numpy()
    away = (position - ((x0 + x1) / 2, (y0 + y1) / 2)) / (x1 - x0, y1 - y0)
    distance, inside = np.hypot(*away.T), lasso.inside(frame)
    # 24 corners of a circle miss 1.2% of its area at the rim.
    assert inside[distance < 0.34].all() and not inside[distance > 0.36].any()
    assert 0 < inside.sum() < len(frame)


def test_what_was_read_is_written_as_it_was(frame: pd.DataFrame) -> None:
    for event in (loop(frame), loop(frame, 5), box(frame)):
        text = drawn(LABEL, frame, event)
        lasso = read(LABEL, frame, text)
        assert lasso is not None
        x, y = lasso.corners.T
        again: dict[str, Any] = {"lassoPoints": {"x": list(x), "y": list(y)}}
        if lasso.box:
            again = {"range": {"x": [x.min(), x.max()], "y": [y.min(), y.max()]}}
        assert drawn(LABEL, frame, again) == text
        if not lasso.box:
            # As plotly reports an outline that it was given: it ends where it begins.
            closed = {"x": [*x, x[0]], "y": [*y, y[0]]}
            assert drawn(LABEL, frame, {"lassoPoints": closed}) == text
        (shape,) = lasso.outline
        assert shape["type"] == ("rect" if lasso.box else "path")


def test_a_box_holds_what_lies_in_it(frame: pd.DataFrame) -> None:
    lasso = read(LABEL, frame, drawn(LABEL, frame, box(frame)))
    assert lasso is not None
    x0, x1 = extent_of(frame)[:2]
    assert list(lasso.inside(frame)) == list(frame["x"] < (x0 + x1) / 2)


def test_a_polygon_with_a_notch_leaves_the_notch_out(frame: pd.DataFrame) -> None:
    x0, x1, y0, y1 = extent_of(frame)
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    x = [x0 - 0.1, x1 + 0.1, middle[0], x1 + 0.1, x0 - 0.1]
    y = [y0 - 0.1, y0 - 0.1, middle[1], y1 + 0.1, y1 + 0.1]
    lasso = read(LABEL, frame, drawn(LABEL, frame, {"lassoPoints": {"x": x, "y": y}}))
    assert lasso is not None
    position = frame[["x", "y"]].to_numpy()
    right = (position - middle) / (x1 + 0.1 - middle[0], y1 + 0.1 - middle[1])
    notch = right[:, 0] > np.abs(right[:, 1])
    sure = np.abs(right[:, 0] - np.abs(right[:, 1])) > 0.01
    assert list(lasso.inside(frame)[sure]) == list(~notch[sure])


def test_a_polygon_belongs_to_one_picture(run: Run, frame: pd.DataFrame) -> None:
    text = drawn(LABEL, frame, loop(frame))
    other = frame_of(at(run, embedding="pca"))
    assert read(LABEL, other, text) is None
    assert read(DETECTORS[1], frame, text) is None
    assert read(LABEL, other, ruled(Rule(label="fake"))) is not None


def test_a_rule_is_what_its_fields_say(made: MadeRun, frame: pd.DataFrame) -> None:
    table = made.data.samples.table
    score = 1 / (1 + np.exp(-made.logits[LABEL].astype(np.float64)))
    rule = Rule("beta", "fake", "", 0.25, 0.75)
    lasso = read(LABEL, frame, ruled(rule))
    assert lasso is not None and lasso.rule == rule and lasso.outline == []
    wanted = (table["dataset"] == "beta") & (table["label"] == 1) & (abs(score - 0.5) <= 0.25)
    assert list(lasso.inside(frame)) == list(wanted) and 0 < wanted.sum() < 12
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
def test_a_forged_selection_is_refused(frame: pd.DataFrame, text: str) -> None:
    with pytest.raises(ProbeError, match="address"):
        read(LABEL, frame, text)


def test_what_plotly_reports_without_an_outline_selects_nothing(frame: pd.DataFrame) -> None:
    for event in (None, {}, {"points": []}, {"lassoPoints": {"x": [1], "y": [1]}}):
        assert drawn(LABEL, frame, event) == ""


def test_a_selection_is_counted_and_its_images_are_near_its_middle(
    made: MadeRun, run: Run, frame: pd.DataFrame
) -> None:
    text = drawn(LABEL, frame, loop(frame))
    lasso = read(LABEL, frame, text)
    assert lasso is not None
    inside, table = lasso.inside(frame), made.data.samples.table
    said = shown(run, "selection", Selection(embedding="tsne", lasso=text).search)
    assert f'"{inside.sum()}"' in said and f" of {len(table)} samples are selected" in said
    for by in ("dataset", "method"):
        counts = table[by][inside].value_counts()
        found = groups_of(frame, inside, by)
        assert {name: here for name, here, _ in found} == counts.to_dict()
        assert {total for _, _, total in found} <= set(table[by].value_counts())
    score = 1 / (1 + np.exp(-made.logits[LABEL].astype(np.float64)))
    assert (
        f'"{score[inside].mean():.2f}"' in said and f"elsewhere {score[~inside].mean():.2f}" in said
    )
    images, n_videos = images_of(at(run), np.flatnonzero(inside))
    videos = table[inside].groupby(["dataset", "video", "label"]).ngroups
    assert n_videos == videos and len(images) == min(24, videos)
    assert said.count("/thumb/") == len(images)
    chosen = table.set_index("sample").loc[[image.sample for image in images]]
    assert not chosen[["dataset", "method", "video", "label"]].duplicated().any()
    assert {i.sample for i in images} <= set(table["sample"][inside])
    position = frame[["x", "y"]].to_numpy()
    places = dict(zip(frame["sample"], position, strict=True))
    x0, x1, y0, y1 = extent_of(frame)
    middle = np.median(position[inside], axis=0)
    away = [np.hypot(*((places[i.sample] - middle) / (x1 - x0, y1 - y0))) for i in images]
    assert away == sorted(away)


def test_units_are_compared_over_all_samples(made: MadeRun, run: Run, frame: pd.DataFrame) -> None:
    text = ruled(Rule(dataset="alpha"))
    lasso = read(LABEL, frame, text)
    assert lasso is not None
    inside = lasso.inside(frame)
    table = _compared(at(run, lasso=text))
    wanted = {u: float(auroc(inside, made.activations[LABEL][:, u])[0]) for u in range(UNITS)}
    assert table.attrs["n_units"] == UNITS and not table.attrs["drawn"]
    for unit, value in zip(table["unit"].values, table["auroc"].values, strict=True):
        assert value == pytest.approx(wanted[int(unit)])
    strength = np.abs(table["auroc"].values - 0.5)
    assert list(strength) == sorted(strength, reverse=True)
    # All of a dataset is selected, and nothing of the others.
    assert np.isnan(table["within"]).all() and table.attrs["n_clusters"] == IDENTITIES


def test_a_script_compares_what_the_page_does(run: Run, frame: pd.DataFrame) -> None:
    for text in (drawn(LABEL, frame, loop(frame)), ruled(Rule("", "fake", "", 0.3))):
        lasso = read(LABEL, frame, text)
        assert lasso is not None
        found = compare_selection(
            run.embeddings(LABEL),
            run.store(LABEL),
            LAYER,
            method="tsne",
            corners=lasso.corners,
            rule=lasso.rule and lasso.rule.given,
        )
        assert found.identical(_compared(at(run, lasso=text)))


def test_only_some_of_many_samples_are_looked_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST", 20), ("FIRST", 10), ("CANDIDATES", 5), ("LISTED", 3)):
        monkeypatch.setattr(selection, name, value)
    table = _compared(at(run, lasso=ruled(Rule(label="real"))))
    assert table.attrs["drawn"] and table.sizes["unit"] == 3 and table.attrs["n_units"] == UNITS
    assert table.attrs["n_selected"] == table.attrs["n_rest"] == 20
    assert table.attrs["screened"] == 20


def test_what_cannot_be_compared_says_so(run: Run) -> None:
    with pytest.raises(ProbeError, match="nothing to compare"):
        _compared(at(run, lasso=ruled(Rule(dataset="nowhere"))))
    with pytest.raises(ProbeError, match="were not kept"):
        _compared(at(run, layer=LAYERS[0], lasso=ruled(Rule(label="fake"))))
    assert "No sample lies" in shown(run, "selection", "?lasso=rdataset%3Dnowhere")


@pytest.mark.parametrize("by", COLORS)
def test_density_counts_every_sample_once(run: Run, by: str) -> None:
    given, column = colored(at(run, color=by, unit="3"))
    color = coloring(given, column)
    x0, x1, y0, y1 = extent_of(given)
    window = (x0, (x0 + x1) / 2, y0, y1)
    rows = seen_in(given, window)
    found = density_of(given, color, rows, window)
    assert found.count.sum() == len(rows) < len(given)
    up, across = found.count.shape
    for row in rows:
        x, y = given[["x", "y"]].to_numpy()[row]
        i = min(int((y - y0) / (y1 - y0) * up), up - 1)
        j = min(int((x - x0) / (window[1] - x0) * across), across - 1)
        assert found.count[i, j] >= 1
        if found.count[i, j] == 1 and color.names:
            assert found.group[i, j] == color.code[row] and found.share[i, j] == 1
        elif found.count[i, j] == 1:
            assert found.mean[i, j] == pytest.approx(color.value[row])
    empty = found.group == -1 if color.names else np.isnan(found.mean)
    assert np.array_equal(empty, found.count == 0)


def test_majority_and_lone_samples(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "GRID", (2, 1))
    monkeypatch.setattr(density, "FEW", 30)
    monkeypatch.setattr(density, "MARKED", 5)
    color, rows = coloring(frame, "label"), np.arange(len(frame))
    x0, x1 = extent_of(frame)[:2]
    right = frame["x"].to_numpy() >= (x0 + x1) / 2
    found = density_of(frame, color, rows, None)
    for cell, part in enumerate((~right, right)):
        fakes = color.code[part].mean()
        assert found.count[0, cell] == part.sum()
        assert found.share[0, cell] == pytest.approx(max(fakes, 1 - fakes))
        if fakes != 0.5:
            assert found.group[0, cell] == int(fakes > 0.5)
    sparse = [r for r in rows if found.count[0, int(right[r])] < 30]
    assert list(found.lone[: len(found.lone) - found.marked]) == sparse
    # Where too many lie alone, none is drawn so.
    monkeypatch.setattr(density, "MOST_LONE", 0)
    monkeypatch.setattr(density, "FEW", 80)
    assert density_of(frame, coloring(frame, "p_fake"), rows, None).few < 80


@pytest.mark.parametrize("by", COLORS)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_density_is_one_map_of_colors_and_is_small(
    run: Run, by: str, theme: Theme, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_POINTS", 20)
    given, column = colored(at(run, color=by, unit="3"))
    color = coloring(given, column)
    figure = plots.figure_layer_embedding(
        given, theme, by=column, link=lambda sample: f"sample={token_of(sample)}"
    )
    (heat,) = [trace for trace in go.Figure(figure).data if trace.type == "heatmap"]
    found = density_of(given, color, np.arange(len(given)), None)
    (sent,) = [trace["z"] for trace in figure["data"] if trace["type"] == "heatmap"]
    assert sent["dtype"] == "u1"
    cells = np.frombuffer(b64decode(sent["bdata"]), np.uint8).reshape(found.count.shape)
    assert np.array_equal(cells > 0, found.count > 0) and cells.max() < MOST_COLORS
    assert len(heat.colorscale) == 2 * (heat.zmax + 0.5) and heat.zmax >= cells.max()
    if color.names:
        levels = min(LEVELS, (MOST_COLORS - 1) // len(color.names))
        assert np.array_equal(((cells - 1) // levels)[cells > 0], found.group[cells > 0])
    texts = np.asarray(heat.text)
    assert (texts[found.count == 0] == "").all() and (texts[found.count > 0] != "").all()
    assert len(json.dumps(figure)) < 120_000


def choose(client: FlaskClient, search: str = "?embedding=tsne", **given: Any) -> Any:
    """What a report of the picture chooses; None where it chooses nothing."""
    (name,) = given
    values = {f"picture-{name}.data": given[name], f"{ids.URL}.search": search}
    answer = call(client, "picture-chosen.data", values, f"picture-{name}.data")
    return answer and answer["response"].get("picture-chosen", {}).get("data")


def test_a_click_on_a_cell_picks_the_nearest_sample(
    client: FlaskClient, made: MadeRun, frame: pd.DataFrame
) -> None:
    names = made.data.samples.table["sample"]
    for row in (3, 50):
        x, y = map(float, frame[["x", "y"]].to_numpy()[row])
        assert nearest(frame, x, y) == names[row]
        assert choose(client, click={"x": x, "y": y}) == [["sample", token_of(names[row])]]
    for forged in (None, 3, {}, {"x": "a", "y": 1}, {"x": 1}, {"x": 10**400, "y": 0}):
        assert choose(client, click=forged) is None


def test_zooming_asks_again_only_where_there_is_more_to_see(
    client: FlaskClient, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    x0, x1, y0, y1 = extent_of(frame)
    held = {"key": f"{LAYER} tsne", "range": [x0, x0 + (x1 - x0) / 4, y0, y1]}
    seen = len(seen_in(frame, tuple(held["range"])))
    search, changed = "?embedding=tsne", "picture-window.data"
    found = draw(client, search, changed, picture_window__data=held)
    assert FIGURE not in found
    assert f"{seen} of {len(frame)} samples are in view" in json.dumps(found)
    monkeypatch.setattr(pictures, "MOST_POINTS", max(seen, 1))
    figure = draw(client, search, changed, picture_window__data=held)[FIGURE]["figure"]
    assert all(trace["type"] == "scatter" for trace in figure["data"])
    assert sum(len(trace.get("customdata", ())) for trace in figure["data"]) == seen
    assert figure["layout"]["xaxis"]["range"] == held["range"][:2]
    whole = draw(client, search)
    assert "heatmap" in {trace["type"] for trace in whole[FIGURE]["figure"]["data"]}
    assert "range" not in whole[FIGURE]["figure"]["layout"]["xaxis"]
    assert "drawn as density" in json.dumps(whole)


def test_a_lasso_is_put_into_the_address_and_its_parts_are_shown(
    client: FlaskClient, run: Run, frame: pd.DataFrame
) -> None:
    event = {name: value for name, value in loop(frame).items() if name != "points"}
    text = drawn(LABEL, frame, event)
    assert choose(client, drawn=event) == [["lasso", text]]
    assert choose(client, drawn={"lassoPoints": {"x": [1]}}) is None
    search = Selection(embedding="tsne", lasso=text).search
    said = shown(run, "selection", search)
    assert "samples are selected" in said and "/thumb/" in said and "Clear" in said
    table = shown(run, "selection-units", search)
    assert table.count("unit-button") == 12 and "no p-value" in table
    assert "unit=3&color=unit" in table
    chosen = shown(run, "selection-units", f"{search}&unit=3")
    assert chosen.count('"aria-current": "true"') == 1
    layout = draw(client, search)[FIGURE]["figure"]["layout"]
    assert layout["selections"][0]["type"] == "path" and layout["selectionrevision"] == text


def test_a_rule_is_put_into_the_address(client: FlaskClient) -> None:
    values = {
        "rule-select.n_clicks": 1,
        "rule-label.value": "fake",
        "rule-low.value": 0.8,
        "rule-high.value": 0.3,
    }
    found = call(client, "rule-chosen.data", values)["response"]["rule-chosen"]["data"]
    assert found == [["lasso", ruled(Rule("", "fake", "", 0.3, 0.8))]]
    # A form that is laid out anew reports itself, and nobody clicked on it.
    again = call(client, "rule-chosen.data", values | {"rule-select.n_clicks": None})
    assert "lasso" not in json.dumps(again)


def test_a_forged_selection_in_an_address_is_answered_with_a_message(
    client: FlaskClient, run: Run
) -> None:
    search = "?lasso=p%3Cscript%3E"
    for name in ("selection", "selection-units"):
        assert "no selection that can be read" in shown(run, name, search)
    assert draw(client, search)[FIGURE]["figure"]["data"]


@pytest.mark.parametrize("kind", ["lasso", "rule"])
def test_the_units_can_be_had_as_a_file_and_as_python(
    client: FlaskClient,
    run: Run,
    frame: pd.DataFrame,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = drawn(LABEL, frame, loop(frame)) if kind == "lasso" else ruled(Rule("", "fake", "", 0.3))
    search = Selection(detector=LABEL, embedding="tsne", lasso=text).search
    answer = client.get(f"/export/selection-units.csv{search}")
    found = pd.read_csv(io.BytesIO(answer.data), comment="#")
    wanted = _compared(at(run, lasso=text))
    assert list(found["unit"]) == list(wanted["unit"].values)
    assert np.allclose(found["auroc"], wanted["auroc"]) and "within_low" in found
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
