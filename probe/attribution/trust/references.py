"""What a map has to beat: maps made without the detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = ["edge_maps", "random_maps", "shifted_maps"]

#: Weights of R, G and B in luma (ITU-R BT.601), as Pillow converts to gray.
LUMA = (0.299, 0.587, 0.114)


def edge_maps(images: ArrayLike) -> NDArray[np.float32]:
    """Magnitude of the Sobel gradient of the gray image.

    Parameters
    ----------
    images : array_like
        Shape (n, 3, height, width), RGB, in [0, 1].

    Returns
    -------
    numpy.ndarray
        Shape (n, height, width), not negative; borders are mirrored.
    """
    gray = np.tensordot(np.asarray(images, dtype=np.float64), LUMA, axes=(1, 0))
    # Image by image: a filter over the whole array would smooth across images too.
    slopes = [[ndimage.sobel(one, axis=axis, mode="reflect") for axis in (0, 1)] for one in gray]
    return np.asarray([np.hypot(dy, dx) for dy, dx in slopes], dtype=np.float32)


def random_maps(
    samples: ArrayLike, height: int, width: int, *, seed: int, draw: int = 0
) -> NDArray[np.float32]:
    """Uniform noise in [0, 1), shape (n, height, width).

    Parameters
    ----------
    samples : array_like of int
        Positions of the images in their dataset: the noise of an image depends on its position,
        not on what it is batched with.
    height, width : int
        Size of a map.
    seed, draw : int
        Seed, and which of several draws.
    """
    return np.stack(
        [
            np.random.default_rng((seed, draw, int(i))).random((height, width), dtype=np.float32)
            for i in np.asarray(samples)
        ]
    )


def shifted_maps(
    maps: NDArray[np.float32], samples: ArrayLike, *, seed: int, draw: int = 0
) -> NDArray[np.float32]:
    """Shift each map by a random distance, down and to the right; what leaves comes in opposite.

    Each direction is shifted by a quarter to three quarters of the side. Values, smoothness and
    number of peaks stay, so that what smoothness alone brings is not taken for knowledge.

    Parameters
    ----------
    maps : numpy.ndarray
        Shape (n, height, width).
    samples, seed, draw
        As `random_maps`.
    """
    out = np.empty_like(maps)
    for row, i in enumerate(np.asarray(samples)):
        rng = np.random.default_rng((seed, draw, int(i), 1))
        by = [int(rng.integers(side // 4, side - side // 4 + 1)) for side in maps.shape[1:]]
        out[row] = np.roll(maps[row], by, axis=(0, 1))
    return out
