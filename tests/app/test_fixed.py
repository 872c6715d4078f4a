"""Parts of a page that are drawn as one component."""

from __future__ import annotations

import json
from typing import Any

import dash_mantine_components as dmc
import pytest
from dash import dcc, html
from dash._utils import to_json

from app.gallery import gallery
from app.images import extremes
from app.layout import Fixed, fixed
from app.run import Run
from tests.app.making import DETECTORS, LAYER, MadeRun


def sent(part: Any) -> Any:
    """Return what goes to the browser, as JSON."""
    return json.loads(to_json(part))


def test_a_fixed_part_is_its_components_as_they_are_sent(made: MadeRun) -> None:
    shown = gallery(extremes(Run(made.folder), DETECTORS[0], LAYER, 0, 3), 0)
    found = sent(fixed(shown))
    assert (found["namespace"], found["type"]) == ("probe_parts", "Fixed")
    assert found["props"]["tree"] == [sent(shown)]
    assert "/thumb/" in json.dumps(found)


def test_parts_within_parts_are_one() -> None:
    inner = fixed(html.B("b"), None, "text", 3)
    tree = sent(fixed(html.Div(["a", inner, [html.I("c")]])))["props"]["tree"]
    assert tree[0]["props"]["children"][1] == sent(inner)["props"]["tree"]
    assert "probe_parts" not in json.dumps(tree)
    label = dmc.Tooltip(html.B("?"), label=html.Div("said"))
    assert sent(fixed(label))["props"]["tree"][0]["props"]["label"]["type"] == "Div"


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (html.Div(html.Button("x", id="start")), "Button 'start' has an id"),
        (dcc.Graph(figure={}), "Graph cannot stand"),
        (html.Div([dmc.Menu([dmc.MenuTarget("x")])]), "Menu cannot stand"),
    ],
)
def test_what_needs_dash_is_refused(part: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        fixed(part)


def test_dash_knows_the_component_as_its_own() -> None:
    made = Fixed(["a"])
    assert made.to_plotly_json()["props"] == {"tree": ["a"]}
    assert list(html.Div([made, "x"])._traverse()) == [made, "x"]
