"""Attention by region: planted truths, chance, tables, figures and sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from probe.attribution import regions as looking
from probe.attribution.findings import RegionAttention
from probe.attribution.regions import (
    BY_LANDMARKS,
    FaceRegions,
    attention_by_region,
    landmark_regions,
)
from probe.attribution.similarity import map_similarity
from probe.attribution.targets import FLOOR, estimate_mean, estimate_ratio, exchanged, swapped
from probe.datasets import Dataset, Samples
from probe.errors import ProbeError, StoreError
from probe.plots import plot_map_similarity, plot_region_attention, save_figure
from probe.report.attribution import (
    attention,
    similarity,
)
from tests.attribution.mapping import maps_of, smooth, table_of

SIZE, PEOPLE = 32, 12
QUICK = {"n_resamples": 100, "n_permutations": 199, "progress": False}
NAMES = ["one", "two", "three"]

#: A face that all images show: one region map is enough to know all answers.
FACE = landmark_regions(np.array([[11, 12], [21, 12], [16, 18], [12, 23], [20, 23]]), SIZE, SIZE)
MOUTH = BY_LANDMARKS.index("mouth")


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give all images the same face, and none to the first of dataset "none"."""

    def find(data: Dataset, source: str) -> FaceRegions:
        names = data.samples.table["sample"].tolist()
        return FaceRegions(
            "landmarks",
            BY_LANDMARKS,
            lambda i, h, w: None if names[i].startswith("none-0") else FACE,
            "by hand",
        )

    monkeypatch.setattr(looking, "face_regions", find)


def noise(data: Dataset, seed: int) -> np.ndarray:
    """Draw maps that differ from person to person and say nothing of dataset or label."""
    return smooth(len(data), SIZE, seed) + 0.3


def looked(values: np.ndarray, data: Dataset, **options: object) -> RegionAttention:
    maps = maps_of(values, samples=data.samples.table["sample"])
    return attention_by_region(maps, data, **{**QUICK, **options})  # type: ignore[arg-type]


def test_shares_are_sums_by_hand(faces: None, tmp_path: Path) -> None:
    data = table_of(tmp_path, NAMES, PEOPLE)
    values = noise(data, 0)
    found = looked(values, data).data
    for i in (0, 7):
        for part, sign in (("positive", 1), ("negative", -1)):
            mass = np.maximum(sign * values[i].astype(np.float64), 0)
            for k, name in enumerate(BY_LANDMARKS):
                expected = mass[FACE == k].sum() / mass.sum()
                one = found["image_share"].sel(part=part, region=name)[i]
                assert float(one) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(found["image_share"].sum("region"), 1)
    np.testing.assert_allclose(found["area"].sel(part="positive").sum("region"), 1)
    group = found.sel(group="two: fake", part="positive")
    rows = (data.samples.table["dataset"] == "two") & (data.samples.table["label"] == 1)
    own = found["image_share"].sel(part="positive").values[rows.to_numpy()].mean(axis=0)
    np.testing.assert_allclose(group["share"], own)
    np.testing.assert_allclose(
        group["concentration"], np.log2(np.maximum(own / group["area"].values, 2**FLOOR))
    )
    assert (group["concentration_low"] <= group["concentration"]).all()


def test_even_maps_are_even_and_find_nothing(faces: None, tmp_path: Path) -> None:
    data = table_of(tmp_path, NAMES, PEOPLE)
    scale = np.random.default_rng(0).uniform(0.1, 9, (len(data), 1, 1))
    found = looked(np.ones((len(data), SIZE, SIZE)) * scale, data).data.sel(part="positive")
    for name in ("concentration", "concentration_low", "concentration_high"):
        np.testing.assert_allclose(found[name], 0, atol=1e-6)
    fakes = found.sel(group=[name for name in found["group"].values if "fake" in name])
    np.testing.assert_allclose(fakes["change"], 0, atol=1e-6)
    for name in ("p", "q"):
        np.testing.assert_allclose(found[name], 1)
    for name in ("change_p", "other_p", "other_q"):
        np.testing.assert_allclose(fakes[name], 1)


def planted(data: Dataset, seed: int = 1) -> np.ndarray:
    """Fakes of dataset "two" look at the mouth."""
    values = noise(data, seed)
    table = data.samples.table
    rows = ((table["dataset"] == "two") & (table["label"] == 1)).to_numpy()
    values[rows] += 2.0 * (FACE == MOUTH)
    return values


