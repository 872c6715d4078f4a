"""How well features tell fakes from reals, and what they tell instead."""

from probe.separability.comparing import compare_features
from probe.separability.realfake import MEASURES
from probe.separability.report import SeparabilityReport, Similarity
from probe.separability.separating import measure_separability

__all__ = [
    "MEASURES",
    "SeparabilityReport",
    "Similarity",
    "compare_features",
    "measure_separability",
]
