"""A small study from end to end: what it makes, reuses, refuses, and how it survives kills."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from probe.artifacts.report import ArtifactMeasurements
from probe.attribution.findings import MapSimilarity
from probe.attribution.maps import AttributionMap
from probe.attribution.trust.report import TrustReport
from probe.datasets import read_native
from probe.datasets.audit import audit
from probe.detectors import load_detector
from probe.errors import DatasetError, ProbeError, UnknownNameError
from probe.images import token_of
from probe.joint import JOINT
from probe.results import HOMES, open_result
from probe.run import RunFolder
from probe.study import load_study, parse_study, run_study, stages_of
from probe.study.data import open_data, within_budget
from probe.study.figures import heatmaps_on
from probe.thumbnails import Thumbnails
from tests.app.conftest import client_of
from tests.conftest import make_images
from tests.study.making import TEXT, require_same_tables, tables_of, write_study
from tests.test_cli import run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that ran undisturbed into ``out``."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBE_CACHE", str(folder / "cache"))
        file = write_study(folder)
        # As the runs that are killed: the last bits of matrix products depend on it.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            assert run("run", file, "--out", folder / "out") == 0
        finally:
            torch.set_num_threads(threads)
    return folder


def test_everything_it_names_is_there(done: Path) -> None:
    out = done / "out"
    manifest = RunFolder(out).read_manifest()
    assert manifest["complete"] and manifest["datasets"] == ["one", "second"]
    assert manifest["detectors"] == ["meso4/base", "meso4/deep"]
    assert [stage["name"] for stage in manifest["stages"]] == [
        "data",
        "audit",
        "detectors",
        "evaluation",
        "activations",
        "neurons",
        "ablation",
        "separability",
        "artifacts",
        "responses",
        "attribution",
        "figures",
    ]
    tables = tables_of(out)
    assert list(tables["tables/evaluation.zarr"]["dataset"].values) == ["one", "second"]
    assert (out / "figures/zero-shot-matrix.pdf").is_file()
    audit = json.loads((out / "audit.json").read_text())
    assert audit["images"] == 144
    data = read_native(out / "data")
    assert set(data.samples.table["dataset"]) == {"one", "second"} and data.image(0).shape[2] == 3


def test_provenance_names_what_it_was_made_of(done: Path) -> None:
    found = json.loads((done / "out/provenance.json").read_text())
    study = load_study(done / "tiny.toml")
    assert found["study_fingerprint"] == study.fingerprint and found["seeds"] == [3]
    assert set(found["weights"]) == {"meso4/base", "meso4/deep"}
    assert set(found["data"]) == {
        f"{d}/{s}" for d in ("one", "second") for s in ("train", "val", "test")
    }
    assert found["runs"] == 1 and found["versions"]["torch"] and found["devices"]
    assert found["wall_seconds"] == pytest.approx(sum(found["stages"].values()), abs=0.01)
    assert found["command"].startswith("probe run")


def test_each_table_names_its_detectors_and_data(done: Path) -> None:
    """Every table that functions compute, not drawn ones, against what lies beside it."""
    out = done / "out"
    marks = {
        label: load_detector(RunFolder(out).detector(label)).fingerprint
        for label in ("meso4/base", "meso4/deep")
    }
    test = read_native(out / "data").select(split="test")
    parts = {name: part.fingerprint for name, part in test.by_dataset().items()}
    places = [*(out / "tables").rglob("*.zarr"), *(out / "maps").rglob("*.zarr")]
    kinds = set()
    for place in places:
        result = open_result(place)
        found = result.provenance
        kinds.add(type(result).__name__)
        assert found.detectors.items() <= marks.items(), place
        # Measuring draws nothing.
        seed = None if isinstance(result, ArtifactMeasurements) else 3
        assert found.seed == seed and found.versions["torch"], place
        measured = {"ArtifactMeasurements", "ArtifactReport"}
        assert bool(found.detectors) == (type(result).__name__ not in measured), place
        assert found.data, place
        # Images that are explained are chosen ones, which have a fingerprint of their own.
        if HOMES[type(result).__name__].startswith("probe.attribution"):
            continue
        for name, mark in found.data.items():
            assert {**parts, test.name: test.fingerprint}[name] == mark, place
    # Noise has no face, and three are of no study.
    assert kinds == set(HOMES) - {"RegionAttention", "Calibration", "HeadTable", "Reproduction"}


def test_a_second_run_computes_nothing(done: Path) -> None:
    tables = (
        "neurons",
        "evaluation.zarr",
        "separability",
        "embeddings",
        "artifacts.zarr",
        "measurements.zarr",
        "similarity.zarr",
        "responses",
        "trust",
        "map-similarity",
    )
    parts = ("data", "detectors", "stores", "maps", *(f"tables/{name}" for name in tables))
    files = [f for part in parts for f in (done / "out" / part).rglob("*") if f.is_file()]
    kept = {file: file.stat().st_mtime_ns for file in files if file.parent.name != "data"}
    run_study(load_study(done / "tiny.toml", done / "out"))
    assert kept == {file: file.stat().st_mtime_ns for file in kept}
    assert json.loads((done / "out/provenance.json").read_text())["runs"] >= 2


def test_the_stages_say_what_is_done_and_left(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = stages_of(load_study(done / "tiny.toml", done / "out"))
    assert all(one.done == one.total > 0 for one in states)
    fresh = stages_of(load_study(done / "tiny.toml", tmp_path / "new"))
    assert all(one.done == 0 for one in fresh)
    assert run("run", done / "tiny.toml", "--out", tmp_path / "new", "--dry-run") == 0
    assert "0 of 2" in capsys.readouterr().out and not (tmp_path / "new").exists()


@pytest.mark.slow
def test_another_title_and_other_figures_go_on(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "out", tmp_path / "out")
    text = TEXT.replace('title = "Tiny"', 'title = "Small"') + "[figures]\nheatmaps = false\n"
    run_study(parse_study(text, done / "tiny.toml", tmp_path / "out"))
    assert RunFolder(tmp_path / "out").read_manifest()["title"] == "Small"
    require_same_tables(done / "out", tmp_path / "out")


def test_another_study_does_not_write_into_it(done: Path, tmp_path: Path) -> None:
    """None of its data, and another title: that is a mistake, and trainings would be lost."""
    make_images(tmp_path / "data", size=32)
    text = TEXT.replace('title = "Tiny"', 'title = "Mine"')
    with pytest.raises(ProbeError, match="holds another study, 'Tiny', which has no dataset"):
        run_study(parse_study(text, tmp_path / "tiny.toml", done / "out"))


@pytest.mark.slow
def test_changed_settings_go_on_to_the_tables_of_a_new_run(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Epochs, data, level and layers at once; what is of nothing any more is gone."""
    shutil.copytree(done / "out", tmp_path / "out")
    text = TEXT.replace("epochs = 3", "epochs = 1").replace(
        '["base", "deep"]', '["base", "shallow"]'
    )
    text = text.replace("resamples = 100", "resamples = 120\nci = 0.9")
    text += "[budget]\nimages = 20\n"
    for place in ("out", "new"):
        run_study(parse_study(text, done / "tiny.toml", tmp_path / place))
    said = " ".join(capsys.readouterr().err.split())
    assert "detectors.base.epochs 3 → 1" in said and "it is retrained" in said
    assert "data, audit, detectors, evaluation" in said
    require_same_tables(tmp_path / "out", tmp_path / "new")
    listed = [
        {str(f.relative_to(tmp_path / place)) for f in (tmp_path / place).glob("*/**/*.zarr")}
        for place in ("out", "new")
    ]
    assert listed[0] == listed[1]


