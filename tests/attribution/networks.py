"""Small networks whose maps are known, as detectors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from probe.detectors.detector import Detector, DetectorSpec


def detector_of(module: nn.Module, size: int = 4) -> Detector:
    return Detector(module, DetectorSpec("meso4", size, variant=type(module).__name__.lower()))


def images(n: int = 2, size: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 3, size, size), dtype=np.float32)


class Sum(nn.Module):
    """logit = Σ w x + 1.5: every complete method gives w (x − baseline)."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * size * size, 1)
        torch.manual_seed(3)
        nn.init.normal_(self.fc.weight)
        nn.init.constant_(self.fc.bias, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))[:, 0]


class Kink(nn.Module):
    """logit = relu(2 a − b) − relu(a − 3 b), of the red and green means a and b."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2, bias=False)
        self.relu = nn.ReLU()
        self.fc.weight.data = torch.tensor([[2.0, -1.0, 0.0], [1.0, -3.0, 0.0]])

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.fc(x.mean(dim=(2, 3))))
        return h[:, 0] - h[:, 1]


class Awkward(nn.Module):
    """In-place and functional ReLU, one module called twice, a residual, overlapping pooling."""

    def __init__(self, size: int = 8) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.same = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        h = h + self.same(F.relu(h))
        h = self.relu(h)
        h = self.relu(self.same(h) - 0.1)
        z = self.fc(self.pool(h).mean((2, 3)))
        return z[:, 1] - z[:, 0]


class Convs(nn.Module):
    """Convolutions that keep the map as large as the image, then a mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.one = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv4 = nn.Conv2d(5, 4, 3, padding=1)
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv4(self.relu(self.one(x)))
        return self.fc(h.mean((2, 3)))[:, 0]
