"""`Detector`: a module in eval mode from images to fake logits, and the spec that identifies it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.compute import resolve_device

__all__ = [
    "Detector",
    "DetectorSpec",
    "FakeLogit",
    "Normalize",
    "left_as_it_was",
    "weights_hash",
]


class Normalize(nn.Module):
    """Normalize images by a mean and standard deviation per channel, as part of the graph.

    Parameters
    ----------
    mean, std : tuple of float
        One value per channel, for images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        # Not part of the state dict, since checkpoints of other projects do not hold them.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize images of shape (N, 3, H, W)."""
        return (x - self.mean) / self.std


class FakeLogit(nn.Module):
    """Convert the outputs of a head to one fake logit per image.

    Parameters
    ----------
    outputs : {1, 2}
        Number of outputs of the head. 1: the head gives the fake logit. 2: the head gives (real,
        fake) logits, and the difference fake − real is the logit of the softmax's P(fake).
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, z: Tensor) -> Tensor:
        """Map (N, outputs) to (N,)."""
        if self.outputs == 1:
            return z[:, 0]
        return z[:, 1] - z[:, 0]


@dataclass(frozen=True)
class DetectorSpec:
    """Description of a detector, stored with every result computed from it.

    Attributes
    ----------
    name : str
        Registered name of the architecture, or ``timm:<model>``.
    input_size : int
        Side of the square input images in pixels.
    origin : str
        Origin of the weights: "initialized (seed 0)", "trained", "keras", "deepfakebench".
    variant : str
        "base", "shallow" or "deep"; the file's stem for imported weights; "" for random weights.
    license : str
        License of the weights.
    options : mapping
        Options of the architecture, needed to build it again.
    notes : mapping
        Facts to report with every result, such as how the training data were cropped.
    """

    name: str
    input_size: int
    origin: str = "initialized"
    variant: str = ""
    license: str = "Apache-2.0"
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Short name for tables and figures: "meso4", or "meso4/shallow" for a variant."""
        return f"{self.name}/{self.variant}" if self.variant else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict of plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Detector:
    """A network in eval mode from images, N×3×H×W in [0, 1], to N fake logits.

    Polarity, normalization and two-way heads are handled inside the module, so its output is
    always the logit of "fake".

    Attributes
    ----------
    module : torch.nn.Module
        The network, in eval mode.
    spec : DetectorSpec
        Description of architecture and weights.

    Examples
    --------
    >>> import probe
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> detector
    <Detector meso4: 64 × 64 pixels, 12,617 weights, initialized (seed 0)>
    >>> detector.logits(probe.open_dataset("crops").array([0, 1], 64)).shape
    (2,)
    """

    module: nn.Module
    spec: DetectorSpec

    def __post_init__(self) -> None:
        self.module.eval()

    def __repr__(self) -> str:
        """Say which network it is, its input and where its weights are from."""
        weights = sum(value.numel() for value in self.module.parameters())
        side = self.spec.input_size
        return (
            f"<Detector {self.name}: {side} × {side} pixels, {weights:,} weights, "
            f"{self.spec.origin}>"
        )

    @property
    def name(self) -> str:
        """Short name for tables and figures; see `DetectorSpec.label`."""
        return self.spec.label

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.module.parameters()).device

    def to(self, device: str | torch.device) -> Detector:
        """Move the weights to a device, in place like `torch.nn.Module.to`.

        Every function that takes a detector runs on its device. Trace or compile again what was
        traced or compiled before the move.

        Parameters
        ----------
        device : str or torch.device
            Device, as in `probe.compute.resolve_device`.

        Returns
        -------
        Detector
            The same detector.

        Raises
        ------
        ProbeError
            If the device is not available.
        """
        self.module.to(resolve_device(device))
        return self

    def logits(self, images: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Return the fake logits of images.

        Parameters
        ----------
        images : array or Tensor
            Images of shape (N, 3, H, W), RGB, in [0, 1].

        Returns
        -------
        numpy.ndarray
            Logits of "fake", shape (N,). Positive means P(fake) > 0.5.
        """
        x = torch.as_tensor(images).to(self.device)
        with torch.inference_mode(), left_as_it_was(self.module):
            out: Tensor = self.module(x)
        return np.asarray(out.float().cpu().numpy(), dtype=np.float32)

    @property
    def fingerprint(self) -> str:
        """Hash of architecture name, input size and weights."""
        head = f"{self.spec.name}|{self.spec.input_size}|".encode()
        return hashlib.blake2b(
            head + weights_hash(self.module).encode(), digest_size=16
        ).hexdigest()


@contextmanager
def left_as_it_was(module: nn.Module) -> Iterator[None]:
    """Take back what a forward pass keeps in the attributes of a module.

    Some modules keep what they compute on first use, such as the attention biases of timm's
    LevIT. While they are traced that is a symbol, under ``inference_mode`` a tensor that later
    gradients refuse, and after a change of the weights a value of the old ones.
    """
    attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
    containers: dict[int, tuple[Any, Any]] = {}
    for part in module.modules():
        own = vars(part)
        attributes.append((own, dict(own)))
        for name, value in own.items():
            if name not in _TORCHS:
                _collect(value, containers)
    try:
        yield
    finally:
        for now, before in attributes:
            for name in [name for name in now if name not in before]:
                del now[name]
            now.update(before)
        for one, before in containers.values():
            if isinstance(one, dict | set):
                one.clear()
                one.update(before)
            else:
                one[:] = before


#: Attributes that every module has, such as hooks; of these only buffers are made by forward.
_TORCHS = frozenset(vars(nn.Module())) - {"_buffers"}


def _collect(value: Any, found: dict[int, tuple[Any, Any]]) -> None:
    """Note the lists, dictionaries and sets that a value consists of, with their contents."""
    if isinstance(value, dict | list | set) and id(value) not in found:
        found[id(value)] = (value, copy.copy(value))
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, found)


def weights_hash(module: nn.Module) -> str:
    """Return a hash of the names, shapes and bytes of all parameters and buffers of a module."""
    digest = hashlib.blake2b(digest_size=16)
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(value.shape)}|{value.dtype}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
