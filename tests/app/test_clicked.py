"""What comes from figures and controls: read where it is what they send, else taken for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import ids
from app.arguments import are_arguments, are_changes
from app.card import At
from app.components.clicked import coordinate_of, place_of
from app.lasso import drawn
from app.pages.picture import frame_of
from app.run import Run
from app.selection import Selection
from tests.app.attacking import callbacks, outputs_of
from tests.app.making import DETECTORS, MadeRun

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
    for axis in ("x", "y"):
        assert coordinate_of(click, axis) is None and place_of(click, axis, 5) is None


def test_a_click_means_what_was_clicked_on() -> None:
    click = {"points": [{"customdata": ["block1", 3.0, "7"], "x": 2, "y": "1"}]}
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


def test_a_button_that_no_page_has_is_refused(client: FlaskClient) -> None:
    one = next(c for c in callbacks(client) if f"{ids.ATTRIBUTION_CHECKS}.opened" in c["output"])
    (item,) = one["inputs"]
    for named in ({"type": ids.ATTRIBUTION_BADGE}, {"detector": [], "method": {}, "type": "x"}):
        body = {
            "output": one["output"],
            "outputs": outputs_of(one),
            "state": [],
            "inputs": [[{"id": named, "property": item["property"], "value": 1}]],
            "changedPropIds": [f"{json.dumps(named, separators=(',', ':'))}.n_clicks"],
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
    frame = frame_of(At(Run(made.folder), Selection()))
    assert drawn(DETECTORS[0], frame, event) == ""
