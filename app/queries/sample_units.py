"""How unusual one image's activations and measurements are, see `probe.evaluation.one_image`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from app.queries.activations import stored_units
from app.queries.deriving import shared
from app.queries.layers import unit_layer
from app.queries.sample import SampleView
from app.run import Run
from probe.errors import ProbeError
from probe.evaluation.one_image import Spread, most_unusual, spread_of_reals
from probe.run import stamp_of
from probe.tables import from_disk

__all__ = [
    "FAR",
    "MOST_CHUNKS",
    "Deviation",
    "DeviationsView",
    "deviations_frame",
    "measurements_view",
    "spread_of",
    "stored_layer",
    "units_against",
    "units_of_sample",
]

Floats = NDArray[np.float64]

#: Deviations beyond which a value is called far out.
FAR = 3.0

#: Real images' activations are read in whole chunks, at most so many, evenly spaced.
MOST_CHUNKS = 24


@dataclass(frozen=True)
class Deviation:
    """One value of an image.

    Attributes
    ----------
    name : str
        The unit's number, or the measurement.
    value, center, deviations : float
        Of the image; median of the real images; how far that is in deviations.
    marked : bool
        Whether it is a universal unit; False for measurements.
    about, unit : str
        Definition and unit of a measurement; "" for units of a layer.
    """

    name: str
    value: float
    center: float
    deviations: float
    marked: bool = False
    about: str = ""
    unit: str = ""


@dataclass(frozen=True)
class DeviationsView:
    """Values of an image, the most unusual first.

    Attributes
    ----------
    rows : tuple of Deviation
        Those that are defined.
    n, total : int
        Real images that it rests on, and that there are.
    among : str
        Which real images.
    layer : str
        Of units; "" for measurements.
    undefined : int
        Values that are not defined for this image, or that do not vary among the real images.
    """

    rows: tuple[Deviation, ...]
    n: int
    total: int
    among: str
    layer: str = ""
    undefined: int = 0

    @property
    def far(self) -> list[Deviation]:
        """Those beyond `FAR` deviations."""
        return [row for row in self.rows if abs(row.deviations) > FAR]

    @property
    def marked(self) -> list[Deviation]:
        """Universal units."""
        return [row for row in self.rows if row.marked]


def stored_layer(run: Run, label: str, wanted: str = "") -> str:
    """Return the layer whose activations are shown: the one wanted, else that of the units.

    Raises
    ------
    ProbeError
        If the store holds neither.
    """
    layers = run.store(label).layers
    for name in (wanted, unit_layer(run, label)):
        if name in layers:
            return name
    return layers[-1]


def units_of_sample(run: Run, label: str, layer: str, view: SampleView) -> DeviationsView:
    """Compare an image's activations with those of its dataset's real images.

    One row of the store is read for the image, and `MOST_CHUNKS` chunks at most for the others.

    Raises
    ------
    ProbeError
        If its activations were not recorded, or the dataset has no real image in the store.
    """
    store = run.store(label)
    place = np.flatnonzero((store.samples["sample"] == view.sample).to_numpy())
    if not len(place):
        raise ProbeError(
            f"The activations of this image were not recorded for {label}: it is of the split "
            f"{view.split!r}. Choose a test image, or record it."
        )
    with from_disk(store.path):
        values = store[layer]["activation"].isel(sample=int(place[0])).values.astype(np.float64)
    return units_against(run, label, layer, values, view.dataset)


def units_against(
    run: Run, label: str, layer: str, values: Floats, dataset: str = ""
) -> DeviationsView:
    """Compare activations with those of real images of a dataset, or of all datasets.

    Raises
    ------
    ProbeError
        If there is no such real image in the store, or it has another number of units.
    """
    spread = spread_of(run, label, layer, dataset)
    units = stored_units(run, label, layer)
    if len(units) != len(values):
        raise ProbeError(
            f"The store of {label} holds {len(units)} units of {layer!r}, and the image gave "
            f"{len(values)}: the detector was changed after it was recorded. Record it again."
        )
    rows = _rows([str(unit) for unit in units], values, spread, _universal(run, label, layer))
    among = f"real images of {dataset}" if dataset else "real images of all datasets"
    return DeviationsView(rows, spread.n, spread.total, among, layer, len(units) - len(rows))


def measurements_view(
    run: Run, dataset: str, sample: str = "", given: dict[str, float] | None = None
) -> DeviationsView:
    """Compare an image's measurements with those of real images.

    Parameters
    ----------
    run : Run
        What was measured.
    dataset : str
        Whose real images; "" for those of all datasets.
    sample : str, optional
        The image.
    given : dict, optional
        Measurements of an image from elsewhere, by name, instead of `sample`.

    Raises
    ------
    ProbeError
        If nothing was measured, or not this image.
    """
    data = run.measurements.data
    names = [str(name) for name in data["measurement"].values]
    values = _given(names, given) if given is not None else _measured(run, data, sample)
    spread = _measured_spread(run, dataset, stamp_of(run.folder.path("measurements") / "zarr.json"))
    about = _texts(data, "about", names), _texts(data, "unit", names)
    rows = _rows(names, values, spread, set(), *about)
    among = f"real images of {dataset}" if dataset else "real images of all datasets"
    return DeviationsView(rows, spread.n, spread.total, among, "", len(names) - len(rows))


def deviations_frame(view: DeviationsView, what: str) -> pd.DataFrame:
    """Return one row a unit or measurement."""
    rows = []
    for row in view.rows:
        one = {what: row.name, "deviations": row.deviations, "value": row.value}
        more = {"universal": row.marked} if view.layer else {"unit_of_value": row.unit}
        rows.append({**one, "median_of_reals": row.center, **more})
    frame = pd.DataFrame(rows)
    return frame.assign(among=view.among, n_reals=view.n)


def spread_of(run: Run, label: str, layer: str, dataset: str = "") -> Spread:
    """Return where a layer's activations of real images lie, from at most `MOST_CHUNKS` chunks."""
    return _stored_spread(run, label, layer, dataset, stamp_of(run.store(label).path / "zarr.json"))


