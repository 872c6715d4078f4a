"""One image compared with others: its scores, activations and artifact measurements."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from cachetools import LRUCache, cached
from numpy.typing import ArrayLike, NDArray

from probe.errors import ProbeError
from probe.stats import sigmoid
from probe.store import ActivationStore
from probe.tables import from_disk

__all__ = [
    "FAR",
    "MOST_MARKS",
    "Spread",
    "compare_activations",
    "compare_measurements",
    "compare_scores",
    "image_activations",
    "image_measurements",
    "image_scores",
    "most_unusual",
    "share_below",
    "spread_of_reals",
]

Floats = NDArray[np.float64]

#: Factor from the median absolute deviation to the standard deviation of a normal distribution.
_MAD = 1.4826

#: Deviations beyond which a value is called far out.
FAR = 3.0

#: Logits of other images that are kept per label, evenly thinned by rank; more would be a bar.
MOST_MARKS = 160


@dataclass(frozen=True)
class Spread:
    """Center and scale of values, per column.

    Attributes
    ----------
    center, scale : numpy.ndarray
        Shape (value,). Median; and 1.4826 × median absolute deviation [1]_, or the standard
        deviation where the former is 0, or NaN where all rows are equal.
    n : int
        Number of rows used.
    total : int
        Number of rows available.

    References
    ----------
    .. [1] P. J. Rousseeuw, C. Croux, "Alternatives to the median absolute deviation", JASA 1993.
    """

    center: Floats
    scale: Floats
    n: int
    total: int

    @classmethod
    def of(cls, values: ArrayLike, total: int | None = None) -> Spread:
        """Compute median and robust deviation per column; values that are not finite are ignored.

        Parameters
        ----------
        values : array_like
            Shape (row, value).
        total : int, optional
            Number of rows available, where `values` holds only some of them.
        """
        table = np.asarray(values, dtype=np.float64)
        known = np.isfinite(table)
        empty = ~known.any(axis=0)
        with np.errstate(all="ignore"):
            masked = np.where(known, table, np.nan)
            masked[:, empty] = 0
            center = np.nanmedian(masked, axis=0)
            scale = _MAD * np.nanmedian(np.abs(masked - center), axis=0)
            scale = np.where(scale > 0, scale, np.nanstd(masked, axis=0))
        scale = np.where((scale > 0) & ~empty, scale, np.nan)
        n = len(table)
        return cls(np.where(empty, np.nan, center), scale, n, n if total is None else total)

    def deviations(self, values: ArrayLike) -> Floats:
        """Return the distance from the center in deviations, signed, shape (value,)."""
        return np.asarray((np.asarray(values, dtype=np.float64) - self.center) / self.scale)


def spread_of_reals(
    store: ActivationStore, layer: str, dataset: str = "", *, max_chunks: int | None = None
) -> Spread:
    """Return center and scale of a layer's activations over real images.

    Parameters
    ----------
    store : ActivationStore
        Activation store of one detector.
    layer : str
        A recorded layer.
    dataset : str, optional
        Dataset of the real images; all datasets by default.
    max_chunks : int, optional
        Maximum number of store chunks to read, evenly spaced; all by default.

    Raises
    ------
    ProbeError
        If the store holds no real image (of the dataset).
    """
    with from_disk(store.path):
        return _stored_spread(store, layer, dataset, max_chunks)


def _stamped(place: str | Path, *what: Hashable) -> Hashable:
    """Return a key that is equal as long as a table stays as it is; of none in memory."""
    if not place:
        return object()
    try:
        return str(place), (Path(place) / "zarr.json").stat().st_mtime_ns, *what
    except OSError:
        return object()


# Where real images are is worked out once for all images that are compared with them; whoever asks
# for the same at the same time waits for one of them.
@cached(LRUCache(64), key=lambda store, *what: _stamped(store.path, *what), condition=Condition())
def _stored_spread(
    store: ActivationStore, layer: str, dataset: str, max_chunks: int | None
) -> Spread:
    table = store.samples
    real = (table["label"] == 0).to_numpy()
    if dataset:
        real = real & (table["dataset"] == dataset).to_numpy()
    if not real.any():
        raise ProbeError(
            f"The activation store {store.path.name!r} holds no real image of "
            f"{dataset or 'any dataset'}, so there is nothing to compare with. Record some."
        )
    tap = store[layer]["activation"]
    size = int((tap.encoding.get("chunks") or (64,))[0])
    chunks = np.unique(np.flatnonzero(real) // size)
    if max_chunks is not None and len(chunks) > max_chunks:
        chunks = chunks[np.linspace(0, len(chunks) - 1, max_chunks).round().astype(int)]
    parts = []
    for chunk in chunks:
        rows = slice(chunk * size, (chunk + 1) * size)
        parts.append(tap.isel(sample=rows).values[real[rows]].astype(np.float64))
    return Spread.of(np.concatenate(parts), int(real.sum()))


def image_activations(
    store: ActivationStore,
    layer: str,
    sample: str,
    *,
    dataset: str = "",
    universal: Collection[int] = (),
    max_chunks: int | None = None,
) -> pd.DataFrame:
    """Compare an image's activations with those of real images, per unit.

    Parameters
    ----------
    store : ActivationStore
        Activation store of one detector.
    layer : str
        A recorded layer.
    sample : str
        Id of the image.
    dataset : str, optional
        Dataset of the real images; all datasets by default.
    universal : collection of int
        Units to mark, such as ``Universality.universal``.
    max_chunks : int, optional
        As in `spread_of_reals`.

    Returns
    -------
    pandas.DataFrame
        ``unit, deviations, value, median_of_reals, universal, among, n_reals``; largest absolute
        deviation first. Units that do not vary among the real images are left out. Its attributes
        count the real images used, all real images and the units left out: ``n, total,
        undefined``.

    Raises
    ------
    ProbeError
        If the image was not recorded, or there is no real image to compare with.

    Examples
    --------
    >>> store = ActivationStore.open("runs/demo/stores/meso4-base.zarr")
    >>> image_activations(store, "leaky", store.samples["sample"][0]).head()
    """
    place = np.flatnonzero((store.samples["sample"] == sample).to_numpy())
    if not len(place):
        raise ProbeError(
            f"The activations of {sample!r} are not in the store {store.path.name!r}. Choose one "
            "of store.samples, or record it."
        )
    with from_disk(store.path):
        values = store[layer]["activation"].isel(sample=int(place[0])).values.astype(np.float64)
    return compare_activations(
        store, layer, values, dataset=dataset, universal=universal, max_chunks=max_chunks
    )


def compare_activations(
    store: ActivationStore,
    layer: str,
    values: ArrayLike,
    *,
    dataset: str = "",
    universal: Collection[int] = (),
    max_chunks: int | None = None,
) -> pd.DataFrame:
    """Compare activations of an image from elsewhere with those of real images, per unit.

    Parameters
    ----------
    store, layer, dataset, universal, max_chunks : Any
        As in `image_activations`.
    values : array_like
        Activations of the image, shape (unit,).

    Returns
    -------
    pandas.DataFrame
        As of `image_activations`.

    Raises
    ------
    ProbeError
        If the store holds another number of units, or no real image to compare with.
    """
    spread = spread_of_reals(store, layer, dataset, max_chunks=max_chunks)
    units, own = store[layer]["unit"].values, np.asarray(values, dtype=np.float64)
    if len(units) != len(own):
        raise ProbeError(
            f"The store {store.path.name!r} holds {len(units)} units of {layer!r}, and the image "
            f"gave {len(own)}: the detector was changed after it was recorded. Record it again."
        )
    frame = _frame("unit", units, own, spread, dataset)
    frame.insert(4, "universal", np.isin(frame["unit"], list(universal)))
    return frame


def image_measurements(data: xr.Dataset, sample: str, *, dataset: str = "") -> pd.DataFrame:
    """Compare an image's artifact measurements with those of real images.

    Parameters
    ----------
    data : xarray.Dataset
        `ArtifactMeasurements.data`.
    sample : str
        Id of the image.
    dataset : str, optional
        Dataset of the real images; all datasets by default.

    Returns
    -------
    pandas.DataFrame
        ``measurement, deviations, value, median_of_reals, unit_of_value, among, n_reals``; largest
        absolute deviation first. Measurements that are undefined for the image, or do not vary
        among the real images, are left out.

    Raises
    ------
    ProbeError
        If the image was not measured, or no real image was.
    """
    place = np.flatnonzero(data["sample"].values == sample)
    if not len(place):
        raise ProbeError(f"{sample!r} was not measured. Measurements are of test images.")
    values = _measured(data, place[:1])[0]
    names = list(map(str, data["measurement"].values))
    return compare_measurements(data, dict(zip(names, values, strict=True)), dataset=dataset)


def compare_measurements(
    data: xr.Dataset, given: Mapping[str, float], *, dataset: str = ""
) -> pd.DataFrame:
    """Compare measurements of an image from elsewhere with those of real images.

    Parameters
    ----------
    data, dataset : Any
        As in `image_measurements`.
    given : mapping
        Measurements of the image by name; others are undefined.

    Returns
    -------
    pandas.DataFrame
        As of `image_measurements`.

    Raises
    ------
    ProbeError
        If no real image was measured.
    """
    spread = _measured_spread(data, dataset)
    names = np.array(list(map(str, data["measurement"].values)), dtype=object)
    values = np.array([given.get(name, np.nan) for name in names], dtype=np.float64)
    frame = _frame("measurement", names, values, spread, dataset)
    texts = data.get("measurement_unit")
    known = {} if texts is None else dict(zip(names, map(str, texts.values), strict=True))
    frame.insert(4, "unit_of_value", [known.get(name, "") for name in frame["measurement"]])
    return frame


@cached(
    LRUCache(32),
    key=lambda data, dataset: _stamped(data.encoding.get("source", ""), dataset),
    condition=Condition(),
)
def _measured_spread(data: xr.Dataset, dataset: str) -> Spread:
    real = data["label"].values == 0
    if dataset:
        real = real & (data["dataset"].values == dataset)
    if not real.any():
        raise ProbeError(f"No real image of {dataset or 'any dataset'} was measured.")
    return Spread.of(_measured(data, np.flatnonzero(real)))


def _measured(data: xr.Dataset, rows: NDArray[np.int64]) -> Floats:
    """Read rows of measurements, which may still be on disk: shape (row, measurement)."""
    with from_disk(Path(data.encoding.get("source", "measurements"))):
        values = data["value"].isel(sample=rows).transpose("sample", "measurement").values
    return np.asarray(values, dtype=np.float64)


def image_scores(scores: pd.DataFrame, sample: str, dataset: str) -> pd.DataFrame:
    """Compare the scores of an image with those of other images of its dataset, per detector.

    Parameters
    ----------
    scores : pandas.DataFrame
        ``ZeroShotMatrix.scores``: ``detector, dataset, sample, label, logit``.
    sample, dataset : str
        Id of the image, and the dataset to compare with.

    Returns
    -------
    pandas.DataFrame
        One row per detector that scored the image: ``detector, logit, p_fake, right, above_reals,
        above_fakes``. ``right``: whether P(fake) is on the side of 0.5 of the label. ``above_…``:
        share of the real or fake images that score lower, ties counting one half, in [0, 1]; NaN
        without such images. Of its attributes, ``label`` is that of the image, ``n_reals`` and
        ``n_fakes`` count these images, and ``reals`` and ``fakes`` hold their logits by detector,
        at most `MOST_MARKS`, evenly thinned by rank.

    Raises
    ------
    ProbeError
        If no detector scored the image.
    """
    part = scores[(scores["dataset"] == dataset).to_numpy()]
    groups, logits, label = [], {}, 0
    for detector, own in part.groupby("detector", sort=False):
        mine = own[(own["sample"] == sample).to_numpy()]
        if len(mine):
            groups.append((str(detector), own))
            logits[str(detector)], label = float(mine["logit"].iloc[0]), int(mine["label"].iloc[0])
    if not groups:
        raise ProbeError(
            f"No detector scored {sample!r} of {dataset!r}. Scores are of test images."
        )
    return _scored(groups, logits, label)


def compare_scores(scores: pd.DataFrame, logits: Mapping[str, float]) -> pd.DataFrame:
    """Compare the scores of an image from elsewhere with those of all images, per detector.

    Parameters
    ----------
    scores : pandas.DataFrame
        As in `image_scores`. An image that several datasets share counts once.
    logits : mapping
        Logit of the image by detector.

    Returns
    -------
    pandas.DataFrame
        As of `image_scores`, with ``right`` None: no label is known.
    """
    groups = []
    for label in logits:
        own = scores[(scores["detector"] == label).to_numpy(dtype=bool)]
        groups.append((label, own.drop_duplicates("sample")))
    return _scored(groups, logits, None)


def _scored(
    groups: Iterable[tuple[str, pd.DataFrame]], logits: Mapping[str, float], label: int | None
) -> pd.DataFrame:
    """Place a logit among those of each detector."""
    rows: list[dict[str, Any]] = []
    attrs: dict[str, Any] = {"label": label, "n_reals": 0, "n_fakes": 0, "reals": {}, "fakes": {}}
    for detector, own in groups:
        logit, fake = logits[detector], own["label"].to_numpy() == 1
        values = own["logit"].to_numpy(dtype=np.float64)
        row = {
            "detector": detector,
            "logit": logit,
            "p_fake": float(sigmoid(logit)),
            "right": None if label is None else (logit > 0) == bool(label),
        }
        for name, others in (("reals", np.sort(values[~fake])), ("fakes", np.sort(values[fake]))):
            row[f"above_{name}"] = share_below(logit, others)
            attrs[name][detector] = _thinned(others)
            attrs[f"n_{name}"] = len(others)
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame.attrs.update(attrs)
    return frame


def _thinned(ordered: Floats) -> list[float]:
    """Keep evenly spaced ranks, both ends among them."""
    if len(ordered) > MOST_MARKS:
        ordered = ordered[np.linspace(0, len(ordered) - 1, MOST_MARKS).round().astype(int)]
    kept: list[float] = ordered.tolist()
    return kept


def share_below(value: float, others: ArrayLike) -> float:
    """Return the share of numbers below a value, ties counting one half; NaN for no numbers."""
    numbers = np.asarray(others)
    if not len(numbers):
        return float("nan")
    return float(((numbers < value).sum() + (numbers == value).sum() / 2) / len(numbers))


def most_unusual(deviations: ArrayLike) -> NDArray[np.int64]:
    """Return positions sorted by absolute deviation, largest first, without undefined values."""
    z = np.asarray(deviations, dtype=np.float64)
    order = np.argsort(-np.abs(np.nan_to_num(z)), kind="stable")
    return np.asarray(order[np.isfinite(z[order])])


def _frame(
    what: str, names: NDArray[np.generic], values: Floats, spread: Spread, dataset: str
) -> pd.DataFrame:
    z = spread.deviations(values)
    order = most_unusual(z)
    frame = pd.DataFrame(
        {
            what: names[order],
            "deviations": z[order],
            "value": values[order],
            "median_of_reals": spread.center[order],
            "among": f"real images of {dataset or 'all datasets'}",
            "n_reals": spread.n,
        }
    )
    undefined = len(names) - len(frame)
    frame.attrs = {"n": spread.n, "total": spread.total, "undefined": undefined}
    return frame
