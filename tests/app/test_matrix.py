"""The matrix as a table: its cells hold the run's numbers, lead on, and can be read."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from dash import html
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from app.pages.overview import differences_table, matrix_table, skill
from app.run import Run
from probe import plots
from probe.errors import UnknownNameError
from probe.evaluation.table import ZeroShotMatrix
from probe.plots.style import contrast
from probe.plots.theme import DARK, LIGHT
from probe.stats import METRICS, cluster_weights, sigmoid
from probe.tables import open_table
from tests.app.calling import card_of
from tests.app.making import DATASETS, DETECTORS, IDENTITIES, MadeRun

BASE, SHALLOW = DETECTORS


@pytest.fixture(scope="module")
def run(made: MadeRun) -> Run:
    return Run(made.folder)


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the metric and level that are chosen, in the order of the cells."""
    about = frame.attrs
    part = frame[(frame["metric"] == about["metric"]) & (frame["level"] == about["level"])]
    return part.reset_index(drop=True)


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
    """Return what is in the cells, by row and column."""
    rows = [one for one in walk(table) if isinstance(one, html.Tr)][1:]
    return {
        (r, c): place.children
        for r, row in enumerate(rows)
        for c, place in enumerate(row.children[1:])
    }


def places(frame: pd.DataFrame) -> list[tuple[tuple[int, int], dict[str, Any]]]:
    """Return the rows of a frame with the row and column of their cells."""
    return [
        ((DETECTORS.index(one["detector"]), DATASETS.index(one["dataset"])), one)
        for one in shown(frame).to_dict("records")
    ]


# --- The tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["frame", "video"])
@pytest.mark.parametrize("metric", ["auroc", "accuracy", "ap", "eer"])
def test_the_matrix_is_the_table_at_metric_and_level(
    made: MadeRun, run: Run, metric: str, level: str
) -> None:
    frame = plots.matrix(run.evaluation, metric, level)
    table = open_table(made.folder.path("evaluation"))
    assert len(places(frame)) == len(DETECTORS) * len(DATASETS)
    for (r, c), one in places(frame):
        at = table.sel(detector=DETECTORS[r], dataset=DATASETS[c], level=level, metric=metric)
        assert one["value"] == at["value"] or np.isnan(at["value"])
        assert one["n_clusters"] == IDENTITIES and one["chance"] == 0.5
        assert one["seen"] == ((r, c) in {(0, 0), (1, 0), (1, 1)})


def test_the_frame_holds_every_cell_once(run: Run) -> None:
    frame = plots.matrix(run.evaluation)
    assert len(frame) == len(DETECTORS) * len(DATASETS) * 2 * 4
    assert not frame.duplicated(["detector", "dataset", "level", "metric"]).any()


def test_chance_of_average_precision_is_the_share_of_fakes(run: Run) -> None:
    found = run.evaluation
    scores = found.scores[(found.scores["dataset"] != "beta") | (found.scores["label"] == 1)]
    frame = plots.matrix(ZeroShotMatrix(found.data, scores), "ap", "video")
    chance = {one["dataset"]: one["chance"] for one in shown(frame).to_dict("records")}
    assert chance == {"alpha": 0.5, "beta": 1.0, "gamma": 0.5}
    assert (frame.loc[frame["metric"] != "ap", "chance"] == 0.5).all()


def test_differences_are_paired(made: MadeRun, run: Run) -> None:
    frame = plots.matrix_differences(run.evaluation, reference=BASE, metric="accuracy")
    assert list(frame["detector"]) == [SHALLOW] * len(DATASETS)
    assert list(frame["dataset"]) == list(DATASETS)
    table, clusters = made.data.samples.table, made.data.samples.clusters
    for one in frame.to_dict("records"):
        rows = (table["dataset"] == one["dataset"]).to_numpy()
        label, weights = table["label"].to_numpy()[rows], cluster_weights(clusters[rows], 1000, 0)
        draws = [
            METRICS["accuracy"](label, sigmoid(made.logits[name][rows]), weights)
            for name in (SHALLOW, BASE)
        ]
        bounds = np.percentile(draws[0] - draws[1], [2.5, 97.5])
        assert [one["low"], one["high"]] == pytest.approx(list(bounds))
        assert one["excludes_0"] == (bounds[0] > 0 or bounds[1] < 0)
        assert one["n_samples"] == rows.sum() and one["reason"] == ""
    with pytest.raises(UnknownNameError, match="Did you mean 'meso4/base'"):
        plots.matrix_differences(run.evaluation, reference="meso4/bas")


