"""The pages: layout, and thin callbacks from the address to queries and figures."""

from __future__ import annotations

from typing import Any

from dash import Dash, dcc, html

from app.components.message import problem
from app.components.shell import PAGES
from app.pages import (
    artifacts,
    attribution,
    compare,
    neurons,
    overview,
    progress,
    sample,
    separability,
)
from app.prefix import at
from app.queries.reading import Run
from probe.errors import ProbeError

__all__ = ["layout", "register"]

_LAYOUTS = {
    "/": overview.layout,
    "/neurons": neurons.layout,
    "/separability": separability.layout,
    "/artifacts": artifacts.layout,
    "/attribution": attribution.layout,
    "/compare": compare.layout,
    "/sample": sample.layout,
}


def layout(run: Run, path: str, search: str) -> Any:
    """Return the content of a page, or why there is none, and how far the run is."""
    return progress.watched(run, path, _content(run, path, search))


def _content(run: Run, path: str, search: str) -> Any:
    if path not in _LAYOUTS:
        return _unknown_page(search)
    try:
        return _LAYOUTS[path](run, search)
    except ProbeError as error:
        return problem(error)


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of all pages."""
    overview.register(app, run)
    progress.register(app, run)
    neurons.register(app, run)
    separability.register(app, run)
    artifacts.register(app, run)
    attribution.register(app, run)
    compare.register(app, run)
    sample.register(app, run)


def _unknown_page(search: str) -> Any:
    links = [dcc.Link(title, href=at(f"{path}{search}")) for path, title in PAGES.items()]
    between = [part for link in links[:-1] for part in (link, ", ")][:-1]
    return html.Div(
        [
            html.Div(className="message-mark unknown"),
            html.Div("There is no such page", className="message-title"),
            html.Div(["Go to ", *between, " or ", links[-1], "."], className="message-text"),
        ],
        className="message",
        role="status",
    )
