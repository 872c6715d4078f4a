"""Relating a store to measurements: rows, what is left out and said, and answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from probe.artifacts import NOTHING, ResponseReport, relate
from probe.artifacts.correlation import cells_of, gather_rows
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.tables import save_table
from tests.responses.making import clustered, measured, store_of, table_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Unit 0 follows measurement `a`, unit 1 follows −`b`, unit 2 nothing, unit 3 is constant."""
    rng = np.random.default_rng(0)
    table = table_of(3, 12, 2)
    a, b, c = clustered(table, 3, rng, 0.7).T
    other = clustered(table, 2, rng, 0.7)
    units = np.column_stack([a, -b, other[:, 0], np.full(len(table), 2.5)])
    units[:, :2] += 0.3 * other[:, 1:] + table["label"].to_numpy()[:, None]
    store = store_of(tmp_path_factory.mktemp("store") / "x.zarr", table, units)
    return store, table, {"a": a, "b": b, "c": c}


def test_planted_links_are_found_and_nothing_else(made) -> None:
    store, table, values = made
    found = relate(store, measured(table, values), "units", universal=[1])
    assert [found.answer(unit).name for unit in range(4)] == ["a", "b", NOTHING, NOTHING]
    assert found.answer(0).kind == "correlation" and found.answer(0).effect > 0.8
    assert found.answer(1).effect < -0.8 and found.answer(1).q <= 0.05
    assert found.answer(3) == pytest.approx((NOTHING, "", np.nan, np.nan), nan_ok=True)
    assert found.data["rho"].values[3].tolist() == [0, 0, 0]
    assert found.data["p"].values[3].tolist() == [1, 1, 1]
    assert found.universal.tolist() == [1]
    q = stats.false_discovery_control(found.data["p"].values.ravel())
    np.testing.assert_allclose(found.data["q"].values.ravel(), q)
    frame = found.answers()
    assert frame["universal"].tolist() == [False, True, False, False]


def test_rows_are_means_over_a_persons_images_of_a_label(made) -> None:
    store, table, values = made
    data = measured(table, values)
    # In another order, and with images that the store lacks.
    data = data.isel(sample=np.random.default_rng(1).permutation(len(table)))
    rows = gather_rows(store, "units", data, ())
    keys = table[["dataset", "identity", "label"]]
    expected = np.column_stack([store["units"]["activation"].values.astype(float)])
    for i, row in rows.table.iterrows():
        own = (
            (keys["dataset"] == row["dataset"])
            & ("id|" + keys["identity"] == row["cluster"])
            & (keys["label"] == row["label"])
        ).to_numpy()
        assert row["n"] == own.sum() == 2
        np.testing.assert_allclose(rows.units[i], expected[own].mean(axis=0))
        np.testing.assert_allclose(rows.measured[i, 0], values["a"][own].mean())


