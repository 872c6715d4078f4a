"""Commands about features as a user types them: tables, figures, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.separability import SeparabilityReport
from tests.separability.making import write_store
from tests.test_cli import run


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(0)
    dataset = np.repeat(["one", "two"], 48)
    label = np.arange(96) % 2
    identity = [f"{d}{i // 6}" for i, d in enumerate(dataset)]
    for name in ("a", "b"):
        values = rng.normal(size=(96, 5))
        values[:, 0] += 2 * label
        write_store(
            folder / f"{name}.zarr",
            {"fc": values},
            dataset=dataset,
            label=label,
            identity=identity,
            name=name,
        )
    return folder / "a.zarr", folder / "b.zarr"


def test_separability_prints_and_writes_everything(
    stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.csv"
    code = run("separability", *stores, "--controls", "19", "--out", out, "--figures", tmp_path)
    assert code == 0
    printed = capsys.readouterr().out
    for words in (
        "real against fake",
        "probe scored on other datasets",
        "detector head",
        "method-specific share",
        "similarity of features",
    ):
        assert words in printed
    for label in ("a", "b"):
        frame = pd.read_csv(tmp_path / f"s-{label}.csv")
        probe = frame[frame["measure"] == "probe_auroc"]
        assert (probe["value"] > 0.8).all() and (probe["low"] < probe["value"]).all()
        for name in (f"transfer-fc-{label}", f"probes-{label}", f"units-{label}"):
            assert (tmp_path / f"{name}.pdf").read_bytes()[:4] == b"%PDF"
        assert (tmp_path / f"s-{label}-units.csv").is_file()
    assert len(pd.read_csv(tmp_path / "s-similarity.csv")) == 1


def test_separability_of_one_store_keeps_the_name(
    stores: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "s.zarr"
    assert run("separability", stores[0], "-l", "fc", "--controls", "19", "--out", out) == 0
    assert SeparabilityReport.open(out).detector == "a"


def test_embed_prints_how_far_to_believe_it(
    stores: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e.parquet"
    assert run("embed", stores[0], "-m", "pca", "--out", out, "--figures", tmp_path) == 0
    assert "trustworthiness" in capsys.readouterr().out
    assert len(pd.read_parquet(out)) == 96
    assert (tmp_path / "embedding-fc-pca.png").stat().st_size > 4000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["separability", "{store}", "--out", "s.xlsx"], "Table format '.xlsx' is not known"),
        (["separability", "{store}", "-l", "fx"], "Layer 'fx' is not known"),
        (["separability", "{store}", "--memory", "1M"], "Give at least"),
        (["separability", "nowhere.zarr"], "There is no activation store at 'nowhere.zarr'"),
        (["separability", "{store}", "{store}"], "two or more of different labels"),
        (["embed", "{store}", "-m", "tsn"], "Did you mean 'tsne'"),
        (["embed", "{store}", "--max-samples", "3"], "max_samples=3 was given"),
        (["artifacts", "lab:facesawp"], "Did you mean 'faceswap'"),
        (["artifacts", "lab", "--out", "a.doc"], "Table format '.doc' is not known"),
        (["responses", "{store}", "-l", "fc"], "Give --measurements or --datasets"),
        (["responses", "{store}", "-l", "fc", "-m", "no.zarr"], "no.zarr"),
    ],
)
def test_refusals_are_worded_and_exit_with_2(
    stores: tuple[Path, Path],
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*(a.format(store=stores[0]) for a in arguments)) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
