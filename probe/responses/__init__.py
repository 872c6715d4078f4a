"""What each unit responds to: by correlation with measurements, and by dose on the lab."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from probe.responses.report import NOTHING, Answer, ResponseReport

if TYPE_CHECKING:
    from probe.responses.dosing import dose_response
    from probe.responses.relating import relate
    from probe.responses.rendering import DosedImages, render_doses

# The part on doses runs a detector, and so brings torch; the app reads reports without it.
_HOMES = {
    "DosedImages": "probe.responses.rendering",
    "dose_response": "probe.responses.dosing",
    "relate": "probe.responses.relating",
    "render_doses": "probe.responses.rendering",
}

__all__ = [
    "NOTHING",
    "Answer",
    "DosedImages",
    "ResponseReport",
    "dose_response",
    "relate",
    "render_doses",
]


def __getattr__(name: str) -> Any:
    """Import a function from its home on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'probe.responses' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
