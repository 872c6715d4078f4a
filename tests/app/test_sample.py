"""One image through everything: what the page says, against the arrays that were drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.card import At
from app.pages import CARDS, sample
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.datasets.dataset import Dataset, Samples, write_native
from probe.errors import ProbeError, UnknownNameError
from probe.evaluation.one_image import Spread, spread_of_reals
from probe.images import token_of
from probe.plots.theme import DARK, LIGHT
from tests.app.calling import call, card_of, exported, said
from tests.app.conftest import client_of
from tests.app.drawing import MEASUREMENTS
from tests.app.making import DETECTORS, FRAMES, LAYER, MadeRun

SAMPLE = "beta-3-1-0"
LABEL = DETECTORS[0]

#: Cards that show something of the image.
SHOWING = ("sample-view", "sample-scores", "sample-units", "sample-measurements", "sample-place")


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def at_of(run: Run, name: str = SAMPLE, **chosen: Any) -> At:
    return At(run, Selection(sample=token_of(name), **chosen))


def frame_of(card: str, at: At) -> pd.DataFrame:
    call = CARDS[card].call
    assert call is not None
    return call(at).frame()


def rows_of(made: MadeRun, **equal: Any) -> np.ndarray:
    table = made.data.samples.table
    keep = np.ones(len(table), dtype=bool)
    for name, value in equal.items():
        keep &= (table[name] == value).to_numpy()
    return np.flatnonzero(keep)


def place(made: MadeRun, sample: str = SAMPLE) -> int:
    return int(rows_of(made, sample=sample)[0])


def deviations(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The definition, written down once more."""
    center = np.median(among, axis=0)
    with np.errstate(invalid="ignore"):
        return (values - center) / (1.4826 * np.median(np.abs(among - center), axis=0))


def shown(client: FlaskClient, card: str, search: str = "") -> str:
    """What a card says, as text."""
    return json.dumps(card_of(client, card, search), ensure_ascii=False)


def test_scores_are_placed_among_the_same_dataset(made: MadeRun, run: Run) -> None:
    frame = frame_of("sample-scores", at_of(run))
    assert list(frame["detector"]) == list(DETECTORS)
    assert (frame.attrs["kind"], frame.attrs["dataset"]) == ("fake", "beta")
    for one in frame.to_dict("records"):
        logits = made.logits[one["detector"]].astype(np.float64)
        own = logits[place(made)]
        assert one["logit"] == pytest.approx(own) and one["right"] == (own > 0)
        assert one["p_fake"] == pytest.approx(1 / (1 + np.exp(-own)))
        reals, fakes = (logits[rows_of(made, dataset="beta", label=label)] for label in (0, 1))
        assert one["above_reals"] == pytest.approx((reals < own).mean())
        # The image is one of the fakes, and ties with itself.
        assert one["above_fakes"] == pytest.approx(((fakes < own).sum() + 0.5) / len(fakes))
        assert frame.attrs["reals"][one["detector"]] == pytest.approx(sorted(reals))
    assert (frame.attrs["n_reals"], frame.attrs["n_fakes"]) == (len(reals), len(fakes))


def test_many_strokes_are_thinned_by_rank(run: Run) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    table = pd.DataFrame({"detector": "d", "label": 0, "logit": values})
    table = table.assign(sample=[f"s{i}" for i in range(1000)])
    # An original that two datasets share counts once.
    frame = plots.sample_scores(pd.concat([table, table]), {"d": 0.5})
    kept = frame.attrs["reals"]["d"]
    assert len(kept) == 160 and (kept[0], kept[-1]) == (values.min(), values.max())
    assert set(kept) <= set(values) and frame.attrs["n_reals"] == 1000
    assert frame["above_reals"][0] == pytest.approx((values < 0.5).mean())
    assert np.isnan(frame["above_fakes"][0]) and frame["right"][0] is None


def test_without_an_image_the_worst_error_is_shown(
    made: MadeRun, run: Run, client: FlaskClient
) -> None:
    for label in DETECTORS:
        logits = made.logits[label]
        wrong = np.where(made.data.labels == 1, -logits, logits)
        expected = str(made.data.samples.table["sample"].iloc[int(np.argmax(wrong))])
        assert sample.worst_error(run, label) == token_of(expected)
        text = shown(client, "sample-view", f"?detector={label}")
        assert expected in text and f"this is the one that {label} gets most wrong" in text


