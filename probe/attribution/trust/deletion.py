"""Deletion and insertion: whether the pixels that a map points at carry the decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import nn

from probe.attribution.trust.checks import FILLS
from probe.budget import parse_memory
from probe.detectors.detector import Detector
from probe.errors import UnknownNameError
from probe.stats import Floats, sigmoid

__all__ = [
    "curve_area",
    "deletion",
    "fill_images",
    "forward_batch",
    "insertion",
    "pixel_ranks",
    "replacement_curves",
]

Images = NDArray[np.float32]

#: Deviation of the blur as a share of the image's side: 5 pixels of 224, as in the paper.
BLUR = 5 / 224

#: Maximum number of images per forward pass; more are not faster.
LARGEST_BATCH = 128


def fill_images(images: Images, fill: str) -> Images:
    """Return the images that replacement pixels are taken from.

    Parameters
    ----------
    images : numpy.ndarray
        Shape (n, 3, height, width), in [0, 1].
    fill : {"blur", "mean"}
        "blur" is the image under a Gaussian blur of 5/224 of its side; "mean" is its mean color.

    Returns
    -------
    numpy.ndarray
        The same shape as `images`.

    Raises
    ------
    UnknownNameError
        If the fill is unknown.
    """
    if fill == "mean":
        return np.broadcast_to(images.mean(axis=(2, 3), keepdims=True), images.shape).copy()
    if fill == "blur":
        sigma = BLUR * max(images.shape[2:])
        return np.asarray(ndimage.gaussian_filter(images, (0, 0, sigma, sigma)), np.float32)
    raise UnknownNameError("fill", fill, FILLS)


def pixel_ranks(maps: ArrayLike, ties: ArrayLike) -> NDArray[np.int64]:
    """Rank pixels from the largest attribution (0) to the smallest, with signs.

    Parameters
    ----------
    maps : array_like
        Shape (n, height, width).
    ties : array_like
        Shape (n, height, width), breaks ties between equal attributions: larger comes first. Use
        `random_maps` of the images, so that no corner of the image is preferred.

    Returns
    -------
    numpy.ndarray
        Shape (n, height, width), each map's ranks a permutation.
    """
    a = np.asarray(maps, dtype=np.float64)
    flat, second = a.reshape(len(a), -1), np.asarray(ties).reshape(len(a), -1)
    order = np.stack([np.lexsort((-t, -v)) for v, t in zip(flat, second, strict=True)])
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], axis=1)
    return ranks.reshape(a.shape)


def replacement_curves(
    detector: Detector,
    images: Images,
    ranks: NDArray[np.int64],
    *,
    fill: str = "mean",
    insert: bool = False,
    n_steps: int = 20,
    memory: str | int = "2G",
) -> Floats:
    """Compute P(fake) as pixels are replaced, lowest rank first.

    Parameters
    ----------
    detector : Detector
        Detector to run; it is not changed.
    images : numpy.ndarray
        Shape (n, 3, height, width), in [0, 1].
    ranks : numpy.ndarray
        Shape (n, height, width), from `pixel_ranks`.
    fill : {"blur", "mean"}
        Replacement of pixels; see `fill_images`.
    insert : bool, default False
        False: from the image to the fill (deletion). True: from the fill to the image.
    n_steps : int, default 20
        Number of equal steps; at step k the first round(k · pixels / n_steps) are replaced.
    memory : str or int, default "2G"
        Memory limit, which bounds the images per pass.

    Returns
    -------
    numpy.ndarray
        Shape (n, n_steps + 1), P(fake) in [0, 1].
    """
    start, end = images, fill_images(images, fill)
    if insert:
        start, end = end, start
    counts = np.rint(np.linspace(0, ranks[0].size, n_steps + 1)).astype(np.int64)
    batch = forward_batch(detector, images[:1], memory)
    out = np.empty((len(images), n_steps + 1), dtype=np.float64)
    for rows, steps in _blocks(len(images), n_steps + 1, batch):
        # A block is images × steps; the steps of one image differ only in what is replaced.
        replaced = ranks[rows, None] < counts[steps][None, :, None, None]
        mixed = np.where(replaced[:, :, None], end[rows, None], start[rows, None])
        scores = sigmoid(detector.logits(mixed.reshape(-1, *images.shape[1:])))
        out[rows, steps] = scores.reshape(replaced.shape[:2])
    return out


def curve_area(curves: ArrayLike) -> Floats:
    """Return areas under curves, shape (n, steps + 1), over the share of pixels (trapezoids)."""
    y = np.asarray(curves, dtype=np.float64)
    return np.asarray((y[:, 1:] + y[:, :-1]).mean(axis=1) / 2)


def deletion(detector: Detector, images: Images, maps: ArrayLike, **options: Any) -> Floats:
    """Return the area under P(fake) as the top pixels are removed; lower is better.

    Parameters
    ----------
    detector, images
        As in `replacement_curves`.
    maps : array_like
        Shape (n, height, width); ties are broken at random.
    **options
        ``seed`` (default 0) of the ties, and ``fill, n_steps, memory`` of `replacement_curves`.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1].
    """
    return _area(detector, images, maps, insert=False, **options)


def insertion(detector: Detector, images: Images, maps: ArrayLike, **options: Any) -> Floats:
    """Return the area under P(fake) as the top pixels are inserted; higher is better."""
    return _area(detector, images, maps, insert=True, **options)


def _area(
    detector: Detector, images: Images, maps: ArrayLike, *, seed: int = 0, **options: Any
) -> Floats:
    shape = np.asarray(maps).shape
    ties = np.random.default_rng(seed).random(shape)
    return curve_area(replacement_curves(detector, images, pixel_ranks(maps, ties), **options))


def _blocks(n: int, steps: int, batch: int) -> Iterator[tuple[slice, slice]]:
    """Split images × steps into blocks of at most `batch`."""
    rows = max(1, batch // steps)
    wide = min(batch, steps)
    for i in range(0, n, rows):
        for k in range(0, steps, wide):
            yield slice(i, min(i + rows, n)), slice(k, min(k + wide, steps))


def forward_batch(detector: Detector, image: Images, memory: str | int) -> int:
    """Return the images per forward pass, from the output size of all modules for one image.

    Outputs are freed during the pass, so that the memory used is smaller.
    """
    held = [image.nbytes * 4]

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            held.append(output.numel() * output.element_size())

    handles = [module.register_forward_hook(add) for module in detector.module.modules()]
    try:
        detector.logits(image)
    finally:
        for handle in handles:
            handle.remove()
    return max(1, min(LARGEST_BATCH, parse_memory(memory) // sum(held)))
