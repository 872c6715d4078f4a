"""The audit: checks of datasets for leaks, confounds and errors, before results are trusted."""

# Imported for their side effect: each module registers its checks.
from probe.datasets.audit import confounds as _confounds
from probe.datasets.audit import consistency as _consistency
from probe.datasets.audit import duplicates as _duplicates
from probe.datasets.audit.facts import CHECKS
from probe.datasets.audit.report import AuditReport, Finding
from probe.datasets.audit.run import audit

__all__ = ["CHECKS", "AuditReport", "Finding", "audit"]

del _confounds, _consistency, _duplicates