def test_attention_of_one_method_is_found_and_only_that(faces: None, tmp_path: Path) -> None:
    data = table_of(tmp_path, NAMES, PEOPLE)
    whole = looked(planted(data), data, n_permutations=4999)
    said = next(one for one in whole.summary().split("\n") if one.startswith("two: fake"))
    assert (
        "changed from the paired reals on" in said
        and "differently from the other datasets on" in said
    )
    found = whole.data.sel(part="positive")
    at = found.sel(region="mouth")
    for q in ("q", "change_q", "other_q"):
        assert float(at[q].sel(group="two: fake")) <= 0.05, q
    assert float(at["concentration_low"].sel(group="two: fake")) > 1
    assert float(at["change_low"].sel(group="two: fake")) > 1
    real = found.sel(group=[f"{name}: real" for name in NAMES])
    assert (real["q"] > 0.05).all() and np.isnan(real["change"]).all()
    # A group is held against the others, so that they differ from a rest that holds "two".
    others = found.sel(group=["one: fake", "three: fake"])
    assert (others["change_q"] > 0.05).all()


def test_chance_is_found_no_more_often_than_it_should(faces: None, tmp_path: Path) -> None:
    """Any finding at q ≤ .1 among all tests of a question, where there is nothing to find."""
    data = table_of(tmp_path, NAMES, 8)
    hits = {"q": 0, "change_q": 0, "other_q": 0}
    runs = 30
    for seed in range(runs):
        found = looked(noise(data, seed), data, n_resamples=1, seed=seed).data
        for name in hits:
            hits[name] += bool((found[name] <= 0.1).any())
    # Binomial(30, .1): more than 7 in less than one of fifty cases.
    assert max(hits.values()) <= 7, hits


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(0.1, 10))
def test_ratios_by_brute_force(seed: int, n: int, unit: float) -> None:
    """All exchanges of few clusters, one by one, and a unit that does not matter."""
    rng = np.random.default_rng(seed)
    top, low = rng.uniform(0.1, 1, (2, 2 * n, 3))
    clusters, inside = np.tile(np.arange(n), 2), np.repeat([True, False], n)
    found = exchanged([(top, low, 1)], inside, clusters, 10**4, 0)

    def statistic(sets: np.ndarray) -> np.ndarray:
        values, errors = [], []
        for s in (sets, ~sets):
            values.append(np.log2(top[s].mean(0) / low[s].mean(0)))
            residual = top[s] / top[s].mean(0) - low[s] / low[s].mean(0)
            errors.append((residual**2).mean(0) / np.log(2) ** 2 / s.sum())
        return np.abs(values[0] - values[1]) / (np.sqrt(sum(errors)) + 1e-6)

    observed, reached = statistic(inside), np.zeros(3)
    for code in range(2**n):
        swap = np.tile((code >> np.arange(n)) & 1 > 0, 2)
        reached += statistic(inside ^ swap) >= observed - 1e-9
    np.testing.assert_allclose(found, reached / 2**n)
    np.testing.assert_allclose(exchanged([(unit * top, low, 1)], inside, clusters, 10**4, 0), found)
    one = estimate_ratio([(top, low, 1)], clusters, 50, 0.9, 1)
    np.testing.assert_allclose(one.value, np.log2(top.sum(0) / low.sum(0)))
    assert np.isfinite(one.low).all() == (n >= 5)


def test_means_and_swaps() -> None:
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(1, 1, 40), np.repeat(np.arange(10), 4)
    found = estimate_mean(np.append(values, np.nan), np.append(clusters, 3), 400, 0.95, 0)
    assert found.value == pytest.approx(values.mean()) and found.low < 1 < found.high
    assert np.isnan(estimate_mean(values[:8], clusters[:8], 10, 0.9, 0).low)
    assert np.isnan(estimate_mean(np.full(5, np.nan), np.arange(5), 10, 0.9, 0).value)
    assert swapped(values, values - 1, clusters, 999, 0) < 0.01
    assert swapped(values, values, clusters, 999, 0) == 1
    assert np.isnan(swapped(values[:4], values[:4] - 1, clusters[:4], 999, 0))


def mixed(root: Path) -> tuple[Dataset, np.ndarray]:
    """Make datasets with all there is, and one of two people, one of them without a face."""
    whole, few = table_of(root, NAMES, 6), table_of(root, ["none"], 2)
    table = whole.samples.table
    joined = Samples(pd.concat([table, few.samples.table], ignore_index=True))
    data = Dataset("made", joined, root, {})
    values = planted(data)
    values[3] = -np.abs(values[3])  # no positive mass
    return data, values


