"""Pictures of a layer: samples in two dimensions, what they are colored by, the one picked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.activations import column, stored_units
from app.queries.deriving import derived
from app.queries.images import Shown, shown_of
from app.run import Run
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.images import token_of
from probe.separability.report import Embeddings
from probe.stats import sigmoid
from probe.store import ActivationStore

__all__ = [
    "COLORS",
    "KINDS",
    "Coloring",
    "Picked",
    "PictureView",
    "Window",
    "coloring",
    "is_dense",
    "kinds_of",
    "picked",
    "picture_view",
    "place_of",
    "token_at",
    "units_of",
]

Floats = NDArray[np.float64]

#: Part of a picture: lowest and highest first coordinate, lowest and highest second.
Window = tuple[float, float, float, float]

#: Kinds of picture to their names.
KINDS = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}

#: What points are colored by, and its name.
COLORS = {
    "label": "Label",
    "dataset": "Dataset",
    "method": "Method",
    "score": "P(fake)",
    "unit": "Unit",
}

#: Points that a browser draws at ease without WebGL, whose library the server's policy forbids
#: to compile its programs. Where more lie in view their density is drawn.
MOST = 8000


@dataclass(frozen=True)
class PictureView:
    """One picture of one layer.

    Attributes
    ----------
    layer, kind : str
        Of what, and by which method; see `KINDS`.
    position : numpy.ndarray
        Shape (sample, 2), in arbitrary units.
    samples : pandas.DataFrame
        The store's sample table in the order of the table of embeddings, with ``logit`` and
        ``place``, a sample's row in the store.
    trustworthiness, preservation : float
        How far the picture can be believed, see `probe.separability.report.Embeddings`.
    neighbors, n_fitted : int
        Neighbors that both are about; samples that the picture was fitted on.
    """

    layer: str
    kind: str
    position: Floats
    samples: pd.DataFrame
    trustworthiness: float
    preservation: float
    neighbors: int
    n_fitted: int

    @property
    def total(self) -> int:
        """How many samples there are."""
        return len(self.position)

    @cached_property
    def extent(self) -> Window:
        """The smallest window that shows all samples."""
        low, high = self.position.min(axis=0), self.position.max(axis=0)
        return float(low[0]), float(high[0]), float(low[1]), float(high[1])

    def seen(self, window: Window | None) -> NDArray[np.int64]:
        """Return the rows of samples in a window; all where there is none."""
        if window is None:
            return np.arange(self.total)
        x, y = self.position.T
        inside = (x >= window[0]) & (x <= window[1]) & (y >= window[2]) & (y <= window[3])
        return np.flatnonzero(inside)


@dataclass(frozen=True)
class Coloring:
    """What points are colored by.

    Attributes
    ----------
    by : str
        Key of `COLORS`.
    title : str
        For people.
    names : tuple of str
        Of groups; empty for numbers.
    code : numpy.ndarray
        Group of each sample, shape (sample,); empty for numbers.
    value : numpy.ndarray
        Number of each sample, shape (sample,); empty for groups.
    """

    by: str
    title: str
    names: tuple[str, ...]
    code: NDArray[np.int64]
    value: Floats


@dataclass(frozen=True)
class Picked:
    """The image of a point: what is known of it, its dataset, and the value of a unit.

    Attributes
    ----------
    shown : Shown
        The image; its activation is NaN where no unit is chosen.
    dataset : str
        Where it comes from.
    unit : int or None
        Whose activation it states.
    """

    shown: Shown
    dataset: str
    unit: int | None


def kinds_of(run: Run, label: str) -> list[str]:
    """List the kinds of pictures that a detector has."""
    return [str(name) for name in run.embeddings(label).data["method"].values]


def is_dense(seen: int) -> bool:
    """Say whether so many samples are drawn as density, and not one by one."""
    return seen > MOST


def units_of(run: Run, label: str, layer: str) -> list[int]:
    """List the units of a layer in the activation store; none where there is no such store."""
    try:
        return [int(unit) for unit in stored_units(run, label, layer)]
    except ProbeError:
        return []


def picture_view(run: Run, label: str, layer: str, kind: str) -> PictureView:
    """Read one picture of one layer.

    Raises
    ------
    UnknownNameError
        If the layer was not embedded, or not in this way.
    StoreError
        If the activation store does not hold a sample of the picture.
    """
    embeddings = run.embeddings(label)
    for dim, name in (("layer", layer), ("method", kind)):
        allowed = [str(value) for value in embeddings.data[dim].values]
        if name not in allowed:
            raise UnknownNameError(
                dim,
                name,
                allowed,
                where=f"the embeddings of {label}",
                remedy="Choose one of them above.",
            )
    return derived(_view, (embeddings, _samples(run, label)), layer, kind)


def _view(embeddings: Embeddings, samples: pd.DataFrame, layer: str, kind: str) -> PictureView:
    data = embeddings.data
    # By a mapping: "method" is also a keyword of its own.
    one = data.sel({"layer": layer, "method": kind})
    return PictureView(
        layer=layer,
        kind=kind,
        position=one["position"].transpose("sample", "axis").values.astype(np.float64),
        samples=samples,
        trustworthiness=float(one["trustworthiness"]),
        preservation=float(one["preservation"]),
        neighbors=int(data.attrs.get("neighbors", 0)),
        n_fitted=int(data["fitted"].values.sum()),
    )


def coloring(run: Run, label: str, view: PictureView, by: str, unit: int | None) -> Coloring:
    """Read what the points of a picture are colored by.

    Raises
    ------
    UnknownNameError
        If there is nothing of that name.
    ProbeError
        If the unit is not in the activation store, or while the store is being arranged.
    """
    if by == "unit":
        return Coloring(
            by,
            f"unit {unit}",
            (),
            np.empty(0, dtype=np.int64),
            _activation(run, label, view.layer, unit)[view.samples["place"].to_numpy()].astype(
                np.float64
            ),
        )
    if by not in COLORS:
        raise UnknownNameError("color", by, COLORS, remedy="Choose one on the page.")
    datasets = tuple(str(name) for name in run.manifest.get("datasets", []))
    return derived(_of_table, (view.samples,), by, datasets)


def _of_table(samples: pd.DataFrame, by: str, datasets: tuple[str, ...]) -> Coloring:
    """Color by a column of the sample table, datasets in the order that all figures have."""
    none, numberless = np.empty(0), np.empty(0, dtype=np.int64)
    if by == "label":
        code = samples["label"].to_numpy().astype(np.int64)
        return Coloring(by, "label", ("real", "fake"), code, none)
    if by == "score":
        score = np.asarray(sigmoid(samples["logit"].to_numpy(dtype=np.float64)))
        return Coloring(by, "P(fake)", (), numberless, score)
    codes, found = pd.factorize(samples[by].astype(str))
    there = [str(name) for name in found]
    names = [n for n in datasets if n in there] + [n for n in there if n not in datasets]
    code = np.array([names.index(name) for name in there], dtype=np.int64)[codes]
    return Coloring(by, by, tuple(names), code, none)


def picked(run: Run, label: str, layer: str, token: str, unit: int | None) -> Picked:
    """Find the image of a point by its token.

    Raises
    ------
    ProbeError
        If the run holds no such image, or the detector did not see it.
    """
    row = run.rows.get(token)
    if row is None:
        raise ProbeError(
            "The address names an image that is not in this run. Click on a point of the picture."
        )
    sample = str(run.data.samples.table["sample"].iloc[row])
    store = run.store(label)
    place = int(derived(_places, (store,)).get_indexer(pd.Index([sample]))[0])
    if place < 0:
        raise _lost(label, sample)
    value = np.nan if unit is None else _activation(run, label, layer, unit)[place]
    columns = store.samples.iloc[place].to_dict() | {"activation": value}
    return Picked(shown_of(columns), str(columns["dataset"]), unit)


def token_at(run: Run, label: str, row: int) -> str:
    """Return the token of the sample in a row of the embeddings; empty if there is none."""
    samples = run.embeddings(label).data["sample"].values
    return token_of(str(samples[row])) if 0 <= row < len(samples) else ""


def place_of(run: Run, label: str, layer: str, kind: str, token: str) -> tuple[float, float] | None:
    """Return where a picture has an image, by its token; None where it does not have it."""
    row = run.rows.get(token) if token else None
    if row is None:
        return None
    embeddings = run.embeddings(label)
    sample = str(run.data.samples.table["sample"].iloc[row])
    place = int(derived(_drawn, (embeddings,)).get_indexer(pd.Index([sample]))[0])
    if place < 0:
        return None
    one = embeddings.data["position"].sel({"layer": layer, "method": kind}).isel(sample=place)
    x, y = one.transpose("axis").values
    return float(x), float(y)


def _samples(run: Run, label: str) -> pd.DataFrame:
    """Return the store's sample table in the order of the embeddings, with ``place`` in it."""
    return derived(_joined, (run.embeddings(label), run.store(label)), label)


