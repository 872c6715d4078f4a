"""Attribution heatmaps on any detector, by captum, and whether they can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.attribution.maps import AttributionMap
from probe.lazy import lazily

if TYPE_CHECKING:
    from probe.attribution.explain import BASELINES, attribute
    from probe.attribution.methods import METHODS, Method, Refusal

__all__ = ["BASELINES", "METHODS", "AttributionMap", "Method", "Refusal", "attribute"]

# Maps are read without what makes them: torch and captum.
__getattr__ = lazily(
    __name__,
    {
        "BASELINES": "probe.attribution.explain",
        "METHODS": "probe.attribution.methods",
        "Method": "probe.attribution.methods",
        "Refusal": "probe.attribution.methods",
        "attribute": "probe.attribution.explain",
    },
)