def test_units_deviate_from_reals_as_defined(made: MadeRun, run: Run) -> None:
    frame = frame_of("sample-units", at_of(run))
    activations = made.activations[LABEL].astype(np.float64)
    among = activations[rows_of(made, dataset="beta", label=0)]
    expected = deviations(activations[place(made)], among)
    order = np.argsort(-np.abs(expected))
    assert list(frame["unit"]) == list(order) and frame.attrs["layer"] == LAYER
    assert list(frame["deviations"]) == pytest.approx(list(expected[order]))
    assert frame.attrs["n"] == frame.attrs["total"] == len(among)
    universal = set(run.universality(LABEL).universal)
    assert universal and set(frame["unit"][frame["universal"]]) == universal


def test_units_of_another_layer_are_not_called_universal(own: MadeRun) -> None:
    manifest = json.loads((own.root / "run.json").read_text())
    manifest["layers"] = dict.fromkeys(DETECTORS, "elsewhere")
    (own.root / "run.json").write_text(json.dumps(manifest))
    frame = frame_of("sample-units", at_of(Run(own.folder)))
    assert len(frame) == 12 and not frame["universal"].any()


def test_units_of_many_reals_rest_on_some_chunks(made: MadeRun, run: Run) -> None:
    found = spread_of_reals(run.store(LABEL), LAYER, "alpha", max_chunks=1)
    reals = rows_of(made, dataset="alpha", label=0)
    first = reals[reals < 16]
    assert found.n == len(first) < found.total == len(reals)
    assert found.center == pytest.approx(np.median(made.activations[LABEL][first], axis=0))
    # Worked out once, whichever image is compared.
    assert spread_of_reals(run.store(LABEL), LAYER, "alpha", max_chunks=1) is found
    frame = plots.sample_units(
        run.store(LABEL), layer=LAYER, sample=SAMPLE, dataset="alpha", max_chunks=1
    )
    assert (frame.attrs["n"], frame.attrs["total"]) == (found.n, found.total)


def test_the_table_has_room_for_universal_units() -> None:
    universal = [i % 3 == 2 for i in range(60)]
    frame = pd.DataFrame({"unit": range(60), "universal": universal})
    listed = sample._listed(frame)
    assert len(listed) == sample.MOST_UNITS and listed["universal"].sum() == sample.MOST_UNITS // 2
    assert list(listed["unit"]) == sorted(listed["unit"])


def test_measurements_deviate_as_defined_and_say_what_is_not(made: MadeRun, run: Run) -> None:
    first = str(made.data.samples.table["sample"].iloc[0])
    frame = frame_of("sample-measurements", at_of(run, first))
    values = run.measurements.data["value"].values
    expected = deviations(values[0], values[rows_of(made, dataset="alpha", label=0)])
    names = [name for i, name in enumerate(MEASUREMENTS) if i not in (4, 5)]
    assert set(frame["measurement"]) == set(names) and frame.attrs["undefined"] == 2
    for one in frame.to_dict("records"):
        name = one["measurement"]
        assert one["deviations"] == pytest.approx(expected[MEASUREMENTS.index(name)])
        assert frame.attrs["about"][name] == f"about of {name}"
    figure = plots.figure_sample_measurements(frame)
    (hover,) = [one for one in figure["data"][1]["hovertext"] if "slope" in one]
    assert (
        "about of slope" in hover and "unit of slope" in hover and "real images of alpha" in hover
    )


def test_a_value_that_half_of_the_reals_share_has_their_deviation() -> None:
    values = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    found = Spread.of(values)
    assert found.scale[0] == pytest.approx(values[:, 0].std()) and np.isnan(found.scale[1])


def test_ways_to_other_images(made: MadeRun, run: Run) -> None:
    links = sample.links_of(run, sample.image_of(at_of(run)))
    assert (links["before"], links["position"], links["n_frames"]) == ("", 1, FRAMES)
    assert links["after"] == token_of("beta-3-1-1")
    # The real image of the same person and frame.
    assert links["paired"] == token_of("beta-3-0-0")
    other = sample.image_of(at_of(run, "beta-3-1-1"))
    assert sample.links_of(run, other)["paired"] == token_of("beta-3-0-1")


def test_search_takes_all_words_and_is_bounded(
    made: MadeRun, run: Run, client: FlaskClient
) -> None:
    def hits(text: Any) -> str:
        values = {f"{sample.SEARCH}.value": text}
        return json.dumps(call(client, f"{sample.HITS}.children", values))

    expected = rows_of(made, dataset="beta", label=1, video="v3-1")
    assert list(sample.found_rows(run, "BETA fake v3")) == list(expected)
    assert len(sample.found_rows(run, "v")) == len(made.data)
    assert not len(sample.found_rows(run, "(" * 500))
    text = hits("beta fake v3")
    for row in expected:
        name = str(made.data.samples.table["sample"].iloc[row])
        assert name in text and f"?sample={token_of(name)}&dropped=" in text
    many = hits("v")
    assert many.count("data-jump") == sample.MOST_HITS and f"of {len(made.data)}" in many
    assert "No image has all of these words" in hits("nowhere")
    for odd in (None, "", " ", 3, ["x"]):
        assert "Words of an id" in hits(odd)


