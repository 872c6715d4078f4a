"""The audit: what is wrong with a dataset before a detector is believed on it."""

# Imported for their effect: they register their checks.
from probe.datasets.audit import confounds as _confounds
from probe.datasets.audit import consistency as _consistency
from probe.datasets.audit import duplicates as _duplicates
from probe.datasets.audit.facts import CHECKS
from probe.datasets.audit.report import AuditReport, Finding
from probe.datasets.audit.run import audit

__all__ = ["CHECKS", "AuditReport", "Finding", "audit"]

del _confounds, _consistency, _duplicates
