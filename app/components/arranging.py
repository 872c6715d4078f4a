"""What stands in place of something that waits for a store to be arranged by unit."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from app.queries.arranging import ArrangingError

__all__ = ["arranging"]


def arranging(error: ArrangingError) -> Any:
    """Say what is waited for and how far it is; whoever shows it asks again every second."""
    named: dict[str, Any] = {"aria-label": "Share that is arranged"}
    return html.Div(
        [
            html.Div(className="message-mark missing"),
            html.Div("Getting ready", className="message-title"),
            html.Div(str(error), className="message-text"),
            dmc.Progress(value=100 * error.share, size="sm", w=320, m="12px auto 0", **named),
        ],
        className="message",
    )
