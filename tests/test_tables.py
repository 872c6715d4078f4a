from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from probe.errors import ProbeError, StoreError
from probe.run import RunFolder, slug
from probe.schema import SCHEMA_VERSION
from probe.tables import export_frame, open_table, save_table


@pytest.fixture
def data() -> xr.Dataset:
    return xr.Dataset(
        {"v": (("name", "x"), np.array([[1.0, np.nan], [-0.0, np.inf]]))},
        coords={"name": ["größe", "b"], "x": [3, 4]},
        attrs={"nested": {"a": [1, 2]}, "text": "t", "number": 3},
    )


def test_a_table_round_trips_with_labels_nan_and_attributes(
    data: xr.Dataset, tmp_path: Path
) -> None:
    save_table(data, tmp_path / "t.zarr")
    save_table(data, tmp_path / "t.zarr")
    again = open_table(tmp_path / "t.zarr")
    np.testing.assert_array_equal(again["v"].values, data["v"].values)
    assert again["v"].dtype == np.float64 and list(again["name"].values) == ["größe", "b"]
    assert json.loads(again.attrs["nested"]) == {"a": [1, 2]}
    assert again.attrs["number"] == 3 and data.attrs["nested"] == {"a": [1, 2]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.zarr"]


@pytest.mark.parametrize("lazy", [False, True])
def test_variables_keep_their_order(tmp_path: Path, lazy: bool) -> None:
    """Zarr lists arrays as the file system does: ten of them stand in no order by chance."""
    names = [f"{letter}{i}" for i, letter in enumerate("zaymbxncwd")]
    table = xr.Dataset({name: ("unit", [0.5]) for name in names})
    table = table.assign_coords(unit=[3], label=("unit", ["a"]))
    save_table(table, tmp_path / "table.zarr")
    opened = open_table(tmp_path / "table.zarr", lazy=lazy)
    assert list(opened.variables) == list(table.variables)
    assert list(opened.data_vars) == names and set(opened.coords) == {"unit", "label"}
    assert "variable_order" not in opened.attrs
    xr.testing.assert_equal(opened.load(), table)

    # As tables had it that were written before the order was noted.
    note = tmp_path / "table.zarr" / "zarr.json"
    content = json.loads(note.read_text())
    del content["attributes"]["variable_order"]
    note.write_text(json.dumps(content))
    assert list(open_table(tmp_path / "table.zarr", lazy=lazy).data_vars) == sorted(names)
    for damaged in ("[[1]]", "{", "5"):
        content["attributes"]["variable_order"] = damaged
        note.write_text(json.dumps(content))
        with pytest.raises(StoreError, match="is damaged"):
            open_table(tmp_path / "table.zarr", lazy=lazy)


def test_missing_damaged_and_foreign_tables_are_refused(data: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no table at"):
        open_table(tmp_path / "none.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(StoreError, match="is damaged"):
        open_table(tmp_path / "empty.zarr")
    save_table(data, tmp_path / "old.zarr")
    file = tmp_path / "old.zarr" / "zarr.json"
    meta = json.loads(file.read_text())
    meta["attributes"]["schema_version"] = SCHEMA_VERSION + 1
    file.write_text(json.dumps(meta))
    with pytest.raises(StoreError, match=f"has schema version {SCHEMA_VERSION + 1}"):
        open_table(tmp_path / "old.zarr")


def test_provenance_stands_beside_an_export(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a_b": [1.23456, None]})
    export_frame(frame, tmp_path / "t.tex", {"cards": '{"crop": {"margin": 1.3}}', "seed": 0})
    assert "a\\_b" in (tmp_path / "t.tex").read_text()
    beside = json.loads((tmp_path / "t.tex.json").read_text())
    assert beside["cards"]["crop"]["margin"] == 1.3


def test_an_export_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProbeError, match="cannot be written .* Choose a folder"):
        export_frame(pd.DataFrame({"a": [1]}), tmp_path / "file" / "t.csv")


def test_a_run_folder_names_its_places(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert slug("timm:resnet18/deep") == "timm-resnet18-deep"
    assert run.store("meso4/base").name == "meso4-base.zarr"
    run.write_manifest({"title": "t"})
    assert run.read_manifest()["title"] == "t"
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    with pytest.raises(StoreError, match="schema version 99"):
        run.read_manifest()
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(StoreError, match="is damaged"):
        run.read_manifest()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        run.read_manifest()
