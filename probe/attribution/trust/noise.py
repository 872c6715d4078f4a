"""How much a map changes when the image hardly does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probe.stats import Floats

__all__ = ["relative_changes", "sensitivity"]


def sensitivity(
    explain: Callable[[NDArray[np.float32]], ArrayLike],
    images: NDArray[np.float32],
    maps: ArrayLike,
    *,
    samples: ArrayLike | None = None,
    radius: float = 0.02,
    n_draws: int = 5,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Largest and mean relative change of maps under noise (Yeh et al. 2019, arXiv:1901.09392).

    Noise is uniform in [−radius, radius], independent for every value, and images stay in [0, 1].
    Changes are relative, ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖; the paper's are not divided. The largest of
    `n_draws` is a lower bound of the largest within the radius. A method that draws is explained
    with the same seed each time: its own noise does not count.

    Parameters
    ----------
    explain : callable
        From images, shape (n, 3, height, width), to maps, shape (n, height, width).
    images, maps : array_like
        The images, and what `explain` gives for them.
    samples : array_like of int, optional
        Positions of the images in their dataset; an image's noise depends on it alone.
    radius : float, default 0.02
        Of the noise; 0.02 is 5 of 255 gray levels.
    n_draws : int, default 5
        How many noisy copies.
    seed : int, default 0
        Seed of the noise.

    Returns
    -------
    tuple of numpy.ndarray
        Largest and mean, each of shape (n,), from 0; NaN for a map that is all 0.
    """
    positions = np.arange(len(images)) if samples is None else np.asarray(samples)
    changes = []
    for draw in range(n_draws):
        noisy = np.stack(
            [
                image
                + np.random.default_rng((seed, draw, int(i))).uniform(-radius, radius, image.shape)
                for i, image in zip(positions, images, strict=True)
            ]
        )
        moved = explain(np.clip(noisy, 0, 1).astype(np.float32))
        changes.append(relative_changes(maps, moved))
    return np.max(changes, axis=0), np.mean(changes, axis=0)


def relative_changes(maps: ArrayLike, moved: ArrayLike) -> Floats:
    """Euclidean distance of maps over the length of the first; shape (n,), NaN for length 0."""
    a, b = (np.asarray(one, dtype=np.float64) for one in (maps, moved))
    length = np.sqrt((a**2).sum(axis=(1, 2)))
    change = np.sqrt(((b - a) ** 2).sum(axis=(1, 2)))
    out: Floats = np.divide(change, length, out=np.full(len(a), np.nan), where=length > 0)
    return out
