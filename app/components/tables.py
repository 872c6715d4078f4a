"""Small tables of figures."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

__all__ = ["figures_table"]


def figures_table(head: list[Any], body: list[list[Any]], numeric_from: int) -> Any:
    """Lay out a table whose columns from one on are numbers."""

    def kind(i: int) -> str:
        return "number" if i >= numeric_from else ""

    return html.Div(
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
