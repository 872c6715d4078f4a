"""What one unit responds to, in a sentence that leads to the artifact."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from app.components.tables import level_text
from app.prefix import at
from app.queries.responses import AnswerRow
from app.selection import Selection

__all__ = ["unit_answer"]


def unit_answer(row: AnswerRow, chosen: Selection) -> Any:
    """Say what moves a unit, how that is known, and where to see it.

    Parameters
    ----------
    row : AnswerRow
        What was found.
    chosen : Selection
        What the page shows; the link keeps detector and dataset.
    """
    there = chosen.but(unit=row.unit, layer="")
    if not row.kind:
        words: list[Any] = ["Nothing was found that it responds to. "]
        link = "See what was asked"
    elif row.kind == "dose":
        strength = f"{row.effect:+.2f}".replace("-", "\N{MINUS SIGN}")
        words = [
            "Moved most by ",
            html.B(row.answer),
            html.Span(f" (by dose: {strength} SD at full dose, q {_level(row.q)}). "),
        ]
        there, link = there.but(artifact=row.answer), "See this artifact"
    else:
        strength = f"{row.effect:+.2f}".replace("-", "\N{MINUS SIGN}")
        words = [
            "Goes along most with ",
            html.B(row.answer),
            html.Span(f" (correlation {strength}, q {_level(row.q)}; not shown to be a cause). "),
        ]
        link = "See this measurement"
    return [*words, dcc.Link(link, href=at(f"/artifacts{there.search}"), className="onward")]


def _level(q: float) -> str:
    text = level_text(q)
    return text if text.startswith("<") else f"= {text}"
