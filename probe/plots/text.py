"""Typesetting of figures: names, widths of text, layout in inches, and color bars."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from anyascii import anyascii
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedLocator

from probe.errors import ProbeError
from probe.plots.style import SANS, Style

__all__ = [
    "EXACT",
    "Layout",
    "cut",
    "fit_names",
    "fitted",
    "lay_out",
    "legible",
    "line_height",
    "shortened",
    "text_width",
    "wrapped",
]

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


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Shorten long names in their middle, and number those that become the same.

    >>> shortened(["faceswap", "a-collection-of-2023", "a-collection-of-2024"], 12)
    ['faceswap', 'a-coll…-2023', 'a-coll…-2024']
    """
    tail = (most - 1) // 2
    head = most - 1 - tail
    short = {
        name: name if len(name) <= most else f"{name[:head]}…{name[len(name) - tail :]}"
        for name in dict.fromkeys(names)
    }
    again = {name for name, one in short.items() if list(short.values()).count(one) > 1}
    number = {name: i for i, name in enumerate(sorted(again), 1)}
    return [f"{short[one]} ({number[one]})" if one in again else short[one] for one in names]


@lru_cache(maxsize=512)
def _letters(place: str) -> frozenset[int]:
    return frozenset(FT2Font(place).get_charmap())


@lru_cache(maxsize=4096)
def _installed(letter: str) -> str:
    """Return an installed font family that has a letter; "" if there is none."""
    # A font of last resort draws the same box for every letter of a script.
    fonts = (one for one in fontManager.ttflist if "Last Resort" not in one.name)
    for font in sorted(fonts, key=lambda one: (one.name, one.fname)):
        if Path(font.fname).is_file() and ord(letter) in _letters(font.fname):
            return font.name
    return ""


