"""Grids of maps: cells, scales, color bars and titles, of exact size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from probe.errors import ProbeError, UnknownNameError
from probe.plots.style import (
    PERCENTILE,
    STYLES,
    Style,
    colors_of,
    fitting_style,
    limit_of,
    number,
    overlay,
)
from probe.plots.text import (
    ASCENT,
    BAR,
    DESCENT,
    EDGE,
    PAD,
    Layout,
    lay_out,
    line_height,
    text_width,
    wrapped,
)

__all__ = [
    "Cell",
    "ENDS",
    "SCALES",
    "Scale",
    "draw_bars",
    "ends_fit",
    "ends_of",
    "find_scales",
    "grid_figure",
    "room_below",
    "room_beside",
    "scale_words",
    "style_of",
    "ticks_of",
]

#: What can share a color scale.
SCALES = ("figure", "row", "column", "cell")

#: Meanings of the ends of a signed scale, for the fake logit.
ENDS = ("towards real", "towards fake")


@dataclass(frozen=True)
class Cell:
    """One panel of a grid.

    Attributes
    ----------
    image : numpy.ndarray or None
        Shape (h, w, 3) or (h, w), uint8. Drawn in color if alone, in gray below `values`.
    values : numpy.ndarray or None
        Map, shape (h, w); it covers the same frame as the image, at any resolution.
    mask : numpy.ndarray or None
        Shape (h, w), 0 to 255; its contour at one half is drawn, if there is one.
    signed : bool
        Whether the sign of the map has a meaning.
    ends : tuple of str
        Meanings of the negative and the positive end.
    group : str
        Cells of the same group share a scale, regardless of the grid's rule; "" follows the rule.
    """

    image: NDArray[Any] | None = None
    values: NDArray[Any] | None = None
    mask: NDArray[Any] | None = None
    signed: bool = True
    ends: tuple[str, str] = ENDS
    group: str = ""

    def __post_init__(self) -> None:
        """Check shapes and types."""
        if self.image is not None and np.asarray(self.image).dtype != np.uint8:
            raise ProbeError(
                f"An image of type {np.asarray(self.image).dtype} was given; figures need uint8, "
                "0 to 255. Convert it, for example with (255 * image).round().astype('uint8')."
            )
        for name, array, dims in (
            ("image", self.image, (2, 3)),
            ("map", self.values, (2,)),
            ("mask", self.mask, (2,)),
        ):
            if array is not None and (np.ndim(array) not in dims or not np.size(array)):
                raise ProbeError(
                    f"A {name} of shape {np.shape(array)} was given for one panel; it needs "
                    f"{'(h, w)' if dims == (2,) else '(h, w, 3)'}. Give one panel each."
                )

    @property
    def over(self) -> bool:
        """Whether the panel is a map over an image."""
        return self.image is not None and self.values is not None

    @property
    def outlined(self) -> bool:
        """Whether there is a contour of a mask to draw."""
        if self.mask is None:
            return False
        inside = np.asarray(self.mask) > 127.5
        return bool(inside.any() and not inside.all())

    @property
    def aspect(self) -> float:
        """Height divided by width."""
        shown = self.image if self.image is not None else self.values
        shape = (1, 1) if shown is None else shown.shape
        return float(shape[0] / shape[1])

    def draw(self, axes: Axes, limit: float, line: float) -> None:
        """Draw the panel into axes without ticks.

        Parameters
        ----------
        axes : matplotlib.axes.Axes
            Axes to draw into.
        limit : float
            Magnitude at the end of the color scale.
        line : float
            Width of the mask outline, in points.
        """
        axes.set_axis_off()
        frame: dict[str, Any] = {"extent": (0, 1, 1, 0), "aspect": "auto"}
        if self.over:
            axes.imshow(self._laid_over(limit), **frame)
        elif self.values is not None:
            low = -limit if self.signed else 0
            shown = np.asarray(self.values, dtype=np.float64)
            axes.imshow(shown, cmap=colors_of(self.signed), vmin=low, vmax=limit, **frame)
        elif self.image is not None:
            axes.imshow(self.image, cmap="gray", vmin=0, vmax=255, **frame)
        self._outline(axes, line)

    def _laid_over(self, limit: float) -> NDArray[np.float64]:
        assert self.image is not None and self.values is not None
        image = np.asarray(self.image)
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        height = max(image.shape[0], self.values.shape[0])
        size = (max(image.shape[1], self.values.shape[1]), height)
        values = _resized(np.asarray(self.values, dtype=np.float32), size)
        channels = [_resized(image[..., c].astype(np.float32), size) for c in range(3)]
        return overlay(np.stack(channels, axis=-1), values, limit, self.signed)

    def _outline(self, axes: Axes, line: float) -> None:
        if not self.outlined:
            return
        mask = np.asarray(self.mask, dtype=np.float64)
        y, x = ((np.arange(n) + 0.5) / n for n in mask.shape)
        drawn = axes.contour(x, y, mask, levels=[127.5], colors="black", linewidths=line)
        # A white line below the black one keeps it visible on dark colors.
        under: Any = patheffects.withStroke(linewidth=2.6 * line, foreground="white")
        drawn.set_path_effects([under])


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if (values.shape[1], values.shape[0]) == size:
        return values
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class Scale:
    """A color scale shared by cells.

    Attributes
    ----------
    limit : float
        Magnitude at the end of the scale.
    signed : bool
        Whether colors diverge from zero.
    ends : tuple of str
        Meanings of the ends.
    over : bool
        Whether all its maps are drawn over images.
    places : tuple of (int, int)
        Row and column of each cell.
    """

    limit: float
    signed: bool
    ends: tuple[str, str]
    over: bool
    places: tuple[tuple[int, int], ...]

    @property
    def columns(self) -> tuple[int, int]:
        """First and last column of the cells."""
        at = [column for _, column in self.places]
        return min(at), max(at)


Cells = Sequence[Sequence[Cell | None]]


def maps_in(cells: Cells) -> Iterator[tuple[int, int, Cell]]:
    """Yield row, column and cell of the cells with maps."""
    for r, row in enumerate(cells):
        for c, cell in enumerate(row):
            if cell is not None and cell.values is not None:
                yield r, c, cell


def find_scales(cells: Cells, scale: str) -> list[Scale]:
    """Find which maps share a color scale, and the limit of each scale.

    Parameters
    ----------
    cells : sequence of sequence of Cell or None
        Rows of cells.
    scale : {"figure", "row", "column", "cell"}
        What shares a scale.

    Returns
    -------
    list of Scale
        Scales in order of first appearance.

    Raises
    ------
    UnknownNameError
        If the rule is unknown.
    ProbeError
        If signed maps and magnitudes would share a scale.
    """
    if scale not in SCALES:
        raise UnknownNameError("scale", scale, SCALES)
    keys: dict[str, Callable[[int, int], Any]] = {
        "figure": lambda r, c: 0,
        "row": lambda r, c: r,
        "column": lambda r, c: c,
        "cell": lambda r, c: (r, c),
    }
    found: dict[Any, list[tuple[int, int, Cell]]] = {}
    for r, c, cell in maps_in(cells):
        found.setdefault(cell.group or keys[scale](r, c), []).append((r, c, cell))
    return [_scale(members) for members in found.values()]


def _scale(members: Iterable[tuple[int, int, Cell]]) -> Scale:
    members = list(members)
    cells = [cell for _, _, cell in members]
    if len({(cell.signed, cell.ends if cell.signed else None) for cell in cells}) > 1:
        raise ProbeError(
            "Maps with signs of different meaning, or with and without signs, would share one "
            "scale of colors. Give scale='column' or scale='cell'."
        )
    limit = limit_of(cell.values for cell in cells if cell.values is not None)
    places = tuple((r, c) for r, c, _ in members)
    return Scale(limit, cells[0].signed, cells[0].ends, all(cell.over for cell in cells), places)


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
        What shares a scale, as in `probe.plots.grid_figure`.
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


MASK = "outline: forgery mask"
OVER = "opacity: magnitude"


def style_of(style: str | None, columns: int) -> Style:
    """Return a style by name, or the one that fits the number of columns.

    Raises
    ------
    UnknownNameError
        If the style is unknown.
    """
    return fitting_style(columns) if style is None else STYLES[style]


def grid_figure(
    cells: Cells,
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    scale: str = "figure",
    style: str | None = None,
    label: str = "",
) -> Figure:
    """Draw a grid of panels, such as images × methods, detectors, variants or datasets.

    Parameters
    ----------
    cells : sequence of sequence of Cell or None
        Rows of cells; None leaves a place empty. All frames have the aspect ratio of the first
        cell.
    columns, rows : sequence of str
        Titles, broken into lines if long; "" for none.
    scale : {"figure", "row", "column", "cell"}, default "figure"
        Which maps share a color scale; the color bar shows it. Scales are centered on zero for
        signed maps, and end at the 99.5th percentile of magnitudes.
    style : str, optional
        Name in `STYLES`; by default an IEEE column, or an IEEE page for more than four columns.
    label : str, optional
        Description and unit of the maps, written first below the color bar.

    Returns
    -------
    matplotlib.figure.Figure
        Figure of exactly the width of the style; `save_figure` keeps it.

    Raises
    ------
    ProbeError
        If the grid is empty or ragged, if signed maps and magnitudes would share a scale, or if
        images would be too small.
    UnknownNameError
        If the style or scale is unknown.
    """
    _check(cells, columns, rows)
    chosen, scales = style_of(style, len(columns)), find_scales(cells, scale)
    with chosen.context():
        words = [label, scale_words(_rule(cells, scale))] if scales else [label]
        layout, note, named = _fit(cells, columns, rows, scales, scale, chosen, words)
        figure = layout.figure()
        layout.write_names(figure)
        limits = {place: one for one in scales for place in one.places}
        for r, row in enumerate(cells):
            for c, cell in enumerate(row):
                if cell is not None:
                    _draw(figure, layout, cell, r, c, limits.get((r, c)), scale)
        if scales:
            draw_bars(figure, layout, _bars(scales, scale), scale, named)
        _write_note(figure, layout, note)
    return figure


def _check(cells: Cells, columns: Sequence[str], rows: Sequence[str]) -> None:
    widths = [len(row) for row in cells]
    if not any(cell is not None for row in cells for cell in row):
        raise ProbeError("A grid without any image or map was given. Give at least one.")
    if len(cells) != len(rows) or set(widths) != {len(columns)}:
        raise ProbeError(
            f"{len(cells)} rows of {', '.join(map(str, sorted(set(widths))))} cells were given "
            f"with {len(rows)} row titles and {len(columns)} column titles. Give a title for "
            "each, '' for none, and None for places that stay empty."
        )


def _rule(cells: Cells, scale: str) -> str:
    """Return the key of `WORDS` for a rule; a single map shares no scale."""
    maps = [cell for _, _, cell in maps_in(cells)]
    if any(cell.group for cell in maps):
        return "beneath" if scale == "cell" else "group"
    return "one" if len(maps) == 1 and scale != "cell" else scale


def _bars(scales: Sequence[Scale], rule: str) -> list[Scale]:
    """Return the scales that get a bar: all, or with one scale per cell one of each kind."""
    if rule != "cell":
        return list(scales)
    kinds: dict[Any, list[Scale]] = {}
    for one in scales:
        kinds.setdefault((one.signed, one.ends, one.over), []).append(one)
    return [
        replace(those[0], limit=1.0, places=tuple(place for one in those for place in one.places))
        for those in kinds.values()
    ]


def _fit(
    cells: Cells,
    columns: Sequence[str],
    rows: Sequence[str],
    scales: Sequence[Scale],
    rule: str,
    style: Style,
    words: Sequence[str],
) -> tuple[Layout, list[str], bool]:
    """Compute the layout, with meanings of ends at the bars, or in the note if they do not fit."""
    aspect = next(cell.aspect for row in cells for cell in row if cell is not None)
    bars = _bars(scales, rule)
    right = room_beside(bars, style) if rule == "row" and bars else 0.0
    mapped = {r for r, _, _ in maps_in(cells)} if rule == "cell" else set[int]()
    under = [line_height(style.small) + EDGE if r in mapped else 0.0 for r in range(len(rows))]
    signed = any(one.signed for one in bars)
    for named in (signed and rule != "row", False):
        note = _note(cells, bars, words, named)
        lines = wrapped(note, style.width - 2 * EDGE, style.small, style) if note else []
        foot = room_below(style, named) if bars and rule != "row" else PAD
        foot += len(lines) * line_height(style.small) + EDGE
        layout = lay_out(style, aspect, columns, rows, right=right, under=under, foot=foot)
        if ends_fit(layout, bars):
            break
    return layout, lines, named


def _note(cells: Cells, bars: Sequence[Scale], words: Sequence[str], named: bool) -> str:
    """Return the text below the bars."""
    parts = [word for word in words if word]
    for one in bars:
        if one.signed and not named:
            parts.append(f"dark: {one.ends[0]}, bright: {one.ends[1]}")
    if any(cell.over for _, _, cell in maps_in(cells)):
        parts.append(OVER)
    if any(cell and cell.outlined for row in cells for cell in row):
        parts.append(MASK)
    return " · ".join(dict.fromkeys(parts))


def _draw(
    figure: Figure, layout: Layout, cell: Cell, r: int, c: int, scale: Scale | None, rule: str
) -> None:
    width, height = layout.cell
    axes = layout.axes(figure, layout.lefts[c], layout.tops[r], width, height)
    cell.draw(axes, scale.limit if scale else 1.0, layout.style.line)
    if scale and rule == "cell":
        ticks = ticks_of(scale)
        text = f"±{ticks[-1].lstrip('+')}" if scale.signed else f"0 to {ticks[-1]}"
        small = layout.style.small
        y = layout.tops[r] + height + EDGE + ASCENT * small / 72
        layout.write(figure, layout.lefts[c] + width / 2, y, text, size=small)


def _write_note(figure: Figure, layout: Layout, lines: Sequence[str]) -> None:
    """Write the lines of the note, from the bottom up."""
    step, depth = line_height(layout.style.small), DESCENT * layout.style.small / 72
    for back, line in enumerate(reversed(lines)):
        y = layout.height - EDGE - depth - back * step
        layout.write(figure, layout.style.width / 2, y, line, size=layout.style.small)
