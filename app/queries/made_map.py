"""A map of one image that is made on request, by a job."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np

from app.jobs import Jobs, Task, map_task, maps_of
from app.queries.attribution_files import draw_alone, image_under
from app.queries.attribution_maps import Column, column_of
from app.queries.layers import known_detector
from app.queries.sample import SampleView
from app.queries.sample_shown import shown_image
from app.run import Run
from app.selection import Selection
from probe.errors import ProbeError, UnknownNameError
from probe.images import token_of

__all__ = ["METHODS", "MadeMap", "made_map", "made_task"]

#: Methods that are offered, by their registered names: the study's, and those that checks favor.
METHODS = {
    "gradcam": "Grad-CAM",
    "feature_ablation": "Superpixel ablation",
    "occlusion": "Occlusion",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
}


@dataclass(frozen=True)
class MadeMap:
    """What a job "map" made of one image.

    Attributes
    ----------
    source : str
        The map as a PNG, in a data URL.
    column : Column
        The method, and the scale, which is that of this map alone.
    gap : float
        Sum of the map less what it should sum to; NaN where the method promises nothing.
    total : float
        Sum of the map.
    sample : str
        Id of the image.
    """

    source: str
    column: Column
    gap: float
    total: float
    sample: str


def made_task(run: Run, chosen: Selection, method: str) -> Task:
    """Ask for a map of the image that the address names.

    Raises
    ------
    ProbeError
        If it is none of the run's images, or the run holds no weights of the detector.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS, remedy="Choose one on the page.")
    image = shown_image(run, chosen)
    if not isinstance(image, SampleView):
        raise ProbeError("Maps are made of images of the run; choose one above.")
    return map_task(run, known_detector(run, chosen), [image.token], method)


def made_map(run: Run, jobs: Jobs, fingerprint: str) -> MadeMap:
    """Read what the job made, and draw it in the shape of its image."""
    maps = maps_of(jobs, fingerprint)
    sample = str(maps.data["sample"].values[0])
    values = np.asarray(maps.values[0], dtype=np.float64)
    image = image_under(run, token_of(sample))
    height, width = values.shape if image is None else image.shape[:2]
    content, limit = draw_alone(values, maps.signed, width, height)
    return MadeMap(
        source="data:image/png;base64," + base64.b64encode(content).decode("ascii"),
        column=column_of(maps, limit),
        gap=float(maps.data["gap"].values[0]),
        total=float(values.sum()),
        sample=sample,
    )
