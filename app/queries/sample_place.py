"""Where one image lies in the picture of a layer, and its attribution maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.queries.deriving import derived
from app.queries.layers import unit_layer
from app.queries.sample import SampleView
from app.run import Run
from probe.datasets.dataset import Dataset
from probe.errors import ProbeError, UnknownNameError
from probe.images import token_of
from probe.run import stamp_of

__all__ = ["MOST_MAPS", "OneMap", "PlaceView", "maps_view", "place_frame", "place_view"]

#: Points behind the image's own.
MOST_POINTS = 2000

#: Maps that are shown; the page of maps has the others.
MOST_MAPS = 6

#: Kinds of pictures, the one shown first.
_KINDS = ("umap", "tsne", "pca")


@dataclass(frozen=True)
class PlaceView:
    """An image in the picture of a layer.

    Attributes
    ----------
    layer, kind : str
        Of what, and how it was made.
    x, y : float
        Where the image lies.
    position : numpy.ndarray
        Other images, shape (drawn, 2).
    label : numpy.ndarray
        Theirs, shape (drawn,).
    inside : numpy.ndarray
        Whether they are of the image's dataset, shape (drawn,).
    total : int
        Images in the picture.
    dataset : str
        Of the image.
    trustworthiness : float
        Of the picture, see `probe.separability.report.Embeddings`.
    """

    layer: str
    kind: str
    x: float
    y: float
    position: NDArray[np.float64]
    label: NDArray[np.int64]
    inside: NDArray[np.bool_]
    total: int
    dataset: str
    trustworthiness: float


@dataclass(frozen=True)
class OneMap:
    """One attribution map: its method, the method's name, and the address that serves it."""

    method: str
    title: str
    source: str


def place_view(run: Run, label: str, view: SampleView, layer: str, kind: str) -> PlaceView:
    """Read where an image lies among others.

    Parameters
    ----------
    run : Run
        What holds the pictures.
    label : str
        Detector.
    view : SampleView
        The image.
    layer, kind : str
        Of the picture; "" for the layer of the units and for the first kind there is.

    Raises
    ------
    UnknownNameError
        If there is no such picture.
    ProbeError
        If the image is not in it.
    """
    data = run.embeddings(label).data
    layers = [str(name) for name in data["layer"].values]
    kinds = [str(name) for name in data["method"].values]
    own = unit_layer(run, label)
    layer = layer or (own if own in layers else layers[-1])
    kind = kind or next((name for name in _KINDS if name in kinds), kinds[0])
    for what, name, allowed in (("layer", layer, layers), ("method", kind, kinds)):
        if name not in allowed:
            raise UnknownNameError(what, name, allowed, where=f"the embeddings of {label}")
    samples = derived(_names, (data,))
    at = int(samples.get_indexer(pd.Index([view.sample]))[0])
    if at < 0:
        raise ProbeError(
            f"This image is not in the pictures of {label}, which are of images whose activations "
            "were recorded. Choose a test image."
        )
    # By a mapping: "method" is also a keyword of its own.
    one = data.sel({"layer": layer, "method": kind})
    position = one["position"].transpose("sample", "axis").values.astype(np.float64)
    drawn = _drawn(len(samples))
    about = derived(_known, (run.data,)).reindex(samples[drawn])
    return PlaceView(
        layer=layer,
        kind=kind,
        x=float(position[at, 0]),
        y=float(position[at, 1]),
        position=position[drawn],
        label=about["label"].fillna(-1).to_numpy().astype(np.int64),
        inside=(about["dataset"] == view.dataset).fillna(False).to_numpy(dtype=bool),
        total=len(samples),
        dataset=view.dataset,
        trustworthiness=float(one["trustworthiness"]),
    )


def _names(data: xr.Dataset) -> pd.Index[str]:
    names: pd.Index[str] = pd.Index(data["sample"].values.astype(object)).astype(str)
    return names


def _known(data: Dataset) -> pd.DataFrame:
    return data.samples.table.set_index("sample")[["label", "dataset"]]


def place_frame(view: PlaceView) -> pd.DataFrame:
    """Return one row a point, the image itself first."""
    frame = pd.DataFrame(view.position, columns=["x", "y"])
    frame = frame.assign(label=view.label, same_dataset=view.inside, this_image=False)
    own = {"x": view.x, "y": view.y, "label": -1, "same_dataset": True, "this_image": True}
    return pd.concat([pd.DataFrame([own]), frame], ignore_index=True)


def maps_view(run: Run, label: str, view: SampleView) -> list[OneMap]:
    """Read the maps of an image, at most `MOST_MAPS`.

    Raises
    ------
    MissingTableError
        If the run holds no maps of the detector.
    ProbeError
        If none of them shows this image.
    """
    methods = run.map_methods(label)
    if not methods:
        # Raises that there are none.
        run.maps(label, "")
    found = []
    for method in methods:
        maps = run.maps(label, method)
        place = np.flatnonzero(maps.data["sample"].values.astype(object) == view.sample)
        if len(place):
            title = str(maps.data.attrs.get("title", method))
            # The stamp makes it another address when the maps were made again.
            stamp = stamp_of(run.folder.path("maps", label, method) / "zarr.json")
            source = f"/map/{view.token}/{token_of(label)}/{method}?v={stamp}"
            found.append(OneMap(method, title, source))
        if len(found) == MOST_MAPS:
            break
    if not found:
        raise ProbeError(
            f"The maps of {label} are of other images. The page Attribution lists which."
        )
    return found


def _drawn(total: int) -> NDArray[np.int64]:
    if total <= MOST_POINTS:
        return np.arange(total)
    chosen = np.random.default_rng(0).choice(total, MOST_POINTS, replace=False)
    return np.sort(chosen).astype(np.int64)
