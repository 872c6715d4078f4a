"""`ActivationStore`: recorded activations, read lazily; extremes and moments of units."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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

#: Number formats that activations can be kept in.
DTYPES = ("float16", "float32")

#: What a store is recorded from; a recording goes on only where all of it is the same.
IDENTITY = ("detector", "dataset", "layers", "reducer", "dtype", "batch_size")

#: Attribute of the root that tells an activation store from other Zarr groups.
KIND = "activations"

#: Name of a tap's child group.
MOMENTS = "moments"

#: Names at the root that no column of the sample table may have.
RESERVED = ("logit", "written", "unit")

#: What libraries raise on files that are not what they should be.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


def plain(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce attributes to what JSON gives back as it was."""
    out: dict[str, Any] = json.loads(json.dumps(dict(attrs), default=str))
    return out


def read_attrs(path: Path) -> dict[str, Any]:
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
    except BROKEN as error:
        raise damaged(path, str(error)) from error
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"The store {str(path)!r} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}. Record it again, or install the version that wrote it."
        )
    if kind != KIND or not {"complete", *IDENTITY} <= set(attrs):
        raise StoreError(
            f"{str(path)!r} is no activation store but a Zarr group of kind {kind!r}. Give the "
            "folder that `probe record` wrote."
        )
    return attrs


def check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `StoreError` unless both name the same detector, dataset, layers and format."""
    pairs = ((key, _identity(key, found[key]), _identity(key, wanted[key])) for key in IDENTITY)
    differences = [f"{key} {there} (now {here})" for key, there, here in pairs if there != here]
    if differences:
        raise StoreError(
            f"The store {str(path)!r} is another recording: {'; '.join(differences)}. A store "
            "holds one recording: choose another folder, or remove this one."
        )


def _identity(key: str, value: Any) -> str:
    """Word what has to be the same."""
    if key in ("detector", "dataset"):
        return f"{value['name']} [{value['fingerprint'][:12]}]"
    return ", ".join(sorted(value)) if isinstance(value, dict) else str(value)


def damaged(path: Path, why: str) -> StoreError:
    """Word the error about a store whose files are not what they should be."""
    return StoreError(
        f"The store {str(path)!r} is damaged ({why}). Remove it and run `probe record` again."
    )


Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ends:
    """Samples of one dataset at both ends of some values.

    Attributes
    ----------
    dataset : str
        Which.
    most, least : numpy.ndarray
        Rows of the sample table: the highest value first; the lowest first.
    n_videos : int
        How many videos they were chosen from.
    """

    dataset: str
    most: Integers
    least: Integers
    n_videos: int


@dataclass(frozen=True)
class VideoGroups:
    """Samples by dataset and video, so that one pass finds the extreme frame of every video.

    Neighboring frames look alike, so a video stands for itself by its extreme frame.

    Attributes
    ----------
    order : numpy.ndarray
        Samples sorted by dataset and video, shape (sample,).
    group : numpy.ndarray
        Video of each in that order, shape (sample,).
    starts : numpy.ndarray
        Where each video begins in it, shape (video,).
    datasets : tuple of (str, int, int)
        Name, first video and the one after the last, in the order of the sample table.
    """

    order: Integers
    group: Integers
    starts: Integers
    datasets: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> VideoGroups:
        """Sort a sample table with the columns ``dataset, method, video, label``."""
        # A video key may hold both classes where a layout names them alike.
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
        """Find the samples at both ends of every dataset, at most one a video.

        Parameters
        ----------
        values : numpy.ndarray
            Shape (sample,), finite, in the order of the table.
        each : int
            Samples at each end.
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
        """Return each video's extreme value and its sample: of equals the one at that end."""
        value = end.reduceat(ordered, self.starts)
        outside = -1 if end is np.maximum else len(ordered)
        there = np.where(ordered == value[self.group], self.order, outside)
        return value, end.reduceat(there, self.starts)


class _Tally:
    """Running sums of one (dataset, label) over its samples, unit by unit."""

    def __init__(self, units: int) -> None:
        self.count = 0
        self.mean, self.squares = np.zeros(units), np.zeros(units)
        self.low, self.high = np.full(units, np.inf), np.full(units, -np.inf)

    def add(self, rows: NDArray[np.float64]) -> None:
        """Merge some samples, shape (n, unit), by Chan, Golub and LeVeque (1979)."""
        mean, total = rows.mean(axis=0), self.count + len(rows)
        shift = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0)
        self.squares += shift**2 * (self.count * len(rows) / total)
        self.mean += shift * (len(rows) / total)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.count = total

    def result(self) -> dict[str, NDArray[np.float64]]:
        """Give mean, variance (over n), min and max; NaN where nothing was seen."""
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
    """Take moments by dataset and label, holding one block at a time.

    Parameters
    ----------
    datasets, labels : numpy.ndarray
        Shape (n,), of every sample; labels are 0 (real) and 1 (fake).
    blocks : iterable of (slice, numpy.ndarray)
        Positions and their activations, shape (block, unit); each position once.
    units : int
        Number of units.

    Returns
    -------
    xarray.Dataset
        ``count(dataset, label)`` and ``mean, variance, min, max(dataset, label, unit)``, double;
        variance is over n. A value that is not finite makes its unit's moments so.
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
    """Activations of one detector on labeled samples; opened lazily, never held in memory.

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
        attrs = read_attrs(path)
        if not attrs["complete"] and not incomplete:
            raise StoreError(
                f"The store {str(path)!r} is incomplete: its recording was interrupted. Run the "
                "same `probe record` again; it goes on where it stopped."
            )
        try:
            tree = xr.open_datatree(path, engine="zarr", consolidated=False)
            store = cls(path, tree)
            lacking = _missing_chunks(path, attrs) if attrs["complete"] else ""
        except BROKEN as error:
            raise damaged(path, str(error)) from error
        if lacking:
            raise damaged(path, lacking)
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
        try:
            root = self.tree.to_dataset().load()
        except BROKEN as error:
            raise damaged(self.path, str(error)) from error
        return _with_text(root).to_dataframe().reset_index()[columns]

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
        if MOMENTS not in node.children:
            raise StoreError(
                f"The store {str(self.path)!r} is incomplete and has no moments yet. Run the same "
                "`probe record` again; it goes on where it stopped."
            )
        child = node[MOMENTS]
        assert isinstance(child, xr.DataTree)
        return _with_text(child.to_dataset().drop_vars("sample"))

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


def _with_text(data: xr.Dataset) -> xr.Dataset:
    """Make text ordinary again: Zarr's comes back as NumPy's StringDType, which pandas lacks."""
    text = [name for name, value in data.variables.items() if value.dtype.kind == "T"]
    return data.assign({name: data[name].astype(object) for name in text})


def _missing_chunks(path: Path, attrs: Mapping[str, Any]) -> str:
    """Name the first array that lacks chunks; Zarr itself would read them as NaN."""
    root = zarr.open_group(path, mode="r")
    for name in ("logit", "written", *(f"{layer}/activation" for layer in attrs["layers"])):
        array = root[name]
        assert isinstance(array, zarr.Array)
        if array.nchunks_initialized != array.nchunks:
            return f"{name} has {array.nchunks_initialized} of {array.nchunks} chunks"
    return ""
