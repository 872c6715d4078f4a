"""What data cannot give is said before anything is trained; the rest is measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from probe.datasets import Dataset, Samples, read_native
from probe.datasets.dataset import write_native
from probe.detectors import load_detector
from probe.errors import DatasetError
from probe.run import RunFolder
from probe.study import parse_study, run_study
from probe.study.data import check_needs
from tests.conftest import make_images
from tests.study.making import TEXT
from tests.test_cli import run

Kept = Callable[[pd.DataFrame], pd.Series]

BROUGHT = """
[[datasets]]
open = "data:one"

[[datasets]]
open = "data:two"

[detectors]
input_size = 32

[[detectors.weights]]
name = "meso4"
file = "meso4.safetensors"

[record]
layers = ["units"]

[neurons]
untrained = 1

[evaluation]
resamples = 100

[separability]
controls = 9
pictures = ["pca"]

[attribution]
methods = ["gradcam"]
images = 2
checks = ["completeness"]
random = 1

[compute]
device = "cpu"
n_workers = 1
"""
ONE = BROUGHT.replace('[[datasets]]\nopen = "data:two"\n', "")


def lacking(folder: Path, drop: Kept) -> Dataset:
    """Write two datasets of noise without some of their rows."""
    data = make_images(folder / "data", size=32)
    table = data.samples.table
    data = replace(data, samples=Samples(table[~drop(table)]))
    write_native(data)
    return data


def joined(data: Dataset) -> Dataset:
    """Name the datasets as the study does that trains."""
    table = data.samples.table
    return replace(
        data, samples=Samples(table.assign(dataset=table["dataset"].replace({"two": "second"})))
    )


def test_all_that_training_lacks_is_said_at_once(tmp_path: Path) -> None:
    data = lacking(
        tmp_path,
        lambda t: (
            ((t["dataset"] == "one") & (t["split"] == "val"))
            | ((t["dataset"] == "two") & (t["split"] == "train") & (t["label"] == 1))
        ),
    )
    study = parse_study(TEXT, tmp_path / "tiny.toml", tmp_path / "out")
    with pytest.raises(DatasetError) as caught:
        check_needs(study, joined(data))
    text = str(caught.value)
    assert "'one', val: no image; 'second', train: all 12 images are real" in text
    assert "Nothing was trained" in text and "\n" not in text


def test_a_study_that_cannot_train_ends_before_it_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking(tmp_path, lambda t: (t["split"] == "val") & (t["label"] == 0))
    (tmp_path / "tiny.toml").write_text(TEXT)
    assert run("run", tmp_path / "tiny.toml", "--out", tmp_path / "out") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "'one', val: all 12 images are fake; 'second', val: all 12 images are fake" in said
    assert not (tmp_path / "out/detectors").exists() and not (tmp_path / "out/audit.json").exists()


def test_names_and_splits_that_are_not_there(tmp_path: Path) -> None:
    data = lacking(tmp_path, lambda t: t["split"] == "test")
    study = parse_study(TEXT, tmp_path / "tiny.toml", tmp_path / "out")
    with pytest.raises(DatasetError) as caught:
        check_needs(study, data)
    text = str(caught.value)
    assert "no dataset holds an image in split 'test'" in text
    assert "'second', a dataset to train on, is not in the study (Known: one, two.)" in text


def test_targets_are_taken_together(tmp_path: Path) -> None:
    data = lacking(
        tmp_path, lambda t: (t["split"] == "val") & (t["label"] == (t["dataset"] == "two"))
    )
    text = TEXT.replace('target = ["second"]', 'target = ["one", "two"]').replace(
        'name = "second"\n', ""
    )
    with pytest.raises(DatasetError, match="'one', val: all 12 images are fake"):
        check_needs(parse_study(text, tmp_path / "tiny.toml", tmp_path / "out"), data)
    both = data.samples.where(split="val").table
    assert both["label"].nunique() == 2  # as one: no complaint of the targets


#: What is missing, and what is left out because of it: (stage, dataset) to words of the reason.
CASES: dict[str, tuple[str, Kept, dict[tuple[str, str], str]]] = {
    "one dataset": (
        ONE,
        lambda t: t["dataset"] == "two",
        {("neurons", ""): "only 'one' can be measured", ("ablation", ""): "only 'one'"},
    ),
    "a dataset of fakes": (
        BROUGHT,
        lambda t: (t["dataset"] == "two") & (t["split"] == "test") & (t["label"] == 0),
        {
            ("evaluation", "two"): "holds no real image: no AUROC",
            ("neurons", "two"): "no contributions and no test",
            ("ablation", ""): "only 'one'",
            ("separability", "two"): "no real image",
            ("artifacts", "two"): "no real image",
        },
    ),
    "no fake at all": (
        BROUGHT,
        lambda t: (t["split"] == "test") & (t["label"] == 1),
        {
            (stage, name): "holds no fake"
            for stage in ("evaluation", "neurons", "separability", "artifacts", "attribution")
            for name in ("one", "two")
        }
        | {("ablation", ""): "of none can be split"},
    ),
    "one fake video": (
        BROUGHT,
        lambda t: (
            (t["dataset"] == "two")
            & (t["split"] == "test")
            & (t["label"] == 1)
            & (t["video"] != "test-0-1")
        ),
        {
            ("", "two"): "all fakes of split 'test' are of one video",
            ("ablation", "two"): "one half of its identities (else videos) would hold no fake",
            ("ablation", ""): "only 'one'",
        },
    ),
    "one person": (
        BROUGHT,
        lambda t: (t["split"] == "test") & (t["identity"] != "test-0"),
        {
            ("", "one"): "are of one video",
            ("", "two"): "has 1 clusters",
            ("ablation", "one"): "one person",
            ("ablation", "two"): "one person",
            ("ablation", ""): "of none",
            ("separability", ""): "8 images; 10 are needed",
            ("responses", ""): "No dataset is left",
        },
    ),
    "an empty split": (
        BROUGHT,
        lambda t: (t["dataset"] == "two") & (t["split"] == "test"),
        {
            ("", "two"): "split 'test' holds no image",
            ("neurons", ""): "only 'one'",
            ("ablation", ""): "only 'one'",
        },
    ),
}


#: The cases that the issue names; the others take as long again.
QUICK = ("one fake video",)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "meso4.safetensors"
    state = load_detector("meso4", input_size=32, seed=1).module.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, str(file))
    return file


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in QUICK else pytest.mark.slow, id=case)
        for case in CASES
    ],
)
def test_what_cannot_be_measured_is_left_out_and_the_rest_runs(
    case: str,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    text, drop, expected = CASES[case]
    lacking(tmp_path, drop)
    file = tmp_path / "tiny.toml"
    file.write_text(text.replace("meso4.safetensors", str(weights)))
    assert run("run", file, "--out", tmp_path / "out") == 0
    said = " ".join(capsys.readouterr().err.split())
    folder = RunFolder(tmp_path / "out")
    manifest = folder.read_manifest()
    found = [(one["stage"], one["dataset"], one["why"]) for one in manifest["left_out"]]
    for (stage, dataset), words in expected.items():
        mine = [why for s, d, why in found if (s, d) == (stage, dataset) and words in why]
        assert mine, (stage, dataset, words, found)
        assert " ".join(mine[0].split())[:60] in said
    # The noise shows no face: the only other reason that there can be.
    own = {(s, d) for s, d, why in found if "No face was found" not in why and "one_" not in why}
    assert own - expected.keys() <= {("separability", ""), ("", "one"), ("", "two")}
    assert json.loads((tmp_path / "out/provenance.json").read_text())["left_out"]
    assert (
        manifest["complete"]
        and folder.path("evaluation").is_dir()
        and folder.path("artifacts").is_dir()
    )
    assert folder.path("neurons", "meso4/meso4").is_dir()
    several = ("neurons", "") not in expected
    assert folder.path("universality", "meso4/meso4").is_dir() == several
    table = read_native(folder.data).samples.table
    measured = list(dict.fromkeys(table["dataset"][table["split"] == "test"]))
    assert manifest["datasets"] == measured


@pytest.mark.slow
def test_a_measure_of_both_classes_leaves_out_a_dataset_of_one(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    lacking(tmp_path, CASES["a dataset of fakes"][1])
    text = BROUGHT.replace("meso4.safetensors", str(weights))
    text = (
        text.replace("[neurons]", '[neurons]\nmeasure = "delta_logit"')
        .replace("[separability]", "[separability]\nrun = false")
        .replace("[attribution]", "[attribution]\nrun = false")
    )
    out = run_study(parse_study(text, tmp_path / "tiny.toml", tmp_path / "out"))
    assert out.universality == {} and "only 'one' can be measured" in str(out.left_out)
    frame = pd.read_csv(tmp_path / "out/tables/neurons/meso4-meso4.csv")
    assert set(frame["dataset"]) == {"one"} and np.isfinite(frame["p"]).all()
