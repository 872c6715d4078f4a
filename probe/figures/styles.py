"""Styles of figures: how wide the place in the paper is, and how large its text."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

from probe.registry import Registry

__all__ = ["STYLE", "STYLES", "Style", "fitting_style"]

#: Live, embedded text in PDF and SVG; deterministic ids in SVG.
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
    """Sizes of a figure for one kind of page. Fonts are those that come with matplotlib.

    Attributes
    ----------
    name : str
        Of the registry.
    width : float
        Width of the figure in inches, exactly.
    height : float
        The most that it may be high, in inches.
    font : str
        Family of all text.
    size, small : float
        Text, and text at color bars, in points.
    line : float
        Width of outlines in points.
    gap : float
        Between neighboring images, in inches.
    largest : float
        The most that one image may be wide, in inches.
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
        """Return a context in which matplotlib draws in this style."""
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
    # One column of the two of acmart's sigconf: 241 pt.
    Style("acm", 3.33, 9.0, SERIF, 8, 7),
    # One column of 89 mm; text of at most 7 pt, without serifs.
    Style("nature", 89 / 25.4, 9.0, SANS, 7, 6, line=0.5),
    Style("slides", 10.0, 5.6, SANS, 16, 13, line=1.5, gap=0.08, largest=3.2),
):
    STYLES.register(_style.name)(_style)


def fitting_style(columns: int) -> Style:
    """Return the IEEE style in which so many images side by side are still large enough."""
    return STYLES["ieee-column" if columns <= 4 else "ieee-page"]
