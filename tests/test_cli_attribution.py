"""`probe attribute` as a user types it: maps that resume, figures, checks, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.attribution import METHODS, AttributionMap
from probe.datasets.dataset import Dataset, write_native
from probe.detectors import load_detector
from probe.detectors.loading import save_detector
from probe.neurons import Universality
from tests.conftest import make_images
from tests.test_cli import run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two detectors and images of 32 pixels, with masks."""
    folder = tmp_path_factory.mktemp("attribute")
    data = make_images(folder / "data", size=32, datasets=("one", "two"))
    masked(data)
    for seed in (0, 1):
        save_detector(load_detector("meso4", input_size=32, seed=seed), folder / f"meso-{seed}", {})
    return folder


def masked(data: Dataset) -> None:
    from PIL import Image

    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[8:20, 8:24] = 255
    Image.fromarray(mask).save(data.root / "mask.png")
    table = data.samples.table.copy()
    table["mask"] = np.where(table["label"] == 1, "mask.png", "")
    write_native(Dataset(data.name, type(data.samples)(table), data.root, data.card))


def test_one_command_gives_maps_figure_and_tables(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "attribute",
        place / "data",
        "-d",
        place / "meso-0",
        "-m",
        "gradcam,deeplift,rollout",
        "--label",
        "fake",
        "--max-samples",
        "6",
        "--out",
        tmp_path / "maps",
        "--figure",
        tmp_path / "fig/a",
        "--checks",
        "mask_auroc,pointing,deletion_mean",
        "--table",
        tmp_path / "t.csv",
    )
    assert run(*words) == 0
    printed = capsys.readouterr().out
    for text in ("fake logit", "conv4", "attention rollout cannot explain", "edges", "mask_auroc"):
        assert text in printed.replace("mask auroc", "mask_auroc"), text
    found = AttributionMap.open(tmp_path / "maps" / "meso4-gradcam.zarr")
    assert len(found) == 12 and set(found.data["dataset"].values) == {"one", "two"}
    frame = pd.read_csv(tmp_path / "t.csv")
    assert {"gradcam", "deeplift", "edges", "random"} == set(frame["method"])
    assert (tmp_path / "fig/a.pdf").read_bytes()[:4] == b"%PDF"
    side = json.loads((tmp_path / "fig/a.json").read_text())
    assert "probe attribute" in side["command"]
    before = (tmp_path / "maps/meso4-gradcam.zarr/attribution/zarr.json").stat().st_mtime_ns
    assert run(*words[:10], "--max-samples", "6", "--out", tmp_path / "maps") == 0
    after = (tmp_path / "maps/meso4-gradcam.zarr/attribution/zarr.json").stat().st_mtime_ns
    assert before == after


def test_detectors_are_compared_and_regions_reported(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = tmp_path / "variant"
    detector = load_detector(place / "meso-1")
    from dataclasses import replace

    save_detector(type(detector)(detector.module, replace(detector.spec, variant="deep")), two, {})
    code = run(
        "attribute",
        place / "data",
        "-d",
        place / "meso-0",
        "-d",
        two,
        "--label",
        "fake",
        "--compare",
        "--mode",
        "authors",
        "--table",
        tmp_path / "t.md",
    )
    assert code == 0 and "SSIM" in capsys.readouterr().out
    assert "|" in (tmp_path / "t-gradcam-similarity.md").read_text()


def test_a_unit_and_options(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "u.zarr"
    code = run(
        "attribute",
        place / "data",
        "-d",
        place / "meso-0",
        "-m",
        "integrated_gradients",
        "--target",
        "conv3:2,5",
        "-O",
        "steps=8",
        "--baseline",
        "mean",
        "--max-samples",
        "2",
        "--out",
        out,
    )
    attrs = AttributionMap.open(out).data.attrs
    assert code == 0 and attrs["target"] == "conv3[2 units]" and attrs["baseline"] == "mean"
    assert attrs["options"] == {"steps": 8}


def test_universal_units_together(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Table:
        universal = np.array([1, 4])
        data = type("Data", (), {"attrs": {"layer": "conv4"}})()

    monkeypatch.setattr(Universality, "open", classmethod(lambda cls, path: Table()))
    out = tmp_path / "u.zarr"
    words = (
        "attribute",
        place / "data",
        "-d",
        place / "meso-0",
        "--max-samples",
        "2",
        "--universal",
        tmp_path / "any.zarr",
    )
    assert run(*words, "-m", "saliency", "--out", out) == 0
    assert AttributionMap.open(out).data.attrs["target"] == "conv4[2 units]"
    assert run(*words, "--target", "conv4:1") == 2
    Table.universal = np.array([], dtype=int)
    assert run(*words) == 2


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("attribute", "--methods") == 0
    printed = capsys.readouterr().out
    assert all(name[:8] in printed for name in METHODS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-m", "gradcamm"], "Did you mean 'gradcam'"),
        (["-m", "rollout"], "no attention to roll out"),
        (["-O", "steps=5"], "none of gradcam has it"),
        (["-m", "saliency", "-l", "conv4"], "none of saliency uses one"),
        (["--baseline", "black"], "none of gradcam uses one"),
        (["-O", "steps"], "allowed is NAME=VALUE"),
        (["--target", "conv4:a"], "allowed are logit, LAYER:UNIT"),
        (["--table", "t.xls"], "Table format '.xls' is not known"),
        (["-m", "gradcam,hirescam", "--out", "one.zarr"], "Give a folder"),
        (["--compare"], "two or more"),
        (["--baseline", "pair", "-m", "deeplift"], "real image is unknown for"),
    ],
)
def test_bad_input_is_answered(
    place: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("attribute", place / "data", "-d", place / "meso-0", "--max-samples", "1", *words)
    printed = " ".join(capsys.readouterr().err.split())
    assert code == 2 and message in printed, printed[-300:]
