"""Registry of measurements, and `Picture`: an image with its region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.dataset import Dataset
from probe.registry import Registry

__all__ = [
    "Bools",
    "ELLIPSE",
    "Floats",
    "LEAST",
    "MASKS",
    "MEASUREMENTS",
    "Measurement",
    "Picture",
    "central_ellipse",
    "log_mean",
    "log_ratio",
    "mask_rows",
    "measurement",
    "region_of",
]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Minimum number of pixels inside the region, and outside, for a comparison.
LEAST = 64

#: Luma weights of Rec. 601, as in JPEG.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

#: Deviations in pixels of the Gaussians that split detail into bands.
SCALES = (0.6, 0.85, 1.2, 1.7, 2.4)

#: Filters of `Picture.fine`: a third difference, and the mean of four pixels.
THIRD = np.array([1, -3, 3, -1], dtype=np.float32)
FOUR = np.full(4, 0.25, dtype=np.float32)

#: Minimum gray level; logarithms of darker levels would show noise.
DARK = 4.0


@dataclass(frozen=True)
class Picture:
    """An image with its region.

    Attributes
    ----------
    pixels : numpy.ndarray
        Shape (height, width, 3), RGB, 0 to 255.
    inside : numpy.ndarray
        Shape (height, width), bool: the region, which is compared with the outside.
    quality : float
        JPEG quality from the file's quantization tables, 1 to 100; NaN if it has none.
    """

    pixels: NDArray[np.uint8]
    inside: Bools
    quality: float = np.nan

    @property
    def comparable(self) -> bool:
        """Whether enough pixels are inside and outside the region."""
        return bool(LEAST <= self.inside.sum() <= self.inside.size - LEAST)

    @cached_property
    def rgb(self) -> Floats:
        """Pixels as float32."""
        return self.pixels.astype(np.float32)

    @cached_property
    def gray(self) -> Floats:
        """Luma, 0 to 255."""
        return np.asarray(self.rgb @ LUMA)

    @cached_property
    def logs(self) -> Floats:
        """Logarithm of the colors, shape (height, width, 3); factors become offsets."""
        return np.log(np.maximum(self.rgb, DARK))

    @cached_property
    def depth(self) -> Floats:
        """Distance to the region's edge in pixels, positive inside, negative outside."""
        inner = cv2.distanceTransform(self.inside.astype(np.uint8), cv2.DIST_L2, 5)
        outer = cv2.distanceTransform((~self.inside).astype(np.uint8), cv2.DIST_L2, 5)
        return np.asarray(np.where(self.inside, inner - 0.5, 0.5 - outer), dtype=np.float32)

    @cached_property
    def radius(self) -> float:
        """Largest depth, in pixels."""
        return float(self.depth.max())

    @cached_property
    def within(self) -> Bools:
        """Area inside the region, away from the edge."""
        return np.asarray(self.depth > min(3.0, self.radius / 3))

    @cached_property
    def beyond(self) -> Bools:
        """Area outside the region, away from the edge."""
        return np.asarray(self.depth < -3)

    @cached_property
    def core(self) -> Bools:
        """Core of the region."""
        return np.asarray(self.depth > min(10.0, self.radius / 2))

    @cached_property
    def rim(self) -> Bools:
        """Band along the edge, inside the region."""
        return np.asarray((self.depth > 1) & (self.depth < min(9.0, self.radius / 2)))

    @cached_property
    def ring(self) -> Bools:
        """Band along the edge, outside the region."""
        return np.asarray((self.depth < -1) & (self.depth > -9))

    @cached_property
    def smooth(self) -> list[Floats]:
        """Gray image, and the gray image smoothed by the Gaussians of `SCALES`."""
        soft = [np.asarray(cv2.GaussianBlur(self.gray, (0, 0), scale)) for scale in SCALES]
        return [self.gray, *(one.astype(np.float32, copy=False) for one in soft)]

    @cached_property
    def bands(self) -> list[Floats]:
        """Absolute difference of adjacent images in `smooth`, finest first."""
        pairs = zip(self.smooth, self.smooth[1:], strict=False)
        return [np.abs(fine - coarse) for fine, coarse in pairs]

    @cached_property
    def fine(self) -> Floats:
        """Mean of the absolute third differences along rows and along columns.

        They are averaged over four pixels across, so that grids of two or four pixels, which
        upsampling layers add, cancel and are not mistaken for detail of the face.
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
    """Return an ellipse in the middle, half as wide and high as the image; (height, width)."""
    y, x = np.ogrid[:height, :width]
    rows, columns = (y - (height - 1) / 2) / (height / 4), (x - (width - 1) / 2) / (width / 4)
    return np.asarray(rows**2 + columns**2 < 1)


Compute = Callable[[Picture], float]


@dataclass(frozen=True)
class Measurement:
    """A measurement of a picture.

    Attributes
    ----------
    name : str
        Name in tables.
    about : str
        Description in one sentence.
    unit : str
        Unit of the values.
    source : str
        Reference of the method.
    needs : str
        "region" if it compares inside with outside, else "".
    compute : callable
        Maps a `Picture` to a number, NaN where undefined.
    """

    name: str
    about: str
    unit: str
    source: str
    needs: str
    compute: Compute

    def __call__(self, picture: Picture) -> float:
        """Measure a picture; NaN if too few pixels are inside or outside its region."""
        if self.needs and not picture.comparable:
            return float("nan")
        return float(self.compute(picture))


#: All measurements, in the order of tables and figures.
MEASUREMENTS: Registry[Measurement] = Registry("measurement")


def measurement(
    name: str, about: str, unit: str, source: str, needs: str = ""
) -> Callable[[Compute], Compute]:
    """Register a function as a measurement."""

    def add(compute: Compute) -> Compute:
        MEASUREMENTS.register(name)(Measurement(name, about, unit, source, needs, compute))
        return compute

    return add


def log_mean(values: Floats, where: Bools) -> float:
    """Return log10 of the mean over an area; NaN if the area is empty.

    A thousandth of a gray level is added, because flat areas have no detail.
    """
    return float(np.log10(values[where].mean() + 1e-3)) if where.any() else float("nan")


def log_ratio(values: Floats, inside: Bools, outside: Bools) -> float:
    """Return log10 of (mean inside / mean outside); 0 where they are equal."""
    return log_mean(values, inside) - log_mean(values, outside)


MASKS = "forgery mask; reals by the mask of their pair"
ELLIPSE = "central ellipse; no masks"


def mask_rows(dataset: Dataset) -> NDArray[np.int64] | None:
    """Find the mask that is the region of each image.

    Parameters
    ----------
    dataset : Dataset
        Dataset with one part.

    Returns
    -------
    numpy.ndarray or None
        Shape (n,): position of the row whose mask is used, which is the image itself if it has a
        mask or is fake, else the fake that it is paired with. None if any image has no mask by
        this rule: then the central ellipse is used for all images of the dataset, because two
        rules for two labels would make any measurement separate them.
    """
    table = dataset.samples.table
    masked = pd.Series(np.arange(len(table)), index=table["sample"])
    masked = masked[(table["mask"] != "").to_numpy(dtype=bool)]
    own = (table["mask"] != "") | (table["label"] == 1)
    names = table["sample"].where(own, table["pair"] if "pair" in table else "")
    found = masked.reindex(names.fillna("").astype(str))
    return None if found.isna().any() else found.to_numpy().astype(np.int64)


def region_of(mask: NDArray[np.uint8] | None, height: int, width: int) -> Bools:
    """Return the region of an image from its mask; without a mask, the central ellipse.

    A mask of another size is resized to the image by nearest neighbor.
    """
    if mask is None:
        return central_ellipse(height, width)
    if mask.shape != (height, width):
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        mask = np.asarray(resized)
    return np.asarray(mask > 127)
