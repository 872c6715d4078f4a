"""A clean dataset of different pictures, and the means to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from probe.datasets.audit import AuditReport, audit
from probe.datasets.dataset import Dataset, Samples

PERSONS = {"train": 8, "val": 6, "test": 6}


def picture(seed: int, side: int = 96) -> np.ndarray:
    """Smooth shapes that differ from seed to seed, with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (6, 6, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 2, smooth.shape)).clip(0, 255).astype(np.uint8)


def make_clean(root: Path, name: str = "clean") -> Dataset:
    """Persons of one real and one fake video each, two frames a video, PNG of one size."""
    rows, seed = [], 1000 * len(name)
    for split, persons in PERSONS.items():
        for person in range(persons):
            for label, kind in enumerate(("real", "fake")):
                for frame in range(2):
                    seed += 1
                    path = f"{split}/{kind}/{split}{person}_{frame}.png"
                    save(root / path, picture(seed))
                    rows.append(
                        {
                            "sample": f"{name}-{path}",
                            "dataset": name,
                            "split": split,
                            "label": label,
                            "method": name if label else "real",
                            "video": f"{split}{person}",
                            "identity": f"{split}{person}",
                            "source": f"{split}{(person + 1) % persons}" if label else "",
                            "frame": frame,
                            "path": path,
                            "mask": "",
                        }
                    )
    return Dataset(name, Samples(pd.DataFrame(rows)), root)


def save(file: Path, pixels: np.ndarray, **options: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **options)


def changed(data: Dataset, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Dataset:
    """The same dataset with another table."""
    return replace(data, samples=Samples(change(data.samples.table.copy())))


def look(*datasets: Dataset) -> AuditReport:
    """Audit them together, without the cache."""
    return audit(list(datasets), cache=False)


def checks(report: AuditReport) -> dict[str, str]:
    return {one.check: one.severity for one in report.findings}
