"""Images that visitors drop: what the detectors say of them, and their removal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient

from app import ids, uploads
from app.card import At
from app.jobs import Jobs
from app.pages import CARDS, upload
from app.run import Run
from app.selection import Selection
from app.uploads import comparable, dropped_of, forget
from probe.datasets.dataset import Dataset
from probe.errors import ImageError, ProbeError
from probe.jobs import JobFolder
from probe.run import RunFolder
from tests.app.calling import call, card_of
from tests.app.conftest import client_of
from tests.app.dropping import PIXELS, REFUSED, encoded, url
from tests.app.making import DETECTORS, LAYER, MadeRun
from tests.app.scoring import card_weights, fake_scoring


@pytest.fixture(scope="module")
def weighed(made: MadeRun, tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    """The drawn run as if its weights were there: its parts, linked, and cards of detectors."""
    root = tmp_path_factory.mktemp("weighed") / "run"
    root.mkdir()
    for part in made.root.iterdir():
        (root / part.name).symlink_to(part)
    card_weights(root, *DETECTORS)
    return replace(made, folder=RunFolder(root))


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    found = fake_scoring(tmp_path / "jobs")
    monkeypatch.setattr(uploads, "jobs_of", lambda run: found)
    yield found
    (found.root / "hold").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def weighed_client(weighed: MadeRun) -> FlaskClient:
    return client_of(weighed.root)


def send(client: FlaskClient, contents: object, search: str = "") -> dict[str, Any]:
    """What the page does with a file: what it says, and where it goes."""
    return _acted(client, {f"{upload.UPLOAD}.contents": contents}, search)


def remove(client: FlaskClient, search: str) -> dict[str, Any]:
    return _acted(client, {f"{upload.REMOVE}.n_clicks": 1}, search)


def _acted(client: FlaskClient, values: dict[str, Any], search: str) -> dict[str, Any]:
    (changed,) = values
    given = values | {f"{ids.URL}.search": search}
    answer = call(client, f"{upload.SAID}.children", given, changed)
    # What the browser sent is not kept there.
    assert answer["response"][upload.UPLOAD]["contents"] is None
    said = json.dumps(answer["response"][upload.SAID]["children"], ensure_ascii=False)
    return {"said": said, "search": answer.get("sideUpdate", {}).get(ids.URL, {}).get("search")}


def look(client: FlaskClient, search: str) -> dict[str, Any]:
    """How far the page says it is, and which of its parts are disabled."""
    values = {f"{upload.LOOK}.n_intervals": 1, f"{ids.URL}.search": search}
    found: dict[str, Any] = call(client, f"{upload.ROOM}.children", values)["response"]
    return found


def scored(client: FlaskClient, search: str) -> None:
    end = time.monotonic() + 20
    while "Scored" not in json.dumps(look(client, search)):
        assert time.monotonic() < end
        time.sleep(0.02)


def shown(client: FlaskClient, card: str, search: str) -> str:
    return json.dumps(card_of(client, card, search), ensure_ascii=False)


def test_an_image_is_scored_shown_and_removed(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    client, before = weighed_client, sorted(weighed.root.rglob("*"))
    jobs.root.mkdir()
    (jobs.root / "hold").touch()
    search = send(client, url(encoded()), "?detector=meso4%2Fbase")["search"]
    fingerprint = search.partition("dropped=")[2]
    assert search == f"?detector=meso4%2Fbase&dropped={fingerprint}"
    folder = jobs.job(fingerprint)
    assert {file.name for file in folder.files.iterdir()} == {"image.png"}
    asked = look(client, search)
    assert not asked[upload.REMOVE]["disabled"] and not asked[upload.LOOK]["disabled"]
    for card in ("sample-view", "sample-units"):
        text = shown(client, card, search)
        # It asks again by itself.
        assert "is being scored" in text and '"part": "tick"' in text
    assert client.get(f"/dropped/{fingerprint}/whole").status_code == 200
    assert client.get(f"/dropped/{fingerprint}/seen").status_code == 404

    (jobs.root / "hold").unlink()
    scored(client, search)
    assert look(client, search)[upload.LOOK]["disabled"]
    view = shown(client, "sample-view", search)
    assert "Not from this run's datasets" in view and "simulated faces" in view
    assert "the whole image" in view and '"part": "tick"' not in view
    assert "no label is known" in shown(client, "sample-scores", search)
    assert "36 real images of all datasets" in shown(client, "sample-units", search)
    assert "cannot be added" in shown(client, "sample-place", search)
    assert "of this run's images only" in shown(client, "sample-maps", search)
    assert "images of the run" in shown(client, "sample-made", search)
    answered = client.get(f"/dropped/{fingerprint}/seen")
    assert answered.mimetype == "image/webp" and answered.headers["Cache-Control"] == "no-store"

    gone = remove(client, search)
    assert gone["search"] == "?detector=meso4%2Fbase" and "Removed" in gone["said"]
    assert not folder.root.exists() and not list(jobs.root.glob("*.old"))
    assert client.get(f"/dropped/{fingerprint}/whole").status_code == 404
    assert "was removed" in shown(client, "sample-view", search)
    assert sorted(weighed.root.rglob("*")) == before


def test_what_is_said_of_it_follows_from_the_numbers(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    run = Run(weighed.folder)
    search = send(weighed_client, url(encoded()))["search"]
    scored(weighed_client, search)
    found = dropped_of(run, search.partition("dropped=")[2])
    at = At(run, Selection.parse(search))

    def frame_of(card: str) -> pd.DataFrame:
        call = CARDS[card].call
        assert call is not None
        return call(at).frame()

    one = frame_of("sample-scores").iloc[1]
    assert (one["detector"], one["logit"], one["right"]) == (DETECTORS[1], 0.5, None)
    logits, labels = weighed.logits[DETECTORS[1]], weighed.data.labels
    assert one["above_reals"] == pytest.approx((logits[labels == 0] < 0.5).mean())
    units = frame_of("sample-units")
    reals = weighed.activations[DETECTORS[0]][labels == 0].astype(float)
    center = np.median(reals, axis=0)
    expected = (np.arange(12) - center) / (1.4826 * np.median(abs(reals - center), axis=0))
    assert units.attrs["layer"] == LAYER and units["universal"].any()
    assert list(units["deviations"]) == pytest.approx(list(expected[units["unit"]]), rel=1e-4)
    # The same region stood for the forged area everywhere, so what needs one is shown too.
    measured = frame_of("sample-measurements")
    assert set(measured["measurement"]) == {"slope", "seam_gradient"}
    other = replace(found, region="another rule")
    given = comparable(other, run.measurements.data)
    assert "seam_gradient" not in given and "slope" in given
    # Tables and figures can be taken away, and no script that would find nothing.
    for card in ("sample-scores", "sample-units", "sample-measurements"):
        assert weighed_client.get(f"/export/{card}.csv{search}").status_code == 200
        assert weighed_client.get(f"/export/{card}.svg{search}").status_code == 200
        code = weighed_client.get(f"/export/{card}.py{search}")
        assert code.status_code == 404 and "Take the table" in code.text


def test_removing_ends_a_running_job(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    jobs.root.mkdir()
    (jobs.root / "hold").touch()
    search = send(weighed_client, url(encoded()))["search"]
    fingerprint = search.partition("dropped=")[2]
    pid = int(jobs.job(fingerprint).process.read_text().split()[0])
    forget(Run(weighed.folder), fingerprint)
    assert not jobs.job(fingerprint).root.exists()
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("name", ["html", "bomb", "truncated png", "line"])
def test_the_page_says_what_is_wrong_and_lives_on(
    weighed_client: FlaskClient, jobs: Jobs, name: str
) -> None:
    data, why = REFUSED[name]
    found = send(weighed_client, url(data))
    assert why in found["said"] and found["search"] is None
    assert not list(jobs.root.glob("*"))
    assert weighed_client.get("/").status_code == 200


def test_names_of_files_are_never_asked_for(weighed_client: FlaskClient) -> None:
    found = weighed_client.get("/_dash-dependencies").get_json()
    named = [one for c in found for one in c["inputs"] + c["state"] if one["id"] == upload.UPLOAD]
    assert {one["property"] for one in named} == {"contents"}


@pytest.mark.parametrize(
    "name", ["x", "../../run", "a" * 32, "A" * 32, "%2e%2e", "0" * 31 + "/", "<script>"]
)
def test_forged_names_serve_and_remove_nothing(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs, name: str
) -> None:
    for path in (f"/dropped/{name}/whole", f"/dropped/{name}/../../run.json"):
        answered = weighed_client.get(path)
        # Addresses that no route has get Dash's empty page.
        assert answered.status_code == 404 or b"_dash-config" in answered.data
    before = sorted(weighed.root.iterdir())
    remove(weighed_client, f"?dropped={name}")
    look(weighed_client, f"?dropped={name}")
    assert sorted(weighed.root.iterdir()) == before
    text = shown(weighed_client, "sample-view", f"?dropped={name}")
    assert "was removed" in text or "names no job" in text


def test_other_jobs_are_neither_shown_nor_removed(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    folder = JobFolder(jobs.root / ("ab" * 16))
    folder.files.mkdir(parents=True)
    folder.write_job({"kind": "map"})
    (folder.files / "image.png").write_bytes(encoded())
    assert weighed_client.get(f"/dropped/{'ab' * 16}/whole").status_code == 404
    with pytest.raises(ProbeError, match="no image that was dropped"):
        forget(Run(weighed.folder), "ab" * 16)
    assert folder.files.is_dir()


def test_without_weights_it_says_what_is_missing(client: FlaskClient, jobs: Jobs) -> None:
    said = send(client, url(encoded()))["said"]
    assert "This run holds no weights of meso4/base yet" in said and "probe demo" in said
    assert not list(jobs.root.glob("*"))


def test_the_worker_sees_what_the_run_saw(made: MadeRun) -> None:
    from probe.upload import see

    def data(card: dict[str, Any]) -> Dataset:
        return replace(made.data, card=card)

    whole = see(data({"crop": {"rule": "as they lie"}}), PIXELS)
    assert (whole.pixels == PIXELS).all() and "whole image" in whole.rule
    lab = see(data({"crop": {"rule": "rendered", "size": 16}}), PIXELS)
    assert lab.pixels.shape == (16, 16, 3) and "16 pixels" in lab.rule
    cut = {"margin": 1.3, "size": 64, "face_detector": "YuNet 2023mar"}
    with pytest.raises(ImageError, match="No face was found"):
        see(data({"parts": {"a": {"crop": cut}, "b": {"crop": {"rule": "as they lie"}}}}), PIXELS)


def test_the_worker_scores_as_recordings_do(made: MadeRun, tmp_path: Path) -> None:
    from probe.detectors.loading import load_detector, save_detector
    from probe.jobs import KINDS, Request
    from probe.recording import record

    root = tmp_path / "run"
    root.mkdir()
    for part in made.root.iterdir():
        (root / part.name).symlink_to(part)
    folder = RunFolder(root)
    save_detector(load_detector("meso4", seed=3), folder.detector(DETECTORS[0]), {})
    (tmp_path / "files").mkdir()
    first = made.data.root / str(made.data.samples.table["path"].iloc[0])
    (tmp_path / "files" / "image.png").write_bytes(first.read_bytes())
    label = DETECTORS[0]
    params = {"detectors": [label], "layers": {label: LAYER}, "reducers": {label: "mean"}}
    (tmp_path / "out").mkdir()
    KINDS["score"](Request(params, folder, tmp_path / "files"), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["detectors"][label]
    store = record(
        load_detector(folder.detector(label)),
        made.data.take([0]),
        tmp_path / "s.zarr",
        layers=[LAYER],
    )
    assert found["logit"] == pytest.approx(float(store.samples["logit"].iloc[0]), abs=1e-6)
    expected = store[LAYER]["activation"].values[0]
    assert np.abs(expected).max() > 0
    assert found["activation"] == pytest.approx(list(map(float, expected)), abs=1e-6)
