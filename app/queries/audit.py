"""What an audit of the run's data found, and what the run notes that it could not do."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from app.queries.runs import provenance_of
from app.run import Run
from probe.errors import StoreError
from probe.run import MissingTableError, from_here, stamp_of

__all__ = ["AuditView", "Found", "NotDone", "audit_view", "not_done"]

#: The file that a study keeps its audit in.
AUDIT_FILE = "audit.json"

#: What a note of the provenance is about.
_NOTES = {
    "no_ablation": "Taking out universal units",
    "no_correlations": "Relating units to measurements",
    "no_attribution": "Attribution maps",
}


@dataclass(frozen=True)
class Found:
    """One thing that the audit found; see `probe.datasets.audit.Finding`."""

    check: str
    severity: str
    dataset: str
    message: str
    count: int


@dataclass(frozen=True)
class AuditView:
    """What was audited and found.

    Attributes
    ----------
    images, parts : int
        How many images, in how many datasets and splits.
    findings : tuple of Found
        The gravest first.
    """

    images: int
    parts: int
    findings: tuple[Found, ...]

    def of(self, severity: str) -> tuple[Found, ...]:
        """Return the findings of one severity: "error", "warning" or "note"."""
        return tuple(one for one in self.findings if one.severity == severity)


@dataclass(frozen=True)
class NotDone:
    """What was tried and could not be done, of whom, and why."""

    what: str
    of: str
    why: str


def audit_view(run: Run) -> AuditView:
    """Read the audit that the run keeps.

    Raises
    ------
    MissingTableError
        If it keeps none.
    StoreError
        If the file is damaged.
    """
    file = run.folder.root / AUDIT_FILE
    if not stamp_of(file):
        words = ["probe", "audit", from_here(run.folder.data), "--json", from_here(file)]
        raise MissingTableError("audit of its data", shlex.join(words))
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        return AuditView(
            images=int(found["images"]),
            parts=len(found["datasets"]),
            findings=tuple(map(_found, found["findings"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"The audit {AUDIT_FILE} of this run is damaged. Remove it and run the command of the "
            "run again."
        ) from error


def not_done(run: Run) -> tuple[NotDone, ...]:
    """List what the run notes that it could not do."""
    out = []
    for key, notes in provenance_of(run).items():
        if key.startswith("no_") and isinstance(notes, dict):
            what = _NOTES.get(key, key.removeprefix("no_").replace("_", " ").capitalize())
            out += [NotDone(what, str(name), str(why)) for name, why in notes.items()]
    return tuple(out)


def _found(given: dict[str, Any]) -> Found:
    return Found(
        check=str(given["check"]),
        severity=str(given["severity"]),
        dataset=str(given["dataset"]),
        message=str(given["message"]),
        count=int(given.get("count", 0)),
    )
