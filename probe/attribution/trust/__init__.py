"""Trust in heatmaps: checks of attribution methods, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

from probe.attribution.trust.checks import CHECKS, PSEUDO_METHODS, REFERENCES, Check
from probe.attribution.trust.report import TrustReport

if TYPE_CHECKING:
    from probe.attribution.trust.table import trust_report

__all__ = ["CHECKS", "PSEUDO_METHODS", "REFERENCES", "Check", "TrustReport", "trust_report"]

# Reports are read without what runs detectors: torch.
__getattr__, *_ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "table": ["trust_report"],
    },
)
