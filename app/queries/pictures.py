"""Pictures of a layer: samples in two dimensions, what they are coloured by, the one picked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.queries.images import Shown, shown_of
from app.queries.reading import Run, token_of
from probe.errors import ProbeError, StoreError, UnknownNameError
from probe.stats import sigmoid

__all__ = [
    "COLOURS",
    "KINDS",
    "Colouring",
    "Picked",
    "PictureView",
    "colouring",
    "kinds_of",
    "picked",
    "picture_frame",
    "picture_view",
    "place_of",
    "token_at",
    "units_of",
]

Floats = NDArray[np.float64]

#: Kinds of picture to their names.
KINDS = {"pca": "PCA", "umap": "UMAP", "tsne": "t-SNE"}

#: What points are coloured by, and its name.
COLOURS = {
    "label": "Label", "dataset": "Dataset", "method": "Method", "score": "P(fake)", "unit": "Unit",
}  # fmt: skip

#: Points that a browser draws at ease without WebGL, whose library the server's policy forbids
#: to compile its programs. More than these overlap anyway.
MOST = 8000


@dataclass(frozen=True)
class PictureView:
    """One picture of one layer.

    Attributes
    ----------
    layer, kind : str
        Of what, and by which method; see `KINDS`.
    position : numpy.ndarray
        Shape (drawn, 2), in arbitrary units.
    row : numpy.ndarray
        Rows of the samples that are drawn in the table of embeddings, shape (drawn,).
    samples : pandas.DataFrame
        The drawn samples: ``sample, dataset, label, method, video, logit``.
    total : int
        Samples in the table.
    trustworthiness, preservation : float
        How far the picture can be believed; see `probe.embed.table.Embeddings`.
    neighbours : int
        Of both; 0 where the table does not note it.
    n_fitted : int
        Samples that the picture was fitted on; the others were projected into it.
    """

    layer: str
    kind: str
    position: Floats
    row: NDArray[np.int64]
    samples: pd.DataFrame
    total: int
    trustworthiness: float
    preservation: float
    neighbours: int
    n_fitted: int


@dataclass(frozen=True)
class Colouring:
    """What points are coloured by.

    Attributes
    ----------
    by : str
        Key of `COLOURS`.
    title : str
        For people.
    names : tuple of str
        Of groups; empty for numbers.
    code : numpy.ndarray
        Group of each point, shape (drawn,); empty for numbers.
    value : numpy.ndarray
        Number of each point, shape (drawn,); empty for groups.
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


def units_of(run: Run, label: str, layer: str) -> list[int]:
    """List the units of a layer in the activation store; none where there is no such store."""
    try:
        return [int(unit) for unit in run.store(label)[layer]["unit"].values]
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
    data = run.embeddings(label).data
    for dim, name in (("layer", layer), ("method", kind)):
        allowed = [str(value) for value in data[dim].values]
        if name not in allowed:
            raise UnknownNameError(
                dim, name, allowed, where=f"the embeddings of {label}",
                remedy="Choose one of them above.",
            )  # fmt: skip
    # By a mapping: "method" is also a keyword of its own.
    one = data.sel({"layer": layer, "method": kind})
    row = _drawn(one.sizes["sample"])
    samples = _samples(run, label, data["sample"].values[row])
    return PictureView(
        layer=layer,
        kind=kind,
        position=one["position"].transpose("sample", "axis").values[row].astype(np.float64),
        row=row,
        samples=samples,
        total=one.sizes["sample"],
        trustworthiness=float(one["trustworthiness"]),
        preservation=float(one["preservation"]),
        neighbours=int(data.attrs.get("neighbours", 0)),
        n_fitted=int(data["fitted"].values.sum()),
    )


