"""Trust in heatmaps: checks of attribution methods, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.attribution.trust.checks import CHECKS, PSEUDO_METHODS, REFERENCES, Check
from probe.attribution.trust.report import TrustReport
from probe.lazy import lazily

if TYPE_CHECKING:
    from probe.attribution.trust.table import trust_report

__all__ = ["CHECKS", "PSEUDO_METHODS", "REFERENCES", "Check", "TrustReport", "trust_report"]

# A stored report must be readable without torch.
__getattr__ = lazily(__name__, {"trust_report": "probe.attribution.trust.table"})
