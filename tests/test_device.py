"""Every stage of a study runs on the device that is asked for: on one that stands in for a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: All stages, among them doses (of the lab alone), nulls, and maps by captum.
TEXT = """
title = "Elsewhere"

[[datasets]]
open = "lab"
size = 32
counts = { train = 16, val = 16, test = 16 }

[detectors]
names = ["meso4"]
variants = ["base", "shallow"]
input_size = 32
source = "deepfakes"
target = ["faceswap"]

[detectors.base]
epochs = 1
batch_size = 8

[detectors.tuned]
epochs = 1
steps = 2
batch_size = 8

[evaluation]
resamples = 100

[neurons]
untrained = 1

[separability]
controls = 9
pictures = []

[artifacts]
videos = 1

[attribution]
methods = ["gradcam", "input_x_gradient", "feature_ablation"]
images = 1
checks = ["completeness", "deletion_mean", "mprt_spearman", "pointing"]
random = 1

[compute]
n_workers = 1
"""

#: Stages in which networks run.
STAGES = {
    "detectors",
    "evaluation",
    "activations",
    "neurons",
    "ablation",
    "responses",
    "attribution",
    "figures",
}


def run_there(folder: Path, forget: str = "") -> subprocess.CompletedProcess[str]:
    """In a process of its own: a backend cannot be taken back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(TEXT)
    words = [str(folder / "study.toml"), str(folder / "run"), forget]
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run(
        [sys.executable, "-m", "tests.standin", *words], capture_output=True, text=True, env=env
    )


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    done = run_there(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "said.json").write_text(done.stdout.splitlines()[-1])
    return folder


@pytest.mark.slow
def test_every_stage_runs_where_it_is_asked_to(there: Path) -> None:
    said: dict[str, Any] = json.loads((there / "said.json").read_text())
    assert said["here"] == {}
    assert set(said["there"]) >= STAGES and min(said["there"].values()) > 0
    provenance = json.loads((there / "run" / "provenance.json").read_text())
    assert provenance["device"] == "standin:0"


# Each runs a whole study with one stage that forgets the device.
@pytest.mark.slow
@pytest.mark.parametrize(
    "stage, made",
    [
        ("evaluation", "tables/evaluation*"),
        ("activations", "stores"),
        ("neurons", "tables/neurons"),
        ("attribution", "maps"),
    ],
)
def test_a_stage_that_forgets_the_device_is_found(
    there: Path, stage: str, made: str, tmp_path: Path
) -> None:
    """The stand-in notes what a network does elsewhere; a mutated stage shows that it does."""
    shutil.copytree(there / "run", tmp_path / "run")
    for place in (tmp_path / "run").glob(made):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    done = run_there(tmp_path, stage)
    said = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    assert done.returncode or stage in said["here"]
