"""Layers that a study names: that they are there, and in which order they run."""

from __future__ import annotations

from probe.detectors import Detector, load_detector
from probe.errors import UnknownNameError
from probe.hooks import trace
from probe.study.plan import Study
from probe.study.reasons import NAMED_LAYERS

__all__ = ["in_order", "require_layers"]


def require_layers(study: Study) -> None:
    """Raise `UnknownNameError` for a layer that is in no detector, before anything is trained."""
    plan = study.detectors
    for name in dict.fromkeys([*plan.names, *(one.name for one in plan.weights)]):
        asked = study.layers - {*NAMED_LAYERS}
        if asked:
            known = trace(load_detector(name, input_size=plan.input_size)).layers
            for layer in sorted(asked - {*known}):
                raise UnknownNameError(
                    "layer", layer, known, name, f"List them with `probe layers {name}`."
                )


def in_order(detector: Detector, names: list[str]) -> list[str]:
    """Sort layers from the image to the logit, each once."""
    traced = trace(detector)
    order = {layer: i for i, layer in enumerate(traced.layers)}
    return sorted(dict.fromkeys(names), key=lambda name: order[traced.resolve(name)])
