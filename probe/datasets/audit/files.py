"""Files that are not there, cannot be read, or are no longer what the table says."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from probe.datasets.audit.checks import CHECKS
from probe.datasets.audit.context import Context, named
from probe.datasets.audit.findings import ERROR, WARNING, Finding, Measure

__all__: list[str] = []


@CHECKS.register("files")
def check_files(context: Context) -> Iterator[Finding | Measure]:
    """Find missing, unreadable and changed files; other checks leave the first two out."""
    for name, table in context.table.groupby("dataset", sort=False):
        missing = table[table["problem"] == "missing"]
        broken = table[~table["problem"].isin(["", "missing"])]
        if len(missing):
            yield Finding(
                "missing-file",
                ERROR,
                str(name),
                f"{len(missing)} of {len(table)} images are not on disk; nothing stands in for "
                "them, so evaluation and training stop there. Restore them, or take their rows "
                "out of the table.",
                len(missing),
                named(missing["path"]),
            )
        if len(broken):
            yield Finding(
                "unreadable-file",
                ERROR,
                str(name),
                f"{len(broken)} of {len(table)} images cannot be decoded "
                f"({broken['problem'].iloc[0]}). Restore them, or take their rows out of the "
                "table.",
                len(broken),
                named(broken["path"]),
            )
        yield from _changed(str(name), table)


def _changed(name: str, table: pd.DataFrame) -> Iterator[Finding]:
    if "digest" not in table:
        return
    known = table[table["digest"].notna() & (table["digest"] != "") & (table["content"] != "")]
    changed = known[known["digest"] != known["content"]]
    if len(changed):
        yield Finding(
            "changed-file",
            WARNING,
            name,
            f"{len(changed)} of {len(table)} images are no longer those that the table was made "
            "of, so its fingerprint, and every result filed under it, is of other images. Make "
            "the dataset again.",
            len(changed),
            named(changed["path"]),
        )
