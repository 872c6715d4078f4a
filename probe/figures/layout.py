"""Where everything in a grid lies, in inches: the width is the style's, the height follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probe.errors import ProbeError
from probe.figures.lettering import fitted, line_height
from probe.figures.styles import Style

__all__ = ["EXACT", "Layout", "lay_out"]

#: Label of figures whose size is exact: they are saved without cutting their margins.
EXACT = "exact size"

#: Images narrower than this, in inches, show nothing.
SMALLEST = 0.22
#: Kept free at the edges, between text and what it belongs to, and by a bar, in inches.
EDGE, PAD, BAR = 0.02, 0.04, 0.08
#: How far letters reach under and over their baseline, as a share of their size.
DESCENT, ASCENT = 0.25, 0.75


@dataclass(frozen=True)
class Layout:
    """Positions from the left and from the top, in inches.

    Attributes
    ----------
    style : Style
        Its width is the figure's.
    height : float
        Of the figure.
    cell : tuple of float
        Width and height of one image.
    lefts, tops : tuple of float
        Of the columns and of the rows.
    titles, labels : tuple
        Of columns and rows: their size in points, and the lines of each.
    foot : float
        Where the room under the last row begins.
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
        """Make the empty figure."""
        figure = Figure(figsize=(self.style.width, self.height))
        figure.set_label(EXACT)
        return figure

    def axes(self, figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
        """Make axes at a place in inches."""
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
        """Write one line of text, its baseline at a place in inches, `y` from the top."""
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
        """Write the titles of columns over, and of rows beside the images."""
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
    """Find the largest images that fit.

    Parameters
    ----------
    style : Style
        Width, largest height, text.
    aspect : float
        Height over width of the images.
    titles, labels : sequence of str
        Of columns and rows; "" for none.
    right, foot : float
        Room wanted right of the last column and under everything, in inches.
    under : sequence of float
        Room wanted under each row; none by default.

    Raises
    ------
    ProbeError
        If images would be too small to show anything.
    """
    # Labels are broken to the height of a row, which depends on how many lines they have.
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
    """Return how much room titles or labels take, in inches."""
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
