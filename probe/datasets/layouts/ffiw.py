"""Layout of FFIW-10K as distributed: videos of several persons, some of them forged (2021)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from probe.datasets.layouts import (
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import account, folders_in, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS

__all__ = ["FFIW"]

#: Folders of the two classes. A target is what a source was turned into.
_CLASSES = {"source": REAL, "target": FAKE}

LABELS = "folders source (real) and target (fake) → 0 real, 1 fake"
SPLIT_RULE = "The official folders train, val and test."
LICENSE = "FFIW terms: research use"
PERSONS = (
    "FFIW names no identities and pairs no target with its source here: intervals treat videos as "
    "independent."
)
SEVERAL = (
    "{} of {} fakes have masks. In a frame of several faces the forged one is tracked by its mask; "
    "of several forged ones the largest, and no other stands in for it. Without masks, the largest "
    "face is tracked, which may be one that was not forged."
)


def _read(root: Path, options: LayoutOptions) -> Inventory:
    if not _places(root):
        raise DatasetError(
            f"{str(root)!r} is not an FFIW tree: no folder of {', '.join(_CLASSES)} with "
            f"{', '.join(SPLITS)} is in it. Give the folder that holds source and target."
        )
    left_out: dict[str, str] = {}
    files = [file for place in _places(root) for file in _videos(root, place, left_out)]
    masks = {_name(root, file): file for file in files if _is_mask(file)}
    videos = [_entry(root, file, masks) for file in files if not _is_mask(file)]
    kept = account(root, videos, left_out)
    fakes = [one for one in kept if one.label == FAKE]
    masked = sum(one.masks is not None for one in fakes)
    there = {place.relative_to(root).as_posix() for place in _places(root)}
    absent = [f"{c}/{s}" for c in _CLASSES for s in SPLITS if f"{c}/{s}" not in there]
    notes = [PERSONS, SEVERAL.format(masked, len(fakes))]
    notes += [f"The folders {', '.join(absent)} are missing."] if absent else []
    without_val = any("train" in name for name in there) and not any("val" in n for n in there)
    return Inventory(
        kept, {}, left_out, tuple(notes), LABELS, SPLIT_RULE, LICENSE, without_val=without_val
    )


def _places(root: Path) -> list[Path]:
    """Return the folders <class>/<split>, in the order of classes and splits."""
    return [
        root / name / split
        for name in _CLASSES
        for split in SPLITS
        if (root / name / split).is_dir()
    ]


def _videos(root: Path, place: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield videos and masks, which lie in the split, or in its folders videos and masks."""
    for file in walk(root, left_out, place):
        inside = file.relative_to(place).parts[:-1]
        if file.suffix.lower() in VIDEOS and inside in ((), ("videos",), ("masks",), ("mask",)):
            yield file


def _is_mask(file: Path) -> bool:
    return file.parent.name in ("masks", "mask")


def _name(root: Path, file: Path) -> str:
    """Return class, split and name of a video: "target/val/val_00000001"."""
    parts = PurePosixPath(file.relative_to(root).as_posix()).parts
    return "/".join((*parts[:2], file.stem))


def _entry(root: Path, file: Path, masks: dict[str, Path]) -> VideoEntry:
    name = _name(root, file)
    kind, split, _ = name.split("/", 2)
    label = _CLASSES[kind]
    mask = masks.get(name) if label == FAKE else None
    return VideoEntry(
        dataset="ffiw",
        video=name,
        media=VideoFile(file),
        label=label,
        method="ffiw" if label == FAKE else "real",
        split=split,
        identity="",
        masks=VideoFile(mask) if mask is not None else None,
    )


def _recognize(root: Path) -> str | None:
    found = []
    for name in _CLASSES:
        for split in SPLITS:
            folder = root / name / split
            inner = [folder, *(one for one in folders_in(folder) if one.name == "videos")]
            if folder.is_dir() and any(
                file.suffix.lower() in VIDEOS for one in inner for file in one.iterdir()
            ):
                found.append(f"{name}/{split}")
                break
    return f"it holds {found[0]} and {found[1]}" if len(found) == 2 else None


FFIW = LAYOUTS.register("ffiw")(
    Layout(
        name="ffiw",
        title="FFIW-10K (Zhou et al. 2021, arXiv:2103.16076)",
        read=_read,
        recognize=_recognize,
        shape="videos in source/{train,val,test} and target/{train,val,test}, perhaps with masks",
    )
)
