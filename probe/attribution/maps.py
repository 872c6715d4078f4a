"""`AttributionMap`: unscaled heatmaps of images, with all settings that produced them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from numpy.typing import NDArray

from probe.errors import ProbeError, StoreError
from probe.results import Result
from probe.schema import SCHEMA_VERSION
from probe.tables import export_frame, missing_chunks, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ABOUT", "AttributionMap", "MAGNITUDE", "MapWriter", "TOWARDS"]


#: The two conventions of sign.
TOWARDS = "positive pushes the target up, negative down"
MAGNITUDE = "not negative: how strongly, not which way"

#: Maps per block when all maps are read in sequence.
BLOCK = 16

#: Variables with a value per pixel.

#: Coordinates of a sample, besides its id, if the images are from a dataset.
ABOUT = ("dataset", "label", "forgery", "video", "cluster")


@dataclass(frozen=True, repr=False)
class AttributionMap(Result):
    """Attribution maps of images by one method, unscaled.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``sample``, ``y`` and ``x``, and ``channel`` where a method has channels:

        - ``attribution(sample, y, x)``, float32: the map, in units of the target (logits for the
          fake logit) if the method is complete, else in units of the method;
        - ``by_channel(sample, channel, y, x)``: the map per channel R, G, B, before the channels
          were summed (signed) or the largest magnitude was taken; absent for methods without
          channels;
        - ``value(sample)``: the target on the image, the fake logit by default;
        - ``gap(sample)``: sum of the map − (target on the image − target on the baseline), which
          is 0 for a complete method; NaN for methods that are not complete;
        - coordinates ``dataset, label, forgery, video, cluster (sample)`` if the images are from a
          dataset; ``cluster`` is the identity if known, else the video.

        Attributes: ``method, title, paper, target, layer, sign, signed, baseline, options``,
        ``relative_gap`` (Σ|gap| / Σ|expected sum of a map|), ``notes``, and the provenance.

    Examples
    --------
    >>> import probe
    >>> run = probe.open_run("runs/demo")
    >>> maps = run.maps("meso4/base", "gradcam")
    >>> maps.values.shape
    (36, 16, 16)
    """

    KIND: ClassVar[str] = "a set of attribution maps"
    LARGE: ClassVar[tuple[str, ...]] = ("attribution", "by_channel")
    REQUIRED: ClassVar[str] = "attribution"
    COMMAND: ClassVar[str] = "probe attribute"

    def __len__(self) -> int:
        return int(self.data.sizes["sample"])

    @property
    def values(self) -> NDArray[np.float32]:
        """The maps as a plain array, shape (sample, y, x)."""
        return np.asarray(self.data["attribution"].values, dtype=np.float32)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the maps in order, in blocks; blocks read from disk are not kept."""
        for start in range(0, len(self), BLOCK):
            yield self.read(slice(start, start + BLOCK))

    def read(self, samples: slice) -> NDArray[np.float32]:
        """Return the maps of a slice of samples, shape (some, y, x), reading no others."""
        some = self.data["attribution"].isel(sample=samples)
        return np.asarray(some.values, dtype=np.float32)

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.data.attrs["method"])

    @property
    def signed(self) -> bool:
        """Whether the sign has a meaning; see attribute ``sign``."""
        return bool(self.data.attrs["signed"])

    def figure(
        self,
        images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]] | None = None,
        masks: Sequence[NDArray[np.uint8] | None] | None = None,
        *,
        kind: str = "map",
        rows: Sequence[int] | None = None,
        scale: str = "figure",
        style: str | None = None,
        columns: int | None = None,
        max_samples: int = 6,
    ) -> Figure:
        """Draw maps side by side, below their images; see `probe.plots.maps_figure`.

        Parameters
        ----------
        images : numpy.ndarray or sequence, optional
            One image per map, shape (n, h, w, 3), 0 to 255.
        masks : sequence, optional
            Forgery mask of each image, shape (h, w), 0 to 255, or None; drawn as an outline.
        kind : {"map", "overlay"}, default "map"
            "overlay" draws the maps over the images.
        rows : sequence of int, optional
            Positions of the samples to draw; by default `max_samples`, spread over datasets and
            classes.
        scale : {"figure", "row", "cell"}, default "figure"
            Which maps share a color scale; the color bar shows it.
        style : str, optional
            Name in `probe.plots.STYLES`; by default an IEEE column or page, whichever fits.
        columns : int, optional
            Samples per row; up to 6 by default.
        max_samples : int, default 6
            Number of samples drawn if `rows` is not given.

        Raises
        ------
        ProbeError
            If images, masks or rows do not match the maps.
        UnknownNameError
            If the kind, scale or style is unknown.
        """
        from probe.plots import maps_figure

        return maps_figure(
            self,
            images,
            masks,
            kind=kind,
            rows=rows,
            scale=scale,
            style=style,
            columns=columns,
            max_samples=max_samples,
        )

    def take(self, samples: Sequence[int] | NDArray[Any]) -> AttributionMap:
        """Return the maps of the given positions, in this order."""
        return AttributionMap(self.data.isel(sample=list(samples)))

    def _frame(self) -> pd.DataFrame:
        """Return one row per sample: coordinates, target, and sums of the map.

        Columns ``total, positive, negative`` are sums over pixels, ``largest`` is the largest
        magnitude, ``gap`` is as in `data`.
        """
        frame = pd.DataFrame({"sample": [str(name) for name in self.data["sample"].values]})
        for name in ABOUT:
            if name in self.data.coords:
                frame[name] = self.data[name].values
        frame["value"] = self.data["value"].values
        sums = [_sums(maps.astype(np.float64)) for maps in self.blocks()]
        for name, column in zip(SUMS, np.concatenate(sums, axis=1), strict=True):
            frame[name] = column
        frame["gap"] = self.data["gap"].values
        return frame

    def export(self, path: str | Path) -> Path:
        """Write arrays (``.npz``, ``.zarr``) or the table (``.csv .parquet .tex .md``).

        Raises
        ------
        UnknownNameError
            If the suffix is not a known format.
        ProbeError
            If the file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".zarr":
            self.save(path)
            return path
        if path.suffix == ".npz":
            return self._to_npz(path)
        return export_frame(self.to_dataframe(), path, self.data.attrs)

    def _to_npz(self, path: Path) -> Path:
        """Write plain arrays that numpy reads without pickle; attributes are one JSON text."""
        import json

        arrays: dict[str, Any] = {
            str(name): np.asarray(
                np.array([str(one) for one in array.values])
                if array.dtype.kind in "OUT"
                else array.values
            )
            for name, array in {**self.data.coords, **self.data.data_vars}.items()
        }
        attrs = json.dumps({str(k): plain(v) for k, v in self.data.attrs.items()}, sort_keys=True)
        partial = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez_compressed(file, attrs=np.array(attrs), **arrays)
            partial.replace(path)
        except OSError as error:
            raise ProbeError(
                f"The maps cannot be written to {str(path)!r} ({error}). Choose a folder that can "
                "be written to."
            ) from error
        return path

    @classmethod
    def open(cls, path: str | Path, *, lazy: bool = False) -> AttributionMap:
        """Read maps that `save`, or `attribute` with ``out``, wrote.

        Parameters
        ----------
        path : pathlib.Path
            Folder of the maps.
        lazy : bool, default False
            Whether to leave the maps on disk until they are used.

        Raises
        ------
        StoreError
            If there are no maps, or some are still missing.
        """
        data = cls._read(Path(path), lazy)
        if "written" in data:
            missing = int((~data["written"].values).sum())
            if missing:
                raise StoreError(
                    f"{missing} of {data.sizes['sample']} maps in {str(path)!r} are still missing: "
                    "the run was interrupted. Run the same command again; it goes on."
                )
            lacking = missing_chunks(Path(path))
            if lacking:
                raise StoreError(
                    f"{str(path)!r} is damaged ({lacking}). Remove it and compute it again."
                )
            data = data.drop_vars(["written", "promised"])
        if data.attrs.get("relative_gap") is None:
            data = data.assign_attrs(relative_gap=float("nan"))
        return cls(data)

    def summary(self) -> str:
        """Summarize how many maps there are, and of what."""
        attrs = self.data.attrs
        at = f" at {attrs['layer']}" if attrs.get("layer") else ""
        return (
            f"{self.data.sizes['sample']} maps by {attrs.get('title') or attrs['method']} of the "
            f"{attrs.get('target', 'logit')} of {self.detector}{at}."
        )


SUMS = ("total", "positive", "negative", "largest")


def _sums(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `SUMS` of each map, shape (4, n)."""
    above, below = np.maximum(maps, 0), np.minimum(maps, 0)
    sums = [one.sum(axis=(1, 2)) for one in (maps, above, below)]
    return np.stack([*sums, np.abs(maps).max(axis=(1, 2))])


