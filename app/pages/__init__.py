"""The pages: layout, and thin callbacks from the address to queries and figures."""

from __future__ import annotations

from typing import Any

from dash import Dash, dcc, html

from app import card
from app.card import At, Page
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
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["CARDS", "PAGES_OF_CARDS", "declared", "layout", "register", "scopes"]

#: Pages by their paths, and all cards by their ids.
PAGES_OF_CARDS: dict[str, Page] = {page.path: page for page in (neurons.PAGE, separability.PAGE)}
CARDS = {one.id: one for page in PAGES_OF_CARDS.values() for one in page.cards}

_LAYOUTS = {
    "/": overview.layout,
    "/artifacts": artifacts.layout,
    "/attribution": attribution.layout,
    "/compare": compare.layout,
    "/sample": sample.layout,
}


def layout(run: Run, path: str, search: str) -> Any:
    """Return the content of a page, or why there is none, and how far the run is."""
    return progress.watched(run, path, _content(run, path, search))


def declared(run: Run, path: str, search: str) -> Any:
    """Return what the page at a path declares, see `app.card.declared`; None for other pages."""
    page = PAGES_OF_CARDS.get(path)
    try:
        return card.declared(page, At(run, Selection.parse(search))) if page else None
    except ProbeError:
        return None


def scopes() -> dict[str, tuple[str, ...]]:
    """Return the choices that whole pages depend on, by path."""
    return {path: page.fields for path, page in PAGES_OF_CARDS.items()}


def _content(run: Run, path: str, search: str) -> Any:
    if path in PAGES_OF_CARDS:
        try:
            return card.layout(PAGES_OF_CARDS[path], At(run, Selection.parse(search)))
        except ProbeError as error:
            return problem(error)
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
    card.register(app, run, tuple(PAGES_OF_CARDS.values()))
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
