"""Capture layer activations in one forward pass that ends at the last of the layers."""

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
    """A detector compiled to return the values of taps together with the logit.

    Attributes
    ----------
    detector : Detector
        Detector to record.
    taps : tuple of Tap
        Layers to record and their reducers.
    names : tuple of str
        Full module paths of the taps.
    program : torch.fx.GraphModule
        Graph from images to the tapped values and, last, the logits.
    """

    detector: Detector
    taps: tuple[Tap, ...]
    names: tuple[str, ...]
    program: fx.GraphModule

    @classmethod
    def of(cls, detector: Detector | TracedDetector, taps: Sequence[Tap]) -> Recorder:
        """Compile a recorder for a detector and its taps.

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
        """Run images; return reduced values, shape (n, unit) by layer name, and logits (n,).

        Raises
        ------
        TraceError
            If a layer's value does not have one row per image, or has no unit axis.
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
    """Return the unreduced activations of layers, as forward hooks would.

    The network runs only as far as the last of these layers. No hooks are attached and the module
    is not changed. Values are copied before a later in-place operation can change them.

    Parameters
    ----------
    detector : Detector or TracedDetector
        Detector to run.
    images : array_like
        Images of shape (n, 3, h, w), in [0, 1].
    layers : sequence of str
        Module paths; ``relu@2`` is the second call of a module that is called several times.

    Returns
    -------
    dict
        Layer name, as given, to its value.

    Raises
    ------
    UnknownNameError
        If there is no such layer.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> values = probe.capture(detector, data.array([0, 1], 64), ["leaky"])
    >>> tuple(values["leaky"].shape)
    (2, 16)
    """
    traced = trace(detector) if isinstance(detector, Detector) else detector
    wanted = [traced.node(layer) for layer in layers]
    program = extract(traced, [_ends(traced)[0]], wanted)
    with torch.inference_mode():
        values = program(torch.as_tensor(images).to(traced.detector.device))
    return dict(zip(layers, values, strict=True))


def _ends(traced: TracedDetector) -> tuple[fx.Node, Any]:
    """Return the graph's input node (images) and the node of its output (logits)."""
    nodes = list(traced.graph.nodes)
    return nodes[0], nodes[-1].args[0]
