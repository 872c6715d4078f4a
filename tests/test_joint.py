"""Joint tables: equal to the tables that they join, and never silent about what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probe.errors import ProbeError, StoreError
from probe.evaluation.paired import home_and_away
from probe.joint import JOINT, joint_tables, write_joint
from probe.neurons import Ablation, Universality
from probe.run import RunFolder
from probe.separability import SeparabilityReport
from probe.stats import auroc, cluster_counts
from tests.report.large import make_large

#: A value of each table, and the bound that is missing where it has no interval.
BOUNDED = {
    "evaluation": ("value", "low"),
    "generalization": ("lost", "lost_low"),
    "universality": ("excess", "excess_low"),
    "ablation": ("excess", "excess_low"),
    "separability": ("probe", "probe_low"),
    "best_layers": ("probe", "probe_low"),
    "layers": ("specific_share", "specific_low"),
    "similarity": ("mean", "low"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_large(
        tmp_path_factory.mktemp("joint") / "run",
        ("meso4", "xception"),
        ("celebdf", "faceswap", "gamma", "dfd"),
    )


@pytest.fixture(scope="module")
def tables(run: RunFolder) -> dict[str, pd.DataFrame]:
    return joint_tables(run)


def test_they_hold_what_the_tables_of_each_detector_hold(
    run: RunFolder, tables: dict[str, pd.DataFrame]
) -> None:
    for label in run.read_manifest()["detectors"]:
        found = Universality.open(run.path("universality", label))
        rows = tables["universality"].query("detector == @label")
        assert set(rows["universal"]) == {len(found.universal)}
        assert set(rows["counted"]) == {len(found.counted)}
        assert list(rows["null"]) == [str(name) for name in found.data["null"].values]
        np.testing.assert_array_equal(rows["excess"], found.data["excess"].values)
        rows = tables["units"].query("detector == @label")
        assert [len(units) for units in found.specific.values()] == list(rows["specific"])
        report = SeparabilityReport.open(run.path("separability", label)).to_dataframe()
        for row in tables["separability"].query("detector == @label").to_dict("records"):
            if row["dataset"] != "mean":
                there = report.query(
                    f"layer == {row['layer']!r} and dataset == {row['dataset']!r} and "
                    "measure == 'probe_auroc'"
                )
                assert row["probe"] == float(there["value"].iloc[0])
        if "xception" not in label:
            taken = Ablation.open(run.path("ablation", label)).to_dataframe()
            rows = tables["ablation"].query("detector == @label")
            np.testing.assert_array_equal(rows["excess"], taken["excess"])


def test_a_missing_value_or_interval_has_its_reason(tables: dict[str, pd.DataFrame]) -> None:
    assert list(tables) == list(JOINT)
    for name, frame in tables.items():
        assert {"n_samples", "n_clusters", "reason"} <= set(frame.columns), name
        assert len(frame), name
        for column in BOUNDED.get(name, ()):
            bare = frame[frame[column].isna()]
            assert (bare["reason"] != "").all(), (name, bare)
    few = tables["separability"].query("dataset == 'gamma'")
    assert few["reason"].str.contains("3 clusters").all()
    lacking = tables["ablation"].query("detector == 'xception/base'")
    assert list(lacking["set"]) == ["universal"]
    assert lacking["reason"].str.contains("in both halves").all()


def test_means_away_leave_out_what_has_no_interval_and_say_so(
    run: RunFolder, tables: dict[str, pd.DataFrame]
) -> None:
    rows = tables["separability"].query("detector == 'meso4/base' and layer == 'leaky'")
    mean = rows.query("dataset == 'mean'").iloc[0]
    away = rows.query("dataset in ['faceswap', 'dfd']")
    assert mean["probe"] == pytest.approx(away["probe"].mean())
    assert mean["reason"] == "without gamma"
    draws = SeparabilityReport.open(run.path("separability", "meso4/base")).data["probe_draw"]
    draws = draws.sel(layer="leaky", dataset=["faceswap", "dfd"]).values.mean(axis=0)
    assert mean["probe_low"] == pytest.approx(np.percentile(draws, 2.5), abs=1e-6)


def test_the_best_layer_is_the_one_with_the_best_probe(tables: dict[str, pd.DataFrame]) -> None:
    best = tables["best_layers"].set_index(["detector", "dataset"])
    for key, rows in tables["separability"].groupby(["detector", "dataset"]):
        if key[1] != "mean":
            assert best.loc[key, "probe"] == rows["probe"].max()
            assert best.loc[key, "n_layers"] == 2


def test_an_unfinished_run_has_rows_with_reasons(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.root, tmp_path / "run")
    for part in ("neurons", "universality", "ablation", "separability", "map-similarity"):
        shutil.rmtree(tmp_path / "run/tables" / part)
    (tmp_path / "run/provenance.json").unlink()
    found = joint_tables(tmp_path / "run")
    for name in ("universality", "units", "ablation", "separability", "layers", "similarity"):
        assert set(found[name]["reason"]) == {"not computed in this run"}, name
    shutil.rmtree(tmp_path / "run/tables")
    found = joint_tables(str(tmp_path / "run"))
    assert set(found["generalization"]["reason"]) == {"not evaluated in this run"}
    with pytest.raises(StoreError, match="is not a run"):
        joint_tables(tmp_path)


def test_they_are_written_beside_the_others(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.root, tmp_path / "run")
    written = write_joint(RunFolder(tmp_path / "run"))
    for name, frame in written.items():
        read = pd.read_csv(tmp_path / f"run/tables/joint/{name}.csv", keep_default_na=False)
        assert list(read.columns) == list(frame.columns) and len(read) == len(frame)


def test_they_are_read_without_torch(run: RunFolder) -> None:
    code = (
        "import sys; from probe.claims import judge_claims; judge_claims(sys.argv[1]);"
        "print([m for m in ('torch', 'sklearn', 'captum', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def scores(rng: np.random.Generator, gaps: dict[str, float], people: int = 8) -> pd.DataFrame:
    rows = [
        {
            "dataset": name,
            "label": label,
            "cluster": who,
            "person": f"{name}-{who}",
            "logit": gap * label + rng.normal(),
        }
        for name, gap in gaps.items()
        for who in range(people)
        for label in (0, 1)
        for _ in range(3)
    ]
    return pd.DataFrame(rows)


def test_home_and_away_equals_a_loop_over_resamples() -> None:
    table = scores(np.random.default_rng(0), {"a": 2.0, "b": 1.0, "c": 0.5})
    # Half of those in b are in a too.
    table.loc[(table["dataset"] == "b") & (table["cluster"] < 4), "person"] = "a-" + table[
        "cluster"
    ].astype(str)
    found = home_and_away(table, ["a"], people=table["person"], n_resamples=60, seed=3)
    codes, names = pd.factorize(table["person"])
    lost = []
    for counts in cluster_counts(len(names), 60, 3):
        value = {}
        for name, rows in table.groupby("dataset"):
            weights = counts[codes[rows.index]]
            value[name] = float(auroc(rows["label"], rows["logit"], weights)[0])
        lost.append(
            [
                value["a"] - value["b"],
                value["a"] - value["c"],
                value["a"] - (value["b"] + value["c"]) / 2,
            ]
        )
    assert list(found["dataset"]) == ["b", "c", "mean"]
    np.testing.assert_allclose(
        found[["lost_low", "lost_high"]].T, np.nanpercentile(lost, [2.5, 97.5], axis=0)
    )
    np.testing.assert_allclose(
        found[["all_low", "all_high"]][:2].T, np.nanpercentile(lost, [1.25, 98.75], axis=0)[:, :2]
    )
    assert found["n_clusters"].tolist() == [8, 8, 16]


def test_what_shared_people_have_in_common_cancels() -> None:
    table = scores(np.random.default_rng(1), {"a": 1.0})
    both = pd.concat([table, table.assign(dataset="b")], ignore_index=True)
    together = home_and_away(both, ["a"], people=both["person"]).iloc[0]
    assert together["lost_low"] == together["lost_high"] == 0
    apart = home_and_away(both, ["a"]).iloc[0]
    assert apart["lost_low"] < -0.05 and apart["lost_high"] > 0.05


def test_home_and_away_says_what_it_lacks() -> None:
    table = scores(np.random.default_rng(2), {"a": 1.0, "b": 1.0})
    few = pd.concat([table, scores(np.random.default_rng(3), {"c": 1.0}, people=3)])
    found = home_and_away(few.reset_index(drop=True), ["a"]).set_index("dataset")
    assert found.loc["c", "reason"] == "3 clusters; an interval takes 5"
    assert np.isnan(found.loc["c", "lost_low"]) and np.isfinite(found.loc["c", "lost"])
    assert found.loc["mean", "reason"] == "without c"
    assert found.loc["mean", "lost"] == found.loc["b", "lost"]
    assert not len(home_and_away(table[table["dataset"] == "a"], ["a"]))
    with pytest.raises(ProbeError, match="No score is of z"):
        home_and_away(table, ["z"])
