"""The picture of a layer: positions, colorings, and the image behind a point."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import numpy as np
import plotly.graph_objects as go
import pytest
from flask.testing import FlaskClient

from app import ids
from app.card import At, part
from app.pages import declared
from app.pages.picture import COLORS, colored, frame_of, note, place_of, window_of
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.plots.density import extent_of
from probe.plots.embedding import RING, coloring, seen_in
from probe.plots.style import contrast
from probe.plots.theme import DARK, LIGHT, Theme
from probe.separability.report import Embeddings
from tests.app.calling import call, exported, said
from tests.app.drawing import KINDS, make_embeddings
from tests.app.making import DATASETS, DETECTORS, LAYER, LAYERS, UNITS, MadeRun
from tests.app.test_separability import shown

LABEL = DETECTORS[0]
FIGURE = json.dumps(part("graph", "embedding"), sort_keys=True, separators=(",", ":"))


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def at(run: Run, **chosen: Any) -> At:
    return At(run, Selection(**chosen))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_picture_is_its_part_of_the_table(made: MadeRun, run: Run, layer: str, kind: str) -> None:
    here = at(run, layer=layer, embedding=kind)
    frame = frame_of(here)
    table = Embeddings.open(made.folder.path("embeddings", LABEL)).data
    one = table.sel({"layer": layer, "method": kind})
    for row in frame.to_dict("records"):
        place = list(one["position"].sel(sample=row["sample"]).values)
        assert [row["x"], row["y"]] == place
        assert place_of(here.but(sample=token_of(row["sample"]))) == tuple(place)
    assert frame.attrs["trustworthiness"] == float(one["trustworthiness"])
    assert frame.attrs["preservation"] == float(one["preservation"])
    assert len(frame) == len(made.data) and frame.attrs["n_fitted"] == int(table["fitted"].sum())


def test_kinds_of_pictures_are_those_of_the_table(run: Run) -> None:
    assert declared(run, "/separability", "")["controls"]["embedding"]["first"] == KINDS[0]


def test_what_was_not_embedded_is_refused(run: Run) -> None:
    found, samples = run.embeddings(LABEL), run.store(LABEL).samples
    with pytest.raises(UnknownNameError, match="Did you mean 'leaky'"):
        plots.layer_embedding(found, samples, layer="leky", method="pca")
    with pytest.raises(UnknownNameError, match="umap"):
        plots.layer_embedding(found, samples, layer=LAYER, method="umpa")


def test_points_are_colored_by_what_the_store_says(made: MadeRun, run: Run) -> None:
    table = made.data.samples.table
    for by in ("label", "dataset", "method"):
        found = coloring(*colored(at(run, color=by)))
        wanted = table[by] if by != "label" else table["label"].map({0: "real", 1: "fake"})
        assert [found.names[code] for code in found.code] == list(wanted)
    score = coloring(*colored(at(run, color="score")))
    assert np.allclose(score.value, 1 / (1 + np.exp(-made.logits[LABEL])), atol=1e-6)
    unit = coloring(*colored(at(run, color="unit", unit="5")))
    assert np.allclose(unit.value, made.activations[LABEL][:, 5])
    assert not unit.names and not len(unit.code)


def test_the_order_of_the_sample_table_does_not_matter(made: MadeRun, run: Run) -> None:
    found, samples = run.embeddings(LABEL), run.store(LABEL).samples
    turned = samples.iloc[::-1].reset_index(drop=True)
    value = np.arange(len(samples), dtype=float)
    given = {"layer": LAYER, "method": "pca", "by": "unit_0"}
    one = plots.layer_embedding(found, samples, value, **given)
    other = plots.layer_embedding(found, turned, value[::-1], **given)
    assert one.equals(other) and list(one["sample"]) == list(found.data["sample"].values)


def test_datasets_come_in_the_order_of_the_run(run: Run) -> None:
    frame = frame_of(at(run))
    assert coloring(frame.iloc[::-1], "dataset").names == DATASETS
    # Methods that are no datasets come after those that are.
    assert coloring(frame, "method").names == (*DATASETS, "real")


def test_units_are_shown_only_of_layers_that_were_kept(run: Run) -> None:
    with pytest.raises(ProbeError, match="were not kept"):
        colored(at(run, layer=LAYERS[0], color="unit"))
    with pytest.raises(ProbeError, match="not in this table"):
        colored(at(run, color="unit", unit=str(UNITS)))
    with pytest.raises(UnknownNameError):
        colored(at(run, color="color"))


def test_a_window_shows_what_lies_in_it(run: Run) -> None:
    frame = frame_of(at(run))
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    window = (float(np.median(x)), float(x.max()), float(y.min()), float(np.median(y)))
    wanted = [i for i in range(len(x)) if x[i] >= window[0] and y[i] <= window[3]]
    assert list(seen_in(frame, window)) == wanted and 0 < len(wanted) < len(x)
    assert len(seen_in(frame, None)) == len(seen_in(frame, extent_of(frame))) == len(x)


def test_what_is_in_view_is_read_from_what_the_browser_holds(run: Run) -> None:
    frame = frame_of(at(run))
    x0, x1, y0, y1 = extent_of(frame)
    half = (x0 + x1) / 2
    key = f"{LAYER} pca"
    assert window_of(frame, {"key": key, "range": [x0, half, y0, y1]}) == (x0, half, y0, y1)
    # A zoom along one axis alone, and an axis that was turned round.
    assert window_of(frame, {"key": key, "range": [half, x0, None, None]}) == (x0, half, y0, y1)
    assert window_of(frame, {"key": key, "range": [x0 - 1, x1 + 1, y0, y1]}) is None
    assert window_of(frame, {"key": f"{LAYER} umap", "range": [x0, half, y0, y1]}) is None
    for forged in (
        None,
        3,
        {},
        {"key": key},
        {"key": key, "range": ["a"]},
        {"key": key, "range": [1, 2]},
        {"key": key, "range": [float("nan")] * 4},
        {"key": key, "range": [10**400] * 4},
    ):
        assert window_of(frame, forged) is None


def test_the_picked_image_is_the_samples(made: MadeRun, run: Run) -> None:
    table = made.data.samples.table
    for row in (0, 2, len(table) - 1):
        token = token_of(table["sample"][row])
        text = shown(run, "picked", f"?sample={token}&color=unit&unit=3")
        assert f"/thumb/{token}" in text and table["dataset"][row] in text
        assert f"video {table['video'][row]}" in text
        assert f'"{"fake" if table["label"][row] else "real"}"' in text
        score = 1 / (1 + np.exp(-float(made.logits[LABEL][row])))
        assert f'"{score:.2f}"' in text
        value = f"{abs(float(made.activations[LABEL][row, 3])):.2f}"
        assert "Unit 3" in text and value[:3] in text
        assert "Unit" not in shown(run, "picked", f"?sample={token}")
    assert "Click on a point" in shown(run, "picked")


@pytest.mark.parametrize("token", ["../../etc/passwd", "x", "0", "a" * 24])
def test_a_forged_token_is_no_image(run: Run, token: str) -> None:
    assert "not in this run" in shown(run, "picked", f"?sample={token}")
    assert place_of(at(run, sample=token)) is None


def test_a_picture_of_other_recordings_is_refused(own: MadeRun) -> None:
    rng = np.random.default_rng(0)
    names = [f"other-{i}" for i in range(8)]
    make_embeddings(rng, names, LAYERS).save(own.folder.path("embeddings", LABEL))
    with pytest.raises(StoreError, match="holds no sample 'other-0'"):
        frame_of(at(Run(own.folder)))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("color", list(COLORS))
def test_every_sample_is_drawn_once(run: Run, color: str, theme: Theme) -> None:
    frame, by = colored(at(run, embedding="tsne", color=color, unit="2"))
    drawn = go.Figure(
        plots.figure_layer_embedding(
            frame, theme, by=by, ring=(0.25, -0.5), link=lambda sample: f"sample={sample}"
        )
    )
    ring, corners, *groups = drawn.data
    x0, x1, y0, y1 = extent_of(frame)
    assert (list(corners.x), list(corners.y)) == ([x0, x1], [y0, y1])
    assert drawn.data[RING] == ring and (list(ring.x), list(ring.y)) == ([0.25], [-0.5])
    places = {
        query: (x, y) for t in groups for query, x, y in zip(t.customdata, t.x, t.y, strict=True)
    }
    assert places == {f"sample={r['sample']}": (r["x"], r["y"]) for r in frame.to_dict("records")}
    if coloring(frame, by).names:
        # No group is told from another by color alone.
        assert len({t.marker.symbol for t in groups}) == len(groups)
    assert drawn.layout.uirevision == f"{LAYER} tsne"
    nowhere = plots.figure_layer_embedding(frame, theme, by=by)["data"]
    assert nowhere[RING]["x"] == [] and "customdata" not in nowhere[2]


def test_markup_in_names_is_text(run: Run) -> None:
    name = "<img src=x onerror=alert(1)>"
    frame = frame_of(at(run)).assign(dataset=name, method=name)
    for by in ("label", "dataset"):
        text = json.dumps(plots.figure_layer_embedding(frame, by=by))
        assert "<img" not in text and "&lt;img" in text


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_no_point_vanishes_in_the_ground(theme: Theme) -> None:
    for color in (*theme.points, *theme.ramp, *theme.series):
        assert contrast(color, theme.ground) >= 2, color
    for color in (*theme.points, *theme.ramp):
        assert contrast(color, theme.ground) >= 3, color


def draw(
    client: FlaskClient, search: str = "", changed: str = "picture-key.data", **held: Any
) -> Any:
    """What the picture's callback answers."""
    values = {
        "picture-key.data": [],
        f"{ids.URL}.search": search,
        f"{ids.SCHEME}.data": "light",
        "picture-drag.value": "zoom",
    } | {name.replace("__", ".").replace("_", "-"): value for name, value in held.items()}
    return call(client, "picture-note.children", values, changed)["response"]


