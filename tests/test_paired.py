"""Paired differences of two detectors, against slow and independent computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from probe.errors import ProbeError
from probe.evaluation import paired
from probe.evaluation.paired import (
    common_scores,
    mean_by_cluster,
    resample_scores,
    score_differences,
)
from probe.stats import METRICS, benjamini_hochberg, cluster_bootstrap, cluster_weights, sigmoid


def drawn(seed: int, n: int = 400, shift: float = 1.0, clusters: int = 20) -> pd.DataFrame:
    """Scores of one detector; images are the same whatever the seed."""
    rng = np.random.default_rng(seed)
    place = np.arange(n)
    label = place % 2
    return pd.DataFrame(
        {
            "dataset": np.where(place < n // 2, "alpha", "beta"),
            "sample": [f"s{i}" for i in place],
            "video": [f"v{i // 4}" for i in place],
            "label": label,
            "cluster": place % clusters // 2,
            "logit": rng.normal(size=n) + shift * label,
        }
    )


def test_bounds_are_those_of_resampling_both_together() -> None:
    one, other = drawn(0, shift=2.0), drawn(1, shift=0.5)
    found = score_differences(one, other, n_resamples=200, seed=3)
    for dataset in ("alpha", "beta"):
        a, b = (t[t["dataset"] == dataset] for t in (one, other))
        weights = cluster_weights(a["cluster"], 200, 3)
        for metric, measure in METRICS.items():
            both = [measure(t["label"], sigmoid(t["logit"]), weights) for t in (a, b)]
            slow = both[0] - both[1]
            got = found.sel(dataset=dataset, level="frame", metric=metric)
            exact = [measure(t["label"], sigmoid(t["logit"]), None)[0] for t in (a, b)]
            assert float(got["difference"]) == pytest.approx(exact[0] - exact[1])
            bounds = float(got["low"]), float(got["high"])
            assert bounds == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])))
            tail = min((slow <= 0).sum(), (slow >= 0).sum())
            assert float(got["p"]) == pytest.approx(min(1, 2 * (tail + 1) / 201))
    p = found["p"].sel(level="frame", metric="auroc").values
    np.testing.assert_allclose(
        found["q"].sel(level="frame", metric="auroc").values, benjamini_hochberg(p)
    )
    assert float(found["low"].sel(level="frame", metric="auroc").min()) > 0


def test_single_detectors_are_resampled_as_the_matrix_is() -> None:
    table = drawn(0)
    rows = table[table["dataset"] == "beta"]
    draws = resample_scores(table, n_resamples=100, seed=7)["draw"]
    got = draws.sel(dataset="beta", level="frame", metric="eer").values
    wanted = cluster_bootstrap(
        METRICS["eer"],
        rows["label"],
        sigmoid(rows["logit"]),
        rows["cluster"],
        n_resamples=100,
        seed=7,
    )
    assert np.percentile(got, [2.5, 97.5]) == pytest.approx([wanted.low, wanted.high])


def test_a_video_is_the_mean_of_its_frames() -> None:
    table = drawn(0)
    found = resample_scores(table, metrics=["auroc"], n_resamples=10)
    rows = table[table["dataset"] == "alpha"].assign(p=lambda t: sigmoid(t["logit"]))
    means = rows.groupby(["video", "label"])["p"].mean().reset_index()
    wanted = METRICS["auroc"](means["label"], means["p"], None)[0]
    assert float(found["value"].sel(dataset="alpha", level="video", metric="auroc")) == wanted
    assert int(found["n_samples"].sel(dataset="alpha", level="video")) == len(means)


def test_bins_change_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = drawn(0, n=4000)
    fine = resample_scores(table, levels=["frame"], n_resamples=50)["draw"]
    monkeypatch.setattr(paired, "GRID", 256)
    coarse = resample_scores(table, levels=["frame"], n_resamples=50)["draw"]
    gap = np.abs(fine - coarse).max(("dataset", "level", "resample"))
    assert float(gap.sel(metric="auroc")) < 5e-4
    assert float(gap.sel(metric="accuracy")) == pytest.approx(0, abs=1e-12)
    assert float(gap.max()) < 0.01 and float(gap.sel(metric="auroc")) > 0


def test_only_common_images_are_compared_whatever_their_order() -> None:
    one, other = drawn(0), drawn(1)
    shuffled = other.sample(frac=0.7, random_state=0)
    a, b = common_scores(one, shuffled)
    assert len(a) == len(shuffled) and list(a["sample"]) == list(b["sample"])
    assert list(a["sample"]) == [s for s in one["sample"] if s in set(shuffled["sample"])]
    wanted = other.set_index("sample")["logit"].loc[a["sample"]]
    np.testing.assert_array_equal(b["logit"].to_numpy(), wanted.to_numpy())


def test_what_cannot_be_paired_is_refused() -> None:
    one, other = drawn(0), drawn(1)
    with pytest.raises(ProbeError, match="no image in common"):
        common_scores(one, other.assign(sample="x" + other["sample"]))
    with pytest.raises(ProbeError, match="400 images are labeled differently"):
        common_scores(one, other.assign(label=1 - other["label"]))
    with pytest.raises(ProbeError, match="different images"):
        paired.differences(resample_scores(one), resample_scores(other.iloc[:-4]))


def test_few_clusters_and_one_class_have_a_reason_and_no_interval() -> None:
    one, other = (drawn(seed, clusters=6) for seed in (0, 1))
    found = score_differences(one, other, n_resamples=50)
    assert set(found["reason"].values.ravel()) == {"3 clusters; an interval takes 5"}
    assert np.isnan(found["low"]).all() and np.isfinite(found["difference"]).all()
    one, other = (drawn(seed).assign(label=1) for seed in (0, 1))
    found = score_differences(one, other, metrics=["auroc"], n_resamples=50)
    assert set(found["reason"].values.ravel()) == {"one class only"}
    assert np.isnan(found["p"]).all()


def test_a_detector_differs_from_itself_by_nothing() -> None:
    one = drawn(0)
    found = score_differences(one, one, n_resamples=50)
    assert (found["difference"] == 0).all() and (found["p"] == 1).all()


def test_half_of_the_tests_on_equal_detectors_have_p_below_one_half() -> None:
    found = [
        float(
            score_differences(
                drawn(2 * k, 80, clusters=80),
                drawn(2 * k + 1, 80, clusters=80),
                metrics=["auroc"],
                levels=["frame"],
                n_resamples=100,
            )["p"]
            .isel(dataset=0)
            .squeeze()
        )
        for k in range(60)
    ]
    assert 0.3 < np.mean(np.array(found) < 0.5) < 0.75 and np.mean(np.array(found) < 0.05) < 0.2


def test_a_mean_over_clusters() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(10), 8)
    values = rng.normal(size=10)[cluster] + rng.normal(scale=0.01, size=80)
    values[3] = np.nan
    found = mean_by_cluster(values, cluster)
    assert found.estimate == pytest.approx(np.nanmean(values)) and found.n_samples == 79
    # Ten clusters, not eighty samples, decide the width.
    assert found.high - found.low > 2.5 * np.nanstd(values) / np.sqrt(10)
    assert np.isnan(mean_by_cluster([np.nan], [0]).estimate)
