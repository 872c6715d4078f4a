"""Deletion and insertion: whether what the map points at carries the decision."""

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

#: Images a forward pass at most; more gain nothing.
LARGEST_BATCH = 128


def fill_images(images: Images, fill: str) -> Images:
    """Make what replaces the pixels of images.

    Parameters
    ----------
    images : numpy.ndarray
        Shape (n, 3, height, width), in [0, 1].
    fill : {"blur", "mean"}
        The image under a Gaussian blur of 5/224 of its side; or the mean color of each image.

    Returns
    -------
    numpy.ndarray
        Of the same shape.

    Raises
    ------
    UnknownNameError
        If the fill is neither.
    """
    if fill == "mean":
        return np.broadcast_to(images.mean(axis=(2, 3), keepdims=True), images.shape).copy()
    if fill == "blur":
        sigma = BLUR * max(images.shape[2:])
        return np.asarray(ndimage.gaussian_filter(images, (0, 0, sigma, sigma)), np.float32)
    raise UnknownNameError("fill", fill, FILLS)


def pixel_ranks(maps: ArrayLike, ties: ArrayLike) -> NDArray[np.int64]:
    """Rank pixels from the largest attribution, 0, to the smallest, signs counting.

    Parameters
    ----------
    maps : array_like
        Shape (n, height, width).
    ties : array_like
        Shape (n, height, width): which of pixels with equal attribution comes first, the largest;
        `random_maps` of the images, so that no corner of the image is preferred.

    Returns
    -------
    numpy.ndarray
        Shape (n, height, width), each row a permutation.
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
    """Follow P(fake) as pixels are replaced, the first in rank first.

    Parameters
    ----------
    detector : Detector
        Whom to ask; left as it is.
    images : numpy.ndarray
        Shape (n, 3, height, width), in [0, 1].
    ranks : numpy.ndarray
        Shape (n, height, width), from `pixel_ranks`.
    fill : {"blur", "mean"}
        See `fill_images`.
    insert : bool, default False
        False: from the image to the fill. True: from the fill to the image.
    n_steps : int, default 20
        Equal steps; at step k the first round(k · pixels / n_steps) are replaced.
    memory : str or int, default "2G"
        Bounds the images a pass.

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
        # One block is images × steps; those of one image differ only in what is replaced.
        replaced = ranks[rows, None] < counts[steps][None, :, None, None]
        mixed = np.where(replaced[:, :, None], end[rows, None], start[rows, None])
        scores = sigmoid(detector.logits(mixed.reshape(-1, *images.shape[1:])))
        out[rows, steps] = scores.reshape(replaced.shape[:2])
    return out


def curve_area(curves: ArrayLike) -> Floats:
    """Area under curves, shape (n, steps + 1), over the share of pixels, by trapezoids."""
    y = np.asarray(curves, dtype=np.float64)
    return np.asarray((y[:, 1:] + y[:, :-1]).mean(axis=1) / 2)


def deletion(detector: Detector, images: Images, maps: ArrayLike, **options: Any) -> Floats:
    """Area under P(fake) as the top pixels are taken away; low is good.

    Parameters
    ----------
    detector, images
        As `replacement_curves`.
    maps : array_like
        Shape (n, height, width); ties are broken at random by `seed` (0).
    **options
        ``seed``, and ``fill, n_steps, memory`` of `replacement_curves`.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1].
    """
    return _area(detector, images, maps, insert=False, **options)


def insertion(detector: Detector, images: Images, maps: ArrayLike, **options: Any) -> Floats:
    """Area under P(fake) as the top pixels are put into the fill; high is good; see `deletion`."""
    return _area(detector, images, maps, insert=True, **options)


def _area(
    detector: Detector, images: Images, maps: ArrayLike, *, seed: int = 0, **options: Any
) -> Floats:
    shape = np.asarray(maps).shape
    ties = np.random.default_rng(seed).random(shape)
    return curve_area(replacement_curves(detector, images, pixel_ranks(maps, ties), **options))


def _blocks(n: int, steps: int, batch: int) -> Iterator[tuple[slice, slice]]:
    """Cut images × steps into blocks of at most `batch`."""
    rows = max(1, batch // steps)
    wide = min(batch, steps)
    for i in range(0, n, rows):
        for k in range(0, steps, wide):
            yield slice(i, min(i + rows, n)), slice(k, min(k + wide, steps))


def forward_batch(detector: Detector, image: Images, memory: str | int) -> int:
    """How many images a forward pass may hold: from the bytes that all modules put out for one.

    Outputs are freed as the pass goes on, so what is really held is less.
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
