"""The command, what it prints and the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from probe.artifacts import ArtifactReport, artifact_report
from probe.cli.features import artifacts
from probe.datasets import Dataset
from probe.plots.artifacts import draw_report
from tests.artifacts.making import measured


def mixed_report() -> ArtifactReport:
    """One whole dataset, one of few clusters, one of real images only."""
    rng = np.random.default_rng(0)
    of = np.repeat(["whole", "few", "real"], [40, 6, 10])
    labels = np.where(of == "real", 0, np.arange(56) % 2)
    values = rng.normal(size=(56, 26)) + 2.0 * labels[:, None]
    clusters = np.where(of == "few", 0, np.arange(56) // 2)
    table = measured(values, labels, clusters, datasets=of)
    return artifact_report(table, n_permutations=99, n_resamples=20, progress=False)


def test_figures_of_whatever_a_report_lacks(tmp_path: Path) -> None:
    paths = draw_report(mixed_report(), tmp_path, ".png")
    assert [path.name for path in paths] == [
        "artifacts-spectra.png",
        "artifacts-effects.png",
        "artifacts-methods.png",
    ]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 300 and pixels.std() > 5


def test_figures_are_the_same_bytes_for_the_same_report(tmp_path: Path) -> None:
    found = mixed_report()
    first, again = (draw_report(found, tmp_path / name, ".svg") for name in "ab")
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_sentences_say_why_something_is_missing() -> None:
    whole, few, real, *tells = mixed_report().summary().split("\n")
    assert whole.startswith("whole: largest effect ") and ", none +" in whole
    assert "No interval: 1 clusters" in few
    assert "all 10 images are real images" in real
    assert len(tells) == 2 and "whole is best separated by" in tells[0]


def test_the_command_prints_writes_and_draws(noise: Dataset, tmp_path: Path) -> None:
    options = [str(noise.root), "--split", "val", "--figures", str(tmp_path / "figures")]
    done = CliRunner().invoke(artifacts, [*options, "--out", str(tmp_path / "t.csv")])
    assert done.exit_code == 0, done.output
    assert "grid_period_2" in done.output and "central ellipse" in done.output
    assert (tmp_path / "t.csv").is_file() and (tmp_path / "t-images.csv").is_file()
    assert len(list((tmp_path / "figures").glob("*.pdf"))) == 3


def test_the_command_writes_whole_tables(noise: Dataset, tmp_path: Path) -> None:
    arguments = [str(noise.root), "--out", str(tmp_path / "t.zarr")]
    done = CliRunner().invoke(artifacts, arguments)
    assert done.exit_code == 0, done.output
    found = ArtifactReport.open(tmp_path / "t.zarr").data
    # The fakes of these images carry a checkerboard of single pixels.
    grid = found.sel(measurement="grid_period_2", control="none")
    assert (grid["effect"] > 5).all() and (grid["p"] < 0.05).all()


@pytest.mark.parametrize("arguments", [["--split", "else", "x"], []])
def test_the_command_refuses_nonsense(arguments: list[str]) -> None:
    assert CliRunner().invoke(artifacts, arguments).exit_code != 0
