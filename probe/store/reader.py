"""`ActivationStore`: lazily read activations, with extremes and moments of units."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from probe.errors import StoreError, UnknownNameError
from probe.results import Provenance
from probe.schema import SCHEMA_VERSION
from probe.tables import cut_chunk, missing_chunks

__all__ = [
    "ActivationStore",
    "BROKEN",
    "DTYPES",
    "Ends",
    "IDENTITY",
    "KIND",
    "MOMENTS",
    "RESERVED",
    "VideoGroups",
    "check_same",
    "damaged",
    "moments",
    "plain",
    "read_attrs",
]

#: Data types in which activations can be stored.
DTYPES = ("float16", "float32")

#: Attributes that identify a recording; it is resumed only if all of them are the same.
IDENTITY = ("detector", "dataset", "layers", "reducer", "dtype", "batch_size")

#: Value of the root attribute ``kind`` that distinguishes stores from other Zarr groups.
KIND = "activations"

#: Name of the child group with the moments of a tap.
MOMENTS = "moments"

#: Names that no column of the sample table may have.
RESERVED = ("logit", "written", "unit")

#: Arrays that are written batch by batch; ``written`` says which are there.
GROWING = ("activation", "logit", "written")

#: Exceptions that libraries raise for damaged files.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


def plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as plain data that JSON can represent."""
    out: dict[str, Any] = json.loads(json.dumps(dict(attrs), default=str))
    return out


def read_attrs(path: Path) -> dict[str, Any]:
    """Return the attributes of a store's root; raise `StoreError` if it is not a valid store."""
    if not path.exists():
        raise StoreError(f"There is no activation store at {str(path)!r}. Run `probe record`.")
    file = path / "zarr.json"
    if not file.is_file():
        raise StoreError(
            f"{str(path)!r} is not an activation store: it holds no zarr.json. Give a folder "
            "written by `probe record`, or an empty one to record into."
        )
    try:
        attrs: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["attributes"]
        kind, version = attrs.get("kind"), attrs.get("schema_version")
    except BROKEN as error:
        raise damaged(path, error) from error
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The store {str(path)!r} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}. Record it again, or install the version that wrote it."
        )
    if kind != KIND or not {"complete", *IDENTITY} <= set(attrs):
        raise StoreError(
            f"{str(path)!r} is not an activation store but a Zarr group of kind {kind!r}. Give a "
            "folder written by `probe record`."
        )
    return attrs


