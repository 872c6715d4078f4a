"""The pages, in the order of the head, and all cards."""

from __future__ import annotations

from typing import Any

from dash import Dash, dcc, html

from app import card, progress
from app.card import At, Page
from app.message import problem
from app.pages import (
    artifacts,
    attribution,
    compare,
    neurons,
    overview,
    sample,
    separability,
)
from app.prefix import at
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError

__all__ = ["CARDS", "PAGES", "declared", "layout", "register", "scopes"]

#: Pages by their paths, and all cards by their ids.
PAGES: dict[str, Page] = {
    module.PAGE.path: module.PAGE
    for module in (overview, neurons, separability, artifacts, attribution, compare, sample)
}
CARDS = {one.id: one for page in PAGES.values() for one in page.cards}


def layout(run: Run, path: str, search: str) -> Any:
    """Return the content of a page, or why there is none, and how far the run is."""
    return progress.watched(run, path, _content(run, path, search))


def declared(run: Run, path: str, search: str) -> Any:
    """Return what the page at a path declares, see `app.card.declared`; None for other paths."""
    page = PAGES.get(path)
    try:
        return card.declared(page, At(run, Selection.parse(search))) if page else None
    except ProbeError:
        return None


def scopes() -> dict[str, tuple[str, ...]]:
    """Return the choices that whole pages depend on, by path."""
    return {path: page.fields for path, page in PAGES.items()}


def register(app: Dash, run: Run) -> None:
    """Add the callbacks of all pages."""
    progress.register(app, run)
    card.register(app, run, tuple(PAGES.values()))


def _content(run: Run, path: str, search: str) -> Any:
    if path not in PAGES:
        return _unknown_page(search)
    try:
        return card.layout(PAGES[path], At(run, Selection.parse(search)))
    except ProbeError as error:
        return problem(error)


def _unknown_page(search: str) -> Any:
    links = [dcc.Link(page.title, href=at(path + search)) for path, page in PAGES.items()]
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
