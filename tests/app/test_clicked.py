"""What comes from figures and controls: read where it is what they send, else taken for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from app.arguments import are_arguments, are_changes
from flask.testing import FlaskClient

from app.components.clicked import coordinate_of, customdata_of, place_of
from app.queries.lasso import drawn
from app.queries.pictures import picture_view
from app.run import Run
from tests.app.attacking import callbacks
from tests.app.making import DETECTORS, LAYER, MadeRun

ODD: list[Any] = [
    None,
    3,
    "x",
    [],
    {},
    {"points": None},
    {"points": []},
    {"points": [None]},
    {"points": [[]]},
    {"points": {"0": 1}},
    {"points": [{}]},
    {"points": [{"customdata": 3, "x": [], "y": {}}]},
    {"points": [{"customdata": [], "x": "a", "y": True}]},
    {"points": [{"customdata": [None], "x": float("nan"), "y": float("inf")}]},
    {"points": [{"customdata": [{}], "x": 10**400, "y": -(10**400)}]},
]


@pytest.mark.parametrize("click", ODD, ids=range(len(ODD)))
def test_a_click_that_no_figure_sends_means_nothing(click: Any) -> None:
    for kind in (str, int):
        assert customdata_of(click, 0, kind) is None
    for axis in ("x", "y"):
        assert coordinate_of(click, axis) is None and place_of(click, axis, 5) is None


def test_a_click_means_what_was_clicked_on() -> None:
    click = {"points": [{"customdata": ["block1", 3.0, "7"], "x": 2, "y": "1"}]}
    assert customdata_of(click, 0, str) == "block1" and customdata_of(click, 1, int) == 3
    assert customdata_of(click, 2, int) == 7 and customdata_of(click, 0, int) is None
    assert customdata_of(click, 1, str) is None and customdata_of(click, 3, int) is None
    assert coordinate_of(click, "x") == 2.0 and place_of(click, "y", 2) == 1
    # A place behind the last or before the first is none; it is not counted from the end.
    assert place_of(click, "x", 2) is None
    assert place_of({"points": [{"x": -1}]}, "x", 5) is None


def taking(
    name: str, many: list[int | None], number: float, flag: bool, rest: Any, more: dict[str, Any]
) -> None:
    """Stands for a callback."""


@pytest.mark.parametrize(
    ("at", "good", "bad"),
    [
        (0, ["", "x", None], [3, [], {}, True]),
        (1, [[], [1, None], None], ["x", [True], ["1"], {}, 1]),
        (2, [1, 1.5, -2, None], [True, "1", 10**400, []]),
        (3, [True, None], [1, "true", []]),
        (4, [3, "x", [], {"a": []}], []),
        (5, [{}, {"a": 1}, None], [[], "x", 1]),
    ],
)
def test_callbacks_take_what_their_annotations_say(
    at: int, good: list[Any], bad: list[Any]
) -> None:
    usual: list[Any] = ["x", [1], 1.5, True, None, {}]
    for value in good:
        assert are_arguments(taking, [*usual[:at], value, *usual[at + 1 :]]), value
    for value in bad:
        assert not are_arguments(taking, [*usual[:at], value, *usual[at + 1 :]]), value
    assert not are_arguments(taking, [*usual, 1])


def test_what_has_changed_is_named_as_components_are() -> None:
    wanted = [{"id": "plain"}, {"id": '{"index":["ALL"],"type":"button"}'}]
    good = ["plain.value", '{"index":3,"type":"button"}.n_clicks', "other.data"]
    assert are_changes(good, wanted) and are_changes([], wanted)
    for bad in (
        "",
        ".",
        "plain",
        "plain.",
        ".value",
        "{.n",
        "{}.n",
        '{"index":3}.n_clicks',
        '{"index":[3],"type":"button"}.n',
        '{"index":3,"type":"button","x":1}.n',
    ):
        assert not are_changes([bad], wanted), bad


def test_a_part_that_no_page_has_is_refused(client: FlaskClient) -> None:
    one = next(c for c in callbacks(client) if '"part":"card"}.children' in c["output"])
    for named in ({"part": "key"}, {"of": [], "part": {}}):
        body = {
            "output": one["output"],
            "outputs": [
                {"id": {"of": "explained-images", "part": "card"}, "property": name}
                for name in ("children", "style")
            ],
            "state": [],
            "inputs": [{"id": named, "property": "data", "value": {}}],
            "changedPropIds": [f"{json.dumps(named, separators=(',', ':'))}.data"],
        }
        assert client.post("/_dash-update-component", json=body).status_code == 400


@pytest.mark.parametrize(
    "event",
    [
        {"lassoPoints": {"x": [1, 2, 3]}},
        {"lassoPoints": {"x": [1, 2, 3], "y": [1, 2]}},
        {"lassoPoints": {"x": [1, 2, 3], "y": [1, None, 2]}},
        {"lassoPoints": [1, 2, 3]},
        {"lassoPoints": {"x": [1, 2, 10**400], "y": [1, 2, 3]}},
        {"range": 3},
        {"range": {"x": [0, float("nan")], "y": [0, 1]}},
        {"range": {"x": [0, 1], "y": ["a", 1]}},
        {"range": {"x": [0, 1]}},
        {"range": {"x": [[0], [1]], "y": [[0], [1]]}},
        {},
    ],
)
def test_an_outline_that_no_figure_draws_selects_nothing(made: MadeRun, event: Any) -> None:
    view = picture_view(Run(made.folder), DETECTORS[0], LAYER, "pca")
    assert drawn(DETECTORS[0], view, event) == ""
