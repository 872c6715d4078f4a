"""The Neurons page: its list in blocks, one unit, sets that are taken out; against the tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import xarray as xr
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from plotly.utils import PlotlyJSONEncoder

from app.card import At, render
from app.grid import Asked
from app.jobs import CANCELLED, DONE, FAILED, RUNNING, WAITING, Jobs, JobState, job_text, time_text
from app.layout import signed_text
from app.pages import neurons
from app.pages.neurons import LIST, PAGE, TAKEN, Rows, verdict_of
from app.run import Run
from app.selection import Selection
from probe import plots
from probe.errors import ProbeError
from probe.jobs import Progress
from probe.neurons import Ablation, universal_neurons
from probe.plots.neurons import MOST_COLUMNS
from probe.plots.theme import DARK, LIGHT
from probe.run import MissingTableError, RunFolder
from tests.app.calling import call, pressed
from tests.app.conftest import client_of
from tests.app.faking import fake_jobs, starts
from tests.app.making import DATASETS, DETECTORS, LAYER, UNITS, MadeRun
from tests.app.scoring import card_weights

LABEL = DETECTORS[0]
#: All rows, as they come.
ALL: dict[str, Any] = {"startRow": 0, "endRow": UNITS, "sortModel": [], "filterModel": {}}


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture
def frame(run: Run) -> pd.DataFrame:
    return plots.units(run.neurons(LABEL), run.universality(LABEL))


@pytest.fixture
def rows(frame: pd.DataFrame) -> Rows:
    return Rows(frame)


def found(rows: Rows, **request: Any) -> list[int]:
    asked, order = rows.asked(ALL | request)
    return [row["unit"] for row in rows.records(order[asked.start : asked.stop])]


def effects(made: MadeRun) -> np.ndarray:
    table: np.ndarray = made.tables[LABEL].data["effect"].transpose("dataset", "unit").values
    return table


# --- The list -----------------------------------------------------------------------------------


def test_units_are_those_of_the_tables_most_universal_first(made: MadeRun, run: Run) -> None:
    label = DETECTORS[1]
    frame = plots.units(run.neurons(label), run.universality(label))
    data = made.tables[label].data
    counted = universal_neurons(made.tables[label], n_draws=2).data
    about = frame.attrs
    assert (about["layer"], about["datasets"]) == (LAYER, list(DATASETS))
    assert about["output"] == "fake logit" and about["kept"] == UNITS // 2
    assert sorted(frame["unit"]) == list(range(UNITS))
    for row in frame.to_dict("records"):
        one = data.sel(unit=row["unit"])
        assert row["mean_effect"] == pytest.approx(float(one["effect"].mean()))
        inside = [int(one["rank"].sel(dataset=name)) <= UNITS // 2 for name in DATASETS]
        assert [row[f"selected_{name}"] for name in DATASETS] == inside
        assert [row[f"effect_{n}"] for n in DATASETS] == pytest.approx(
            one["effect"].values.tolist()
        )
        assert row["n_datasets"] == sum(inside) == counted["n_datasets"].sel(unit=row["unit"])
        assert row["q"] == float(counted["q"].values[-1][row["unit"]])
    keys = list(zip(frame["q"], -frame["n_datasets"], -frame["mean_effect"], strict=True))
    assert keys == sorted(keys)
    first = set(frame["unit"][: len(run.universality(label).universal)])
    assert first == set(run.universality(label).universal.tolist())


def test_rows_are_plain_data_that_json_takes(rows: Rows) -> None:
    records = rows.records(slice(None))
    assert json.loads(json.dumps(records)) == records


def test_blocks_together_are_the_list(rows: Rows, frame: pd.DataFrame) -> None:
    blocks = [found(rows, startRow=i, endRow=i + 5) for i in (0, 5, 10)]
    assert sum(blocks, []) == frame["unit"].tolist() and list(map(len, blocks)) == [5, 5, 2]
    assert found(rows, startRow=100, endRow=200) == []


def test_sorted_by_one_column_and_by_several(made: MadeRun, rows: Rows) -> None:
    strong = np.argsort(-effects(made)[1], kind="stable")
    assert found(rows, sortModel=[{"colId": "e1", "sort": "desc"}]) == strong.tolist()
    assert found(rows, sortModel=[{"colId": "unit", "sort": "asc"}]) == list(range(UNITS))
    lists = {row["unit"]: row["n_datasets"] for row in rows.records(slice(None))}
    both = [{"colId": "n_datasets", "sort": "asc"}, {"colId": "unit", "sort": "desc"}]
    assert found(rows, sortModel=both) == sorted(range(UNITS), key=lambda u: (lists[u], -u))


def number(
    operator: str, first: float | None = None, second: float | None = None
) -> dict[str, Any]:
    return {"filterType": "number", "type": operator, "filter": first, "filterTo": second}


def test_ties_keep_the_order_of_the_list_and_missing_values_come_last() -> None:
    columns = {"a": np.array([1.0, np.nan, 1.0, 0.0]), "b": np.arange(4)}
    for way, expected in (("asc", [3, 0, 2, 1]), ("desc", [0, 2, 3, 1])):
        asked = Asked.of(ALL | {"sortModel": [{"colId": "a", "sort": way}]}, ("a", "b"))
        assert asked.order(columns).tolist() == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (number("equals", 2), [1]),
        (number("notEqual", 2), [0, 3]),
        (number("lessThan", 2), [0]),
        (number("lessThanOrEqual", 2), [0, 1]),
        (number("greaterThan", 2), [3]),
        (number("greaterThanOrEqual", 2), [1, 3]),
        (number("inRange", 2, 3), [1, 3]),
        (number("blank"), [2]),
        (number("notBlank"), [0, 1, 3]),
        ({"operator": "OR", "conditions": [number("blank"), number("equals", 1)]}, [0, 2]),
        ({"operator": "AND", "conditions": [number("lessThan", 3), number("notEqual", 1)]}, [1]),
    ],
)
def test_filters_are_those_of_the_grid(condition: dict[str, Any], expected: list[int]) -> None:
    columns = {"a": np.array([1.0, 2.0, np.nan, 3.0])}
    asked = Asked.of(ALL | {"filterModel": {"a": condition}}, ("a",))
    assert asked.order(columns).tolist() == expected


def test_filters_of_columns_all_have_to_hold(made: MadeRun, rows: Rows) -> None:
    first, second = effects(made)[:2]
    model = {"e0": number("greaterThan", 0.5), "e1": number("lessThan", 1.0)}
    kept = np.flatnonzero((first > 0.5) & (second < 1.0))
    assert sorted(found(rows, filterModel=model)) == kept.tolist() and 0 < len(kept) < UNITS


FORGED: list[Any] = [
    None,
    [],
    "rows",
    {},
    {"startRow": -1, "endRow": 5},
    {"startRow": 5, "endRow": 0},
    {"startRow": 0, "endRow": 501},
    {"startRow": True, "endRow": 5},
    {"startRow": 0.5, "endRow": 5},
    {"startRow": 0, "endRow": 10**400},
    ALL | {"sortModel": "unit"},
    ALL | {"sortModel": [None]},
    ALL | {"sortModel": [{}] * 21},
    ALL | {"sortModel": [{"colId": "__class__", "sort": "asc"}]},
    ALL | {"sortModel": [{"colId": ["unit"], "sort": "asc"}]},
    ALL | {"sortModel": [{"colId": "unit", "sort": "up"}]},
    ALL | {"filterModel": [1]},
    ALL | {"filterModel": {"nothing": number("equals", 1)}},
    ALL | {"filterModel": {"unit": None}},
    ALL | {"filterModel": {"unit": number("contains", 1)}},
    ALL | {"filterModel": {"unit": number("equals", None)}},
    ALL | {"filterModel": {"unit": number("equals", 10**400)}},
    ALL | {"filterModel": {"unit": number("inRange", 1, "2")}},
    ALL | {"filterModel": {"unit": {"operator": "XOR", "conditions": []}}},
    ALL | {"filterModel": {"unit": {"operator": "OR", "conditions": [number("blank")] * 11}}},
    ALL | {"filterModel": {"unit": {"operator": "OR", "conditions": [None]}}},
]


@pytest.mark.parametrize("request_", FORGED)
def test_what_no_grid_sends_is_refused(rows: Rows, request_: Any) -> None:
    with pytest.raises(ProbeError):
        rows.asked(request_)


def test_the_page_answers_the_grid_and_refuses_what_none_sends(client: FlaskClient) -> None:
    values: dict[str, Any] = {"neurons-of.data": LABEL}
    asked = "neurons-units.getRowsRequest"
    request = ALL | {"endRow": 3, "sortModel": [{"colId": "unit", "sort": "desc"}]}
    answer = call(client, "neurons-units.getRowsResponse", values | {asked: request})
    given = answer["response"]["neurons-units"]["getRowsResponse"]
    assert [row["unit"] for row in given["rowData"]] == [11, 10, 9] and given["rowCount"] == UNITS
    for bad in (ALL | {"endRow": 10_000}, {"startRow": "x"}, None):
        answer = call(client, "neurons-units.getRowsResponse", values | {asked: bad})
        assert answer["response"]["neurons-units"]["getRowsResponse"]["rowData"] == []
    place = call(client, "neurons-marked.data", values | {asked: request, "url.search": "?unit=2"})[
        "response"
    ]
    assert place["neurons-marked"]["data"] == 2
    assert place["neurons-place"]["children"] == "Unit 2 is in row 10."
    assert place["neurons-units"]["scrollTo"] == {"rowIndex": 9, "rowPosition": "middle"}
    known = values | {asked: request, "url.search": "?unit=2", "neurons-marked.data": 2}
    again = call(client, "neurons-marked.data", known)["response"]
    assert "neurons-units" not in again


def test_a_list_of_many_units_is_not_in_the_page(run: Run) -> None:
    text = json.dumps(render(LIST, run, {}), cls=PlotlyJSONEncoder)
    assert '"rowModelType": "infinite"' in text and '"rowData"' not in text
    assert all(name in text for name in DATASETS)


def test_the_heatmap_shows_shares_of_what_is_largest_in_each_dataset(
    made: MadeRun, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probe.plots.neurons.MOST_COLUMNS", 5)
    order = np.argsort(-frame["unit"].to_numpy())
    table = effects(made)
    slope = made.tables[LABEL].data["slope"].transpose("dataset", "unit").values
    expected = np.where(slope < 0, -1, 1) * table / table.max(axis=1, keepdims=True)
    for theme in (LIGHT, DARK):
        figure = go.Figure(plots.figure_units(frame, theme, rows=order, unit=9))
        heat, dots = figure.data
        assert list(heat.x) == ["11", "10", "9", "8", "7"]
        np.testing.assert_allclose(heat.z, expected[:, [11, 10, 9, 8, 7]])
        inside = frame[frame["unit"] > 6][[f"selected_{name}" for name in DATASETS]]
        assert len(dots.x) == int(inside.to_numpy().sum())
        assert heat.customdata[0][2] == "unit=9"
        (box,) = figure.layout.shapes
        assert (box.x0, box.x1) == (1.5, 2.5) and box.line.color == theme.ink
    first = go.Figure(plots.figure_units(frame)).data[0].x
    assert list(first) == [str(unit) for unit in frame["unit"][:5]] and MOST_COLUMNS == 40


# --- Counts and single units --------------------------------------------------------------------


def test_counts_are_drawn_beside_both_nulls(made: MadeRun, run: Run) -> None:
    data = universal_neurons(made.tables[LABEL], n_draws=50).data
    frame = plots.counts(run.universality(LABEL))
    for theme in (LIGHT, DARK):
        bars, null, *drawn = go.Figure(plots.figure_counts(frame, theme)).data
        assert list(bars.y) == data["observed"].values.tolist()
        low, high = data["independence_low"].values, data["independence_high"].values
        mean = data["independence"].values
        assert list(null.y) == mean.tolist()
        up, down = null.error_y.array, null.error_y.arrayminus
        np.testing.assert_allclose(np.add(null.y, up), np.maximum(high, mean))
        np.testing.assert_allclose(np.subtract(null.y, down), np.minimum(low, mean))
        assert [list(one.y) for one in drawn] == data["untrained"].values.tolist()
        assert sum(bool(one.showlegend) for one in drawn) == 1


@pytest.mark.parametrize(
    ("observed", "untrained", "verdict"),
    [(3, [], "chance"), (4, [1], "beyond"), (5, [5], "untrained"), (6, [5, 2], "beyond")],
)
def test_a_verdict_needs_more_than_both_nulls(
    observed: int, untrained: list[int], verdict: str
) -> None:
    columns: dict[str, Any] = {"observed": [9, observed], "independence_high": [9, 3]}
    columns |= {f"untrained_{i}": [9, n] for i, n in enumerate(untrained, 1)}
    kind, said = verdict_of(pd.DataFrame(columns))
    assert kind == verdict and ("cannot be said" in said) == (kind == "beyond" and not untrained)


def test_one_unit_is_the_column_of_the_tables(made: MadeRun, run: Run) -> None:
    data = made.tables[LABEL].data
    for unit in range(UNITS):
        frame = plots.unit_effects(run.neurons(LABEL), run.universality(LABEL), unit)
        assert frame["dataset"].tolist() == list(DATASETS)
        assert frame["effect"].tolist() == data["effect"].sel(unit=unit).values.tolist()
        assert frame["raises"].tolist() == (data["slope"].sel(unit=unit).values >= 0).tolist()
        for row in frame.to_dict("records"):
            strong = sorted(data["effect"].sel(dataset=row["dataset"]).values, reverse=True)
            assert row["needed"] == strong[UNITS // 2 - 1] and row["largest"] == strong[0]
            assert row["selected"] == (row["effect"] >= row["needed"])
        doses = plots.unit_doses(run.neurons(LABEL), unit)
        for name, part in doses.groupby("dataset"):
            one = data.sel(unit=unit, dataset=name)
            assert part["response"].tolist() == one["response"].values.tolist()
            assert part["value"].tolist() == one["value"].values.tolist()


def test_a_unit_is_drawn_at_its_effect_in_every_dataset(run: Run) -> None:
    frame = plots.unit_effects(run.neurons(LABEL), run.universality(LABEL), 3)
    traces = {one.name: one for one in go.Figure(plots.figure_unit_effects(frame)).data}
    assert list(traces["needed for the list"].x) == frame["needed"].tolist()
    drawn = {
        int(row): float(x)
        for name, trace in traces.items()
        if name.startswith(("raises", "lowers"))
        for x, row in zip(trace.x, trace.y, strict=True)
    }
    assert drawn == dict(enumerate(frame["effect"].tolist()))
    doses = plots.unit_doses(run.neurons(LABEL), 3)
    lines = {one.name: one for one in go.Figure(plots.figure_unit_doses(doses)).data}
    assert list(lines) == list(DATASETS)
    assert len({one.marker.symbol for one in lines.values()}) == len(DATASETS)
    faded = go.Figure(plots.figure_unit_doses(doses, dataset="beta")).data
    assert [one.opacity == 1 for one in faded] == [name == "beta" for name in DATASETS]


def test_tables_are_read_again_when_they_change(own: MadeRun) -> None:
    at = At(Run(own.folder), Selection())
    before = LIST.call(at).frame()
    table = own.tables[LABEL]
    type(table)(table.data.assign(effect=table.data["effect"] * 2)).save(
        own.folder.path("neurons", LABEL)
    )
    after = LIST.call(at).frame()
    assert after["mean_effect"].tolist() == (2 * before["mean_effect"]).tolist()


def test_a_missing_table_is_named_with_the_command_that_makes_it(own: MadeRun) -> None:
    shutil.rmtree(own.folder.path("neurons", LABEL))
    with pytest.raises(MissingTableError, match="no neuron table of meso4/base yet") as missing:
        PAGE.needs(At(Run(own.folder), Selection()))
    assert missing.value.command == "probe demo --out somewhere"


def test_an_address_of_another_layer_is_refused(run: Run) -> None:
    with pytest.raises(ProbeError, match="'conv4' is not known in the neuron table"):
        PAGE.needs(At(run, Selection(layer="conv4")))


# --- Sets of units ------------------------------------------------------------------------------


def test_the_ablation_is_its_mean_row(run: Run) -> None:
    found = run.ablation(LABEL)
    table = found.to_dataframe()
    mean = table[(table["dataset"] == "mean") & (table["metric"] == "auroc")]
    frame = plots.mean_drops(plots.ablation(found))
    assert frame["set"].tolist() == mean["set"].tolist()
    assert frame["drop"].tolist() == mean["drop"].tolist()
    low = [
        np.percentile(found.data["random_drop"].sel(set=name, dataset="mean", metric="auroc"), 2.5)
        for name in frame["set"]
    ]
    np.testing.assert_allclose(frame["random_low"], low)
    text = str(render(PAGE.cards[3], run, {}))
    assert "left in: decoys" in text and "9 random ones" in text
    other = str(render(PAGE.cards[3], run, {"search": f"?detector={DETECTORS[1]}"}))
    assert "Nothing was taken out" in other


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


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    found = fake_jobs(tmp_path / "jobs", seconds=60)
    monkeypatch.setattr("app.card.jobs_of", lambda run: found)
    monkeypatch.setattr(neurons, "jobs_of", lambda run: found)
    return found


def room(run: Run, search: str) -> str:
    return str(render(TAKEN, run, {"search": search}))


def test_a_set_is_proposed_and_the_address_may_name_another(run: Run, frame: pd.DataFrame) -> None:
    passed = [unit for unit in range(12) if unit % 3 == 0]
    assert neurons._proposed(frame) == neurons._set(At(run, Selection())) == passed
    assert neurons._set(At(run, Selection(units="7,1"))) == [7, 1]
    for bad in ("1,99", "x", "-1", "²", "1" * 300):
        with pytest.raises(ProbeError, match="not in this table"):
            neurons._set(At(run, Selection(units=bad)))


def test_without_a_test_the_strongest_are_proposed(made: MadeRun, frame: pd.DataFrame) -> None:
    effect = made.tables[LABEL].data["effect"].mean("dataset").values
    strongest = sorted(np.argsort(-effect)[:5].tolist())
    assert neurons._proposed(frame.assign(q=np.nan)) == strongest


def test_without_weights_the_card_says_what_is_missing(run: Run) -> None:
    text = room(run, "?units=1")
    assert "holds no weights of meso4/base" in text and "probe demo --out somewhere" in text


def test_buttons_start_and_cancel(own: MadeRun, jobs: Jobs) -> None:
    card_weights(own.root, *DETECTORS)
    run, client = Run(RunFolder(own.root.resolve())), client_of(own.root)
    key = {"search": "?units=3,1", "scheme": "light"}
    text = room(run, key["search"])
    assert "Not computed yet" in text and "2 units" in text
    # Looking starts nothing, and a button as it is drawn reports no click.
    assert pressed(client, TAKEN.id, "start", key, clicks=None) is None
    assert not jobs.root.exists()

    again = pressed(client, TAKEN.id, "start", key)
    assert again["again"] == 1 and again["search"] == key["search"]
    text = room(run, key["search"])
    assert "progressbar" in text and "'part': 'tick'" in text
    fingerprint = neurons._task(At(run, Selection(units="1,3"))).fingerprint
    content = jobs.job(fingerprint).read_job()
    assert content["kind"] == "ablation" and content["params"] == {
        "detector": LABEL,
        "layer": LAYER,
        "units": [1, 3],
        "n_random": 100,
        "seed": 0,
    }
    # Another set is another job, and its page does not show this one.
    assert "Not computed yet" in room(run, "?units=3")

    pressed(client, TAKEN.id, "cancel", again)
    assert "Cancelled" in room(run, key["search"]) and jobs.state(fingerprint).name == CANCELLED
    assert len(starts(jobs.root)) <= 1


def test_a_set_that_is_refused_is_not_started(own: MadeRun, jobs: Jobs) -> None:
    card_weights(own.root, *DETECTORS)
    client = client_of(own.root)
    said = pressed(client, TAKEN.id, "start", {"search": "?units=99", "scheme": "light"})
    assert "not in this table" in said["error"] and not jobs.root.exists()
    for forged in (None, [], "x"):
        assert pressed(client, TAKEN.id, "start", forged) is None


def test_a_result_is_said_with_its_nulls(own: MadeRun, jobs: Jobs) -> None:
    card_weights(own.root, *DETECTORS)
    run = Run(RunFolder(own.root.resolve()))
    fingerprint = neurons._task(At(run, Selection(units="1,3"))).fingerprint
    drawn_ablation([1, 3]).save(jobs.job(fingerprint).result / "ablation.zarr")
    assert jobs.state(fingerprint).name == DONE
    text = room(run, "?units=1,3")
    table = drawn_ablation([1, 3]).to_dataframe()
    mean = table[(table["dataset"] == "mean") & (table["metric"] == "auroc")].iloc[0]
    assert f"Without these 2 units AUROC falls by {mean['drop']:.3f}" in text
    assert "Only 37 of them differ" in text and "1.60 times" in text
    frame = TAKEN.table(At(run, Selection(units="1,3")))
    pd.testing.assert_frame_equal(frame[table.columns], table)


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


@given(value=st.floats(-1e6, 1e6), digits=st.integers(1, 4))
def test_a_difference_has_a_sign_unless_it_is_written_as_0(value: float, digits: int) -> None:
    text = signed_text(value, digits)
    assert "-" not in text
    written = float(text.replace("\N{MINUS SIGN}", "-"))
    assert abs(written - value) <= 0.5 * 10**-digits + 1e-9
    assert text[0] in "+\N{MINUS SIGN}" if written else text == f"{0:.{digits}f}"
