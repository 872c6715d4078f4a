"""The list of units in blocks, sorted and filtered by the server; one unit of all samples, fast."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from app.figures.universal import shares_figure
from app.queries.units import UnitsView, shares_view, units_block, units_view
from flask.testing import FlaskClient

from app import ids
from app.queries import activations, arranging, units
from app.queries.activations import column, stored_units
from app.queries.arranging import ArrangingError
from app.queries.asking import Asked
from app.queries.deriving import derived, shared
from app.run import Run
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.plots.theme import DARK, LIGHT
from tests.app.calling import call, said
from tests.app.making import DATASETS, DETECTORS, LAYER, UNITS, MadeRun

LABEL = DETECTORS[0]
#: All rows, as they come.
ALL: dict[str, Any] = {"startRow": 0, "endRow": UNITS, "sortModel": [], "filterModel": {}}


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


@pytest.fixture
def view(run: Run) -> UnitsView:
    return units_view(run, LABEL)


def found(view: UnitsView, **request: Any) -> list[int]:
    return [row["unit"] for row in units_block(view, ALL | request).rows]


def effects(made: MadeRun) -> np.ndarray:
    table: np.ndarray = made.tables[LABEL].data["effect"].transpose("dataset", "unit").values
    return table


def number(
    operator: str, first: float | None = None, second: float | None = None
) -> dict[str, Any]:
    return {"filterType": "number", "type": operator, "filter": first, "filterTo": second}


def test_blocks_together_are_the_list(view: UnitsView) -> None:
    blocks = [units_block(view, ALL | {"startRow": i, "endRow": i + 5}) for i in (0, 5, 10)]
    assert [row["unit"] for block in blocks for row in block.rows] == view.order
    assert [len(block.rows) for block in blocks] == [5, 5, 2]
    assert {block.total for block in blocks} == {UNITS}
    assert units_block(view, ALL | {"startRow": 100, "endRow": 200}).rows == []


def test_sorted_by_one_column_and_by_several(made: MadeRun, view: UnitsView) -> None:
    strong = np.argsort(-effects(made)[1], kind="stable")
    assert found(view, sortModel=[{"colId": "e1", "sort": "desc"}]) == strong.tolist()
    assert found(view, sortModel=[{"colId": "unit", "sort": "asc"}]) == list(range(UNITS))
    lists = {row["unit"]: row["n_datasets"] for row in view.records()}
    both = [{"colId": "n_datasets", "sort": "asc"}, {"colId": "unit", "sort": "desc"}]
    assert found(view, sortModel=both) == sorted(range(UNITS), key=lambda u: (lists[u], -u))


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


def test_filters_of_columns_all_have_to_hold(made: MadeRun, view: UnitsView) -> None:
    first, second = effects(made)[:2]
    model = {"e0": number("greaterThan", 0.5), "e1": number("lessThan", 1.0)}
    kept = np.flatnonzero((first > 0.5) & (second < 1.0))
    block = units_block(view, ALL | {"filterModel": model}, unit=int(kept[0]))
    assert sorted(row["unit"] for row in block.rows) == kept.tolist() and 0 < len(kept) < UNITS
    assert block.total == len(kept)
    assert block.place is not None and block.rows[block.place]["unit"] == kept[0]
    out = int(np.flatnonzero(first <= 0.5)[0])
    assert units_block(view, ALL | {"filterModel": model}, unit=out).place is None


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
def test_what_no_grid_sends_is_refused(view: UnitsView, request_: Any) -> None:
    with pytest.raises(ProbeError):
        units_block(view, request_)


def test_the_page_answers_the_grid_and_refuses_what_none_sends(client: FlaskClient) -> None:
    values: dict[str, Any] = {f"{ids.DETECTOR}.value": LABEL}
    asked = f"{ids.UNITS}.getRowsRequest"
    model = [{"colId": "unit", "sort": "desc"}]
    request = ALL | {"endRow": 3, "sortModel": model}
    answer = call(client, f"{ids.UNITS}.getRowsResponse", values | {asked: request})
    given = answer["response"][ids.UNITS]["getRowsResponse"]
    assert [row["unit"] for row in given["rowData"]] == [11, 10, 9] and given["rowCount"] == UNITS
    bad = ALL | {"endRow": 10_000}
    answer = call(client, f"{ids.UNITS}.getRowsResponse", values | {asked: bad})
    assert answer["response"][ids.UNITS]["getRowsResponse"] == {"rowData": [], "rowCount": 0}
    place = call(
        client,
        f"{ids.UNITS_PLACE}.children",
        values | {asked: request, f"{ids.LIST_URL}.search": "?unit=2"},
    )["response"]
    assert place[ids.UNITS_MARKED]["data"] == 2
    assert place[ids.UNITS_PLACE]["children"] == "Unit 2 stands in row 10."


def test_a_choice_in_the_list_or_the_heatmap_goes_into_the_address(client: FlaskClient) -> None:
    base: dict[str, Any] = {
        f"{ids.DETECTOR}.value": LABEL,
        f"{ids.LIST_URL}.search": "?detector=meso4%2Fbase",
        f"{ids.UNITS}.getRowsRequest": ALL | {"sortModel": [{"colId": "unit", "sort": "asc"}]},
    }

    def follow(changed: str, value: Any, **more: Any) -> dict[str, Any]:
        given = base | {changed: value} | more
        rows = [name for name in more if name.endswith("selectedRows")]
        answer = call(client, f"{ids.LIST_URL}.search", given, changed, *rows)
        found: dict[str, Any] = answer["response"]
        return found

    chosen = follow(f"{ids.UNITS}.selectedRows", [{"unit": 5}])
    assert chosen == {ids.LIST_URL: {"search": "?detector=meso4%2Fbase&unit=5"}}
    click = follow(f"{ids.SHARES}.clickData", {"points": [{"x": "7", "y": 0}]})
    assert click[ids.LIST_URL]["search"].endswith("unit=7")
    assert click[ids.UNITS]["scrollTo"] == {"rowIndex": 7, "rowPosition": "middle"}
    for bad in ({"points": [{"x": "99"}]}, {"points": [{"y": 1}]}):
        assert ids.LIST_URL not in follow(f"{ids.SHARES}.clickData", bad)
    # A click that comes together with what the list reports of itself is not lost.
    both = {f"{ids.UNITS}.selectedRows": [{"unit": 1}]}
    assert follow(f"{ids.SHARES}.clickData", {"points": [{"x": "7"}]}, **both) == click
    moved = follow(f"{ids.LIST_URL}.search", "?unit=9", **{f"{ids.UNITS_MARKED}.data": 3})
    assert moved[ids.UNITS]["scrollTo"]["rowIndex"] == 9


def test_the_heatmap_shows_shares_of_what_is_largest_in_each_dataset(
    made: MadeRun, view: UnitsView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "MOST_SHARES", 5)
    request = ALL | {"startRow": 5, "sortModel": [{"colId": "unit", "sort": "desc"}]}
    shares = shares_view(view, request)
    assert shares.unit.tolist() == [11, 10, 9, 8, 7] and shares.total == UNITS
    table = effects(made)
    slope = made.tables[LABEL].data["slope"].transpose("dataset", "unit").values
    expected = np.sign(slope) * table / table.max(axis=1, keepdims=True)
    assert np.allclose(shares.share, expected[:, shares.unit])
    assert shares.selected.sum() == sum(
        row[f"s{d}"] for row in view.records() if row["unit"] > 6 for d in range(3)
    )
    for scheme, theme in (("light", LIGHT), ("dark", DARK)):
        figure = shares_figure(shares, 9, scheme)
        heat, dots = figure.data
        assert np.array_equal(heat.z, shares.share) and list(heat.x) == ["11", "10", "9", "8", "7"]
        assert len(dots.x) == shares.selected.sum()
        (frame,) = figure.layout.shapes
        assert (frame.x0, frame.x1) == (1.5, 2.5) and frame.line.color == theme.ink
    assert shares_view(view).unit.tolist() == view.order[:5]


def test_a_column_is_the_unit_on_all_samples(made: MadeRun, run: Run) -> None:
    assert stored_units(run, LABEL, LAYER).tolist() == list(range(UNITS))
    for unit in (0, UNITS - 1):
        values = column(run, LABEL, LAYER, unit)
        assert values.dtype == np.float32 and not values.flags.writeable
        assert np.array_equal(values, made.activations[LABEL][:, unit])
    assert column(run, LABEL, LAYER, 0) is column(run, LABEL, LAYER, 0)
    with pytest.raises(StoreError, match=f"unit {UNITS} is not among them"):
        column(run, LABEL, LAYER, UNITS)
    with pytest.raises(UnknownNameError):
        column(run, LABEL, "nowhere", 0)


def test_columns_that_are_kept_take_no_more_than_they_may() -> None:
    kept = activations._Kept(100)
    arrays = [np.zeros(10, np.float32) for _ in range(4)]
    for name, array in enumerate(arrays):
        kept.put(name, array)
        assert kept.get(0) is not None or name > 1
    assert kept.get(3) is arrays[3] and kept.get(1) is None


def ready(run: Run, unit: int) -> np.ndarray:
    for _ in range(200):
        try:
            return column(run, LABEL, LAYER, unit)
        except ArrangingError:
            time.sleep(0.02)
    raise AssertionError("The store was never arranged.")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Treat every store as a large one, and keep copies in a folder of the test."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path))
    monkeypatch.setattr(activations, "SMALL", 0)
    monkeypatch.setattr(activations, "_COLUMNS", activations._Kept(1))
    monkeypatch.setattr(arranging, "STRIP", 1)
    monkeypatch.setattr(arranging, "_FAILED", set())
    return tmp_path / "dashboard" / "by-unit"


def test_a_large_store_is_arranged_by_unit_once(made: MadeRun, run: Run, large: Path) -> None:
    with pytest.raises(ArrangingError, match="arranged by unit"):
        column(run, LABEL, LAYER, 3)
    for unit in range(UNITS):
        assert np.array_equal(ready(run, unit), made.activations[LABEL][:, unit])
    (copy,) = large.iterdir()
    assert copy.stat().st_size == made.activations[LABEL].nbytes
    assert not list(made.root.rglob("*.bin"))


def test_the_page_says_that_a_store_is_being_arranged(client: FlaskClient, large: Path) -> None:
    values = {f"{ids.URL}.search": f"?detector={LABEL}&unit=1"}
    answer = call(client, f"{ids.GALLERY}.children", values)["response"]
    assert "arranged by unit" in str(answer[ids.GALLERY]["children"])
    assert answer[ids.GALLERY_TICK]["disabled"] is False
    for _ in range(200):
        answer = call(client, f"{ids.GALLERY}.children", values)["response"]
        if answer[ids.GALLERY_TICK]["disabled"]:
            break
        time.sleep(0.02)
    assert "/thumb/" in str(answer[ids.GALLERY]["children"])


def test_without_room_the_store_is_read_as_it_is(
    made: MadeRun, run: Run, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arranging, "MOST", 10)
    assert np.array_equal(column(run, LABEL, LAYER, 2), made.activations[LABEL][:, 2])
    assert not list(large.glob("*"))


def test_a_copy_that_fails_leaves_nothing_and_the_store_is_read(
    made: MadeRun, run: Run, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(array: zarr.Array[Any], part: Path) -> None:
        part.touch()
        raise OSError("disk full")

    monkeypatch.setattr(arranging, "_write", fail)
    assert np.array_equal(ready(run, 4), made.activations[LABEL][:, 4])
    assert not list(large.glob("*"))


def test_old_copies_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("new", "old")):
        file = tmp_path / f"{name}.bin"
        file.write_bytes(b"x" * 40)
        stamp = time.time() - 100 * age
        os.utime(file, (stamp, stamp))
    monkeypatch.setattr(arranging, "MOST", 100)
    assert arranging._has_room(tmp_path / "next.bin", 40)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["new.bin"]


def test_what_is_derived_is_made_once_for_the_same_tables() -> None:
    made: list[object] = []

    def make(source: list[int], factor: int) -> int:
        made.append(source)
        return factor * len(source)

    one, two = [1, 2], [1, 2]
    assert derived(make, (one,), 2) == derived(make, (one,), 2) == 4 and len(made) == 1
    assert derived(make, (one,), 3) == 6 and derived(make, (two,), 2) == 4 and len(made) == 3


def test_visitors_who_ask_at_once_wait_for_one_of_them() -> None:
    made: list[int] = []
    begun = threading.Barrier(4)

    @shared(maxsize=2)
    def slow(number: int) -> int:
        made.append(number)
        time.sleep(0.05)
        return 2 * number

    def ask() -> None:
        begun.wait()
        assert slow(3) == 6

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [3] and slow(3) == 6 and slow(4) == 8 and made == [3, 4]


def test_a_list_of_many_units_is_not_in_the_page(client: FlaskClient) -> None:
    text = said(client, "/neurons", f"?detector={LABEL}")
    assert '"rowModelType": "infinite"' in text and '"rowData"' not in text
    assert all(name in text for name in DATASETS)
