"""Color bars, and the words that say what a scale holds for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probe.figures.cells import Scale
from probe.figures.colors import PERCENTILE, colors_of, number, overlay
from probe.figures.layout import ASCENT, BAR, EDGE, PAD, Layout
from probe.figures.lettering import line_height, text_width
from probe.figures.styles import Style

__all__ = [
    "draw_bars",
    "ends_fit",
    "ends_of",
    "room_beside",
    "room_below",
    "scale_words",
    "ticks_of",
]

#: In inches; a bar is no longer than this, or on wide figures than 0.45 of the width.
LONGEST = 2.4

WORDS = {
    "one": "scale",
    "figure": "one scale for all maps",
    "row": "one scale per row",
    "column": "one scale per column",
    "cell": "one scale per map, its end beneath",
    "group": "one scale per bar",
    "beneath": "the end of each scale beneath its maps",
}


def scale_words(scale: str) -> str:
    """Say what shares a scale, and where it ends, as in a color bar's label."""
    comma = "" if scale == "one" else ","
    return f"{WORDS[scale]}{comma} to the {PERCENTILE}th percentile"


def ticks_of(scale: Scale, limit: str = "") -> list[str]:
    """Return the numbers at a bar, from its low to its high end; `limit` instead of the number."""
    end = limit or number(scale.limit)
    return [f"−{end}", "0", f"+{end}"] if scale.signed else ["0", end]


def _colors(scale: Scale, steps: int = 256) -> NDArray[np.float64]:
    """Return the colors of a bar, shape (1, steps, 3), as they appear on the maps."""
    values = np.linspace(-1.0 if scale.signed else 0.0, 1.0, steps)[None]
    if scale.over:
        return overlay(None, values, 1.0, scale.signed)
    share = (values + 1) / 2 if scale.signed else values
    return np.asarray(colors_of(scale.signed)(share)[..., :3])


def room_below(style: Style, ends: bool) -> float:
    """Return how high bars and their text are, in inches."""
    return PAD + BAR + EDGE + (2 if ends else 1) * line_height(style.small)


def room_beside(scales: Sequence[Scale], style: Style) -> float:
    """Return how wide upright bars and their numbers are, in inches."""
    texts = [tick for scale in scales for tick in ticks_of(scale)]
    widest = max((text_width(text, style.small, style) for text in texts), default=0.0)
    return 2 * PAD + BAR + widest + EDGE


def draw_bars(
    figure: Figure, layout: Layout, scales: Sequence[Scale], rule: str, named: bool
) -> None:
    """Draw the bars of a grid.

    Parameters
    ----------
    figure, layout
        Where.
    scales : sequence of Scale
        One bar each: upright beside its row, else under its columns.
    rule : str
        What shares a scale, as for `probe.figures.grid_figure`.
    named : bool
        Whether what the ends mean is written under level bars.
    """
    limit = "limit" if rule == "cell" else ""
    for scale, (left, long) in zip(scales, _spans(layout, scales), strict=True):
        if rule == "row":
            _upright(figure, layout, scale)
        else:
            _level(figure, layout, scale, limit, left, long)
            if named and scale.signed:
                y = _baseline(layout) + line_height(layout.style.small)
                _spread(figure, layout, ends_of(scale), left, long, y)


def _upright(figure: Figure, layout: Layout, scale: Scale) -> None:
    style, (width, height) = layout.style, layout.cell
    left, top = layout.lefts[-1] + width + PAD, layout.tops[scale.places[0][0]]
    axes = layout.axes(figure, left, top, BAR, height)
    axes.imshow(_colors(scale)[:, ::-1].transpose(1, 0, 2), aspect="auto")
    _frame(axes)
    # Text of the ends stays within the height of the row.
    high, texts = ASCENT * style.small / 72, ticks_of(scale)[::-1]
    for i, text in enumerate(texts):
        share = i / (len(texts) - 1)
        layout.write(
            figure,
            left + BAR + PAD / 2,
            top + high + share * (height - high),
            text,
            across="left",
            size=style.small,
        )


def _level(
    figure: Figure, layout: Layout, scale: Scale, limit: str, left: float, long: float
) -> None:
    """Draw one bar under the columns of a scale, with its numbers."""
    axes = layout.axes(figure, left, layout.foot + PAD, long, BAR)
    axes.imshow(_colors(scale), aspect="auto")
    _frame(axes)
    texts = _thinned(ticks_of(scale, limit), long, layout.style)
    _spread(figure, layout, texts, left, long, _baseline(layout))


def _baseline(layout: Layout) -> float:
    return layout.foot + PAD + BAR + EDGE + ASCENT * layout.style.small / 72


def _spans(layout: Layout, scales: Sequence[Scale]) -> list[tuple[float, float]]:
    """Return where level bars begin, and their lengths, in inches.

    Each lies under its columns; where columns of several scales alternate, side by side.
    """
    columns = [scale.columns for scale in scales]
    ordered = sorted(columns)
    apart = all(one[1] < other[0] for one, other in zip(ordered, ordered[1:], strict=False))
    width, most = layout.cell[0], max(LONGEST, 0.45 * layout.style.width)
    begins = [layout.lefts[first] for first, _ in columns]
    ends = [layout.lefts[last] + width for _, last in columns]
    if not apart:
        start, step = min(begins), (max(ends) - min(begins)) / len(scales)
        begins = [start + i * step for i in range(len(scales))]
        ends = [begin + step for begin in begins]
    # Numbers of neighboring bars must not touch.
    longs = [min(end - begin - PAD, most) for begin, end in zip(begins, ends, strict=True)]
    return [
        ((begin + end - long) / 2, long)
        for begin, end, long in zip(begins, ends, longs, strict=True)
    ]


def ends_fit(layout: Layout, scales: Sequence[Scale]) -> bool:
    """Say whether what the ends mean has room under the bars, where it has to be said."""
    style = layout.style
    for scale, (_, long) in zip(scales, _spans(layout, scales), strict=True):
        wide = sum(text_width(one, style.small, style) for one in ends_of(scale))
        if scale.signed and wide + 2 * PAD > long:
            return False
    return True


def ends_of(scale: Scale) -> list[str]:
    """Return what stands under the ends of the bar of a signed scale."""
    return [f"← {scale.ends[0]}", f"{scale.ends[1]} →"]


def _thinned(texts: list[str], long: float, style: Style) -> list[str]:
    """Leave out the zero, then join both ends, where numbers would touch."""
    for some in (texts, [texts[0], texts[-1]]):
        if sum(text_width(one, style.small, style) for one in some) + PAD * len(some) <= long:
            return some
    return [f"±{texts[-1].lstrip('+')}" if len(texts) == 3 else f"0–{texts[-1]}"]


def _spread(
    figure: Figure, layout: Layout, texts: Sequence[str], left: float, long: float, y: float
) -> None:
    """Write texts from end to end under a bar; one alone in the middle."""
    places = {1: ("center",), 2: ("left", "right"), 3: ("left", "center", "right")}[len(texts)]
    for text, across in zip(texts, places, strict=True):
        x = left + long * {"left": 0.0, "center": 0.5, "right": 1.0}[across]
        layout.write(figure, x, y, text, across=across, size=layout.style.small)


def _frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
