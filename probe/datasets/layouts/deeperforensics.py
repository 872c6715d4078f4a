"""Layout of DeeperForensics-1.0 as distributed (Jiang et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from probe.datasets.layouts import (
    LAYOUTS,
    VIDEOS,
    Inventory,
    Layout,
    LayoutOptions,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.files import account, relative, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL, SPLITS

__all__ = ["DEEPERFORENSICS"]

_TOP = "manipulated_videos"
_ORIGINALS = "original_sequences/youtube/c23/videos"
_NAME = re.compile(r"([0-9]{3})_([MW][0-9]{3})")

LABELS = "all of manipulated_videos is fake → 1; the real class is FaceForensics++ youtube c23 → 0"
SPLIT_RULE = (
    "The official lists lists/splits/{train,val,test}.txt; videos in none of them are left out and "
    "reported. Real videos have the split of the fakes made from them. Without the lists no "
    "split is known."
)
LICENSE = "DeeperForensics-1.0 terms: research use"
NO_REALS = (
    "DeeperForensics-1.0 has no real class of its own: it is FaceForensics++ youtube at c23. Give "
    "that dataset's root as the option reals."
)
SOURCES = (
    "source_videos is not used: these are recordings of the actors who gave the source faces, not "
    "the real class."
)

_Splits = Mapping[str, str]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    if not (root / _TOP).is_dir():
        raise DatasetError(
            f"{str(root)!r} is not a DeeperForensics tree: {_TOP} is not in it. Give the folder "
            "that holds it and lists."
        )
    lists = [root / "lists" / "splits" / f"{split}.txt" for split in SPLITS]
    splits = _read_splits(lists)
    left_out: dict[str, str] = {}
    fakes = []
    for file in walk(root, left_out, root / _TOP):
        entry = _entry(root, file, splits)
        if isinstance(entry, VideoEntry):
            fakes.append(entry)
        else:
            left_out[relative(file, root)] = entry
    notes = [] if splits is not None else ["lists/splits is missing: no split is known."]
    if (root / "source_videos").is_dir():
        notes.append(SOURCES)
    reals: list[VideoEntry] = []
    if options.reals is None:
        notes.append(NO_REALS)
    elif fakes:
        reals, more = _reals(options.reals, fakes)
        notes.extend(more)
    kept = account(root, [*reals, *fakes], left_out, lists)
    apart = {"deeperforensics": "youtube"} if reals else {}
    return Inventory(kept, apart, left_out, tuple(notes), LABELS, SPLIT_RULE, LICENSE)


def _entry(root: Path, file: Path, splits: _Splits | None) -> VideoEntry | str:
    """Return the labeled entry of a file, or the reason why it is left out."""
    parts = file.relative_to(root / _TOP).parts
    match = _NAME.fullmatch(file.stem)
    if len(parts) != 2 or match is None or file.suffix.lower() not in VIDEOS:
        return "its name does not have the official form"
    variant = parts[0]
    split = "" if splits is None else splits.get(f"{variant}/{file.stem}", splits.get(file.stem))
    if split is None:
        return "it is outside the official splits"
    return VideoEntry(
        dataset="deeperforensics",
        video=f"{variant}/{file.stem}",
        media=VideoFile(file),
        label=FAKE,
        method=variant,
        split=split,
        identity=match[1],
        source=match[2],
        original=f"youtube/{match[1]}",
    )


def _read_splits(lists: list[Path]) -> _Splits | None:
    """Return the split of each listed video, by stem or variant and stem; None without lists."""
    if not any(file.is_file() for file in lists):
        return None
    found: dict[str, str] = {}
    for file in lists:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"The split list {str(file)!r} cannot be read ({error}). Restore the official "
                "train.txt, val.txt and test.txt, or remove all of them."
            ) from error
        for line in filter(None, map(str.strip, lines)):
            path = Path(line.replace("\\", "/"))
            # Some copies have the variant, or even manipulated_videos, before the name.
            name = "/".join((*path.parts[-2:-1], path.stem))
            if found.setdefault(name, file.stem) != file.stem:
                raise DatasetError(
                    f"{name!r} is in the splits {found[name]} and {file.stem} of "
                    f"{str(file.parent)!r}. Splits must not share videos; restore the official "
                    "lists."
                )
    return found


def _reals(root: Path, fakes: list[VideoEntry]) -> tuple[list[VideoEntry], list[str]]:
    """Return the fakes' originals in a FaceForensics++ tree, with the fakes' split; and notes."""
    splits: dict[str, set[str]] = {}
    for fake in fakes:
        splits.setdefault(fake.identity, set()).add(fake.split)
    folder = root / _ORIGINALS
    files = {one: folder / f"{one}.mp4" for one in sorted(splits)}
    there = {one: file for one, file in files.items() if file.is_file()}
    if not there:
        raise DatasetError(
            f"reals={str(root)!r} holds none of the {len(splits)} originals in {_ORIGINALS}. Give "
            "the root of FaceForensics++, with that folder in it."
        )
    torn = [one for one in there if len(splits[one]) > 1]
    notes = [
        f"{len(there) - len(torn)} of {len(splits)} originals are taken from the option reals."
    ]
    if torn:
        notes.append(
            f"{len(torn)} originals have fakes in several splits, such as {torn[0]}; they are not "
            "used."
        )
    return [
        VideoEntry(
            dataset="youtube",
            video=one,
            media=VideoFile(file),
            label=REAL,
            method="real",
            split=next(iter(splits[one])),
            identity=one,
        )
        for one, file in there.items()
        if one not in torn
    ], notes


def _recognize(root: Path) -> str | None:
    return f"it holds {_TOP}" if (root / _TOP).is_dir() else None


DEEPERFORENSICS = LAYOUTS.register("deeperforensics")(
    Layout(
        name="deeperforensics",
        title="DeeperForensics-1.0 (Jiang et al. 2020, arXiv:2001.03024)",
        read=_read,
        recognize=_recognize,
        shape=f"{_TOP} and lists",
        takes=frozenset({"reals"}),
    )
)
