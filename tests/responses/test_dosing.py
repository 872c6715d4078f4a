"""Doses: what is rendered, what is measured on it, and units whose truth is known."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from probe.artifacts import (
    NOTHING,
    DosedImages,
    ResponseReport,
    dose_response,
    relate,
    render_doses,
)
from probe.artifacts.doses import sign_flip_test
from probe.datasets.lab import FORGERIES, Clip, make
from probe.detectors import Detector, load_detector
from probe.detectors.planted import measure_population, plant
from probe.errors import ProbeError, UnknownNameError
from probe.stats import cluster_counts
from tests.hooks.toys import detector_of
from tests.responses.making import measured, store_of, table_of

SIZE, POOL = 64, 25
SMALL = {"size": SIZE, "n_workers": 1}


@pytest.fixture(scope="module")
def rendered() -> dict[str, DosedImages]:
    """Six videos of two datasets, with either choice of the other artifacts."""
    return {
        others: render_doses(
            ["deepfakes", "face2face"],
            ["resampling", "color", "expression"],
            (0, 0.5, 1),
            others=others,
            videos=6,
            **SMALL,
        )
        for others in ("none", "own")
    }


@pytest.mark.parametrize("others", ["none", "own"])
def test_images_are_the_frames_of_the_lab(rendered: dict[str, DosedImages], others: str) -> None:
    images = rendered[others]
    assert len(images) == images.table["image"].max() + 1
    for row in images.table.iloc[:: 1 if others == "none" else 7].itertuples():
        clip = Clip(row.dataset, "test", row.video, POOL, SIZE)
        if row.artifact:
            base = dict.fromkeys(FORGERIES[row.dataset].doses, 0.0) if others == "none" else {}
            expected = clip.frame(row.frame, {**base, row.artifact: row.dose}).fake
        else:
            expected = clip.frame(row.frame).real
        np.testing.assert_array_equal(images.images[row.image], expected)


def test_every_artifact_is_rendered_where_it_is_had(rendered: dict[str, DosedImages]) -> None:
    table = rendered["none"].table
    pairs = table[["dataset", "artifact"]].drop_duplicates().itertuples(index=False)
    assert {(d, a) for d, a in pairs if a} == {
        ("deepfakes", "resampling"),
        ("deepfakes", "color"),
        ("face2face", "resampling"),
        ("face2face", "expression"),
    }
    zero = table[table["dose"] == 0].groupby(["dataset", "video"])["image"].nunique()
    # With all else at nought, dose 0 of every artifact is one image: the real frame, to the bit.
    assert (zero == 2).all()
    images = rendered["none"].images
    for _, rows in table[table["dose"] == 0].groupby(["dataset", "video"]):
        assert (images[rows["image"]] == images[rows["image"].iloc[0]]).all()


def test_workers_render_the_same(rendered: dict[str, DosedImages]) -> None:
    again = render_doses(
        ["deepfakes"], ["resampling"], (0, 0.5, 1), videos=2, size=SIZE, n_workers=2
    )
    one = rendered["none"]
    for row in again.table.itertuples():
        same = one.table[
            (one.table["dataset"] == row.dataset)
            & (one.table["video"] == row.video)
            & (one.table["artifact"] == row.artifact)
            & (one.table["dose"] == row.dose)
        ].iloc[0]
        np.testing.assert_array_equal(again.images[row.image], one.images[same["image"]])


def by_hand(detector: Detector, others: str, artifact: str, dataset: str) -> np.ndarray:
    """Change from dose 0 by video, dose and (logit, units), one image at a time, with a hook."""
    kept: list[Tensor] = []
    hook = detector.module.leaky.register_forward_hook(lambda m, i, o: kept.append(o.clone()))
    base = dict.fromkeys(FORGERIES[dataset].doses, 0.0) if others == "none" else {}
    out = []
    for video in range(6):
        clip, seen = Clip(dataset, "test", video, POOL, SIZE), []
        for dose in (0, 0.5, 1):
            image = clip.frame(0, {**base, artifact: dose}).fake
            batch = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
            with torch.inference_mode():
                logit = detector.module(batch)
            seen.append(np.r_[logit.numpy(), kept[-1].numpy()[0]].astype(float))
        out.append(np.array(seen) - seen[0])
    hook.remove()
    return np.array(out)


@pytest.mark.parametrize("others", ["none", "own"])
def test_responses_equal_a_loop_over_frames(rendered: dict[str, DosedImages], others: str) -> None:
    detector = load_detector("meso4", input_size=SIZE, seed=3)
    images = rendered[others]
    report = dose_response(detector, images, "leaky", n_resamples=300, seed=5)
    data = report.data
    reals = images.images[images.table.loc[images.table["artifact"] == "", "image"]]
    batch = torch.from_numpy(reals.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    values = {}
    hook = detector.module.leaky.register_forward_hook(lambda m, i, o: values.update(v=o))
    with torch.inference_mode():
        detector.module(batch)
    hook.remove()
    each = values["v"].double().numpy().reshape(2, 6, -1)
    sd = np.sqrt(((each - each.mean(axis=1, keepdims=True)) ** 2).sum(axis=(0, 1)) / 10)
    np.testing.assert_allclose(data["unit_sd"], sd, rtol=1e-4)
    changes = {}
    for artifact, dataset in (
        ("resampling", "deepfakes"),
        ("resampling", "face2face"),
        ("color", "deepfakes"),
        ("expression", "face2face"),
    ):
        change = by_hand(detector, others, artifact, dataset)
        change[..., 1:] /= sd
        changes[artifact, dataset] = change
        one = data.sel(artifact=artifact, dataset=dataset)
        np.testing.assert_allclose(one["logit_response"], change[..., 0].mean(axis=0), atol=2e-5)
        units = one["unit_response"].transpose("dose", "unit")
        np.testing.assert_allclose(units, change[..., 1:].mean(axis=0), atol=1e-3)
        weights = cluster_counts(6, 300, 5)
        draws = [(w[:, None] * change[:, 2, 1:]).sum(axis=0) / 6 for w in weights]
        low, high = np.percentile(draws, [2.5, 97.5], axis=0)
        np.testing.assert_allclose(one["unit_low"].isel(dose=2), low, atol=1e-3)
        np.testing.assert_allclose(one["unit_high"].isel(dose=2), high, atol=1e-3)
    names = ("deepfakes", "face2face")
    both = np.mean([changes["resampling", name][:, 2, 1:].mean(axis=0) for name in names], axis=0)
    np.testing.assert_allclose(data["effect"].sel(artifact="resampling"), both, atol=1e-3)
    assert np.isnan(data["logit_response"].sel(artifact="color", dataset="face2face")).all()
    q = stats.false_discovery_control(data["effect_p"].values.ravel())
    np.testing.assert_allclose(data["effect_q"].values.ravel(), q)


def test_signs_are_flipped_over_whole_clusters() -> None:
    rng = np.random.default_rng(0)
    strata = [rng.normal(0.5, 1, (4, 3)), rng.normal(0.5, 1, (3, 3))]
    strata[0][:, 2] = strata[1][:, 2] = 0
    draws = []
    for signs in itertools.product([1, -1], repeat=7):
        first, second = np.array(signs[:4])[:, None], np.array(signs[4:])[:, None]
        draws.append(((first * strata[0]).mean(axis=0) + (second * strata[1]).mean(axis=0)) / 2)
    share = (np.abs(draws) >= np.abs(draws[0]) - 1e-12).mean(axis=0)
    mean, p = sign_flip_test(strata)
    np.testing.assert_allclose(mean, draws[0])
    np.testing.assert_allclose(p, share)
    assert p[2] == 1
    np.testing.assert_allclose(sign_flip_test(strata, n_permutations=100)[1], share, atol=0.2)


def test_changes_of_nothing_have_uniform_p() -> None:
    rng = np.random.default_rng(1)
    p = sign_flip_test([rng.standard_t(3, (8, 2000)), rng.normal(0, 5, (12, 2000))], 999)[1]
    low, high = stats.binom(2000, 0.05).ppf([0.0005, 0.9995]) / 2000
    assert low <= (p <= 0.05).mean() <= high


class Known(nn.Module):
    """Energy of fine detail, mean red less blue, a constant, and 1 where the image is no real."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 1, 3, bias=False)
        board = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])
        self.fine.weight.data = board.expand(1, 3, 3, 3) / 3
        self.units = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x).abs().mean(dim=(1, 2, 3))
        color = (x[:, 0] - x[:, 2]).mean(dim=(1, 2))
        out: Tensor = self.units(torch.stack([fine, color, torch.ones_like(fine)], dim=1))
        return -3 * out[:, 0]


