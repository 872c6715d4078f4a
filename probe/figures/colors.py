"""Colors of maps: diverging and sequential, both of a lightness that only ever rises.

The usual diverging maps end dark, or bright, at both ends: on gray paper, plus and minus look the
same. Here lightness rises from the negative end through gray at zero to the positive end, in equal
steps of OKLab's lightness (Ottosson 2020), so that a gray level says the same as the color.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, ListedColormap, to_rgb
from matplotlib.typing import ColorType
from numpy.typing import NDArray

__all__ = [
    "PERCENTILE",
    "colors_of",
    "contrast",
    "limit_of",
    "luminance",
    "number",
    "overlay",
    "text_on",
    "to_oklab",
]

#: A color as matplotlib takes it, or as red, green and blue in [0, 1].
Color = ColorType | NDArray[Any]

#: The percentile of magnitudes at which colors end: one hot pixel would wash out all else.
PERCENTILE = 99.5

#: OKLab of the negative end, of zero, and of the positive end, each with a stop half-way:
#: purple, gray, orange to yellow. Lightness is in equal steps.
_STOPS = np.array(
    [
        [0.24, 0.060, -0.110],
        [0.42, 0.070, -0.130],
        [0.60, 0.0, 0.0],
        [0.78, 0.055, 0.125],
        [0.96, -0.025, 0.115],
    ]
)

#: From OKLab to the cube roots of cone responses, and from cones to linear sRGB.
_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)

#: Images under an overlay are gray between these levels, so that both ends stand out from them.
_GRAYS = (0.30, 0.78)
#: What covers the image at the end of the scale.
_OPACITY = 0.9


@cache
def colors_of(signed: bool) -> Colormap:
    """Return the color map: diverging for signed maps, sequential for magnitudes.

    Parameters
    ----------
    signed : bool
        Whether the sign means something. If so, dark purple is the negative end, gray zero and
        light yellow the positive end; else cividis, dark blue for zero.
    """
    if not signed:
        return mpl.colormaps["cividis"]
    at = np.linspace(0, 1, len(_STOPS))
    steps = np.linspace(0, 1, 257)
    lab = np.stack([np.interp(steps, at, stop) for stop in _STOPS.T], axis=-1)
    colors = ListedColormap(_from_oklab(lab), name="probe-diverging")
    return colors.with_extremes(bad="white")


def _from_oklab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB in [0, 1], clipped to what screens show."""
    linear = ((lab @ _CONES.T) ** 3 @ _LINEAR.T).clip(0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(coded)


def _to_linear(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    coded = np.asarray(colors, dtype=np.float64)[..., :3]
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def to_oklab(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return OKLab of sRGB colors, shape (..., 3): lightness in [0, 1], green–red, blue–yellow."""
    cones = _to_linear(colors) @ np.linalg.inv(_LINEAR).T
    return np.asarray(np.cbrt(cones) @ np.linalg.inv(_CONES).T)


def luminance(colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what gray printing leaves of sRGB colors: Rec. 709 luminance in [0, 1]."""
    return np.asarray(_to_linear(colors) @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one: Color, other: Color) -> float:
    """Return the contrast of two colors as WCAG 2 defines it, 1 (none) to 21 (black on white)."""
    low, high = sorted(
        float(luminance(np.array(to_rgb(cast(ColorType, color))))) for color in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def text_on(color: Color) -> str:
    """Return the color of text that lies on this one: black or white, at a contrast above 4.5."""
    return max(("black", "white"), key=lambda text: contrast(text, color))


def limit_of(maps: Iterable[NDArray[Any]]) -> float:
    """Return where the colors of these maps end: a percentile of their magnitudes, see above.

    Parameters
    ----------
    maps : iterable of numpy.ndarray
        Of any shape; what is not finite does not count.

    Returns
    -------
    float
        Positive; 1 for maps that are 0 everywhere.
    """
    magnitudes = np.concatenate([np.abs(one[np.isfinite(one)]).ravel() for one in maps])
    if not magnitudes.size:
        return 1.0
    return float(np.percentile(magnitudes, PERCENTILE)) or float(magnitudes.max()) or 1.0


def number(value: float, sign: bool = False) -> str:
    """Write a number at a color bar: two digits, a true minus, no leading zeros in exponents."""
    text = f"{abs(value):.2g}"
    if "e" in text:
        digits, power = text.split("e")
        text = f"{digits}e{int(power)}"
    mark = "-" if value < 0 else "+" if sign and value > 0 else ""
    return (mark + text).replace("-", "−")


def overlay(
    image: NDArray[Any] | None, values: NDArray[Any], limit: float, signed: bool
) -> NDArray[np.float64]:
    """Lay a map over its image: the image gray and of low contrast, opacity by magnitude.

    Parameters
    ----------
    image : numpy.ndarray or None
        Shape (h, w, 3), 0 to 255; None for the gray that a color bar lies on.
    values : numpy.ndarray
        Shape (h, w), of the same size as the image.
    limit : float
        Magnitude at which colors and opacity end.
    signed : bool
        As for `colors_of`.

    Returns
    -------
    numpy.ndarray
        Shape (h, w, 3), in [0, 1].
    """
    share = np.nan_to_num(np.asarray(values, dtype=np.float64) / limit).clip(-1, 1)
    colors = colors_of(signed)((share + 1) / 2 if signed else share)[..., :3]
    low, high = _GRAYS
    if image is None:
        gray = np.full(share.shape, (low + high) / 2)
    else:
        gray = low + (high - low) * (np.asarray(image) @ np.array([0.299, 0.587, 0.114])) / 255
    opacity = _OPACITY * np.abs(share)[..., None]
    return np.asarray(opacity * colors + (1 - opacity) * gray[..., None]).clip(0, 1)
