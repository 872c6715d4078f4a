"""Image measurements of synthesis artefacts: real against fake, with controls."""

from probe.artifacts.measurements import MEASUREMENTS, Measurement
from probe.artifacts.measuring import measure_artifacts, measure_picture
from probe.artifacts.picture import Picture
from probe.artifacts.report import CONTROLS, ArtifactMeasurements, ArtifactReport
from probe.artifacts.reporting import artifact_report

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
