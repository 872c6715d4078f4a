"""Attribution heatmaps for any detector, by captum, and checks of how far to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.attribution.maps import AttributionMap
from probe.lazy import lazily

if TYPE_CHECKING:
    from probe.attribution.explain import BASELINES, attribute
    from probe.attribution.methods import METHODS, Method, Refusal

__all__ = ["BASELINES", "METHODS", "AttributionMap", "Method", "Refusal", "attribute"]

# Stored maps must be readable without torch and captum.
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
