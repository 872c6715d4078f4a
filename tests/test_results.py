"""The contract of results: each opens, exports and shows alike, whatever it holds."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import probe
from probe import open_result
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.neurons import Calibration
from probe.neurons.transfer import HeadTable
from probe.results import HOMES, Provenance, Result, by_row
from tests.app.making import MadeRun, make_run
from tests.conftest import drawn_of

HEADS = HeadTable.of(
    pd.DataFrame(
        {
            "detector": "net",
            "held_out": ["a", "a", "b"],
            "replica": 0,
            "seen": False,
            "n_units": [3, 3, 0],
            "head": ["own", "universal", "own"],
            "auroc": [0.7, 0.8, 0.6],
            "low": [0.6, 0.7, 0.5],
            "high": [0.8, 0.9, 0.7],
            "gain": [0.1, 0.0, np.nan],
            "gain_low": [0.0, 0.0, np.nan],
            "gain_high": [0.2, 0.0, np.nan],
        }
    ),
    {"layer": "fc", "alpha": 0.05, "n_random": 3, **drawn_of("net", data="ab")},
)
SHARES = ("power", "false_rate", "false_sharpest", "false_discovery", "auc")
CALIBRATION = Calibration(
    by_row(
        pd.DataFrame(
            [
                {"units": 32, "effect": 1.0, "clusters": 25, "draw": draw, "rule": rule}
                | dict.fromkeys(SHARES, 0.1 * draw)
                for draw in (0, 1)
                for rule in ("one", "two")
            ]
        ),
        {"n_draws": 2, **drawn_of(data=())},
    )
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(tmp_path_factory.mktemp("results") / "run")
    # No stage of a study computes it, so that a run has none.
    detector = probe.load_detector("meso4", input_size=32)
    options = {"split": None, "max_changes": 1, "max_samples": 8, "n_resamples": 20}
    found = probe.reproduce(detector, made.data, ".5", **options)
    found.save(made.root / "tables" / "reproduction.zarr")
    return made


def saved(made: MadeRun) -> dict[str, Path]:
    """One file of each kind of result that the run holds."""
    found: dict[str, Path] = {}
    for path in sorted(made.root.rglob("*.zarr")):
        if path.is_relative_to(made.root / "stores"):
            continue
        found.setdefault(type(open_result(path)).__name__, path)
    # Of no run: they take detectors of other data, or planted ones.
    for result in (HEADS, CALIBRATION):
        found[type(result).__name__] = made.root / f"{type(result).__name__}.zarr"
        result.save(found[type(result).__name__])
    return found


def test_every_class_of_result_can_be_opened_by_name() -> None:
    for module in pkgutil.walk_packages(probe.__path__, "probe."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    classes = {one.__name__: one.__module__ for one in Result.__subclasses__()}
    assert classes == dict(HOMES)


def test_each_is_saved_opened_and_exported_alike(made: MadeRun, tmp_path: Path) -> None:
    found = saved(made)
    assert set(found) == set(HOMES)
    for name, path in found.items():
        one = open_result(path)
        assert type(one).open(path).data.identical(one.data), name
        one.save(tmp_path / f"{name}.zarr")
        again = open_result(tmp_path / f"{name}.zarr")
        xr.testing.assert_identical(again.data, one.data)
        main = one.export(tmp_path / f"{name}.csv")
        beside = {file.name for file in tmp_path.glob(f"{name}-*.csv")}
        full = {table for table in one.FRAMES if len(one.to_dataframe(table))}
        assert main.is_file() and beside == {f"{name}-{table}.csv" for table in full}
        assert len(repr(one)) < 300 and repr(one).startswith(f"<{name}")
        assert "<table" in one._repr_html_() and one.summary().strip()
        with pytest.raises(UnknownNameError, match="nothing"):
            one.to_dataframe("nothing")


#: How tables said what they are of before they did so alike.
OLD = ("label", "detector", "detector_fingerprint", "data_fingerprint", "data_name", "datasets")


def test_each_says_what_it_is_of_alike(made: MadeRun) -> None:
    for name, path in saved(made).items():
        one = open_result(path)
        found = one.provenance
        assert Provenance.of(found.attrs()) == found, name
        assert not {*OLD, "dataset"} & set(one.data.attrs), name
        if len(found.detectors) == 1:
            assert [one.detector] == list(found.detectors)
        else:
            with pytest.raises(ProbeError, match="`provenance.detectors` lists them"):
                _ = one.detector


NAMES = st.dictionaries(st.text(max_size=20), st.text("0123456789abcdef", max_size=16), max_size=4)


@given(NAMES, NAMES, st.none() | st.integers(0, 2**31), st.none() | st.floats(0.01, 0.99), NAMES)
@settings(max_examples=25)
def test_provenance_is_kept_on_disk(
    detectors: dict[str, str],
    data: dict[str, str],
    seed: int | None,
    ci: float | None,
    versions: dict[str, str],
) -> None:
    wanted = Provenance(detectors, data, seed, ci, versions)
    with TemporaryDirectory() as folder:
        place = Path(folder) / "x.zarr"
        Calibration(by_row(pd.DataFrame({"power": [0.5]}), wanted.attrs())).save(place)
        assert Calibration.open(place).provenance == wanted


def test_a_table_that_does_not_say_what_it_is_of() -> None:
    attrs = drawn_of("net")
    for lacking in ("detectors", "data", "versions"):
        part = {key: value for key, value in attrs.items() if key != lacking}
        for given_attrs in (part, {**part, lacking: "net"}):
            with pytest.raises(StoreError, match=rf"attributes {lacking} are missing.*again"):
                Provenance.of(given_attrs)
    assert "net" not in repr(Calibration(by_row(pd.DataFrame({"rule": ["a"]}), {})))


def test_another_kind_is_refused(made: MadeRun, tmp_path: Path) -> None:
    found = saved(made)
    for name, path in found.items():
        other = next(one for one in found if one != name)
        kind = type(open_result(found[other]))
        with pytest.raises(StoreError, match=f"is not {kind.KIND} of version .* it holds {name}"):
            kind.open(path)
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(StoreError):
        open_result(tmp_path / "x.zarr")
    with pytest.raises(ProbeError, match="There is no table"):
        open_result(tmp_path / "none.zarr")


#: What figures need beside their result.
CHOICES: dict[str, dict[str, object]] = {
    "measure_by_layer": {"measure": "probe_auroc"},
    "transfer": {"layer": "leaky"},
    "detector_similarity": {"layer": "leaky"},
    "unit_doses": {"unit": 1},
}


def test_a_result_draws_its_figures(made: MadeRun) -> None:
    run = probe.open_run(made.root)
    label = run.detectors[0]
    results = [
        run.evaluation,
        run.artifacts,
        run.similarity,
        run.map_similarity("meso4"),
        *(
            getattr(run, name)(label)
            for name in ("neurons", "universality", "ablation", "separability")
        ),
        run.responses(label),
        run.attention(label),
    ]
    for one in results:
        assert one.PLOTS and one.plot(**CHOICES.get(one.PLOTS[0], {})).axes
        for kind in one.PLOTS:
            assert one.plot(kind, **CHOICES.get(kind, {})).axes, kind
        with pytest.raises(UnknownNameError, match="'nothing' is not known in"):
            one.plot("nothing")
    assert str(made.root) in repr(run)


def test_a_lost_or_cut_chunk_of_any_result_is_said(made: MadeRun, tmp_path: Path) -> None:
    for name, path in saved(made).items():
        kind = type(open_result(path))
        chunks = sorted(file for file in path.rglob("c/*") if file.is_file())
        for chunk, how in ((chunks[0], "lost"), (chunks[-1], "cut")):
            copy = tmp_path / f"{name}-{how}.zarr"
            shutil.copytree(path, copy)
            there = copy / chunk.relative_to(path)
            there.unlink() if how == "lost" else there.write_bytes(there.read_bytes()[:5])
            says = "has 0 of 1 chunks" if how == "lost" else f"{chunk.relative_to(path)} cannot"
            with pytest.raises(StoreError, match=says):
                kind.open(copy).data.load()


def test_a_result_without_figures_says_what_it_has() -> None:
    with pytest.raises(ProbeError, match="HeadTable has no figure of its own; it has summary"):
        HEADS.plot()
