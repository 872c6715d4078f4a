"""Shared fixtures: small datasets on disk, and where real data lie."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from PIL import Image

from probe.datasets.dataset import Dataset, Samples, write_native
from probe.results import Provenance

# One thread each: several test processes on two cores slow each other down many times over.
torch.set_num_threads(1)

# Examples take as long as other processes on the machine let them.
settings.register_profile("probe", deadline=None)
settings.load_profile("probe")


def drawn_of(*detectors: str, data: Iterable[str] = ("drawn",)) -> dict[str, Any]:
    """Return the attributes of a drawn finding of some detectors and datasets."""
    marks = {label: f"weights of {label}" for label in detectors}
    return Provenance(marks, {name: f"images of {name}" for name in data}, 0, 0.95, {}).attrs()


def make_images(
    root: Path,
    *,
    datasets: tuple[str, ...] = ("one", "two"),
    identities: int = 6,
    frames: int = 2,
    size: int = 48,
    splits: tuple[str, ...] = ("train", "val", "test"),
    seed: int = 0,
) -> Dataset:
    """Write noise images whose fakes carry a checkerboard, in the native layout."""
    rng = np.random.default_rng(seed)
    board = 12 * (np.indices((size, size)).sum(axis=0) % 2 * 2 - 1)
    rows = []
    for dataset in datasets:
        for split in splits:
            for identity in range(identities):
                for label in (0, 1):
                    for frame in range(frames):
                        name = f"{dataset}-{split}-{identity}-{label}-{frame}"
                        pixels = rng.normal(128, 20, (size, size, 3)) + label * board[..., None]
                        file = root / "images" / f"{name}.png"
                        file.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
                        rows.append(
                            {
                                "sample": name,
                                "dataset": dataset,
                                "split": split,
                                "label": label,
                                "method": dataset if label else "real",
                                "video": f"{split}-{identity}-{label}",
                                "identity": f"{split}-{identity}",
                                "source": "",
                                "frame": frame,
                                "path": f"images/{name}.png",
                                "mask": "",
                            }
                        )
    data = Dataset("noise", Samples(pd.DataFrame(rows)), root, {"crop": "none"})
    write_native(data)
    return data


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two datasets of 72 noise images each, fakes with a checkerboard."""
    return make_images(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real videos and weights."""
    place = os.environ.get("PROBE_REAL_DATA", "")
    if not place:
        pytest.skip("PROBE_REAL_DATA is unset: no real videos and weights")
    return Path(place)
