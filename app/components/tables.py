"""Small tables of figures."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import html

from app.components.fixed import fixed

__all__ = ["figures_table", "interval_text", "level_text", "number_text", "signed_text"]


def figures_table(
    head: list[Any], body: list[list[Any]], numeric_from: int, asked: bool = False
) -> Any:
    """Lay out a table whose columns from one on are numbers.

    Parameters
    ----------
    head, body : list
        Names of columns, and rows.
    numeric_from : int
        First column of numbers.
    asked : bool, default False
        Whether cells hold what a page asks for, such as buttons.
    """

    def kind(i: int) -> str:
        return "number" if i >= numeric_from else ""

    table = html.Div(
        dmc.Table(
            [
                dmc.TableThead(
                    dmc.TableTr([dmc.TableTh(h, className=kind(i)) for i, h in enumerate(head)])
                ),
                dmc.TableTbody(
                    [
                        dmc.TableTr([dmc.TableTd(v, className=kind(i)) for i, v in enumerate(row)])
                        for row in body
                    ]
                ),
            ],
            tabularNums=True,
            verticalSpacing=6,
            horizontalSpacing="sm",
        ),
        className="scroll",
    )
    return table if asked else fixed(table)


def number_text(value: float) -> str:
    """Write a number with two or three digits that count, and a true minus sign."""
    if not np.isfinite(value):
        return "—"
    size = abs(value)
    if value != 0 and (size < 0.0001 or size >= 1e4):
        text = f"{value:.1e}"
    else:
        text = f"{value:.{2 if size >= 0.1 or value == 0 else 3 if size >= 0.001 else 4}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed_text(value: float, digits: int = 3) -> str:
    """Write a difference with its sign and as many decimals, whatever its size, to line up."""
    text = f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text[1:] if not float(f"{value:.{digits}f}") else text


def interval_text(low: float, high: float) -> str:
    """Write an interval, or that there is none."""
    return f"{number_text(low)} to {number_text(high)}" if np.isfinite(low) else "no interval"


def level_text(value: float) -> str:
    """Write a p- or q-value; what permutations cannot tell from 0 is no 0."""
    if not np.isfinite(value):
        return "—"
    return f"{value:.3f}" if value >= 0.0005 else "< 0.001"
