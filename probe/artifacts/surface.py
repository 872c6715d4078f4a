"""Measurements of what lies inside the region: detail, texture, contrast, overshoot."""

from __future__ import annotations

import numpy as np

from probe.artifacts.measurements import log_mean, measurement
from probe.artifacts.picture import Picture

__all__: list[str] = []


@measurement(
    "fine_detail",
    "the finest detail inside against coarser: what a decoder does not give back",
    "log10 ratio",
    "Durall et al. 2020, arXiv:2003.01826",
    "region",
)
def fine_detail(picture: Picture) -> float:
    """Mean absolute third difference over that between Gaussians of 1.2 and 1.7 pixels.

    The fall-off of the spectrum within the region, by filters, which need no square. A ratio, so
    that light and contrast cancel. A grid of two or four pixels does not count.
    """
    return log_mean(picture.fine, picture.within) - log_mean(picture.bands[3], picture.within)


@measurement(
    "lower_detail",
    "fine detail in the lower half of the region against the upper",
    "log10 ratio",
    "Thies et al. 2016 (Face2Face), doi:10.1109/CVPR.2016.262",
    "region",
)
def lower_detail(picture: Picture) -> float:
    """Mean absolute difference of Gaussians 0.6 and 0.85 pixels wide, below over above.

    Methods that drive an expression render mouth and chin anew.
    """
    rows = np.arange(picture.gray.shape[0])[:, None]
    below = rows >= np.nonzero(picture.inside)[0].mean()
    band = picture.bands[1]
    lower, upper = picture.within & below, picture.within & ~below
    return log_mean(band, lower) - log_mean(band, upper)


CONTRAST = "Peli 1990, doi:10.1364/JOSAA.7.002032"


@measurement("contrast", "contrast inside", "log10 of deviation over mean", CONTRAST, "region")
def contrast(picture: Picture) -> float:
    """Deviation of gray levels inside over their mean."""
    gray = picture.gray[picture.within]
    return float(np.log10((gray.std() + 1e-3) / (gray.mean() + 1e-3)))


@measurement("contrast_ratio", "contrast inside against outside", "log10 ratio", CONTRAST, "region")
def contrast_ratio(picture: Picture) -> float:
    """Deviation of gray levels inside over that outside."""
    inner, outer = (picture.gray[where].std() for where in (picture.within, picture.beyond))
    return float(np.log10((inner + 1e-3) / (outer + 1e-3)))


@measurement(
    "overshoot",
    "fine against coarser detail at the strongest edges inside: a halo",
    "log10 ratio of powers",
    "Krasula et al. 2017, doi:10.1109/TIP.2017.2651374",
    "region",
)
def overshoot(picture: Picture) -> float:
    """Power between Gaussians of 0.6 and 0.85 pixels over that between 1.2 and 1.7.

    Only where the coarser detail is among the largest fifth inside: sharpening that spares weak
    detail acts there.
    """
    fine, coarse = (picture.bands[band][picture.within] for band in (1, 3))
    if not len(coarse):
        return float("nan")
    strong = coarse >= np.percentile(coarse, 80)
    power = [float(np.mean(band[strong] ** 2)) + 1e-6 for band in (fine, coarse)]
    return float(np.log10(power[0] / power[1]))
