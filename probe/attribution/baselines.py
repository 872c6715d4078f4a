"""What an image is compared with: black, blurred, its mean color, or the real image of a fake."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from probe.datasets import Dataset
from probe.errors import ProbeError
from probe.registry import Registry
from probe.schema import FAKE

__all__ = ["BASELINES", "PAIR", "pair_positions"]

#: From images, shape (n, 3, h, w), to their baselines.
BASELINES: Registry[Callable[[Tensor], Tensor]] = Registry(
    "baseline", "'pair' compares a fake with the real image that it was made of."
)

PAIR = "pair"
#: Standard deviation of the blur over the side of the image.
BLUR = 1 / 12


@BASELINES.register("black")
def _black(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


@BASELINES.register("mean")
def _mean(x: Tensor) -> Tensor:
    """Give every pixel the image's mean color."""
    return x.mean(dim=(2, 3), keepdim=True).expand_as(x).clone()


@BASELINES.register("blur")
def _blur(x: Tensor) -> Tensor:
    """Blur by a Gaussian, with the edge continued."""
    sigma = BLUR * x.shape[-1]
    radius = min(int(3 * sigma + 0.5), min(x.shape[-2:]) - 1)
    at = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1)
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=x.shape[1])
    return F.conv2d(rows, kernel[:, None, None, :], groups=x.shape[1])


def pair_positions(data: Dataset, everything: Dataset | None = None) -> NDArray[np.int64]:
    """Find the real image that each fake was made of, by the column ``pair``.

    Parameters
    ----------
    data : Dataset
        Fakes.
    everything : Dataset, optional
        Where the pairs are; by default `data` itself.

    Returns
    -------
    numpy.ndarray
        Shape (n,), positions in `everything`.

    Raises
    ------
    ProbeError
        If an image is real, or its pair is not known or not there.
    """
    table, place = data.samples.table, (everything or data).samples.table
    reals = int((table["label"] != FAKE).sum())
    if reals:
        raise ProbeError(
            f"baseline='pair' was given for {len(table)} images of which {reals} are real; only a "
            "fake has a real image that it was made of. Explain the fakes alone."
        )
    where = {name: i for i, name in enumerate(place["sample"])}
    pairs = list(table["pair"]) if "pair" in table else [""] * len(table)
    missing = [
        sample for sample, pair in zip(table["sample"], pairs, strict=True) if pair not in where
    ]
    if missing:
        raise ProbeError(
            f"baseline='pair' was given, and the real image is not known of {len(missing)} of "
            f"{len(table)} fakes, such as {missing[0]!r}. It is known where the sample table has a "
            "column 'pair', as the lab's has; use 'black', 'blur' or 'mean' elsewhere."
        )
    return np.array([where[pair] for pair in pairs], dtype=np.int64)
