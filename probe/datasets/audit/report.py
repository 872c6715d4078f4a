"""`AuditReport`: findings of an audit, with the numbers behind them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from probe.errors import DatasetError

__all__ = ["AuditReport", "ERROR", "Finding", "Measure", "NOTE", "SEVERITIES", "WARNING"]

ERROR, WARNING, NOTE = "error", "warning", "note"

#: Severities, the most severe first.
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """One finding of an audit.

    Attributes
    ----------
    check : str
        Name of the finding, such as "leaked-identity".
    severity : {"error", "warning", "note"}
        An error makes results wrong; a warning may make them wrong; a note is information.
    dataset : str
        Dataset concerned; several names joined by ", ".
    message : str
        What was found, why it matters and what to do, in one paragraph.
    count : int
        Number of images, videos or persons concerned, as stated in the message.
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
    """One measured number, with its confidence interval.

    Attributes
    ----------
    name : str
        Name of the measure, such as "metadata auroc".
    dataset : str
        Dataset it was measured on.
    value, low, high : float or None
        Estimate and bounds of the 95% interval over clusters; None if there is none.
    n_samples, n_clusters : int
        Number of samples and clusters.
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
    """Report of an audit.

    Attributes
    ----------
    datasets : tuple of str
        Audited datasets and splits, as "dataset/split".
    images : int
        Number of image files that were checked.
    findings : tuple of Finding
        Findings, the most severe first.
    measures : tuple of Measure
        Measured numbers, also those that gave no finding.
    fingerprint : str
        Hash of the tables and the sizes and times of files, by which a report is cached.
    versions : mapping
        Versions of the packages that determine the result.

    Examples
    --------
    >>> import probe
    >>> report = probe.audit(probe.open_dataset("crops"))
    >>> report.clean
    True
    """

    datasets: tuple[str, ...]
    images: int
    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...] = ()
    fingerprint: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say how many findings there are, by severity."""
        counts = Counter(one.severity for one in self.findings)
        said = (
            ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items())
            or "no findings"
        )
        return f"<AuditReport: {self.images:,} images, {said}>"

    def of(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(one for one in self.findings if one.severity == severity)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that make results wrong."""
        return self.of(ERROR)

    @property
    def clean(self) -> bool:
        """Whether there are no errors and no warnings."""
        return not (self.of(ERROR) or self.of(WARNING))

    def to_dataframe(self) -> pd.DataFrame:
        """Return a table with one row per finding."""
        columns = ["check", "severity", "dataset", "message", "count", "examples"]
        rows = [{**asdict(one), "examples": "; ".join(one.examples)} for one in self.findings]
        return pd.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
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
        """Return a report from plain data.

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
        """Write the report as JSON, completely or not at all, and return the path.

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
                "path."
            ) from error
        return file

    def summary(self) -> str:
        """Return the findings as text, one per line."""
        counts = ", ".join(f"{len(self.of(one))} {one}s" for one in SEVERITIES)
        lines = [f"{self.images} images of {_several(self.datasets)}: {counts}"]
        lines += [
            f"{one.severity}: {one.check}, {one.dataset}: {one.message}" for one in self.findings
        ]
        return "\n".join(lines)


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more
