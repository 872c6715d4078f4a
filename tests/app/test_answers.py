"""Answers and figures are written fast, and say the same; unused scripts stay away."""

from __future__ import annotations

import json
import re

import numpy as np
import plotly.graph_objects as go
import pytest
from dash import html
from flask.testing import FlaskClient

from app.answers import as_json
from app.figures import plot


def test_what_orjson_does_not_know_is_written_too() -> None:
    value = {
        "a": np.arange(2),
        1: [np.nan, np.float32(0.5)],
        "c": html.B("x", id="y"),
        "o": np.array(["p", None], dtype=object),
    }
    found = json.loads(as_json(value))
    assert (found["a"], found["1"], found["o"]) == ([0, 1], [None, 0.5], ["p", None])
    assert found["c"]["props"] == {"children": "x", "id": "y"}
    with pytest.raises(TypeError):
        as_json(object())


def test_a_figure_says_what_plotlys_own_says() -> None:
    x, y = np.arange(300), np.linspace(0, 1, 300)
    own = plot.Figure(plot.scatter(x=x, y=y, mode="lines"))
    own.add_vline(x=2, line={"width": 1})
    own.update_layout(xaxis={"title": {"text": "a"}}, shapes=[{"type": "line", "x0": 1}])
    own.update_layout(xaxis={"title": {"font": {"size": 9}}})
    theirs = go.Figure(go.Scatter(x=x, y=y, mode="lines"))
    sent, wanted = json.loads(as_json(own))["data"], json.loads(theirs.to_json())["data"]
    assert sent == wanted
    assert len(own.layout.shapes) == 2
    assert own.layout.xaxis.title.text == "a" and own.layout.xaxis.title.font.size == 9
    with pytest.raises(ValueError):
        plot.Figure(plot.scatter(nothing=1)).checked  # noqa: B018


def test_unused_scripts_are_not_loaded(client: FlaskClient) -> None:
    pages = {path: client.get(path).text for path in ("/", "/neurons", "/sample")}
    scripts = {path: re.findall(r'<script src="([^"]+)"', text) for path, text in pages.items()}
    ahead = re.findall(r'<link rel="prefetch" as="script" href="([^"]+)"', pages["/"])
    later = ("package_data/plotly", "async-graph", "async-community", "async-upload")
    for name in later:
        assert name not in " ".join(scripts["/"]) and name in " ".join(ahead)
        assert name in " ".join(scripts["/neurons"]) and name in " ".join(scripts["/sample"])
    assert all(client.get(path).status_code == 200 for path in ahead)
    assert "/_dash-component-suites/plotly/package_data/plotly.min.js" in ahead
    assert "prefetch" not in pages["/neurons"]
    for name in ("dash_table", "mathjax", "async-enterprise", "charts-shared"):
        assert not any(name in " ".join(paths) for paths in (*scripts.values(), ahead))
    # Dash names plotly once for each application that the process has made.
    assert sum(len(client.get(path).data) for path in set(scripts["/"])) < 5e6
    assert sum(len(client.get(path).data) for path in set(scripts["/neurons"])) < 11e6
