"""What is said of images that are not shown as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dash import html

from app.queries.images import Lack, lacks_of
from app.run import Run
from probe.errors import ProbeError

__all__ = ["lacks_note", "lacks_text"]


def lacks_note(run: Run, tokens: Iterable[str], more: str = "") -> Any:
    """Say under images which of them are not shown as they are, why, and what to do; or nothing.

    Parameters
    ----------
    run : Run
        Whose images.
    tokens : iterable of str
        Which are shown.
    more : str
        A sentence that is added where an image is neither shown nor small.
    """
    shown = list(dict.fromkeys(tokens))
    try:
        found = lacks_of(run, shown)
    except ProbeError:
        # Said where the images would be.
        return None
    if not found:
        return None
    lines = [html.Div(lacks_text(lack, len(shown))) for lack in found]
    if more and any(lack.small < lack.n for lack in found):
        lines.append(html.Div(more))
    return html.Div(lines, className="reading lacks", role="note")


def lacks_text(lack: Lack, total: int) -> str:
    """Word one reason, for so many of all images."""
    if total == 1:
        how = "is shown small, by the run's thumbnail" if lack.small else "is not shown"
        return f"This image {how}: {lack.why}. {lack.remedy}"
    is_are = "is" if lack.n == 1 else "are"
    if lack.small == lack.n:
        how = f"{is_are} shown small, by the run's thumbnails"
    elif lack.small:
        how = f"{is_are} not shown, or small by the run's thumbnails ({lack.small})"
    else:
        how = f"{is_are} not shown"
    return f"{lack.n} of {total} images {how}: {lack.why}. {lack.remedy}"
