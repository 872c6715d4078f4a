"""Answers as JSON, written by orjson without a walk through them in Python."""

from __future__ import annotations

from typing import Any

import dash._callback
import numpy as np
import orjson

__all__ = ["as_json", "write_fast"]


def as_json(value: Any) -> str:
    """Return JSON of components, figures, arrays and what they hold; NaN becomes null."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(value, default=_plain, option=options).decode()


def write_fast() -> None:
    """Have Dash write callbacks' answers by `as_json`.

    Dash hands them to plotly, which copies all of them first to make them ready for orjson. That
    took as long as all else that an answer needs, and Dash has no setting for it.
    """
    dash._callback.to_json = as_json  # type: ignore[attr-defined]


def _plain(value: Any) -> Any:
    """Turn what orjson does not know into what it knows."""
    if hasattr(value, "to_plotly_json"):
        return value.to_plotly_json()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"A {type(value).__name__} cannot be written as JSON.")
