"""`ActivationStore`: recorded activations, an xarray DataTree over Zarr v3, read lazily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
import zarr

from probe.errors import StoreError, UnknownNameError
from probe.store.layout import BROKEN, MOMENTS, damaged, read_attrs

__all__ = ["ActivationStore"]


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
