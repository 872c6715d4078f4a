"""The networks Meso4, MesoInception4 and ShallowNet, as published by their authors."""

from __future__ import annotations

from typing import Any

from torch import Tensor, cat, nn

from probe.detectors.detector import FakeLogit, Normalize

__all__ = ["Inception", "Meso4", "MesoInception4", "ShallowNet"]

#: Keras's default, with which the published weights were trained.
KERAS_BATCHNORM_EPS = 1e-3


def _conv(inputs: int, outputs: int, kernel: int, bias: bool, dilation: int = 1) -> nn.Conv2d:
    same = dilation * (kernel - 1) // 2
    return nn.Conv2d(inputs, outputs, kernel, padding=same, bias=bias, dilation=dilation)


class Meso4(nn.Module):
    """Meso4: four convolutions, each same-padded → ReLU → BatchNorm → MaxPool, and a small head.

    Parameters
    ----------
    input_size : int, default 256
        Side of the images in pixels, a multiple of 32.
    outputs : {1, 2}, default 1
        Width of the last layer; 2 is the two-way head of DeepfakeBench.
    conv_bias : bool, default True
        Whether convolutions have a bias (none in DeepfakeBench).
    eps : float, default 1e-3
        Epsilon of BatchNorm: Keras's default. DeepfakeBench uses PyTorch's 1e-5.
    mean, std : tuple of float
        Normalization per channel of images in [0, 1]; none in the original.

    Notes
    -----
    Weights are Glorot-initialized. BatchNorm's momentum is PyTorch's 0.1 (Keras: 0.01), so that
    running statistics converge in short trainings.
    """

    def __init__(
        self,
        input_size: int = 256,
        outputs: int = 1,
        conv_bias: bool = True,
        eps: float = KERAS_BATCHNORM_EPS,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        shapes = ((3, 8, 3, 2), (8, 8, 5, 2), (8, 16, 5, 2), (16, 16, 5, 4))
        for i, (inputs, channels, kernel, pool) in enumerate(shapes, start=1):
            setattr(self, f"conv{i}", _conv(inputs, channels, kernel, conv_bias))
            setattr(self, f"relu{i}", nn.ReLU())
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels, eps=eps))
            setattr(self, f"pool{i}", nn.MaxPool2d(pool))
        _add_head(self, 16 * (input_size // 32) ** 2, outputs)
        initialize_like_keras(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, shape (N, 3, H, W) in [0, 1], to fake logits, shape (N,)."""
        net: Any = self
        x = net.normalize(x)
        x = net.pool1(net.bn1(net.relu1(net.conv1(x))))
        x = net.pool2(net.bn2(net.relu2(net.conv2(x))))
        x = net.pool3(net.bn3(net.relu3(net.conv3(x))))
        x = net.pool4(net.bn4(net.relu4(net.conv4(x))))
        return _head(self, x)


class Inception(nn.Module):
    """Four parallel branches of dilated convolutions, concatenated; ReLU after every convolution.

    Parameters
    ----------
    inputs : int
        Number of input channels.
    widths : tuple of int
        Output channels of the branches: 1×1; 1×1→3×3; 1×1→3×3 dilation 2; 1×1→3×3 dilation 3.
    conv_bias : bool
        Whether convolutions have a bias.
    relu : bool, default True
        Whether a ReLU follows every convolution.
    """

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, int, int, int],
        conv_bias: bool,
        relu: bool = True,
    ) -> None:
        super().__init__()
        a, b, c, d = widths
        self.branch1 = _branch(inputs, a, (), conv_bias, relu)
        self.branch2 = _branch(inputs, b, (1,), conv_bias, relu)
        self.branch3 = _branch(inputs, c, (2,), conv_bias, relu)
        self.branch4 = _branch(inputs, d, (3,), conv_bias, relu)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, sum of widths, H, W)."""
        return cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], dim=1)


class MesoInception4(nn.Module):
    """MesoInception4: two inception blocks, then two convolutions and the head of Meso4.

    It takes the parameters of `Meso4` and one more.

    Parameters
    ----------
    inception_relu : bool, default True
        Whether a ReLU follows every convolution inside the inception blocks (not so in
        DeepfakeBench's port).
    """

    def __init__(
        self,
        input_size: int = 256,
        outputs: int = 1,
        conv_bias: bool = True,
        eps: float = KERAS_BATCHNORM_EPS,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        inception_relu: bool = True,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.inception1 = Inception(3, (1, 4, 4, 2), conv_bias, inception_relu)
        self.inception2 = Inception(11, (2, 4, 4, 2), conv_bias, inception_relu)
        self.conv3 = _conv(12, 16, 5, conv_bias)
        self.conv4 = _conv(16, 16, 5, conv_bias)
        for i, (channels, pool) in enumerate(((11, 2), (12, 2), (16, 2), (16, 4)), start=1):
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels, eps=eps))
            setattr(self, f"pool{i}", nn.MaxPool2d(pool))
        self.relu3 = nn.ReLU()
        self.relu4 = nn.ReLU()
        _add_head(self, 16 * (input_size // 32) ** 2, outputs)
        initialize_like_keras(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images, shape (N, 3, H, W) in [0, 1], to fake logits, shape (N,)."""
        net: Any = self
        x = net.normalize(x)
        x = net.pool1(net.bn1(net.inception1(x)))
        x = net.pool2(net.bn2(net.inception2(x)))
        x = net.pool3(net.bn3(net.relu3(net.conv3(x))))
        x = net.pool4(net.bn4(net.relu4(net.conv4(x))))
        return _head(self, x)


def _branch(
    inputs: int, width: int, dilations: tuple[int, ...], bias: bool, relu: bool
) -> nn.Sequential:
    # Identity keeps the convolutions' names the same with and without ReLU.
    after = nn.ReLU if relu else nn.Identity
    layers: list[nn.Module] = [_conv(inputs, width, 1, bias), after()]
    for dilation in dilations:
        layers += [_conv(width, width, 3, bias, dilation), after()]
    return nn.Sequential(*layers)


def _add_head(module: nn.Module, features: int, outputs: int) -> None:
    module.flatten = nn.Flatten()
    module.dropout1 = nn.Dropout(0.5)
    module.fc1 = nn.Linear(features, 16)
    module.leaky = nn.LeakyReLU(0.1)
    module.dropout2 = nn.Dropout(0.5)
    module.fc2 = nn.Linear(16, outputs)
    module.logit = FakeLogit(outputs)


def _head(net: Any, x: Tensor) -> Tensor:
    x = net.dropout1(net.flatten(x))
    x = net.dropout2(net.leaky(net.fc1(x)))
    out: Tensor = net.logit(net.fc2(x))
    return out


def initialize_like_keras(module: nn.Module) -> None:
    """Initialize weights by Keras's defaults: Glorot-uniform weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ShallowNet(nn.Module):
    """ShallowNet: three short stages of unpadded convolutions, then a dense layer of 1024 units.

    The study analyzes the units of that dense layer.

    Parameters
    ----------
    input_size : int, default 256
        Side of the images in pixels, at least 32. It sets the size of the first dense layer, which
        has 118 million weights at 256.
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
    """Return a kernel×kernel and one or two 1×1 convolutions, each → ReLU → Dropout."""
    layers: list[nn.Module] = []
    widths = (first, first, last) if pool else (first, last)
    for i, width in enumerate(widths):
        size = kernel if i == 0 else 1
        layers += [nn.Conv2d(inputs, width, size), nn.ReLU(), nn.Dropout(0.25)]
        inputs = width
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
