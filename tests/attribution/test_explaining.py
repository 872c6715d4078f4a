"""`attribute` as a user calls it: datasets, baselines, files that resume, budgets, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.attribution import AttributionMap, attribute, explain
from probe.attribution.explain import BASELINES, prepare
from probe.datasets.dataset import Dataset
from probe.detectors import Detector, load_detector
from probe.errors import ProbeError, StoreError, UnknownNameError
from tests.attribution.networks import Sum, detector_of, images

#: Methods whose batches are several images.
SINGLE = ("gradcam", "integrated_gradients", "deeplift", "occlusion", "input_x_gradient", "lrp")


@pytest.fixture(scope="module")
def meso() -> Detector:
    return load_detector("meso4", input_size=32, seed=2)


@pytest.fixture(scope="module")
def paired(noise: Dataset) -> Dataset:
    """Return the noise images, each fake with the real one beside it as its pair."""
    table = noise.samples.table.copy()
    heads = [sample.rsplit("-", 2) for sample in table["sample"]]
    table["pair"] = [f"{head}-{1 - int(label)}-{frame}" for head, label, frame in heads]
    return Dataset("paired", type(noise.samples)(table), noise.root, noise.card)


def test_a_dataset_brings_what_is_known_of_its_images(meso: Detector, noise: Dataset) -> None:
    data = noise.select(split="test").take(range(10))
    found = attribute(meso, data, progress=False)
    assert list(found.data["sample"].values) == list(data.samples.table["sample"])
    for coord, column in (("dataset", "dataset"), ("label", "label"), ("forgery", "method")):
        assert list(found.data[coord].values) == list(data.samples.table[column])
    attrs = found.data.attrs
    assert attrs["data"] == {data.name: data.fingerprint}
    assert attrs["detectors"] == {meso.name: meso.fingerprint}
    plain = attribute(meso, data.array(range(10), 32), progress=False)
    np.testing.assert_array_equal(found.values, plain.values)
    frame = found.to_dataframe()
    np.testing.assert_allclose(frame["total"], found.values.sum(axis=(1, 2)), atol=1e-4)
    np.testing.assert_allclose(frame["positive"] + frame["negative"], frame["total"], atol=1e-4)


def test_a_fake_is_compared_with_its_own_real(meso: Detector, paired: Dataset) -> None:
    fakes = paired.select(split="val", label=1)
    reals = paired.select(split="val", label=0)
    found = attribute(
        meso, fakes, "integrated_gradients", baseline="pair", pairs=paired, progress=False
    )
    by_hand = attribute(
        meso,
        fakes.array(range(len(fakes)), 32),
        "integrated_gradients",
        baseline=reals.array(range(len(reals)), 32),
        progress=False,
    )
    np.testing.assert_array_equal(found.values, by_hand.values)
    change = meso.logits(fakes.array(range(len(fakes)), 32)) - meso.logits(
        reals.array(range(len(reals)), 32)
    )
    np.testing.assert_allclose(found.values.sum(axis=(1, 2)), change, atol=1e-3)
    with pytest.raises(ProbeError, match=r"images, of which \d+ are real"):
        attribute(meso, paired, "deeplift", baseline="pair", progress=False)
    with pytest.raises(ProbeError, match="real image is unknown for 12 of 12 fakes"):
        attribute(
            meso,
            paired.select(split="val", label=1).take(range(12)),
            "deeplift",
            baseline="pair",
            progress=False,
        )
    with pytest.raises(ProbeError, match="plain images, whose pairs are unknown"):
        attribute(meso, images(1, 32), "deeplift", baseline="pair", progress=False)


def test_baselines() -> None:
    x = torch.from_numpy(images(2, 24))
    assert not BASELINES["black"](x).any()
    assert torch.allclose(BASELINES["mean"](x).std(dim=(2, 3)), torch.zeros(2, 3), atol=1e-6)
    blurred = BASELINES["blur"](x)
    assert blurred.shape == x.shape and blurred.std() < 0.4 * x.std()
    flat = torch.full((1, 3, 24, 24), 0.7)
    assert torch.allclose(BASELINES["blur"](flat), flat, atol=1e-6)


def test_maps_on_disk_resume(
    meso: Detector, noise: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = noise.take(range(21)), tmp_path / "maps.zarr"
    whole = attribute(meso, data, "integrated_gradients", steps=8, progress=False)
    asked: list[slice] = []
    whole_thing = explain._explain

    def stopping(*args: Any) -> Any:
        asked.append(args[-1])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole_thing(*args)

    monkeypatch.setattr(explain, "_explain", stopping)
    with pytest.raises(KeyboardInterrupt):
        attribute(meso, data, "integrated_gradients", steps=8, out=out, progress=False)
    with pytest.raises(StoreError, match="maps in .* are still missing: the run was interrupted"):
        AttributionMap.open(out)
    asked.append(slice(0, 0))
    found = attribute(meso, data, "integrated_gradients", steps=8, out=out, progress=False)
    assert sum(one.stop - one.start for one in asked) == 21 + (asked[1].stop - asked[1].start)
    np.testing.assert_array_equal(found.values, whole.values)
    asked.clear()
    attribute(meso, data, "integrated_gradients", steps=8, out=out, progress=False)
    assert not asked
    with pytest.raises(StoreError, match="holds maps that differ in options"):
        attribute(meso, data, "integrated_gradients", steps=9, out=out, progress=False)
    with pytest.raises(StoreError, match="differ in .*data"):
        attribute(meso, data.take(range(20)), "integrated_gradients", steps=8, out=out)


def test_nothing_foreign_is_touched(meso: Detector, tmp_path: Path) -> None:
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not a file of maps"):
        attribute(meso, images(1, 32), out=tmp_path / "other.zarr", progress=False)
    with pytest.raises(StoreError, match="written to a name in .zarr"):
        attribute(meso, images(1, 32), out=tmp_path / "maps", progress=False)
    assert [p.name for p in tmp_path.rglob("*")] == ["other.zarr", "letter.txt"]


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 4),
    side=st.integers(1, 6),
    channels=st.booleans(),
    gap=st.floats(-1e6, 1e6) | st.just(float("nan")),
    seed=st.integers(0, 999),
)
def test_maps_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    n: int,
    side: int,
    channels: bool,
    gap: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    arrays = {
        "attribution": rng.normal(size=(n, side, side)).astype(np.float32),
        "value": rng.normal(size=n).astype(np.float32),
        "gap": np.full(n, gap),
        "promised": rng.normal(size=n),
    }
    if channels:
        arrays["by_channel"] = rng.normal(size=(n, 3, side, side)).astype(np.float32)
    coords = {"sample": [f"größe/{i}" for i in range(n)]}
    attrs = {
        "result": "AttributionMap",
        "result_version": AttributionMap.VERSION,
        "method": "m",
        "signed": True,
        "options": "{}",
        "notes": "",
        "seed": 3,
    }
    made = AttributionMap(explain._labeled(arrays, coords, attrs))
    place = tmp_path_factory.mktemp("maps")
    made.save(place / "m.zarr")
    back = AttributionMap.open(place / "m.zarr")
    for name in made.data.variables:
        np.testing.assert_array_equal(back.data[name].values, made.data[name].values)
    with np.load(made.export(place / "m.npz")) as read:
        np.testing.assert_array_equal(read["attribution"], arrays["attribution"])
        assert list(read["sample"]) == coords["sample"]
        assert json.loads(str(read["attrs"]))["method"] == "m"
    for suffix in (".csv", ".parquet", ".tex", ".md"):
        assert back.export(place / f"m{suffix}").is_file()
    assert back.export(place / "again.npz").read_bytes() and len(back.to_dataframe()) == n


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 9), memory=st.integers(3, 60), method=st.sampled_from(SINGLE))
def test_batches_do_not_change_maps(meso: Detector, n: int, memory: int, method: str) -> None:
    x = images(n, 32)
    options = {"steps": 6} if method == "integrated_gradients" else {}
    one = attribute(meso, x, method, memory=f"{memory}M", progress=False, **options).values
    all_ = attribute(meso, x, method, progress=False, **options).values
    np.testing.assert_allclose(one, all_, atol=1e-5 * np.abs(all_).max())


def test_a_budget_too_small_is_said(meso: Detector) -> None:
    with pytest.raises(ProbeError, match=r"memory='100K' was given, and 1 image .* about \d+ MB"):
        attribute(meso, images(1, 32), memory="100K", progress=False)
    seen = prepare(meso, "deeplift").footprint
    least = int(1.6 * 1.5 * (seen.backward + 6 * seen.image))
    assert seen.rows(least, gradients=True, extra=4) == 1
    with pytest.raises(ProbeError, match="2 images at a time already take"):
        attribute(meso, images(1, 32), "deeplift", memory=least, progress=False)


def test_layers_are_chosen_where_maps_are() -> None:
    cases = {
        "meso4": (32, "conv4", "channels_first"),
        "timm:resnet18": (64, "layer4", "channels_first"),
        "timm:vit_tiny_patch16_224": (32, "blocks.10", "tokens"),
        "timm:swin_tiny_patch4_window7_224": (64, "norm", "channels_last"),
    }
    for name, (size, layer, kind) in cases.items():
        problem = prepare(load_detector(name, input_size=size), "gradcam")
        assert problem.layer.removeprefix("body.") == layer, name
        assert problem.grid is not None and problem.grid.kind == kind, name


def test_the_layer_of_a_unit_lies_before_it(meso: Detector) -> None:
    assert prepare(meso, "gradcam", target=("fc1", 3)).layer == "conv4"
    early = prepare(meso, "gradcam", target=("conv2", 3)).layer
    assert early.startswith(("conv", "bn", "pool", "relu"))
    with pytest.raises(ProbeError, match="does not depend on layer 'conv4', which comes after"):
        attribute(meso, images(1, 32), target=("conv2", 3), layer="conv4", progress=False)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"method": "gradcamm"}, UnknownNameError, "method 'gradcamm' .* mean 'gradcam'"),
        ({"layer": "conv5"}, UnknownNameError, "Layer 'conv5' is not known in meso4"),
        ({"layer": "fc1"}, ProbeError, "is not a map"),
        ({"method": "saliency", "layer": "conv4"}, ProbeError, "uses no layer"),
        ({"method": "saliency", "baseline": "black"}, ProbeError, "uses no baseline"),
        ({"method": "deeplift", "baseline": "blakc"}, UnknownNameError, "Did you mean 'black'"),
        ({"method": "deeplift", "steps": 5}, ProbeError, "deeplift has these: none"),
        ({"method": "integrated_gradients", "steps": "x"}, ProbeError, "such as 50"),
        ({"method": "occlusion", "window": -0.1}, ProbeError, "window=-0.1"),
        ({"method": "lime", "segments": "voronoi"}, ProbeError, "'slic' and 'grid'"),
        ({"target": "conv4"}, ProbeError, r"target='conv4' was given; allowed are 'logit'"),
        ({"target": ("conv4", 16)}, ProbeError, "allowed are 0 to 15"),
        ({"target": ("conv4", [])}, ProbeError, "names no unit"),
        ({"target": ("konv4", 1)}, UnknownNameError, "Did you mean 'conv4'"),
        ({"memory": "lots"}, ProbeError, "memory='lots'"),
    ],
)
def test_bad_input_is_answered(
    meso: Detector, how: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        attribute(meso, images(1, 32), progress=False, **how)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (images(1, 32)[0], r"shape \(3, 32, 32\) were given"),
        (np.zeros((0, 3, 32, 32)), "n > 0"),
        (np.zeros((1, 3, 32, 30)), r"side, side"),
        (255 * images(1, 32), "allowed is 0 to 1. Divide 8-bit images by 255"),
        (np.full((1, 3, 32, 32), np.nan), "from nan to nan"),
    ],
)
def test_bad_images_are_answered(meso: Detector, bad: Any, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        attribute(meso, bad, progress=False)
    with pytest.raises(ProbeError, match="Baselines"):
        attribute(meso, images(1, 32), "deeplift", baseline=bad, progress=False)


def test_weights_that_are_not_finite_are_said() -> None:
    module = Sum()
    module.fc.weight.data[0, 0] = float("nan")
    with pytest.raises(ProbeError, match="values that are not finite"):
        attribute(detector_of(module), images(), "input_x_gradient", progress=False)
