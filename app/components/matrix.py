"""The zero-shot matrix, and what differs from a reference, as tables whose cells are links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dash import dcc, html

from app.prefix import at
from app.queries.against import AgainstView
from app.queries.matrix import MatrixView
from app.selection import METRICS, Selection
from probe.plots.theme import DARK, LIGHT, Theme, color_at, level, short, signed, text_at

__all__ = ["against_table", "matrix_table"]

#: Differences are colored up to this one, or to the largest, so that noise is no finding.
LEAST = 0.1

#: Room of a dataset's column in pixels, below which the table is scrolled.
_COLUMN = 96


@dataclass(frozen=True)
class _Cell:
    """What a cell says; `skill` from −1 to 1 is its color, NaN for none."""

    value: str
    small: str
    about: str
    skill: float
    link: str | None = None
    seen: bool = False
    strong: bool = True


def matrix_table(view: MatrixView, chosen: Selection) -> Any:
    """Lay out detectors × datasets, value and interval in each cell.

    Color runs from −1 (always wrong) over 0 (chance) to 1 (perfect), whatever the metric. Cells
    of datasets that a detector was trained on are framed. Each leads to the detector's neurons.

    Parameters
    ----------
    view : MatrixView
        One metric at one level.
    chosen : Selection
        Kept by the links, but for detector, dataset and unit.
    """

    def cell(r: int, c: int) -> _Cell:
        skill = view.skill[r, c] if np.isfinite(view.value[r, c]) else np.nan
        there = chosen.but(detector=view.detectors[r], dataset=view.datasets[c], unit="")
        return _Cell(
            short(view.value[r, c]),
            _span(view, r, c),
            _about(view, r, c),
            float(skill),
            f"/neurons{there.search}",
            bool(view.seen[r, c]),
        )

    fixed = bool(np.allclose(view.chance, 0.5))
    middle = "0.5" if fixed else "chance"
    ends = ("1", middle, "0") if view.metric == "eer" else ("0", middle, "1")
    return _table(view, cell, ends, f"{METRICS[view.metric]} of detectors on datasets")


def against_table(view: AgainstView, chosen: Selection) -> Any:
    """Lay out detectors × datasets, difference to the reference and interval in each cell.

    Orange is better than the reference and purple worse, whatever the metric. A diamond stands in
    cells whose interval leaves 0 out. Each leads to Compare.

    Parameters
    ----------
    view : AgainstView
        Differences in one metric at one level.
    chosen : Selection
        Names the reference as ``against``. Kept by the links, but for detector, dataset, unit and
        the other of two.
    """
    better = -view.difference if view.metric == "eer" else view.difference
    known = np.abs(better[np.isfinite(better)])
    end = max(LEAST, float(known.max(initial=0)))

    def cell(r: int, c: int) -> _Cell:
        value, small, strong = _difference(view, r, c)
        about, skill = _about_against(view, r, c), float(better[r, c] / end)
        if view.is_reference[r]:
            return _Cell(value, small, about, skill, strong=False)
        there = chosen.but(
            detector=view.detectors[r], dataset=view.datasets[c], unit="", other=chosen.against
        )
        return _Cell(value, small, about, skill, f"/compare{there.search}", strong=strong)

    # Written in the order of the colors, from worse to better.
    ends = (f"\N{MINUS SIGN}{end:.2f}", "0", f"+{end:.2f}")
    if view.metric == "eer":
        ends = (ends[2], "0", ends[0])
    return _table(view, cell, ends, f"{METRICS[view.metric]} less that of {view.reference}")


def _table(
    view: MatrixView | AgainstView,
    cell: Callable[[int, int], _Cell],
    ends: tuple[str, str, str],
    label: str,
) -> Any:
    rows, columns = range(len(view.detectors)), range(len(view.datasets))
    head = html.Tr([html.Td(), *(_heading(view, c) for c in columns)])
    body = [
        html.Tr([html.Th(view.detectors[r], scope="row"), *(_place(cell(r, c)) for c in columns)])
        for r in rows
    ]
    # All columns of datasets have one width, whatever their names are.
    first = f"{min(max(map(len, view.detectors)), 36) + 2}ch"
    widths = html.Colgroup([html.Col(style={"width": first}), *(html.Col() for _ in columns)])
    room = {"minWidth": f"calc({first} + {_COLUMN * len(view.datasets)}px)"}
    named: dict[str, Any] = {"aria-label": label}
    parts = [widths, html.Thead(head), html.Tbody(body)]
    table = html.Table(parts, className="matrix", style=room, **named)
    return [html.Div(table, className="matrix-room"), _key(ends)]


def _heading(view: MatrixView | AgainstView, c: int) -> Any:
    unit = "images" if view.level == "frame" else "videos"
    n, clusters = int(view.n_samples[:, c].max()), int(view.n_clusters[:, c].max())
    return html.Th(
        [
            html.Div(view.datasets[c]),
            html.Div(f"{n} {unit}", className="matrix-small"),
            html.Div(f"{clusters} clusters", className="matrix-small"),
        ],
        scope="col",
    )


def _place(cell: _Cell) -> Any:
    value = html.B(cell.value) if cell.strong else html.Span(cell.value)
    inside: list[Any] = [value]
    if cell.small:
        inside.append(html.Span(cell.small, className="matrix-small"))
    classes = "matrix-cell seen" if cell.seen else "matrix-cell"
    props: dict[str, Any] = {"title": cell.about, "className": classes, "style": _colors(cell)}
    if cell.link is None:
        return html.Td(html.Div(inside, **props))
    return html.Td(dcc.Link(inside, href=at(cell.link), **props))


def _colors(cell: _Cell) -> dict[str, str]:
    """Give the colors of both schemes, so that the switch needs no answer of the server."""
    if not np.isfinite(cell.skill):
        return {}
    out = {}
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        out[f"--{name}"] = color_at(theme, cell.skill)
        out[f"--{name}-ink"] = text_at(theme, cell.skill)
    return out


def _key(ends: tuple[str, str, str]) -> Any:
    bars = {f"--{name}": _gradient(theme) for name, theme in (("light", LIGHT), ("dark", DARK))}
    return html.Div(
        [
            html.Div(className="matrix-bar", style=bars),
            html.Div([html.Span(text) for text in ends], className="matrix-ends"),
        ],
        className="matrix-key",
    )


def _gradient(theme: Theme) -> str:
    return f"linear-gradient(to right, {', '.join(theme.diverging)})"


def _about(view: MatrixView, r: int, c: int) -> str:
    unit = "images" if view.level == "frame" else "videos"
    lines = [
        f"{view.detectors[r]} on {view.datasets[c]}",
        f"{METRICS[view.metric]} {_long(view.value[r, c])}; chance {view.chance[c]:.2f}",
    ]
    if np.isfinite(view.low[r, c]):
        bounds = f"{view.low[r, c]:.3f} to {view.high[r, c]:.3f}"
        lines.append(f"{view.coverage:.0%} interval {bounds}, clusters resampled")
    else:
        lines.append("no interval: fewer than five clusters")
    lines.append(f"{view.n_samples[r, c]} {unit} in {view.n_clusters[r, c]} clusters")
    lines.append(("" if view.seen[r, c] else "not ") + "noted as seen in training")
    return "\n".join(lines)


def _span(view: MatrixView, r: int, c: int) -> str:
    if not np.isfinite(view.value[r, c]):
        return "one class only"
    if not np.isfinite(view.low[r, c]):
        return "few clusters"
    return f"{short(view.low[r, c])} – {short(view.high[r, c])}"


def _long(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not defined (one class only)"


def _difference(view: AgainstView, r: int, c: int) -> tuple[str, str, bool]:
    """Return what a cell says, its second line, and whether its interval leaves 0 out."""
    if view.is_reference[r]:
        return "reference", "", False
    value = view.difference[r, c]
    if not np.isfinite(value):
        return "—", "not comparable", False
    if not np.isfinite(view.low[r, c]):
        return signed(value), "few clusters", False
    bounds = f"{short(view.low[r, c])} – {short(view.high[r, c])}"
    marked = bool(view.leaves_out_0[r, c])
    return f"◆ {signed(value)}" if marked else signed(value), bounds, marked


def _about_against(view: AgainstView, r: int, c: int) -> str:
    head = f"{view.detectors[r]} on {view.datasets[c]}"
    if view.is_reference[r]:
        return f"{head}\nthe reference itself"
    if not np.isfinite(view.difference[r, c]):
        return f"{head}\n{view.reason[r][c]}"
    unit = "images" if view.level == "frame" else "videos"
    lines = [head, f"{METRICS[view.metric]} {view.difference[r, c]:+.3f} against {view.reference}"]
    if np.isfinite(view.low[r, c]):
        lines.append(
            f"{view.coverage:.0%} interval {view.low[r, c]:+.3f} to {view.high[r, c]:+.3f}, "
            f"p {level(float(view.p[r, c])).replace('&lt;', '<')}"
        )
    else:
        lines.append(f"no interval: {view.reason[r][c]}")
    lines.append(f"{view.n_samples[r, c]} common {unit} in {view.n_clusters[r, c]} clusters")
    return "\n".join(lines)
