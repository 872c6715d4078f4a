"""Attribution heatmaps for any detector, by captum, and checks of how far to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.attribution.maps import AttributionMap

if TYPE_CHECKING:
    from probe.attribution.explain import BASELINES, attribute
    from probe.attribution.methods import METHODS, Method, Refusal

__all__ = ["BASELINES", "METHODS", "AttributionMap", "Method", "Refusal", "attribute"]

# Maps are read without what makes them: torch and captum.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "explain": ["BASELINES", "attribute"],
        "methods": ["METHODS", "Method", "Refusal"],
    },
)
