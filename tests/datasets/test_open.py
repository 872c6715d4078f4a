from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from probe.datasets import (
    Dataset,
    Samples,
    concatenate,
    open_dataset,
    open_datasets,
    part_of,
    write_native,
)
from probe.errors import DatasetError, UnknownNameError


def test_a_folder_by_path_and_by_text(noise: Dataset) -> None:
    assert open_dataset(noise.root).samples.table.equals(noise.samples.table)
    assert len(open_dataset(str(noise.root), split="val")) == len(noise) // 3


def test_a_part_that_has_its_own_reals(noise: Dataset) -> None:
    """Without shared originals in the card, a part is the rows of that name."""
    part = open_dataset(f"{noise.root}:two", split="test")
    assert part.name == "noise:two" and set(part.samples.table["dataset"]) == {"two"}
    assert len(part) == len(noise) // 6 and set(part.labels) == {0, 1}


def shared(root: Path) -> Dataset:
    """Two reals that two methods share, one fake each, over two splits."""
    rows = []
    for split in ("train", "test"):
        for dataset, label in (("youtube", 0), ("a", 1), ("b", 1)):
            sample = f"{dataset}/{split}"
            rows.append(
                {
                    "sample": sample,
                    "dataset": dataset,
                    "split": split,
                    "label": label,
                    "method": dataset if label else "real",
                    "video": split,
                    "identity": split,
                    "source": "",
                    "frame": 0,
                    "path": f"{sample}.png",
                    "mask": "",
                }
            )
    return Dataset(
        "both", Samples(pd.DataFrame(rows)), root, {"reals": {"a": "youtube", "b": "youtube"}}
    )


def test_shared_originals_belong_to_every_part(tmp_path: Path) -> None:
    data = shared(tmp_path)
    part = part_of(data, "a")
    table = part.samples.table
    assert list(table["sample"]) == ["a/youtube/train", "a/youtube/test", "a/train", "a/test"]
    assert list(table["path"]) == [
        "youtube/train.png",
        "youtube/test.png",
        "a/train.png",
        "a/test.png",
    ]
    # A real and the fake made of it are one cluster: they show the same person.
    assert part.samples.clusters[0] == part.samples.clusters[2] != part.samples.clusters[1]
    assert len(data) == 6


def test_originals_alone(tmp_path: Path) -> None:
    assert set(part_of(shared(tmp_path), "youtube").labels) == {0}


def test_splits_hold_for_parts(tmp_path: Path) -> None:
    write_native(shared(tmp_path))
    found = open_dataset(f"{tmp_path}:b", split="test")
    assert list(found.samples.table["sample"]) == ["b/youtube/test", "b/test"]
    with pytest.raises(DatasetError, match="has no sample with split='val'"):
        open_dataset(f"{tmp_path}:b", split="val")


@pytest.mark.parametrize("split", ["tset", "", "TEST"])
def test_splits_are_checked_first(split: str) -> None:
    with pytest.raises(DatasetError, match=rf"Split {split!r} was given; allowed are train, val"):
        open_dataset("lab", split=split)


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Dataset 'labb' is not known. Did you mean 'lab'"):
        open_dataset("labb")
    with pytest.raises(DatasetError, match=r"folder '.*/nowhere' is missing.*probe ingest"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"is not a dataset: samples.parquet is missing"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"nowhere:deepfakes' is missing"):
        open_dataset(f"{tmp_path}/nowhere:deepfakes")


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    with pytest.raises(DatasetError, match=r"x.csv' is missing"):
        open_dataset(tmp_path / "x.csv")


def test_an_unknown_part(noise: Dataset) -> None:
    with pytest.raises(UnknownNameError, match=r"Dataset 'tow' is not known in noise. .*'two'"):
        open_dataset(f"{noise.root}:tow")


def test_arguments_of_the_lab_are_for_the_lab(noise: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"size, seed was given .* for the lab and for"):
        open_dataset(noise.root, size=64, seed=1)


def test_lab_names_go_to_the_lab(noise: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []
    stand_in = ModuleType("probe.datasets.lab")

    def open_lab(name: str, **options: object) -> Dataset:
        seen.append((name, options))
        return noise

    stand_in.open_lab = open_lab  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "probe.datasets.lab", stand_in)
    assert open_dataset("lab:faceswap", split="test", root="/somewhere", size=64) is noise
    assert open_dataset("lab") is noise
    assert seen == [
        ("lab:faceswap", {"split": "test", "root": Path("/somewhere"), "size": 64, "seed": 0}),
        ("lab", {"split": None, "root": None, "size": 128, "seed": 0}),
    ]


def test_joined_datasets_keep_their_own_cards(noise: Dataset) -> None:
    """Also where one of them was joined before; what has no card of its own has the whole."""
    one, two = noise.by_dataset().values()
    assert one.card == noise.card
    cut, lying = {"crop": {"margin": 1.3}}, {"crop": {"rule": "as they lie"}}
    pair = concatenate([replace(one, card=cut), replace(two, card=lying)], "pair")
    row = noise.samples.table.iloc[:1].assign(dataset="third", sample="third-0")
    third = Dataset("third", Samples(row), noise.root, {"crop": "none"})
    joined = concatenate([pair, third], "all")
    found = {name: part.card for name, part in joined.by_dataset().items()}
    assert found == {"one": cut, "two": lying, "third": {"crop": "none"}}


def twin(root: Path) -> Dataset:
    data = replace(shared(root), root=root)
    table = data.samples.table.assign(original=["", "youtube/x", "youtube/x"] * 2)
    data = replace(data, samples=Samples(table))
    write_native(data)
    return data


@pytest.mark.parametrize("how", ["keyword", "text"])
def test_a_dataset_gets_another_name(tmp_path: Path, how: str) -> None:
    place = twin(tmp_path / "c23").root
    data = open_dataset(place, name="raw") if how == "keyword" else open_dataset(f"raw={place}")
    table = data.samples.table
    assert data.name == "raw" and set(table["dataset"]) == {"raw-youtube", "raw-a", "raw-b"}
    assert table["sample"].str.startswith("raw/").all()
    assert set(table["original"]) == {"", "raw-youtube/x"}
    assert data.card["reals"] == {"raw-a": "raw-youtube", "raw-b": "raw-youtube"}
    one = open_dataset(f"new={place}:a", split="test")
    assert set(one.samples.table["dataset"]) == {"new"} and len(one) == 2


def test_names_have_to_fit_into_file_names(tmp_path: Path) -> None:
    twin(tmp_path / "c23")
    with pytest.raises(DatasetError, match=r"The name 'a/b' was given to a dataset; allowed are"):
        open_dataset(tmp_path / "c23", name="a/b")


def test_a_folder_with_a_sign_in_its_name_is_a_path(tmp_path: Path) -> None:
    place = twin(tmp_path / "a=b").root
    assert open_dataset(str(place)).name == "both"


def test_two_sets_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = twin(tmp_path / "one").root, twin(tmp_path / "two").root
    first, second = open_datasets([one, two])
    assert (first.name, second.name) == ("one", "two")
    assert len(concatenate([first, second], "both")) == 12
    assert "here they are called one, two. NAME=FOLDER" in " ".join(capsys.readouterr().err.split())
    named = open_datasets([f"x={one}", two])
    assert [data.name for data in named] == ["x", "both"]
    # Folders of one name are told apart by the folders that hold them.
    other = twin(tmp_path / "else/one").root
    assert [data.name for data in open_datasets([one, other])][1] == "else-one"
    # The same set twice is not two sets.
    with pytest.raises(DatasetError, match="NAME=FOLDER"):
        concatenate(open_datasets([one, one]), "both")
