"""The activation store: what it answers to, resumes from, and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from probe.errors import StoreError, UnknownNameError
from probe.store import ActivationStore, StoreWriter

ATTRS: dict[str, Any] = {
    "detector": {"name": "net", "fingerprint": "d" * 32, "spec": {"input_size": 32}},
    "dataset": {"name": "data", "fingerprint": "e" * 32, "card": {"crop": "none"}},
    "layers": {"fc": "body.fc", "conv": "conv"},
    "reducer": "mean",
    "dtype": "float32",
    "batch_size": 4,
}


def table(n: int = 10) -> pd.DataFrame:
    """Return a sample table with the columns that the store itself needs, and one more."""
    return pd.DataFrame(
        {
            "sample": [f"s{i}" for i in range(n)],
            "dataset": ["b" if i % 3 else "a" for i in range(n)],
            "label": np.array([i % 2 for i in range(n)], dtype=np.int8),
            "dose": np.linspace(0, 1, n),
        }
    )


def begin(path: Path, **changed: Any) -> StoreWriter:
    return StoreWriter.begin(path, table(), {"fc": 3, "conv": 2}, {**ATTRS, **changed})


def fill(writer: StoreWriter, values: np.ndarray) -> None:
    for where in writer.missing:
        writer.write(where, {"fc": values[where, :3], "conv": values[where, 3:]}, values[where, 0])


@pytest.fixture()
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)


@pytest.fixture()
def path(tmp_path: Path, values: np.ndarray) -> Path:
    """Where a complete store lies."""
    writer = begin(tmp_path / "x.zarr")
    fill(writer, values)
    writer.finish()
    return tmp_path / "x.zarr"


def test_what_is_written_is_read(path: Path, values: np.ndarray) -> None:
    store = ActivationStore.open(path)
    assert store.complete and store.layers == ("fc", "conv")
    assert store["fc"]["activation"].dims == ("sample", "unit")
    np.testing.assert_array_equal(store["fc"]["activation"], values[:, :3])
    np.testing.assert_array_equal(store["conv"]["activation"], values[:, 3:])
    assert list(store["fc"]["sample"].values) == list(table()["sample"])
    pd.testing.assert_frame_equal(store.samples[list(table())], table(), check_dtype=False)
    np.testing.assert_array_equal(store.samples["logit"], values[:, 0])
    assert store.samples["written"].all() and store.samples["label"].dtype == np.int8
    assert store.attrs["detector"] == ATTRS["detector"]
    assert store.attrs["dataset"] == ATTRS["dataset"]


def test_a_layer_answers_to_its_module_path_too(path: Path) -> None:
    store = ActivationStore.open(path)
    np.testing.assert_array_equal(store["body.fc"]["activation"], store["fc"]["activation"])
    with pytest.raises(UnknownNameError, match="Layer 'cnv' is not known in the store .*'conv'"):
        store["cnv"]


def test_reading_is_lazy(path: Path) -> None:
    """One unit of one batch reads one chunk; a chunk that is gone later matters only if read."""
    store = ActivationStore.open(path)
    shutil.rmtree(path / "fc" / "activation" / "c" / "2")
    np.testing.assert_array_equal(store["fc"]["activation"][:4].isnull(), False)


def test_moments_are_those_of_numpy(path: Path, values: np.ndarray) -> None:
    moments, rows = ActivationStore.open(path).moments("fc"), table()
    for name in ("a", "b"):
        for label in (0, 1):
            chosen = ((rows["dataset"] == name) & (rows["label"] == label)).to_numpy()
            part, own = values[chosen, :3].astype(float), moments.sel(dataset=name, label=label)
            assert int(own["count"]) == chosen.sum() > 0
            np.testing.assert_allclose(own["mean"], part.mean(axis=0), rtol=1e-12)
            np.testing.assert_allclose(own["variance"], part.var(axis=0), rtol=1e-12)
            np.testing.assert_array_equal(own["min"], part.min(axis=0))
            np.testing.assert_array_equal(own["max"], part.max(axis=0))


def test_an_interrupted_store_goes_on(tmp_path: Path, path: Path, values: np.ndarray) -> None:
    other = tmp_path / "y.zarr"
    writer = begin(other)
    first, second = writer.missing[:2]
    writer.write(second, {"fc": values[second, :3], "conv": values[second, 3:]}, values[second, 0])
    (other / "fc" / "zarr.0123.partial").write_text("left over by a kill")
    with pytest.raises(StoreError, match="incomplete: its recording was interrupted. Run the"):
        ActivationStore.open(other)
    half = ActivationStore.open(other, incomplete=True)
    np.testing.assert_array_equal(half.samples["written"], [4 <= i < 8 for i in range(10)])
    assert np.isnan(half["fc"]["activation"][:4]).all() and not half.complete
    with pytest.raises(StoreError, match="has no moments yet"):
        half.moments("fc")
    again = begin(other)
    assert again.missing == [first, slice(8, 10)] and not list(other.rglob("*.partial"))
    fill(again, values)
    again.finish()
    for layer in ("fc", "conv"):
        one, two = ActivationStore.open(path), ActivationStore.open(other)
        assert one[layer].identical(two[layer])
        assert one.moments(layer).identical(two.moments(layer))
    assert begin(other).complete and begin(other).missing == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"detector": {"name": "net", "fingerprint": "0" * 32}}, r"detector net \[dddd.*now net"),
        ({"dataset": {"name": "more", "fingerprint": "1" * 32}}, r"dataset data \[eeee.*now more"),
        ({"layers": {"fc": "body.fc"}}, r"layers conv, fc \(now fc\)"),
        ({"dtype": "float16"}, r"dtype float32 \(now float16\)"),
        ({"reducer": "max"}, r"reducer mean \(now max\)"),
        ({"batch_size": 8}, r"batch_size 4 \(now 8\)"),
    ],
)
def test_another_recording_is_refused(path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(StoreError, match=f"is another recording: {says}.* choose another folder"):
        begin(path, **changed)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="is not an activation store: it holds no zarr.json"):
        begin(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    assert not begin(tmp_path / "empty").complete


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="No store can be created at .*/file/x.zarr"):
        begin(tmp_path / "file" / "x.zarr")


def _rewrite(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = json.loads((path / "zarr.json").read_text())
        change(content)
        (path / "zarr.json").write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "There is no activation store at .* Run `probe record`"),
        (lambda p: (p / "zarr.json").unlink(), "holds no zarr.json"),
        (lambda p: (p / "zarr.json").write_text("{"), "is damaged .*Remove it and run"),
        (lambda p: (p / "zarr.json").write_text("[]"), "is damaged .*Remove it and run"),
        (lambda p: (p / "fc" / "activation" / "zarr.json").write_text("{}"), "is damaged"),
        (lambda p: (p / "fc" / "activation" / "c" / "1" / "0").unlink(), "has 2 of 3 chunks"),
        (lambda p: shutil.rmtree(p / "conv"), "is damaged"),
        (_rewrite(lambda c: c["attributes"].update(schema_version=99)), "schema version 99; this"),
        (_rewrite(lambda c: c["attributes"].update(kind="table")), "Zarr group of kind 'table'"),
        (_rewrite(lambda c: c["attributes"].pop("layers")), "is not an activation store but"),
    ],
)
def test_damage_is_found(path: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(path)
    with pytest.raises(StoreError, match=says):
        ActivationStore.open(path)


def arrays_of(root: Path) -> list[str]:
    return sorted(
        file.parent.relative_to(root).as_posix()
        for file in root.rglob("zarr.json")
        if json.loads(file.read_text())["node_type"] == "array"
    )


def test_a_lost_chunk_of_any_array_is_damage(tmp_path: Path, path: Path) -> None:
    names = arrays_of(path)
    assert {"label", "dataset", "logit", "fc/activation", "fc/moments/count"} < set(names)
    for name in names:
        copy = tmp_path / "copy.zarr"
        shutil.copytree(path, copy)
        chunk = next(
            file for file in (copy / name / "c", *(copy / name / "c").rglob("*")) if file.is_file()
        )
        chunk.unlink()
        with pytest.raises(StoreError, match=f"{name} has . of . chunks"):
            ActivationStore.open(copy)
        shutil.rmtree(copy)


def test_a_chunk_that_cannot_be_decoded_names_its_file(tmp_path: Path, path: Path) -> None:
    for name in arrays_of(path):
        copy = tmp_path / "copy.zarr"
        shutil.copytree(path, copy)
        chunk = sorted(file for file in (copy / name / "c").rglob("*") if file.is_file())[-1]
        chunk.write_bytes(chunk.read_bytes()[:7])
        with pytest.raises(StoreError, match=f"{chunk.relative_to(copy)}.*Remove it"):
            store = ActivationStore.open(copy)
            assert len(store.samples)
            for layer in store.layers:
                store.moments(layer).load()
                store[layer].load()
        shutil.rmtree(copy)


def test_pieces_are_read_as_numpy_reads_them(path: Path, values: np.ndarray) -> None:
    activation = ActivationStore.open(path)["fc"]["activation"]
    rows = xr.DataArray([7, 0, 0, 9], dims="pick")
    np.testing.assert_array_equal(activation[3].values, values[3, :3])
    np.testing.assert_array_equal(activation[::4, [2, 0]].values, values[::4][:, [2, 0]])
    np.testing.assert_array_equal(
        activation.isel(sample=rows, unit=rows % 3).values, values[[7, 0, 0, 9], [1, 0, 0, 0]]
    )
    np.testing.assert_array_equal(activation.isel(unit=-1).values, values[:, 2])


def test_float16_does_not_overflow_in_silence(tmp_path: Path) -> None:
    writer = begin(tmp_path / "h.zarr", dtype="float16")
    values = np.full((10, 5), 1e5, dtype=np.float32)
    with pytest.raises(StoreError, match="'fc' reaches 100000; float16 holds at most 65504"):
        fill(writer, values)
    assert len(writer.missing) == 3


@pytest.mark.parametrize("name", ["logit", "written", "fc", "a/b"])
def test_columns_that_the_store_needs_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=f"columns '{name}', which are reserved for the store"):
        StoreWriter.begin(tmp_path / "c.zarr", table().assign(**{name: 0.0}), {"fc": 3}, ATTRS)
    assert not (tmp_path / "c.zarr").exists()


def test_a_store_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no row; a recording needs one sample or more"):
        StoreWriter.begin(tmp_path / "c.zarr", table(0), {"fc": 3}, ATTRS)


def test_a_layer_that_cannot_name_a_group_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Layer 'a/b' has a slash in its name.* Rename the module"):
        StoreWriter.begin(tmp_path / "c.zarr", table(), {"a/b": 3}, ATTRS)
    assert not (tmp_path / "c.zarr").exists()


@pytest.mark.parametrize(
    ("column", "read"),
    [
        (pd.array([1, None], dtype="Int64"), [1.0, np.nan]),
        (pd.array([1, 2], dtype="Int64"), [1, 2]),
        (pd.array([True, None], dtype="boolean"), ["True", ""]),
        (pd.Categorical(["a", None]), ["a", ""]),
        ([None, "a"], ["", "a"]),
        ([True, False], [True, False]),
    ],
)
def test_columns_of_every_kind_are_kept(tmp_path: Path, column: Any, read: list[Any]) -> None:
    samples = table(2).assign(extra=column)
    StoreWriter.begin(tmp_path / "c.zarr", samples, {"fc": 3, "conv": 2}, ATTRS)
    found = ActivationStore.open(tmp_path / "c.zarr", incomplete=True).samples["extra"]
    np.testing.assert_array_equal(found.to_numpy(), np.array(read))
