"""Real video and published weights: each detector catches its own family and misses the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.datasets import IngestReport, ingest, open_dataset
from probe.datasets.subset import original_positions
from probe.detectors import load_detector
from probe.evaluation.matrix import evaluate
from probe.stats import sigmoid
from tests.test_cli import run

pytestmark = pytest.mark.real

#: Weights, their architecture, and the video of the family that they were trained on.
DETECTORS = {
    "Meso4_DF": ("meso4", "deepfakes/519_515"),
    "Meso4_F2F": ("meso4", "face2face/750_743"),
    "MesoInception_DF": ("mesoinception4", "deepfakes/519_515"),
    "MesoInception_F2F": ("mesoinception4", "face2face/750_743"),
}
MISSED = ["faceswap/634_660", "neuraltextures/004_982"]


@pytest.fixture(scope="module")
def ingested(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> IngestReport:
    out = tmp_path_factory.mktemp("real") / "ffpp-mini"
    return ingest("faceforensics", real_data / "ffpp-mini", out, frames=16, margin=1.3)


@pytest.fixture(scope="module")
def table(ingested: IngestReport, real_data: Path) -> pd.DataFrame:
    """Mean P(fake), a row a video, a column a detector."""
    detectors = [
        load_detector(name, weights=real_data / "mesonet" / f"{weights}.h5")
        for weights, (name, _) in DETECTORS.items()
    ]
    scores = evaluate(detectors, open_dataset(ingested.out), n_resamples=10).scores
    scores = scores.assign(
        video=scores["sample"].str.rsplit("/", n=1).str[0],
        weights=scores["detector"].str.split("/").str[1],
        p_fake=sigmoid(scores["logit"].to_numpy()),
    )
    means = scores.pivot_table("p_fake", "video", "weights")[list(DETECTORS)]
    print("\nmean P(fake)\n" + means.round(2).to_string())
    return means


def test_every_frame_has_its_face(ingested: IngestReport) -> None:
    assert len(ingested.videos) == 7 and all(video.clean for video in ingested.videos)
    assert ingested.written == 7 * 16 and not ingested.left_out
    data = open_dataset(ingested.out)
    assert set(data.samples.table["split"]) == {"test"}
    assert data.samples.table["face_score"].min() > 0.8
    assert data.card["crop"]["margin"] == 1.3 and not data.card["simulated"]


def test_faces_fill_the_crops(ingested: IngestReport) -> None:
    """The same rule for all: the longer side of the box is 1 / 1.3 of the crop."""
    rows = open_dataset(ingested.out).samples.table
    longer = np.maximum(rows["box_w"], rows["box_h"])
    np.testing.assert_allclose(rows["crop_side"], 1.3 * longer, atol=0.51)


@pytest.mark.parametrize("weights", DETECTORS)
def test_a_detector_catches_its_own_family(table: pd.DataFrame, weights: str) -> None:
    own = DETECTORS[weights][1]
    assert table[weights].idxmax() == own and table.loc[own, weights] > 0.75


@pytest.mark.parametrize("weights", DETECTORS)
def test_a_detector_misses_the_families_it_has_not_seen(table: pd.DataFrame, weights: str) -> None:
    assert (table.loc[MISSED, weights] < 0.4).all()


def test_a_method_with_its_originals_can_be_evaluated(
    ingested: IngestReport, real_data: Path
) -> None:
    """Three originals and one fake: a number, without an interval, for it rests on 3 people."""
    detector = load_detector("meso4", weights=real_data / "mesonet" / "Meso4_DF.h5")
    data = open_dataset(f"{ingested.out}:deepfakes", split="test")
    found = evaluate(detector, data, n_resamples=10).data.sel(
        detector="meso4/Meso4_DF", dataset="deepfakes", level="frame"
    )
    assert float(found["value"].sel(metric="auroc")) > 0.9
    assert int(found["n_clusters"]) == 3 and np.isnan(float(found["low"].sel(metric="auroc")))


def test_separability_and_artifacts_refuse_intervals_on_seven_videos(
    ingested: IngestReport, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One fake video a method and three originals: values where there are any, and the reason."""
    weights = f"meso4={real_data / 'mesonet' / 'Meso4_DF.h5'}"
    store, crops = tmp_path / "meso4.zarr", ingested.out
    assert run("record", crops, "-d", weights, "-l", "leaky", "--out", store) == 0
    assert run("separability", store, "--out", tmp_path / "s.csv") == 0
    printed = capsys.readouterr().out
    frame = pd.read_csv(tmp_path / "s.csv")
    assert set(frame["dataset"]) == {"deepfakes", "face2face", "faceswap", "neuraltextures"}
    assert frame[["low", "high", "p", "q"]].isna().all(axis=None)
    assert frame["reason"].str.contains("with fewer than 5 no interval and no p-value").all()
    assert printed.count("with fewer than 5 no interval") == 4
    own = pd.read_csv(tmp_path / "s-transfer.csv").set_index("scored")["own"]
    assert own["deepfakes"].iloc[0] > 0.9 > 0.4 > own["faceswap"].iloc[0]
    assert run("artifacts", crops, "--out", tmp_path / "a.csv") == 0
    printed = capsys.readouterr().out
    effects = pd.read_csv(tmp_path / "a.csv")
    assert np.isfinite(effects["effect"]).any() and effects[["low", "high"]].isna().all(axis=None)
    assert printed.count("No interval:") == 4 and "central ellipse; no masks" in printed


def test_maps_of_real_fakes_are_drawn_beside_their_originals(
    ingested: IngestReport, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Originals, fakes and four methods in PDF and PNG; no interval and no claim on four videos."""
    data = open_dataset(ingested.out)
    fakes = data.select(label=1)
    places = original_positions(fakes, data)
    table = data.samples.table
    for row, place in zip(fakes.samples.table.itertuples(index=False), places, strict=True):
        # The original of 750 is not among the seven videos.
        assert (place < 0) == (row.identity == "750" or "750" in row.video)
        if place >= 0:
            assert table["label"].iloc[place] == 0 and table["identity"].iloc[place] == row.identity
    code = run(
        "attribute",
        ingested.out,
        "-d",
        f"meso4={real_data / 'mesonet' / 'Meso4_DF.h5'}",
        "-m",
        "gradcam,integrated_gradients,smoothgrad,occlusion",
        "--label",
        "fake",
        "--max-samples",
        "1",
        "--figure",
        tmp_path / "maps",
        "--out",
        tmp_path / "out",
        "--checks",
        "mask_auroc,completeness",
        "--table",
        tmp_path / "trust.csv",
        "-O",
        "steps=20",
        "-O",
        "window=0.25",
        "-O",
        "samples=8",
    )
    printed = capsys.readouterr().out
    assert code == 0 and (tmp_path / "maps.png").stat().st_size > 50_000
    assert (tmp_path / "maps.pdf").read_bytes()[:4] == b"%PDF"
    frame = pd.read_csv(tmp_path / "trust.csv")
    assert frame["low"].isna().all()
    assert "5 are needed" in " ".join(frame["reason"].dropna())
    assert "no fake image has a mask" in printed and "5 are needed" in printed