def test_differences_are_of_common_images(run: Run) -> None:
    """Rows that only one has are left out of both, and draws of all images serve all pairs."""
    found = run.evaluation
    whole = plots.matrix_differences(found, reference=BASE)
    again = plots.matrix_differences(
        found, ZeroShotMatrix(found.data, found.scores), reference=BASE
    )
    same = again[again["detector"] == SHALLOW].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, whole)
    assert (again.loc[again["detector"] == BASE, ["difference", "low", "high"]] == 0).all(axis=None)
    lacking = (found.scores["detector"] == BASE) & found.scores["sample"].str.startswith("beta-0-")
    few = ZeroShotMatrix(found.data, found.scores[~lacking])
    frame = plots.matrix_differences(few, reference=BASE).set_index("dataset")
    assert frame.loc["beta", "n_samples"] == whole["n_samples"][1] * 5 / 6
    assert frame.loc["alpha", "difference"] == whole["difference"][0]
    none = ZeroShotMatrix(found.data, found.scores[found.scores["detector"] != SHALLOW])
    frame = plots.matrix_differences(none, reference=BASE)
    assert frame["difference"].isna().all() and not frame["excludes_0"].any()
    assert frame["reason"].str.contains(f"no rows of {SHALLOW}").all()
    alone = plots.matrix_differences(
        ZeroShotMatrix(found.data.sel(detector=[BASE]), found.scores), reference=BASE
    )
    assert not len(alone) and alone.attrs["detectors"] == [BASE]


@pytest.mark.parametrize("metric", ["auroc", "eer"])
def test_both_are_drawn_for_print(run: Run, metric: str) -> None:
    axes = plots.plot_matrix(run.evaluation, metric, "video").axes[0]
    framed = {tuple(np.round(one.get_xy()).astype(int)) for one in axes.patches}
    # Detectors are rows, datasets columns.
    assert framed == {(0, 0), (0, 1), (1, 1)}
    assert "one class" in {one.get_text() for one in axes.texts}
    frame = plots.matrix_differences(run.evaluation, reference=BASE, metric=metric)
    axes = plots.plot_matrix_differences(run.evaluation, reference=BASE, metric=metric).axes[0]
    names = [one.get_text() for one in axes.get_yticklabels()]
    assert names == [f"{SHALLOW} on {name}" for name in DATASETS]
    filled = next(one for one in axes.lines if one.get_marker() == "D").get_xdata()
    assert list(filled) == list(frame["difference"][frame["excludes_0"]])


@given(st.floats(0.05, 0.95), st.sampled_from(["auroc", "accuracy", "ap", "eer"]))
def test_skill_is_0_at_chance_1_at_best_and_minus_1_at_worst(chance: float, metric: str) -> None:
    best, worst = (0.0, 1.0) if metric == "eer" else (1.0, 0.0)
    for value, wanted in ((best, 1.0), (worst, -1.0), (chance, 0.0)):
        assert skill(metric, value, chance) == pytest.approx(wanted, abs=1e-9)


# --- Their cells --------------------------------------------------------------------------------


def test_every_cell_shows_its_value_and_interval(run: Run) -> None:
    frame = plots.matrix(run.evaluation)
    found = cells(matrix_table(frame))
    assert len(found) == len(places(frame))
    for at, one in places(frame):
        text = text_of(found[at])
        if np.isnan(one["value"]):
            assert "one class" in text and found[at].style == {}
            continue
        assert f"{one['value']:.2f}".lstrip("0") in text
        if np.isnan(one["low"]):
            assert "few clusters" in text
        else:
            assert f"{one['low']:.2f}".lstrip("0") in text


def test_cells_seen_in_training_are_framed(run: Run) -> None:
    found = cells(matrix_table(plots.matrix(run.evaluation)))
    framed = {at for at, cell in found.items() if "seen" in cell.className}
    assert framed == {(0, 0), (1, 0), (1, 1)}
    assert all(("\nnoted as seen" in cell.title) == (at in framed) for at, cell in found.items())


def test_what_a_cell_is_about_says_clusters_beside_samples(run: Run) -> None:
    about = cells(matrix_table(plots.matrix(run.evaluation, "eer", "video")))[0, 0].title
    assert "12 videos in 6 clusters" in about and "95% interval" in about


