"""Measurements of residuals: SRM, neighboring pixels, and noise."""

from __future__ import annotations

import cv2
import numpy as np

from probe.artifacts.measurements import Floats, Picture, log_mean, log_ratio, measurement

__all__ = ["nearest_residual", "srm_residual"]

SRM = "Fridrich and Kodovský 2012, doi:10.1109/TIFS.2012.2190402"
NPR = "Tan et al. 2024, arXiv:2312.10461"
IMMERKAER = "Immerkær 1996, doi:10.1006/cviu.1996.0060"

#: Square 5 × 5 predictor of the spatial rich model (by Ker and Böhme), with sum zero.
KERNEL = (
    np.array(
        [
            [-1, 2, -2, 2, -1],
            [2, -6, 8, -6, 2],
            [-2, 8, -12, 8, -2],
            [2, -6, 8, -6, 2],
            [-1, 2, -2, 2, -1],
        ],
        dtype=np.float32,
    )
    / 12
)

#: Difference of two Laplacians: does not respond to planes and to edges along the axes.
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


def srm_residual(picture: Picture) -> Floats:
    """Return the residual of each pixel, predicted from 24 neighbors, in gray levels."""
    return np.asarray(cv2.filter2D(picture.gray, cv2.CV_32F, KERNEL))


@measurement("srm_energy", "size of the SRM residual", "log10 gray levels", SRM)
def srm_energy(picture: Picture) -> float:
    """Root mean square of the 5 × 5 residual."""
    return float(np.log10(np.sqrt(np.mean(srm_residual(picture) ** 2)) + 1e-3))


@measurement("srm_tails", "heaviness of the SRM residual's tails", "log10 kurtosis", SRM)
def srm_tails(picture: Picture) -> float:
    """Kurtosis of the 5 × 5 residual; 0.477 (a kurtosis of 3) for Gaussian noise."""
    residual = srm_residual(picture).astype(np.float64)
    spread = np.mean(residual**2)
    return float(np.log10(np.mean(residual**4) / spread**2)) if spread > 1e-9 else float("nan")


@measurement("srm_ratio", "SRM residual inside against outside", "log10 ratio", SRM, "region")
def srm_ratio(picture: Picture) -> float:
    """Mean absolute 5 × 5 residual inside, divided by that outside."""
    return log_ratio(np.abs(srm_residual(picture)), picture.within, picture.beyond)


def nearest_residual(gray: Floats, row: int, column: int) -> Floats:
    """Return absolute differences of pixels from the first pixel of their 2 × 2 cell.

    Parameters
    ----------
    gray : numpy.ndarray
        Shape (height, width).
    row, column : int
        0 or 1: origin of the cells.

    Returns
    -------
    numpy.ndarray
        The same shape, absolute differences × 4 / 3, so that the mean over a cell is that over its
        three other pixels; NaN in cells cut by the image border.
    """
    out = np.full_like(gray, np.nan)
    height, width = (
        (side - start) // 2 * 2 for side, start in zip(gray.shape, (row, column), strict=True)
    )
    part = gray[row : row + height, column : column + width]
    first = part[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    out[row : row + height, column : column + width] = np.abs(part - first) * (4 / 3)
    return out


def _cells(picture: Picture) -> list[Floats]:
    return [nearest_residual(picture.gray, row, column) for row in (0, 1) for column in (0, 1)]


@measurement("npr", "differences of neighbors in cells of 2 × 2 pixels", "gray levels", NPR)
def npr(picture: Picture) -> float:
    """Mean difference at the grid phase where it is smallest; 0 after nearest upsampling."""
    return float(min(np.nanmean(cell) for cell in _cells(picture)))


@measurement(
    "npr_ratio",
    "differences of neighbors in 2 × 2 cells, inside relative to outside",
    "log10 ratio",
    NPR,
    "region",
)
def npr_ratio(picture: Picture) -> float:
    """Mean difference inside, divided by that outside, at the phase with the smallest inside."""
    cells = _cells(picture)
    least = min(cells, key=lambda cell: float(np.nanmean(cell[picture.within])))
    known = np.isfinite(least)
    return log_ratio(least, picture.within & known, picture.beyond & known)


@measurement(
    "noise_level",
    "noise, from the median of diagonal differences",
    "gray levels",
    "Donoho and Johnstone 1994, doi:10.1093/biomet/81.3.425",
)
def noise_level(picture: Picture) -> float:
    """Deviation of the noise: median absolute diagonal Haar coefficient / 0.6745."""
    height, width = (side // 2 * 2 for side in picture.gray.shape)
    gray = picture.gray[:height, :width]
    diagonal = (gray[::2, ::2] - gray[1::2, ::2] - gray[::2, 1::2] + gray[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / 0.6745)


def immerkaer(picture: Picture) -> Floats:
    """Return the absolute response whose mean estimates the deviation of Gaussian noise."""
    response = cv2.filter2D(picture.gray, cv2.CV_32F, LAPLACIANS)
    return np.asarray(np.abs(response) * np.float32(np.sqrt(np.pi / 2) / 6))


@measurement("noise_ratio", "noise inside against outside", "log10 ratio", IMMERKAER, "region")
def noise_ratio(picture: Picture) -> float:
    """Noise inside by Immerkær's estimate, divided by that outside."""
    return log_ratio(immerkaer(picture), picture.within, picture.beyond)


@measurement(
    "sharpness",
    "sharpness of the whole image",
    "log10 variance of the Laplacian",
    "Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548",
)
def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian."""
    return log_mean(picture.laplacian**2, np.ones(picture.gray.shape, dtype=bool))


@measurement(
    "sharpness_ratio",
    "sharpness inside against outside",
    "log10 ratio",
    "Pech-Pacheco et al. 2000, doi:10.1109/ICPR.2000.903548",
    "region",
)
def sharpness_ratio(picture: Picture) -> float:
    """Mean squared Laplacian inside, divided by that outside."""
    return log_ratio(picture.laplacian**2, picture.within, picture.beyond)
