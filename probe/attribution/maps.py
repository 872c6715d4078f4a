"""`AttributionMap`: heatmaps of images, raw, with all that says how they were made."""

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
from probe.tables import export_frame, open_table, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ABOUT", "AttributionMap", "MAGNITUDE", "MapWriter", "TOWARDS"]


#: The two conventions of sign.
TOWARDS = "positive pushes the target up, negative down"
MAGNITUDE = "not negative: how strongly, not which way"

#: Maps that are read at once where all of them are passed over.
BLOCK = 16

#: What has a value for every pixel.
_LARGE = ("attribution", "by_channel")

#: What is known of a sample, besides its id, where the images come from a dataset.
ABOUT = ("dataset", "label", "forgery", "video", "cluster")


@dataclass(frozen=True, repr=False)
class AttributionMap(Result):
    """Heatmaps of images by one method, unscaled.

    Attributes
    ----------
    data : xarray.Dataset
        Over ``sample``, ``y`` and ``x``, and ``channel`` where a method has channels:

        - ``attribution(sample, y, x)``, float32: the map, in units of the target (logits for the
          fake logit) where the method is complete, else in the method's own;
        - ``by_channel(sample, channel, y, x)``: the same before the channels R, G, B were summed,
          or, for a magnitude, before the largest was taken; absent where a method has none;
        - ``value(sample)``: the target on the image, the fake logit by default;
        - ``gap(sample)``: sum of the map − (target on the image − target on the baseline), which
          a complete method makes 0; NaN where the method promises nothing;
        - coordinates ``dataset, label, forgery, video, cluster (sample)`` where the images come
          from a dataset; cluster is the identity where it is known, else the video.

        Attributes: ``method, title, paper, target, layer, sign, signed, baseline, seed, options``,
        ``detector, detector_fingerprint, data_fingerprint, relative_gap`` (Σ|gap| over Σ|what the
        maps should sum to|), ``notes`` and versions.
    """

    KIND: ClassVar[str] = "set of attribution maps"
    REQUIRED: ClassVar[str] = "attribution"
    COMMAND: ClassVar[str] = "probe attribute"

    def __len__(self) -> int:
        return int(self.data.sizes["sample"])

    @property
    def values(self) -> NDArray[np.float32]:
        """The maps as a plain array, shape (sample, y, x)."""
        return np.asarray(self.data["attribution"].values, dtype=np.float32)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read the maps some at a time, in order; what lies on disk is not kept."""
        for start in range(0, len(self), BLOCK):
            yield self.read(slice(start, start + BLOCK))

    def read(self, samples: slice) -> NDArray[np.float32]:
        """Read the maps at these positions, shape (some, y, x), and no others."""
        some = self.data["attribution"].isel(sample=samples)
        return np.asarray(some.values, dtype=np.float32)

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.data.attrs["method"])

    @property
    def signed(self) -> bool:
        """Whether the sign means something; see attribute ``sign``."""
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
        """Draw maps side by side, under their images; see `probe.figures.maps_figure`.

        Parameters
        ----------
        images : numpy.ndarray or sequence, optional
            One a map, shape (n, h, w, 3), 0 to 255.
        masks : sequence, optional
            Forgery mask of each image, shape (h, w), 0 to 255, or None; drawn as an outline.
        kind : {"map", "overlay"}, default "map"
            "overlay" lays the maps over the images.
        rows : sequence of int, optional
            Positions of the samples to draw; by default `max_samples`, drawn over datasets and
            classes.
        scale : {"figure", "row", "cell"}, default "figure"
            Which maps share a scale of colors, which the color bar says.
        style : str, optional
            Name in `probe.figures.STYLES`; by default an IEEE column or page, as fits.
        columns : int, optional
            Samples side by side, by default up to 6; more go below.
        max_samples : int, default 6
            How many samples are drawn without `rows`.

        Raises
        ------
        ProbeError
            If images, masks or rows do not belong to the maps.
        UnknownNameError
            If there is no such kind, scale or style.
        """
        from probe.figures import maps_figure

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
        """Keep the maps at these positions, in this order."""
        return AttributionMap(self.data.isel(sample=list(samples)))

    def _frame(self) -> pd.DataFrame:
        """Return one row a sample: what is known of it, the target, and the map in figures.

        Columns ``total, positive, negative`` are sums over pixels, ``largest`` is the largest
        magnitude, ``gap`` as in the data.
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
        """Write arrays (``.npz``, ``.zarr``) or the frame (``.csv .parquet .tex .md``).

        Raises
        ------
        UnknownNameError
            If the suffix names no format.
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
        """Write plain arrays that numpy reads without pickle; attributes as one JSON text."""
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
        """Read what `save`, or `attribute` with ``out``, wrote.

        Parameters
        ----------
        path : pathlib.Path
            Where.
        lazy : bool, default False
            Leave the maps themselves on disk until some of them are asked for.

        Raises
        ------
        StoreError
            If there are no maps, or some are still missing.
        """
        data = cls._checked(open_table(Path(path), lazy=lazy), path)
        if "written" in data:
            missing = int((~data["written"].values).sum())
            if missing:
                raise StoreError(
                    f"{missing} of {data.sizes['sample']} maps in {str(path)!r} are still missing: "
                    "the run was interrupted. Run the same command again; it goes on."
                )
            data = data.drop_vars(["written", "promised"])
        if data.attrs.get("relative_gap") is None:
            data = data.assign_attrs(relative_gap=float("nan"))
        for name, variable in data.variables.items():
            if name not in _LARGE:
                variable.load()
        return cls(data)


SUMS = ("total", "positive", "negative", "largest")


def _sums(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give `SUMS` of each map, shape (4, n)."""
    above, below = np.maximum(maps, 0), np.minimum(maps, 0)
    sums = [one.sum(axis=(1, 2)) for one in (maps, above, below)]
    return np.stack([*sums, np.abs(maps).max(axis=(1, 2))])


