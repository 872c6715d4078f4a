"""Gradients and conductance of units, by captum on a detector that is cut at the tap."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from captum.attr import LayerConductance, LayerGradientXActivation
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from probe.hooks import split, trace
from probe.hooks.taps import units_first
from probe.hooks.tracing import TracedDetector

__all__ = ["Cut", "attributions"]

#: Steps of the path integral of conductance.
STEPS = 32


class Cut(nn.Module):
    """A traced detector whose tapped value passes through a module of its own.

    captum attributes to modules; this makes one of any named value, also of the second call of a
    module, and keeps what follows from changing it in place.

    Parameters
    ----------
    traced : TracedDetector
        Whom.
    layer : str
        Where.
    positions : bool, default False
        Whether every scalar of the value is a unit.
    """

    def __init__(self, traced: TracedDetector, layer: str, positions: bool = False) -> None:
        super().__init__()
        prefix, suffix = split(traced, layer)
        self.prefix: fx.GraphModule = prefix
        self.suffix: fx.GraphModule = suffix
        self.tap = nn.Identity()
        self.positions = positions

    def forward(self, images: Tensor) -> Tensor:
        """Give fake logits, shape (n,)."""
        value, *bypass = self.prefix(images)
        out: Tensor = self.suffix(self.tap(value).clone(), *bypass)[0]
        return out

    def by_unit(self, value: Tensor) -> NDArray[np.float32]:
        """Sum attributions over positions, shape (n, unit)."""
        if self.positions or value.ndim == 2:
            summed = value.flatten(1)
        else:
            summed = units_first(value).flatten(2).sum(dim=2)
        return np.asarray(summed.detach().float().cpu().numpy())


def attributions(cut: Cut, images: Any, kind: str) -> NDArray[np.float32]:
    """Attribute the fake logit to units.

    Parameters
    ----------
    cut : Cut
        The detector.
    images : array_like
        Shape (n, 3, h, w), in [0, 1].
    kind : {"gradient", "conductance"}
        Which; conductance integrates from the black image in `STEPS` steps.

    Returns
    -------
    numpy.ndarray
        Shape (n, unit).
    """
    device = next(cut.parameters()).device
    given = torch.as_tensor(images).to(device)
    # captum sums over outputs; one logit an image needs no target.
    if kind == "gradient":
        found = LayerGradientXActivation(cut, cut.tap, multiply_by_inputs=False).attribute(given)
    else:
        found = LayerConductance(cut, cut.tap).attribute(
            given, torch.zeros_like(given), n_steps=STEPS, internal_batch_size=2 * len(given)
        )
    value = found[0] if isinstance(found, tuple) else found
    return cut.by_unit(value)


def cut_at(detector: Any, layer: str, positions: bool = False) -> Cut:
    """Cut a detector, traced or not, for captum."""
    traced = detector if isinstance(detector, TracedDetector) else trace(detector)
    return Cut(traced, layer, positions)
