"""Images that visitors drop: what the detectors say of them, and their removal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app import ids
from app.jobs import Jobs
from app.queries import uploads
from app.queries.uploads import dropped_of, dropped_scores, forget
from app.run import Run
from probe.datasets.dataset import Dataset
from probe.errors import ImageError, ProbeError
from probe.jobs.folder import JobFolder
from probe.run import RunFolder
from tests.app.calling import call
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
    values = {f"{ids.UPLOAD}.contents": contents, f"{ids.UPLOAD_URL}.search": search}
    found: dict[str, Any] = call(client, f"{ids.UPLOAD_ROOM}.children", values)["response"]
    return found


def look(client: FlaskClient, search: str, changed: str = ids.UPLOAD_TICK) -> dict[str, Any]:
    values = {
        f"{ids.UPLOAD_URL}.search": search,
        f"{ids.UPLOAD_TICK}.n_intervals": 1,
        f"{ids.UPLOAD_REMOVE}.n_clicks": 1,
    }
    part = {ids.UPLOAD_TICK: "n_intervals", ids.UPLOAD_REMOVE: "n_clicks"}[changed]
    found: dict[str, Any] = call(
        client, f"{ids.UPLOAD_ROOM}.children", values, f"{changed}.{part}"
    )["response"]
    return found


def scored(client: FlaskClient, search: str) -> None:
    end = time.monotonic() + 20
    while "Scored" not in json.dumps(look(client, search)):
        assert time.monotonic() < end
        time.sleep(0.02)


def card_of(client: FlaskClient, output: str, search: str) -> str:
    values = {f"{ids.SAMPLE_URL}.search": search, f"{ids.SCHEME}.data": "light"}
    return json.dumps(call(client, f"{output}.children", values), ensure_ascii=False)


def test_an_image_is_scored_shown_and_removed(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    client, before = weighed_client, sorted(weighed.root.rglob("*"))
    jobs.root.mkdir()
    (jobs.root / "hold").touch()
    search = send(client, url(encoded()), "?detector=meso4%2Fbase")[ids.UPLOAD_URL]["search"]
    fingerprint = search.partition("dropped=")[2]
    assert search == f"?detector=meso4%2Fbase&dropped={fingerprint}"
    folder = jobs.job(fingerprint)
    assert {file.name for file in folder.files.iterdir()} == {"image.png"}
    assert "is being scored" in card_of(client, ids.SAMPLE_UNITS, search)
    assert client.get(f"/dropped/{fingerprint}/whole").status_code == 200
    assert client.get(f"/dropped/{fingerprint}/seen").status_code == 404

    (jobs.root / "hold").unlink()
    scored(client, search)
    notice = card_of(client, ids.SAMPLE_NOTICE, search)
    assert "Not from this run's datasets" in notice and "simulated faces" in notice
    assert "the whole image" in card_of(client, ids.SAMPLE_FACTS, search)
    assert "no label is known" in card_of(client, ids.SAMPLE_SCORES_TEXT, search)
    assert "36 real images of all datasets" in card_of(client, ids.SAMPLE_UNITS, search)
    assert "cannot be added" in card_of(client, ids.SAMPLE_PLACE_TEXT, search)
    answered = client.get(f"/dropped/{fingerprint}/seen")
    assert answered.mimetype == "image/webp" and answered.headers["Cache-Control"] == "no-store"

    gone = look(client, search, ids.UPLOAD_REMOVE)
    assert gone[ids.UPLOAD_URL]["search"] == "?detector=meso4%2Fbase"
    assert not folder.root.exists() and not list(jobs.root.glob("*.old"))
    assert client.get(f"/dropped/{fingerprint}/whole").status_code == 404
    assert "was removed" in card_of(client, ids.SAMPLE_FACTS, search)
    assert sorted(weighed.root.rglob("*")) == before


def test_what_is_said_of_it_follows_from_the_numbers(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    run = Run(weighed.folder)
    search = send(weighed_client, url(encoded()))[ids.UPLOAD_URL]["search"]
    scored(weighed_client, search)
    found = dropped_of(run, search.partition("dropped=")[2])
    one = dropped_scores(run, found).scores[1]
    assert (one.detector, one.logit, one.right) == (DETECTORS[1], 0.5, None)
    logits, labels = weighed.logits[DETECTORS[1]], weighed.data.labels
    assert one.above_reals == pytest.approx((logits[labels == 0] < 0.5).mean())
    units = uploads.dropped_units(run, DETECTORS[0], found)
    reals = weighed.activations[DETECTORS[0]][labels == 0].astype(float)
    center = np.median(reals, axis=0)
    expected = (np.arange(12) - center) / (1.4826 * np.median(abs(reals - center), axis=0))
    assert units.layer == LAYER
    for row in units.rows:
        assert row.deviations == pytest.approx(expected[int(row.name)], rel=1e-4)
    # The same region stood for the forged area everywhere, so what needs one is shown too.
    measured = uploads.dropped_measurements(run, found)
    assert {row.name for row in measured.rows} == {"slope", "seam_gradient"}
    other = replace(found, region="another rule")
    assert {r.name for r in uploads.dropped_measurements(run, other).rows} == {"slope"}


def test_removing_ends_a_running_job(
    weighed: MadeRun, weighed_client: FlaskClient, jobs: Jobs
) -> None:
    jobs.root.mkdir()
    (jobs.root / "hold").touch()
    search = send(weighed_client, url(encoded()))[ids.UPLOAD_URL]["search"]
    fingerprint = search.partition("dropped=")[2]
    pid = int(jobs.job(fingerprint).pid.read_text())
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
    assert why in json.dumps(found) and ids.UPLOAD_URL not in found
    assert not list(jobs.root.glob("*"))
    assert weighed_client.get("/").status_code == 200


def test_names_of_files_are_never_asked_for(weighed_client: FlaskClient) -> None:
    found = weighed_client.get("/_dash-dependencies").get_json()
    named = [one for c in found for one in c["inputs"] + c["state"] if one["id"] == ids.UPLOAD]
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
    look(weighed_client, f"?dropped={name}", ids.UPLOAD_REMOVE)
    assert sorted(weighed.root.iterdir()) == before
    shown = card_of(weighed_client, ids.SAMPLE_FACTS, f"?dropped={name}")
    assert "was removed" in shown or "names no job" in shown


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
    found = json.dumps(send(client, url(encoded())))
    assert "This run holds no weights of meso4/base yet" in found and "probe demo" in found
    assert not list(jobs.root.glob("*"))


def test_the_worker_sees_what_the_run_saw(made: MadeRun) -> None:
    from probe.jobs.scoring import see

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
    from probe.jobs.kinds import Request, work_of
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
    work_of("score")(Request(params, folder, tmp_path / "files"), tmp_path / "out")
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
