"""Measurements of JPEG compression: block borders, quality and ghosts."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

from probe.artifacts.measurements import Bools, Picture, measurement

__all__ = ["QUALITIES", "block_share", "estimated_quality", "ghost_curve"]

GHOSTS = "Farid 2009, doi:10.1109/TIFS.2008.2012215"

#: JPEG qualities tested.
QUALITIES: NDArray[np.int64] = np.arange(50, 100)

#: DCT coefficients of a block that are used: low ones, which most qualities do not all set to 0.
LOW = [(u, v) for u in range(6) for v in range(6) if 0 < u + v < 6]

#: Maximum of a ghost curve's minimum for a quality to be detected. By chance few blocks reach 0.85,
#: and qualities from 97 are hardly lower.
DIP = 0.7


def _tables() -> NDArray[np.float32]:
    """Return quantization steps of the low luminance coefficients, (qualities, coefficients).

    They are read from Pillow's encoder, which follows the Independent JPEG Group.
    """
    out = []
    for quality in QUALITIES:
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer) as image:
            table = np.asarray(image.quantization[0]).reshape(8, 8)  # type: ignore[attr-defined]
        out.append([table[u, v] for u, v in LOW])
    return np.asarray(out, dtype=np.float32)


TABLES = _tables()


def _coefficients(picture: Picture, shift: int) -> NDArray[np.float32]:
    """Return low DCT coefficients of 8 × 8 blocks, (block rows, block columns, coefficients)."""
    gray = picture.gray[shift:, shift:] - 128
    rows, columns = gray.shape[0] // 8, gray.shape[1] // 8
    blocks = gray[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    spectra = fft.dctn(blocks, axes=(2, 3), norm="ortho")
    return np.stack([spectra[..., u, v] for u, v in LOW], axis=-1)


def _off(coefficients: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean squared distance to multiples of each quality's steps, (qualities,)."""
    flat = coefficients.reshape(1, -1, len(LOW))
    steps = TABLES[:, None, :]
    distance = flat - steps * np.rint(flat / steps)
    return np.asarray(np.mean(distance**2, axis=(1, 2)), dtype=np.float64)


def block_share(inside: Bools, shift: int) -> NDArray[np.float64]:
    """Return the share of each 8 × 8 block inside an area, shape (block rows, block columns)."""
    part = inside[shift:, shift:]
    rows, columns = part.shape[0] // 8, part.shape[1] // 8
    return np.asarray(part[: 8 * rows, : 8 * columns].reshape(rows, 8, columns, 8).mean((1, 3)))


def ghost_curve(picture: Picture, where: Bools, share: float = 1.0) -> NDArray[np.float64]:
    """Return how well an area fits a compression by each quality (lower is better).

    Recompression by a quality moves the DCT coefficients, up to rounding, to multiples of its
    steps; the distance measures the change. As it grows with the steps, it is divided by the
    distance off the block grid, where compression leaves no trace.

    Parameters
    ----------
    picture : Picture
        The image, with the block grid it had when compressed.
    where : numpy.ndarray
        Shape (height, width), the area.
    share : float, default 1
        Minimum share of a block inside the area for the block to be used.

    Returns
    -------
    numpy.ndarray
        Shape (50,), by `QUALITIES`: about 1 without a trace, lower at qualities that the area was
        compressed by; NaN if it holds no block.
    """
    on, off = block_share(where, 0) >= share, block_share(where, 4) >= share
    if not (on.any() and off.any()):
        return np.full(len(QUALITIES), np.nan)
    noise = 0.1  # Variance of rounding to 8 bits; keeps the ratio finite for flat images.
    aligned, shifted = (
        _off(_coefficients(picture, shift)[kept]) for shift, kept in ((0, on), (4, off))
    )
    return np.asarray((aligned + noise) / (shifted + noise))


def estimated_quality(picture: Picture, where: Bools) -> float:
    """Estimate the JPEG quality of an area; 100 if no trace of compression is found.

    Returns
    -------
    float
        50 to 96 on the scale of the Independent JPEG Group, or 100; NaN if the area holds no
        block.
    """
    curve = ghost_curve(picture, where)
    if not np.isfinite(curve).all():
        return float("nan")
    best = int(np.argmin(curve))
    return float(QUALITIES[best]) if curve[best] < DIP else 100.0


@measurement(
    "jpeg_quality",
    "JPEG quality, from the quantization tables, else estimated from ghosts",
    "quality, 1 to 100",
    GHOSTS,
)
def jpeg_quality(picture: Picture) -> float:
    """Quality from the quantization tables of the file, else estimated."""
    if np.isfinite(picture.quality):
        return picture.quality
    found = estimated_quality(picture, np.ones(picture.gray.shape, dtype=bool))
    return found if np.isfinite(found) else 100.0


@measurement(
    "jpeg_ghost",
    "difference in JPEG compression between inside and outside",
    "mean difference of curves",
    GHOSTS,
    "region",
)
def jpeg_ghost(picture: Picture) -> float:
    """Mean absolute difference of ghost curves: blocks at least half inside, and blocks outside."""
    inner = ghost_curve(picture, picture.inside, 0.5)
    return float(np.mean(np.abs(inner - ghost_curve(picture, ~picture.inside))))


@measurement(
    "blockiness",
    "steps at the borders of 8 × 8 blocks",
    "log10 ratio",
    "Fan and de Queiroz 2003, doi:10.1109/TIP.2002.807361",
)
def blockiness(picture: Picture) -> float:
    """Mean step across block borders divided by the mean step within blocks; 0 without blocks."""
    if min(picture.gray.shape) < 9:
        return float("nan")
    border, within = [], []
    for axis in (0, 1):
        step = np.abs(np.diff(picture.gray, axis=axis)).mean(axis=1 - axis)
        at_border = np.arange(len(step)) % 8 == 7
        border.append(step[at_border].mean())
        within.append(step[~at_border].mean())
    return float(np.log10((np.mean(border) + 1e-3) / (np.mean(within) + 1e-3)))
