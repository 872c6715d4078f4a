"""`Picture`: one image with its region, and what several measurements need of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "Bools", "Floats", "Picture", "central_ellipse"]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Pixels that have to lie inside the region, and outside, for the two to be compared.
LEAST = 64

#: Rec. 601, as JPEG has it.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

#: Deviations of the Gaussians, in pixels, between which detail is split into bands.
SCALES = (0.6, 0.85, 1.2, 1.7, 2.4)

#: Filters of `Picture.fine`: a third difference, and the mean of four pixels.
THIRD = np.array([1, -3, 3, -1], dtype=np.float32)
FOUR = np.full(4, 0.25, dtype=np.float32)

#: Below this gray level a logarithm would show noise.
DARK = 4.0


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes
    ----------
    pixels : numpy.ndarray
        Shape (height, width, 3), RGB, 0 to 255.
    inside : numpy.ndarray
        Shape (height, width): the region that is compared with what lies outside.
    quality : float
        JPEG quality by the file's quantization tables, 1 to 100; NaN where it has none.
    """

    pixels: NDArray[np.uint8]
    inside: Bools
    quality: float = np.nan

    @property
    def comparable(self) -> bool:
        """Whether enough pixels lie inside and outside."""
        return bool(LEAST <= self.inside.sum() <= self.inside.size - LEAST)

    @cached_property
    def rgb(self) -> Floats:
        """Pixels as floats."""
        return self.pixels.astype(np.float32)

    @cached_property
    def gray(self) -> Floats:
        """Luma, 0 to 255."""
        return np.asarray(self.rgb @ LUMA)

    @cached_property
    def logs(self) -> Floats:
        """Logarithms of the colors, shape (height, width, 3): a factor becomes a step."""
        return np.log(np.maximum(self.rgb, DARK))

    @cached_property
    def depth(self) -> Floats:
        """Distance to the region's edge in pixels, above 0 inside, below outside."""
        inner = cv2.distanceTransform(self.inside.astype(np.uint8), cv2.DIST_L2, 5)
        outer = cv2.distanceTransform((~self.inside).astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(np.where(self.inside, inner - 0.5, 0.5 - outer), dtype=np.float32)

    @cached_property
    def radius(self) -> float:
        """Largest depth."""
        return float(self.depth.max())

    @cached_property
    def within(self) -> Bools:
        """Inside, away from the edge."""
        return np.asarray(self.depth > min(3.0, self.radius / 3))

    @cached_property
    def beyond(self) -> Bools:
        """Outside, away from the edge."""
        return np.asarray(self.depth < -3)

    @cached_property
    def core(self) -> Bools:
        """The middle of the region."""
        return np.asarray(self.depth > min(10.0, self.radius / 2))

    @cached_property
    def rim(self) -> Bools:
        """A band along the edge, inside."""
        return np.asarray((self.depth > 1) & (self.depth < min(9.0, self.radius / 2)))

    @cached_property
    def ring(self) -> Bools:
        """A band along the edge, outside."""
        return np.asarray((self.depth < -1) & (self.depth > -9))

    @cached_property
    def smooth(self) -> list[Floats]:
        """The gray image and what Gaussians of growing width leave of it."""
        soft = [np.asarray(cv2.GaussianBlur(self.gray, (0, 0), scale)) for scale in SCALES]
        return [self.gray, *(one.astype(np.float32, copy=False) for one in soft)]

    @cached_property
    def bands(self) -> list[Floats]:
        """Absolute detail between neighboring `smooth`, the finest first."""
        pairs = zip(self.smooth, self.smooth[1:], strict=False)
        return [np.abs(fine - coarse) for fine, coarse in pairs]

    @cached_property
    def fine(self) -> Floats:
        """Absolute third difference along rows and along columns, halved and added.

        Averaged over four pixels across, so that a grid of two or four pixels, which is detail
        that an upsampling layer adds, cancels and does not pass for detail of the face.
        """
        steps, four = THIRD, FOUR
        along = cv2.sepFilter2D(self.gray, cv2.CV_32F, steps, four)
        down = cv2.sepFilter2D(self.gray, cv2.CV_32F, four, steps)
        return np.asarray((np.abs(along) + np.abs(down)) / 2, dtype=np.float32)

    @cached_property
    def laplacian(self) -> Floats:
        """Four-neighbor Laplacian of the gray image."""
        return np.asarray(cv2.Laplacian(self.gray, cv2.CV_32F))


def central_ellipse(height: int, width: int) -> Bools:
    """Cover the middle of a face crop, half as wide and as high as the image; (height, width)."""
    y, x = np.ogrid[:height, :width]
    rows, columns = (y - (height - 1) / 2) / (height / 4), (x - (width - 1) / 2) / (width / 4)
    return np.asarray(rows**2 + columns**2 < 1)
