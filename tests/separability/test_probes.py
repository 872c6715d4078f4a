"""Differences of probes: draw by draw, against the same resamples written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probe.errors import ProbeError
from probe.separability import SeparabilityReport, measure_separability, probe_differences
from probe.separability.features import bounds, pairs_of, resampled
from probe.stats import cluster_counts
from tests.separability.making import gaussians
from tests.separability.test_separability import FEW, study


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[SeparabilityReport, ...]:
    """A detector whose features tell fakes, and one whose features tell less, of one data."""
    root = tmp_path_factory.mktemp("pair")
    stores = [study(root / f"{s}.zarr", shift=s, people=20) for s in (2.5, 1.0)]
    return tuple(measure_separability(one, ["fc"], **FEW) for one in stores)


def test_a_draw_is_the_auroc_of_a_resample() -> None:
    values, labels, clusters = gaussians(240, 1, 1.0, people=12)
    scores = values[:, 0].astype(float)
    found = resampled(pairs_of(labels, scores, clusters).auroc, 12, 50, seed=3)
    for row, draw in zip(cluster_counts(12, 50, 3), found, strict=True):
        weights = row[clusters]
        assert draw == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_bounds_are_percentiles_of_the_draws() -> None:
    values, labels, clusters = gaussians(120, 1, 1.0, people=10)
    statistic = pairs_of(labels, values[:, 0], clusters).auroc
    draws = resampled(statistic, 10, 300, 0)
    assert bounds(statistic, 10, 300, 0.9, 0) == pytest.approx(tuple(np.percentile(draws, [5, 95])))
    assert np.isnan(bounds(statistic, 4, 300, 0.9, 0)).all()
    assert np.isnan(resampled(statistic, 4, 30, 0)).all()
    assert len(resampled(statistic, 10, 0, 0)) == 0


def test_reports_keep_the_draws_of_their_intervals(pair: tuple[SeparabilityReport, ...]) -> None:
    data = pair[0].data
    draws = data["probe_draw"].values
    probe = data.sel(measure="probe_auroc")
    ends = np.percentile(draws, [2.5, 97.5], axis=-1)
    np.testing.assert_allclose(ends[0], probe["low"].values, atol=1e-6)
    np.testing.assert_allclose(ends[1], probe["high"].values, atol=1e-6)


def test_differences_are_those_of_the_same_people(pair: tuple[SeparabilityReport, ...]) -> None:
    found = probe_differences(*pair, ci=0.9)
    assert found["difference"].dims == ("layer", "dataset") and found.attrs["ci"] == 0.9
    for dataset in ("a", "b"):
        one, other = (report.data.sel(layer="fc", dataset=dataset) for report in pair)
        draws = one["probe_draw"].values.astype(float) - other["probe_draw"].values.astype(float)
        cell = found.sel(layer="fc", dataset=dataset)
        value = one["value"].sel(measure="probe_auroc") - other["value"].sel(measure="probe_auroc")
        assert float(cell["difference"]) == pytest.approx(float(value))
        # Nadeau and Bengio 2003: the variance of a mean over 5 folds, σ² / 5, is σ² (1/5 + 1/4).
        gaps = float(value) + np.sqrt((1 / 5 + 1 / 4) / (1 / 5)) * (draws - float(value))
        assert [float(cell["low"]), float(cell["high"])] == pytest.approx(
            list(np.percentile(gaps, [5, 95]))
        )
        tail = min((gaps <= 0).sum(), (gaps >= 0).sum())
        assert float(cell["p"]) == pytest.approx(min(1, 2 * (tail + 1) / (len(gaps) + 1)))
    assert (found["low"] > 0).all() and (found["q"] <= 0.05).all(), "planted: one tells more"
    turned = probe_differences(*pair[::-1], ci=0.9)
    np.testing.assert_allclose(turned["difference"], -found["difference"])
    np.testing.assert_allclose(turned["low"], -found["high"])
    np.testing.assert_array_equal(turned["p"], found["p"])


def test_a_detector_does_not_differ_from_itself(pair: tuple[SeparabilityReport, ...]) -> None:
    found = probe_differences(pair[0], pair[0])
    assert (found["difference"] == 0).all() and (found["p"] == 1).all()
    assert (found["low"] == 0).all() and (found["high"] == 0).all()


def test_paired_intervals_are_narrower(pair: tuple[SeparabilityReport, ...]) -> None:
    """What is hard for both cancels: the two share most of their noise."""
    found = probe_differences(*pair)
    widths = [report.data.sel(measure="probe_auroc") for report in pair]
    alone = np.sqrt(sum(((one["high"] - one["low"]) ** 2).values for one in widths))
    narrowed = (found["high"] - found["low"]).values / found.attrs["widened"]
    assert (narrowed <= alone * 1.1).all()


@pytest.mark.slow
def test_detectors_that_tell_the_same_are_seldom_called_different(tmp_path: Path) -> None:
    """Their features are drawn apart, so that their probes differ as those of other people do."""
    p = []
    for draw in range(60):
        reports = []
        for k in range(2):
            path = tmp_path / f"{draw}-{k}.zarr"
            store = study(path, people=20, seed=2 * draw + k)
            few = {"n_controls": 1, "n_permutations": 1, "n_resamples": 300}
            reports.append(measure_separability(store, ["fc"], **few))
        p += list(probe_differences(*reports)["p"].values.ravel())
    # 120 tests at 5%: 6 are expected; 13 or more of a right one come in 0.7% of draws.
    assert (np.array(p) <= 0.05).sum() <= 12


def test_few_people_have_no_interval(tmp_path: Path) -> None:
    stores = [study(tmp_path / f"{s}.zarr", people=4, shift=s) for s in (2.0, 1.0)]
    found = probe_differences(*(measure_separability(one, ["fc"], **FEW) for one in stores))
    assert np.isfinite(found["difference"]).all()
    assert all(np.isnan(found[name]).all() for name in ("low", "high", "p", "q"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"attrs": {"seed": 1}}, "differ in 'seed' .0 and 1."),
        ({"attrs": {"data": {"other": "d"}}}, "differ in 'data'"),
        ({"drop": "probe_draw"}, "holds no resamples"),
        ({"sampled": 5}, "differ in 'sampled'"),
        ({"layer": ["other"]}, "no layer of the same name"),
    ],
)
def test_what_cannot_be_paired_is_refused(
    pair: tuple[SeparabilityReport, ...], change: dict, why: str
) -> None:
    data = pair[1].data
    if "attrs" in change:
        data = data.assign_attrs(change["attrs"])
    elif "drop" in change:
        data = data.drop_vars(change["drop"])
    elif "sampled" in change:
        data = data.assign(sampled=data["sampled"] * 0 + 5)
    else:
        data = data.assign_coords(layer=change["layer"])
    with pytest.raises(ProbeError, match=why):
        probe_differences(pair[0], SeparabilityReport(data))


def test_no_resamples_leave_no_draws(tmp_path: Path) -> None:
    store = study(tmp_path / "s.zarr")
    found = measure_separability(store, ["conv"], **{**FEW, "n_resamples": 0})
    assert "probe_draw" not in found.data
    found.save(tmp_path / "report.zarr")
    assert "probe_draw" not in SeparabilityReport.open(tmp_path / "report.zarr").data
