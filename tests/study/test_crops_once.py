"""A pilot cuts what it uses, a larger run what is missing; nothing else is ever cut again."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest

from probe.datasets import clips, read_native
from probe.errors import DatasetError
from probe.study import Study, parse_study, run_study
from probe.study.data import dominating, open_data, plan_layouts
from tests.datasets.trees import put_video
from tests.study.making import require_same_tables

TEXT = """
seeds = [0]

[[datasets]]
layout = "faceforensics"
part = "deepfakes"
root = "tree"
frames = 2
size = 48

[[datasets]]
layout = "faceforensics"
part = "faceswap"
root = "tree"
frames = 2
size = 48

[[datasets]]
layout = "dfd"
part = "dfd"
root = "tree"
frames = 2
size = 48

[detectors]
names = ["meso4"]
variants = ["base", "deep"]
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

[compute]
n_workers = 1

[budget]
images = 24
"""


def official_tree(root: Path, people: int = 8, actors: int = 14) -> Path:
    """FaceForensics++ with DeepFakeDetection; no two files hold the same."""
    number = itertools.count()

    def put(place: str) -> None:
        file = put_video(root / place, next(number))
        # A box that players skip: three videos are drawn, and each file is one of its own.
        with file.open("ab") as stream:
            stream.write(b"\0\0\0\x10free" + next(number).to_bytes(8, "big"))

    ids = [f"{i:03}" for i in range(3 * people)]
    pairs = [[a, b] for a, b in zip(ids[::2], ids[1::2], strict=True)]
    (root / "splits").mkdir(parents=True)
    for k, split in enumerate(("train", "val", "test")):
        own = pairs[k * people // 2 : (k + 1) * people // 2]
        (root / "splits" / f"{split}.json").write_text(json.dumps(own))
    for one in ids:
        put(f"original_sequences/youtube/c23/videos/{one}.mp4")
    for method in ("Deepfakes", "FaceSwap", "NeuralTextures"):
        for a, b in [*pairs, *(pair[::-1] for pair in pairs)]:
            put(f"manipulated_sequences/{method}/c23/videos/{a}_{b}.mp4")
    names = [f"{i:02}" for i in range(1, actors + 1)]
    for a, b in zip(names[::2], names[1::2], strict=True):
        for one, other in ((a, b), (b, a)):
            put(f"original_sequences/actors/c23/videos/{one}__hugging.mp4")
            fake = f"{one}_{other}__hugging__ABCDEFGH.mp4"
            put(f"manipulated_sequences/DeepFakeDetection/c23/videos/{fake}")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    official_tree(folder / "tree")
    return folder


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Keys of the videos that were cut, into a cache of the test's own."""
    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    keys: list[str] = []
    real = clips.cut_clip

    def counted(task: clips.ClipTask) -> clips.Clip:
        keys.append(task.entry.key)
        return real(task)

    monkeypatch.setattr(clips, "cut_clip", counted)
    return keys


def study_of(place: Path, *changes: tuple[str, str], into: Path | None = None) -> Study:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_study(text, place / "study.toml", into or place / "out")


def used(study: Study, folder: Path) -> pd.DataFrame:
    return open_data(study, folder).samples.table


def keys_of(table: pd.DataFrame) -> set[tuple[str, str]]:
    """Videos by what they are, whatever part they were opened with."""
    return {(m, v) for m, v in zip(table["method"], table["video"], strict=True)}


def test_a_larger_run_cuts_what_is_missing_and_nothing_twice(
    place: Path, tmp_path: Path, cut: list[str]
) -> None:
    pilot = used(study_of(place), tmp_path / "run")
    first = list(cut)
    # An original that two parts share is one video, and is drawn alike in both.
    assert len(first) == len(set(first)) == len(keys_of(pilot))
    sizes = pilot.groupby(["dataset", "split", "label"]).size()
    assert (sizes.drop("dfd") == 12).all() and sizes.groupby(level=[0, 1]).size().eq(2).all()
    assert not any("neuraltextures" in key for key in first)
    large = used(
        study_of(place, ("images = 24", "images = 48"), ("epochs = 1", "epochs = 2")),
        tmp_path / "run",
    )
    second = cut[len(first) :]
    assert keys_of(pilot) < keys_of(large) and not set(first) & set(second)
    assert len(second) == len(set(second)) == len(keys_of(large) - keys_of(pilot)) > 0
    whole = used(study_of(place, ("images = 24", "")), tmp_path / "run")
    assert len(cut) == len(set(cut)) == len(keys_of(whole))
    # Every video of the actors, once, though DeepFakeDetection lies in both layouts' root.
    assert sum(key.startswith(("dfd/", "actors/")) for key in cut) == 28
    both = study_of(place, ('layout = "dfd"', 'layout = "faceforensics"'))
    used(both, tmp_path / "other")
    assert len(cut) == len(keys_of(whole))


