"""Measurements of every image of a drawn run."""

from __future__ import annotations

import numpy as np
import xarray as xr

from probe.artifacts.measurements import ELLIPSE
from probe.artifacts.report import ArtifactMeasurements
from probe.datasets.dataset import Dataset
from probe.run import RunFolder
from tests.app.drawing import MEASUREMENTS
from tests.conftest import drawn_of


def write_measurements(folder: RunFolder, data: Dataset, seed: int) -> None:
    """Write them; one measurement never varies, and one is missing for the first image."""
    # A generator of its own, so that nothing else is drawn otherwise than before.
    rng = np.random.default_rng((seed, 7))
    table = data.samples.table
    value = rng.normal(size=(len(table), len(MEASUREMENTS)))
    value[:, 4], value[0, 5] = 3.0, np.nan
    texts = {
        f"measurement_{what}": ("measurement", [f"{what} of {name}" for name in MEASUREMENTS])
        for what in ("unit", "about", "source")
    }
    needs = ["region" if name == "seam_gradient" else "" for name in MEASUREMENTS]
    names = {name: ("sample", list(table[name])) for name in ("dataset", "method", "video")}
    ArtifactMeasurements(
        xr.Dataset(
            {
                "value": (("sample", "measurement"), value),
                "power": (("sample", "frequency"), np.zeros((len(table), 4))),
                "control": (("sample", "covariate"), np.ones((len(table), 1))),
                "label": ("sample", data.labels),
                "cluster": ("sample", list(table["identity"])),
                "region": ("sample", [ELLIPSE] * len(table)),
                "measurement_needs": ("measurement", needs),
                **names,
                **texts,
            },
            coords={
                "sample": list(table["sample"]),
                "measurement": list(MEASUREMENTS),
                "frequency": np.linspace(0, 0.5, 4),
                "covariate": ["drawn"],
            },
            attrs=drawn_of(data=list(dict.fromkeys(table["dataset"]))),
        )
    ).save(folder.path("measurements"))