def _joined(embeddings: Embeddings, store: ActivationStore, label: str) -> pd.DataFrame:
    names = derived(_drawn, (embeddings,))
    place = derived(_places, (store,)).get_indexer(names)
    if (place < 0).any():
        raise _lost(label, str(names[int(np.argmin(place))]))
    return store.samples.iloc[place].assign(place=place).reset_index(drop=True)


def _drawn(embeddings: Embeddings) -> pd.Index[str]:
    """Index the samples of the embeddings."""
    return pd.Index([str(name) for name in embeddings.data["sample"].values])


def _places(store: ActivationStore) -> pd.Index[str]:
    """Index the samples of the store."""
    return pd.Index(store.samples["sample"].astype(str))


def _lost(label: str, sample: str) -> StoreError:
    return StoreError(
        f"The activation store of {label} holds no sample {sample!r}: the picture was made from "
        "other recordings. Compute the embeddings again."
    )


def _activation(run: Run, label: str, layer: str, unit: int | None) -> NDArray[np.float32]:
    """Return a unit's activations in the order of the store."""
    if layer not in run.store(label).layers:
        raise ProbeError(
            f"The activations of {layer!r} were not kept for {label}, so its units cannot be "
            "shown. Color the points by something else."
        )
    units = stored_units(run, label, layer)
    if unit is None or unit not in units:
        raise ProbeError(
            f"Unit {unit} is not in the activation store of {label}, which holds the "
            f"{len(units)} units {units.min()} to {units.max()} of {layer!r}. Choose one above."
        )
    return column(run, label, layer, unit)
