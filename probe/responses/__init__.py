"""Responses of units: correlation with image measurements, and dose response to artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.lazy import lazily
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

# Dose responses run a detector and import torch; a stored report must be readable without it.
__getattr__ = lazily(
    __name__,
    {
        "DosedImages": "probe.responses.doses",
        "dose_response": "probe.responses.doses",
        "relate": "probe.responses.correlation",
        "render_doses": "probe.responses.doses",
    },
)
