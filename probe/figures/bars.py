"""Color bars, and texts on what shares a color scale."""

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

#: Maximum length of a bar in inches; on wide figures, 0.45 of the width if that is larger.
LONGEST = 2.4

WORDS = {
    "one": "scale",
    "figure": "one scale for all maps",
    "row": "one scale per row",
    "column": "one scale per column",
    "cell": "one scale per map, its limit below",
    "group": "one scale per bar",
    "beneath": "limit of each scale below its maps",
}


def scale_words(scale: str) -> str:
    """Return the text of a color bar on what shares a scale, and its limit."""
    comma = "" if scale == "one" else ","
    return f"{WORDS[scale]}{comma} to the {PERCENTILE}th percentile"


def ticks_of(scale: Scale, limit: str = "") -> list[str]:
    """Return the ticks of a bar, from low to high; `limit` replaces the number."""
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
    """Return the height of bars and their text, in inches."""
    return PAD + BAR + EDGE + (2 if ends else 1) * line_height(style.small)


def room_beside(scales: Sequence[Scale], style: Style) -> float:
    """Return the width of vertical bars and their ticks, in inches."""
    texts = [tick for scale in scales for tick in ticks_of(scale)]
    widest = max((text_width(text, style.small, style) for text in texts), default=0.0)
    return 2 * PAD + BAR + widest + EDGE


def draw_bars(
    figure: Figure, layout: Layout, scales: Sequence[Scale], rule: str, named: bool
) -> None:
    """Draw the color bars of a grid.

    Parameters
    ----------
    figure, layout
        Figure and its layout.
    scales : sequence of Scale
        One bar each: vertical beside its row, or horizontal below its columns.
    rule : str
        What shares a scale, as in `probe.figures.grid_figure`.
    named : bool
        Whether to write the meaning of the ends below horizontal bars.
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
    # Tick texts stay within the height of the row.
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
    """Draw a horizontal bar below the columns of a scale, with its ticks."""
    axes = layout.axes(figure, left, layout.foot + PAD, long, BAR)
    axes.imshow(_colors(scale), aspect="auto")
    _frame(axes)
    texts = _thinned(ticks_of(scale, limit), long, layout.style)
    _spread(figure, layout, texts, left, long, _baseline(layout))


def _baseline(layout: Layout) -> float:
    return layout.foot + PAD + BAR + EDGE + ASCENT * layout.style.small / 72


def _spans(layout: Layout, scales: Sequence[Scale]) -> list[tuple[float, float]]:
    """Return start and length of horizontal bars, in inches.

    Each is below its columns; if columns of several scales alternate, bars are side by side.
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
    # Ticks of neighboring bars must not touch.
    longs = [min(end - begin - PAD, most) for begin, end in zip(begins, ends, strict=True)]
    return [
        ((begin + end - long) / 2, long)
        for begin, end, long in zip(begins, ends, longs, strict=True)
    ]


def ends_fit(layout: Layout, scales: Sequence[Scale]) -> bool:
    """Return whether the meanings of the ends fit below the bars of signed scales."""
    style = layout.style
    for scale, (_, long) in zip(scales, _spans(layout, scales), strict=True):
        wide = sum(text_width(one, style.small, style) for one in ends_of(scale))
        if scale.signed and wide + 2 * PAD > long:
            return False
    return True


def ends_of(scale: Scale) -> list[str]:
    """Return the texts below the ends of the bar of a signed scale."""
    return [f"← {scale.ends[0]}", f"{scale.ends[1]} →"]


def _thinned(texts: list[str], long: float, style: Style) -> list[str]:
    """Drop the zero, then merge both ends, if ticks would touch."""
    for some in (texts, [texts[0], texts[-1]]):
        if sum(text_width(one, style.small, style) for one in some) + PAD * len(some) <= long:
            return some
    return [f"±{texts[-1].lstrip('+')}" if len(texts) == 3 else f"0–{texts[-1]}"]


def _spread(
    figure: Figure, layout: Layout, texts: Sequence[str], left: float, long: float, y: float
) -> None:
    """Write texts spread over the length of a bar; a single one in the middle."""
    places = {1: ("center",), 2: ("left", "right"), 3: ("left", "center", "right")}[len(texts)]
    for text, across in zip(texts, places, strict=True):
        x = left + long * {"left": 0.0, "center": 0.5, "right": 1.0}[across]
        layout.write(figure, x, y, text, across=across, size=layout.style.small)


def _frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)
