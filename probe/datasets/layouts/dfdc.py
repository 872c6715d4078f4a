"""Layouts of the DeepFake Detection Challenge: full (Dolhansky et al. 2020) and preview (2019)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from probe.datasets.layouts import (
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import account, folders_in, relative, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["DFDC", "DFDC_PREVIEW"]

_PART = "dfdc_train_part_"
_PREVIEW_FOLDERS = ("original_videos", "method_A", "method_B")
_LABELS = {"fake": FAKE, "real": REAL, "1": FAKE, "0": REAL}

LABELS = "label FAKE or 1 (fake) and REAL or 0 (real) → 0 real, 1 fake"
SPLIT_RULE = "The training parts are train, the folder test is test; there is no official val."
PREVIEW_SPLIT_RULE = 'The official "set" of dataset.json, train or test; there is no official val.'
LICENSE = "DFDC terms: research use"
PERSONS = (
    "DFDC names no identities: the identity is the original video that a fake was made from, so "
    "one person may have several."
)

_Rows = dict[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Part:
    """One folder of videos with its metadata table and its split."""

    table: Path
    videos: Path
    split: str


def _read(root: Path, options: LayoutOptions) -> Inventory:
    parts = [*_train_parts(root), *_test_part(root)]
    if not parts:
        raise DatasetError(
            f"{str(root)!r} is not a DFDC tree: neither a folder {_PART}N with metadata.json nor a "
            "folder test with labels.csv is in it. Give the folder that holds them."
        )
    left_out: dict[str, str] = {}
    videos = [entry for part in parts for entry in _entries(root, part, left_out)]
    lists = [part.videos / name for part in parts for name in ("metadata.json", "labels.csv")]
    kept = account(root, videos, left_out, [*(part.table for part in parts), *lists])
    notes = (PERSONS, *_unlabeled(root, parts))
    return Inventory(kept, {}, left_out, notes, LABELS, SPLIT_RULE, LICENSE, without_val=True)


def _train_parts(folder: Path, depth: int = 2) -> Iterator[_Part]:
    """Yield folders with metadata.json: this one, or parts in it, also in nested folders."""
    if (folder / "metadata.json").is_file() and not (folder / "labels.csv").is_file():
        yield _Part(folder / "metadata.json", folder, "train")
    elif depth:
        for inner in folders_in(folder):
            if inner.name.startswith(_PART) or inner.name == "train":
                yield from _train_parts(inner, depth - 1)


def _test_part(root: Path) -> Iterator[_Part]:
    folder = root if (root / "labels.csv").is_file() else root / "test"
    tables = [folder / name for name in ("labels.csv", "metadata.json")]
    table = next((one for one in tables if one.is_file()), None)
    if table is not None:
        inner = folder / "videos"
        yield _Part(table, inner if inner.is_dir() else folder, "test")


def _unlabeled(root: Path, parts: list[_Part]) -> list[str]:
    known = [part.table for part in parts]
    return [
        f"{folder.name} has no metadata.json: its videos have no labels and are left out."
        for folder in folders_in(root)
        if folder.name.startswith(_PART) and not any(t.is_relative_to(folder) for t in known)
    ]


def _entries(root: Path, part: _Part, left_out: dict[str, str]) -> Iterator[VideoEntry]:
    rows = _rows(part.table)
    there = {
        file.name: file
        for file in walk(root, left_out, part.videos)
        if file.parent == part.videos and file.suffix.lower() in VIDEOS
    }
    for name in there.keys() - rows.keys():
        left_out[relative(there[name], root)] = f"it is not in {part.table.name}"
    for name, row in sorted(rows.items()):
        label = _label(row, name, part.table)
        if name in there:
            yield _entry(there[name], row, label, part.split)
        else:
            left_out[relative(part.videos / name, root)] = (
                f"it is in {part.table.name} and not on disk"
            )


def _entry(file: Path, row: Mapping[str, Any], label: int, split: str) -> VideoEntry:
    given = row.get("original")
    original = Path(given).stem if isinstance(given, str) and given else ""
    return VideoEntry(
        dataset="dfdc",
        video=file.stem,
        media=VideoFile(file),
        label=label,
        method="dfdc" if label == FAKE else "real",
        split=split,
        identity=original if label == FAKE else file.stem,
        original=f"dfdc/{original}" if label == FAKE and original else "",
    )


def _rows(table: Path) -> _Rows:
    """Return the rows of a metadata table by file name."""
    try:
        if table.suffix == ".csv":
            with table.open(encoding="utf-8-sig", newline="") as lines:
                rows: Any = {row["filename"]: row for row in csv.DictReader(lines)}
        else:
            rows = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DatasetError(
            f"{str(table)!r} cannot be read ({type(error).__name__}: {error}). Restore the "
            "official file."
        ) from error
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise DatasetError(
            f"{str(table)!r} must map file names to their metadata, such as "
            '{"x.mp4": {"label": "FAKE"}}. Restore the official file.'
        )
    return rows


def _label(row: Mapping[str, Any], name: str, table: Path) -> int:
    given = str(row.get("label", row.get("is_fake", ""))).strip().lower()
    if given not in _LABELS:
        raise DatasetError(
            f"{str(table)!r} gives {name!r} the label {given!r}; allowed are FAKE and REAL, or 1 "
            "(fake) and 0. Restore the official file."
        )
    return _LABELS[given]


def _read_preview(root: Path, options: LayoutOptions) -> Inventory:
    table = root / "dataset.json"
    if not table.is_file():
        raise DatasetError(
            f"{str(root)!r} is not a DFDC preview: dataset.json is not in it. Give the folder that "
            f"holds it and {', '.join(_PREVIEW_FOLDERS)}."
        )
    rows = _rows(table)
    left_out: dict[str, str] = {}
    there = {relative(file, root): file for file in walk(root, left_out)}
    videos = []
    for name, row in sorted(rows.items()):
        path = PurePosixPath(name.replace("\\", "/"))
        label = _label(row, name, table)
        if path.is_absolute() or ".." in path.parts:
            left_out[name] = "its path leads out of the folder"
        elif path.as_posix() not in there:
            left_out[path.as_posix()] = "it is in dataset.json and not on disk"
        else:
            videos.append(_preview_entry(path, there[path.as_posix()], row, label, table))
    known = {relative(one.media.file, root) for one in videos if isinstance(one.media, VideoFile)}
    for name in there.keys() - known - {table.name}:
        left_out[name] = "it is not in dataset.json"
    kept = account(root, videos, left_out, [table])
    return Inventory(kept, {}, left_out, (), LABELS, PREVIEW_SPLIT_RULE, LICENSE, without_val=True)


def _preview_entry(
    path: PurePosixPath, file: Path, row: Mapping[str, Any], label: int, table: Path
) -> VideoEntry:
    split = str(row.get("set", "")).lower()
    if split not in ("train", "test", "val"):
        raise DatasetError(
            f"{str(table)!r} puts {path.as_posix()!r} into the set {row.get('set')!r}; allowed "
            "are train and test. Restore the official file."
        )
    return VideoEntry(
        dataset="dfdc-preview",
        video=path.with_suffix("").as_posix(),
        media=VideoFile(file),
        label=label,
        method=f"dfdc-{path.parts[0].lower()}" if label == FAKE else "real",
        split=split,
        identity=str(row.get("target_id") or ""),
        source=str(row.get("swapped_id") or "") if label == FAKE else "",
    )


def _recognize(root: Path) -> str | None:
    for part in _train_parts(root):
        if part.videos != root:
            return f"it holds {part.videos.relative_to(root).as_posix()}/metadata.json"
        if root.name.startswith(_PART) or _has_videos(root):
            return "it holds metadata.json next to videos"
    for part in _test_part(root):
        return f"it holds {part.table.relative_to(root).as_posix()}"
    return None


def _has_videos(folder: Path) -> bool:
    return any(file.suffix.lower() in VIDEOS for file in folder.iterdir())


def _recognize_preview(root: Path) -> str | None:
    there = [name for name in _PREVIEW_FOLDERS if (root / name).is_dir()]
    if there and (root / "dataset.json").is_file():
        return f"it holds dataset.json and {there[0]}"
    return None


DFDC = LAYOUTS.register("dfdc")(
    Layout(
        name="dfdc",
        title="DeepFake Detection Challenge (Dolhansky et al. 2020, arXiv:2006.07397)",
        read=_read,
        recognize=_recognize,
        shape=f"folders {_PART}N with metadata.json, or test with labels.csv",
    )
)

DFDC_PREVIEW = LAYOUTS.register("dfdc-preview")(
    Layout(
        name="dfdc-preview",
        title="DFDC preview (Dolhansky et al. 2019, arXiv:1910.08854)",
        read=_read_preview,
        recognize=_recognize_preview,
        shape=f"dataset.json and {', '.join(_PREVIEW_FOLDERS)}",
    )
)