def test_what_is_missing_is_counted_and_named(
    faces: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, values = mixed(tmp_path)
    found = looked(values, data)
    by_group = found.to_dataframe().drop_duplicates("group").set_index("group")
    assert by_group.loc["none: fake", ["n_samples", "n_faceless"]].tolist() == [2, 1]
    assert "1 clusters, fewer than 5" in by_group.loc["none: real", "reason"]
    assert found.data.attrs["faceless"] == ["none-0-0", "none-0-1"]
    used = found.data["n_used"].sel(group="one: fake")
    assert used.values.tolist() == [5, 6] and by_group.loc["one: fake", "n_pairs"] == 5
    said = found.summary().replace("\n", " ")
    assert "No face was found in 2 of 40 images" in said and "none-0-1" in said
    assert "two: fake: most on mouth" in said
    attention(found)
    assert "positive mass" in capsys.readouterr().out


def test_round_trip_and_companions(faces: None, tmp_path: Path) -> None:
    found = looked(*mixed(tmp_path)[::-1])
    found.save(tmp_path / "looking.zarr")
    again = RegionAttention.open(tmp_path / "looking.zarr")
    assert again.to_dataframe().equals(found.to_dataframe())
    assert again.images().equals(found.images())
    assert again.summary() == found.summary()
    assert len(found.to_dataframe()) == 8 * 2 * len(BY_LANDMARKS)
    again.export(tmp_path / "looking.csv")
    assert (tmp_path / "looking-images.csv").is_file()
    assert "landmarks" in (tmp_path / "looking.csv.json").read_text(encoding="utf-8")
    with pytest.raises(StoreError, match="is not a region attention"):
        maps_of(smooth(2)).save(tmp_path / "maps.zarr")
        RegionAttention.open(tmp_path / "maps.zarr")


def test_unsigned_maps_have_one_mass(faces: None, tmp_path: Path) -> None:
    data = table_of(tmp_path, NAMES, PEOPLE)
    maps = maps_of(np.abs(noise(data, 0)), samples=data.samples.table["sample"], signed=False)
    found = attention_by_region(maps, data, **QUICK)
    assert found.data["part"].values.tolist() == ["magnitude"]
    assert "share of mass over" in plot_region_attention(found).get_supxlabel()
    nothing = found.data.assign(concentration=found.data["concentration"] * np.nan)
    with pytest.raises(ProbeError, match="0 everywhere"):
        plot_region_attention(RegionAttention(nothing))


def test_some_samples_in_any_order(faces: None, tmp_path: Path) -> None:
    data = table_of(tmp_path, NAMES, PEOPLE)
    values, order = planted(data), np.random.default_rng(0).permutation(len(data))
    whole = looked(values, data).to_dataframe().set_index(["group", "part", "region"])
    maps = maps_of(values[order], samples=data.samples.table["sample"].to_numpy()[order])
    again = attention_by_region(maps, data, **QUICK).to_dataframe()
    again = again.set_index(["group", "part", "region"]).loc[whole.index]
    for name in ("share", "concentration", "change"):
        np.testing.assert_allclose(again[name], whole[name])
    some = maps.take(np.flatnonzero(data.labels[order] == 1))
    fakes = attention_by_region(some, data, **QUICK).data
    assert all("fake" in name for name in fakes["group"].values)
    assert np.isnan(fakes["change"]).all() and (fakes["n_pairs"] == 0).all()


def test_bad_input_says_what_to_do(faces: None, tmp_path: Path) -> None:
    data = table_of(tmp_path, ["one"], 3)
    with pytest.raises(ProbeError, match="of 2 samples are not of 'made', such as 's0'"):
        attention_by_region(maps_of(smooth(2)), data)
    with pytest.raises(ProbeError, match="not finite"):
        looked(np.full((6, SIZE, SIZE), np.nan), data)
    with pytest.raises(ProbeError, match="ci=2"):
        looked(noise(data, 0), data, ci=2)
    none = table_of(tmp_path, ["none"], 1)
    with pytest.raises(ProbeError, match="No face was found in any of 2 images"):
        looked(noise(none, 0), none)


def test_figures_show_what_there_is(faces: None, tmp_path: Path) -> None:
    data, values = mixed(tmp_path)
    found = looked(values, data)
    ids = data.samples.table["sample"]
    of = data.samples.table["dataset"]
    about = {"dataset": of, "label": data.labels, "cluster": data.samples.clusters.astype(str)}
    maps = {str(k): maps_of(smooth(40, SIZE, k), samples=ids, **about) for k in range(2)}
    alike = map_similarity(maps, seeds=list(maps.values()), **QUICK)
    figures = {
        "regions": lambda: plot_region_attention(found),
        "change": lambda: plot_region_attention(found, "change", "negative"),
        "similarity": lambda: plot_map_similarity(alike),
    }
    for name, draw in figures.items():
        first = save_figure(draw(), tmp_path / f"{name}.png", dpi=100)
        again = save_figure(draw(), tmp_path / f"{name}-again.png", dpi=100)
        gray = np.asarray(Image.open(first).convert("L"))
        assert min(gray.shape) > 150 and gray.std() > 5
        assert first.read_bytes() == again.read_bytes()


def test_similarity_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    core = smooth(8)
    maps = {"base": maps_of(core), "deep": maps_of(core + 0.3 * smooth(8, seed=1))}
    apart = [maps_of(smooth(8, seed=k)) for k in (2, 3)]
    found = map_similarity(maps, seeds=apart, **QUICK)
    said = found.summary().replace("\n", " ")
    assert "more similar than maps of different images" in said and "Gaussian window" in said
    assert "more similar than maps of two trainings" in said
    similarity(found)
    assert "other seeds" in capsys.readouterr().out
