"""`Detector`: a frozen module from images to logits of "fake", and the spec that identifies it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probe.compute import resolve_device

__all__ = ["Detector", "DetectorSpec", "FakeLogit", "Normalize", "weights_hash"]


class Normalize(nn.Module):
    """Subtract a mean and divide by a deviation per channel, inside the traced graph.

    Parameters
    ----------
    mean, std : tuple of float
        One value a channel, in units of the [0, 1] image.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        # Not part of the state dict: checkpoints of other projects do not hold them.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize images, shape (N, 3, H, W)."""
        return (x - self.mean) / self.std


class FakeLogit(nn.Module):
    """Turn a head's outputs into one logit of "fake" an image.

    Parameters
    ----------
    outputs : {1, 2}
        1: the head gives the fake logit itself. 2: the head gives (real, fake) logits, whose
        difference fake − real is the logit of the softmax's P(fake).
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
    """What identifies a detector; it travels with everything computed from it.

    Attributes
    ----------
    name : str
        Registered name of the architecture, or ``timm:<model>``.
    input_size : int
        Side in pixels of the square images that it takes.
    origin : str
        Where the weights come from: "initialized (seed 0)", "trained", "keras", "deepfakebench".
    variant : str
        "base", "shallow", "deep"; the file's stem for imported weights; "" for random ones.
    license : str
        License of the weights.
    options : mapping
        Further arguments of the architecture, needed to build it again.
    notes : mapping
        What a result made with it has to state, such as the crop rule of its training data.
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
        """Return the attributes as plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Detector:
    """An `nn.Module` in eval mode from N×3×H×W in [0, 1] to N logits of "fake".

    Polarity, normalization and two-way heads are inside the module: nobody downstream asks which
    index is "fake".

    Attributes
    ----------
    module : torch.nn.Module
        The network, in eval mode.
    spec : DetectorSpec
        What it is.
    """

    module: nn.Module
    spec: DetectorSpec

    def __post_init__(self) -> None:
        self.module.eval()

    @property
    def name(self) -> str:
        """Short name for tables and figures, see `DetectorSpec.label`."""
        return self.spec.label

    @property
    def device(self) -> torch.device:
        """Device that the weights are on."""
        return next(self.module.parameters()).device

    def to(self, device: str | torch.device) -> Detector:
        """Move the weights to a device, in place as `torch.nn.Module.to` does.

        Everything that takes a detector runs where it is. What was traced or compiled of it before
        is to be made anew.

        Parameters
        ----------
        device : str or torch.device
            As in `probe.compute.resolve_device`.

        Returns
        -------
        Detector
            The same.

        Raises
        ------
        ProbeError
            If there is no such device here.
        """
        self.module.to(resolve_device(device))
        return self

    def logits(self, images: NDArray[np.float32] | Tensor) -> NDArray[np.float32]:
        """Score images.

        Parameters
        ----------
        images : array or Tensor
            Shape (N, 3, H, W), RGB, in [0, 1].

        Returns
        -------
        numpy.ndarray
            Shape (N,), logits of "fake": positive means that fake is the likelier.
        """
        x = torch.as_tensor(images).to(self.device)
        with torch.inference_mode():
            out: Tensor = self.module(x)
        return np.asarray(out.float().cpu().numpy(), dtype=np.float32)

    @property
    def fingerprint(self) -> str:
        """Hash of name, input size and weights."""
        head = f"{self.spec.name}|{self.spec.input_size}|".encode()
        return hashlib.blake2b(
            head + weights_hash(self.module).encode(), digest_size=16
        ).hexdigest()


def weights_hash(module: nn.Module) -> str:
    """Hash names, shapes and bytes of all parameters and buffers of a module."""
    digest = hashlib.blake2b(digest_size=16)
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(value.shape)}|{value.dtype}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
