"""Figures, the command and what it prints."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from probe.artifacts import ResponseReport, dose_response, relate, render_doses
from probe.cli.features import responses
from probe.errors import ProbeError
from probe.plots import plot_correlations, plot_dose_effects, plot_doses, save_figure
from tests.hooks.toys import detector_of
from tests.responses.making import measured, store_of, table_of
from tests.responses.test_dosing import SIZE, Known


@pytest.fixture(scope="module")
def images():
    artifacts = ["resampling", "warp", "color"]
    return render_doses(["faceswap", "dfd"], artifacts, (0, 1), videos=6, size=SIZE, n_workers=1)


@pytest.fixture(scope="module")
def doses(images) -> ResponseReport:
    return dose_response(detector_of(Known().eval(), SIZE), images, "units", universal=[0])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the detector above, and measurements that its first unit follows."""
    folder = tmp_path_factory.mktemp("responses")
    table, rng = table_of(2, 10, 1), np.random.default_rng(0)
    a, b = rng.normal(size=(2, len(table)))
    store = store_of(folder / "s.zarr", table, np.column_stack([a, b, b * 0 + 1]))
    data = measured(table, {"a": a, "other": rng.normal(size=len(table))})
    relate(store, data, "units", n_permutations=199).save(folder / "r.zarr")
    # In the form that `ArtifactMeasurements` reads.
    from probe.artifacts import ArtifactMeasurements

    power = (("sample", "frequency"), np.zeros((len(table), 2)))
    ArtifactMeasurements(data.assign(power=power)).save(folder / "m.zarr")
    return folder


def test_a_panel_an_artifact_and_a_line_a_dataset_that_has_it(doses: ResponseReport) -> None:
    figure = plot_doses(doses)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == ["warp", "resampling", "color"] or set(panels) == {
        "resampling",
        "warp",
        "color",
    }
    assert [len(panels[name].containers) for name in ("resampling", "warp", "color")] == [2, 1, 1]
    assert [text.get_text() for text in figure.legends[0].texts] == ["faceswap", "dfd"]
    drawn = panels["warp"].containers[0].lines[0].get_ydata()
    expected = doses.data["logit_response"].sel(artifact="warp", dataset="faceswap")
    np.testing.assert_allclose(drawn, expected)


def test_cells_that_are_no_finding_are_blank(doses: ResponseReport, place: Path) -> None:
    axes = plot_dose_effects(doses).axes[0]
    shown = np.ma.getmaskarray(axes.images[0].get_array())
    clear = (doses.data["effect_q"] <= 0.05) & (np.abs(doses.data["effect"]) >= 0.1)
    np.testing.assert_array_equal(~shown, clear.transpose("unit", "artifact"))
    assert shown[2].all() and not shown[0].all()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["★ 0", "1", "2"]
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert "resampling (2)" in labels and "warp (1)" in labels
    links = plot_correlations(ResponseReport.open(place / "r.zarr")).axes[0]
    assert [text.get_text() for text in links.get_xticklabels()] == ["a", "other"]


def test_many_units_are_cut_to_the_strongest(doses: ResponseReport) -> None:
    data = doses.data
    many = data.isel(unit=np.r_[np.full(60, 1), 0, np.full(9, 1)])
    many = many.assign_coords(unit=np.arange(70))
    axes = plot_dose_effects(ResponseReport(many)).axes[0]
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert len(shown) == 48 and "60" in shown
    assert axes.get_ylabel().startswith("48 of 70 units of units")


def test_a_part_that_is_missing_is_not_drawn(doses: ResponseReport, place: Path) -> None:
    links = ResponseReport.open(place / "r.zarr")
    for draw, report in (
        (plot_doses, links),
        (plot_dose_effects, links),
        (plot_correlations, doses),
    ):
        with pytest.raises(ProbeError, match="compute them with"):
            draw(report)


def test_figures_are_written(doses: ResponseReport, tmp_path: Path) -> None:
    for suffix in ("pdf", "svg", "png"):
        assert save_figure(plot_doses(doses), tmp_path / f"x.{suffix}", dpi=50).stat().st_size


def run(*arguments: object) -> str:
    done = CliRunner().invoke(responses, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_relates(place: Path, tmp_path: Path) -> None:
    text = run(
        place / "s.zarr",
        "-l",
        "units",
        "-m",
        place / "m.zarr",
        "-u",
        1,
        "--n-permutations",
        199,
        "--out",
        tmp_path / "x.csv",
        "--figure",
        tmp_path / "x.svg",
    )
    assert "1 (universal)" in text and "nothing found" in text
    said = (
        "Of 3 units of units, 1 correlate with a measurement (a 1); 2 have no significant response"
    )
    assert said in text
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["x-correlations.csv", "x-correlations.svg", "x.csv", "x.csv.json"]


def test_the_command_turns_artifacts_up(
    place: Path, images, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "probe.artifacts.render_doses", lambda **o: asked.append(o) or images, raising=False
    )
    monkeypatch.setattr(
        "probe.cli.features.detector_of", lambda name, device: detector_of(Known().eval(), SIZE)
    )
    text = run(place / "s.zarr", "-l", "units", "-d", "toy", "--videos", 6, "--others", "own")
    assert asked == [{"others": "own", "split": "test", "videos": 6}]
    assert "mean change of the fake logit at dose 1" in text and "to an artifact" in text
    with pytest.raises(ProbeError, match="detectors"):
        run(place / "s.zarr", "-l", "units", "-d", "toy", "-m", place / "m.zarr")


def test_the_command_says_what_is_missing(place: Path) -> None:
    for extra in ((), ("-m", place / "m.zarr", "--datasets", "lab")):
        with pytest.raises(click.UsageError, match="--measurements or --datasets"):
            responses.main(
                [str(place / "s.zarr"), "-l", "units", *map(str, extra)], standalone_mode=False
            )


def test_the_sentence_counts_answers(doses: ResponseReport) -> None:
    text = doses.summary()
    kinds = doses.answers()["answer_kind"].tolist()
    assert text.startswith(f"Of 3 units of units, {kinds.count('dose')} respond to an artifact")
    none = ResponseReport(doses.data.assign(answer_kind=("unit", ["", "", ""])))
    expected = "Of 3 units of units, 3 have no significant response (q ≤ 0.05)."
    assert none.summary() == expected