def test_a_click_picks_the_image_of_its_point(client: FlaskClient, made: MadeRun) -> None:
    figure = draw(client)[FIGURE]["figure"]
    queries = [q for trace in figure["data"] for q in trace.get("customdata", ())]
    names = made.data.samples.table["sample"]
    assert sorted(queries) == sorted(f"sample={token_of(name)}" for name in names)


def test_what_is_picked_is_ringed_at_first_and_later(client: FlaskClient, made: MadeRun) -> None:
    search = f"?sample={token_of(made.data.samples.table['sample'][5])}"
    ring = draw(client, search)[FIGURE]["figure"]["data"][RING]
    values = {"picture-marks.data": ["x", ""], f"{ids.URL}.search": search}
    (output,) = (
        one["output"]
        for one in client.get("/_dash-dependencies").get_json()
        if any(given["id"] == "picture-marks" for given in one["inputs"])
    )
    answer = call(client, output, values)["response"]
    changes = next(iter(next(iter(answer.values())).values()))["operations"]
    there = {tuple(one["location"]): one["params"].get("value") for one in changes}
    assert there["data", RING, "x"] == ring["x"] and there["data", RING, "y"] == ring["y"]


def test_the_note_states_how_far_the_picture_can_be_believed(client: FlaskClient, run: Run) -> None:
    frame = frame_of(at(run))
    text = json.dumps(draw(client), ensure_ascii=False)
    assert f"{frame.attrs['trustworthiness']:.2f}" in text
    assert f"{frame.attrs['preservation']:.0%}" in text
    assert "no measurement" in text and "were projected into it" in text
    said = json.dumps(note(frame, 10), default=lambda c: c.to_plotly_json())
    assert f"10 of {len(frame)} samples are in view" in said


