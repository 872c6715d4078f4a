"""Separability: how well features tell fakes from reals, methods and datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.lazy import lazily
from probe.separability.probes import probe_differences
from probe.separability.report import SeparabilityReport, Similarity

if TYPE_CHECKING:
    from probe.separability.measure import measure_separability
    from probe.separability.realfake import MEASURES
    from probe.separability.similarity import compare_features

__all__ = [
    "MEASURES",
    "SeparabilityReport",
    "Similarity",
    "compare_features",
    "measure_separability",
    "probe_differences",
]

# A stored report must be readable without scikit-learn.
__getattr__ = lazily(
    __name__,
    {
        "MEASURES": "probe.separability.realfake",
        "compare_features": "probe.separability.similarity",
        "measure_separability": "probe.separability.measure",
    },
)
