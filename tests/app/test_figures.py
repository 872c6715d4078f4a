"""Figures hold the numbers of their views, in both schemes."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from app.queries.neurons import counts_view, unit_view

from app.figures import counts_figure, doses_figure, effects_figure
from app.run import Run
from probe.plots.theme import DARK, LIGHT, Theme
from tests.app.making import DATASETS, DETECTORS, MadeRun

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark", None])


@pytest.fixture
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def traces(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


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


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
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
