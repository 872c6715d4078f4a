from __future__ import annotations

import json
from pathlib import Path

import pytest

from probe.attribution.maps import AttributionMap
from probe.cli import main
from tests.conftest import make_images
from tests.figures.making import maps_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of images of 40 pixels and two files of maps of its first test samples."""
    root = tmp_path_factory.mktemp("figures")
    data = make_images(root / "noise", datasets=("one",), identities=2, frames=1, size=40)
    names = list(data.samples.table["sample"])[:4]
    for name, one in {"a": maps_of(4), "b": maps_of(4, detector="xception", height=2)}.items():
        AttributionMap(one.data.assign_coords(sample=names)).save(root / f"{name}.zarr")
    return root


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([*map(str, words)])
    return int(left.value.code or 0)


def test_it_writes_everything_a_paper_needs(place: Path, tmp_path: Path, capfd) -> None:
    words = ["figures", place / "a.zarr", place / "b.zarr", "--out", tmp_path / "fig"]
    words += ["--data", place / "noise", "--kind", "overlay", "--rows", "2", "--dpi", "60"]
    assert run(*words) == 0
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "fig.json",
        "fig.pdf",
        "fig.png",
        "fig.tex",
    ]
    known = json.loads((tmp_path / "fig.json").read_text())
    # Options stand in the order of the help, whatever order they were given in.
    assert sorted(known["command"].split()) == sorted(["probe", *map(str, words)])
    assert len(known["samples"]) == 2 and set(known["maps"]) == {"meso4", "xception"}
    snippet = (tmp_path / "fig.tex").read_text()
    assert r"\includegraphics[width=\columnwidth]{fig.pdf}" in snippet and "2 images" in snippet
    assert "fig.pdf" in capfd.readouterr().out.replace("\n", "")
    before = (tmp_path / "fig.pdf").read_bytes()
    (tmp_path / "fig.tex").write_text("mine")
    assert run(*words) == 0
    assert (tmp_path / "fig.pdf").read_bytes() == before
    assert (tmp_path / "fig.tex").read_text() == "mine"
    assert "is kept unchanged" in capfd.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("kind", ["map", "mean", "difference", "single"])
def test_every_kind_is_drawn(kind: str, place: Path, tmp_path: Path) -> None:
    words = ["figures", place / "a.zarr", place / "b.zarr", "--kind", kind, "--dpi", "50"]
    assert run(*words, "--out", tmp_path / "f.svg", "--style", "slides") == 0
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [".json", ".svg", ".tex"]
    assert run(*words, "--out", tmp_path / "g", "--format", "png", "--data", place / "noise") == 0


def test_bad_input_is_answered(place: Path, tmp_path: Path, capfd) -> None:
    def said(*words: str | Path) -> str:
        assert run("figures", place / "a.zarr", "--out", tmp_path / "f", *words) == 2
        return " ".join(capfd.readouterr().err.split())

    assert "mean 'nature'" in said("--style", "natur")
    assert "Scale 'all' is not known" in said("--scale", "all")
    assert "format '.jpg' is not known" in said("--format", "jpg")
    assert "--data" in said("--kind", "overlay")
    assert "exactly two" in said("--kind", "difference")
    assert "Sample 'x' is not known in the maps" in said("--sample", "x")
    assert "made of noise" in said("--data", make_other(tmp_path))
    assert "no table" in said(tmp_path / "none.zarr")
    assert list(tmp_path.glob("f*")) == []


def make_other(folder: Path) -> Path:
    make_images(folder / "other", datasets=("three",), identities=1, frames=1, size=16)
    return folder / "other"
