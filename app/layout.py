"""The frame around pages: head with navigation and the switch between light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from app import ids
from app.prefix import at
from app.selection import Selection
from probe.errors import ProbeError
from probe.plots.theme import FONT

__all__ = ["navigation", "shell"]

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
