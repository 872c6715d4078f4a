"""Measuring datasets: regions, covariates, errors, workers, tables on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from probe.artifacts import (
    MEASUREMENTS,
    ArtifactMeasurements,
    ArtifactReport,
    Picture,
    artifact_report,
    measure_artifacts,
    measure_picture,
)
from probe.artifacts.measurements import ELLIPSE, MASKS
from probe.datasets import Dataset, Samples
from probe.errors import DatasetError, ImageError, StoreError, UnknownNameError
from tests.artifacts.making import colored_noise, disc


def written(
    root: Path, *, sizes: tuple[int, ...] = (64,), paired: bool = True, suffix: str = "png"
) -> Dataset:
    """Write three pairs of noise, the fakes with a mask of a disc."""
    rows = []
    for i in range(3):
        side = sizes[i % len(sizes)]
        for label in (0, 1):
            name = f"{i}-{label}"
            gray = colored_noise(1.5, (side, side), 10 * i + label).astype(np.uint8)
            root.mkdir(exist_ok=True)
            options = {"quality": 70 + 5 * i} if suffix == "jpg" else {}
            Image.fromarray(gray).convert("RGB").save(root / f"{name}.{suffix}", **options)
            Image.fromarray(disc(side, side / 5).astype(np.uint8) * 255).save(root / f"m{i}.png")
            rows.append(
                {
                    "sample": name,
                    "dataset": "d",
                    "split": "test",
                    "label": label,
                    "method": "m" if label else "real",
                    "video": name,
                    "identity": f"p{i}",
                    "source": "",
                    "frame": 0,
                    "path": f"{name}.{suffix}",
                    "mask": f"m{i}.png" if label else "",
                    **({"pair": f"{i}-{1 - label}"} if paired else {}),
                }
            )
    return Dataset("d", Samples(pd.DataFrame(rows)), root, {})


def quiet(data: Dataset, **options: int) -> xr.Dataset:
    return measure_artifacts(data, progress=False, **options).data


def test_values_are_those_of_each_picture_with_the_mask_of_its_pair(tmp_path: Path) -> None:
    data = written(tmp_path)
    found = quiet(data)
    assert set(found["region"].values) == {MASKS}
    for i, name in enumerate(found["sample"].values):
        mask = np.asarray(Image.open(tmp_path / f"m{name[0]}.png")) > 127
        expected = measure_picture(Picture(data.image(i), mask))
        assert np.array_equal(found["value"][i], list(expected.values()), equal_nan=True)
    assert list(found["measurement"].values) == list(MEASUREMENTS)


@pytest.mark.parametrize(
    "broken", ["no pairs", "a fake without a mask", "a pair that is not there"]
)
def test_one_rule_for_all_images_of_a_dataset(tmp_path: Path, broken: str) -> None:
    data = written(tmp_path, paired=broken != "no pairs")
    table = data.samples.table.copy()
    if broken == "a fake without a mask":
        table.loc[1, "mask"] = ""
    if broken == "a pair that is not there":
        table = table[table["sample"] != "2-1"]
    found = quiet(replace(data, samples=Samples(table)))
    assert set(found["region"].values) == {ELLIPSE}
    other = quiet(replace(data, samples=Samples(table.assign(mask="", pair=""))))
    assert found["value"].equals(other["value"])


def test_masks_of_real_images_are_used_where_the_table_has_them(tmp_path: Path) -> None:
    data = written(tmp_path)
    table = data.samples.table.drop(columns="pair")
    table["mask"] = [f"m{name[0]}.png" for name in table["sample"]]
    found = quiet(replace(data, samples=Samples(table)))
    assert set(found["region"].values) == {MASKS}
    assert found["value"].equals(quiet(data)["value"])


def test_images_of_different_sizes_share_their_frequencies(tmp_path: Path) -> None:
    found = quiet(written(tmp_path, sizes=(64, 96, 128)))
    assert np.isfinite(found["power"]).all() and found.sizes["frequency"] == 64
    assert found["control"].sel(covariate="width").values.tolist() == [64, 64, 96, 96, 128, 128]


def test_a_mask_of_another_size_is_resized(tmp_path: Path) -> None:
    data = written(tmp_path)
    before = quiet(data)["value"]
    for i in range(3):
        mask = Image.open(tmp_path / f"m{i}.png")
        mask.resize((128, 128), Image.Resampling.NEAREST).save(tmp_path / f"m{i}.png")
    assert quiet(data)["value"].equals(before)


def test_quality_is_by_tables_where_all_files_are_jpeg(tmp_path: Path) -> None:
    found = quiet(written(tmp_path / "jpg", suffix="jpg"))
    assert found["control"].sel(covariate="quality").values.tolist() == [70, 70, 75, 75, 80, 80]
    assert found["value"].sel(measurement="jpeg_quality").values[2] == 75
    mixed = written(tmp_path / "png")
    table = mixed.samples.table.copy()
    image = mixed.image(0)
    Image.fromarray(image).save(tmp_path / "png" / "0.jpg", quality=60)
    table.loc[0, "path"] = "0.jpg"
    quality = quiet(replace(mixed, samples=Samples(table)))["control"].sel(covariate="quality")
    # One rule a dataset: estimated outside the region for all, where tables are not in all.
    assert float(quality[0]) == pytest.approx(60, abs=1) and set(quality.values[1:]) == {100.0}


def test_covariates_come_from_the_table_too(tmp_path: Path) -> None:
    data = written(tmp_path)
    table = data.samples.table.assign(
        source_codec=["h264", "vp9"] * 3, crop_side=[10, 20, 30, 40, 50, 60]
    )
    control = quiet(replace(data, samples=Samples(table)))["control"]
    assert control.sel(covariate="source_codec").values.tolist() == [0, 1] * 3
    assert control.sel(covariate="crop_side").values.tolist() == [10, 20, 30, 40, 50, 60]
    assert np.isnan(control.sel(covariate="source_fps")).all()


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    data = written(tmp_path)
    (tmp_path / "1-1.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1-1\.png"):
        quiet(data)
    (tmp_path / "1-1.png").unlink()
    with pytest.raises(ImageError, match=r"1-1\.png.*missing"):
        quiet(data)


def test_a_mask_that_is_missing_is_named(tmp_path: Path) -> None:
    data = written(tmp_path)
    (tmp_path / "m2.png").unlink()
    with pytest.raises(ImageError, match=r"m2\.png"):
        quiet(data)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    data = written(tmp_path)
    with pytest.raises(DatasetError, match="No dataset"):
        measure_artifacts([])
    with pytest.raises(DatasetError, match="n_workers=0"):
        measure_artifacts(data, n_workers=0)
    with pytest.raises(DatasetError, match="given twice"):
        measure_artifacts([data, data])


def test_workers_measure_the_same(tmp_path: Path) -> None:
    data = written(tmp_path, sizes=(48,))
    many = pd.concat([data.samples.table.assign(dataset=f"d{i}") for i in range(4)])
    many["sample"] = [f"{i}-{name}" for i, name in enumerate(many["sample"])]
    many = many.assign(pair="", mask="")
    data = replace(data, samples=Samples(many))
    assert quiet(data, n_workers=2).identical(quiet(data))


def test_an_image_whose_region_is_too_small_leaves_region_measurements_out(tmp_path: Path) -> None:
    data = written(tmp_path)
    Image.new("L", (64, 64)).save(tmp_path / "m0.png")
    found = measure_artifacts(data, progress=False)
    needs = found.data["measurement_needs"].values == "region"
    values = found.data["value"].values
    assert np.isnan(values[:2, needs]).all() and np.isfinite(values[:, ~needs]).all()
    report = artifact_report(found, n_permutations=99, n_resamples=20, progress=False).data
    assert np.isfinite(report["effect"].sel(control="none")).all()
    assert "2 images lack" in str(report["reason"].values[0])


def test_tables_are_what_they_were_after_a_round_trip(tmp_path: Path) -> None:
    found = measure_artifacts(written(tmp_path / "d"), progress=False)
    found.save(tmp_path / "measurements.zarr")
    again = ArtifactMeasurements.open(tmp_path / "measurements.zarr")
    same = pd.testing.assert_frame_equal
    same(again.to_dataframe(), found.to_dataframe(), check_dtype=False)
    options = {"n_permutations": 99, "n_resamples": 20, "progress": False}
    report = artifact_report(found, **options)  # type: ignore[arg-type]
    report.save(tmp_path / "report.zarr")
    opened = ArtifactReport.open(tmp_path / "report.zarr")
    xr.testing.assert_equal(opened.data.drop_encoding(), report.data.drop_encoding())
    from_disk = artifact_report(again, **options)  # type: ignore[arg-type]
    same(from_disk.to_dataframe(), report.to_dataframe(), check_dtype=False)
    with pytest.raises(StoreError, match="is not an artifact report"):
        ArtifactReport.open(tmp_path / "measurements.zarr")
    with pytest.raises(StoreError, match="is not a table of artifact measurements"):
        ArtifactMeasurements.open(tmp_path / "report.zarr")


def test_exports(tmp_path: Path) -> None:
    found = measure_artifacts(written(tmp_path / "d"), progress=False)
    report = artifact_report(found, n_permutations=99, n_resamples=20, progress=False)
    for table, rows in ((found, 6), (report, len(MEASUREMENTS))):
        for suffix in (".csv", ".parquet", ".tex", ".md"):
            assert table.export(tmp_path / f"t{suffix}").is_file()
        assert len(pd.read_csv(tmp_path / "t.csv")) == rows
    frame = report.to_dataframe()
    assert {"effect", "q_partialled", "low_matched", "rank"} <= set(frame)
    with pytest.raises(UnknownNameError):
        report.export(tmp_path / "t.xlsx")
