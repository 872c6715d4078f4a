"""Detectors small enough to know the answers, and data with masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from probe.datasets.dataset import Dataset, Samples, write_native
from probe.detectors.detector import Detector, DetectorSpec

SIZE = 8


class Linear(nn.Module):
    """A logit that is a weighted sum of pixels: what each pixel contributes is known."""

    def __init__(self, size: int = SIZE, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3, size, size))
        self.bias = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(1, 2, 3)) + self.bias


class Small(nn.Module):
    """Two convolutions, a normalization and a head, defined in another order than they run."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.head = nn.Linear(4, 1)
        self.second = nn.Conv2d(5, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.gain = nn.Parameter(torch.rand(4))
        with torch.no_grad():
            self.norm.running_mean.normal_(0, 0.1)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x)).mean(dim=(2, 3)) * self.gain
        return self.head(x)[:, 0]


def detector(module: nn.Module, size: int = SIZE) -> Detector:
    return Detector(module, DetectorSpec("toy", size))


def images(n: int = 3, size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, size, size), dtype=np.float32)


def input_x_gradient(one: Detector, x: np.ndarray) -> np.ndarray:
    given = torch.from_numpy(x).requires_grad_()
    (slope,) = torch.autograd.grad(one.module(given).sum(), given)
    return (given * slope).sum(dim=1).detach().numpy()


def masked_dataset(
    root: Path, *, datasets: tuple[str, ...] = ("one",), clusters: int = 6, size: int = 48
) -> Dataset:
    """Noise; fakes are brighter in a square, which is their mask."""
    rng = np.random.default_rng(0)
    rows = []
    for dataset in datasets:
        for cluster in range(clusters):
            for label in (0, 1):
                name = f"{dataset}-{cluster}-{label}"
                mask = np.zeros((size, size), np.uint8)
                top = 4 + 3 * (cluster % 5)
                mask[top : top + 16, 10:26] = 255 * label
                pixels = rng.normal(110, 15, (size, size, 3)) + 60.0 * (mask > 0)[..., None]
                for folder, array in (("images", pixels), ("masks", mask)):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                    picture = Image.fromarray(array.clip(0, 255).astype(np.uint8))
                    picture.save(root / folder / f"{name}.png")
                rows.append(
                    {
                        "sample": name,
                        "dataset": dataset,
                        "split": "test",
                        "label": label,
                        "method": dataset if label else "real",
                        "video": f"{cluster}-{label}",
                        "identity": f"{cluster}",
                        "source": "",
                        "frame": 0,
                        "path": f"images/{name}.png",
                        "mask": f"masks/{name}.png" if label else "",
                    }
                )
    data = Dataset("masked", Samples(pd.DataFrame(rows)), root, {"crop": "none"})
    write_native(data)
    return data