@pytest.mark.slow
def test_several_seeds_stand_beside_each_other(done: Path, tmp_path: Path) -> None:
    text = TEXT.replace("seeds = [3]", "seeds = [3, 5]").replace('["base", "deep"]', '["base"]')
    outcome = run_study(parse_study(text, done / "tiny.toml", tmp_path / "out"))
    labels = list(outcome.matrix.data["detector"].values)
    assert labels == ["meso4/base", "meso4/base-seed5"]
    values = outcome.matrix.data["value"].sel(level="frame", metric="auroc")
    assert not np.array_equal(values[0], values[1])
    assert set(outcome.attribution.maps) == set(labels)
    assert set(outcome.attribution.trust) == {"meso4/base"} and not outcome.attribution.similarity
    # The first seed's detector is that of the study with one seed.
    np.testing.assert_array_equal(
        values[0],
        tables_of(done / "out")["tables/evaluation.zarr"]["value"].sel(
            detector="meso4/base", level="frame", metric="auroc"
        ),
    )


@pytest.mark.slow
def test_detectors_may_be_brought(done: Path, tmp_path: Path) -> None:
    weights = RunFolder(done / "out").detector("meso4/base") / "model.safetensors"
    text = TEXT[: TEXT.index("[detectors]")] + (
        f'[detectors]\ninput_size = 32\n[[detectors.weights]]\nname = "meso4"\nfile = "{weights}"\n'
        "[neurons]\nuntrained = 1\n[separability]\npictures = []\n"
    )
    outcome = run_study(parse_study(text, done / "tiny.toml", tmp_path / "out"))
    assert list(outcome.matrix.data["detector"].values) == ["meso4/model"]


