"""Attribution heatmaps on any detector, by captum."""

from probe.attribution.maps import METHODS, AttributionMap, attribute

__all__ = ["METHODS", "AttributionMap", "attribute"]
