"""Figures of units and layers: the numbers that they show, and how they print in gray."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from probe.artifacts import ResponseReport
from probe.neurons import NeuronTable, Universality
from probe.plots import plot_unit_doses, plot_unit_effects, plot_units, units
from probe.plots.responses import plot_doses
from probe.plots.separability import plot_measure_by_layer
from probe.plots.similarity import plot_detector_similarity
from probe.plots.style import luminance
from probe.schema import DATASETS
from probe.separability import SeparabilityReport, Similarity
from tests.conftest import drawn_of
from tests.figures.test_grayscale_findings import (
    bounded,
    check_legends,
    check_text,
    look_of,
    maps_in,
    responses,
)

NAMES = list(DATASETS)
N = len(NAMES)


def table() -> NeuronTable:
    """Draw effects that rise with the unit's number; unit 1 works both ways."""
    unit, dose = np.arange(5), np.linspace(-1, 1, 3)
    effect = (1 + np.arange(N))[:, None] * (unit + 1.0) / 10
    slope = effect * np.where((unit == 1) & (np.arange(N)[:, None] % 2 == 0), -1, 1)
    dims = ("dataset", "unit")
    data = {
        **bounded("effect", dims, effect, 0.05),
        "effect": (dims, effect),
        "slope": (dims, slope),
        "rank": (dims, np.argsort(np.argsort(-effect, axis=1), axis=1) + 1),
        "value": ((*dims, "dose"), np.broadcast_to(dose, (N, 5, 3))),
        "response": ((*dims, "dose"), slope[..., None] * dose),
    }
    attrs = {"layer": "fc", "output": "logit", **drawn_of("toy")}
    return NeuronTable(xr.Dataset(data, {"dataset": NAMES, "unit": unit}, attrs))


def universality() -> Universality:
    """Let unit 2 pass the test, and units 3 and 4 stand in the lists; unit 1 in half of them."""
    selected = np.zeros((N, 5), dtype=bool)
    selected[:, 3:] = True
    selected[: N // 2, 1] = True
    data = {
        "selected": (("dataset", "unit"), selected),
        "significant": (("dataset", "unit"), selected),
        "n_datasets": ("unit", selected.sum(axis=0)),
        "q": (("at_least", "unit"), [[1.0] * 5, [0.9, 0.9, 0.01, 0.9, 0.9]]),
        "q_by": (("at_least", "unit"), [[1.0] * 5] * 2),
    }
    coords = {"dataset": NAMES, "unit": np.arange(5), "at_least": [2, N]}
    attrs = {"alpha": 0.05, "correction": "bh", "kept": 2, "top": 0.4}
    return Universality(xr.Dataset(data, coords, attrs))


def depth() -> Figure:
    value = np.linspace(0.4, 0.9, 2 * 3 * N).reshape(2, 3, N)
    dims = ("measure", "layer", "dataset")
    coords = {"measure": ["probe_auroc", "fisher"], "layer": list("abc"), "dataset": NAMES}
    data = {"value": (dims, value), "low": (dims, value - 0.1), "high": (dims, value + 0.1)}
    return plot_measure_by_layer(SeparabilityReport(xr.Dataset(data, coords)), "probe_auroc")


def alike() -> Similarity:
    """Let detector c lack the first layer."""
    cka = np.linspace(0, 1, 18).reshape(2, 3, 3)
    cka[0, 2] = cka[0, :, 2] = np.nan
    coords = {"layer": ["a", "b"], "detector": list("xyz"), "other": list("xyz")}
    return Similarity(xr.Dataset(bounded("cka", ("layer", "detector", "other"), cka), coords))


def response() -> Figure:
    data = responses().data
    dims = ("artifact", "unit", "dataset", "dose")
    values = np.broadcast_to(data["logit_response"].values[:, None], (2, 3, N, 3)).copy()
    values[0, :, 0] = np.nan
    found = {"unit_response": (dims, values)}
    found |= {"unit_low": (dims, values - 0.1), "unit_high": (dims, values + 0.1)}
    return plot_doses(ResponseReport(data.assign(found)), "warp", 1)


LINES: dict[str, Callable[[], Figure]] = {
    "effects": lambda: plot_unit_effects(table(), universality(), 1),
    "doses": lambda: plot_unit_doses(table(), 1),
    "depth": depth,
    "response": response,
    "logit": lambda: plot_doses(responses(), "halo"),
}
CELLS: dict[str, Callable[[], Figure]] = {
    "units": lambda: plot_units(table(), universality()),
    "likeness": lambda: plot_detector_similarity(alike(), "b"),
}


@pytest.mark.parametrize("name", LINES)
def test_what_is_named_looks_unlike_all_else_without_color(name: str) -> None:
    assert check_legends(LINES[name]()) >= 3


@pytest.mark.parametrize("name", CELLS)
def test_more_is_lighter_and_text_stands_out_from_it(name: str) -> None:
    figure = CELLS[name]()
    for image in maps_in(figure):
        gray = luminance(image.to_rgba(np.linspace(*image.get_clim(), 101)))
        assert (np.diff(gray) > 0).all()
    assert check_text(figure) >= 9


def test_the_tested_come_first_then_those_in_most_lists_then_the_strongest() -> None:
    def order(found: xr.Dataset) -> list[int]:
        return [int(unit) for unit in units(table(), Universality(found))["unit"]]

    data = universality().data
    assert order(data) == [2, 4, 3, 1, 0]
    # By the other correction none passes.
    assert order(data.assign_attrs(correction="by")) == [4, 3, 1, 2, 0]
    assert order(data.drop_vars(["q", "q_by"])) == [4, 3, 1, 2, 0]


def test_the_heatmap_states_effects_stars_and_lists() -> None:
    axes = plot_units(table(), universality(), 4).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["★ 2", "4", "3", "1"]
    assert "4 of 5 units" in axes.get_ylabel() and "40%" in axes.get_xlabel()
    effect = table().data["effect"].sel(unit=[2, 4, 3, 1]).transpose("unit", "dataset").values
    texts = np.array([text.get_text() for text in axes.texts]).reshape(4, N)
    assert texts.tolist() == [[f"{value:.2f}" for value in row] for row in effect]
    bold = np.array([text.get_weight() == "bold" for text in axes.texts]).reshape(4, N)
    assert (
        bold[1:3].all() and not bold[0].any() and bold[3].tolist() == [i < N // 2 for i in range(N)]
    )


def test_a_unit_shows_its_direction_and_what_the_list_takes() -> None:
    axes = plot_unit_effects(table(), universality(), 1).axes[0]
    needed = axes.lines[0].get_xdata()
    # Two units are kept: the second largest effect is the least that is in the list.
    assert np.allclose(needed, (1 + np.arange(N)) * 0.4)
    found = {line.get_marker(): set() for line in axes.lines[1:]}
    for line in axes.lines[1:]:
        found[line.get_marker()] |= set(np.round(line.get_xdata(), 6))
    effects = np.round((1 + np.arange(N)) * 0.2, 6)
    assert found == {"<": set(effects[::2]), ">": set(effects[1::2])}


def test_an_artifact_that_a_dataset_lacks_has_no_line_there() -> None:
    figure = response()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    assert labels == NAMES[1:]
    # A dataset keeps its look where another is missing.
    whole = plot_doses(responses(), "halo").axes[0].get_legend_handles_labels()[0]
    assert [look_of(one) for one in handles] == [look_of(one) for one in whole[1:]]


def test_detectors_without_the_layer_are_left_out() -> None:
    for layer, there in (("a", ["x", "y"]), ("b", ["x", "y", "z"])):
        axes = plot_detector_similarity(alike(), layer).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == there
