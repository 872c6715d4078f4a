"""Capturing the values of layers in one run that ends at the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from probe.detectors.detector import Detector
from probe.hooks.taps import REDUCERS, Tap, check_rows, full
from probe.hooks.tracing import TracedDetector, extract, trace

__all__ = ["Recorder", "capture"]


@dataclass(frozen=True)
class Recorder:
    """A detector pruned to what some taps and the logit need.

    Attributes
    ----------
    detector : Detector
        Whom.
    taps : tuple of Tap
        What is taken.
    names : tuple of str
        Their full names.
    program : torch.fx.GraphModule
        From images to the tapped values and, last, the logits.
    """

    detector: Detector
    taps: tuple[Tap, ...]
    names: tuple[str, ...]
    program: fx.GraphModule

    @classmethod
    def of(cls, detector: Detector | TracedDetector, taps: Sequence[Tap]) -> Recorder:
        """Compile a recorder.

        Raises
        ------
        UnknownNameError
            If a layer or a reducer is not known.
        """
        traced = trace(detector) if isinstance(detector, Detector) else detector
        for tap in taps:
            REDUCERS[tap.reducer]
        names = tuple(traced.resolve(tap.layer) for tap in taps)
        images, result = _ends(traced)
        wanted = [traced.layers[name] for name in names]
        return cls(
            traced.detector, tuple(taps), names, extract(traced, [images], [*wanted, result])
        )

    def __call__(self, images: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Run images; give reduced values, shape (n, unit) by layer name, and logits (n,).

        Raises
        ------
        TraceError
            If the value of a layer has not one row an image, or no axis of units.
        """
        with torch.inference_mode():
            *values, logits = self.program(torch.as_tensor(images).to(self.detector.device))
            rows = list(zip(self.names, self.taps, values, strict=True))
            for name, _, value in rows:
                check_rows(name, value, len(logits))
            return {name: tap.apply(full(value)) for name, tap, value in rows}, logits


def capture(
    detector: Detector | TracedDetector, images: Any, layers: Sequence[str]
) -> dict[str, Tensor]:
    """Take the values of layers, unreduced, as a forward hook on them would.

    The network is run no further than the last of them, and the module is not touched: no hooks
    are attached to it. A value is taken before an in-place operation behind it can change it.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Whom.
    images : array_like
        Shape (n, 3, h, w), in [0, 1].
    layers : sequence of str
        Module paths; ``relu@2`` is the second call of a module that is called several times.

    Returns
    -------
    dict
        Layer, as it was given, to value.

    Raises
    ------
    UnknownNameError
        If there is no such layer.
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    wanted = [traced.node(layer) for layer in layers]
    program = extract(traced, [_ends(traced)[0]], wanted)
    with torch.inference_mode():
        values = program(torch.as_tensor(images).to(traced.detector.device))
    return dict(zip(layers, values, strict=True))


def _ends(traced: TracedDetector) -> tuple[fx.Node, Any]:
    """Find the node of the images that come in, and that of the logits that go out."""
    nodes = list(traced.graph.nodes)
    return nodes[0], nodes[-1].args[0]
