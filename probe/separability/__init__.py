"""How well features tell fakes from reals, and what they tell instead."""

from probe.separability.comparing import similarity
from probe.separability.realfake import MEASURES
from probe.separability.report import SeparabilityReport, Similarity
from probe.separability.separating import separability

__all__ = ["MEASURES", "SeparabilityReport", "Similarity", "separability", "similarity"]
