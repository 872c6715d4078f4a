"""What a command cannot do is refused at once: no image is read, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.datasets import Samples
from probe.datasets.dataset import write_native
from probe.detectors import load_detector, save_detector
from probe.recording import record
from tests.conftest import make_images
from tests.test_cli import run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with detectors, stores, and data whose images are gone: to read one is an error."""
    folder = tmp_path_factory.mktemp("refused")
    data = make_images(folder / "data", size=32)
    detector = load_detector("meso4", input_size=32)
    save_detector(detector, folder / "meso4", {})
    save_detector(load_detector("mesoinception4", input_size=32), folder / "other", {})
    test = data.select(split="test")
    record(detector, test, folder / "store.zarr", layers=["leaky"])
    record(detector, test, folder / "second.zarr", layers=["pool4", "leaky"])
    shutil.rmtree(folder / "data/images")
    (folder / "file").write_text("x")
    return folder


#: Commands by what they refuse. DATA has no images; FILE is a file, so that nothing lies below it.
REFUSED: list[tuple[str, str]] = [
    ("evaluate DATA -d meso4 --out x.xlsx", "Table format '.xlsx' is not known"),
    ("evaluate DATA -d meso4 --out x", "Table format 'x' is not known"),
    ("evaluate DATA -d meso4 --out FILE/x.csv", "file' is not a folder"),
    ("audit DATA --json FILE/x.json", "file' is not a folder"),
    ("audit DATA --json .", "is a folder; give the name of a file"),
    ("record DATA -d meso4 -l leaky --out FILE/x.zarr", "file' is not a folder"),
    ("record DATA -d meso4 -l leeky --out s.zarr", "Layer 'leeky' is not known"),
    ("train meso4 DATA FILE/x --epochs 1", "file' is not a folder"),
    ("train meso4 DATA x --variant deep", "Give both: the folder of the base"),
    ("train meso5 DATA x", "'meso5' is not known"),
    ("train meso4 DATA x --epochs 0", "0 is not in the range x>=1"),
    ("neurons DATA -d meso4 --top 5", "5.0 is not in the range 0<x<1"),
    ("neurons DATA -d meso4 --alpha 1", "1.0 is not in the range 0<x<1"),
    ("neurons DATA -d meso4 --measure acee", "Measure 'acee' is not known"),
    ("neurons DATA -d meso4 -l leeky", "Layer 'leeky' is not known"),
    ("neurons DATA -d meso4 --out x.zarr", "Table format '.zarr' is not known"),
    ("neurons DATA -d meso4 --seed -1", "-1 is not in the range x>=0"),
    ("ablate DATA -d meso4 -u 99", "units 0 to 15"),
    ("ablate DATA -d meso4 -u 1 -l leeky", "Layer 'leeky' is not known"),
    ("ablate DATA -d meso4 -u 1 --random 0", "0 is not in the range x>=1"),
    ("ablate DATA -d meso4 -u 1 --out x.pdf", "Table format '.pdf' is not known"),
    ("heads DATA -d meso4 --held-out three", "'three' is not known"),
    ("calibrate DATA --figure x.gif", "Figure format '.gif' is not known"),
    ("calibrate DATA --out x.zip", "Table format '.zip' is not known"),
    ("attribute DATA -d meso4 --figure maps --style aps", "Figure style 'aps' is not known"),
    ("attribute DATA -d meso4 --checks pointing,nothing", "'nothing' is not known"),
    ("attribute DATA -d meso4 -d other -l conv2", "Layer 'conv2' is not known in mesoinception4"),
    ("attribute DATA -d meso4 --target leeky:3", "Layer 'leeky' is not known"),
    ("attribute DATA -d meso4 --memory apples", "give a size such as"),
    ("attribute DATA -d meso4 --compare", "--compare compares detectors"),
    ("attribute DATA -d meso4 --table x.xlsx", "Table format '.xlsx' is not known"),
    ("attribute DATA -d meso4 --figure FILE/x", "file' is not a folder"),
    ("attribute DATA -d meso4 --out FILE/maps", "file' is not a folder"),
    ("responses store.zarr -l conv9 --datasets DATA", "Layer 'conv9' is not known"),
    ("responses store.zarr -l leaky --datasets DATA -u 99", "has units 0 to 15"),
    ("responses store.zarr -l leaky --datasets DATA --covariate color", "'color' is not known"),
    ("responses store.zarr -l leaky --datasets DATA --figure x.gif", "Figure format '.gif'"),
    ("responses store.zarr -l leaky -d meso4 --videos 99", "the split has 25 per dataset"),
    ("separability store.zarr second.zarr -l pool4", "Layer 'pool4' is not known"),
    ("separability store.zarr --figures FILE/x", "file' is not a folder"),
    ("embed second.zarr -l leaky -l conv9", "Layer 'conv9' is not known"),
    ("embed second.zarr -m pca -m tsnee", "'tsnee' is not known"),
    ("artifacts DATA --caliper 0", "0.0 is not in the range x>0"),
    ("artifacts DATA --figures FILE/x", "file' is not a folder"),
    ("artifacts DATA --out x", "Table format 'x' is not known"),
    ("lab make FILE/x", "file' is not a folder"),
    ("ingest folder DATA FILE/x", "file' is not a folder"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[words for words, _ in REFUSED])
def test_it_is_refused_before_any_work(
    words: str,
    said: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PROBE_DEVICE", "cpu")
    before = sorted(place.rglob("*"))
    command = words.replace("DATA", "data").replace("FILE", "file").split()
    assert run(*command) == 2
    printed = capsys.readouterr()
    text = " ".join(printed.err.split())
    assert said in text, text
    assert text.count("Error:") == 1 and not printed.out
    assert sorted(place.rglob("*")) == before


def test_work_would_have_been_noticed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands above, had they begun, would have failed by the images that are gone."""
    monkeypatch.chdir(place)
    for words in ("evaluate data -d meso4 --no-audit", "ablate data -d meso4 -u 1"):
        assert run(*words.split()) == 2
        assert "is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda t: t["dataset"] == "one", "universality: it needs at least two datasets"),
        (lambda t: t["identity"] == "test-0", "fewer than two datasets can be split by identity"),
        (
            lambda t: (t["dataset"] == "one") | (t["label"] == 1),
            "dataset 'two' holds no real image",
        ),
        (
            lambda t: (t["label"] == 0) | (t["video"] == "test-0-1"),
            "one half of its identities (else videos) would hold no fake",
        ),
    ],
    ids=["one dataset", "one person", "one class", "one fake video"],
)
def test_neurons_says_what_it_cannot_measure_and_measures_the_rest(
    kept: Callable[[pd.DataFrame], pd.Series],
    said: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = make_images(tmp_path / "data", size=32).select(split="test")
    table = data.samples.table
    write_native(replace(data, samples=Samples(table[kept(table)])))
    out = tmp_path / "n.csv"
    assert run("neurons", tmp_path / "data", "-d", place / "meso4", "--out", out) == 0
    printed = capsys.readouterr()
    text = " ".join(printed.err.split())
    assert said in text
    assert text.index("Left out") < text.index("sweep meso4")
    frame = pd.read_csv(out)
    assert np.isfinite(frame["effect"]).all()
    assert (tmp_path / "n-universality.csv").exists() == (frame["dataset"].nunique() > 1)
