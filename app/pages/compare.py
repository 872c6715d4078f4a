"""Compare: what differs between two detectors, and is it more than noise?"""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, html

from app.queries.reading import Run

__all__ = ["layout", "register"]

QUESTION = "What differs between two detectors, and is it more than noise?"


def layout(run: Run, search: str) -> Any:
    """Lay out the page for what the address selects."""
    title = [dmc.Title("Compare", order=1), html.Div(QUESTION, className="question")]
    return html.Div([html.Div(html.Div(title), className="page-head")])


def register(app: Dash, run: Run) -> None:
    """Add the page's callbacks."""
