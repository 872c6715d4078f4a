"""Similarity of maps: the equation, the study's way, nulls, tables."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import structural_similarity

from probe.attribution.findings import BINS, MapSimilarity
from probe.attribution.maps import AttributionMap, MapWriter
from probe.attribution.similarity import magnitudes, map_similarity
from probe.errors import ProbeError, StoreError, UnknownNameError
from tests.attribution.mapping import maps_of, smooth

QUICK = {"n_resamples": 50, "n_permutations": 99, "progress": False}


def slow_ssim(x: np.ndarray, y: np.ndarray, scale: float) -> float:
    """Equation 13 of Wang et al. (2004), window by window, means over whole windows."""
    at = np.arange(-5, 6)
    line = np.exp(-(at**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * scale) ** 2, (0.03 * scale) ** 2
    out = []
    for i in range(5, len(x) - 5):
        for j in range(5, x.shape[1] - 5):
            a, b = (one[i - 5 : i + 6, j - 5 : j + 6] for one in (x, y))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            cov = (weights * (a - ma) * (b - mb)).sum()
            top = (2 * ma * mb + c1) * (2 * cov + c2)
            out.append(top / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(np.mean(out))


def test_corrected_is_the_equation_on_one_scale() -> None:
    maps = {name: smooth(3, seed=k) * (k + 1) for k, name in enumerate("abc")}
    found = map_similarity({name: maps_of(one) for name, one in maps.items()}, **QUICK).data
    pooled = np.concatenate([one.ravel() for one in maps.values()]).astype(np.float64)
    bound = np.percentile(np.abs(pooled), 99.5)
    assert found.attrs["range"] == pytest.approx(2 * bound)
    for pair in ("a|b", "a|c", "b|c"):
        one, other = (np.clip(maps[name].astype(float), -bound, bound) for name in pair.split("|"))
        expected = [slow_ssim(x, y, 2 * bound) for x, y in zip(one, other, strict=True)]
        np.testing.assert_allclose(found["similarity"].sel(pair=pair), expected, atol=1e-9)
    assert float(found["mean"][0]) == pytest.approx(float(found["similarity"].mean()))


def authors_by_hand(one: np.ndarray, other: np.ndarray, sign: float) -> float:
    """Color two maps by the printed JET of OpenCV, and take SSIM channel by channel."""
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0]
    pictures = []
    for values in (one, other):
        values = np.maximum(sign * values.astype(np.float64), 0)
        gray = 255 * (values - values.min()) / (values.max() - values.min())
        pictures.append(table[np.floor(gray).astype(int)].astype(np.float64))
    out = []
    for a, b in zip(*(np.moveaxis(p, 2, 0) for p in pictures), strict=True):
        windows = [np.lib.stride_tricks.sliding_window_view(p, (7, 7)) for p in (a, b)]
        (ma, mb), (va, vb) = ([f(w, axis=(2, 3)) for w in windows] for f in (np.mean, np.var))
        cov = (windows[0] * windows[1]).mean(axis=(2, 3)) - ma * mb
        # scikit-image's default: variances of samples, not of populations.
        va, vb, cov = (49 / 48 * v for v in (va, vb, cov))
        c1, c2 = 2.55**2, 7.65**2
        top = (2 * ma * mb + c1) * (2 * cov + c2)
        out.append((top / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())
    return float(np.mean(out))


@pytest.mark.parametrize(("class_zero", "sign"), [("real", -1.0), ("fake", 1.0)])
def test_authors_mode_is_what_the_study_does(class_zero: str, sign: float) -> None:
    one, other = smooth(3, seed=1), smooth(3, seed=2)
    found = map_similarity(
        {"base": maps_of(one), "deep": maps_of(other)},
        mode="authors",
        class_zero=class_zero,
        **QUICK,
    )
    expected = [authors_by_hand(a, b, sign) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(found.data["similarity"][:, 0], expected, atol=1e-9)
    assert "JET" in found.data.attrs["rule"]


def test_whose_jet_it_is_hardly_matters() -> None:
    jet = (matplotlib.colormaps["jet"](np.arange(256), bytes=True)[:, 2::-1]).astype(np.uint8)
    a, b = smooth(6, seed=1), smooth(6, seed=2)
    maps = {"a": maps_of(a), "b": maps_of(b)}
    found = map_similarity(maps, mode="authors", class_zero="fake", **QUICK).data
    for k, pair in enumerate(zip(a, b, strict=True)):
        gray = [np.maximum(one, 0) for one in pair]
        colored = [jet[(255 * (g - g.min()) / np.ptp(g)).astype(np.uint8)] for g in gray]
        other = structural_similarity(*colored, channel_axis=-1, data_range=255)
        assert float(found["similarity"][k, 0]) == pytest.approx(other, abs=0.02)


def test_authors_mode_does_not_see_scale_and_corrected_does() -> None:
    one = smooth(4)
    maps = {"a": maps_of(one), "b": maps_of(3 * one)}
    blind = map_similarity(maps, mode="authors", **QUICK).data
    seeing = map_similarity(maps, **QUICK).data
    assert float(blind["mean"][0]) > 0.999 and float(seeing["mean"][0]) < 0.9


@pytest.mark.parametrize("mode", ["corrected", "authors"])
def test_identical_maps_are_one_and_others_less(mode: str) -> None:
    one = smooth(8)
    maps = {"a": maps_of(one), "b": maps_of(one.copy())}
    found = map_similarity(maps, mode=mode, **QUICK).data
    np.testing.assert_allclose(found["similarity"], 1, atol=1e-9)
    assert (found["null"] < 0.9).all()
    assert found["count"].values.tolist() == [[0, 0, 8]]
    # Eight clusters swap in 256 ways, of which 99 were drawn.
    assert float(found["over_null_p"][0]) <= 0.05 and float(found["over_null_low"][0]) > 0


def two_datasets(n: int = 24) -> dict[str, list]:
    return {
        "dataset": ["one"] * (n // 2) + ["two"] * (n // 2),
        "label": [i % 2 for i in range(n)],
        "cluster": [str(i // 2) for i in range(n)],
    }


def test_null_takes_other_people_of_the_same_dataset_and_label() -> None:
    """Maps are constants that say whose they are, so that the null shows what was drawn."""
    about = two_datasets(8)
    base = np.zeros((8, 16, 16)) + 1
    codes = np.arange(1, 9)[:, None, None] * np.ones((8, 16, 16))
    found = map_similarity(
        {"a": maps_of(base, **about), "b": maps_of(codes, **about)}, n_null=3, **QUICK
    ).data
    with_each = [slow_ssim(base[0], np.clip(one, -8, 8), 16) for one in codes]
    able = {0: [2], 1: [3], 2: [0], 3: [1], 4: [6], 5: [7], 6: [4], 7: [5]}
    for i, others in able.items():
        assert float(found["null"][i, 0]) == pytest.approx(with_each[others[0]], abs=1e-6)


def test_variants_that_share_nothing_are_at_their_null() -> None:
    """p is uniform: at most a tenth and its binomial error below .1."""
    below = 0
    for seed in range(30):
        a, b = smooth(16, 16, seed), smooth(16, 16, 1000 + seed)
        found = map_similarity(
            {"a": maps_of(a), "b": maps_of(b)},
            seed=seed,
            n_resamples=2,
            n_permutations=99,
            progress=False,
        )
        below += float(found.data["over_null_p"][0]) <= 0.1
    assert below <= 7


def test_seeds_say_what_trainings_share() -> None:
    about, core = two_datasets(), smooth(24)
    noisy = [core + 0.2 * smooth(24, seed=k) for k in range(1, 4)]
    far = [core + 2 * smooth(24, seed=k) for k in range(4, 6)]
    variants = {f"v{k}": maps_of(one, **about) for k, one in enumerate(far)}
    seeds = [maps_of(one, **about) for one in noisy]
    found = map_similarity(variants, seeds=seeds, **QUICK)
    data = found.data.sel(dataset="all")
    assert float(data["null_mean"]) < float(data["mean"]) < float(data["retrained_mean"])
    assert float(data["over_retrained_high"]) < 0 and float(data["over_retrained_p"]) < 0.05
    alone = map_similarity(variants, **QUICK).data
    np.testing.assert_array_equal(alone["similarity"], found.data["similarity"])
    pooled = np.concatenate([one.astype(np.float32).ravel() for one in noisy])
    bound = np.percentile(np.abs(pooled.astype(float)), 99.5)
    pairs = [(0, 1), (0, 2), (1, 2)]
    clipped = [np.clip(one[5].astype(np.float32).astype(float), -bound, bound) for one in noisy]
    by_hand = np.mean([slow_ssim(clipped[a], clipped[b], 2 * bound) for a, b in pairs])
    assert float(found.data["retrained"][5]) == pytest.approx(by_hand, abs=1e-9)


def test_tables_count_and_say_what_is_missing(tmp_path: Path) -> None:
    about = two_datasets()
    about["cluster"][12:] = ["0"] * 12
    maps = {name: maps_of(smooth(24, seed=k), **about) for k, name in enumerate("ab")}
    found = map_similarity(maps, **QUICK)
    frame = found.to_dataframe().set_index("dataset")
    assert list(frame.index) == ["one", "two", "all"]
    assert frame["n_clusters"].tolist() == [6, 1, 7] and frame["n_samples"].sum() == 48
    assert np.isfinite(frame.loc["one", "low"]) and np.isnan(frame.loc["two", "low"])
    assert "No interval: 1 clusters" in frame.loc["two", "reason"]
    assert "no other of another cluster" in frame.loc["two", "reason"]
    assert np.isnan(frame.loc["two", "over_null_p"]) and np.isfinite(frame.loc["two", "mean"])
    counts = frame[[f"count_{name}" for name in BINS]].to_numpy()
    own = found.images()["similarity"].to_numpy()
    whole = [(own < 0.7).sum(), ((own >= 0.7) & (own < 0.9)).sum(), (own >= 0.9).sum()]
    assert counts[2].tolist() == whole and counts[0].sum() == counts[1].sum() == 12
    found.save(tmp_path / "s.zarr")
    again = MapSimilarity.open(tmp_path / "s.zarr")
    assert again.to_dataframe().equals(found.to_dataframe())
    assert again.images().equals(found.images())
    again.export(tmp_path / "s.csv")
    assert (tmp_path / "s-images.csv").is_file() and (tmp_path / "s.csv.json").is_file()
    with pytest.raises(StoreError, match="is not a map similarity"):
        maps["a"].save(tmp_path / "m.zarr")
        MapSimilarity.open(tmp_path / "m.zarr")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100), st.sampled_from(["corrected", "authors"]))
def test_order_unit_and_pair_do_not_matter(seed: int, unit: float, mode: str) -> None:
    a, b, c = (smooth(2, 12, seed % 10**6 + k) for k in range(3))
    first = map_similarity({"a": maps_of(a), "b": maps_of(b), "c": maps_of(c)}, mode=mode, **QUICK)
    scaled = {"c": maps_of(unit * c), "b": maps_of(unit * b), "a": maps_of(unit * a)}
    again = map_similarity(scaled, mode=mode, **QUICK)
    tolerance = 1e-4 if mode == "corrected" else 2e-2  # gray levels may round the other way
    for data, other in ((first.data, again.data),):
        assert (np.abs(data["similarity"]) <= 1 + 1e-9).all()
        np.testing.assert_allclose(
            data["similarity"].mean("pair"), other["similarity"].mean("pair"), atol=tolerance
        )


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-10, 10, width=32)),
    st.integers(1, 60),
    st.sampled_from([0.0, 37.5, 50.0, 99.5, 100.0]),
)
def test_magnitudes_are_numpys_percentile(values: np.ndarray, step: int, q: float) -> None:
    blocks = [values[k : k + step] for k in range(0, len(values), step)]
    found, largest = magnitudes(lambda: blocks, q)
    whole = np.abs(values.astype(np.float64))
    assert found == np.percentile(whole, q) and largest == whole.max()  # to the last bit


def test_magnitudes_of_many_values() -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=70_001) ** 3).astype(np.float32)
    found, _ = magnitudes(lambda: np.array_split(values, 7), 99.5)
    assert found == np.percentile(np.abs(values.astype(np.float64)), 99.5)


@pytest.mark.parametrize("mode", ["corrected", "authors"])
def test_maps_on_disk_are_read_some_at_a_time(mode: str, tmp_path: Path) -> None:
    """As from memory, whatever the blocks; eight times the maps take no more."""
    peaks = []
    for n in (12, 96):
        opened, whole = {}, {}
        for k, name in enumerate("ab"):
            whole[name] = maps_of(smooth(n, 64, seed=k), cluster=[str(i % 6) for i in range(n)])
            data = whole[name].data
            coords = {
                "sample": data["sample"].values,
                "cluster": ("sample", data["cluster"].values),
            }
            file = tmp_path / f"{name}{n}.zarr"
            writer = MapWriter.begin(file, coords, 64, False, data.attrs, 4)
            values = {key: value.values for key, value in data.data_vars.items()}
            writer.write(slice(0, n), values | {"promised": np.full(n, np.nan)})
            opened[name] = AttributionMap.open(file, lazy=True)
        tracemalloc.start()
        found = map_similarity(opened, mode=mode, **QUICK).data
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        held = map_similarity(whole, mode=mode, **QUICK).data
        np.testing.assert_array_equal(found["similarity"], held["similarity"])
        np.testing.assert_array_equal(found["null"], held["null"])
    # The maps of 96 are 3.1 MB, and were 16 MB as they were held.
    assert peaks[1] < peaks[0] + 1e6


def test_bad_input_says_what_to_do() -> None:
    one = maps_of(smooth(4))
    with pytest.raises(ProbeError, match="two or more"):
        map_similarity({"base": one})
    with pytest.raises(ProbeError, match="not of the same samples .*t0, s0"):
        map_similarity({"a": one, "b": maps_of(smooth(4), samples=["t0", "s1", "s2", "s3"])})
    with pytest.raises(ProbeError, match="3 and 4 maps"):
        map_similarity({"a": one, "b": maps_of(smooth(3))})
    with pytest.raises(ProbeError, match="32 × 32 pixels and those of a 24 × 24"):
        map_similarity({"a": one, "b": maps_of(smooth(4, 32))})
    with pytest.raises(ProbeError, match="one training"):
        map_similarity({"a": one, "b": one}, seeds=[one])
    with pytest.raises(ProbeError, match="not finite"):
        map_similarity({"a": one, "b": maps_of(np.full((4, 24, 24), np.nan))})
    with pytest.raises(ProbeError, match="All maps are 0"):
        map_similarity(dict.fromkeys("ab", maps_of(np.zeros((4, 24, 24)))))
    with pytest.raises(ProbeError, match="11 pixels"):
        map_similarity(dict.fromkeys("ab", maps_of(smooth(4, 8))))
    with pytest.raises(ProbeError, match="n_null=0"):
        map_similarity({"a": one, "b": one}, n_null=0)
    with pytest.raises(UnknownNameError, match="Did you mean 'authors'"):
        map_similarity({"a": one, "b": one}, mode="author")
    with pytest.raises(UnknownNameError, match="real, fake"):
        map_similarity({"a": one, "b": one}, mode="authors", class_zero="0")
    for other in (maps_of(smooth(4), method="saliency"), maps_of(smooth(4), signed=False)):
        with pytest.raises(ProbeError, match="signed Grad-CAM of the fake logit"):
            map_similarity({"a": other, "b": other}, mode="authors")