def test_color_is_symmetric_about_chance(run: Run) -> None:
    frame = plots.matrix(run.evaluation, "accuracy")
    value = frame["dataset"].map(dict(zip(DATASETS, (0.0, 0.5, 1.0), strict=True)))
    found = cells(matrix_table(frame.assign(value=value)))
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        colors = [found[0, c].style[f"--{name}"] for c in range(3)]
        middle = len(theme.diverging) // 2
        assert colors == [theme.diverging[0], theme.diverging[middle], theme.diverging[-1]]


@pytest.mark.parametrize("metric", ["auroc", "eer"])
def test_better_is_at_the_right_end_of_the_colors(run: Run, metric: str) -> None:
    """Less error is better, and better is orange."""
    frame = plots.matrix_differences(run.evaluation, reference=BASE, metric=metric)
    table = differences_table(frame, BASE)
    ends = next(one for one in walk(table) if getattr(one, "className", "") == "matrix-ends")
    first, last = (text_of(ends.children[i]) for i in (0, 2))
    minus = "\N{MINUS SIGN}"
    assert (first[0], last[0]) == (("+", minus) if metric == "eer" else (minus, "+"))
    found = cells(table)
    high = cells(differences_table(frame.assign(difference=0.4), BASE))
    wanted = LIGHT.diverging[0 if metric == "eer" else -1]
    assert high[1, 0].style["--light"] == wanted
    assert all(text_of(found[0, c]).strip() == "reference" for c in range(len(DATASETS)))
    marks = ["◆" in text_of(found[1, c]) for c in range(len(DATASETS))]
    assert marks == list(frame["excludes_0"])


@pytest.mark.parametrize(("reference", "page"), [("", "/neurons"), (BASE, "/compare")])
def test_a_cell_leads_to_what_it_is_about(run: Run, reference: str, page: str) -> None:
    if reference:
        frame = plots.matrix_differences(run.evaluation, reference=reference, metric="ap")
        table = differences_table(frame, reference)
    else:
        table = matrix_table(plots.matrix(run.evaluation, "ap"))
    for (r, c), cell in cells(table).items():
        if reference and r == 0:
            assert not isinstance(cell, html.A), "a detector is not compared with itself"
            continue
        address = urlsplit(cell.href)
        # The rest of the address is kept by the page; a unit is another detector's.
        assert address.path == page and cell.to_plotly_json()["props"]["data-jump"] == page
        wanted = {"detector": [DETECTORS[r]], "dataset": [DATASETS[c]], "unit": [""]}
        wanted |= {"other": [reference]} if reference else {}
        assert parse_qs(address.query, keep_blank_values=True) == wanted


def test_a_name_cannot_lead_elsewhere(run: Run) -> None:
    frame = plots.matrix(run.evaluation)
    name = "javascript:alert(1)//evil.example?detector=x&dataset=y#<a href=z>"
    odd = frame.replace({BASE: name, DATASETS[0]: name})
    odd.attrs = frame.attrs
    link = cells(matrix_table(odd))[0, 0].href
    assert link.startswith("/neurons?") and urlsplit(link).fragment == ""
    there = parse_qs(urlsplit(link).query)
    assert (there["detector"], there["dataset"]) == ([name], [name])


@pytest.mark.parametrize("name", ["light", "dark"])
def test_values_are_readable_on_their_cells(run: Run, name: str) -> None:
    frame = plots.matrix(run.evaluation)
    for share in np.linspace(0, 1, 41):
        cell = cells(matrix_table(frame.assign(value=share)))[0, 0]
        ground, ink = cell.style[f"--{name}"], cell.style[f"--{name}-ink"]
        assert contrast(ink, ground) >= 4.5, (share, ground, ink)


# --- The card -----------------------------------------------------------------------------------


def test_the_address_chooses_values_or_differences(client: FlaskClient) -> None:
    def card(search: str) -> str:
        return str(card_of(client, "zero-shot-matrix", search))

    assert "ties counting one half" in card("") and "reference" not in card("")
    assert "Equal error rate" in card("?metric=eer") and "12 videos" in card("?level=video")
    less = card(f"?against={BASE}")
    assert "reference" in less and "higher is better" in less
    assert "lower is better" in card(f"?against={BASE}&metric=eer")
    assert "Did you mean" in card("?against=meso4/bas")
    for search in ("?metric=../../etc/passwd", "?level=x", f"?against={BASE}&level=x"):
        assert "is not known" in card(search)
