"""Maps and faces whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from probe.attribution.maps import TOWARDS, AttributionMap
from probe.datasets import Dataset, Samples
from tests.conftest import drawn_of


def maps_of(
    values: np.ndarray,
    *,
    samples: Sequence[str] | None = None,
    method: str = "gradcam",
    signed: bool = True,
    **about: Sequence[Any],
) -> AttributionMap:
    """Make maps as `attribute` gives them."""
    n = len(values)
    coords: dict[str, Any] = {
        "sample": [f"s{i}" for i in range(n)] if samples is None else list(samples)
    }
    coords |= {name: ("sample", list(column)) for name, column in about.items()}
    data = {
        "attribution": (("sample", "y", "x"), values.astype(np.float32)),
        "value": ("sample", np.zeros(n)),
        "gap": ("sample", np.full(n, np.nan)),
    }
    attrs = {
        "method": method,
        "target": "fake logit",
        "result": "AttributionMap",
        "result_version": AttributionMap.VERSION,
        "signed": signed,
        "layer": "conv4",
        "sign": TOWARDS,
        **drawn_of("meso4"),
    }
    return AttributionMap(xr.Dataset(data, coords, attrs))


def smooth(n: int, size: int = 24, seed: int = 0) -> np.ndarray:
    """Draw smooth signed maps, shape (n, size, size)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 6, 6)).astype(np.float32)
    return np.stack(
        [
            np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC))
            for one in coarse
        ]
    )


def table_of(
    root: Path, datasets: Sequence[str], people: int, *, image: np.ndarray | None = None
) -> Dataset:
    """Make a dataset of a real and a fake image of each person, paired."""
    rows = []
    for name in datasets:
        for person in range(people):
            for label in (0, 1):
                key = f"{name}-{person}"
                rows.append(
                    {
                        "sample": f"{key}-{label}",
                        "dataset": name,
                        "split": "test",
                        "label": label,
                        "method": name if label else "real",
                        "video": f"{key}-{label}",
                        "identity": f"{person}",
                        "source": "",
                        "frame": 0,
                        "path": "face.png",
                        "mask": "",
                        "pair": f"{key}-{1 - label}",
                    }
                )
    if image is not None:
        root.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "face.png")
    return Dataset("made", Samples(pd.DataFrame(rows)), root, {})