def _replacements(text: str, families: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return what to write for letters that no font has, and the fonts that have others."""
    places = [findfont(FontProperties(family=[one])) for one in families]
    known = {*map(ord, "\n\t")}.union(*map(_letters, places))
    lacking = sorted(letter for letter in {*text} if ord(letter) not in known)
    latin = {one: anyascii(one) or "?" for one in lacking if not _installed(one)}
    return latin, sorted({_installed(letter) for letter in lacking} - {""})


def legible(figure: Figure) -> dict[str, str]:
    """Draw letters that a figure's fonts lack from installed fonts, else as Latin letters.

    Returns
    -------
    dict of str to str
        Texts that had to be written in Latin letters, and how they are written.
    """
    named = [one for axis in _named(figure) for one in _labels(axis)]
    texts = figure.findobj(Text)
    families = {family for one in texts for family in one.get_fontfamily()}
    written = "".join([*named, *(one.get_text() for one in texts)])
    latin, more = _replacements(written, sorted(families))
    for one in texts if more else ():
        one.set_fontfamily([*one.get_fontfamily(), *more])
    return _rename(figure, lambda text: "".join(latin.get(one, one) for one in text))


def fit_names(figure: Figure) -> dict[str, str]:
    """Shorten the names at axes if long ones make a figure wider than it was made.

    Returns
    -------
    dict of str to str
        Names that were shortened, and how they are written.
    """
    lines = [one for axis in _named(figure) for label in _labels(axis) for one in label.split("\n")]
    names = sorted(set(lines))
    written = {one: one for one in names}
    for most in (24, 18, 14, 10) if max(map(len, names), default=0) > 24 else ():
        if _drawn_width(figure) <= figure.get_size_inches()[0] + 0.06:
            break
        now = dict(zip(names, shortened(names, most), strict=True))
        back = {short: name for name, short in written.items()}
        for axis in _named(figure):
            labels = [
                "\n".join(now[back.get(one, one)] for one in label.split("\n"))
                for label in _labels(axis)
            ]
            axis.set_ticklabels(labels)
        written = now
    return {name: short for name, short in written.items() if name != short}


def _drawn_width(figure: Figure) -> float:
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # What is too wide now is measured, and drawn when it is narrower.
        warnings.simplefilter("ignore")
        figure.draw_without_rendering()
    return float(figure.get_tightbbox(canvas.get_renderer()).width)  # type: ignore[no-untyped-call]


def _named(figure: Figure) -> list[Axis]:
    """Return the axes whose places have names."""
    both = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    return [one for one in both if isinstance(one.get_major_locator(), FixedLocator)]


def _labels(axis: Axis) -> list[str]:
    return [one.get_text() for one in axis.get_ticklabels()]


def _rename(figure: Figure, change: Callable[[str], str]) -> dict[str, str]:
    """Change all texts of a figure; return those that differ."""
    written: dict[str, str] = {}
    for axis in _named(figure):
        labels = _labels(axis)
        written |= {one: change(one) for one in labels}
        if list(map(change, labels)) != labels:
            axis.set_ticklabels(list(map(change, labels)))
    for one in figure.findobj(Text):
        text = one.get_text()
        written[text] = change(text)
        if written[text] != text:
            one.set_text(written[text])
    return {old: new for old, new in written.items() if old != new}


def line_height(size: float) -> float:
    """Return the height of a line of text of `size` points, in inches."""
    return SPACING * size / 72


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, style: Style) -> float:
    """Return the width of one line of text, in inches."""
    # Glyphs missing in the family are drawn from the other one, which is wider.
    families = [style.font, SANS]
    latin, more = _replacements(text, families)
    font = FontProperties(family=[*families, *more], size=size)
    drawn = "".join(latin.get(one, one) for one in text)
    width: float = text_to_path.get_text_width_height_descent(drawn, font, ismath=False)[0]
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


#: Label of figures of exact size, which are saved without cropping margins.
EXACT = "exact size"

#: Minimum width of an image, in inches.
SMALLEST = 0.22
#: Margin at the edges, padding around text, and thickness of a bar, in inches.
EDGE, PAD, BAR = 0.02, 0.04, 0.08
#: Extent of letters below and above the baseline, as a share of their size.
DESCENT, ASCENT = 0.25, 0.75


@dataclass(frozen=True)
class Layout:
    """Positions of a grid, from the left and from the top, in inches.

    Attributes
    ----------
    style : Style
        Style, whose width is that of the figure.
    height : float
        Height of the figure.
    cell : tuple of float
        Width and height of one image.
    lefts, tops : tuple of float
        Left edges of the columns, and top edges of the rows.
    titles, labels : tuple
        Font size in points and lines of each title, of columns and of rows.
    foot : float
        Top of the area below the last row.
    """

    style: Style
    height: float
    cell: tuple[float, float]
    lefts: tuple[float, ...]
    tops: tuple[float, ...]
    titles: tuple[float, list[list[str]]]
    labels: tuple[float, list[list[str]]]
    foot: float

    def figure(self) -> Figure:
        """Return an empty figure."""
        figure = Figure(figsize=(self.style.width, self.height))
        figure.set_label(EXACT)
        return figure

    def axes(self, figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes at a position in inches."""
        whole = self.style.width, self.height
        bottom = self.height - top - height
        box = (left / whole[0], bottom / whole[1], width / whole[0], height / whole[1])
        axes: Axes = figure.add_axes(box)
        return axes

    def write(
        self,
        figure: Figure,
        x: float,
        y: float,
        text: str,
        *,
        across: str = "center",
        size: float | None = None,
        turned: bool = False,
    ) -> None:
        """Write one line of text with its baseline at a position in inches, `y` from the top."""
        figure.text(
            x / self.style.width,
            1 - y / self.height,
            text,
            ha=across,
            va="baseline",
            size=size or self.style.size,
            rotation=90 if turned else 0,
            rotation_mode="anchor",
        )

    def write_names(self, figure: Figure) -> None:
        """Write the titles above columns and beside rows."""
        width, height = self.cell
        for (size, texts), starts in ((self.titles, self.lefts), (self.labels, self.tops)):
            step, depth = line_height(size), DESCENT * size / 72
            for start, lines in zip(starts, texts, strict=True):
                for back, line in enumerate(reversed(lines)):
                    away = PAD + depth + back * step
                    if starts is self.lefts:
                        self.write(figure, start + width / 2, self.tops[0] - away, line, size=size)
                    else:
                        self.write(
                            figure,
                            self.lefts[0] - away,
                            start + height / 2,
                            line,
                            size=size,
                            turned=True,
                        )


def lay_out(
    style: Style,
    aspect: float,
    titles: Sequence[str],
    labels: Sequence[str],
    *,
    right: float = 0.0,
    under: Sequence[float] = (),
    foot: float = 0.0,
) -> Layout:
    """Compute the layout with the largest images that fit.

    Parameters
    ----------
    style : Style
        Style, which gives width, maximum height and text sizes.
    aspect : float
        Height divided by width of the images.
    titles, labels : sequence of str
        Titles of columns and rows; "" for none.
    right, foot : float
        Space to reserve right of the last column, and below the grid, in inches.
    under : sequence of float
        Space to reserve below each row; none by default.

    Raises
    ------
    ProbeError
        If images would be too small.
    """
    # Row titles are broken to the height of a row, which depends on the number of their lines.
    side, width = 0.0, 0.0
    names = style.size, [[""]]
    for _ in range(3):
        width = _cell_width(style, len(titles), side, right)
        names = fitted(labels, width * aspect, style.size, style)
        side = _room(names)
    heads, rest, over, below = names, 0.0, 0.0, list(under) or [0.0] * len(labels)
    for _ in range(3):
        heads = fitted(titles, width, style.size, style)
        over = _room(heads) + EDGE
        rest = over + foot + sum(below) + (len(labels) - 1) * style.gap
        width = min(width, (style.height - rest) / len(labels) / aspect)
        _check(width, style, len(titles), len(labels))
    names = fitted(labels, width * aspect, style.size, style)
    side = max(side, _room(names))
    content = len(titles) * (width + style.gap) - style.gap
    left = max((style.width - content - side - right) / 2, EDGE) + side
    lefts = tuple(left + c * (width + style.gap) for c in range(len(titles)))
    steps = [width * aspect + room + style.gap for room in below]
    tops = tuple(over + sum(steps[:r]) for r in range(len(labels)))
    height = rest + len(labels) * width * aspect
    cell = width, width * aspect
    return Layout(style, height, cell, lefts, tops, heads, names, tops[-1] + cell[1] + below[-1])


def _room(names: tuple[float, list[list[str]]]) -> float:
    """Return the space that titles need, in inches."""
    size, texts = names
    lines = max(map(len, texts), default=0)
    return lines * line_height(size) + PAD if lines else 0.0


def _cell_width(style: Style, columns: int, side: float, right: float) -> float:
    free = style.width - side - right - 2 * EDGE - (columns - 1) * style.gap
    return max(min(free / columns, style.largest), 0.01)


def _check(width: float, style: Style, columns: int, rows: int) -> None:
    if width < SMALLEST:
        raise ProbeError(
            f"{columns} columns and {rows} rows of images were given for the style "
            f"{style.name!r}, {style.width:.3g} inches wide and at most {style.height:.3g} high; "
            f"images would be {max(width, 0):.2f} inches wide. Give fewer, or a larger style."
        )
