"""`Export`: what a card leaves to take away, as a table, a paper figure and Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from app.run import Run
from app.selection import Selection

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """What one card can be taken away as; all of it for what the address selects.

    Attributes
    ----------
    frame : callable
        Returns the table behind the card, ready for CSV and LaTeX.
    figure : callable, optional
        Draws the paper figure, with matplotlib's `Figure` alone; called under a lock.
    code : callable, optional
        Returns Python that makes the same from the run folder with the public interface; it
        leaves the table in ``table`` and the figure in ``figure``. See `app.exports.script`.
    attrs : callable, optional
        Returns the attributes of the table that it comes from, for the provenance in the file.
    about : tuple of str
        Fields of the selection that the file's name tells.
    """

    frame: Callable[[Run, Selection], pd.DataFrame]
    figure: Callable[[Run, Selection], Figure] | None = None
    code: Callable[[Run, Selection], str] | None = None
    attrs: Callable[[Run, Selection], Mapping[Any, Any]] | None = None
    about: tuple[str, ...] = ("detector",)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What it can be asked for as, in the order of the menu."""
        figures = (".pdf", ".png", ".svg") if self.figure else ()
        return (*figures, ".csv", ".tex", *((".py",) if self.code else ()))
