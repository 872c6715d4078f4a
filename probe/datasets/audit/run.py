"""`audit`: run all checks on datasets; reports are cached for unchanged files."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from probe.datasets.audit.facts import CHECKS, gather, originals_of
from probe.datasets.audit.report import SEVERITIES, AuditReport, Finding, Measure
from probe.datasets.audit.source import check_source
from probe.datasets.cache import cache_folder
from probe.datasets.dataset import Dataset
from probe.errors import DatasetError

__all__ = ["audit"]

#: Version of the checks; to be increased with every change, so that older reports are not reused.
VERSION = 4

_COLUMNS = (
    "sample",
    "dataset",
    "split",
    "label",
    "method",
    "video",
    "identity",
    "source",
    "driver",
    "path",
    "mask",
    "digest",
    "crop_side",
    "source_width",
    "source_height",
    "source_codec",
    "source_bitrate",
    "source_fps",
)


def audit(
    datasets: Dataset | str | Path | Iterable[Dataset | str | Path],
    *,
    cache: bool = True,
    n_workers: int | None = None,
) -> AuditReport:
    """Check datasets for leaks, duplicates, wrong labels, confounds and broken files.

    Parameters
    ----------
    datasets : Dataset, path or iterable of them
        Datasets to audit together: content that they share is reported too. Give all splits in
        use, since leaks are found between splits. A path is a source that was not ingested, such
        as DF40's folder or one of its lists: empty folders, missing files, repeated reals and
        splits that are equal are found in it.
    cache : bool, default True
        Whether to use a cached report on the same tables and files, and to cache the new one.
    n_workers : int, optional
        Number of processes; one per core by default.

    Returns
    -------
    AuditReport
        Findings by severity, and the numbers behind them.

    Raises
    ------
    DatasetError
        If no dataset was given, or a path is missing. Missing and unreadable images are findings,
        not errors.

    Examples
    --------
    >>> import probe
    >>> probe.audit(probe.open_dataset("crops"))
    <AuditReport: 336 images, 6 notes>
    """
    given = [datasets] if isinstance(datasets, Dataset | str | Path) else list(datasets)
    those = [one for one in given if isinstance(one, Dataset)]
    sources = [Path(one) for one in given if not isinstance(one, Dataset)]
    if not given:
        raise DatasetError("No dataset was given to audit. Give at least one.")
    if not sources:
        return _audited(those, cache, n_workers)
    reports = [_checked(one) for one in sources]
    return _joined([*reports, *([_audited(those, cache, n_workers)] if those else [])])


def _checked(root: Path) -> AuditReport:
    """Return the report on a source that was not ingested."""
    if not root.exists():
        raise DatasetError(
            f"The source {str(root)!r} is missing. Give the folder of a dataset, or one of its "
            "lists."
        )
    images, findings = check_source(root.resolve())
    return AuditReport((root.name,), images, _graded(findings), versions=_versions())


def _joined(reports: Sequence[AuditReport]) -> AuditReport:
    """Return one report of several."""
    return AuditReport(
        tuple(name for one in reports for name in one.datasets),
        sum(one.images for one in reports),
        _graded([finding for one in reports for finding in one.findings]),
        tuple(measure for one in reports for measure in one.measures),
        versions=_versions(),
    )


def _graded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: SEVERITIES.index(one.severity)))


def _audited(those: Sequence[Dataset], cache: bool, n_workers: int | None) -> AuditReport:
    fingerprint = _fingerprint(those)
    file = cache_folder() / "audits" / f"{fingerprint}.json"
    kept = _kept(file) if cache else None
    if kept is not None:
        return kept
    context = gather(those, n_workers or os.cpu_count() or 1)
    findings: list[Finding] = []
    measures: list[Measure] = []
    for name in CHECKS:
        for one in CHECKS[name](context):
            if isinstance(one, Finding):
                findings.append(one)
            else:
                measures.append(one)
    names = context.table["dataset"] + "/" + context.table["split"]
    report = AuditReport(
        tuple(dict.fromkeys(names)),
        len(context.facts.table),
        _graded(findings),
        tuple(measures),
        fingerprint,
        _versions(),
    )
    if cache:
        _keep(report, file)
    return report


def _fingerprint(datasets: Sequence[Dataset]) -> str:
    """Return a hash of tables and of sizes and times of files: much faster than their contents."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{VERSION} {sorted(_versions().items())}".encode())
    for one in datasets:
        table = one.samples.table
        digest.update(f"{originals_of(one)}".encode())
        # Missing values may stay missing as text, which cannot be joined.
        columns = [table[name].astype(str).fillna("") for name in _COLUMNS if name in table]
        for row in zip(*columns, strict=True):
            digest.update("\x1f".join(row).encode() + b"\x1e")
        for path in dict.fromkeys([*table["path"], *table["mask"][table["mask"] != ""]]):
            digest.update(_state(one.root / path).encode())
    return digest.hexdigest()


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return "missing|"
    return f"{found.st_size} {found.st_mtime_ns}|"


def _versions() -> dict[str, str]:
    names = ("deepfake-probe", "imagehash", "pillow", "scikit-learn", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def _keep(report: AuditReport, file: Path) -> None:
    """Cache a report; warn if it cannot be written."""
    try:
        report.save(file)
    except DatasetError as error:
        warnings.warn(
            f"{error} Set the variable PROBE_CACHE to a folder; until then every audit reads all "
            "files again.",
            stacklevel=3,
        )


def _kept(file: Path) -> AuditReport | None:
    """Return a cached report; None if there is none or it is damaged."""
    try:
        return AuditReport.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
