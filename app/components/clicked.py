"""What a click on a figure means; a click that no figure of ours sends means nothing."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["coordinate_of", "place_of"]


def coordinate_of(click: Any, axis: str) -> float | None:
    """Return where on an axis, "x" or "y", was clicked; None where the click does not say it."""
    return _number(_point(click).get(axis))


def place_of(click: Any, axis: str, count: int) -> int | None:
    """Return which of `count` rows or columns was clicked on; None where it is none of them."""
    number = coordinate_of(click, axis)
    return int(number) if number is not None and 0 <= number < count else None


def _point(click: Any) -> dict[str, Any]:
    points = click.get("points") if isinstance(click, dict) else None
    first = points[0] if isinstance(points, list) and points else None
    return first if isinstance(first, dict) else {}


def _number(value: Any) -> float | None:
    """Read a finite number; plotly sends those of categories as text."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
