"""`grid_figure`: rows and columns of images, maps and overlays, with their color scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from probe.errors import ProbeError
from probe.figures.bars import (
    draw_bars,
    ends_fit,
    room_below,
    room_beside,
    scale_words,
    ticks_of,
)
from probe.figures.cells import Cell, Cells, Scale, find_scales, maps_in
from probe.figures.layout import ASCENT, DESCENT, EDGE, PAD, Layout, lay_out
from probe.figures.lettering import line_height, wrapped
from probe.figures.styles import STYLES, Style, fitting_style

__all__ = ["grid_figure", "style_of"]

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
