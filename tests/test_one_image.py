"""One image among others, against the same equations written slowly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from probe.errors import ProbeError
from probe.evaluation.one_image import (
    Spread,
    image_activations,
    image_measurements,
    image_scores,
    most_unusual,
    share_below,
    spread_of_reals,
)
from probe.store import ActivationStore
from tests.app.making import LAYER, MadeRun, make_run

VALUES = st.floats(-100, 100, allow_nan=False, width=32)
TABLES = arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 4)), elements=VALUES)


@given(TABLES)
def test_the_scale_is_scipys_or_the_deviation(table: np.ndarray) -> None:
    found = Spread.of(table)
    for k in range(table.shape[1]):
        column = table[:, k]
        slow = 1.4826 * stats.median_abs_deviation(column) or column.std()
        assert found.center[k] == np.median(column)
        assert found.scale[k] == pytest.approx(slow) or (slow == 0 and np.isnan(found.scale[k]))
    assert (found.n, found.total) == (len(table), len(table))


@given(TABLES, st.floats(0.1, 10), VALUES)
def test_deviations_have_no_unit(table: np.ndarray, factor: float, shift: float) -> None:
    own = Spread.of(table[1:])
    # What is next to constant has a scale of rounding errors, which no factor keeps.
    steady = np.nan_to_num(own.scale) > 1e-2
    moved = Spread.of(factor * table[1:] + shift).deviations(factor * table[0] + shift)
    assert np.allclose(
        own.deviations(table[0])[steady], moved[steady], rtol=1e-5, atol=1e-5, equal_nan=True
    )


def test_what_is_not_a_number_is_left_out() -> None:
    table = np.array([[1.0, np.nan, 5.0], [2.0, np.nan, 5.0], [np.nan, np.nan, 5.0], [9.0] * 3])
    table[3, 1] = np.nan
    found = Spread.of(table, total=10)
    assert found.center[0] == 2 and np.isnan(found.center[1]) and found.total == 10
    assert np.isnan(found.scale[1])
    assert list(most_unusual([np.nan, -3.0, 2.0, np.inf, 3.0])) == [1, 4, 2]


@given(st.lists(st.integers(-3, 3), max_size=9), st.integers(-3, 3))
def test_ties_count_one_half(others: list[int], value: int) -> None:
    found = share_below(value, others)
    if not others:
        assert np.isnan(found)
        return
    slow = np.mean([1.0 if x < value else 0.5 if x == value else 0.0 for x in others])
    assert found == pytest.approx(slow)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture(scope="module")
def store(made: MadeRun) -> ActivationStore:
    return ActivationStore.open(made.folder.store("meso4/base"))


def test_activations_of_an_image(store: ActivationStore) -> None:
    table, values = store.samples, store[LAYER]["activation"].values.astype(float)
    sample, dataset = str(table["sample"].iloc[5]), str(table["dataset"].iloc[5])
    found = image_activations(store, LAYER, sample, dataset=dataset, universal=[2, 3])
    reals = values[((table["label"] == 0) & (table["dataset"] == dataset)).to_numpy()]
    assert set(found.loc[found["universal"], "unit"]) <= {2, 3}
    assert (np.diff(found["deviations"].abs()) <= 0).all()
    for row in found.to_dict("records"):
        column = reals[:, row["unit"]]
        scale = 1.4826 * stats.median_abs_deviation(column) or column.std()
        assert row["value"] == values[5, row["unit"]]
        assert row["deviations"] == pytest.approx((row["value"] - np.median(column)) / scale)
        assert (row["n_reals"], row["among"]) == (len(reals), f"real images of {dataset}")
    everywhere = image_activations(store, LAYER, sample)
    assert (everywhere["n_reals"] == (table["label"] == 0).sum()).all()
    assert set(everywhere["among"]) == {"real images of all datasets"}


def test_some_chunks_stand_for_a_large_store(store: ActivationStore) -> None:
    some, all_ = (spread_of_reals(store, LAYER, max_chunks=n) for n in (1, None))
    assert some.n < some.total == all_.n == all_.total == (store.samples["label"] == 0).sum()


def test_what_is_not_there_is_named(store: ActivationStore, made: MadeRun) -> None:
    with pytest.raises(ProbeError, match="'nobody' are not in the store"):
        image_activations(store, LAYER, "nobody")
    with pytest.raises(ProbeError, match="no real image of elsewhere"):
        spread_of_reals(store, LAYER, "elsewhere")
    scores = pd.read_parquet(made.folder.path("evaluation").with_suffix(".scores.parquet"))
    with pytest.raises(ProbeError, match="No detector scored 'nobody' of 'alpha'"):
        image_scores(scores, "nobody", "alpha")


def measured() -> xr.Dataset:
    rng = np.random.default_rng(0)
    value = rng.normal(size=(8, 3))
    value[0, 1] = np.nan
    return xr.Dataset(
        {
            "value": (("sample", "measurement"), value),
            "measurement_unit": ("measurement", ["a"] * 3),
        },
        coords={
            "sample": [f"s{i}" for i in range(8)],
            "measurement": ["x", "y", "z"],
            "label": ("sample", [0] * 6 + [1] * 2),
            "dataset": ("sample", ["d"] * 7 + ["e"]),
        },
    )


def test_measurements_of_an_image() -> None:
    data = measured()
    found = image_measurements(data, "s6", dataset="d").set_index("measurement")
    for k, name in enumerate(data["measurement"].values):
        column = data["value"].values[:6, k]
        column = column[np.isfinite(column)]
        slow = (data["value"].values[6, k] - np.median(column)) / (
            1.4826 * stats.median_abs_deviation(column)
        )
        assert found.loc[name, "deviations"] == pytest.approx(slow)
    assert set(found["unit_of_value"]) == {"a"}
    assert "y" not in set(image_measurements(data, "s0")["measurement"])
    for arguments, why in ((("s9",), "'s9' was not measured"), (("s7", "e"), "No real image of e")):
        with pytest.raises(ProbeError, match=why):
            image_measurements(data, arguments[0], dataset="".join(arguments[1:]))


def test_scores_of_an_image(made: MadeRun) -> None:
    scores = pd.read_parquet(made.folder.path("evaluation").with_suffix(".scores.parquet"))
    about = scores.iloc[3]
    found = image_scores(scores, about["sample"], about["dataset"])
    assert list(found["detector"]) == list(dict.fromkeys(scores["detector"]))
    for row in found.to_dict("records"):
        own = scores[
            (scores["detector"] == row["detector"]) & (scores["dataset"] == about["dataset"])
        ]
        reals = own.loc[own["label"] == 0, "logit"]
        logit = own.set_index("sample").loc[about["sample"], "logit"]
        assert row["logit"] == logit and row["right"] == ((logit > 0) == about["label"])
        assert row["p_fake"] == pytest.approx(1 / (1 + np.exp(-logit)))
        slow = ((reals < logit).sum() + (reals == logit).sum() / 2) / len(reals)
        assert row["above_reals"] == pytest.approx(slow)


def test_frames_go_to_json_and_files(store: ActivationStore, tmp_path: Path) -> None:
    sample = str(store.samples["sample"].iloc[0])
    found = image_activations(store, LAYER, sample)
    assert json.loads(found.to_json(orient="records"))[0]["unit"] == int(found["unit"].iloc[0])
    found.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), found)
