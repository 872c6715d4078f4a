"""Colors of maps: diverging and sequential color maps with monotonic lightness.

Common diverging color maps are dark, or bright, at both ends, so that plus and minus look the same
in gray. Here lightness rises from the negative end through gray at zero to the positive end, in
equal steps of OKLab lightness (Ottosson 2020), so that gray print keeps the sign.
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

#: A color as accepted by matplotlib, or as red, green and blue in [0, 1].
Color = ColorType | NDArray[Any]

#: Percentile of magnitudes at the end of color scales, so that single pixels do not dominate.
PERCENTILE = 99.5

#: OKLab colors of the negative end, zero, and the positive end, each with a stop half-way: purple,
#: gray, orange to yellow. Lightness has equal steps.
_STOPS = np.array(
    [
        [0.24, 0.060, -0.110],
        [0.42, 0.070, -0.130],
        [0.60, 0.0, 0.0],
        [0.78, 0.055, 0.125],
        [0.96, -0.025, 0.115],
    ]
)

#: OKLab to cube roots of cone responses, and cone responses to linear sRGB.
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

#: Gray range of images below an overlay, which keeps both ends of the color scale distinct.
_GRAYS = (0.30, 0.78)
#: Opacity of the map at the end of the scale.
_OPACITY = 0.9


@cache
def colors_of(signed: bool) -> Colormap:
    """Return the color map: diverging for signed maps, sequential for magnitudes.

    Parameters
    ----------
    signed : bool
        Whether the sign has a meaning. If so, dark purple is the negative end, gray is zero and
        light yellow is the positive end; else cividis, with dark blue for zero.
    """
    if not signed:
        return mpl.colormaps["cividis"]
    at = np.linspace(0, 1, len(_STOPS))
    steps = np.linspace(0, 1, 257)
    lab = np.stack([np.interp(steps, at, stop) for stop in _STOPS.T], axis=-1)
    colors = ListedColormap(_from_oklab(lab), name="probe-diverging")
    return colors.with_extremes(bad="white")


def _from_oklab(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB in [0, 1], clipped to the gamut."""
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
    """Return the Rec. 709 luminance of sRGB colors, in [0, 1], as in gray print."""
    return np.asarray(_to_linear(colors) @ np.array([0.2126, 0.7152, 0.0722]))


def contrast(one: Color, other: Color) -> float:
    """Return the WCAG 2 contrast of two colors, from 1 (none) to 21 (black on white)."""
    low, high = sorted(
        float(luminance(np.array(to_rgb(cast(ColorType, color))))) for color in (one, other)
    )
    return (high + 0.05) / (low + 0.05)


def text_on(color: Color) -> str:
    """Return the text color for a background: black or white, with a contrast above 4.5."""
    return max(("black", "white"), key=lambda text: contrast(text, color))


def limit_of(maps: Iterable[NDArray[Any]]) -> float:
    """Return the limit of a color scale: the `PERCENTILE` of the maps' magnitudes.

    Parameters
    ----------
    maps : iterable of numpy.ndarray
        Maps of any shape; values that are not finite are ignored.

    Returns
    -------
    float
        Positive; 1 if the maps are 0 everywhere.
    """
    magnitudes = np.concatenate([np.abs(one[np.isfinite(one)]).ravel() for one in maps])
    if not magnitudes.size:
        return 1.0
    return float(np.percentile(magnitudes, PERCENTILE)) or float(magnitudes.max()) or 1.0


def number(value: float, sign: bool = False) -> str:
    """Format a number for a color bar: two digits, minus sign, no leading zeros in exponents."""
    text = f"{abs(value):.2g}"
    if "e" in text:
        digits, power = text.split("e")
        text = f"{digits}e{int(power)}"
    mark = "-" if value < 0 else "+" if sign and value > 0 else ""
    return (mark + text).replace("-", "−")


def overlay(
    image: NDArray[Any] | None, values: NDArray[Any], limit: float, signed: bool
) -> NDArray[np.float64]:
    """Draw a map over its image: the image gray with low contrast, opacity by magnitude.

    Parameters
    ----------
    image : numpy.ndarray or None
        Shape (h, w, 3), 0 to 255; None for uniform gray, as below a color bar.
    values : numpy.ndarray
        Shape (h, w), of the same size as the image.
    limit : float
        Magnitude at the end of the colors and of the opacity.
    signed : bool
        As in `colors_of`.

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
