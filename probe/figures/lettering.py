"""Width of text before it is drawn, and line breaks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from probe.figures.styles import SANS, Style

__all__ = ["cut", "fitted", "line_height", "text_width", "wrapped"]

#: Line spacing as a multiple of the font size.
SPACING = 1.2
#: Rendered letters are up to this much wider than their outlines.
SLACK = 1.04
#: Text shrinks to this share of its size before a word is cut.
SHRUNK = 0.7
#: Matches a word with the spaces or marks after it.
_BREAKS = re.compile(r"[^\s\-_/×·]*[\s\-_/×·]+|[^\s\-_/×·]+")


def cut(name: str, most: int = 24) -> str:
    """Shorten a long name for an axis, keeping the variant: "timm:convnext_ti…/base"."""
    if len(name) <= most:
        return name
    head, slash, tail = name.rpartition("/")
    if not slash or len(tail) > most - 6:
        return name[: most - 1] + "…"
    return f"{head[: most - len(tail) - 2]}…/{tail}"


def line_height(size: float) -> float:
    """Return the height of a line of text of `size` points, in inches."""
    return SPACING * size / 72


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, style: Style) -> float:
    """Return the width of one line of text, in inches."""
    # Glyphs missing in the family are drawn from the other one, which is wider.
    font = FontProperties(family=[style.font, SANS], size=size)
    width: float = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return SLACK * width / 72


def wrapped(text: str, width: float, size: float, style: Style) -> list[str]:
    """Break text into lines, at spaces and marks, or within words if necessary.

    Parameters
    ----------
    text : str
        Text; line breaks in it are kept.
    width : float
        Maximum width of a line, in inches.
    size : float
        Font size, in points.
    style : Style
        Style, which gives the font.

    Returns
    -------
    list of str
        Lines, without spaces at breaks.
    """
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.append("")
        for piece in _pieces(paragraph, width, size, style):
            if lines[-1] and text_width((lines[-1] + piece).rstrip(), size, style) > width:
                lines.append("")
            lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines]


def _pieces(text: str, width: float, size: float, style: Style) -> list[str]:
    """Split text where a line may break; pieces that are too wide are split into letters."""
    pieces: list[str] = []
    for piece in _BREAKS.findall(text):
        fits = text_width(piece.rstrip(), size, style) <= width
        pieces.extend([piece] if fits else list(piece))
    return pieces


def fitted(
    texts: Sequence[str], width: float, size: float, style: Style
) -> tuple[float, list[list[str]]]:
    """Break several texts at the largest common size at which no word must be cut, if possible.

    Parameters
    ----------
    texts : sequence of str
        Texts; line breaks in them are kept.
    width : float
        Maximum width of a line, in inches.
    size : float
        Preferred font size, in points; at least `SHRUNK` of it is used.
    style : Style
        Style, which gives the font.

    Returns
    -------
    float
        Font size, in points.
    list of list of str
        Lines of each text; none for an empty one.
    """
    words = [word for text in texts for word in _BREAKS.findall(text)]
    widest = max((text_width(word.rstrip(), size, style) for word in words), default=0.0)
    chosen = size * min(1.0, max(SHRUNK, width / widest)) if widest else size
    # Slightly smaller, so that a text that fits exactly is not cut because of rounding.
    chosen = chosen if chosen == size else 0.999 * chosen
    return chosen, [wrapped(text, width, chosen, style) if text else [] for text in texts]
