"""The audit: what is wrong with a dataset before a detector is believed on it."""

# Imported for their effect: they register their checks.
from probe.datasets.audit import balance as _balance
from probe.datasets.audit import confounds as _confounds
from probe.datasets.audit import duplicates as _duplicates
from probe.datasets.audit import files as _files
from probe.datasets.audit import labels as _labels
from probe.datasets.audit import leaks as _leaks
from probe.datasets.audit.checks import CHECKS
from probe.datasets.audit.findings import AuditReport, Finding
from probe.datasets.audit.running import audit

__all__ = ["CHECKS", "AuditReport", "Finding", "audit"]

del _balance, _confounds, _duplicates, _files, _labels, _leaks