SMALL = """
[evaluation]
resamples = 100

[neurons]
untrained = 1
random = 2

[separability]
controls = 1
pictures = ["pca"]

[attribution]
methods = ["gradcam"]
images = 1
similarity_images = 2
checks = ["completeness"]
random = 1
"""


@pytest.mark.slow
def test_the_same_file_goes_from_a_pilot_to_the_real_run(
    place: Path, tmp_path: Path, cut: list[str]
) -> None:
    """All stages of both, in one folder: videos are cut once, and the tables are a fresh run's."""
    small = ("[budget]", SMALL + "\n[budget]")
    large = ("images = 24", "images = 48"), ("epochs = 1\nbatch_size", "epochs = 2\nbatch_size")
    run_study(study_of(place, small, into=tmp_path / "run"))
    first = list(cut)
    pilot = read_native(tmp_path / "run/data").samples.table
    run_study(study_of(place, small, *large, into=tmp_path / "run"))
    table = read_native(tmp_path / "run/data").samples.table
    second = cut[len(first) :]
    assert len(first) == len(set(first)) == len(keys_of(pilot))
    assert len(second) == len(set(second)) == len(keys_of(table) - keys_of(pilot)) > 0
    assert not set(first) & set(second)
    card = json.loads((tmp_path / "run/detectors/meso4-base/card.json").read_text())
    assert len(card["history"]) == 2
    run_study(study_of(place, small, *large, into=tmp_path / "fresh"))
    assert len(cut) == len(first) + len(second)
    require_same_tables(tmp_path / "run", tmp_path / "fresh")


CHANGES = (
    ("seeds = [0]", 'seeds = [0]\ntitle = "Another"'),
    ('part = "faceswap"', 'part = "faceswap"\nname = "second"'),
    ("epochs = 1", "epochs = 3"),
    ('layout = "dfd"', 'layout = "dfd"\nsplits = "seeded"\nseed = 3'),
    ("seeds = [0]", "seeds = [5]"),
)


def test_what_is_no_crop_rule_cuts_nothing(place: Path, tmp_path: Path, cut: list[str]) -> None:
    used(study_of(place, ("images = 24", "")), tmp_path / "run")
    cut.clear()
    for change in CHANGES:
        text = TEXT.replace(*change).replace('target = ["faceswap"]', 'target = ["deepfakes"]')
        assert text.count(change[1])
        used(parse_study(text, place / "study.toml", tmp_path), tmp_path / "another")
    assert not cut


def test_a_cap_by_split_keeps_both_classes(place: Path, tmp_path: Path, cut: list[str]) -> None:
    """One image is asked for, and one video of each class is the least."""
    own = 'part = "dfd"\nimages = { train = 1, test = 4 }'
    table = used(study_of(place, ('part = "dfd"', own)), tmp_path / "run")
    sizes = table[table["dataset"] == "dfd"].groupby(["split", "label"]).size()
    assert sizes["train"].tolist() == [2, 2] and sizes["test"].tolist() == [2, 2]
    plan = plan_layouts(study_of(place, ('part = "dfd"', own)))[2].videos
    found = plan.groupby(["split", "label"])["images"].sum()
    assert found.to_dict() == sizes.to_dict()


def test_a_class_that_is_missing_is_said_before_anything_is_cut(
    place: Path, tmp_path: Path, cut: list[str]
) -> None:
    """All at once, each by its dataset and split."""
    root = tmp_path / "tree"
    official_tree(root, people=2, actors=2)
    for file in root.glob("manipulated_sequences/Deepfakes/c23/videos/002*"):
        file.unlink()
    for file in root.glob("manipulated_sequences/Deepfakes/c23/videos/003*"):
        file.unlink()
    for file in root.glob("manipulated_sequences/FaceSwap/c23/videos/00[01]*"):
        file.unlink()
    with pytest.raises(
        DatasetError,
        match=r"The data do not allow this study: deepfakes has no fake videos in val; "
        r"faceswap has no fake videos in train\. Training needs",
    ):
        used(study_of(tmp_path), tmp_path / "run")
    assert not cut and not (tmp_path / "run").exists()


def test_a_dataset_that_outweighs_the_others_is_said(
    place: Path, tmp_path: Path, cut: list[str]
) -> None:
    own = ('part = "dfd"', 'part = "dfd"\nimages = { test = 4 }')
    small = ('part = "faceswap"', 'part = "faceswap"\nimages = { test = 8 }')
    open_data(study_of(place, own, small), tmp_path)
    data = read_native(tmp_path / "data")
    counts = data.select(split="test").samples.table["dataset"].value_counts()
    assert counts.to_dict() == {"deepfakes": 24, "faceswap": 8, "dfd": 4}
    said = dominating(data, "test")
    assert said.startswith("deepfakes has 24 of 36 test images, 4.0 times the others' median")
    assert "images = { test = 6 }" in said
    assert dominating(data.select(dataset=["faceswap", "dfd"]), "test").startswith("faceswap has 8")
    assert not dominating(data, "train") and not dominating(data.select(dataset="dfd"), "test")
