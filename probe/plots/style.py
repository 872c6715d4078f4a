"""Styles of figures: widths, fonts, colors, and the look of each dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, to_rgb
from matplotlib.typing import ColorType
from numpy.typing import ArrayLike, NDArray

from probe.registry import Registry
from probe.schema import DATASETS

__all__ = [
    "PERCENTILE",
    "STYLE",
    "STYLES",
    "Style",
    "colors_of",
    "contrast",
    "draw_series",
    "fitting_style",
    "limit_of",
    "look_of",
    "luminance",
    "number",
    "overlay",
    "text_on",
    "to_oklab",
]

#: Editable, embedded text in PDF and SVG; deterministic ids in SVG.
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "probe",
}

SANS, SERIF = "DejaVu Sans", "STIXGeneral"


@dataclass(frozen=True)
class Style:
    """Sizes of a figure for one kind of page. Fonts are those shipped with matplotlib.

    Attributes
    ----------
    name : str
        Name in the registry.
    width : float
        Exact width of the figure, in inches.
    height : float
        Maximum height, in inches.
    font : str
        Font family of all text.
    size, small : float
        Size of text, and of text at color bars, in points.
    line : float
        Width of outlines, in points.
    gap : float
        Gap between neighboring images, in inches.
    largest : float
        Maximum width of an image, in inches.
    """

    name: str
    width: float
    height: float
    font: str
    size: float
    small: float
    line: float = 0.6
    gap: float = 0.035
    largest: float = 1.5

    def context(self) -> AbstractContextManager[None]:
        """Return a context manager that sets this style in matplotlib."""
        own: dict[Any, Any] = {
            "font.family": [self.font, SANS],
            "font.size": self.size,
            "text.parse_math": False,
        }
        context: AbstractContextManager[None] = mpl.rc_context({**STYLE, **own})
        return context


#: All styles, by name.
STYLES: Registry[Style] = Registry("figure style")

for _style in (
    Style("ieee-column", 3.5, 9.0, SERIF, 8, 7),
    Style("ieee-page", 7.16, 9.0, SERIF, 8, 7),
    # One of the two columns of acmart's sigconf: 241 pt.
    Style("acm", 3.33, 9.0, SERIF, 8, 7),
    # One column of 89 mm; sans-serif text of at most 7 pt.
    Style("nature", 89 / 25.4, 9.0, SANS, 7, 6, line=0.5),
    Style("slides", 10.0, 5.6, SANS, 16, 13, line=1.5, gap=0.08, largest=3.2),
):
    STYLES.register(_style.name)(_style)


def fitting_style(columns: int) -> Style:
    """Return the IEEE style in which the given number of images per row is large enough."""
    return STYLES["ieee-column" if columns <= 4 else "ieee-page"]


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


#: Colors of Okabe and Ito 2008. Markers and line styles distinguish series in gray print.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1, 1, 1)))


def look_of(name: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the matplotlib style of a dataset's series; every second marker is open.

    Parameters
    ----------
    name : str
        Dataset. Those of the study have the same style in every figure.
    names : sequence of str
        All datasets drawn.
    """
    place = DATASETS.index(name) if name in DATASETS else list(names).index(name)
    color = COLORS[place % len(COLORS)]
    return {
        "color": color,
        "marker": MARKS[place % len(MARKS)],
        "ls": DASHES[place % len(DASHES)],
        "mfc": "white" if place % 2 else color,
    }


def draw_series(
    axes: Axes,
    x: ArrayLike,
    value: ArrayLike,
    low: ArrayLike | None,
    high: ArrayLike | None,
    look: dict[str, Any],
    label: str,
) -> Any:
    """Draw one series, with intervals where available; return its handle."""
    values = np.asarray(value, dtype=float)
    spread = None
    if low is not None and high is not None and np.isfinite(np.asarray(low, dtype=float)).any():
        ends = np.stack([values - np.asarray(low), np.asarray(high) - values])
        spread = np.nan_to_num(ends).clip(0)
    return axes.errorbar(
        x,
        values,
        yerr=spread,
        **look,
        label=label,
        ms=3,
        mew=0.7,
        lw=0.9,
        elinewidth=0.7,
        capsize=0,
    )