@pytest.mark.parametrize(
    "given", ["../../../../etc/passwd", "%00", "-1", "a" * 5000, "<script>"], ids=range(5)
)
@pytest.mark.parametrize("name", ["detector", "layer", "measure", "embedding", "color"])
def test_a_forged_choice_is_answered_with_a_message(
    client: FlaskClient, run: Run, name: str, given: str
) -> None:
    search = f"?{name}={quote(given)}"
    text = said(client, "/separability", search) + shown(run, "depth", search)
    text += json.dumps(draw(client, search))
    assert "root:" not in text and "Traceback" not in text
    assert "is not known" in text or "characters" in text


def test_a_unit_that_is_not_there_is_answered_with_a_message(client: FlaskClient) -> None:
    assert "is not in this table" in json.dumps(draw(client, "?color=unit&unit=99"))


def test_the_points_can_be_had_as_a_file(client: FlaskClient, run: Run, made: MadeRun) -> None:
    frame = exported(client, "embedding", "?embedding=pca&color=unit&unit=2")
    wanted = frame_of(at(run))
    assert list(frame["sample"]) == list(wanted["sample"])
    assert np.allclose(frame["unit_2"], made.activations[LABEL][:, 2], atol=1e-6)
    assert np.allclose(frame[["x", "y"]], wanted[["x", "y"]], atol=1e-6)


@pytest.mark.parametrize("search", ["", "?color=score", "?color=method", "?color=unit&unit=2"])
def test_the_picture_can_be_had_as_python_and_for_print(
    client: FlaskClient, search: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    exec(client.get(f"/export/embedding.py{search}").text, names)
    wanted = exported(client, "embedding", search)
    assert np.allclose(names["table"][["x", "y"]], wanted[["x", "y"]])
    assert list(names["table"].columns) == list(wanted.columns)
    assert (tmp_path / "embedding.pdf").read_bytes().startswith(b"%PDF")
    assert client.get(f"/export/embedding.pdf{search}").data.startswith(b"%PDF")
