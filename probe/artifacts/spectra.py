"""Measurements of the spectrum: fall-off, bands, and the peaks of upsampling grids."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from probe.artifacts.measurements import Picture, measurement

__all__ = ["FREQUENCIES", "azimuthal_power"]

#: Frequencies at which spectra of all sizes are given, cycles a pixel.
FREQUENCIES: NDArray[np.float64] = np.arange(1, 65) / 128

#: Half the side of the square of frequencies that a peak is compared with, and of its middle,
#: which the window smears the peak over.
AROUND, SMEARED = 6, 3


@lru_cache(maxsize=8)
def _window(height: int, width: int) -> NDArray[np.float64]:
    """Hann's window: without it the frame's edges would draw a cross over the spectrum."""
    return np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> NDArray[np.int64]:
    """Find the nearest of `FREQUENCIES` for each of the half plane's; −1 where there is none."""
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    number = np.rint(radius * 128).astype(np.int64) - 1
    return np.where(number < len(FREQUENCIES), number, -1)


def azimuthal_power(picture: Picture) -> NDArray[np.float64]:
    """Average the power spectrum over directions.

    Parameters
    ----------
    picture : Picture
        Of any size; its gray image is taken less its mean, under Hann's window.

    Returns
    -------
    numpy.ndarray
        Shape (64,), log10 of the mean squared amplitude a pixel at `FREQUENCIES`. An image of
        fewer than 128 pixels has no value at some of them: those are interpolated between
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
    "fall of the power spectrum beyond 0.25 cycles a pixel",
    "decades of power a decade of frequency",
    "Durall et al. 2020, arXiv:2003.01826",
)
def spectral_slope(picture: Picture) -> float:
    """Fit a line to log power against log frequency from 0.25 to 0.5 cycles a pixel."""
    high = FREQUENCIES >= 0.25
    return float(np.polyfit(np.log10(FREQUENCIES[high]), azimuthal_power(picture)[high], 1)[0])


@lru_cache(maxsize=8)
def _dct_radius(height: int, width: int) -> NDArray[np.float64]:
    """Frequency of each DCT coefficient, cycles a pixel."""
    rows, columns = np.arange(height) / (2 * height), np.arange(width) / (2 * width)
    return np.hypot(rows[:, None], columns[None, :])


def _dct_share(picture: Picture, low: float, high: float) -> float:
    """Decimal logarithm of the share of a band in the energy of all coefficients but the mean."""
    energy = fft.dctn(picture.gray.astype(np.float64), norm="ortho") ** 2
    energy[0, 0] = 0
    radius = _dct_radius(*energy.shape)
    band = energy[(radius >= low) & (radius < high)].sum()
    return float(np.log10((band + 1e-9) / (energy.sum() + 1e-9)))


FRANK = "Frank et al. 2020, arXiv:2003.08685"


@measurement("dct_mid", "energy of the DCT from 0.125 to 0.25 cycles a pixel", "log10 share", FRANK)
def dct_mid(picture: Picture) -> float:
    """Share of the middle band in the DCT of the whole image."""
    return _dct_share(picture, 0.125, 0.25)


@measurement("dct_high", "energy of the DCT beyond 0.25 cycles a pixel", "log10 share", FRANK)
def dct_high(picture: Picture) -> float:
    """Share of the high band in the DCT of the whole image."""
    return _dct_share(picture, 0.25, 1.0)


def _peak(picture: Picture, places: tuple[tuple[int, int], ...]) -> float:
    """Amplitude at multiples of a quarter cycle a pixel over that around, the largest of several.

    The region's soft mask is the window, and gray levels are taken relative to their
    surroundings, so that no strong edge outside hides the pattern.
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
    """Peak at half a cycle a pixel, along rows, columns or both."""
    return _peak(picture, ((2, 2), (2, 0), (0, 2)))


@measurement(
    "grid_period_4",
    "peak of a grid of four pixels inside, as a checkerboard of 2 × 2 has it",
    "amplitude over surroundings",
    GRID,
    "region",
)
def grid_period_4(picture: Picture) -> float:
    """Peak at a quarter cycle a pixel along both axes.

    Not along one: there the blocks of JPEG have a harmonic of theirs.
    """
    return _peak(picture, ((1, 1), (1, 3)))
