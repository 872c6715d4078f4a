from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

from probe.datasets.dataset import Dataset
from probe.detectors import Detector, load_detector
from probe.errors import DatasetError, ImageError, ProbeError, UnknownNameError
from probe.evaluation.matrix import ZeroShotMatrix, evaluate, predict, suspect_polarity


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector("meso4", input_size=32, seed=1)


@pytest.fixture(scope="module")
def matrix(noise: Dataset, detector: Detector) -> ZeroShotMatrix:
    return evaluate(detector, noise.select(split="test"), n_resamples=50)


def test_values_are_those_of_a_plain_loop(
    noise: Dataset, detector: Detector, matrix: ZeroShotMatrix
) -> None:
    part = noise.select(split="test", dataset="two")
    logits = np.concatenate([detector.logits(part.array([i], 32)) for i in range(len(part))])
    point = matrix.data.sel(detector="meso4", dataset="two")
    frame = point.sel(level="frame")
    assert float(frame["value"].sel(metric="auroc")) == pytest.approx(
        roc_auc_score(part.labels, logits)
    )
    table = part.samples.table.assign(p=1 / (1 + np.exp(-logits.astype(float))))
    by_video = table.groupby("video")[["p", "label"]].mean()
    video = point.sel(level="video")
    assert float(video["value"].sel(metric="auroc")) == pytest.approx(
        roc_auc_score(by_video["label"], by_video["p"])
    )
    assert float(video["value"].sel(metric="accuracy")) == pytest.approx(
        ((by_video["p"] >= 0.5) == by_video["label"]).mean()
    )
    assert int(frame["n_samples"]) == 24 and int(video["n_samples"]) == 12
    assert int(frame["n_clusters"]) == 6


def test_a_matrix_survives_the_disk(matrix: ZeroShotMatrix, tmp_path: Path) -> None:
    matrix.save(tmp_path / "m.zarr")
    again = ZeroShotMatrix.open(tmp_path / "m.zarr")
    for name in matrix.data.data_vars:
        np.testing.assert_array_equal(again.data[name], matrix.data[name])
    pd.testing.assert_frame_equal(again.scores, matrix.scores, check_dtype=False)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".tex", ".md"])
def test_exports(matrix: ZeroShotMatrix, tmp_path: Path, suffix: str) -> None:
    path = matrix.export(tmp_path / f"m{suffix}")
    if suffix == ".csv":
        found = pd.read_csv(path)
        assert list(found.columns[:4]) == ["detector", "dataset", "level", "metric"]
        assert len(found) == 1 * 2 * 2 * 4
    elif suffix == ".tex":
        assert "\\toprule" in path.read_text()
    elif suffix == ".md":
        head, rule, *rows = path.read_text(encoding="utf-8").splitlines()
        assert head.startswith("| detector | dataset |") and set(rule) <= set("| -:")
        assert len(rows) == 16
    else:
        assert len(pd.read_parquet(path)) == 16
    with pytest.raises(UnknownNameError, match="Table format '.xlsx' is not known"):
        matrix.export(tmp_path / "m.xlsx")


def test_one_class_has_accuracy_but_no_auroc(noise: Dataset, detector: Detector) -> None:
    found = evaluate(detector, noise.select(split="test", label=1), n_resamples=20)
    values = found.data["value"].isel(dataset=0).sel(level="frame", detector="meso4")
    assert np.isnan(values.sel(metric="auroc")) and np.isfinite(values.sel(metric="accuracy"))


def test_names_have_to_differ(noise: Dataset, detector: Detector) -> None:
    with pytest.raises(ProbeError, match="Detectors meso4 were given more than once"):
        evaluate([detector, detector], noise)
    with pytest.raises(DatasetError, match="Dataset 'one' was given twice"):
        evaluate(detector, [noise, noise])


def test_an_unreadable_image_is_named(noise: Dataset, detector: Detector, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    table = noise.samples.table.copy()
    table["path"] = [str(noise.root / path) for path in table["path"]]
    table.loc[3, "path"] = str(broken)
    from probe.datasets.dataset import Samples

    with pytest.raises(ImageError, match=r"broken.png' cannot be decoded .* No other image is"):
        predict(detector, Dataset("x", Samples(table), Path("/")))


@pytest.mark.parametrize(
    ("value", "high", "trained", "said"),
    [
        (0.31, 0.66, False, ""),
        (0.31, 0.49, False, "polarity of the detector's weights"),
        (0.31, 0.49, True, "worse than chance"),
        (0.36, 0.40, False, ""),
        (0.20, np.nan, False, "polarity of the detector's weights"),
    ],
)
def test_a_polarity_is_suspected_beyond_noise_and_of_weights_that_were_brought(
    value: float, high: float, trained: bool, said: str
) -> None:
    dims = ("detector", "dataset", "level", "metric")
    notes = {"trained_on": [{"name": "x"}]} if trained else {}
    data = xr.Dataset(
        {
            name: (dims, np.full((1, 1, 1, 1), one))
            for name, one in (("value", value), ("low", 0.1), ("high", high))
        },
        {"detector": ["meso4/a"], "dataset": ["d"], "level": ["frame"], "metric": ["auroc"]},
        {"specs": {"meso4/a": {"notes": notes}}},
    )
    found = suspect_polarity(ZeroShotMatrix(data, pd.DataFrame()))
    assert len(found) == bool(said) and all(said in one for one in found)
