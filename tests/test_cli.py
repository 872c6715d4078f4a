"""The command line as a user meets it: exit codes, wording, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from probe.cli import main
from probe.datasets.dataset import Dataset
from probe.detectors import load_detector, save_detector
from tests.conftest import make_images


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    save_detector(load_detector("meso4", input_size=32), folder, {})
    return folder


BAD = {
    "unknown detector": (
        ["evaluate", "{noise}", "-d", "meso5"],
        "Error: Detector 'meso5' is not known. Did you mean 'meso4'? List them with `probe "
        "detectors`; any timm model is `timm:<name>`.",
    ),
    "unknown layer": (
        ["record", "{noise}", "-d", "{small}", "-l", "con4", "--out", "{out}.zarr"],
        "Error: Layer 'con4' is not known in meso4. Did you mean 'conv4'",
    ),
    "unknown lab dataset": (
        ["datasets", "lab:facesawp"],
        "Error: Lab dataset 'facesawp' is not known. Did you mean 'faceswap'",
    ),
    "unknown layout": (
        ["ingest", "faceforensic", "{noise}", "{out}"],
        "Error: Layout 'faceforensic' is not known. Did you mean 'faceforensics'",
    ),
    "missing dataset folder": (
        ["evaluate", "{out}/none", "-d", "{small}"],
        "none",
    ),
    "missing root": (
        ["ingest", "faceforensics", "{out}/none", "{out}"],
        "none",
    ),
    "missing run": (
        ["dashboard", "{out}/none"],
        "out/none'. Give the folder of a run, or make one with `probe demo`.",
    ),
    "missing weights": (
        ["evaluate", "{noise}", "-d", "meso4={out}.h5"],
        "out.h5' are missing. Give an existing file.",
    ),
    "weights that do not fit": (
        ["evaluate", "{noise}", "-d", "shallownet={small}/model.safetensors"],
        "Checkpoint 'model.safetensors' does not fit shallownet: missing",
    ),
    "unknown table format": (
        ["evaluate", "{noise}", "-d", "{small}", "--out", "{out}.xlsx"],
        "Table format '.xlsx' is not known",
    ),
    "unknown option": (["demo", "--fast"], "No such option"),
    "unknown command": (["dmo"], "No such command 'dmo'"),
    "unknown detector in the demo": (
        ["demo", "--detectors", "meso4,resnet", "--out", "{out}"],
        "Detector 'resnet' is not known.",
    ),
    "tuning without a base": (
        ["train", "meso4", "{noise}", "{out}", "--variant", "deep"],
        "Give both: the folder of the base and the target dataset (--base, --target).",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_one_paragraph_with_code_2(
    case: str, noise: Dataset, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, wording = BAD[case]
    places = {"noise": noise.root, "small": small, "out": tmp_path / "out"}
    assert run(*(word.format(**places) for word in arguments)) == 2
    err = capsys.readouterr().err
    assert wording in err.replace("\n", " ")
    assert "Traceback" not in err and "Error:" in err
    assert "\n\n" not in err.strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small"]


def test_an_unreadable_image_stops_an_evaluation(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_images(tmp_path / "data", datasets=("one",), identities=2, splits=("test",))
    broken = data.root / data.samples.table["path"].iloc[5]
    broken.write_bytes(broken.read_bytes()[:60])
    out = tmp_path / "table.csv"
    assert run("evaluate", str(data.root), "-d", str(small), "--out", str(out)) == 2
    err = capsys.readouterr().err
    assert f"The image '{broken}' cannot be decoded" in err.replace("\n", "")
    assert "No other image is used instead" in err
    assert not out.exists()


def test_evaluate_writes_what_it_prints(
    noise: Dataset, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.csv"
    assert run("evaluate", noise.root, "-d", small, "--per-video", "--out", out) == 0
    printed = capsys.readouterr().out
    table = pd.read_csv(out)
    auroc = table.query("metric == 'auroc' and level == 'frame' and dataset == 'one'")
    assert f"{auroc['value'].item():.3f}" in printed
    assert "mean P(fake)" in printed and "test-3-1" in printed
    video = table.query("metric == 'auroc' and level == 'video' and dataset == 'one'")
    assert "AUROC per video" in printed and f"{video['value'].item():.3f}" in printed


def test_two_sets_of_one_name_by_command(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [
        make_images(tmp_path / name, datasets=("one",), identities=2, splits=("test",)).root
        for name in ("left", "right")
    ]
    assert run("evaluate", *roots, "-d", small, "--no-audit") == 0
    printed = capsys.readouterr()
    assert "left" in printed.out and "right" in printed.out and "NAME=FOLDER" in printed.err
    assert run("evaluate", f"c23={roots[0]}", f"c40={roots[1]}", "-d", small, "--no-audit") == 0
    printed = capsys.readouterr()
    assert "c23" in printed.out and "c40" in printed.out and "NAME=FOLDER" not in printed.err


def test_train_evaluate_and_count_by_command(noise: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "meso4"
    options = ["--input-size", "32", "--epochs", "2", "--batch-size", "8"]
    assert run("train", "meso4", noise.root, out, *options) == 0
    assert (out / "card.json").is_file()
    assert run("neurons", noise.root, "-d", out, "--out", tmp_path / "units.csv") == 0
    table = pd.read_csv(tmp_path / "units.csv")
    assert set(table["dataset"]) == {"one", "two"} and len(table) == 2 * 16
    assert run("record", noise.root, "-d", out, "-l", "leaky", "--out", tmp_path / "s.zarr") == 0


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("detectors") == 0
    assert "mesoinception4" in capsys.readouterr().out
    assert run("layers", "meso4") == 0
    assert "conv4" in capsys.readouterr().out.split()


def test_python_m_probe_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "probe", "evaluate", "lab", "-d", "meso5"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: Detector 'meso5' is not known.")
    assert done.stderr.count("\n") == 1
