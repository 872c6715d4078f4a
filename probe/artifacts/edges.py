"""Measurements at the edge of the region and inside it: seams, rims, color, detail, contrast."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from probe.artifacts.measurements import LUMA, Floats, Picture, log_mean, measurement

__all__ = ["OFFSETS", "profiles"]

XRAY = "Li et al. 2020 (Face X-ray), arXiv:1912.13458"

#: Sampling depths across the edge, in pixels; positive inside.
OFFSETS: NDArray[np.float32] = np.arange(-8, 8.5, 0.5, dtype=np.float32)

#: Maps log RGB to log red / green and log blue / green.
OPPONENT = np.array([[1, 0], [-1, -1], [0, 1]], dtype=np.float32)

#: Half the width of a line that counts as a seam, in pixels.
LINE = 1.5


def profiles(picture: Picture) -> Floats:
    """Return profiles of log luma across the region's edge.

    Parameters
    ----------
    picture : Picture
        Picture with a region.

    Returns
    -------
    numpy.ndarray
        Shape (outline points, 33), at depths `OFFSETS` along the normal.
    """
    inside = picture.inside.astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    x, y = np.concatenate(outlines)[:, 0].T
    soft = cv2.GaussianBlur(picture.depth, (0, 0), 2)
    across, down = (cv2.Sobel(soft, cv2.CV_32F, *way)[y, x] for way in ((1, 0), (0, 1)))
    length = np.hypot(across, down) + 1e-9
    at_x = x[:, None] + (across / length)[:, None] * OFFSETS
    at_y = y[:, None] + (down / length)[:, None] * OFFSETS
    luma = np.asarray(picture.logs @ LUMA)
    where = at_x.astype(np.float32), at_y.astype(np.float32)
    return np.asarray(cv2.remap(luma, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _at(profile: Floats, depth: float) -> Floats:
    return np.asarray(profile[:, int(round((depth - OFFSETS[0]) * 2))])


@measurement(
    "seam_line",
    "line of constant brightness along the edge",
    "log intensity",
    XRAY,
    "region",
)
def seam_line(picture: Picture) -> float:
    """Absolute median, over the outline, of a point minus its two neighbors across the edge.

    The median keeps what is the same all around and removes features that cross the edge. The line
    can be up to two pixels inside, so the largest value over depths is taken.
    """
    profile = profiles(picture)
    ridge = [
        _at(profile, o) - (_at(profile, o - LINE) + _at(profile, o + LINE)) / 2
        for o in (0, 0.5, 1, 1.5, 2)
    ]
    return float(max(abs(np.median(one)) for one in ridge))


@measurement(
    "seam_gradient",
    "steps across the edge relative to those beside it",
    "log10 ratio",
    XRAY,
    "region",
)
def seam_gradient(picture: Picture) -> float:
    """Median gradient along the normal at the edge, divided by that beside it."""
    step = np.abs(np.diff(profiles(picture), axis=1))
    depth = (OFFSETS[1:] + OFFSETS[:-1]) / 2
    edge, beside = np.abs(depth - 0.5) < 2, np.abs(depth - 0.5) > 4
    return float(np.log10((np.median(step[:, edge]) + 1e-4) / (np.median(step[:, beside]) + 1e-4)))


@measurement(
    "rim_detail",
    "fine detail on the rim relative to the core and the outside",
    "log10 ratio",
    XRAY,
    "region",
)
def rim_detail(picture: Picture) -> float:
    """Fine over coarse detail on the rim, minus the mean of the same in the core and the ring.

    Fine detail is the band between Gaussians of 0.6 and 0.85 pixels, coarse detail that between
    1.2 and 1.7. A loss over the whole region also lowers the core, so that it counts by half.
    """
    rim, core, ring = (
        log_mean(picture.bands[1], where) - log_mean(picture.bands[3], where)
        for where in (picture.rim, picture.core, picture.ring)
    )
    return float(rim - (core + ring) / 2)


@measurement(
    "color_mismatch",
    "color cast inside relative to the skin just outside",
    "log intensity",
    "Li et al. 2020 (Face X-ray), arXiv:1912.13458; McCloskey and Albright 2018, arXiv:1812.08247",
    "region",
)
def color_mismatch(picture: Picture) -> float:
    """Distance between the median chromaticity of the core and that just outside.

    Of the ring outside, only the half with the nearest chromaticity is used, to exclude hair and
    background. Brightness is ignored, because light from one side differs between any two areas.
    """
    chroma = picture.logs @ OPPONENT
    inner = np.median(chroma[picture.core], axis=0)
    ring = chroma[picture.ring]
    if not len(ring):
        return float("nan")
    away = np.hypot(*(ring - inner).T)
    return float(np.hypot(*(np.median(ring[away <= np.median(away)], axis=0) - inner)))


@measurement(
    "fine_detail",
    "finest detail inside relative to coarser detail; decoders lose it",
    "log10 ratio",
    "Durall et al. 2020, arXiv:2003.01826",
    "region",
)
def fine_detail(picture: Picture) -> float:
    """Mean absolute third difference, divided by the band between Gaussians of 1.2 and 1.7 pixels.

    This measures the spectral fall-off within the region by filters, which need no square area. The
    ratio cancels light and contrast. Grids of two or four pixels do not contribute.
    """
    return log_mean(picture.fine, picture.within) - log_mean(picture.bands[3], picture.within)


@measurement(
    "lower_detail",
    "fine detail in the lower half of the region relative to the upper half",
    "log10 ratio",
    "Thies et al. 2016 (Face2Face), doi:10.1109/CVPR.2016.262",
    "region",
)
def lower_detail(picture: Picture) -> float:
    """Band between Gaussians of 0.6 and 0.85 pixels, lower half divided by upper half.

    Methods that transfer an expression render mouth and chin anew.
    """
    rows = np.arange(picture.gray.shape[0])[:, None]
    below = rows >= np.nonzero(picture.inside)[0].mean()
    band = picture.bands[1]
    lower, upper = picture.within & below, picture.within & ~below
    return log_mean(band, lower) - log_mean(band, upper)


CONTRAST = "Peli 1990, doi:10.1364/JOSAA.7.002032"


@measurement("contrast", "contrast inside", "log10 of deviation over mean", CONTRAST, "region")
def contrast(picture: Picture) -> float:
    """Deviation of gray levels inside, divided by their mean."""
    gray = picture.gray[picture.within]
    return float(np.log10((gray.std() + 1e-3) / (gray.mean() + 1e-3)))


@measurement("contrast_ratio", "contrast inside vs. outside", "log10 ratio", CONTRAST, "region")
def contrast_ratio(picture: Picture) -> float:
    """Deviation of gray levels inside, divided by that outside."""
    inner, outer = (picture.gray[where].std() for where in (picture.within, picture.beyond))
    return float(np.log10((inner + 1e-3) / (outer + 1e-3)))


@measurement(
    "overshoot",
    "fine relative to coarser detail at the strongest edges inside (halo)",
    "log10 ratio of powers",
    "Krasula et al. 2017, doi:10.1109/TIP.2017.2651374",
    "region",
)
def overshoot(picture: Picture) -> float:
    """Power between Gaussians of 0.6 and 0.85 pixels, divided by that between 1.2 and 1.7.

    Only where coarse detail is in the top fifth inside, because sharpening that spares weak detail
    acts there.
    """
    fine, coarse = (picture.bands[band][picture.within] for band in (1, 3))
    if not len(coarse):
        return float("nan")
    strong = coarse >= np.percentile(coarse, 80)
    power = [float(np.mean(band[strong] ** 2)) + 1e-6 for band in (fine, coarse)]
    return float(np.log10(power[0] / power[1]))