def test_variants_are_compared_on_images_of_their_own(done: Path) -> None:
    folder = RunFolder(done / "out")
    chosen = set(
        AttributionMap.open(folder.path("maps", "meso4/base", "gradcam")).data["sample"].values
    )
    for mode in ("corrected", "authors"):
        found = MapSimilarity.open(folder.path("map_similarity", "meso4", mode)).data
        assert found["n_samples"].to_series().to_dict() == {"one": 4, "second": 4, "all": 8}
        assert (found["label"] == 1).all()
        # Those that are explained are among them: a smaller draw is part of a larger one.
        fakes = {str(name) for name in chosen if "-1-" in str(name)}
        assert len(fakes) == 4 and fakes < {str(name) for name in found["sample"].values}
    trust = TrustReport.open(folder.path("trust", "meso4/base")).data
    assert int(trust["n_samples"].max()) == 4
    assert not folder.compared_maps.exists()


def test_a_run_is_told_and_judged_at_its_end(done: Path) -> None:
    folder = RunFolder(done / "out")
    text = folder.report.read_text(encoding="utf-8")
    assert "not finished" not in text and "Tiny" in text
    claims = pd.read_csv(folder.joint / "claims.csv")
    assert set(claims["claim"]) == {"generalization", "artifacts", "neurons"}
    for name in JOINT:
        assert (folder.joint / f"{name}.csv").is_file(), name
    for name in ("universal-neurons", "probes", "transfer", "generalization"):
        assert (folder.figures / f"{name}.pdf").is_file(), name


def test_a_budget_draws_whole_videos_of_both_classes(done: Path) -> None:
    data = open_data(load_study(done / "tiny.toml"), done / "budget")
    study = parse_study(TEXT + "[budget]\nimages = 10\n", done / "tiny.toml")
    entry = study.datasets[0]
    small = within_budget(data, entry, study).samples.table
    whole = data.samples.table
    for (name, split), rows in small.groupby(["dataset", "split"]):
        assert 10 <= len(rows) < 12 and set(rows["label"]) == {0, 1}
        for video, frames in rows.groupby(["method", "video"]):
            same = whole[(whole["dataset"] == name) & (whole["split"] == split)]
            assert len(frames) == len(
                same[(same["method"] == video[0]) & (same["video"] == video[1])]
            )
    pd.testing.assert_frame_equal(small, within_budget(data, entry, study).samples.table)
    own = entry.model_copy(update={"images": {"train": 6, "test": 4}})
    counts = within_budget(data, own, study).samples.table.groupby(["dataset", "split"]).size()
    whole_counts = whole.groupby(["dataset", "split"]).size()
    assert (counts[:, "train"] == 6).all() and (counts[:, "test"] == 4).all()
    assert counts[:, "val"].equals(whole_counts[:, "val"])


def test_a_source_that_is_not_in_the_data(done: Path, tmp_path: Path) -> None:
    text = (
        TEXT.replace('open = "data:one"', 'open = "data"')
        .replace('\n[[datasets]]\nname = "second"\nopen = "data:two"\n', "")
        .replace('target = ["second"]', 'target = ["three"]')
    )
    with pytest.raises((ProbeError, UnknownNameError), match="three"):
        run_study(parse_study(text, done / "tiny.toml", tmp_path / "out"))


@pytest.mark.slow
def test_what_a_kill_between_table_and_csv_left_out_is_made(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done / "out", out)
    lost = [out / "tables/evaluation.csv", out / "tables/neurons/meso4-base.csv"]
    for file in lost:
        file.unlink()
    run_study(load_study(done / "tiny.toml", out))
    require_same_tables(done / "out", out)


