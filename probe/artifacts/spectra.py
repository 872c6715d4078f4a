"""Measurements of the spectrum: fall-off, bands, and peaks of upsampling grids."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from probe.artifacts.measurements import Picture, measurement

__all__ = ["FREQUENCIES", "azimuthal_power"]

#: Frequencies of all spectra, in cycles per pixel.
FREQUENCIES: NDArray[np.float64] = np.arange(1, 65) / 128

#: Half the side of the square of frequencies around a peak, and of its middle, which the window
#: smears the peak over.
AROUND, SMEARED = 6, 3


@lru_cache(maxsize=8)
def _window(height: int, width: int) -> NDArray[np.float64]:
    """Return Hann's window, which prevents a cross in the spectrum from the image borders."""
    return np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> NDArray[np.int64]:
    """Return the nearest of `FREQUENCIES` for each point of the half plane; −1 beyond them."""
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    number = np.rint(radius * 128).astype(np.int64) - 1
    return np.where(number < len(FREQUENCIES), number, -1)


def azimuthal_power(picture: Picture) -> NDArray[np.float64]:
    """Return the power spectrum averaged over directions.

    Parameters
    ----------
    picture : Picture
        Picture of any size; its gray image is used without its mean, under Hann's window.

    Returns
    -------
    numpy.ndarray
        Shape (64,), log10 of the mean squared amplitude per pixel at `FREQUENCIES`. For images
        smaller than 128 pixels some frequencies have no value; they are interpolated between
        neighbors.
    """
    gray = picture.gray.astype(np.float64)
    window = _window(*gray.shape)
    amplitude = fft.rfft2((gray - gray.mean()) * window)
    power, ring = np.abs(amplitude) ** 2 / (window**2).sum(), _rings(*gray.shape)
    kept = ring >= 0
    count = np.bincount(ring[kept], minlength=len(FREQUENCIES))
    total = np.bincount(ring[kept], power[kept], minlength=len(FREQUENCIES))
    there = count > 0
    level = np.log10(total[there] / count[there] + 1e-12)
    return np.asarray(np.interp(FREQUENCIES, FREQUENCIES[there], level))


@measurement(
    "spectral_slope",
    "fall-off of the power spectrum beyond 0.25 cycles per pixel",
    "decades of power per decade of frequency",
    "Durall et al. 2020, arXiv:2003.01826",
)
def spectral_slope(picture: Picture) -> float:
    """Slope of log power over log frequency from 0.25 to 0.5 cycles per pixel."""
    high = FREQUENCIES >= 0.25
    return float(np.polyfit(np.log10(FREQUENCIES[high]), azimuthal_power(picture)[high], 1)[0])


@lru_cache(maxsize=8)
def _dct_radius(height: int, width: int) -> NDArray[np.float64]:
    """Return the frequency of each DCT coefficient, in cycles per pixel."""
    rows, columns = np.arange(height) / (2 * height), np.arange(width) / (2 * width)
    return np.hypot(rows[:, None], columns[None, :])


def _dct_share(picture: Picture, low: float, high: float) -> float:
    """Return log10 of a band's share of the DCT energy, without the constant coefficient."""
    energy = fft.dctn(picture.gray.astype(np.float64), norm="ortho") ** 2
    energy[0, 0] = 0
    radius = _dct_radius(*energy.shape)
    band = energy[(radius >= low) & (radius < high)].sum()
    return float(np.log10((band + 1e-9) / (energy.sum() + 1e-9)))


FRANK = "Frank et al. 2020, arXiv:2003.08685"


@measurement("dct_mid", "DCT energy from 0.125 to 0.25 cycles per pixel", "log10 share", FRANK)
def dct_mid(picture: Picture) -> float:
    """Share of the middle band in the DCT of the whole image."""
    return _dct_share(picture, 0.125, 0.25)


@measurement("dct_high", "DCT energy beyond 0.25 cycles per pixel", "log10 share", FRANK)
def dct_high(picture: Picture) -> float:
    """Share of the high band in the DCT of the whole image."""
    return _dct_share(picture, 0.25, 1.0)


def _peak(picture: Picture, places: tuple[tuple[int, int], ...]) -> float:
    """Return the largest peak over its surroundings, at multiples of a quarter cycle per pixel.

    The window is the smoothed mask of the region, and gray levels are relative to their
    surroundings, so that strong edges outside do not hide the pattern.
    """
    rows, columns = (side // 4 * 4 for side in picture.gray.shape)
    soft = ndimage.gaussian_filter(picture.inside.astype(np.float32), 2)
    detail = (picture.gray - picture.smooth[4]) / np.maximum(picture.smooth[5], 8)
    amplitude = np.abs(fft.fft2((detail * soft)[:rows, :columns]))
    steps = np.arange(-AROUND, AROUND + 1)
    apart = np.maximum(np.abs(steps)[:, None], np.abs(steps)[None, :]) > SMEARED
    found = []
    for r, c in places:
        y, x = (r * rows // 4 + steps) % rows, (c * columns // 4 + steps) % columns
        square = amplitude[np.ix_(y, x)]
        around = np.sqrt(np.mean(square[apart] ** 2))
        found.append(square[AROUND, AROUND] / max(float(around), 1e-9))
    return float(max(found))


GRID = "Odena et al. 2016, doi:10.23915/distill.00003; Zhang et al. 2019, arXiv:1907.06515"


@measurement(
    "grid_period_2",
    "peak of a grid of two pixels inside",
    "amplitude over surroundings",
    GRID,
    "region",
)
def grid_period_2(picture: Picture) -> float:
    """Peak at half a cycle per pixel, along rows, columns or both."""
    return _peak(picture, ((2, 2), (2, 0), (0, 2)))


@measurement(
    "grid_period_4",
    "peak of a grid of four pixels inside, as of a checkerboard of 2 × 2",
    "amplitude over surroundings",
    GRID,
    "region",
)
def grid_period_4(picture: Picture) -> float:
    """Peak at a quarter cycle per pixel along both axes.

    Peaks along one axis are not used, because JPEG blocks have a harmonic there.
    """
    return _peak(picture, ((1, 1), (1, 3)))
