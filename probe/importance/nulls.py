"""Detectors that cannot have learned to detect, measured as the real one is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from probe.detectors.detector import Detector
from probe.detectors.loading import load_detector
from probe.hooks import AffineProgram, SuffixProgram, compile_suffix, split, trace

__all__ = ["random_heads", "untrained"]


def untrained(detector: Detector, count: int, seed: int) -> Iterator[Detector]:
    """Make detectors of the same architecture with weights as initialized, seed by seed."""
    for draw in range(count):
        spec = detector.spec
        yield load_detector(
            spec.name,
            input_size=spec.input_size,
            seed=seed + 1000 + draw,
            options=spec.options,
            device=detector.device,
        )


def random_heads(
    detector: Detector, program: SuffixProgram, count: int, seed: int
) -> Iterator[SuffixProgram]:
    """Shuffle the trained weights behind the tap: a head of the same weights that knows nothing.

    Behind an affine suffix the composed weights are permuted over units; else the entries of every
    weight of a linear or convolutional layer behind the tap, tensor by tensor.
    """
    for draw in range(count):
        rng = np.random.default_rng((seed, draw))
        if isinstance(program, AffineProgram):
            order = torch.from_numpy(rng.permutation(len(program.weight)))
            yield replace(program, weight=program.weight[order])
            continue
        yield compile_suffix(_shuffled(detector, program.layer, rng), program.layer)


def _shuffled(detector: Detector, layer: str, rng: np.random.Generator) -> Detector:
    behind = {str(node.target) for node in split(trace(detector), layer)[1].graph.nodes}
    module = copy.deepcopy(detector.module)
    for path, part in module.named_modules():
        if path in behind and isinstance(part, nn.Linear | nn.Conv2d):
            weight = part.weight.data
            order = torch.from_numpy(rng.permutation(weight.numel())).to(weight.device)
            part.weight.data = weight.flatten()[order].view_as(weight)
    return Detector(module, detector.spec)
