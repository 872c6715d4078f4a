"""Responses of units: correlation with image measurements, and dose response to artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.responses.report import NOTHING, Answer, ResponseReport

if TYPE_CHECKING:
    from probe.responses.correlation import relate
    from probe.responses.doses import DosedImages, dose_response, render_doses

__all__ = [
    "NOTHING",
    "Answer",
    "DosedImages",
    "ResponseReport",
    "dose_response",
    "relate",
    "render_doses",
]

# The part on doses runs a detector, and so brings torch; the app reads reports without it.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "correlation": ["relate"],
        "doses": ["DosedImages", "dose_response", "render_doses"],
    },
)
