from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from probe.attribution.explain import attribute
from probe.attribution.maps import AttributionMap
from probe.attribution.trust import CHECKS, PSEUDO_METHODS, TrustReport
from probe.attribution.trust import table as trust_table
from probe.attribution.trust.deletion import deletion
from probe.attribution.trust.metrics import edge_maps, fit_mask, mask_auroc, mask_mass
from probe.attribution.trust.randomization import random_detector
from probe.attribution.trust.table import Bootstrap, _p, trust_report
from probe.datasets.dataset import Dataset
from probe.datasets.subset import draw
from probe.detectors import load_detector
from probe.detectors.detector import weights_hash
from probe.errors import DatasetError, ProbeError, StoreError, UnknownNameError
from probe.report.attribution import print_trust
from tests.attribution.trusting import Small, detector, input_x_gradient, masked_dataset

SIZE = 48
FAST = {
    "n_steps": 4,
    "n_orders": 2,
    "n_shifts": 1,
    "n_random": 2,
    "n_noise": 2,
    "n_stages": 2,
    "n_permutations": 199,
    "n_resamples": 100,
    "progress": False,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return masked_dataset(tmp_path_factory.mktemp("masked"), datasets=("one", "two"))


def a_map(values: np.ndarray, gap: float = np.nan) -> AttributionMap:
    n = len(values)
    return AttributionMap(
        xr.Dataset(
            {
                "attribution": (("sample", "y", "x"), values.astype(np.float32)),
                "gap": ("sample", np.full(n, gap)),
                "value": ("sample", np.zeros(n)),
            },
            {"sample": [str(i) for i in range(n)]},
            {"method": "stub", "signed": True},
        )
    )


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods whose answers are known, under names that are registered."""

    def attribute(one: Any, images: np.ndarray, method: str, **_: Any) -> AttributionMap:
        if method == "gradcam":
            # The mask is where red is brighter than noise is.
            return a_map((images[:, 0] > 0.58) * 1.0)
        if method == "saliency":
            return a_map(edge_maps(images))
        if method == "occlusion":
            raise ProbeError("Occlusion cannot take this detector.")
        if method == "lrp":
            return a_map(np.full(images[:, 0].shape, np.nan))
        return a_map(input_x_gradient(one, images), gap=0.5)

    monkeypatch.setattr(trust_table, "attribute", attribute)


def at(report: TrustReport, method: str, check: str, dataset: str = "all") -> xr.Dataset:
    return report.data.sel({"method": method, "check": check, "dataset": dataset})


def test_known_maps_get_what_they_should(stubs: None, data: Dataset) -> None:
    found = trust_report(detector(Small(), SIZE), data, ["gradcam", "saliency"], **FAST)
    assert found.data["method"].values.tolist() == ["gradcam", "saliency", *PSEUDO_METHODS]
    assert found.data["dataset"].values.tolist() == ["one", "two", "all"]
    assert found.data["check"].values.tolist() == list(CHECKS)
    area = 16 * 16 / SIZE**2
    for name in ("pointing", "mask_mass", "mask_iou", "mask_auroc"):
        cell = at(found, "gradcam", name)
        assert float(cell["value"]) > 0.85
        assert (cell["gain"] > 0.2).all()
        assert (cell["q"].sel(reference=["random", "shifted"]) < 0.05).all()
        assert int(cell["n_samples"]) == 12 and int(cell["n_clusters"]) == 12
    assert float(at(found, "gradcam", "mask_mass")["chance"]) == pytest.approx(area)
    assert float(at(found, "gradcam", "mask_iou")["chance"]) == pytest.approx(area / (2 - area))
    # A method that is the edge detector is not better than it.
    for check in ("mask_auroc", "deletion_mean", "insertion_blur"):
        same = at(found, "saliency", check)
        assert float(same["value"]) == pytest.approx(float(at(found, "edges", check)["value"]))
        assert float(same["gain"].sel(reference="edges")) == 0
        assert float(same["p"].sel(reference="edges")) == 1
    # Neither looks at the weights.
    assert float(at(found, "saliency", "mprt_ssim")["value"]) == pytest.approx(1)
    assert float(at(found, "saliency", "emprt")["value"]) == 0


def test_values_are_means_of_images_and_gains_point_up(stubs: None, data: Dataset) -> None:
    one = detector(Small(), SIZE)
    found = trust_report(one, data, ["input_x_gradient"], checks=["deletion_mean"], **FAST)
    fakes = np.flatnonzero(data.labels == 1)
    x = data.array(list(fakes), SIZE)
    areas = deletion(one, x, input_x_gradient(one, x), n_steps=4)
    names = data.samples.table["dataset"].to_numpy()[fakes]
    for name, rows in (("one", names == "one"), ("two", names == "two"), ("all", names != "")):
        cell = at(found, "input_x_gradient", "deletion_mean", name)
        assert float(cell["value"]) == pytest.approx(areas[rows].mean(), abs=1e-6)
        assert float(cell["low"]) <= float(cell["value"]) <= float(cell["high"])
        edges = at(found, "edges", "deletion_mean", name)
        gains = {
            "random": float(cell["chance"] - cell["value"]),
            "edges": float(edges["value"] - cell["value"]),
        }
        for reference, gain in gains.items():
            assert float(cell["gain"].sel(reference=reference)) == pytest.approx(gain, abs=1e-9)
    assert np.isfinite(cell["gain"].sel(reference="shifted"))
    random = at(found, "random", "deletion_mean")
    assert float(random["value"]) == float(random["chance"])
    assert np.isnan(random["gain"].sel(reference="random"))


def test_mask_checks_are_repeated_on_detectors_of_random_weights(
    stubs: None, data: Dataset
) -> None:
    one = detector(Small(), SIZE)
    found = trust_report(one, data, ["gradcam", "input_x_gradient"], **FAST)
    fakes = np.flatnonzero(data.labels == 1)
    x = data.array(list(fakes), SIZE)
    masks = np.stack([data.mask(int(i)) > 127 for i in fakes])
    values = [
        mask_auroc(input_x_gradient(random_detector(one, x[:1], seed), x), masks).mean()
        for seed in range(2)
    ]
    cell = at(found, "input_x_gradient", "mask_auroc")
    assert float(cell["randomized"]) == pytest.approx(np.mean(values), abs=1e-6)
    assert float(cell["randomized_low"]) == pytest.approx(min(values), abs=1e-6)
    assert float(cell["randomized_high"]) == pytest.approx(max(values), abs=1e-6)
    # The stub does not look at weights: random ones do as well.
    same = at(found, "gradcam", "pointing")
    assert float(same["randomized_low"]) == float(same["randomized_high"]) == float(same["value"])
    assert np.isfinite(same["gain"].sel(reference="shifted"))
    assert np.isnan(at(found, "edges", "pointing")["randomized"])
    none = trust_report(one, data, ["gradcam"], checks=["pointing"], **{**FAST, "n_random": 0})
    assert none.data["randomized"].isnull().all()


def test_completeness_is_a_ratio_of_sums(stubs: None, data: Dataset) -> None:
    one = detector(Small(), SIZE)
    found = trust_report(one, data, ["input_x_gradient"], checks=["completeness"], **FAST)
    sums = input_x_gradient(one, data.array(range(len(data)), SIZE)).sum(axis=(1, 2))
    want = 0.5 * len(data) / np.abs(sums - 0.5).sum()
    cell = at(found, "input_x_gradient", "completeness")
    assert float(cell["value"]) == pytest.approx(want, rel=1e-5)
    assert int(cell["n_samples"]) == len(data)


def test_what_refuses_has_its_reason_and_the_others_go_on(stubs: None, data: Dataset) -> None:
    methods = ["occlusion", "lrp", "gradcam"]
    found = trust_report(detector(Small(), SIZE), data, methods, **FAST)
    refused = found.data.sel({"method": "occlusion"})
    assert (refused["reason"] == "Occlusion cannot take this detector.").all()
    assert refused["value"].isnull().all() and (refused["n_samples"] == 0).all()
    assert "undefined values on 24 of 24" in str(at(found, "lrp", "emprt")["reason"].values)
    assert float(at(found, "gradcam", "pointing")["value"]) > 0.9
    assert "is not complete" in str(at(found, "gradcam", "completeness")["reason"].values)
    text = found.summary().replace("\n", " ")
    assert "occlusion (all checks): Occlusion cannot take this detector." in text
    assert "a reference" not in text


def test_a_randomized_detector_that_is_refused_costs_only_its_checks(
    monkeypatch: pytest.MonkeyPatch, data: Dataset
) -> None:
    one = detector(Small(), SIZE)

    def attribute(other: Any, images: np.ndarray, method: str, **_: Any) -> AttributionMap:
        if other is not one:
            raise ProbeError("Not this one.")
        return a_map(input_x_gradient(other, images))

    monkeypatch.setattr(trust_table, "attribute", attribute)
    found = trust_report(one, data, ["gradcam"], **FAST)
    for check in CHECKS:
        cell = at(found, "gradcam", check)
        refused = CHECKS[check].group == "randomization"
        assert (str(cell["reason"].values) == "Not this one.") == refused
        assert np.isnan(cell["value"]) == (refused or check == "completeness")


def test_images_without_masks_fakes_or_clusters(stubs: None, noise: Dataset, data: Dataset) -> None:
    one = detector(Small(), SIZE)
    part = noise.select(split="val", dataset="one").take([0, 1, 2, 3, 4, 5])
    found = trust_report(one, part, ["gradcam"], **FAST)
    reason = str(at(found, "gradcam", "pointing")["reason"].values)
    assert reason == "no fake image has a mask"
    deleted = at(found, "gradcam", "deletion_mean")
    assert np.isfinite(deleted["value"]) and np.isnan(deleted["low"])
    assert np.isnan(deleted["p"]).all()
    assert "5 are needed" in str(deleted["reason"].values)
    told = [one for one in found.summary().split("\n") if "5 are needed" in one]
    assert str(deleted["reason"].values) in told and len(told) <= 2
    reals = trust_report(one, data.select(label=0), ["gradcam"], **FAST)
    for check in ("mask_auroc", "insertion_blur"):
        reason = str(at(reals, "gradcam", check)["reason"].values)
        assert reason == "there is no fake image"
    assert np.isfinite(at(reals, "gradcam", "max_sensitivity")["value"])


def test_other_targets_have_no_curves_of_the_logit(stubs: None, data: Dataset) -> None:
    found = trust_report(
        detector(Small(), SIZE),
        data,
        ["gradcam"],
        target=("second", 1),
        checks=["mask_mass", "deletion_mean"],
        **FAST,
    )
    assert np.isfinite(at(found, "gradcam", "mask_mass")["value"])
    reason = str(at(found, "gradcam", "deletion_mean")["reason"].values)
    assert "the maps explain ('second', 1)" in reason


def test_batches_do_not_change_the_report(stubs: None, data: Dataset) -> None:
    one = detector(Small(), SIZE)
    whole = trust_report(one, data, ["input_x_gradient"], **FAST).data
    small = trust_report(one, data, ["input_x_gradient"], memory="2M", **FAST).data
    xr.testing.assert_allclose(whole.drop_vars(["p", "q"]), small.drop_vars(["p", "q"]), atol=1e-5)


@pytest.mark.parametrize("size", [5, 6])
def test_p_is_the_share_of_sign_flips_with_as_large_a_mean(size: int) -> None:
    gain = np.random.default_rng(size).normal(0.3, 1, 2 * size)
    clusters = np.repeat(np.arange(size), 2)
    means = gain.reshape(size, 2).mean(axis=1)
    flips = [np.dot(signs, means) for signs in itertools.product([1, -1], repeat=size)]
    want = np.mean(np.array(flips) >= means.sum() - 1e-9)
    assert _p(gain, clusters, Bootstrap()) == pytest.approx(want)


def test_images_are_drawn_over_people_and_classes(stubs: None, data: Dataset) -> None:
    found = trust_report(detector(Small(), SIZE), data, ["input_x_gradient"], max_samples=6, **FAST)
    kept = draw(data, 6)
    # Of each of three people a fake and a real image.
    table = kept.samples.table
    assert table.groupby(["dataset", "identity"])["label"].sum().tolist() == [1] * 6
    parts = kept.by_dataset().items()
    assert found.provenance.data == {n: part.fingerprint for n, part in parts}


@pytest.mark.slow
def test_real_methods_on_a_real_detector(data: Dataset, tmp_path: Path, capsys: Any) -> None:
    one = load_detector("meso4", input_size=64)
    before = weights_hash(one.module)
    found = trust_report(one, data, max_samples=12, **FAST)
    again = trust_report(one, data, max_samples=12, **FAST)
    xr.testing.assert_identical(found.data, again.data)
    assert weights_hash(one.module) == before
    value = found.data["value"].sel({"method": ["gradcam", "input_x_gradient"], "dataset": "all"})
    lacking = value.isnull().sum("method")
    assert (lacking.drop_sel(check="completeness") == 0).all()
    for check in CHECKS:
        low, high = CHECKS[check].bounds
        finite = found.data["value"].sel(check=check).values
        finite = finite[np.isfinite(finite)]
        assert (finite >= low - 1e-9).all() and (finite <= high + 1e-9).all()

    found.save(tmp_path / "trust.zarr")
    opened = TrustReport.open(tmp_path / "trust.zarr")
    for name in found.data.data_vars:
        np.testing.assert_array_equal(
            opened.data[name].values.tolist(), found.data[name].values.tolist()
        )
    assert opened.provenance.detectors == {one.name: one.fingerprint}
    frame = opened.to_dataframe()
    assert len(frame) == 4 * len(CHECKS) * 3 and "gain_shifted" in frame
    opened.export(tmp_path / "trust.csv")
    assert "gradcam" in (tmp_path / "trust.csv").read_text()

    for report in (found, opened):
        print_trust(report)
        print_trust(report, "one")
    printed = capsys.readouterr().out
    assert "does the map lie on the forged area?" in printed
    assert "gradcam" in printed and "edges" in printed and "chance" in printed
    assert "random weights" in printed
    with pytest.raises(UnknownNameError, match="Did you mean 'one'"):
        print_trust(found, "onee")


def test_fakes_are_checked_against_their_own_reals(data: Dataset) -> None:
    """Within batches, on randomized detectors too, each fake keeps its own real image."""
    table = data.samples.table.copy()
    table["pair"] = [
        f"{s[:-1]}{1 - label}" for s, label in zip(table["sample"], table["label"], strict=True)
    ]
    paired = Dataset("paired", type(data.samples)(table), data.root, data.card)
    one, fakes = load_detector("meso4", input_size=64), paired.select(label=1)
    options = {"deeplift": {"baseline": "pair"}}
    checks = ["completeness", "mask_mass", "mprt_spearman"]
    found = trust_report(
        one, fakes, ["deeplift"], checks=checks, options=options, pairs=paired, **FAST
    )
    value = at(found, "deeplift", "completeness")["value"]
    assert float(value) < 1e-4
    by_hand = attribute(one, fakes, "deeplift", baseline="pair", pairs=paired, progress=False)
    masks = np.stack([fit_mask(fakes.mask(i), 64, 64) for i in range(len(fakes))])
    mass = mask_mass(by_hand.values, masks).mean()
    assert float(at(found, "deeplift", "mask_mass")["value"]) == pytest.approx(mass, abs=1e-6)
    assert np.isfinite(at(found, "deeplift", "mask_mass")["randomized"])
    with pytest.raises(ProbeError, match="are real"):
        trust_report(one, paired, ["deeplift"], options=options, **FAST)


def test_bad_input_is_answered(data: Dataset, tmp_path: Path) -> None:
    one = detector(Small(), SIZE)
    with pytest.raises(UnknownNameError, match="'gradcamm' .* Did you mean 'gradcam'"):
        trust_report(one, data, ["gradcamm"])
    with pytest.raises(UnknownNameError, match="Trust check 'point' .*'pointing'"):
        trust_report(one, data, checks=["point"])
    with pytest.raises(ProbeError, match="n_steps=0 was given"):
        trust_report(one, data, n_steps=0)
    with pytest.raises(ProbeError, match="No method"):
        trust_report(one, data, [])
    with pytest.raises(UnknownNameError, match="'up'"):
        trust_report(one, data, order="up")
    with pytest.raises(DatasetError):
        trust_report(one, data.select(split="train"))
    with pytest.raises(StoreError):
        TrustReport.open(tmp_path)


def test_reports_are_read_without_torch() -> None:
    code = (
        "import sys; from probe.attribution.trust.report import TrustReport; "
        "from probe.attribution.trust import CHECKS; import probe.report.attribution; "
        "import probe.attribution.trust.metrics, probe.attribution.trust.metrics; "
        "import probe.attribution.trust.metrics; "
        "print([name for name in ('torch', 'captum', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
