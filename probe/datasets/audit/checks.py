"""The registry of checks; what is registered is run by every audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from probe.datasets.audit.context import Context
from probe.datasets.audit.findings import Finding, Measure
from probe.registry import Registry

__all__ = ["CHECKS", "Check"]

#: From the context to findings and to the numbers behind them.
Check = Callable[[Context], Iterator[Finding | Measure]]

#: Checks by name, in the order in which they are run.
CHECKS: Registry[Check] = Registry("check")