#: Attributes that say whether two files hold the same maps; versions may differ.
LOOSE = ("versions", "relative_gap")


@dataclass(frozen=True)
class MapWriter:
    """Writes maps batch by batch, in whole chunks, each marked after it is written.

    Attributes
    ----------
    path : pathlib.Path
        The folder.
    group : zarr.Group
        Its root.
    chunk : int
        Images a chunk.
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
        """Preallocate a file, or go on with an interrupted one of the same maps.

        Raises
        ------
        StoreError
            If the folder holds something else or other maps, or cannot be made.
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
        """Positions of the chunks that are not written."""
        written = self.read("written")
        starts = range(0, len(written), self.chunk)
        chunks = [slice(start, min(start + self.chunk, len(written))) for start in starts]
        return [where for where in chunks if not written[where].all()]

    def read(self, name: str) -> NDArray[Any]:
        """Read one array."""
        return np.asarray(self.group[name][:])  # type: ignore[index]

    def write(self, where: slice, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a batch of whole chunks; the mark comes last."""
        for name, values in arrays.items():
            if name in self.group:
                self.group[name][where] = values  # type: ignore[index]
        self.group["written"][where] = np.ones(where.stop - where.start, dtype=bool)  # type: ignore[index]

    def finish(self, relative_gap: float) -> None:
        """Note what all maps together say, once."""
        if "relative_gap" not in self.group.attrs:
            # JSON has no NaN that all readers know.
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
        data.to_zarr(partial, mode="w", zarr_format=3, consolidated=False)
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
            f"{str(path)!r} holds something that is no file of maps ({error}). Give another name."
        ) from error
    other = [key for key, value in wanted.items() if key not in LOOSE and found.get(key) != value]
    if other or there != samples:
        what = ", ".join(other) if other else "the samples"
        raise StoreError(
            f"{str(path)!r} holds maps that differ in {what}. Give another name, or remove it."
        )