def colouring(run: Run, label: str, view: PictureView, by: str, unit: int | None) -> Colouring:
    """Read what the points of a picture are coloured by.

    Raises
    ------
    UnknownNameError
        If there is nothing of that name.
    ProbeError
        If the unit is not in the activation store.
    """
    none, numberless = np.empty(0), np.empty(0, dtype=np.int64)
    samples = view.samples
    if by == "label":
        code = samples["label"].to_numpy().astype(np.int64)
        return Colouring(by, "label", ("real", "fake"), code, none)
    if by in ("dataset", "method"):
        names = _ordered(run, samples[by].astype(str))
        code = pd.Index(names).get_indexer(pd.Index(samples[by].astype(str)))
        return Colouring(by, by, tuple(names), code.astype(np.int64), none)
    if by == "score":
        score = np.asarray(sigmoid(samples["logit"].to_numpy(dtype=np.float64)))
        return Colouring(by, "P(fake)", (), numberless, score)
    if by == "unit":
        value = _activation(run, label, view.layer, unit, samples["place"].to_numpy())
        return Colouring(by, f"unit {unit}", (), numberless, value)
    raise UnknownNameError("colour", by, COLOURS, remedy="Choose one on the page.")


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
    found = _samples(run, label, np.array([sample], dtype=object)).iloc[0]
    place = np.array([found["place"]])
    value = np.nan if unit is None else _activation(run, label, layer, unit, place)[0]
    columns = found.to_dict() | {"activation": value}
    return Picked(shown_of(columns), str(found["dataset"]), unit)


def picture_frame(view: PictureView, colour: Colouring) -> pd.DataFrame:
    """Return what a picture shows, one row a point."""
    frame = view.samples[["sample", "dataset", "label", "method", "video"]].assign(
        p_fake=sigmoid(view.samples["logit"].to_numpy(dtype=np.float64)),
        x=view.position[:, 0],
        y=view.position[:, 1],
    )
    if colour.by == "unit":
        frame[colour.title.replace(" ", "_")] = colour.value
    return frame


def token_at(run: Run, label: str, row: int) -> str:
    """Return the token of the sample in a row of the embeddings; empty if there is none."""
    samples = run.embeddings(label).data["sample"].values
    return token_of(str(samples[row])) if 0 <= row < len(samples) else ""


def _ordered(run: Run, values: pd.Series[str]) -> list[str]:
    """Return the names that occur, those of datasets in the order that all figures have."""
    datasets = [str(name) for name in run.manifest.get("datasets", [])]
    there = list(dict.fromkeys(values))
    return [n for n in datasets if n in there] + [n for n in there if n not in datasets]


def place_of(run: Run, label: str, layer: str, kind: str, token: str) -> tuple[float, float] | None:
    """Return where a picture has an image, by its token; None where it does not have it."""
    row = run.rows.get(token) if token else None
    if row is None:
        return None
    data = run.embeddings(label).data
    sample = str(run.data.samples.table["sample"].iloc[row])
    names = [str(name) for name in data["sample"].values]
    if sample not in names:
        return None
    one = data["position"].sel({"layer": layer, "method": kind}).isel(sample=names.index(sample))
    x, y = one.transpose("axis").values
    return float(x), float(y)


def _drawn(total: int) -> NDArray[np.int64]:
    """Choose the rows to draw: all, or as many at random as a browser bears."""
    if total <= MOST:
        return np.arange(total)
    chosen = np.random.default_rng(0).choice(total, MOST, replace=False)
    return np.sort(chosen).astype(np.int64)


def _samples(run: Run, label: str, names: NDArray[np.object_]) -> pd.DataFrame:
    """Return the rows of the store's sample table by id, and their ``place`` in the store."""
    table = run.store(label).samples
    place = pd.Index(table["sample"].astype(str)).get_indexer(
        pd.Index([str(name) for name in names])
    )
    if (place < 0).any():
        lost = str(names[int(np.argmin(place))])
        raise StoreError(
            f"The activation store of {label} holds no sample {lost!r}: the picture was made from "
            "other recordings. Compute the embeddings again."
        )
    return table.iloc[place].assign(place=place).reset_index(drop=True)


def _activation(
    run: Run, label: str, layer: str, unit: int | None, place: NDArray[np.int64]
) -> Floats:
    store = run.store(label)
    if layer not in store.layers:
        raise ProbeError(
            f"The activations of {layer!r} were not kept for {label}, so its units cannot be "
            "shown. Colour the points by something else."
        )
    tap = store[layer]["activation"]
    units = tap["unit"].values
    if unit is None or unit not in units:
        raise ProbeError(
            f"Unit {unit} is not in the activation store of {label}, which holds the "
            f"{len(units)} units {units.min()} to {units.max()} of {layer!r}. Choose one above."
        )
    values: Floats = tap.sel(unit=unit).values[place].astype(np.float64)
    return values
