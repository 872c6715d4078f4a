"""Commands about data: ingest, layouts, audit, and what evaluate says of its data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from probe.datasets import open_dataset
from probe.datasets.dataset import Dataset, write_native
from probe.detectors import load_detector, save_detector
from probe.evaluation.matrix import predict
from tests.conftest import make_images
from tests.datasets.audit.making import changed, make_clean
from tests.datasets.drawing import make_tree
from tests.test_cli import run


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def leaky(tmp_path: Path) -> Dataset:
    data = make_clean(tmp_path / "leaky")
    data = changed(
        data,
        lambda t: t.assign(identity=["anna" if i < 2 else p for i, p in enumerate(t["identity"])]),
    )  # noqa: E501
    table = data.samples.table
    table.loc[table.index[-1], "identity"] = "anna"
    write_native(data)
    return data


def test_layouts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("layouts") == 0
    printed = capsys.readouterr().out
    names = (
        "faceforensics",
        "dfd",
        "celebdf-v1",
        "celebdf-v2",
        "dfdc",
        "dfdc-preview",
        "deeperforensics",
        "wilddeepfake",
        "df40",
        "deepfakebench",
        "folder",
        "manifest",
    )
    assert all(name in printed for name in names)


def test_ingest_recognizes_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree, out = make_tree(tmp_path / "tree"), tmp_path / "out"
    options = ["--frames", "6", "--size", "48", "--n-workers", "1"]
    assert run("ingest", "auto", tree, out, *options) == 0
    printed = capsys.readouterr().out
    assert "of 4 videos" in printed and "1 frames without a face" in printed
    assert open_dataset(out).card["layout"] == "faceforensics"


def test_strict_is_exit_code_2_with_everything_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree, out = make_tree(tmp_path / "tree"), tmp_path / "out"
    (tree / "original_sequences/youtube/c23/videos/000.mp4").write_bytes(b"")
    options = ["--frames", "4", "--size", "48", "--n-workers", "1", "--strict"]
    assert run("ingest", "faceforensics", tree, out, *options) == 2
    err = capsys.readouterr().err
    assert "strict was set, and" in err and "youtube/000" in err
    assert len(open_dataset(out)) > 0


def test_two_layouts_in_one_root_are_both_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = make_tree(tmp_path / "tree")
    for name in ("Celeb-real", "Celeb-synthesis"):
        (tree / name).mkdir()
    (tree / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n" * 100)
    assert run("ingest", "auto", tree, tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert "could be in 2 layouts" in err and "faceforensics" in err and "celebdf-v1" in err
    assert not (tmp_path / "out").exists()


def test_audit_is_exit_code_3_on_an_error(
    leaky: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "audit.json"
    assert run("audit", leaky.root, "--json", file, "--n-workers", "1") == 3
    printed = capsys.readouterr().out
    assert "error leaked-identity in clean: 1 persons are in several splits" in printed
    assert "anna" in printed
    saved = json.loads(file.read_text())
    assert saved["clean"] is False and saved["findings"][0]["check"] == "leaked-identity"


def test_audit_of_clean_data_is_exit_code_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_clean(tmp_path / "data")
    write_native(data)
    assert run("audit", data.root, "--n-workers", "1") == 0
    assert "0 errors, 0 warnings, 0 notes" in capsys.readouterr().out


def test_evaluate_says_what_the_audit_finds_and_goes_on(
    leaky: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "small"
    save_detector(load_detector("meso4", input_size=32), folder, {})
    assert run("evaluate", leaky.root, "-d", folder) == 0
    said = capsys.readouterr()
    assert "Audit error, leaked-identity in clean" in said.err and "AUROC per frame" in said.out
    assert f"`probe audit {leaky.root}` lists all" in said.err.replace("\n", "")
    assert run("evaluate", leaky.root, "-d", folder, "--no-audit") == 0
    assert "Audit" not in capsys.readouterr().err


def test_train_says_what_the_audit_finds(
    leaky: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--input-size", "32", "--epochs", "1", "--batch-size", "8"]
    assert run("train", "meso4", leaky.root, tmp_path / "out", *options) == 0
    assert "Audit error, leaked-identity in clean" in capsys.readouterr().err


def test_a_detector_that_ranks_the_wrong_way_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores sort the images; labels are then given with them, and against them."""
    data = make_images(tmp_path / "data", datasets=("one",), splits=("test",))
    folder = tmp_path / "small"
    detector = load_detector("meso4", input_size=32)
    save_detector(detector, folder, {})
    ranks = np.argsort(np.argsort(predict(detector, data)))
    high = (ranks >= len(data) / 2).astype(int)
    for labels, suspect in ((high, False), (1 - high, True)):
        write_native(changed(data, lambda t, y=labels: t.assign(label=y)))
        assert run("evaluate", data.root, "-d", folder, "--no-audit") == 0
        err = capsys.readouterr().err.replace("\n", " ")
        assert ("[polarity]" in err) is suspect
    assert "meso4 ranks fakes below reals on one: AUROC 0.00, 1 - AUROC = 1.00" in err
    assert "label convention" in err
