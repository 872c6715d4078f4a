"""`AuditReport`: what an audit found, with the numbers behind it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from probe.errors import DatasetError

__all__ = ["AuditReport", "ERROR", "Finding", "Measure", "NOTE", "SEVERITIES", "WARNING"]

ERROR, WARNING, NOTE = "error", "warning", "note"

#: Gravest first.
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    check : str
        What looked for it, such as "leaked-identity".
    severity : {"error", "warning", "note"}
        An error makes results wrong; a warning may; a note is to be known.
    dataset : str
        Where; several names joined by ", ".
    message : str
        What was found, why it matters and what to do, in one paragraph.
    count : int
        How many images, videos or persons, as the message says.
    examples : tuple of str
        The first few of them.
    """

    check: str
    severity: str
    dataset: str
    message: str
    count: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """One number, with its interval over clusters.

    Attributes
    ----------
    name : str
        What was measured, such as "metadata auroc".
    dataset : str
        Where.
    value, low, high : float or None
        Estimate and 95 % bounds; None where there is none.
    n_samples, n_clusters : int
        What it rests on.
    """

    name: str
    dataset: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n_samples: int = 0
    n_clusters: int = 0


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    datasets : tuple of str
        What was audited, as "dataset/split".
    images : int
        How many image files were looked at.
    findings : tuple of Finding
        The gravest first.
    measures : tuple of Measure
        The numbers behind them, also where they gave no reason for a finding.
    fingerprint : str
        Of the tables and the files' sizes and times: the same audit need not run twice.
    versions : mapping
        Of the packages that decide the result.
    """

    datasets: tuple[str, ...]
    images: int
    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...] = ()
    fingerprint: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def of(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(one for one in self.findings if one.severity == severity)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes results wrong."""
        return self.of(ERROR)

    @property
    def clean(self) -> bool:
        """Whether nothing but notes was found."""
        return not (self.of(ERROR) or self.of(WARNING))

    def to_dataframe(self) -> pd.DataFrame:
        """Return one row a finding."""
        columns = ["check", "severity", "dataset", "message", "count", "examples"]
        rows = [{**asdict(one), "examples": "; ".join(one.examples)} for one in self.findings]
        return pd.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "clean": self.clean,
            "datasets": list(self.datasets),
            "images": self.images,
            "findings": [asdict(one) for one in self.findings],
            "measures": [asdict(one) for one in self.measures],
            "fingerprint": self.fingerprint,
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> AuditReport:
        """Make one from plain data.

        Raises
        ------
        KeyError, TypeError
            If the data are not those of a report.
        """
        findings = [{**one, "examples": tuple(one["examples"])} for one in found["findings"]]
        return cls(
            tuple(found["datasets"]),
            int(found["images"]),
            tuple(Finding(**one) for one in findings),
            tuple(Measure(**one) for one in found["measures"]),
            str(found["fingerprint"]),
            dict(found["versions"]),
        )

    def save(self, file: str | Path) -> Path:
        """Write it as JSON, whole or not at all.

        Raises
        ------
        DatasetError
            If the file cannot be written.
        """
        file = Path(file)
        # Another process may save the same report at the same time.
        partial = file.with_name(f"{file.name}.{os.getpid()}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
            partial.replace(file)
        except OSError as error:
            raise DatasetError(
                f"The audit cannot be written to {str(file)!r} ({error.strerror}). Give another "
                "place."
            ) from error
        return file

    def summary(self) -> str:
        """Say in a few lines what was found."""
        counts = ", ".join(f"{len(self.of(one))} {one}s" for one in SEVERITIES)
        lines = [f"{self.images} images of {_several(self.datasets)}: {counts}"]
        lines += [
            f"{one.severity}: {one.check}, {one.dataset}: {one.message}" for one in self.findings
        ]
        return "\n".join(lines)


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
