"""On the lab, whose truth is known: each planted artifact is seen by what is meant for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from probe.artifacts import artifact_report, measure_artifacts
from probe.datasets import Dataset
from probe.datasets.dataset import concatenate
from probe.datasets.lab import FORGERIES
from probe.schema import DATASETS
from tests.artifacts.making import lab_images

#: The measurements were designed on the lab of other seeds.
SEED = 11
MEANT = {
    "resampling": "fine_detail",
    "lowpass": "fine_detail",
    "color": "color_mismatch",
    "transfer": "contrast",
    "smoothing": "lower_detail",
    "checkerboard": "grid_period_4",
    "feather": "rim_detail",
    "seam": "seam_line",
    "halo": "overshoot",
    # Both are seen by what they take along: see docs/artifacts.md.
    "warp": "fine_detail",
}
ALONE = [
    (name, artifact) for name in DATASETS for artifact in FORGERIES[name].doses if artifact in MEANT
]


def report(data: Dataset, **options: int) -> xr.Dataset:
    found = measure_artifacts(data, progress=False)
    return artifact_report(found, **{"n_resamples": 50, **options}, progress=False).data


def alone(root: Path, name: str, artifact: str, people: int) -> xr.Dataset:
    dose = FORGERIES[name].doses[artifact]
    data = lab_images(root, name, {artifact: 0.9 * dose}, people=people, seed=SEED, frames=(0, 2))
    return report(data).isel(dataset=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "artifact"), [("faceswap", "seam"), ("neuraltextures", "checkerboard")]
)
def test_two_artifacts_alone_on_few_people(tmp_path: Path, name: str, artifact: str) -> None:
    found = alone(tmp_path, name, artifact, people=8)
    own = found.sel(measurement=MEANT[artifact])
    assert int(own["rank"]) == 1
    assert (own["q"] < 0.05).all()
    assert set(found["region"].values.ravel()) == {"forgery mask; reals by the mask of their pair"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "artifact"), ALONE)
def test_each_artifact_alone_is_seen_first_by_what_is_meant_for_it(
    tmp_path: Path, name: str, artifact: str
) -> None:
    own = alone(tmp_path, name, artifact, people=16).sel(measurement=MEANT[artifact])
    assert int(own["rank"]) == 1
    if (name, artifact) != ("celebdf", "color"):  # a quarter of a dose: too little for 16 people
        assert (own["q"] < 0.05).all()


@pytest.mark.slow
def test_the_shared_artifact_is_found_in_all_six_with_everything_on(tmp_path: Path) -> None:
    parts = [
        lab_images(tmp_path / name, name, None, people=12, seed=SEED, frames=(0, 2))
        for name in DATASETS
    ]
    shared = report(concatenate(parts, "lab")).sel(measurement="fine_detail")
    assert (shared["q"] < 0.05).all() and (shared["effect"] < -1).all()
    assert (shared["high"] < 0).all()


def unpaired(data: Dataset) -> Dataset:
    """Keep the real images of every other person and the fakes of the rest, with their masks."""
    table = data.samples.table.copy()
    masks = table.set_index("sample")["mask"]
    table["mask"] = [m or masks[p] for m, p in zip(table["mask"], table["pair"], strict=True)]
    keep = table["identity"].astype(int) % 2 == table["label"]
    return concatenate([Dataset(data.name, type(data.samples)(table[keep]), data.root, {})], "u")


def test_zero_doses_are_nothing_to_any_measurement(tmp_path: Path) -> None:
    found = report(lab_images(tmp_path, "dfd", {}, people=6, seed=SEED)).isel(dataset=0)
    assert (np.abs(found["effect"]) < 1e-9).all() and (found["p"] == 1).all()


@pytest.mark.slow
def test_zero_doses_of_other_people_are_found_no_more_often_than_by_chance(tmp_path: Path) -> None:
    """In one of 20 seeds something is expected to be; in more than four by chance in 0.3%."""
    seeds = {control: 0 for control in ("none", "partialled", "matched")}
    for seed in range(20):
        parts = [
            unpaired(lab_images(tmp_path / f"{seed}-{name}", name, {}, people=16, seed=100 + seed))
            for name in ("celebdf", "neuraltextures")
        ]
        found = report(concatenate(parts, "null"), n_permutations=1999)
        assert set(found["region"].values) == {"forgery mask; reals by the mask of their pair"}
        for control in seeds:
            seeds[control] += bool((found["q"].sel(control=control) <= 0.05).any())
    assert max(seeds.values()) <= 4, seeds