def test_sources_with_different_columns_are_joined(done: Path, tmp_path: Path) -> None:
    """A changed image is noticed, also if the images beside it have digests already."""
    text = TEXT.replace(
        'open = "data:one"', 'open = "lab"\nsize = 32\ncounts = { train = 8, val = 8, test = 8 }'
    ).replace('source = "one"', 'source = "dfd"')
    study = parse_study(text + "[compute]\nn_workers = 1\n", done / "tiny.toml", tmp_path / "out")
    make_images(tmp_path / "data", size=32)
    second = study.datasets[1].model_copy(update={"open": f"{tmp_path}/data:two"})
    study = study.model_copy(update={"datasets": (study.datasets[0], second)})
    before = open_data(study, tmp_path / "run")
    assert audit(before, n_workers=1).images == len(before)
    whole = read_native(tmp_path / "data").by_dataset()["two"]
    assert list(before.select(dataset="second").samples.table["digest"]) == [
        hashlib.blake2b((whole.root / p).read_bytes(), digest_size=16).hexdigest()
        for p in whole.samples.table["path"]
    ]
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(
        tmp_path / "data" / whole.samples.table["path"][0]
    )
    after = open_data(study, tmp_path / "run")
    changed = [
        name
        for name, part in after.by_dataset().items()
        if part.fingerprint != before.by_dataset()[name].fingerprint
    ]
    assert changed == ["second"]


@pytest.mark.slow
def test_the_dashboard_shows_images_of_joined_sources(done: Path, tmp_path: Path) -> None:
    weights = RunFolder(done / "out").detector("meso4/base") / "model.safetensors"
    entry = (
        '[[datasets]]\nopen = "lab:{}"\nsize = 32\ncounts = {{ train = 8, val = 8, test = 8 }}\n'
    )
    text = (
        entry.format("dfd") + entry.format("faceswap") + "[detectors]\ninput_size = 32\n"
        f'[[detectors.weights]]\nname = "meso4"\nfile = "{weights}"\n'
        "[neurons]\nuntrained = 1\n[evaluation]\nresamples = 100\n[compute]\nn_workers = 1\n"
    )
    out = tmp_path / "out"
    run_study(parse_study(text, tmp_path / "two.toml", out))
    assert len(list((out / "data/sources").iterdir())) == 1
    table, client = read_native(out / "data").samples.table, client_of(out)
    for row in (0, len(table) - 1):
        assert client.get(f"/thumb/{token_of(table['sample'][row])}").status_code == 200
    assert set(table["dataset"]) == {"dfd", "faceswap"}


def test_a_split_that_is_missing_is_said_before_training(done: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "data", size=32, splits=("train", "test"))
    (tmp_path / "tiny.toml").write_text(TEXT)
    with pytest.raises(DatasetError) as caught:
        run_study(load_study(tmp_path / "tiny.toml", tmp_path / "out"))
    assert "'one', val: no image; 'second', val: no image" in str(caught.value)
    text = TEXT + '[evaluation]\nsplit = "val"\n'
    text = text.replace("[evaluation]\nresamples = 100\n", "")
    brought = (
        text[: text.index("[detectors]")]
        + (
            "[detectors]\ninput_size = 32\n[[detectors.weights]]\nname = 'meso4'\nfile = "
            f"'{RunFolder(done / 'out').detector('meso4/base')}/model.safetensors'\n"
        )
        + text[text.index("[record]") :]
    )
    with pytest.raises(DatasetError, match="no dataset holds an image in split 'val'"):
        run_study(parse_study(brought, tmp_path / "tiny.toml", tmp_path / "out2"))
    assert not (tmp_path / "out/audit.json").exists()


@pytest.mark.slow
def test_a_timm_model_with_layers_of_its_own(done: Path, tmp_path: Path) -> None:
    text = TEXT.replace('"meso4"', '"timm:resnet18"').replace('["base", "deep"]', '["base"]')
    text = text.replace("epochs = 3", "epochs = 1").replace('"units"', '"body.layer4"')
    text = text.replace("[neurons]", '[neurons]\nlayer = "body.global_pool"')
    with pytest.raises(ProbeError, match="has no layers called units or last_conv"):
        parse_study(text, done / "tiny.toml", tmp_path / "out")
    with pytest.raises(ProbeError, match="body.layer4.*is not a map"):
        flat = text + '[figures]\nheatmap_layer = "body.layer4"\n'
        run_study(parse_study(flat, done / "tiny.toml", tmp_path / "out"))
    assert not (tmp_path / "out/detectors").exists()
    text += '[figures]\nheatmap_layer = "body.layer2"\n'
    outcome = run_study(parse_study(text, done / "tiny.toml", tmp_path / "out"))
    assert outcome.universality["timm:resnet18/base"].data.sizes["unit"] == 512
    assert (tmp_path / "out/figures/heatmaps-timm-resnet18.pdf").is_file()


