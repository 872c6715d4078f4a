"""A map of an image of the run that is made on request."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from app import ids
from app.jobs import Jobs
from app.pages import making_maps
from app.queries.made_map import METHODS, made_map, made_task
from app.selection import Selection
from probe.attribution.maps import AttributionMap
from probe.errors import ProbeError
from probe.images import token_of
from probe.plots.style import colors_of, limit_of
from tests.app.calling import call
from tests.app.conftest import client_of
from tests.app.faking import fake_jobs, starts
from tests.app.making import DETECTORS, MadeRun
from tests.app.test_taken import with_weights

ROOM, START, TICK = (f"{ids.MADE_MAP}-{part}" for part in ("room", "start", "tick"))


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = fake_jobs(tmp_path / "jobs", seconds=60)
    monkeypatch.setattr(making_maps, "jobs_of", lambda run: found)
    return found


def asked(client: FlaskClient, search: str, method: str, changed: str = TICK) -> tuple[str, Any]:
    given = {f"{ids.URL}.search": search, f"{ids.MADE_MAP_METHOD}.value": method}
    prop = "n_clicks" if changed == START else "n_intervals"
    given |= {f"{START}.n_clicks": 1} if changed == START else {}
    answer = call(client, f"{ROOM}.children", given, f"{changed}.{prop}")["response"]
    return json.dumps(answer[ROOM]["children"], ensure_ascii=False), answer[START]["disabled"]


def test_the_methods_are_registered_by_these_names() -> None:
    from probe.attribution.methods import METHODS as registered

    assert set(METHODS) <= set(registered)


def test_a_map_is_asked_for_and_shown(own: MadeRun, jobs: Jobs) -> None:
    run = with_weights(own)
    sample = str(own.data.samples.table["sample"].iloc[5])
    chosen = Selection(sample=token_of(sample), detector=DETECTORS[0])
    client = client_of(own.root)
    text, disabled = asked(client, chosen.search, "occlusion")
    assert "Not made yet. Occlusion" in text and not disabled and not jobs.root.exists()
    text, disabled = asked(client, chosen.search, "occlusion", START)
    assert "progressbar" in text and disabled and len(starts(jobs.root)) <= 1
    task = made_task(run, chosen, "occlusion")
    content = jobs.job(task.fingerprint).read_job()
    assert content["kind"] == "map" and content["params"] == {
        "detector": DETECTORS[0],
        "samples": [sample],
        "method": "occlusion",
        "seed": 0,
    }
    jobs.cancel(task.fingerprint)

    first = run.maps(DETECTORS[0], run.map_methods(DETECTORS[0])[0]).data.isel(sample=[0]).load()
    named = first.assign_coords(sample=[sample])
    AttributionMap(named).save(jobs.job(task.fingerprint).result / "maps.zarr")
    shown = made_map(run, jobs, task.fingerprint)
    assert shown.sample == sample and shown.source in asked(client, chosen.search, "occlusion")[0]
    pixels = Image.open(BytesIO(base64.b64decode(shown.source.partition(",")[2]))).convert("RGB")
    values = np.asarray(named["attribution"].values[0], dtype=np.float64)
    assert shown.column.limit == limit_of([values])
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
    assert "holds no weights" in asked(client, "", "gradcam")[0]
    with pytest.raises(ProbeError, match="Did you mean 'gradcam'"):
        made_task(with_weights(own), Selection(), "gradcan")
