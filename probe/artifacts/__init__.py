"""Image measurements of synthesis artifacts, compared between real and fake with controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.artifacts.report import CONTROLS, ArtifactMeasurements, ArtifactReport
from probe.artifacts.responses import NOTHING, Answer, ResponseReport

if TYPE_CHECKING:
    from probe.artifacts.correlation import relate
    from probe.artifacts.doses import DosedImages, dose_response, render_doses
    from probe.artifacts.effects import artifact_report
    from probe.artifacts.measure import measure_artifacts, measure_picture
    from probe.artifacts.measurements import MEASUREMENTS, Measurement, Picture

__all__ = [
    "NOTHING",
    "Answer",
    "DosedImages",
    "ResponseReport",
    "dose_response",
    "relate",
    "render_doses",
    "CONTROLS",
    "MEASUREMENTS",
    "ArtifactMeasurements",
    "ArtifactReport",
    "Measurement",
    "Picture",
    "artifact_report",
    "measure_artifacts",
    "measure_picture",
]

# Reports are read without what measures images: OpenCV. Measurements are registered by the
# modules that define them, all of which `measuring` imports.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "correlation": ["relate"],
        "doses": ["DosedImages", "dose_response", "render_doses"],
        "effects": ["artifact_report"],
        "measure": ["MEASUREMENTS", "measure_artifacts", "measure_picture"],
        "measurements": ["Measurement", "Picture"],
    },
)
