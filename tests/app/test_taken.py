"""The card "Take units out": which set, what the buttons do, and what a result says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from app.components.taken import taken_sentence
from app.queries.taken import chosen_units, proposed_units, taken_task, taken_view
from app.queries.units import units_view
from flask.testing import FlaskClient

from app import ids
from app.components.jobs import job_text, time_text
from app.jobs import CANCELLED, FAILED, RUNNING, WAITING, Jobs, JobState
from app.pages import ablating
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError
from probe.jobs.folder import Progress
from probe.neurons import Ablation
from probe.run import RunFolder
from tests.app.calling import call, said
from tests.app.conftest import client_of
from tests.app.faking import fake_jobs, starts
from tests.app.making import DATASETS, DETECTORS, LAYER, MadeRun

ROOM = f"{ids.TAKEN}-room.children"
START, CANCEL, TICK = (f"{ids.TAKEN}-{name}" for name in ("start", "cancel", "tick"))


def with_weights(run: MadeRun) -> Run:
    """Give a drawn run a card of weights, all that the web side reads of them."""
    for label in DETECTORS:
        folder = run.folder.detector(label)
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps({"weights_hash": "0" * 32}))
    return Run(RunFolder(run.root.resolve()))


def drawn_ablation(units: list[int], n_random: int = 40) -> Ablation:
    """Draw what a job "ablation" leaves: one set."""
    rng = np.random.default_rng(0)
    shape = (1, len(DATASETS) + 1, 2)
    dims = ("set", "dataset", "metric")
    drop = rng.uniform(0.05, 0.1, shape)
    columns = {
        "without": 0.8 - drop,
        "drop": drop,
        "drop_low": drop - 0.02,
        "drop_high": drop + 0.02,
        "excess": drop / 2,
        "excess_low": drop / 2 - 0.01,
        "excess_high": drop / 2 + 0.01,
        "p": np.full(shape, 1 / (n_random + 1)),
    }
    arrays = {name: (dims, values) for name, values in columns.items()} | {
        "full": (dims[1:], np.full(shape[1:], 0.8)),
        "random_drop": (
            ("set", "random", *dims[1:]),
            rng.normal(0, 0.01, (1, n_random, *shape[1:])),
        ),
        "n_units": ("set", [len(units)]),
        "n_distinct": ("set", [n_random - 3]),
        "balance": ("set", [1.6]),
    }
    coords = {"set": ["chosen"], "dataset": [*DATASETS, "mean"], "metric": ["accuracy", "auroc"]}
    attrs = {"n_random": n_random, "chosen_on": "by hand", "units": {"chosen": units}}
    return Ablation(xr.Dataset(arrays, coords=coords, attrs=attrs))


def room(client: FlaskClient, search: str, changed: str = TICK, **values: Any) -> tuple[str, Any]:
    """What the room says, and which of the buttons and the clock are disabled."""
    given = {f"{ids.URL}.search": search} | {
        f"{name}.n_clicks": 1 for name in (START, CANCEL) if name == changed
    }
    answer = call(client, ROOM, given | values, f"{changed}.n_clicks")["response"]
    disabled = {name: answer[name]["disabled"] for name in (START, CANCEL, TICK)}
    return json.dumps(answer[f"{ids.TAKEN}-room"]["children"], ensure_ascii=False), disabled


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = fake_jobs(tmp_path / "jobs", seconds=60)
    monkeypatch.setattr(ablating, "jobs_of", lambda run: found)
    monkeypatch.setattr("app.exports.taken.jobs_of", lambda run: found)
    return found


def test_a_set_is_proposed_and_the_address_may_name_another(made: MadeRun) -> None:
    view = units_view(Run(made.folder), DETECTORS[0])
    passed = [int(u) for u in range(12) if u % 3 == 0]
    assert proposed_units(view) == chosen_units(view, Selection()) == passed
    assert chosen_units(view, Selection(units="7,1")) == [7, 1]
    with pytest.raises(ProbeError, match="not in this table"):
        chosen_units(view, Selection(units="1,99"))


def test_without_a_test_the_strongest_are_proposed(made: MadeRun) -> None:
    view = units_view(Run(made.folder), DETECTORS[0])
    blind = dict(view.columns) | {"q": np.full(12, np.nan)}
    effect = made.tables[DETECTORS[0]].data["effect"].mean("dataset").values
    assert proposed_units(replace(view, columns=blind)) == sorted(np.argsort(-effect)[:5].tolist())


def test_without_weights_the_card_says_what_is_missing(client: FlaskClient) -> None:
    text, disabled = room(client, "?units=1")
    assert "holds no weights of meso4/base" in text and "probe demo --out somewhere" in text
    assert disabled == {START: True, CANCEL: True, TICK: True}
    assert "Take units out" in said(client, "/neurons")


def test_buttons_start_and_cancel(own: MadeRun, jobs: Jobs) -> None:
    run = with_weights(own)
    client = client_of(own.root)
    text, disabled = room(client, "?units=3,1")
    assert "Not computed yet" in text and "2 units" in text
    assert disabled == {START: False, CANCEL: True, TICK: True}
    assert starts(jobs.root) == [] and not jobs.root.exists()

    text, disabled = room(client, "?units=3,1", START)
    assert "progressbar" in text and disabled == {START: True, CANCEL: False, TICK: False}
    fingerprint = taken_task(run, Selection(units="1,3")).fingerprint
    content = jobs.job(fingerprint).read_job()
    assert content["kind"] == "ablation" and content["params"] == {
        "detector": DETECTORS[0],
        "layer": LAYER,
        "units": [1, 3],
        "n_random": 100,
        "seed": 0,
    }
    # Another set is another job, and its page does not show this one.
    assert "Not computed yet" in room(client, "?units=3")[0]

    text, disabled = room(client, "?units=3,1", CANCEL)
    assert "Cancelled" in text and disabled == {START: False, CANCEL: True, TICK: True}
    assert jobs.state(fingerprint).name == CANCELLED


def test_looking_starts_nothing(own: MadeRun, jobs: Jobs) -> None:
    with_weights(own)
    client = client_of(own.root)
    said(client, "/neurons", "?units=1")
    room(client, "?units=1", f"{ids.URL}")
    # The button as it is drawn reports no click.
    call(client, ROOM, {f"{ids.URL}.search": "?units=1"}, f"{START}.n_clicks")
    assert not jobs.root.exists()


def test_a_result_is_shown_with_what_speaks_against_it(own: MadeRun, jobs: Jobs) -> None:
    run = with_weights(own)
    found = drawn_ablation([1, 3])
    task = taken_task(run, Selection(units="1,3"))
    found.save(jobs.job(task.fingerprint).result / "ablation.zarr")
    client = client_of(own.root)
    text, disabled = room(client, "?units=3,1")
    assert disabled == {START: True, CANCEL: True, TICK: True}
    drop = float(found.data["drop"].sel(dataset="mean", metric="auroc")[0])
    assert f"Without these 2 units AUROC falls by {drop:.3f}" in text and "more than" in text
    for dataset in DATASETS:
        one = found.data.isel(set=0).sel(dataset=dataset, metric="auroc")
        low, high = np.percentile(one["random_drop"], [2.5, 97.5])
        shown = [f"{float(v):+.3f}".replace("-", "\N{MINUS SIGN}") for v in (one["drop"], low)]
        assert all(word in text for word in (dataset, *shown, f"{high:+.3f}"))
    assert "no honest test" in text and "Only 37 of them differ" in text and "1.60 times" in text

    frame = client.get("/export/taken-out.csv?units=1,3")
    assert frame.status_code == 200 and len(frame.text.splitlines()) == 1 + 2 * 4
    assert client.get("/export/taken-out.csv?units=2").status_code == 404
    code = client.get("/export/taken-out.py?units=1,3").text
    assert "units = [1, 3]" in code
    compile(code, "taken", "exec")


def test_sentences(made: MadeRun) -> None:
    found = drawn_ablation([4])
    assert taken_sentence(taken_view(found)).startswith("Without this unit AUROC falls")
    data = found.data.assign(drop=-found.data["drop"], p=found.data["p"] * 0 + 0.5)
    text = taken_sentence(taken_view(Ablation(data)))
    assert "rises" in text and "no more than" in text


def follow(client: FlaskClient, words: list[str], search: str, changed: str) -> Any:
    values = {
        f"{ids.TAKEN_UNITS}.value": words,
        f"{ids.TAKEN_URL}.search": search,
        f"{ids.DETECTOR}.value": DETECTORS[0],
    }
    return call(client, f"{ids.TAKEN_UNITS}.value", values, changed)["response"]


def test_the_set_and_the_address_follow_each_other(client: FlaskClient) -> None:
    by_hand, by_link = f"{ids.TAKEN_UNITS}.value", f"{ids.TAKEN_URL}.search"
    answer = follow(client, ["3", "1"], "?unit=2", by_hand)
    assert answer[ids.TAKEN_URL]["search"] == "?unit=2&units=3%2C1"
    answer = follow(client, ["3"], "?units=3,1", by_link)
    assert answer[ids.TAKEN_UNITS]["value"] == ["3", "1"] and ids.TAKEN_URL not in answer
    # What is no unit of the table is said, and does not get into the address.
    for words in (["3", "99"], ["x"], ["-1"], ["²"], ["1" * 300]):
        answer = follow(client, words, "", by_hand)
        assert ids.TAKEN_URL not in answer and answer[ids.TAKEN_UNITS]["error"]
    assert follow(client, [], "", by_hand)[ids.TAKEN_UNITS]["error"] == "Name one unit or more."
    # The proposal is not written to the address, and what is there already is not written again.
    assert ids.TAKEN_URL not in follow(client, ["0", "3", "6", "9"], "", by_hand)
    assert ids.TAKEN_URL not in follow(client, ["3", "1"], "?units=3%2C1", by_hand)


def test_texts_of_states() -> None:
    def text(state: JobState) -> str:
        return json.dumps(job_text(state), default=lambda c: c.to_plotly_json(), ensure_ascii=False)

    running = JobState(RUNNING, Progress(250, 1000, 0.0, 10.0, "ablate"))
    assert all(word in text(running) for word in ("250 of 1,000", "25/s", "30 s left", "25.0%"))
    assert "Loading" in text(JobState(RUNNING))
    assert "Waiting" in text(JobState(WAITING)) and "Cancelled" in text(JobState(CANCELLED))
    assert "Do that." in text(JobState(FAILED, None, "Do that."))
    assert "defect" in text(JobState(FAILED, None, "KeyError: 1", expected=False))
    times = {5.4: "5 s", 89: "89 s", 90: "2 min", 3540: "59 min", 7500: "2 h 5 min"}
    assert {seconds: time_text(seconds) for seconds in times} == times