def test_place_is_that_of_the_picture(made: MadeRun, run: Run) -> None:
    frame = frame_of("sample-place", at_of(run, embedding="umap", layer=LAYER))
    data = run.embeddings(LABEL).data.sel({"layer": LAYER, "method": "umap"})
    own = frame[frame["this_image"]]
    assert len(own) == 1 and len(frame) == 1 + len(made.data) == 1 + frame.attrs["total"]
    expected = data.sel(sample=SAMPLE)["position"].values
    assert own[["x", "y"]].to_numpy()[0] == pytest.approx(expected)
    others = frame[~frame["this_image"]]
    assert others[["x", "y"]].to_numpy() == pytest.approx(data["position"].values)
    assert list(others["label"]) == list(made.data.labels)
    assert others["same_dataset"].sum() == 24
    assert frame.attrs["trustworthiness"] == pytest.approx(float(data["trustworthiness"]))
    for odd in ({"layer": "nowhere"}, {"embedding": "nope"}):
        with pytest.raises(UnknownNameError):
            frame_of("sample-place", at_of(run, **odd))


def test_figures_show_the_frames(run: Run) -> None:
    at = at_of(run)
    scores, units, measured, placed = (frame_of(card, at) for card in SHOWING[1:])
    for theme in (LIGHT, DARK):
        reals, fakes, own = go.Figure(plots.figure_sample_scores(scores, theme)).data
        assert list(own.x) == list(scores["logit"])
        strokes = [value for one in scores["detector"] for value in scores.attrs["fakes"][one]]
        assert list(fakes.x[::3]) == strokes and "fake (12)" in fakes.name
        assert all(a < 0 or a > 0.5 for a in reals.y if a is not None)
        stems, marks = go.Figure(plots.figure_sample_measurements(measured, theme)).data
        assert list(marks.x) == pytest.approx(list(measured["deviations"].clip(-8, 8)))
        figure = go.Figure(plots.figure_sample_units(units, theme))
        assert list(figure.layout.yaxis.ticktext)[0].strip("<b/> ") == f"unit {units['unit'][0]}"
        *rest, ring = go.Figure(plots.figure_sample_place(placed, theme)).data
        assert sum(len(one.x) for one in rest) == len(placed) - 1
        assert ring.x[0] == placed["x"][0]


def test_what_is_beyond_the_axis_is_an_arrow() -> None:
    frame = pd.DataFrame(
        {
            "measurement": ["<b>x</b>", "y", "z"],
            "deviations": [-30.0, 9.0, 2.9],
            "value": [1.0, 2.0, 3.0],
            "median_of_reals": 0.0,
            "unit_of_value": "<i>",
        }
    )
    frame.attrs = {"far": 3.0, "among": "real images of <a>", "about": {"y": "<script>"}}
    marks = plots.figure_sample_measurements(frame)["data"][1]
    assert marks["x"] == [-8, 8, 2.9]
    assert marks["marker"]["symbol"] == ["triangle-left", "triangle-right", "circle-open"]
    assert "<script>" not in "".join(marks["hovertext"]) and "<i>" not in marks["hovertext"][0]


def test_maps_are_those_of_the_image(made: MadeRun, run: Run, client: FlaskClient) -> None:
    method = run.map_methods(LABEL)[0]
    name = str(run.maps(LABEL, method).data["sample"].values[0])
    found = sample.maps_of_image(at_of(run, name))
    assert any(f"/{method}?" in source for source in found.values())
    answered = client.get(next(iter(found.values())))
    assert answered.status_code == 200 and answered.mimetype == "image/png"


def test_page_and_cards_say_it_in_words(client: FlaskClient) -> None:
    search = f"?sample={token_of(SAMPLE)}"
    page = said(client, "/sample", search)
    assert "What does each detector say?" in page and "An image of your own" in page
    facts = shown(client, "sample-view", search)
    assert "beta-3-1-0" in facts and "outlined where forged" in facts
    assert "sample-image outlined" in facts
    assert "sample-image outlined" not in shown(client, "sample-view", f"{search}&outline=off")
    assert "detectors say so" in shown(client, "sample-scores", search)
    units = shown(client, "sample-units", search)
    assert "/neurons?unit=0&layer=&dropped=&detector=meso4%2Fbase" in units
    assert "A description of this image, not a test." in units
    assert "median of 12 real images of beta" in shown(client, "sample-measurements", search)
    placed = shown(client, "sample-place", search)
    assert "trustworthiness" in placed and "/separability?embedding=umap" in placed


