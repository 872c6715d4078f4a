"""A map of an image of the run that is made on request."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app.card import At
from app.jobs import Jobs
from app.pages.sample import MADE, METHODS
from app.run import Run
from app.selection import Selection
from probe.attribution.maps import AttributionMap
from probe.images import token_of
from probe.plots.style import colors_of, limit_of, number
from tests.app.calling import card_of, pressed
from tests.app.conftest import client_of
from tests.app.faking import fake_jobs, starts
from tests.app.making import DETECTORS, MadeRun
from tests.app.scoring import card_weights

LABEL = DETECTORS[0]


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = fake_jobs(tmp_path / "jobs", seconds=60)
    monkeypatch.setattr("app.card.jobs_of", lambda run: found)
    return found


def asked(client: FlaskClient, search: str) -> str:
    return json.dumps(card_of(client, MADE.id, search), ensure_ascii=False)


def test_the_methods_are_registered_by_these_names() -> None:
    from probe.attribution.methods import METHODS as registered

    assert set(METHODS) <= set(registered)


def test_a_map_is_asked_for_and_shown(own: MadeRun, jobs: Jobs) -> None:
    card_weights(own.root, *DETECTORS)
    run = Run(own.folder)
    sample = str(own.data.samples.table["sample"].iloc[5])
    chosen = Selection(sample=token_of(sample), detector=LABEL, method="occlusion")
    client = client_of(own.root)
    text = asked(client, chosen.search)
    assert "Not made yet. Occlusion" in text and not jobs.root.exists()
    key = {"search": chosen.search, "scheme": ""}
    assert pressed(client, MADE.id, "start", key)["again"] == 1
    assert "progressbar" in asked(client, chosen.search) and len(starts(jobs.root)) <= 1
    task = MADE.job.task(At(run, chosen))
    content = jobs.job(task.fingerprint).read_job()
    assert content["kind"] == "map" and content["params"] == {
        "detector": LABEL,
        "samples": [sample],
        "method": "occlusion",
        "seed": 0,
    }
    jobs.cancel(task.fingerprint)

    first = run.maps(LABEL, run.map_methods(LABEL)[0]).data.isel(sample=[0]).load()
    named = first.assign_coords(sample=[sample])
    AttributionMap(named).save(jobs.job(task.fingerprint).result / "maps.zarr")
    text = asked(client, chosen.search)
    assert f"Map of {sample}" in text and "The scale is that of this map alone" in text
    source = text.partition("data:image/png;base64,")[2].partition('"')[0]
    pixels = Image.open(BytesIO(base64.b64decode(source))).convert("RGB")
    values = np.asarray(named["attribution"].values[0], dtype=np.float64)
    assert f"+{number(limit_of([values]))}" in text or not named.attrs["signed"]
    y, x = (int(i) for i in np.unravel_index(np.abs(values).argmax(), values.shape))
    at = (
        int((x + 0.5) * pixels.width / values.shape[1]),
        int((y + 0.5) * pixels.height / len(values)),
    )
    signed = bool(named.attrs["signed"])
    end = 1.0 if values[y, x] > 0 else 0.0 if signed else 1.0
    wanted = np.round(255 * np.asarray(colors_of(signed)(end))[:3])
    assert np.abs(np.array(pixels.getpixel(at)) - wanted).max() <= 1


def test_what_cannot_be_made_is_said(client: FlaskClient, own: MadeRun) -> None:
    assert "holds no weights" in asked(client, "")
    card_weights(own.root, *DETECTORS)
    text = asked(client_of(own.root), "?method=gradcan")
    assert "Did you mean 'gradcam'" in text
