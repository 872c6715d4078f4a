"""One image through everything: what the page says, against the arrays that were drawn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app import ids
from app.queries import sample_units
from app.queries.sample import (
    MOST_HITS,
    find_samples,
    large_image,
    links_of,
    sample_view,
    worst_error,
)
from app.queries.sample_place import maps_view, place_view
from app.queries.sample_scores import scores_view
from app.queries.sample_units import measurements_view, units_of_sample
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.evaluation.one_image import Spread
from probe.images import token_of
from tests.app.calling import call, exported, said
from tests.app.conftest import client_of
from tests.app.drawing import MEASUREMENTS
from tests.app.making import DETECTORS, FRAMES, LAYER, MadeRun

SAMPLE = "beta-3-1-0"
LABEL = DETECTORS[0]


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def view_of(run: Run, sample: str = SAMPLE) -> Any:
    return sample_view(run, Selection(sample=token_of(sample)), LABEL)


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


def answer(client: FlaskClient, output: str, search: str = "", **more: Any) -> str:
    values = {f"{ids.SAMPLE_URL}.search": search, f"{ids.SCHEME}.data": "light", **more}
    return json.dumps(call(client, output, values), ensure_ascii=False)


def test_scores_are_placed_among_the_same_dataset(made: MadeRun, run: Run) -> None:
    view = scores_view(run, view_of(run))
    assert [one.detector for one in view.scores] == list(DETECTORS)
    for one in view.scores:
        logits = made.logits[one.detector].astype(np.float64)
        own = logits[place(made)]
        assert one.logit == pytest.approx(own) and one.right == (own > 0)
        assert one.p_fake == pytest.approx(1 / (1 + np.exp(-own)))
        reals, fakes = (logits[rows_of(made, dataset="beta", label=label)] for label in (0, 1))
        assert one.above_reals == pytest.approx((reals < own).mean())
        # The image is one of the fakes, and ties with itself.
        assert one.above_fakes == pytest.approx(((fakes < own).sum() + 0.5) / len(fakes))
        assert sorted(one.reals) == pytest.approx(sorted(reals))


def test_without_an_image_the_worst_error_is_shown(
    made: MadeRun, run: Run, client: FlaskClient
) -> None:
    for label in DETECTORS:
        logits = made.logits[label]
        wrong = np.where(made.data.labels == 1, -logits, logits)
        expected = str(made.data.samples.table["sample"].iloc[int(np.argmax(wrong))])
        assert worst_error(run, label) == token_of(expected)
        shown = answer(client, f"{ids.SAMPLE_FACTS}.children", f"?detector={label}")
        assert expected in shown and f"this is the one that {label} gets most wrong" in shown


def test_units_deviate_from_reals_as_defined(made: MadeRun, run: Run) -> None:
    found = units_of_sample(run, LABEL, LAYER, view_of(run))
    activations = made.activations[LABEL].astype(np.float64)
    among = activations[rows_of(made, dataset="beta", label=0)]
    expected = deviations(activations[place(made)], among)
    order = np.argsort(-np.abs(expected))
    assert [int(row.name) for row in found.rows] == list(order)
    assert [row.deviations for row in found.rows] == pytest.approx(list(expected[order]))
    assert found.n == found.total == len(among)
    universal = {str(unit) for unit in run.universality(LABEL).universal}
    assert universal and {row.name for row in found.marked} == universal


def test_units_of_many_reals_rest_on_some_chunks(
    made: MadeRun, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_units, "MOST_CHUNKS", 1)
    sample_units._stored_spread.cache_clear()
    found = sample_units.spread_of(run, LABEL, LAYER, "alpha")
    sample_units._stored_spread.cache_clear()
    reals = rows_of(made, dataset="alpha", label=0)
    first = reals[reals < 16]
    assert found.n == len(first) < found.total == len(reals)
    assert found.center == pytest.approx(np.median(made.activations[LABEL][first], axis=0))


def test_measurements_deviate_as_defined_and_say_what_is_not(made: MadeRun, run: Run) -> None:
    first = str(made.data.samples.table["sample"].iloc[0])
    found = measurements_view(run, "alpha", first)
    values = run.measurements["value"].values
    expected = deviations(values[0], values[rows_of(made, dataset="alpha", label=0)])
    names = [name for i, name in enumerate(MEASUREMENTS) if i not in (4, 5)]
    assert {row.name for row in found.rows} == set(names) and found.undefined == 2
    for row in found.rows:
        assert row.deviations == pytest.approx(expected[MEASUREMENTS.index(row.name)])
        assert row.about == f"about of {row.name}"


def test_a_value_that_half_of_the_reals_share_has_their_deviation() -> None:
    values = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    found = Spread.of(values)
    assert found.scale[0] == pytest.approx(values[:, 0].std()) and np.isnan(found.scale[1])


def test_ways_to_other_images(made: MadeRun, run: Run) -> None:
    links = links_of(run, view_of(run))
    assert (links.before, links.position, links.n_frames) == ("", 1, FRAMES)
    assert links.after == token_of("beta-3-1-1")
    # The real image of the same person and frame.
    assert links.paired == token_of("beta-3-0-0")
    assert links_of(run, view_of(run, "beta-3-1-1")).paired == token_of("beta-3-0-1")


def test_search_takes_all_words_and_is_bounded(
    made: MadeRun, run: Run, client: FlaskClient
) -> None:
    found = find_samples(run, "BETA fake v3")
    expected = rows_of(made, dataset="beta", label=1, video="v3-1")
    assert found.total == len(expected) > 0
    assert {hit.sample for hit in found.hits} == {
        str(made.data.samples.table["sample"].iloc[i]) for i in expected
    }
    everything = find_samples(run, "v")
    assert everything.total == len(made.data) and len(everything.hits) == MOST_HITS
    assert find_samples(run, "(" * 500).total == 0
    shown = answer(
        client,
        f"{ids.SAMPLE_HITS}.children",
        f"?detector={LABEL}",
        **{f"{ids.SAMPLE_SEARCH}.value": "beta fake v3"},
    )
    assert f"/sample?detector=meso4%2Fbase&sample={token_of('beta-3-1-0')}" in shown


def test_place_is_that_of_the_picture(run: Run) -> None:
    found = place_view(run, LABEL, view_of(run), LAYER, "umap")
    data = run.embeddings(LABEL).data.sel({"layer": LAYER, "method": "umap", "sample": SAMPLE})
    assert (found.x, found.y) == pytest.approx(tuple(data["position"].values))
    assert found.inside.sum() == 24 and found.trustworthiness > 0


def test_maps_are_those_of_the_image(made: MadeRun, run: Run, client: FlaskClient) -> None:
    method = run.map_methods(LABEL)[0]
    sample = str(run.maps(LABEL, method).data["sample"].values[0])
    maps = maps_view(run, LABEL, view_of(run, sample))
    assert method in [one.method for one in maps]
    answered = client.get(maps[0].source)
    assert answered.status_code == 200 and answered.mimetype == "image/png"


def test_page_and_cards_say_it_in_words(client: FlaskClient) -> None:
    search = f"?sample={token_of(SAMPLE)}"
    page = said(client, "/sample", search)
    assert "What does each detector say?" in page and "An image of your own" in page
    assert "beta-3-1-0" in answer(client, f"{ids.SAMPLE_FACTS}.children", search)
    assert "detectors say so" in answer(client, f"{ids.SAMPLE_SCORES_TEXT}.children", search)
    units = answer(client, f"{ids.SAMPLE_UNITS}.children", search)
    assert f"/neurons?detector=meso4%2Fbase&unit=0&sample={token_of(SAMPLE)}" in units
    assert "A description of this image, not a test." in units
    assert "median of 12 real images of beta" in answer(
        client, f"{ids.SAMPLE_MEASURED_TEXT}.children", search
    )
    assert "trustworthiness" in answer(client, f"{ids.SAMPLE_PLACE_TEXT}.children", search)


def test_detector_and_address_follow_each_other(client: FlaskClient) -> None:
    outputs = f"{ids.SAMPLE_DETECTOR}.value", f"{ids.SAMPLE_URL}.search"
    found = call(
        client,
        outputs[1],
        {outputs[0]: DETECTORS[1], outputs[1]: "?unit=3&sample=a"},
        changed=outputs[0],
    )["response"]
    assert found[ids.SAMPLE_URL]["search"] == "?detector=meso4%2Fshallow&sample=a"
    found = call(
        client,
        outputs[0],
        {outputs[0]: DETECTORS[0], outputs[1]: f"?detector={DETECTORS[1]}"},
        changed=outputs[1],
    )["response"]
    assert found[ids.SAMPLE_DETECTOR]["value"] == DETECTORS[1]


def test_exports_hold_what_is_shown(made: MadeRun, client: FlaskClient) -> None:
    search = f"?sample={token_of(SAMPLE)}"
    scores = exported(client, "sample-scores", search)
    logits = [made.logits[label][place(made)] for label in DETECTORS]
    assert list(scores["logit"]) == pytest.approx(logits, rel=1e-5)
    assert len(exported(client, "sample-units", search)) == 12
    assert len(exported(client, "sample-measurements", search)) == 5
    assert exported(client, "sample-place", search)["this_image"].sum() == 1


@pytest.mark.parametrize("token", ["x", "0" * 24, "../../run.json", "<script>alert(1)</script>"])
def test_unknown_images_are_said_to_be_unknown(client: FlaskClient, token: str) -> None:
    outputs = (ids.SAMPLE_FACTS, ids.SAMPLE_SCORES_TEXT, ids.SAMPLE_UNITS, ids.SAMPLE_MAPS)
    for output in outputs:
        shown = answer(client, f"{output}.children", f"?sample={token}")
        assert "names an image that is not in this run" in shown
    assert client.get(f"/image/{token}").status_code == 404


def test_images_are_served_large_by_token_alone(made: MadeRun, client: FlaskClient) -> None:
    answered = client.get(f"/image/{token_of(SAMPLE)}")
    assert answered.status_code == 200 and answered.mimetype == "image/webp"
    assert Image.open(BytesIO(answered.data)).size == (16, 16)


def test_large_images_are_bounded(own: MadeRun) -> None:
    file = own.data.root / str(own.data.samples.table["path"].iloc[0])
    Image.new("RGB", (3000, 1500), (9, 90, 200)).save(file)
    shown = large_image(Run(own.folder), 0)
    assert Image.open(BytesIO(shown)).size == (1024, 512)


def test_each_part_says_what_it_lacks(own: MadeRun) -> None:
    for path in ("measurements.zarr", "embeddings"):
        shutil.rmtree(own.root / "tables" / path)
    for path in ("stores", "maps"):
        shutil.rmtree(own.root / path)
    own.folder.path("evaluation").with_suffix(".scores.parquet").unlink()
    client = client_of(own.root)
    search = f"?sample={token_of(SAMPLE)}"
    for output, lacking in (
        (ids.SAMPLE_SCORES_TEXT, "score table"),
        (ids.SAMPLE_UNITS, "activation store of meso4/base"),
        (ids.SAMPLE_MEASURED_TEXT, "measurements"),
        (ids.SAMPLE_PLACE_TEXT, "embeddings of meso4/base"),
        (ids.SAMPLE_MAPS, "attribution maps of meso4/base"),
    ):
        shown = answer(client, f"{output}.children", search)
        assert f"This run holds no {lacking} yet" in shown and "probe demo" in shown
    assert SAMPLE in answer(client, f"{ids.SAMPLE_FACTS}.children", search)


def test_an_image_of_another_split_has_no_scores(run: Run) -> None:
    other = replace(view_of(run), sample="nobody", split="train")
    for read in (
        lambda: scores_view(run, other),
        lambda: units_of_sample(run, LABEL, LAYER, other),
        lambda: place_view(run, LABEL, other, "", ""),
        lambda: maps_view(run, LABEL, other),
    ):
        with pytest.raises(ProbeError, match=r"train|test image|other images"):
            read()


def test_galleries_lead_here(client: FlaskClient) -> None:
    values = {f"{ids.URL}.search": "?unit=3", f"{ids.UNITS_NOTE}.children": ""}
    shown = json.dumps(call(client, f"{ids.GALLERY}.children", values))
    assert "/sample?unit=3&sample=" in shown


def test_exported_code_and_figures_make_the_same(
    made: MadeRun, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = f"?sample={token_of(SAMPLE)}"
    for name, column in (
        ("sample-scores", "logit"),
        ("sample-units", "deviations"),
        ("sample-measurements", "deviations"),
    ):
        found: dict[str, Any] = {}
        exec(client.get(f"/export/{name}.py{search}").text, found)
        expected = exported(client, name, search)
        assert list(found["table"][column]) == pytest.approx(list(expected[column]), rel=1e-4)
        assert found["table"].iloc[0, 0] == expected.iloc[0, 0]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 1000
        image = Image.open(BytesIO(client.get(f"/export/{name}.png{search}").data))
        assert image.width > 900