def test_known_units_answer_with_their_artifact() -> None:
    detector = detector_of(Known().eval(), SIZE)
    images = render_doses(["dfd", "deepfakes"], None, (0, 1), videos=10, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = dose_response(detector, images, "units", universal=[0])
    effect = found.data["effect"].to_pandas()
    assert found.answer(0).name in ("resampling", "halo") and found.answer(0).kind == "dose"
    assert (
        effect.loc["resampling", 0] < -0.3
        and found.data["effect_q"].sel(artifact="resampling", unit=0) <= 0.05
    )
    assert abs(effect.loc["resampling", 1]) < 0.05
    assert found.answer(1).name not in ("resampling", "halo", "feather")
    # A constant responds to nothing, and a logit that falls with detail rises when it is lost.
    assert found.answer(2).name == NOTHING and (found.data["effect_p"].sel(unit=2) == 1).all()
    assert (found.data["logit_response"].sel(artifact="resampling").isel(dose=1) > 0).all()
    assert np.isfinite(found.data["effect"]).all()


def test_planted_universal_units_respond_to_the_shared_artifact(tmp_path: Path) -> None:
    names = ("celebdf", "deepfakes", "dfd")
    lab = make(tmp_path / "lab", size=64, datasets=names, counts={"test": 96}, n_workers=1)
    planted = plant(measure_population(lab, size=64), units=32, effect=1.0, seed=3)
    images = render_doses(names, ["resampling"], (0, 0.5, 1), videos=12, size=64, n_workers=1)
    data = dose_response(planted.detector, images, "relu").data
    sign = np.sign(planted.truth["weight"].to_numpy())
    towards_fake = data["effect"].sel(artifact="resampling").values * sign
    kind = planted.truth["kind"].to_numpy()
    universal, decoys = towards_fake[kind == "universal"], towards_fake[kind == "decoy"]
    assert universal.min() > 0 and universal.mean() > 0.15 and abs(decoys.mean()) < 0.03
    assert (data["effect_q"].values[0, kind == "universal"] <= 0.05).mean() >= 0.75
    assert (data["effect_q"].values[0, kind == "decoy"] > 0.05).all()
    assert (data["effect_p"].values[0, kind == "dead"] == 1).all()
    mean = data["unit_response"].sel(artifact="resampling").mean("dataset") * sign[:, None]
    ours = mean.transpose("unit", "dose").values[kind == "universal"].mean(axis=0)
    assert (np.diff(ours) > 0).all()


def test_a_few_people_have_no_interval(rendered: dict[str, DosedImages]) -> None:
    images = rendered["none"]
    few = DosedImages(images.images, images.table[images.table["video"] < 3], images.attrs)
    data = dose_response(load_detector("meso4", input_size=SIZE), few, "conv4").data
    assert np.isnan(data["logit_low"]).all() and np.isnan(data["unit_high"]).all()
    assert all("3 identities: no interval" in text for text in data["dose_reason"].values)
    assert data["logit_p"].min() >= 2 / 2**3


def test_doses_and_correlations_join(rendered: dict[str, DosedImages], tmp_path: Path) -> None:
    detector = detector_of(Known().eval(), SIZE)
    doses = dose_response(detector, rendered["none"], "units", universal=[1])
    rng = np.random.default_rng(0)
    table = table_of(2, 8, 1).replace({"set0": "deepfakes"})
    a = rng.normal(size=len(table))
    store = store_of(tmp_path / "x.zarr", table, np.column_stack([a, a, a]))
    links = relate(store, measured(table, {"a": a}), "units", universal=[0], n_permutations=199)
    with pytest.raises(ProbeError, match="detectors"):
        links.joined(doses)
    attrs = {**links.data.attrs, "detectors": {detector.name: detector.fingerprint}}
    both = ResponseReport(links.data.assign_attrs(attrs)).joined(doses)
    assert both.has_doses and both.has_correlations and both.universal.tolist() == [0, 1]
    assert both.answer(0) == doses.answer(0) and both.answer(2).name == "a"
    assert both.data["dataset"].values.tolist() == ["deepfakes", "set1", "face2face"]
    assert both.data["n_clusters"].values.tolist() == [8, 8, 0]
    assert both.data["n_identities"].values.tolist() == [6, 0, 6]
    assert both.data["reason"].values.tolist() == ["", "", ""]
    both.save(tmp_path / "both.zarr")
    assert ResponseReport.open(tmp_path / "both.zarr").data.equals(both.data)
    doses.save(tmp_path / "doses.zarr")
    again = ResponseReport(links.data.assign_attrs(attrs))
    again = again.joined(ResponseReport.open(tmp_path / "doses.zarr"))
    assert again.data.equals(both.data)
    both.export(tmp_path / "both.csv")
    names = sorted(file.name for file in tmp_path.glob("both*.csv"))
    assert names == ["both-correlations.csv", "both-doses.csv", "both-units.csv", "both.csv"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"doses": (0.5, 1)}, "ascending from 0"),
        ({"doses": (0, 2)}, "ascending from 0"),
        ({"videos": 26}, "25 per dataset"),
        ({"frames": (4,)}, "frames 0 to 3"),
        ({"n_workers": 0}, "n_workers=0"),
        ({"datasets": ["dfd", "dfd"]}, "without duplicates"),
        ({"datasets": ["dfd"], "artifacts": ["warp"]}, "cannot have them"),
        ({"datasets": []}, "Artifacts"),
    ],
)
def test_wrong_renderings_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ProbeError, match=text):
        render_doses(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{"datasets": ["fd"]}, {"artifacts": ["resample"]}, {"split": "tst"}, {"others": "all"}],
)
def test_unknown_names_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError):
        render_doses(**options)  # type: ignore[arg-type]


def test_wrong_arguments_are_refused(rendered: dict[str, DosedImages]) -> None:
    detector, images = detector_of(Known().eval(), SIZE), rendered["none"]
    for options, text in (
        ({"universal": [3]}, "units 0 to 2"),
        ({"alpha": 1.0}, "alpha=1.0"),
        ({"n_resamples": 0}, "n_resamples=0"),
    ):
        with pytest.raises(ProbeError, match=text):
            dose_response(detector, images, "units", **options)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unit"):
        dose_response(detector, images, "unit")
