"""The frame around pages: head with navigation and the switch between light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import dcc, html
from dash.development.base_component import Component

from app import ids
from app.prefix import at
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots.theme import FONT

__all__ = [
    "Fixed",
    "figures_table",
    "fixed",
    "interval_text",
    "level_text",
    "navigation",
    "number_text",
    "shell",
    "signed_text",
]

_THEME = {
    "fontFamily": FONT,
    "fontFamilyMonospace": 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace',
    # White text has a contrast of 5.2 on the shade of the light scheme, 6.5 on the dark one's.
    "colors": {
        "accent": [
            "#e8f4fb",
            "#d0e7f5",
            "#a3d0ec",
            "#73b8e3",
            "#4ba4db",
            "#2b90cf",
            "#0072b2",
            "#00639b",
            "#005585",
            "#00466e",
        ]
    },
    "primaryColor": "accent",
    "primaryShade": {"light": 6, "dark": 7},
    "defaultRadius": "md",
}


def shell(title: str, scopes: Mapping[str, Sequence[str]]) -> Any:
    """Lay out the frame; the page's own content comes by the address.

    Parameters
    ----------
    title : str
        Of the run.
    scopes : mapping
        Path to the choices that the whole page depends on.
    """
    by_path = {at(path): list(fields) for path, fields in scopes.items()}
    return dmc.MantineProvider(
        [
            dcc.Location(id=ids.URL, refresh="callback-nav"),
            dcc.Store(id=ids.SCHEME),
            dcc.Store(id=ids.RENDERED, data=0),
            dcc.Store(id=ids.DECLARED),
            dcc.Store(id=ids.SCOPE),
            dcc.Store(id=ids.SCOPES, data=by_path),
            dmc.AppShell(
                [
                    dmc.AppShellHeader(_head(title), className="head"),
                    dmc.AppShellMain(html.Div(id=ids.PAGE, className="page")),
                ],
                header={"height": 56},
                padding=0,
            ),
        ],
        theme=_THEME,
        defaultColorScheme="auto",
    )


def navigation(path: str, search: str, titles: Mapping[str, str]) -> list[Any]:
    """Link to all pages by their paths, keeping what is selected."""
    here: dict[str, Any] = {"className": "slot active", "aria-current": "page"}
    elsewhere: dict[str, Any] = {"className": "slot"}
    carried = _carried(search)
    return [
        html.Div(
            dcc.Link(
                title, href=at(f"{place}{search if place == path else carried}"), className="tab"
            ),
            **(here if place == path else elsewhere),
        )
        for place, title in titles.items()
    ]


def _carried(search: str) -> str:
    """Return what of the selection means the same on another page."""
    try:
        return Selection.parse(search).elsewhere.search
    except ProbeError:
        # The page itself says what is wrong with the address.
        return ""


def _head(title: str) -> Any:
    named: dict[str, Any] = {"aria-label": "Pages"}
    switch = dmc.ColorSchemeToggle(
        id=ids.SWITCH,
        lightIcon=html.Span(className="icon sun"),
        darkIcon=html.Span(className="icon moon"),
        variant="default",
        size="lg",
        **{"aria-label": "Switch between light and dark"},
    )
    left = dmc.Group(
        [
            html.Div([html.Span(className="mark"), "probe"], className="brand"),
            html.Nav(id=ids.NAVIGATION, className="tabs", **named),
        ],
        gap="xl",
        wrap="nowrap",
        h="100%",
    )
    right = dmc.Group([html.Div(title, className="run-title"), switch], gap="md", wrap="nowrap")
    return html.Div([left, right], className="head-inner")


#: What may stand in such a part beside HTML: what needs no answer of its own.
_DRAWN = {
    "dash_core_components": {"Link"},
    "dash_mantine_components": {
        "Table",
        "TableThead",
        "TableTbody",
        "TableTr",
        "TableTh",
        "TableTd",
        "Tooltip",
        "ActionIcon",
    },
}


class Fixed(Component):
    """A tree of components that is drawn by ``assets/fixed.js`` without Dash's care for each.

    Dash looks at every component of a page whenever a property of any of them changes. Images in
    rows and tables are hundreds; drawn as one they open a page in half the time.

    Parameters
    ----------
    tree : Any
        As `fixed` returns it.
    """

    _children_props: list[str] = []
    _base_nodes = ["children"]
    _namespace = "probe_parts"
    _type = "Fixed"
    _prop_names = ["id", "tree"]
    _valid_wildcard_attributes: list[str] = []
    available_properties = ["id", "tree"]
    available_wildcard_properties: list[str] = []

    def __init__(self, tree: Any = None, **more: Any) -> None:
        super().__init__(tree=tree, **more)  # type: ignore[no-untyped-call]


def fixed(*parts: Any) -> Fixed:
    """Draw components as one.

    Parameters
    ----------
    *parts : component, list, str or None
        HTML, links and tables of figures. None has an id, since nothing in it can be asked for or
        changed.

    Returns
    -------
    Fixed

    Raises
    ------
    TypeError
        If a part has an id, or is a component that needs Dash.
    """
    return Fixed(_plain(list(parts)))


def _plain(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_plain(one) for one in part]
    if not isinstance(part, Component):
        return part
    data: dict[str, Any] = part.to_plotly_json()  # type: ignore[no-untyped-call]
    namespace, kind, props = data["namespace"], data["type"], dict(data["props"])
    if isinstance(part, Fixed):
        return props["tree"]
    if "id" in props:
        raise TypeError(f"{kind} {props['id']!r} has an id: nobody can ask for it in a fixed part.")
    if namespace != "dash_html_components" and kind not in _DRAWN.get(namespace, ()):
        raise TypeError(f"{namespace}.{kind} cannot stand in a fixed part.")
    plain = {name: _plain(value) for name, value in props.items()}
    return {"namespace": namespace, "type": kind, "props": plain}


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
