"""Layout of Deepfake-Eval-2024 as distributed: images and videos of social media (2025)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from probe.datasets.layouts import (
    IMAGES,
    LAYOUTS,
    VIDEOS,
    ImageFiles,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import account, relative, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["DEEPFAKE_EVAL"]

NAME, LABEL, SET = "filename", "ground truth", "finetuning set"

_LABELS = {"real": REAL, "fake": FAKE}
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

#: What spreadsheets write in place of names that begin like a formula.
_DAMAGED = frozenset(
    {"#NAME?", "#REF!", "#VALUE!", "#N/A", "#ERROR!", "#DIV/0!", "#NULL!", "#NUM!"}
)

LABELS = "column Ground Truth: Real → 0 real, Fake → 1 fake; unknown is left out"
SPLIT_RULE = "The column Finetuning Set, Train or Test; there is no official val."
LICENSE = "CC BY-SA 4.0, with the authors' conditions of access"


@dataclass(frozen=True)
class _Part:
    """Images or videos, with their table and the folder of their files."""

    kind: str
    table: Path
    folder: Path
    suffixes: frozenset[str]

    @property
    def dataset(self) -> str:
        return f"deepfake-eval-2024-{self.kind}"


@dataclass
class _Counts:
    """What was left out, by reason."""

    damaged: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    unlisted: int = 0


def _parts(root: Path) -> list[_Part]:
    kinds = {"image": IMAGES, "video": VIDEOS}
    found = []
    for kind, suffixes in kinds.items():
        table = root / f"{kind}-metadata-publish.csv"
        folders = [root / f"{kind}-data", root / f"{kind}_data"]
        folder = next((one for one in folders if one.is_dir()), folders[0])
        if table.is_file():
            found.append(_Part(kind, table, folder, suffixes))
    return found


def _read(root: Path, options: LayoutOptions) -> Inventory:
    parts = _parts(root)
    if not parts:
        raise DatasetError(
            f"{str(root)!r} is not a Deepfake-Eval-2024 tree: neither image-metadata-publish.csv "
            "nor video-metadata-publish.csv is in it. Give the folder that holds them beside "
            "image-data and video-data."
        )
    left_out: dict[str, str] = {}
    videos, notes = [], []
    for part in parts:
        counts = _Counts()
        videos += list(_entries(root, part, counts, left_out))
        notes += list(_notes(part, counts))
    kept = account(root, videos, left_out, [part.table for part in parts])
    absent = sorted({"image", "video"} - {part.kind for part in parts})
    notes += [
        f"{kind}-metadata-publish.csv is missing: its files have no labels." for kind in absent
    ]
    return Inventory(
        kept, {}, left_out, tuple(notes), LABELS, SPLIT_RULE, LICENSE, without_val=True
    )


def _entries(
    root: Path, part: _Part, counts: _Counts, left_out: dict[str, str]
) -> Iterator[VideoEntry]:
    files: dict[str, Path] = {}
    if part.folder.is_dir():
        files = {file.name: file for file in walk(root, left_out, part.folder)}
    rows = _rows(part.table)
    named: dict[str, Mapping[str, str]] = {}
    for number, row in enumerate(rows, 1):
        name = row[NAME].replace("\\", "/").rpartition("/")[2]
        place = f"{part.table.name}::row {number}"
        if name.upper() in _DAMAGED or not name:
            counts.damaged += 1
            left_out[place] = f"its file name is {name!r}: a spreadsheet has overwritten it"
        elif named.setdefault(name, row)[LABEL].lower() != row[LABEL].lower():
            raise DatasetError(
                f"Row {number} of {str(part.table)!r} gives {name!r} a second label, "
                f"{row[LABEL]!r} after {named[name][LABEL]!r}. Restore the official file."
            )
    for name, given in sorted(named.items()):
        why = _why_not(part, files.get(name), given, counts)
        if why:
            left_out[relative(files.get(name, part.folder / name), root)] = why
        else:
            yield _entry(part, files[name], given)
    for name in sorted(files.keys() - named.keys()):
        counts.unlisted += 1
        left_out[relative(files[name], root)] = f"it is not in {part.table.name}"


def _why_not(part: _Part, file: Path | None, row: Mapping[str, str], counts: _Counts) -> str:
    label = row[LABEL].lower()
    if label not in _LABELS:
        counts.labels[row[LABEL] or "empty"] += 1
        return f"its Ground Truth is {row[LABEL]!r}, neither Real nor Fake"
    if file is None:
        counts.missing += 1
        return f"it is in {part.table.name} and not on disk"
    if file.suffix.lower() not in part.suffixes:
        return f"{file.suffix or 'a name without suffix'} is no {part.kind} that is read"
    return ""


def _entry(part: _Part, file: Path, row: Mapping[str, str]) -> VideoEntry:
    label = _LABELS[row[LABEL].lower()]
    return VideoEntry(
        dataset=part.dataset,
        video=file.name,
        media=VideoFile(file) if part.kind == "video" else ImageFiles((file,)),
        label=label,
        method="deepfake-eval-2024" if label == FAKE else "real",
        split=_SPLITS.get(row.get(SET, "").lower(), ""),
        identity="",
    )


def _rows(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table, with names of columns in lower case."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            names = [(one or "").strip().lower() for one in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise DatasetError(
            f"{str(table)!r} cannot be read ({type(error).__name__}: {error}). Restore the "
            "official file."
        ) from error
    lacking = [one for one in (NAME, LABEL) if one not in names]
    if lacking:
        raise DatasetError(
            f"{str(table)!r} has no column {' and '.join(lacking)}; it has {', '.join(names)}. "
            "Restore the official file."
        )
    return rows


def _notes(part: _Part, counts: _Counts) -> Iterator[str]:
    said = f"{part.kind.capitalize()}s:"
    unknown = counts.labels.total()
    if unknown:
        kinds = ", ".join(f"{count} {label!r}" for label, count in sorted(counts.labels.items()))
        yield f"{said} {unknown} have no label (Ground Truth: {kinds}) and were left out."
    if counts.damaged:
        yield (
            f"{said} {counts.damaged} rows have a file name that a spreadsheet has overwritten, "
            "such as #NAME?, and cannot be found; they were left out."
        )
    if counts.missing:
        yield f"{said} {counts.missing} are in {part.table.name} and not on disk."
    if counts.unlisted:
        yield f"{said} {counts.unlisted} on disk are not in {part.table.name} and were left out."


def _recognize(root: Path) -> str | None:
    parts = _parts(root)
    return f"it holds {parts[0].table.name}" if parts else None


DEEPFAKE_EVAL = LAYOUTS.register("deepfake-eval-2024")(
    Layout(
        name="deepfake-eval-2024",
        title="Deepfake-Eval-2024 (Chandra et al. 2025, arXiv:2503.02857)",
        read=_read,
        recognize=_recognize,
        shape="image-data and video-data, with {image,video}-metadata-publish.csv",
        may_lie=True,
    )
)
