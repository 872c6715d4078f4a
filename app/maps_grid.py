"""Maps side by side: methods in rows with their scales, detectors in columns, badges of trust."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import html

from app.attribution import Explained
from app.card import help_mark, jump
from app.help import HELP, Help
from app.layout import number_text
from app.maps import Badge, Cell, Column, MapsView, Row
from app.message import command_line
from app.prefix import at
from probe.plots.style import colors_of, number, overlay

__all__ = ["frame_of", "maps_grid", "scale_bar"]

#: Rows by their kind, for people.
_KINDS = {"chosen": "chosen detector", "variant": "variant", "other": "other detector"}
#: Steps of a color bar; browsers interpolate between them.
_STEPS = 33


def maps_grid(view: MapsView, laid: bool, outline: bool) -> Any:
    """Show the image, and beside it a grid of its maps.

    Parameters
    ----------
    view : MapsView
        What to show.
    laid : bool
        Whether maps lie over the image.
    outline : bool
        Whether the forged region is outlined on maps.
    """
    outlined = outline and view.image.has_mask
    cells: list[Any] = [_trust_help(), *(_head(row) for row in view.rows)]
    for i, column in enumerate(view.columns):
        cells.append(scale_bar(column, laid))
        cells += [
            _cell(row.cells[i], row.detector, column, view.image, laid, outlined)
            for row in view.rows
        ]
    grid = html.Div(
        cells,
        className="maps-grid",
        style={"gridTemplateColumns": f"128px repeat({len(view.rows)}, minmax(112px, 204px))"},
    )
    parts: list[Any] = [html.Div(grid, className="scroll")]
    if view.left_out:
        more = f"{view.left_out} more detectors have maps; choose one above to see its variants."
        parts.append(html.Div(more, className="reading"))
    return html.Div([_original(view.image), html.Div(parts)], className="maps-columns")


def _original(one: Explained) -> Any:
    kind = "fake" if one.label else "real"
    facts: list[tuple[str, Any]] = [
        ("Label", html.Span(kind, className=f"label {kind}")),
        ("Dataset", one.dataset),
        ("Forgery", one.forgery or "—"),
        ("Video", f"{one.video}, frame {one.frame}"),
        ("P(fake)", html.B(f"{one.p_fake:.2f}") if np.isfinite(one.logit) else "not scored"),
        ("Logit", number_text(one.logit)),
    ]
    pairs = [part for name, value in facts for part in (html.Dt(name), html.Dd(value))]
    return html.Div(
        [
            html.Div("The image", className="maps-title"),
            html.Div(frame_of(one), className="frame", title=one.sample),
            html.Dl(pairs, className="facts tight"),
        ],
        className="original",
    )


def scale_bar(column: Column, laid: bool) -> Any:
    """Name a method, and say what its colors mean and where they end."""
    limit = number(column.limit) if not column.others else "end"
    ends = (f"−{limit}", f"+{limit}") if column.signed else ("0", limit)
    about = f"Attribution method, positive towards what raises the logit. Values {column.unit}."
    title = html.Div(
        [html.Span(column.title), help_mark(Help(about, column.paper or "not noted"))],
        className="with-help maps-title",
    )
    words = f"Scale of {column.title}: {ends[0]} {column.low} to {ends[1]} {column.high}"
    named: dict[str, Any] = {"role": "img", "aria-label": words}
    bar = html.Div(className="maps-bar", style={"background": _gradient(column, laid)}, **named)
    low, high = (end.removeprefix("towards ") for end in (column.low, column.high))
    if column.signed:
        low, high = f"← {low}", f"{high} →"
    scale = [html.Div([html.Span(ends[0]), html.Span(ends[1])], className="maps-ends numbers")]
    scale.append(html.Div([html.Span(low), html.Span(high)], className="maps-ends"))
    unit = html.Div([column.unit, *_ends(column)], className="maps-unit muted small")
    return html.Div([title, bar, *scale, unit], className="maps-scale")


def _ends(column: Column) -> list[Any]:
    """Say where the colors of each family end, where that differs."""
    if not column.others:
        return []
    sign = "±" if column.signed else ""
    ends = [(column.first, column.limit), *column.others]
    return [html.Div(f"{name}: end {sign}{number(limit)}") for name, limit in ends]


def _gradient(column: Column, laid: bool) -> str:
    steps = np.linspace(0, 1, _STEPS)
    if laid:
        values = (2 * steps - 1 if column.signed else steps)[None]
        colors = overlay(None, values, 1.0, column.signed)[0]
    else:
        colors = colors_of(column.signed)(steps)[:, :3]
    stops = (f"rgb({r} {g} {b})" for r, g, b in (colors * 255).round().astype(int))
    return f"linear-gradient(to right, {', '.join(stops)})"


def _head(row: Row) -> Any:
    score = f"logit {number_text(row.logit)}" if np.isfinite(row.logit) else "not scored"
    # A long name breaks where the variant begins.
    name, slash, variant = row.detector.partition("/")
    return html.Div(
        [
            html.Div([name, slash, html.Wbr(), variant], className="maps-title"),
            html.Div(_KINDS[row.kind], className="muted small"),
            html.Div(score, className="muted small numbers"),
        ],
        className="maps-head",
    )


def _cell(
    cell: Cell, detector: str, column: Column, image: Explained, laid: bool, outlined: bool
) -> Any:
    if not cell.source:
        lines: list[Any] = [html.Div(cell.reason)]
        if cell.command:
            lines.append(command_line(cell.command))
        empty = html.Div(lines, className="maps-absent muted small", role="note")
        return html.Div(empty, className="maps-cell")
    how = "over the image" if laid else "map"
    about = f"{column.title} of {detector}, {how}, for {image.sample}"
    layers = [html.Img(src=at(cell.source), alt=about, className="thumb drawn")]
    if outlined:
        layers.append(html.Img(src=at(f"/outline/{image.token}"), alt="", className="outline"))
    below: list[Any] = [_badge(cell.badge, detector, column.method)]
    if np.isfinite(cell.gap):
        below.append(html.Div(_gap(cell), className="muted small"))
    return html.Div([html.Div(layers, className="frame"), *below], className="maps-cell")


def _gap(cell: Cell) -> str:
    """Say how far a map is from the sum that its method promises."""
    text = f"Sum off by {number(cell.gap, sign=True)}"
    if np.isfinite(cell.relative_gap):
        text += f"; {cell.relative_gap:.1%} over all images"
    return text


def _badge(badge: Badge | None, detector: str, method: str) -> Any:
    """Count the checks that were passed; selecting it opens them."""
    if badge is None or not badge.tested:
        # What was not checked is neither good nor bad, and nothing opens.
        return html.Div("not checked", className="trust unchecked")
    kind = "whole" if badge.passed == badge.tested else "part" if badge.passed else "zero"
    words = f"{badge.passed} of {badge.tested} checks"
    opener = jump(
        [html.Span(className="trust-mark"), words],
        className=f"trust {kind}",
        checks=f"{method}:{detector}",
    )
    setattr(opener, "aria-label", f"{words} passed, {method} of {detector}. {badge.text}")
    setattr(opener, "aria-haspopup", "dialog")
    return dmc.Tooltip(
        opener,
        label=badge.text,
        multiline=True,
        w=300,
        withArrow=True,
        openDelay=300,
        events={"hover": True, "focus": False, "touch": False},
    )


def _trust_help() -> Any:
    """Define the badge."""
    return html.Div(
        ["Badges", help_mark(HELP["trust_badge"])], className="maps-corner with-help muted small"
    )


def frame_of(one: Explained, thumb: bool = False) -> list[Any]:
    """Show an image with the outline of its mask; as part of a link it needs no words."""
    about = "" if thumb else f"{one.sample}, the image itself"
    layers = [html.Img(src=at(f"/thumb/{one.token}"), alt=about, className="thumb")]
    if one.has_mask and not thumb:
        layers.append(html.Img(src=at(f"/outline/{one.token}"), alt="", className="outline"))
    return layers
