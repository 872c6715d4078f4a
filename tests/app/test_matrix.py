"""The matrix as a table: its cells hold the view's numbers, lead on, and can be read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from dash import dcc, html
from flask.testing import FlaskClient

from app import ids
from app.components.matrix import against_table, matrix_table
from app.queries.against import against_view
from app.queries.matrix import matrix_view
from app.run import Run
from app.selection import Selection
from probe.plots.theme import DARK, LIGHT
from tests.app.calling import call
from tests.app.making import DATASETS, DETECTORS, MadeRun
from tests.app.test_figures import contrast

BASE, SHALLOW = DETECTORS


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def walk(part: Any) -> list[Any]:
    """Return all components of a layout, outermost first."""
    if isinstance(part, list | tuple):
        return [found for one in part for found in walk(one)]
    if not hasattr(part, "to_plotly_json"):
        return []
    return [part, *walk(getattr(part, "children", None))]


def text_of(part: Any) -> str:
    if isinstance(part, list | tuple):
        return " ".join(text_of(one) for one in part)
    return text_of(part.children) if hasattr(part, "children") else str(part or "")


def cells(table: Any) -> dict[tuple[int, int], Any]:
    """Return what stands in the cells, by row and column."""
    rows = [one for one in walk(table) if isinstance(one, html.Tr)][1:]
    return {
        (r, c): place.children
        for r, row in enumerate(rows)
        for c, place in enumerate(row.children[1:])
    }


def test_every_cell_shows_its_value_and_interval(run: Run) -> None:
    view = matrix_view(run, "auroc", "frame")
    found = cells(matrix_table(view, Selection()))
    assert len(found) == view.value.size
    for at, cell in found.items():
        text = text_of(cell)
        if np.isnan(view.value[at]):
            assert "one class" in text and cell.style == {}
            continue
        assert f"{view.value[at]:.2f}".lstrip("0") in text
        if np.isnan(view.low[at]):
            assert "few clusters" in text
        else:
            assert f"{view.low[at]:.2f}".lstrip("0") in text


def test_cells_seen_in_training_are_framed(run: Run) -> None:
    found = cells(matrix_table(matrix_view(run, "auroc", "frame"), Selection()))
    framed = {at for at, cell in found.items() if "seen" in cell.className}
    assert framed == {(0, 0), (1, 0), (1, 1)}
    assert all(("\nnoted as seen" in cell.title) == (at in framed) for at, cell in found.items())


def test_what_a_cell_is_about_says_clusters_beside_samples(run: Run) -> None:
    about = cells(matrix_table(matrix_view(run, "eer", "video"), Selection()))[0, 0].title
    assert "12 videos in 6 clusters" in about and "95% interval" in about


def test_color_is_symmetric_about_chance(run: Run) -> None:
    view = matrix_view(run, "accuracy", "frame")
    value = np.tile([0.0, 0.5, 1.0], (len(view.detectors), 1))
    found = cells(matrix_table(replace(view, value=value), Selection()))
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        colors = [found[0, c].style[f"--{name}"] for c in range(3)]
        middle = len(theme.diverging) // 2
        assert colors == [theme.diverging[0], theme.diverging[middle], theme.diverging[-1]]


@pytest.mark.parametrize("metric", ["auroc", "eer"])
def test_better_is_at_the_right_end_of_the_colors(run: Run, metric: str) -> None:
    """Less error is better, and better is orange."""
    view = against_view(run, BASE, metric, "frame")
    table = against_table(view, Selection(against=BASE))
    ends = next(one for one in walk(table) if getattr(one, "className", "") == "matrix-ends")
    first, last = (text_of(ends.children[i]) for i in (0, 2))
    minus = "\N{MINUS SIGN}"
    assert (first[0], last[0]) == (("+", minus) if metric == "eer" else (minus, "+"))
    found = cells(table)
    value = np.full_like(view.difference, 0.4)
    high = cells(against_table(replace(view, difference=value), Selection(against=BASE)))
    wanted = LIGHT.diverging[0 if metric == "eer" else -1]
    assert high[1, 0].style["--light"] == wanted
    assert all(text_of(found[0, c]).strip() == "reference" for c in range(len(DATASETS)))
    assert all(("◆" in text_of(found[1, c])) == view.leaves_out_0[1, c] for c in range(3))


@pytest.mark.parametrize(("reference", "page"), [("", "/neurons"), (BASE, "/compare")])
def test_a_cell_leads_to_what_it_is_about(run: Run, reference: str, page: str) -> None:
    chosen = Selection(against=reference, metric="ap", unit="7", layer="conv4")
    if reference:
        table = against_table(against_view(run, reference, "ap", "frame"), chosen)
    else:
        table = matrix_table(matrix_view(run, "ap", "frame"), chosen)
    for (r, c), cell in cells(table).items():
        if reference and r == 0:
            assert not isinstance(cell, dcc.Link), "a detector is not compared with itself"
            continue
        address = urlsplit(cell.href)
        assert address.path == page
        there = Selection.parse(f"?{address.query}")
        assert (there.detector, there.dataset) == (DETECTORS[r], DATASETS[c])
        assert (there.other, there.unit) == (reference, "")
        assert (there.metric, there.layer) == ("ap", "conv4")


def test_links_follow_the_switches(client: FlaskClient) -> None:
    values = {
        f"{ids.METRIC}.value": "eer",
        f"{ids.LEVEL}.value": "video",
        f"{ids.REFERENCE}.value": "*",
        f"{ids.OVERVIEW_URL}.search": Selection(layer="conv4").search,
    }
    answer = call(client, f"{ids.MATRIX}.children", values)["response"]
    text = json.dumps(answer[ids.MATRIX]["children"])
    links = text.count("/neurons?")
    assert links == len(DETECTORS) * len(DATASETS)
    assert text.count("metric=eer") == text.count("level=video") == links
    assert text.count("layer=conv4") == links


def test_a_name_cannot_lead_elsewhere(run: Run) -> None:
    view = matrix_view(run, "auroc", "frame")
    name = "javascript:alert(1)//evil.example?detector=x&dataset=y#<a href=z>"
    odd = replace(view, detectors=(name, *view.detectors[1:]), datasets=(name, *view.datasets[1:]))
    link = cells(matrix_table(odd, Selection()))[0, 0].href
    assert link.startswith("/neurons?") and urlsplit(link).fragment == ""
    there = Selection.parse("?" + urlsplit(link).query)
    assert (there.detector, there.dataset) == (name, name)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_values_are_readable_on_their_cells(run: Run, name: str) -> None:
    view = matrix_view(run, "auroc", "frame")
    for share in np.linspace(0, 1, 41):
        value = np.full_like(view.value, share)
        cell = cells(matrix_table(replace(view, value=value), Selection()))[0, 0]
        ground, ink = cell.style[f"--{name}"], cell.style[f"--{name}-ink"]
        assert contrast(ink, ground) >= 4.5, (share, ground, ink)
