"""Examples of public docstrings run as they stand, in a folder with data, stores and a run."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import probe
from probe.datasets.lab import make
from tests.app.making import make_run

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

DATASETS = ("deepfakes", "faceswap", "neuraltextures")

NAMES = [name for name in probe.__all__ if name != "plots"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what examples open: face crops, photos, activations and a run."""
    root = tmp_path_factory.mktemp("examples")
    counts = {"train": 16, "val": 16, "test": 80}
    make(root / "crops", datasets=DATASETS, size=64, counts=counts, n_workers=1)
    data = probe.open_dataset(root / "crops", split="test")
    for name in ("meso4", "mesoinception4"):
        detector = probe.load_detector(name, input_size=64)
        probe.record(detector, data, root / f"{name}.zarr", layers=["leaky", "conv4"])
    make_run(root / "runs" / "demo")
    rng = np.random.default_rng(0)
    for label in ("real", "fake"):
        (root / "photos" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "photos" / label / f"person{i}.png")
    return root


@pytest.mark.parametrize("name", NAMES)
def test_an_example_of_every_public_name_runs(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    found = doctest.DocTestFinder(recurse=False).find(getattr(probe, name), name, globs={})
    examples = [one for test in found for one in test.examples]
    assert examples, f"{name} has no example"
    assert not any(doctest.SKIP in one.options for one in examples), f"{name} is not run"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in found:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
