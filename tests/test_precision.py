"""Reduced precision: used where it is asked for, measured, and written beside what it made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from probe.cli import main
from probe.datasets.dataset import Dataset
from probe.datasets.subset import draw
from probe.detectors import Detector, load_detector
from probe.errors import UnknownNameError
from probe.evaluation.matrix import ZeroShotMatrix, evaluate
from probe.neurons import neuron_importance
from probe.recording import record


@pytest.fixture(scope="module")
def meso() -> Detector:
    return load_detector("meso4", input_size=32, seed=3)


@pytest.fixture(scope="module")
def test_split(noise: Dataset) -> Dataset:
    return noise.select(split="test")


def by_hand(meso: Detector, data: Dataset, dtype: torch.dtype) -> np.ndarray:
    """Logits of whole images, in float32 and in another precision, one image at a time."""
    x = torch.from_numpy(data.array(range(len(data)), 32))
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return torch.cat([meso.module(x[i : i + 1]).float() for i in range(len(x))]).numpy()


def test_the_matrix_says_how_far_it_is_from_float32(
    meso: Detector, test_split: Dataset, tmp_path: Path
) -> None:
    found = evaluate(meso, test_split, n_resamples=100, precision="bfloat16")
    exact = evaluate(meso, test_split, n_resamples=100)
    assert "precision" not in exact.data.attrs and "deviation" not in exact.data.attrs
    off = np.abs(found.scores["logit"] - exact.scores["logit"])
    assert 0 < off.max() < 0.1
    said = found.data.attrs["deviation"][meso.name]
    drawn = draw(test_split, 64, 0)
    whole = by_hand(meso, drawn, torch.float32)
    wanted = np.abs(by_hand(meso, drawn, torch.bfloat16) - whole) / whole.std()
    assert said["precision"] == found.data.attrs["precision"] == "bfloat16"
    assert said["images"] == len(drawn)
    assert said["logit"]["largest"] == pytest.approx(wanted.max(), rel=0.2)
    found.save(tmp_path / "m.zarr")
    assert ZeroShotMatrix.open(tmp_path / "m.zarr").data.attrs["deviation"][meso.name] == said


def test_stores_and_neurons_say_it_too(meso: Detector, test_split: Dataset, tmp_path: Path) -> None:
    store = record(meso, test_split, tmp_path / "s.zarr", layers=["fc1"], precision="bfloat16")
    said = store.attrs["deviation"]
    assert said["images"] == len(test_split) and 0 < said["fc1"]["largest"] < 1
    table = neuron_importance(
        meso, test_split, n_untrained=1, n_resamples=0, n_permutations=9, precision="bfloat16"
    )
    exact = neuron_importance(meso, test_split, n_untrained=1, n_resamples=0, n_permutations=9)
    said = table.data.attrs["deviation"]
    assert set(said) == {"one", "two"} and 0 < said["one"]["units"]["largest"] < 1
    a, b = (one.data["effect"].values for one in (table, exact))
    assert not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.1 * np.abs(b).max())
    assert table.data.attrs["null_key"] != exact.data.attrs["null_key"]


@pytest.mark.slow
def test_it_is_said_on_the_command_line(noise: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(noise.root), "-d", "mesoinception4", "--no-audit", "--precision", "bfloat16"]
    with pytest.raises(SystemExit) as left:
        main(["evaluate", *words])
    assert left.value.code == 0
    assert "In bfloat16, logits differ from those in float32 by " in capsys.readouterr().err


def test_another_precision_is_refused_at_once(meso: Detector, test_split: Dataset) -> None:
    with pytest.raises(UnknownNameError, match="bfloat61"):
        evaluate(meso, test_split, precision="bfloat61")