# The stamp is part of what is looked up, so that a table that was made again is read again.
@shared(maxsize=64)
def _stored_spread(run: Run, label: str, layer: str, dataset: str, stamp: int) -> Spread:
    store = run.store(label)
    with from_disk(store.path):
        return spread_of_reals(store, layer, dataset, max_chunks=MOST_CHUNKS)


@shared(maxsize=32)
def _measured_spread(run: Run, dataset: str, stamp: int) -> Spread:
    data = run.measurements.data
    real = data["label"].values == 0
    if dataset:
        real = real & (data["dataset"].values == dataset)
    if not real.any():
        raise ProbeError(f"No real image of {dataset or 'this run'} was measured.")
    rows = np.flatnonzero(real)
    return Spread.of(_table(run, data.isel(sample=rows)))


def _rows(
    names: list[str],
    values: Floats,
    spread: Spread,
    marked: set[int],
    about: list[str] | None = None,
    unit: list[str] | None = None,
) -> tuple[Deviation, ...]:
    z = spread.deviations(values)
    return tuple(
        Deviation(
            names[i],
            float(values[i]),
            float(spread.center[i]),
            float(z[i]),
            bool(marked) and int(names[i]) in marked,
            about[i] if about else "",
            unit[i] if unit else "",
        )
        for i in map(int, most_unusual(z))
    )


def _universal(run: Run, label: str, layer: str) -> set[int]:
    """Return the universal units, where the layer is theirs and they were looked for."""
    if layer != unit_layer(run, label):
        return set()
    try:
        return {int(unit) for unit in run.universality(label).universal}
    except ProbeError:
        return set()


def _measured(run: Run, data: xr.Dataset, sample: str) -> Floats:
    place = np.flatnonzero(data["sample"].values == sample)
    if not len(place):
        raise ProbeError("This image was not measured. Measurements are of test images.")
    return np.asarray(_table(run, data.isel(sample=place[:1]))[0])


def _given(names: list[str], given: dict[str, float]) -> Floats:
    return np.array([given.get(name, np.nan) for name in names], dtype=np.float64)


def _table(run: Run, data: xr.Dataset) -> Floats:
    with from_disk(run.folder.path("measurements")):
        values = data["value"].transpose("sample", "measurement").values
    return np.asarray(values, dtype=np.float64)


def _texts(data: xr.Dataset, what: str, names: list[str]) -> list[str]:
    found: Any = data.get(f"measurement_{what}")
    return [""] * len(names) if found is None else [str(text) for text in found.values]