def test_a_person_seen_in_several_datasets_is_one_cluster(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    table = table_of(3, 8, 1, shared=True)
    store = store_of(tmp_path / "x.zarr", table, rng.normal(size=(len(table), 2)))
    rows = gather_rows(store, "units", measured(table, {"a": rng.normal(size=len(table))}), ())
    assert rows.table["cluster"].nunique() == 8
    assert len(set(cells_of(rows.table).tolist())) == 6
    # One who lacks a fake changes places with nobody who has one.
    assert len(set(cells_of(rows.table.iloc[1:]).tolist())) == 11


def test_shared_people_permuted_by_dataset_would_call_too_much(tmp_path: Path) -> None:
    """Reals that stand in every dataset: the null, with people as one cluster."""
    rng = np.random.default_rng(4)
    table = table_of(4, 12, 1, shared=True)
    person = table["identity"].factorize()[0]

    def values(columns: int) -> np.ndarray:
        return rng.normal(size=(12, columns))[person] + 0.2 * rng.normal(size=(48 * 2, columns))

    store = store_of(tmp_path / "x.zarr", table, values(300))
    data = measured(table, {"a": values(1)[:, 0]})
    apart = table.assign(identity=table["dataset"] + table["identity"])
    torn = store_of(tmp_path / "y.zarr", apart, store["units"]["activation"].values)
    shares = [
        float((relate(one, data, "units", n_permutations=199).data["p"] <= 0.05).mean())
        for one in (store, torn)
    ]
    assert shares[0] <= stats.binom(300, 0.05).ppf(0.9995) / 300 < 0.3 < shares[1]


def test_covariates_are_held_constant(made) -> None:
    store, table, values = made
    blurred = values["a"] + clustered(table, 1, np.random.default_rng(3))[:, 0]
    controls = {"quality": values["a"], "codec": np.zeros(len(table))}
    data = measured(table, {**values, "a": blurred}, controls)
    assert relate(store, data, "units").answer(0).name == "a"
    found = relate(store, data, "units", covariates=["quality", "codec"])
    assert found.answer(0).name == NOTHING and found.answer(1).name == "b"
    assert found.data.attrs["covariates"] == ["quality", "codec"]
    with pytest.raises(UnknownNameError, match="Did you mean 'quality'"):
        relate(store, data, "units", covariates=["qualty"])


def test_what_is_not_known_is_left_out_and_said(made) -> None:
    store, table, values = made
    first, second = ((table["dataset"] == f"set{i}").to_numpy() for i in (0, 1))
    data = measured(
        table,
        {
            "a": np.where(first, np.nan, values["a"]),
            "none": np.full(len(table), np.nan),
            # Unknown of one image of two: the other stands for the person.
            "b": np.where(np.arange(len(table)) == 0, np.nan, values["b"]),
        },
        {"quality": np.where(second, np.nan, values["c"])},
    )
    found = relate(store, data, "units").data
    assert found["n_datasets"].values.tolist() == [2, 0, 3]
    assert np.isnan(found["rho"].values[:, 1]).all() and np.isnan(found["q"].values[:, 1]).all()
    assert np.isfinite(found["q"].values[:, [0, 2]]).all()
    rest = ~first
    part = store_of(store.path.with_name("part.zarr"), table[rest], units_of(store)[rest])
    alone = relate(part, data.isel(sample=rest), "units").data
    np.testing.assert_allclose(found["rho"].values[:, 0], alone["rho"].values[:, 0])
    held = relate(store, data, "units", covariates=["quality"]).data
    assert held["reason"].values.tolist() == ["", "quality is unknown in 24 of 24 rows", ""]


def units_of(store) -> np.ndarray:
    return np.asarray(store["units"]["activation"].values)


def test_few_people_and_unmeasured_images_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    table = table_of(2, 8, 2)
    table = table[(table["dataset"] == "set0") | table["identity"].isin(["1p0", "1p1", "1p2"])]
    store = store_of(tmp_path / "x.zarr", table, rng.normal(size=(len(table), 3)))
    data = measured(table, {"a": rng.normal(size=len(table))})
    found = relate(store, data.isel(sample=slice(4, None)), "units", n_permutations=19).data
    assert found["reason"].values.tolist() == [
        "4 images of the store were not measured",
        "3 clusters: left out below 5",
    ]
    assert found["n_clusters"].values.tolist() == [7, 3]
    assert found["n_samples"].values.tolist() == [28, 12]
    with pytest.raises(ProbeError, match="No dataset is left.*3 clusters"):
        relate(store, data.isel(sample=slice(32, None)), "units")
    with pytest.raises(ProbeError, match="None of the 44 images"):
        relate(store, data.assign_coords(sample=[f"x{i}" for i in range(44)]), "units")


def test_who_is_seen_as_no_other_is_does_not_count(made) -> None:
    store, table, values = made
    keep = ((table["identity"] != "0p0") | (table["label"] == 0)).to_numpy()
    without = (table["identity"] != "0p0").to_numpy()
    data = measured(table, values)
    found, other = (
        relate(
            store_of(store.path.with_name(f"{name}.zarr"), table[some], units_of(store)[some]),
            data,
            "units",
            n_permutations=19,
        ).data
        for name, some in (("one", keep), ("none", without))
    )
    text = "1 of 12 clusters cannot be exchanged and are not used"
    assert found["reason"].values.tolist() == [text, "", ""]
    # Ranks among 23 rows and among 22 differ a little.
    np.testing.assert_allclose(found["rho"], other["rho"], atol=0.05)


def test_wrong_input_says_what_is_allowed(made) -> None:
    store, table, values = made
    data = measured(table, values)
    with pytest.raises(UnknownNameError, match="units"):
        relate(store, data, "unit")
    with pytest.raises(ProbeError, match="value"):
        relate(store, data.rename(value="values"), "units")
    with pytest.raises(ProbeError, match="units 0 to 3"):
        relate(store, data, "units", universal=[4])
    with pytest.raises(ProbeError, match="alpha=0"):
        relate(store, data, "units", alpha=0.0)
    found = relate(store, data, "units", n_permutations=19)
    with pytest.raises(ProbeError, match="units 0 to 3"):
        found.answer(9)
    with pytest.raises(ProbeError, match="same part"):
        found.joined(found)


def test_a_report_round_trips(made, tmp_path: Path) -> None:
    store, table, values = made
    found = relate(store, measured(table, values), "units", universal=[2], n_permutations=19)
    found.save(tmp_path / "r.zarr")
    back = ResponseReport.open(tmp_path / "r.zarr")
    assert back.data.equals(found.data) and back.universal.tolist() == [2]
    assert not back.has_doses and back.has_correlations and back.doses().empty
    found.export(tmp_path / "r.csv")
    names = sorted(file.name for file in tmp_path.glob("r*.csv"))
    assert names == ["r-correlations.csv", "r.csv"]
    save_table(measured(table, values), tmp_path / "m.zarr")
    with pytest.raises(StoreError, match="is not a response report"):
        ResponseReport.open(tmp_path / "m.zarr")


def test_reports_are_read_without_torch() -> None:
    code = (
        "import sys; from probe.artifacts import ResponseReport, relate; import "
        "probe.plots.responses; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
