"""Small stores and measurements whose dependence is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from probe.datasets.dataset import Samples
from probe.store import ActivationStore, StoreWriter


def table_of(
    datasets: int = 3, people: int = 12, frames: int = 2, shared: bool = False
) -> pd.DataFrame:
    """One row an image; with `shared`, the same people are seen in all datasets."""
    rows = [
        {
            "sample": f"{d}-{person}-{label}-{frame}",
            "dataset": f"set{d}",
            "split": "test",
            "label": label,
            "method": "made" if label else "real",
            "video": f"{person}-{label}",
            "identity": f"{'' if shared else d}p{person}",
            "source": "",
            "frame": frame,
            "path": "",
            "mask": "",
        }
        for d in range(datasets)
        for person in range(people)
        for label in (0, 1)
        for frame in range(frames)
    ]
    return Samples(pd.DataFrame(rows)).table


def store_of(
    path: Path, table: pd.DataFrame, units: np.ndarray, chunk: int = 16
) -> ActivationStore:
    """Write activations, shape (n, units), of a layer `units`."""
    attrs = {
        "detector": {"name": "toy", "fingerprint": "f00d", "spec": {}},
        "dataset": {"name": "toy", "fingerprint": "beef", "card": {}},
        "layers": {"units": "units"},
        "reducer": "mean",
        "dtype": "float32",
        "batch_size": chunk,
        "versions": {},
    }
    writer = StoreWriter.begin(path, table, {"units": units.shape[1]}, attrs)
    for where in writer.missing:
        writer.write(where, {"units": units[where].astype("f4")}, np.zeros(len(units[where])))
    writer.finish()
    return ActivationStore.open(path)


def measured(
    table: pd.DataFrame, values: Mapping[str, np.ndarray], controls: Mapping[str, np.ndarray] = {}
) -> xr.Dataset:
    """Measurements in the form that `probe.artifacts` keeps them."""
    data = {"value": (("sample", "measurement"), np.column_stack(list(values.values())))}
    coords = {"sample": table["sample"].to_numpy(object), "measurement": list(values)}
    if controls:
        data["control"] = (("sample", "covariate"), np.column_stack(list(controls.values())))
        coords["covariate"] = list(controls)
    return xr.Dataset(data, coords=coords)


def clustered(
    table: pd.DataFrame, columns: int, rng: np.random.Generator, share: float = 0.9
) -> np.ndarray:
    """Noise of which a share belongs to the person, and some to the label within the person."""
    person = pd.factorize(table["dataset"] + table["identity"])[0]
    video = pd.factorize(table["dataset"] + table["video"])[0]
    out = np.sqrt(share) * rng.normal(size=(person.max() + 1, columns))[person]
    out += np.sqrt((1 - share) / 2) * rng.normal(size=(video.max() + 1, columns))[video]
    return out + np.sqrt((1 - share) / 2) * rng.normal(size=(len(table), columns))
