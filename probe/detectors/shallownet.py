"""ShallowNet V3, as the study has it (Tariq et al. 2018, doi:10.1145/3267357.3267367)."""

from __future__ import annotations

from torch import Tensor, nn

from probe.detectors.detector import FakeLogit, Normalize
from probe.detectors.meso import KERAS_BATCHNORM_EPS, initialize_like_keras

__all__ = ["ShallowNet"]


class ShallowNet(nn.Module):
    """Three short stages of valid convolutions, then Dense 1024 whose units the study probed.

    Parameters
    ----------
    input_size : int, default 256
        Side of the images in pixels, at least 32. The first dense layer is built for it: at 256
        it holds 118 million weights.
    units : int, default 1024
        Width of the dense layer.
    """

    def __init__(self, input_size: int = 256, units: int = 1024) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.stage1 = _stage(3, 32, 32, kernel=5, pool=True)
        self.stage2 = _stage(32, 64, 64, kernel=3, pool=True)
        self.stage3 = _stage(64, 128, 32, kernel=3, pool=False)
        side = ((input_size - 4) // 2 - 2) // 2 - 2
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(32 * side * side, units)
        self.relu = nn.ReLU()
        self.bn = nn.BatchNorm1d(units, eps=KERAS_BATCHNORM_EPS)
        self.dropout = nn.Dropout(0.25)
        self.fc2 = nn.Linear(units, 1)
        self.logit = FakeLogit(1)
        initialize_like_keras(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, shape (N, 3, H, W) in [0, 1], to fake logits, shape (N,)."""
        x = self.stage3(self.stage2(self.stage1(self.normalize(x))))
        x = self.relu(self.fc1(self.flatten(x)))
        out: Tensor = self.logit(self.fc2(self.dropout(self.bn(x))))
        return out


def _stage(inputs: int, first: int, last: int, kernel: int, pool: bool) -> nn.Sequential:
    """Conv kernel×kernel and one or two 1×1 convolutions, each → ReLU → Dropout."""
    layers: list[nn.Module] = []
    widths = (first, first, last) if pool else (first, last)
    for i, width in enumerate(widths):
        size = kernel if i == 0 else 1
        layers += [nn.Conv2d(inputs, width, size), nn.ReLU(), nn.Dropout(0.25)]
        inputs = width
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