def test_exports_hold_what_is_shown(made: MadeRun, client: FlaskClient) -> None:
    search = f"?sample={token_of(SAMPLE)}"
    scores = exported(client, "sample-scores", search)
    logits = [made.logits[label][place(made)] for label in DETECTORS]
    assert list(scores["logit"]) == pytest.approx(logits, rel=1e-5)
    assert len(exported(client, "sample-units", search)) == 12
    assert len(exported(client, "sample-measurements", search)) == 5
    assert exported(client, "sample-place", search)["this_image"].sum() == 1
    file = client.get(f"/export/sample-units.csv{search}&detector={LABEL}").headers
    assert f"sample-units-meso4-base-{token_of(SAMPLE)}.csv" in file["Content-Disposition"]


@pytest.mark.parametrize("token", ["x", "0" * 24, "../../run.json", "<script>alert(1)</script>"])
def test_unknown_images_are_said_to_be_unknown(client: FlaskClient, token: str) -> None:
    for card in (*SHOWING, "sample-maps", "sample-made"):
        text = shown(client, card, f"?sample={token}")
        assert "names an image that is not in this run" in text and "script" not in text
    assert client.get(f"/image/{token}").status_code == 404
    assert client.get(f"/export/sample-scores.csv?sample={token}").status_code == 404


def test_images_are_served_large_by_token_alone(made: MadeRun, client: FlaskClient) -> None:
    answered = client.get(f"/image/{token_of(SAMPLE)}")
    assert answered.status_code == 200 and answered.mimetype == "image/webp"
    assert Image.open(BytesIO(answered.data)).size == (16, 16)


def test_large_images_are_bounded(own: MadeRun) -> None:
    table = own.data.samples.table
    Image.new("RGB", (3000, 1500), (9, 90, 200)).save(own.data.root / str(table["path"].iloc[0]))
    answered = client_of(own.root).get(f"/image/{token_of(str(table['sample'].iloc[0]))}")
    assert Image.open(BytesIO(answered.data)).size == (1024, 512)


def test_each_part_says_what_it_lacks(own: MadeRun) -> None:
    for path in ("measurements.zarr", "embeddings"):
        shutil.rmtree(own.root / "tables" / path)
    for path in ("stores", "maps"):
        shutil.rmtree(own.root / path)
    own.folder.path("evaluation").with_suffix(".scores.parquet").unlink()
    client = client_of(own.root)
    search = f"?sample={token_of(SAMPLE)}"
    for card, lacking in (
        ("sample-scores", "score table"),
        ("sample-units", "activation store of meso4/base"),
        ("sample-measurements", "measurements"),
        ("sample-place", "embeddings of meso4/base"),
        ("sample-maps", "attribution maps of meso4/base"),
    ):
        text = shown(client, card, search)
        assert f"{lacking} yet" in text and "probe demo" in text
    assert SAMPLE in shown(client, "sample-view", search)


def test_an_image_of_another_split_has_no_scores(own: MadeRun) -> None:
    table = own.data.samples.table.copy()
    table.loc[table["sample"] == SAMPLE, ["sample", "split"]] = ["nobody", "train"]
    write_native(Dataset(own.data.name, Samples(table), own.data.root, own.data.card))
    at = at_of(Run(own.folder), "nobody")
    parts: list[Callable[[], Any]] = [
        lambda card=card: frame_of(card, at)
        for card in SHOWING[1:]  # type: ignore[misc]
    ]
    for read in (*parts, lambda: sample.maps_of_image(at)):
        with pytest.raises(ProbeError, match=r"'train'|test image|other images"):
            read()
    client = client_of(own.root)
    text = shown(client, "sample-scores", at.chosen.search)
    assert "it is of the split 'train'" in text and "waiting" in text and "message" not in text


def test_galleries_lead_here(client: FlaskClient) -> None:
    text = shown(client, "unit-images", "?unit=3")
    assert '"data-jump": "/sample"' in text and "/sample?sample=" in text


def test_exported_code_and_figures_make_the_same(
    made: MadeRun, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = f"?sample={token_of(SAMPLE)}"
    for name, column in (
        ("sample-scores", "logit"),
        ("sample-units", "deviations"),
        ("sample-measurements", "deviations"),
        ("sample-place", "x"),
    ):
        found: dict[str, Any] = {}
        exec(client.get(f"/export/{name}.py{search}").text, found)
        expected = exported(client, name, search)
        assert list(found["table"][column]) == pytest.approx(list(expected[column]), rel=1e-4)
        assert found["table"].iloc[0, 0] == expected.iloc[0, 0]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 1000
        image = Image.open(BytesIO(client.get(f"/export/{name}.png{search}").data))
        assert image.width > 900