def check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `StoreError` unless both have the same detector, dataset, layers and settings."""
    pairs = ((key, _identity(key, found[key]), _identity(key, wanted[key])) for key in IDENTITY)
    differences = [f"{key} {there} (now {here})" for key, there, here in pairs if there != here]
    if differences:
        raise StoreError(
            f"The store {str(path)!r} is another recording: {'; '.join(differences)}. A store "
            "holds only one recording: choose another folder, or remove this one."
        )


def _identity(key: str, value: Any) -> str:
    """Return an identifying attribute as text."""
    if key in ("detector", "dataset"):
        return f"{value['name']} [{value['fingerprint'][:12]}]"
    return ", ".join(sorted(value)) if isinstance(value, dict) else str(value)


def damaged(path: Path, why: str | Exception) -> StoreError:
    """Return the error for a store with damaged files; it names a chunk that cannot be decoded."""
    if isinstance(why, Exception):
        # What cannot even be listed keeps the first reason.
        with suppress(*BROKEN):
            file = cut_chunk(path)
            why = f"the file {file} cannot be decoded: {why}" if file else why
    return StoreError(
        f"The store {str(path)!r} is damaged ({why}). Remove it and run `probe record` again."
    )


Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ends:
    """Samples of one dataset with the highest and lowest values, such as a unit's activations.

    Attributes
    ----------
    dataset : str
        Name of the dataset.
    most, least : numpy.ndarray
        Rows of the sample table, from the highest value, and from the lowest value.
    n_videos : int
        Number of videos they were selected from.
    """

    dataset: str
    most: Integers
    least: Integers
    n_videos: int


@dataclass(frozen=True)
class VideoGroups:
    """Samples grouped by dataset and video, to find the extreme frame of every video in one pass.

    Neighboring frames look alike, so a video is represented by its extreme frame only.

    Attributes
    ----------
    order : numpy.ndarray
        Sample positions sorted by dataset and video, shape (sample,).
    group : numpy.ndarray
        Video of each sample in that order, shape (sample,).
    starts : numpy.ndarray
        Index at which each video begins in that order, shape (video,).
    datasets : tuple of (str, int, int)
        Name, first video and end (exclusive) of each dataset, in the order of the sample table.
    """

    order: Integers
    group: Integers
    starts: Integers
    datasets: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> VideoGroups:
        """Group a sample table with the columns ``dataset, method, video, label``."""
        # The label is part of the key, since some layouts use one name in both classes.
        names = [table[name].astype(str) for name in ("dataset", "method", "video", "label")]
        codes = [pd.factorize(name)[0] for name in names]
        order = np.lexsort(codes[::-1])
        sorted_codes = np.stack([code[order] for code in codes])
        new = np.ones(len(order), dtype=bool)
        new[1:] = (sorted_codes[:, 1:] != sorted_codes[:, :-1]).any(axis=0)
        starts = np.flatnonzero(new)
        of_group = codes[0][order][starts]
        bounds = np.searchsorted(of_group, np.arange(of_group[-1] + 2))
        labels = pd.unique(names[0])
        return cls(
            order=order,
            group=np.cumsum(new) - 1,
            starts=starts,
            datasets=tuple(
                (str(name), int(bounds[i]), int(bounds[i + 1])) for i, name in enumerate(labels)
            ),
        )

    def ends(self, values: NDArray[np.floating], each: int) -> tuple[Ends, ...]:
        """Return the samples with the highest and lowest values per dataset, one per video.

        Parameters
        ----------
        values : numpy.ndarray
            Finite values in the order of the table, shape (sample,).
        each : int
            Number of samples at each end.
        """
        ordered = values[self.order]
        highest, last = self._ends(ordered, np.maximum)
        lowest, first = self._ends(ordered, np.minimum)
        found = []
        for name, start, stop in self.datasets:
            part = slice(start, stop)
            down = np.lexsort((last[part], highest[part]))[::-1][:each]
            up = np.lexsort((first[part], lowest[part]))[:each]
            found.append(Ends(name, last[part][down], first[part][up], stop - start))
        return tuple(found)

    def _ends(
        self, ordered: NDArray[np.floating], end: np.ufunc
    ) -> tuple[NDArray[np.floating], Integers]:
        """Return each video's extreme value and its sample.

        Of equal values the last sample is returned for the maximum, the first for the minimum.
        """
        value = end.reduceat(ordered, self.starts)
        outside = -1 if end is np.maximum else len(ordered)
        there = np.where(ordered == value[self.group], self.order, outside)
        return value, end.reduceat(there, self.starts)


class _Tally:
    """Running moments of one (dataset, label), per unit."""

    def __init__(self, units: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(units), np.zeros(units)
        self.low, self.high = np.full(units, np.inf), np.full(units, -np.inf)

    def add(self, rows: NDArray[np.float64]) -> None:
        """Add samples, shape (n, unit), by the method of Chan, Golub and LeVeque (1979)."""
        mean, total = rows.mean(axis=0), self.count + len(rows)
        shift = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0)
        self.squares += shift**2 * (self.count * len(rows) / total)
        self.mean += shift * (len(rows) / total)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.count = total

    def result(self) -> dict[str, NDArray[np.float64]]:
        """Return mean, variance (over n), min and max; NaN if there were no samples."""
        found = {
            "mean": self.mean,
            "variance": self.squares / max(self.count, 1),
            "min": self.low,
            "max": self.high,
        }
        return found if self.count else {k: np.full_like(v, np.nan) for k, v in found.items()}


def moments(
    datasets: NDArray[Any],
    labels: NDArray[Any],
    blocks: Iterable[tuple[slice, NDArray[Any]]],
    units: int,
) -> xr.Dataset:
    """Compute moments by dataset and label, with one block in memory at a time.

    Parameters
    ----------
    datasets, labels : numpy.ndarray
        Dataset and label (0 real, 1 fake) of every sample, shape (n,).
    blocks : iterable of (slice, numpy.ndarray)
        Positions and their activations, shape (block, unit); each position once.
    units : int
        Number of units.

    Returns
    -------
    xarray.Dataset
        ``count(dataset, label)`` and ``mean, variance, min, max(dataset, label, unit)``, double
        precision; the variance divides by n. A nonfinite value makes the moments of its unit
        nonfinite.
    """
    names, which = np.unique(datasets.astype(object), return_inverse=True)
    groups = 2 * which + labels
    tallies = [_Tally(units) for _ in range(2 * len(names))]
    with np.errstate(invalid="ignore", over="ignore"):
        for where, block in blocks:
            for group in np.unique(groups[where]):
                tallies[group].add(block[groups[where] == group].astype(np.float64))
    shape = (len(names), 2)
    results = [tally.result() for tally in tallies]
    table = {
        name: (("dataset", "label", "unit"), np.reshape([r[name] for r in results], (*shape, -1)))
        for name in ("mean", "variance", "min", "max")
    }
    counts = (("dataset", "label"), np.reshape([tally.count for tally in tallies], shape))
    coords = {"dataset": names, "label": np.array([0, 1]), "unit": np.arange(units)}
    return xr.Dataset({"count": counts, **table}, coords=coords)


@dataclass(frozen=True)
class ActivationStore:
    """Recorded activations of one detector on labeled samples, read lazily.

    On disk, the store is a Zarr v3 group. Its root holds the coordinate ``sample``, the columns of
    the sample table, ``logit(sample)`` (of "fake") and ``written(sample)``. Every tap is a group
    with ``activation(sample, unit)`` in chunks of whole batches. Its child group ``moments`` holds
    count, mean, variance (over n), min and max by ``(dataset, label, unit)``.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the store.
    tree : xarray.DataTree
        Content of the store, read lazily.

    Examples
    --------
    >>> import probe
    >>> store = probe.ActivationStore.open("meso4.zarr")
    >>> store
    <ActivationStore 'meso4.zarr': 240 samples, leaky 16 units, conv4 16 units>
    >>> store["leaky"]["activation"].shape
    (240, 16)
    """

    path: Path
    tree: xr.DataTree

    def __repr__(self) -> str:
        """Say how many samples and units there are."""
        units = ", ".join(f"{name} {self[name].sizes['unit']} units" for name in self.layers)
        state = "" if self.complete else ", incomplete"
        samples = f"{self.tree.sizes['sample']:,} samples"
        return f"<ActivationStore {str(self.path)!r}: {samples}, {units}{state}>"

    @classmethod
    def open(cls, path: str | Path, *, incomplete: bool = False) -> ActivationStore:
        """Open a store.

        Parameters
        ----------
        path : path
            Folder of the store.
        incomplete : bool, default False
            Whether to open a store whose recording was interrupted. Samples that are not written
            yet are NaN and False in ``written``.

        Raises
        ------
        StoreError
            If the store is missing, damaged, of another schema version, or incomplete.
        """
        path = Path(path)
        attrs = read_attrs(path)
        if not attrs["complete"] and not incomplete:
            raise StoreError(
                f"The store {str(path)!r} is incomplete: its recording was interrupted. Run the "
                "same `probe record` again; it resumes where it stopped."
            )
        try:
            lacking = missing_chunks(path, () if attrs["complete"] else GROWING)
            if lacking:
                raise damaged(path, lacking)
            tree = xr.open_datatree(path, engine="zarr", consolidated=False)
            for name in attrs["layers"]:
                tree[f"{name}/activation"] = _read_with_care(path, tree, name)
        except BROKEN as error:
            raise damaged(path, error) from error
        return cls(path, tree)

    @property
    def provenance(self) -> Provenance:
        """What the activations were computed from."""
        detector, data = self.attrs["detector"], self.attrs["dataset"]
        return Provenance(
            {detector["name"]: detector["fingerprint"]}, {data["name"]: data["fingerprint"]}
        )

    @property
    def attrs(self) -> dict[str, Any]:
        """Provenance: detector and dataset with fingerprints, layers, reducer, versions."""
        return {str(name): value for name, value in self.tree.attrs.items()}

    @property
    def complete(self) -> bool:
        """Whether every sample was recorded and the moments were computed."""
        return bool(self.tree.attrs["complete"])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the taps, as given to the recording."""
        return tuple(self.tree.attrs["layers"])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Sample table with ``logit`` (of "fake") and ``written``, one row per sample."""
        columns = [*self.tree.attrs["columns"], "logit", "written"]
        try:
            root = self.tree.to_dataset().load()
        except BROKEN as error:
            raise damaged(self.path, error) from error
        return _with_text(root).to_dataframe().reset_index()[columns]

    def __getitem__(self, layer: str) -> xr.Dataset:
        """Return the lazily read ``activation(sample, unit)`` of a tap.

        Raises
        ------
        UnknownNameError
            If the layer was not recorded.
        """
        return _with_text(self._node(layer).to_dataset())

    def moments(self, layer: str) -> xr.Dataset:
        """Return ``count(dataset, label)`` and ``mean, variance, min, max(dataset, label, unit)``.

        If a dataset has no sample of a label, the count is 0 and the others are NaN.
        """
        node = self._node(layer)
        if MOMENTS not in node.children:
            raise StoreError(
                f"The store {str(self.path)!r} is incomplete and has no moments yet. Run the same "
                "`probe record` again; it resumes where it stopped."
            )
        child = node[MOMENTS]
        assert isinstance(child, xr.DataTree)
        try:
            found = child.to_dataset().drop_vars("sample").load()
        except BROKEN as error:
            raise damaged(self.path, error) from error
        return _with_text(found)

    def _node(self, layer: str) -> xr.DataTree:
        full = {path: name for name, path in self.tree.attrs["layers"].items()}
        name = layer if layer in self.layers else full.get(layer)
        if name is None:
            raise UnknownNameError(
                "layer",
                layer,
                self.layers,
                where=f"the store {str(self.path)!r}",
                remedy="Record it with `probe record --layer`.",
            )
        return self.tree.children[name]


class _CheckedArray(BackendArray):
    """A stored array whose chunks are read when they are used; a damaged one is named."""

    def __init__(self, path: Path, array: zarr.Array[Any]) -> None:
        self.path, self.array = path, array
        self.shape, self.dtype = array.shape, np.dtype(array.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        try:
            return np.asarray(self.array.oindex[key])
        except BROKEN as error:
            raise damaged(self.path, error) from error


def _read_with_care(path: Path, tree: xr.DataTree, layer: str) -> xr.DataArray:
    given = tree.children[layer].to_dataset()["activation"]
    array = zarr.open_group(path, mode="r")[f"{layer}/activation"]
    assert isinstance(array, zarr.Array)
    lazy = indexing.LazilyIndexedArray(_CheckedArray(path, array))
    return given.copy(deep=False, data=lazy)


def _with_text(data: xr.Dataset) -> xr.Dataset:
    """Convert text variables from NumPy's StringDType, which pandas does not support, to object."""
    text = [name for name, value in data.variables.items() if value.dtype.kind == "T"]
    return data.assign({name: data[name].astype(object) for name in text})
