"""Layers that a study names: that they are there, and in which order they run."""

from __future__ import annotations

from probe.attribution.explain import prepare
from probe.detectors import Detector, load_detector
from probe.errors import UnknownNameError
from probe.hooks import trace
from probe.study.plan import Study
from probe.study.reasons import COMPARED, NAMED_LAYERS

__all__ = ["in_order", "require_layers"]


def require_layers(study: Study) -> None:
    """Raise for a layer that a detector lacks, or cannot be drawn, before anything is trained.

    Raises
    ------
    UnknownNameError
        If a detector has no such layer.
    ProbeError
        If Grad-CAM shall weight a layer that is no map at this input size.
    """
    plan = study.detectors
    for name in dict.fromkeys([*plan.names, *(one.name for one in plan.weights)]):
        asked, drawn = study.layers - {*NAMED_LAYERS}, _drawn(study) - {*NAMED_LAYERS}
        if asked | drawn:
            detector = load_detector(name, input_size=plan.input_size)
            known = trace(detector).layers
            for layer in sorted((asked | drawn) - {*known}):
                raise UnknownNameError(
                    "layer", layer, known, name, f"List them with `probe layers {name}`."
                )
            for layer in sorted(drawn):
                prepare(detector, COMPARED, layer=layer)


def _drawn(study: Study) -> set[str]:
    """Layers whose maps are weighted."""
    drawn = {study.figures.heatmap_layer} if study.figures.heatmaps else set()
    if study.attribution.run and study.attribution.layer:
        drawn = drawn | {study.attribution.layer}
    return drawn


def in_order(detector: Detector, names: list[str]) -> list[str]:
    """Sort layers from the image to the logit, each once."""
    traced = trace(detector)
    order = {layer: i for i, layer in enumerate(traced.layers)}
    return sorted(dict.fromkeys(names), key=lambda name: order[traced.resolve(name)])
