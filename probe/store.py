"""`ActivationStore`: recorded activations on disk, an xarray DataTree over Zarr v3."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray

from probe.errors import StoreError, UnknownNameError
from probe.schema import SCHEMA_VERSION

__all__ = ["DTYPES", "ActivationStore", "StoreWriter"]

#: Number formats that activations can be kept in.
DTYPES = ("float16", "float32")

#: What a store is recorded from; a recording goes on only where all of it is the same.
IDENTITY = ("detector", "dataset", "layers", "reducer", "dtype", "batch_size")

_KIND = "activations"
_MOMENTS = "moments"
_RESERVED = ("logit", "written", "unit")
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class ActivationStore:
    """Activations of one detector on labelled samples; opened lazily, never held in memory.

    On disk: a Zarr v3 group. Its root holds the coordinate ``sample``, the columns of the sample
    table, ``logit(sample)`` (of "fake") and ``written(sample)``. Every tap is a group with
    ``activation(sample, unit)`` in chunks of whole batches, and in its child ``moments`` the
    count, mean, variance (over n), lowest and highest value by ``(dataset, label, unit)``.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    tree : xarray.DataTree
        Lazily read.
    """

    path: Path
    tree: xr.DataTree

    @classmethod
    def open(cls, path: str | Path, *, incomplete: bool = False) -> ActivationStore:
        """Open a store.

        Parameters
        ----------
        path : path
            The folder.
        incomplete : bool, default False
            Also open a store whose recording was interrupted; what is not written yet is NaN
            and stands as False in ``written``.

        Raises
        ------
        StoreError
            If it is missing, damaged, of another schema, or incomplete.
        """
        path = Path(path)
        attrs = _read_attrs(path)
        if not attrs["complete"] and not incomplete:
            raise StoreError(
                f"The store {str(path)!r} is incomplete: its recording was interrupted. Run the "
                "same `probe record` again; it goes on where it stopped."
            )
        try:
            tree = xr.open_datatree(path, engine="zarr", consolidated=False)
            store = cls(path, tree)
            damaged = _missing_chunks(path, attrs) if attrs["complete"] else ""
        except _BROKEN as error:
            raise _damaged(path, str(error)) from error
        if damaged:
            raise _damaged(path, damaged)
        return store

    @property
    def attrs(self) -> dict[str, Any]:
        """Provenance: detector and dataset with fingerprints, layers, reducer, versions."""
        return {str(name): value for name, value in self.tree.attrs.items()}

    @property
    def complete(self) -> bool:
        """Whether every sample was recorded and the moments were taken."""
        return bool(self.tree.attrs["complete"])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the taps, as they were given to the recording."""
        return tuple(self.tree.attrs["layers"])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The sample table and ``logit`` (of "fake"), ``written``; one row a sample."""
        columns = [*self.tree.attrs["columns"], "logit", "written"]
        return _with_text(self.tree.to_dataset().load()).to_dataframe().reset_index()[columns]

    def __getitem__(self, layer: str) -> xr.Dataset:
        """Return ``activation(sample, unit)`` of a tap, lazily.

        Raises
        ------
        UnknownNameError
            If the layer was not recorded.
        """
        return _with_text(self._node(layer).to_dataset())

    def moments(self, layer: str) -> xr.Dataset:
        """Return ``count(dataset, label)`` and ``mean, variance, min, max(dataset, label, unit)``.

        Where a dataset has no sample of a label the count is 0 and the others are NaN.
        """
        node = self._node(layer)
        if _MOMENTS not in node.children:
            raise StoreError(
                f"The store {str(self.path)!r} is incomplete and has no moments yet. Run the same "
                "`probe record` again; it goes on where it stopped."
            )
        child = node[_MOMENTS]
        assert isinstance(child, xr.DataTree)
        return _with_text(child.to_dataset().drop_vars("sample"))

    def _node(self, layer: str) -> xr.DataTree:
        full = {path: name for name, path in self.tree.attrs["layers"].items()}
        name = layer if layer in self.layers else full.get(layer)
        if name is None:
            raise UnknownNameError(
                "layer", layer, self.layers, where=f"the store {str(self.path)!r}",
                remedy="Record it with `probe record --layer`.",
            )  # fmt: skip
        return self.tree.children[name]


@dataclass(frozen=True)
class StoreWriter:
    """Writes a store batch by batch, each once; begun again, it goes on after what is there.

    A batch is a chunk of every array, so that a write touches whole chunks only, and its mark in
    ``written`` is the last of its writes: after a kill a batch counts wholly or not at all.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    group : zarr.Group
        Its root.
    """

    path: Path
    group: zarr.Group

    @classmethod
    def begin(
        cls,
        path: Path,
        samples: pd.DataFrame,
        units: Mapping[str, int],
        attrs: Mapping[str, Any],
    ) -> StoreWriter:
        """Preallocate a store, or go on with an interrupted one of the same identity.

        Parameters
        ----------
        path : pathlib.Path
            The folder.
        samples : pandas.DataFrame
            One row a sample, with the columns of `Samples`.
        units : mapping
            Tap to its number of units.
        attrs : mapping
            ``detector`` and ``dataset`` (each with ``name`` and ``fingerprint``), ``layers``
            (tap to module path), ``reducer``, ``dtype``, ``batch_size`` and any further ones.

        Raises
        ------
        StoreError
            If the folder holds something else, or a store of another identity.
        """
        stored = {"schema_version": SCHEMA_VERSION, "kind": _KIND, **_plain(attrs)}
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            _check_same(path, _read_attrs(path), stored)
            for rest in path.rglob("*.partial"):
                rest.unlink()
        else:
            _create(path, samples, units, {**stored, "complete": False})
        try:
            return cls(path, zarr.open_group(path, mode="r+"))
        except _BROKEN as error:
            raise _damaged(path, str(error)) from error

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self.group.attrs["complete"])

    @property
    def batches(self) -> list[slice]:
        """Positions of all batches."""
        n, rows = self._array("written").shape[0], self._array("written").chunks[0]
        return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    @property
    def missing(self) -> list[slice]:
        """Positions of the batches that are not written."""
        try:
            written = np.asarray(self._array("written")[:])
        except _BROKEN as error:
            raise _damaged(self.path, str(error)) from error
        return [where for where in self.batches if not written[where].all()]

    def write(self, where: slice, values: Mapping[str, NDArray[Any]], logits: NDArray[Any]) -> None:
        """Write one batch.

        Parameters
        ----------
        where : slice
            One of `batches`.
        values : mapping
            Tap to activations, shape (batch, units).
        logits : numpy.ndarray
            Shape (batch,).

        Raises
        ------
        StoreError
            If a value does not fit the store's number format.
        """
        for layer, value in values.items():
            array = self._array(f"{layer}/activation")
            array[where] = _fitted(value, np.dtype(self.group.attrs["dtype"]), layer)  # type: ignore[arg-type]
        self._array("logit")[where] = logits
        self._array("written")[where] = True

    def finish(self) -> None:
        """Take the moments in one pass over the chunks, and mark the store as complete."""
        root = xr.open_zarr(self.path, consolidated=False)[["dataset", "label"]].load()
        for layer in self.group.attrs["layers"]:  # type: ignore[union-attr]
            array = self._array(f"{layer}/activation")
            blocks = ((where, np.asarray(array[where])) for where in self.batches)
            table = _moments(root, blocks, array.shape[1])
            table.to_zarr(
                self.path, group=f"{layer}/{_MOMENTS}", mode="w", zarr_format=3, consolidated=False
            )
        self.group.attrs["complete"] = True

    def _array(self, name: str) -> zarr.Array[Any]:
        found = self.group[name]
        assert isinstance(found, zarr.Array)
        return found


def _create(
    path: Path, samples: pd.DataFrame, units: Mapping[str, int], attrs: Mapping[str, Any]
) -> None:
    """Write the empty store beside its place and move it there, so that no half one is seen."""
    partial = path.with_name(path.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    n, rows = len(samples), int(attrs["batch_size"])
    _columns(samples).to_zarr(partial, mode="w", zarr_format=3, consolidated=False)
    root = zarr.open_group(partial, mode="r+")
    root.attrs.update({**attrs, "columns": list(map(str, samples.columns))})
    for name, dtype, fill in (("logit", "float32", np.nan), ("written", "bool", False)):
        _allocate(root, name, {"sample": n}, rows, dtype, fill)
    for layer, width in units.items():
        group = root.create_group(layer)
        sizes = {"sample": n, "unit": width}
        _allocate(group, "activation", sizes, rows, attrs["dtype"], np.nan)
        unit = group.create_array("unit", shape=(width,), dtype="int64", dimension_names=["unit"])
        unit[:] = np.arange(width)
    partial.rename(path)


def _allocate(
    group: zarr.Group, name: str, sizes: Mapping[str, int], rows: int, dtype: str, fill: float
) -> None:
    """Make an array whose chunks are whole batches."""
    shape = tuple(sizes.values())
    group.create_array(
        name, shape=shape, chunks=(rows, *shape[1:]), dtype=dtype, fill_value=fill,
        dimension_names=list(sizes),
        # Chunks that hold the fill value are written too: a chunk that is missing is damage.
        config={"write_empty_chunks": True},
    )  # fmt: skip


def _columns(samples: pd.DataFrame) -> xr.Dataset:
    """Turn the sample table into variables: numbers as they are, all else as text."""
    taken = [name for name in _RESERVED if name in samples.columns]
    if taken:
        raise StoreError(
            f"The sample table has columns {', '.join(map(repr, taken))}, which the store keeps "
            "for itself. Rename them."
        )
    out = {}
    for name, column in samples.items():
        numeric = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
        values = column.to_numpy() if numeric else column.fillna("").astype(str).to_numpy(object)
        out[str(name)] = ("sample", values)
    return xr.Dataset(out)


def _with_text(data: xr.Dataset) -> xr.Dataset:
    """Make text ordinary again: Zarr's comes back as NumPy's StringDType, which pandas lacks."""
    text = [name for name, value in data.variables.items() if value.dtype.kind == "T"]
    return data.assign({name: data[name].astype(object) for name in text})


def _moments(
    root: xr.Dataset, blocks: Iterator[tuple[slice, NDArray[Any]]], units: int
) -> xr.Dataset:
    """Merge counts, means and squared deviations block by block (Chan et al. 1979)."""
    datasets, which = np.unique(root["dataset"].values.astype(object), return_inverse=True)
    groups = 2 * which + root["label"].values
    shape = (2 * len(datasets), units)
    count = np.zeros(shape[0], dtype=np.int64)
    mean, squares = np.zeros(shape), np.zeros(shape)
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for where, block in blocks:
        for group in np.unique(groups[where]):
            rows = block[groups[where] == group].astype(np.float64)
            own = rows.mean(axis=0)
            total = count[group] + len(rows)
            shift = own - mean[group]
            squares[group] += ((rows - own) ** 2).sum(axis=0)
            squares[group] += shift**2 * (count[group] * len(rows) / total)
            mean[group] += shift * (len(rows) / total)
            count[group] = total
            low[group] = np.minimum(low[group], rows.min(axis=0))
            high[group] = np.maximum(high[group], rows.max(axis=0))
    seen = count[:, None] > 0
    found = {
        "mean": np.where(seen, mean, np.nan),
        "variance": np.where(seen, squares / np.maximum(count, 1)[:, None], np.nan),
        "min": np.where(seen, low, np.nan),
        "max": np.where(seen, high, np.nan),
    }
    dims, full = ("dataset", "label", "unit"), (len(datasets), 2, units)
    return xr.Dataset(
        {"count": (dims[:2], count.reshape(full[:2]))}
        | {name: (dims, value.reshape(full)) for name, value in found.items()},
        coords={
            "dataset": datasets,
            "label": np.array([0, 1]),
            "unit": np.arange(units),
        },
    )


def _fitted(value: NDArray[Any], dtype: np.dtype[Any], layer: str) -> NDArray[Any]:
    limit = float(np.finfo(dtype).max)
    largest = float(np.abs(value[np.isfinite(value)]).max(initial=0.0))
    if largest > limit:
        raise StoreError(
            f"Layer {layer!r} reaches {largest:g}; {dtype} holds at most {limit:g}. Record it "
            "with dtype='float32' into another folder."
        )
    return value.astype(dtype)


def _plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce attributes to what JSON gives back as it was."""
    out: dict[str, Any] = json.loads(json.dumps(dict(attrs), default=str))
    return out


