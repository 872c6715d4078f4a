"""Image measurements of synthesis artifacts, compared between real and fake with controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.artifacts.report import CONTROLS, ArtifactMeasurements, ArtifactReport
from probe.lazy import lazily

if TYPE_CHECKING:
    from probe.artifacts.effects import artifact_report
    from probe.artifacts.measure import measure_artifacts, measure_picture
    from probe.artifacts.measurements import MEASUREMENTS, Measurement, Picture

__all__ = [
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

# A stored report must be readable without OpenCV. Measurements are registered by the modules that
# define them, all of which `measure` imports.
__getattr__ = lazily(
    __name__,
    {
        "MEASUREMENTS": "probe.artifacts.measure",
        "Measurement": "probe.artifacts.measurements",
        "Picture": "probe.artifacts.measurements",
        "artifact_report": "probe.artifacts.effects",
        "measure_artifacts": "probe.artifacts.measure",
        "measure_picture": "probe.artifacts.measure",
    },
)
