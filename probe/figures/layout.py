"""Layout of a grid in inches: the width is that of the style, and the height follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.errors import ProbeError
from probe.figures.lettering import fitted, line_height
from probe.figures.styles import Style

__all__ = ["EXACT", "Layout", "lay_out"]

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
