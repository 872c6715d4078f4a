"""Styles of figures: widths for paper columns, pages and slides, and text sizes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

from probe.registry import Registry

__all__ = ["STYLE", "STYLES", "Style", "fitting_style"]

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