#: Attributes that may differ between files with the same maps.
LOOSE = ("versions", "relative_gap")


@dataclass(frozen=True)
class MapWriter:
    """Writes maps batch by batch, in whole chunks; each chunk is marked after it is written.

    Attributes
    ----------
    path : pathlib.Path
        Folder of the maps.
    group : zarr.Group
        Root group.
    chunk : int
        Images per chunk.
    """

    path: Path
    group: zarr.Group
    chunk: int

    @classmethod
    def begin(
        cls,
        path: Path,
        coords: Mapping[str, Any],
        size: int,
        channels: bool,
        attrs: Mapping[str, Any],
        chunk: int,
    ) -> MapWriter:
        """Create a file, or continue an interrupted one with the same maps.

        Raises
        ------
        StoreError
            If the folder holds something else or other maps, or cannot be created.
        """
        stored = {"schema_version": SCHEMA_VERSION, **{k: plain(v) for k, v in attrs.items()}}
        if path.suffix != ".zarr":
            raise StoreError(f"out={str(path)!r} was given; maps are written to a name in .zarr.")
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            _check_same(path, stored, list(map(str, coords["sample"])))
        else:
            _create(path, coords, size, channels, stored, chunk)
        group = zarr.open_group(path, mode="r+")
        return cls(path, group, int(group["attribution"].chunks[0]))  # type: ignore[union-attr]

    @property
    def missing(self) -> list[slice]:
        """Slices of the chunks that are not written yet."""
        written = self.read("written")
        starts = range(0, len(written), self.chunk)
        chunks = [slice(start, min(start + self.chunk, len(written))) for start in starts]
        return [where for where in chunks if not written[where].all()]

    def read(self, name: str) -> NDArray[Any]:
        """Return one array."""
        return np.asarray(self.group[name][:])  # type: ignore[index]

    def write(self, where: slice, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a batch of whole chunks, and mark them last."""
        for name, values in arrays.items():
            if name in self.group:
                self._array(name)[where] = values
        self._array("written")[where] = np.ones(where.stop - where.start, dtype=bool)

    def _array(self, name: str) -> zarr.Array[Any]:
        found = self.group[name]
        assert isinstance(found, zarr.Array)
        # Chunks of fill values are written too, so that a missing chunk always means damage.
        return found.with_config({"write_empty_chunks": True})

    def finish(self, relative_gap: float) -> None:
        """Store the relative gap of all maps, once."""
        if "relative_gap" not in self.group.attrs:
            # NaN is not valid JSON, so it is stored as null.
            known = relative_gap if math.isfinite(relative_gap) else None
            self.group.attrs["relative_gap"] = known


def _create(
    path: Path,
    coords: Mapping[str, Any],
    size: int,
    channels: bool,
    attrs: Mapping[str, Any],
    chunk: int,
) -> None:
    n = len(coords["sample"])
    data = xr.Dataset(coords=dict(coords), attrs=dict(attrs))
    for name in [k for k, v in data.variables.items() if v.dtype.kind == "U"]:
        data[name] = data[name].astype(object)
    partial = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        data.to_zarr(partial, mode="w", zarr_format=3, consolidated=False, write_empty_chunks=True)
        group = zarr.open_group(partial, mode="r+")
        _array(group, "attribution", ("sample", "y", "x"), (n, size, size), chunk)
        if channels:
            axes = ("sample", "channel", "y", "x")
            _array(group, "by_channel", axes, (n, 3, size, size), chunk)
        _array(group, "value", ("sample",), (n,), chunk)
        for name in ("gap", "promised"):
            _array(group, name, ("sample",), (n,), chunk, "float64")
        _array(group, "written", ("sample",), (n,), chunk, "bool")
        if path.exists():
            path.rmdir()
        partial.rename(path)
    except OSError as error:
        raise StoreError(
            f"No maps can be written to {str(path)!r} ({error}). Choose a folder that can be "
            "written to."
        ) from error


def _array(
    group: zarr.Group,
    name: str,
    axes: tuple[str, ...],
    shape: tuple[int, ...],
    chunk: int,
    dtype: str = "float32",
) -> None:
    group.create_array(
        name,
        shape=shape,
        chunks=(min(chunk, shape[0]), *shape[1:]),
        dtype=dtype,
        fill_value=False if dtype == "bool" else float("nan"),
        dimension_names=axes,
    )


def _check_same(path: Path, wanted: Mapping[str, Any], samples: list[str]) -> None:
    try:
        group = zarr.open_group(path, mode="r")
        found = dict(group.attrs)
        there = [str(name) for name in np.asarray(group["sample"][:])]  # type: ignore[index]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{str(path)!r} exists and is not a file of maps ({error}). Give another name."
        ) from error
    other = [key for key, value in wanted.items() if key not in LOOSE and found.get(key) != value]
    if other or there != samples:
        what = ", ".join(other) if other else "the samples"
        raise StoreError(
            f"{str(path)!r} holds maps that differ in {what}. Give another name, or remove it."
        )
