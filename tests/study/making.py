"""A study that takes seconds: two datasets of noise, one small detector in three variants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from probe.run import RunFolder
from probe.tables import open_table
from tests.conftest import make_images

TEXT = """
title = "Tiny"
seeds = [3]

[[datasets]]
open = "data:one"

[[datasets]]
name = "second"
open = "data:two"

[detectors]
names = ["meso4"]
variants = ["base", "deep"]
input_size = 32
source = "one"
target = ["second"]

[detectors.base]
epochs = 3
batch_size = 8

[detectors.tuned]
epochs = 2
steps = 3
batch_size = 8

[evaluation]
resamples = 100

[record]
layers = ["units"]

[neurons]
untrained = 1

[separability]
controls = 9
pictures = ["pca"]

[attribution]
methods = ["gradcam", "input_x_gradient"]
images = 2
similarity_images = 4
checks = ["completeness", "deletion_mean"]
random = 1
"""


def write_study(folder: Path, text: str = TEXT) -> Path:
    """Write data and study file; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "data").exists():
        make_images(folder / "data", size=32)
    file = folder / "tiny.toml"
    file.write_text(text)
    return file


def tables_of(out: Path) -> dict[str, xr.Dataset]:
    """All tables of a run, by their place in it."""
    folder = RunFolder(out)
    labels = folder.read_manifest()["detectors"]
    places = [folder.path("evaluation")]
    each = ("neurons", "universality", "separability", "embeddings")
    places += [folder.path(name, label) for label in labels for name in each]
    # Not every detector has units to take out.
    places += [place for label in labels if (place := folder.path("ablation", label)).exists()]
    places += [folder.path("artifacts"), folder.path("similarity")]
    # Where nobody is seen often enough units are related to nothing.
    places += [place for label in labels if (place := folder.path("responses", label)).exists()]
    places += sorted(out.glob("tables/trust/*.zarr")) + sorted(out.glob("tables/attention/*.zarr"))
    places += sorted(out.glob("tables/map-similarity/*.zarr"))
    return {str(place.relative_to(out)): open_table(place) for place in places}


def require_same_tables(one: Path, two: Path) -> None:
    """Every value and every coordinate of every table is the same."""
    first, second = tables_of(one), tables_of(two)
    assert first.keys() == second.keys() and len(first) > 2
    written = [
        sorted(p.relative_to(out) for p in out.glob("tables/**/*.csv")) for out in (one, two)
    ]
    # Some tables have further frames beside them.
    assert written[0] == written[1]
    assert {Path(name).with_suffix(".csv") for name in first} <= set(written[0])
    for name in written[0]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    scores = [pd.read_parquet(out / "tables/evaluation.scores.parquet") for out in (one, two)]
    pd.testing.assert_frame_equal(*scores)
    for name, table in first.items():
        xr.testing.assert_identical(table.drop_attrs(), second[name].drop_attrs())
    for label in RunFolder(one).read_manifest()["detectors"]:
        weights = [
            (RunFolder(out).detector(label) / "model.safetensors").read_bytes()
            for out in (one, two)
        ]
        assert weights[0] == weights[1], label
        stores = [
            xr.open_datatree(RunFolder(o).store(label), engine="zarr", consolidated=False)
            for o in (one, two)
        ]
        for path in stores[0].groups:
            for variable in stores[0][path].ds.data_vars:
                a, b = (np.asarray(s[path].ds[variable]) for s in stores)
                np.testing.assert_array_equal(a, b)