def test_a_layer_that_is_nowhere_is_said_before_anything_is_made(
    done: Path, tmp_path: Path
) -> None:
    text = TEXT.replace('layers = ["units"]', 'layers = ["conv44"]')
    with pytest.raises(UnknownNameError, match="Layer 'conv44' is not known in meso4.*'conv4'"):
        run_study(parse_study(text, done / "tiny.toml", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_run_folder_that_is_a_file(done: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(ProbeError, match="run folder .*out' cannot be created .File exists"):
        run_study(load_study(done / "tiny.toml", tmp_path / "out"))


def test_weights_may_have_a_label(done: Path) -> None:
    weights = RunFolder(done / "out").detector("meso4/base") / "model.safetensors"
    entry = f'[[detectors.weights]]\nname = "meso4"\nfile = "{weights}"\n'
    text = TEXT[: TEXT.index("[detectors]")] + "[detectors]\ninput_size = 32\n" + entry
    study = parse_study(text + entry + 'label = "twin"\n', done / "tiny.toml")
    assert study.labels == ["meso4/model", "meso4/twin"]


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_tables(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.study.killed", str(done / "tiny.toml"), str(out), "7"]
    environment = {**os.environ, "PROBE_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    stages = json.loads(ended.stdout)
    # Nearly all were killed at work, in one stage after the other.
    assert len(stages) >= 12 and len(set(stages)) >= 5, stages
    require_same_tables(done / "out", out)
    assert RunFolder(out).read_manifest()["complete"]
    assert not [file for file in out.rglob("*") if file.name.endswith((".part", ".partial"))]


@pytest.mark.slow
def test_images_that_lie_elsewhere_are_shown_and_kept_small(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that the user ran the study on is noted, sealed; thumbnails go with the run."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(done / "out", tmp_path / "out")
    run_study(load_study(done / "tiny.toml", tmp_path / "out"))
    manifest = RunFolder(tmp_path / "out").read_manifest()
    assert manifest["image_roots"] == [str(done / "data")] and manifest["images"] == "link"
    table = read_native(tmp_path / "out/data").samples.table
    test = [token_of(name) for name in table["sample"][table["split"] == "test"]]
    kept = Thumbnails(tmp_path / "out/thumbnails.zip")
    assert len(kept) == len(test) and all(token in kept for token in test)
    train = token_of(table["sample"][table["split"] == "train"].iloc[0])
    (tmp_path / "out").rename(tmp_path / "moved")
    assert client_of(tmp_path / "moved").get(f"/image/{train}").status_code == 200
    # On another machine the key is another, and what is small is shown.
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "elsewhere"))
    client = client_of(tmp_path / "moved")
    assert client.get(f"/image/{train}").status_code == 404
    assert client.get(f"/image/{test[0]}").status_code == 200


def test_images_are_copied_where_the_study_says_so(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    text = 'images = "copy"\n' + TEXT
    study = parse_study(text, done / "tiny.toml", tmp_path / "out")
    assert study.fingerprint == parse_study(TEXT, done / "tiny.toml").fingerprint
    linked = open_data(study.model_copy(update={"images": "link"}), tmp_path / "link")
    copied = open_data(study, tmp_path / "out")
    assert copied.fingerprint == linked.fingerprint
    for one, (before, after) in enumerate(
        zip(linked.samples.table["path"], copied.samples.table["path"], strict=True)
    ):
        is_test = copied.samples.table["split"][one] == "test"
        assert Path(after).is_absolute() != is_test
        assert (copied.root / after).read_bytes() == Path(before).read_bytes()
    files = list((copied.root / "copies").rglob("*.png"))
    assert len(files) == int((copied.samples.table["split"] == "test").sum())
    times = {file: file.stat().st_mtime_ns for file in files}
    open_data(study, tmp_path / "out")
    assert times == {file: file.stat().st_mtime_ns for file in files}


def test_a_figure_of_heatmaps_shows_no_image_where_the_study_keeps_none(done: Path) -> None:
    test = read_native(done / "out/data").select(split="test")
    one = load_detector(done / "out/detectors/meso4-base")
    words = {
        seen: {text.get_text() for text in heatmaps_on([one], test, seen=seen).findobj(Text)}
        for seen in (True, False)
    }
    assert {"image", "fake"} & words[True] and not {"image", "fake", "original"} & words[False]
    assert all(any("meso4/base" in text for text in found) for found in words.values())


def test_images_has_three_values(done: Path) -> None:
    with pytest.raises(ProbeError, match="images = 'hide'.*link, copy, none"):
        parse_study('images = "hide"\n' + TEXT, done / "tiny.toml")
