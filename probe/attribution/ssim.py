"""Structural similarity of maps: raw on one scale, and colored as the study has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

__all__ = ["AUTHORS", "CORRECTED", "SMALLEST", "Compared", "color_ssim", "raw_ssim"]

#: Smallest side of a map: that of the Gaussian window.
SMALLEST = 11

#: Share of values that the shared scale holds; the rest are clipped, as in figures.
PERCENTILE = 99.5

CORRECTED = (
    "SSIM of raw signed maps of the fake logit, Gaussian window of 1.5 pixels, one scale for all "
    "variants and images: ± the 99.5th percentile of magnitude, clipped"
)
AUTHORS = (
    "as the study's code: Grad-CAM of output 0, each map stretched to 0 to 255, JET (OpenCV), SSIM "
    "of the colors (scikit-image's defaults)"
)


@dataclass(frozen=True)
class Compared:
    """A way to compare maps.

    Attributes
    ----------
    prepare : callable
        From maps, shape (n, y, x), to the form in which they are compared.
    ssim : callable
        From two prepared maps to their similarity, −1 to 1.
    range : float
        Dynamic range of prepared maps.
    """

    prepare: Callable[[NDArray[np.float64]], NDArray[Any]]
    ssim: Callable[[NDArray[Any], NDArray[Any]], float]
    range: float


def raw_ssim(blocks: Callable[[], Iterable[NDArray[np.float32]]]) -> Compared:
    """Compare signed maps on the scale that they share.

    Parameters
    ----------
    blocks : callable
        Gives all the maps, some at a time; called more than once.
    """
    percentile, largest = magnitudes(blocks, PERCENTILE)
    # Maps of a few hot pixels only have a percentile of 0.
    bound = percentile or largest

    def ssim(one: NDArray[Any], other: NDArray[Any]) -> float:
        return float(
            structural_similarity(  # type: ignore[no-untyped-call]
                one,
                other,
                data_range=2 * bound,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )

    return Compared(lambda maps: np.clip(maps, -bound, bound), ssim, 2 * bound)


def magnitudes(
    blocks: Callable[[], Iterable[NDArray[np.float32]]], q: float
) -> tuple[float, float]:
    """Take a percentile of magnitudes, and the largest, from values that are never held at once.

    Single-precision numbers that are not negative are in the order of their bits, so two passes
    that count halves of these find any one of them. Equals `numpy.percentile` to the last bit.
    """
    high = np.zeros(1 << 16, dtype=np.int64)
    for some in blocks():
        high += np.bincount(_bits(some) >> 16, minlength=1 << 16)
    ends = np.cumsum(high)
    n = int(ends[-1])
    at = (n - 1) * (q / 100)
    ranks = [int(at), min(int(at) + 1, n - 1), n - 1]
    halves = np.searchsorted(ends, ranks, side="right").tolist()
    low = {half: np.zeros(1 << 16, dtype=np.int64) for half in halves}
    for some in blocks():
        bits = _bits(some)
        for half, counts in low.items():
            counts += np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=1 << 16)
    found = []
    for half, rank in zip(halves, ranks, strict=True):
        before = ends[half] - high[half]
        within = np.searchsorted(np.cumsum(low[half]), rank - before, side="right")
        found.append(_value(half, int(within)))
    first, second, last = found
    share, step = at - int(at), second - first
    return (first + step * share if share < 0.5 else second - step * (1 - share)), last


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.abs(values).astype(np.float32, copy=False).ravel().view(np.uint32)


def _value(high: int, low: int) -> float:
    return float(np.array([high << 16 | low], dtype=np.uint32).view(np.float32)[0])


def color_ssim(relu: bool) -> Compared:
    """Compare maps as the study does: stretched one by one, and colored."""

    def prepare(maps: NDArray[np.float64]) -> NDArray[Any]:
        return np.stack([_colored(np.maximum(one, 0) if relu else one) for one in maps])

    def ssim(one: NDArray[Any], other: NDArray[Any]) -> float:
        found = structural_similarity(  # type: ignore[no-untyped-call]
            one, other, channel_axis=-1, data_range=255
        )
        return float(found)

    return Compared(prepare, ssim, 255.0)


def _colored(one: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Stretch a map to 0 to 255 and color it; one without any contrast is all 0."""
    spread = float(np.ptp(one))
    gray = (one - one.min()) / spread * 255 if spread else np.zeros_like(one)
    return np.asarray(cv2.applyColorMap(gray.astype(np.uint8), cv2.COLORMAP_JET))