def _read_attrs(path: Path) -> dict[str, Any]:
    """Read the root's attributes and check that this is a store of our schema."""
    if not path.exists():
        raise StoreError(f"There is no activation store at {str(path)!r}. Run `probe record`.")
    file = path / "zarr.json"
    if not file.is_file():
        raise StoreError(
            f"{str(path)!r} is no activation store: it holds no zarr.json. Give the folder that "
            "`probe record` wrote, or an empty one to record into."
        )
    try:
        attrs: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["attributes"]
        kind, version = attrs.get("kind"), attrs.get("schema_version")
    except _BROKEN as error:
        raise _damaged(path, str(error)) from error
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The store {str(path)!r} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}. Record it again, or install the version that wrote it."
        )
    if kind != _KIND or not {"complete", *IDENTITY} <= set(attrs):
        raise StoreError(
            f"{str(path)!r} is no activation store but a Zarr group of kind {kind!r}. Give the "
            "folder that `probe record` wrote."
        )
    return attrs


def _check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise unless both name the same detector, dataset, layers and format."""
    differences = []
    for key in IDENTITY:
        there, here = found[key], wanted[key]
        if key in ("detector", "dataset"):
            if there["fingerprint"] != here["fingerprint"]:
                texts = [f"{x['name']} [{x['fingerprint'][:8]}]" for x in (there, here)]
                differences.append(f"{key} ({texts[0]}, now {texts[1]})")
        elif there != here:
            texts = [", ".join(x) if isinstance(x, dict) else str(x) for x in (there, here)]
            differences.append(f"{key} ({texts[0]}, now {texts[1]})")
    if differences:
        raise StoreError(
            f"The store {str(path)!r} is a recording with another {'; another '.join(differences)}"
            ". A store holds one recording: choose another folder, or remove this one."
        )


def _missing_chunks(path: Path, attrs: Mapping[str, Any]) -> str:
    """Name the first array that lacks chunks; Zarr itself would read them as NaN."""
    root = zarr.open_group(path, mode="r")
    for name in ("logit", "written", *(f"{layer}/activation" for layer in attrs["layers"])):
        array = root[name]
        assert isinstance(array, zarr.Array)
        if array.nchunks_initialized != array.nchunks:
            return f"{name} has {array.nchunks_initialized} of {array.nchunks} chunks"
    return ""


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"The store {str(path)!r} is damaged ({why}). Remove it and run `probe record` again."
    )
