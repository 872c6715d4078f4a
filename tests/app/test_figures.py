"""Figures hold the numbers of their views, in both schemes, and nothing that a name smuggles in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.colors as pc
import plotly.graph_objects as go
import pytest

from app.figures import counts_figure, doses_figure, effects_figure, matrix_figure
from app.figures.matrix import matrix_height
from app.figures.theme import DARK, LIGHT, Theme
from app.queries.matrix import MatrixView, matrix_view
from app.queries.neurons import counts_view, unit_view
from app.queries.reading import Run
from tests.app.making import DATASETS, DETECTORS, MadeRun

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark", None])


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def annotations(figure: go.Figure) -> dict[tuple[int, int], str]:
    return {(int(a.y), int(a.x)): a.text for a in figure.layout.annotations}


def traces(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


@SCHEMES
def test_every_cell_shows_its_value_and_interval(run: Run, scheme: str | None) -> None:
    view = matrix_view(run, "auroc", "frame")
    figure = matrix_figure(view, scheme)
    texts = annotations(figure)
    assert len(texts) == view.value.size
    for at, text in texts.items():
        if np.isnan(view.value[at]):
            assert "one class" in text
            continue
        assert f"{view.value[at]:.2f}".lstrip("0") in text
        if np.isnan(view.low[at]):
            assert "few clusters" in text
        else:
            assert f"{view.low[at]:.2f}".lstrip("0") in text
    assert figure.layout.height == matrix_height(view)


def test_frames_stand_around_cells_seen_in_training(run: Run) -> None:
    view = matrix_view(run, "auroc", "frame")
    shapes = matrix_figure(view).layout.shapes
    framed = {(round((s.y0 + s.y1) / 2), round((s.x0 + s.x1) / 2)) for s in shapes}
    assert framed == {(0, 0), (1, 0), (1, 1)}


def test_the_hover_says_clusters_beside_samples(run: Run) -> None:
    view = matrix_view(run, "eer", "video")
    text = matrix_figure(view).to_json()
    assert "12 videos in 6 clusters" in text and "95% interval" in text


def test_colour_is_symmetric_about_chance(run: Run) -> None:
    heat = matrix_figure(matrix_view(run, "accuracy", "frame")).data[0]
    assert (heat.zmin, heat.zmax) == (-1, 1)
    assert len(heat.colorscale) % 2 == 1


@SCHEMES
def test_counts_stand_beside_both_nulls(run: Run, scheme: str | None) -> None:
    view = counts_view(run, DETECTORS[0])
    figure = counts_figure(view, scheme)
    bars = figure.data[0]
    assert list(bars.y) == list(view.observed) and list(np.round(bars.x)) == list(view.count)
    null = figure.data[1]
    assert list(null.y) == list(view.expected)
    assert np.allclose(null.y + null.error_y.array, np.maximum(view.high, view.expected))
    assert np.allclose(null.y - null.error_y.arrayminus, np.minimum(view.low, view.expected))
    drawn = [list(t.y) for t in figure.data[2:]]
    assert drawn == view.untrained.tolist()
    assert sum(bool(t.showlegend) for t in figure.data[2:]) == 1


@SCHEMES
def test_a_unit_is_drawn_at_its_effect_in_every_dataset(run: Run, scheme: str | None) -> None:
    view = unit_view(run, DETECTORS[0], 3)
    found = traces(effects_figure(view, scheme))
    assert list(found["needed for the list"].x) == list(view.threshold)
    drawn = {
        int(row): float(x)
        for name, trace in found.items()
        if name.startswith(("raises", "lowers"))
        for x, row in zip(trace.x, trace.y, strict=True)
    }
    assert drawn == dict(enumerate(map(float, view.effect)))


@SCHEMES
def test_each_dataset_has_its_dose_response(run: Run, scheme: str | None) -> None:
    view = unit_view(run, DETECTORS[1], 0)
    found = traces(doses_figure(view, scheme))
    assert list(found) == list(DATASETS)
    for d, name in enumerate(DATASETS):
        assert list(found[name].x) == list(view.value[d])
        assert list(found[name].y) == list(view.response[d])
    assert len({trace.marker.symbol for trace in found.values()}) == len(DATASETS)


def named(view: MatrixView, name: str) -> MatrixView:
    return replace(view, detectors=(name, *view.detectors[1:]), datasets=(name, *view.datasets[1:]))


def test_markup_in_names_is_text(run: Run) -> None:
    name = "<a href='javascript:alert(1)'>x</a><img src=x onerror=alert(1)>"
    figure = matrix_figure(named(matrix_view(run, "auroc", "frame"), name))
    text = json.dumps(json.loads(figure.to_json()), ensure_ascii=False)
    assert "&lt;a href" in text
    # The label itself travels along as data, for clicks; what is drawn is escaped.
    drawn = [*figure.layout.xaxis.ticktext, *figure.layout.yaxis.ticktext]
    drawn += [str(said) for trace in figure.data for said in np.ravel(trace.text or [])]
    assert not any("<a" in text or "<img" in text for text in drawn)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(theme: Theme) -> None:
    assert contrast(theme.ink, theme.ground) >= 7
    assert contrast(theme.muted, theme.ground) >= 4.5
    # Graphical objects: 3 to 1.
    assert contrast(theme.accent, theme.ground) >= 3
    assert contrast(theme.warm, theme.ground) >= 3


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_values_are_readable_on_their_cells(theme: Theme, run: Run) -> None:
    view = matrix_view(run, "auroc", "frame")
    value = np.linspace(0, 1, view.value.size).reshape(view.value.shape)
    figure = matrix_figure(replace(view, value=value), "dark" if theme is DARK else "light")
    cells = {(int(a.y), int(a.x)): a.font.color for a in figure.layout.annotations}
    scale = list(theme.diverging)
    for at, colour in cells.items():
        skill = replace(view, value=value).skill[at]
        ground = pc.sample_colorscale(scale, [(skill + 1) / 2])[0]
        red, green, blue = (round(float(v)) for v in pc.unlabel_rgb(ground))
        assert contrast(colour, f"#{red:02x}{green:02x}{blue:02x}") >= 3, (at, value[at])
