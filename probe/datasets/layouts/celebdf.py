"""Layout of Celeb-DF as distributed, versions 1 and 2 (Li et al. 2020)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from probe.datasets.layouts import LAYOUTS, VIDEOS, Inventory, Layout, VideoEntry, VideoFile
from probe.datasets.layouts.files import People, account, celeb_people, folders_in, walk
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["CELEBDF_V1", "CELEBDF_V2", "FAMILIES", "families_in", "list_lines", "testing_file"]

TESTING_LIST = "List_of_testing_videos.txt"

#: Lines of the official testing list of each version.
LENGTHS = {"v1": 100, "v2": 518}

#: Folders in lower case, since YouTube-real is also found as Youtube-real.
_FOLDERS = {"celeb-real": REAL, "youtube-real": REAL, "celeb-synthesis": FAKE}

#: Folders in Celeb-synthesis of Celeb-DF++, which is a layout of its own.
FAMILIES = ("FaceSwap", "FaceReenact", "TalkingFace")

LABELS = (
    f"folders Celeb-real, YouTube-real (real) and Celeb-synthesis (fake) → 0 real, 1 fake; in "
    f"{TESTING_LIST} 1 is real and 0 is fake, which was inverted and checked"
)
SPLIT_RULE = (
    f"The official {TESTING_LIST} is test, all others are train; there is no official val. "
    "Without the list no split is known."
)
LICENSE = "Celeb-DF terms: research use, no redistribution"

_Key = tuple[str, str]


def _read(root: Path, version: str) -> Inventory:
    folders = _tops(root)
    if families_in(root):
        raise DatasetError(
            f"{str(root)!r} is a Celeb-DF++ tree: {families_in(root)[0].name} is in its "
            f"Celeb-synthesis. Read it by the layout celeb-df++; as celebdf-{version} every fake "
            "would be left out."
        )
    if not folders:
        raise DatasetError(
            f"{str(root)!r} is not a Celeb-DF tree: none of Celeb-real, YouTube-real and "
            "Celeb-synthesis is in it. Give the folder that holds them."
        )
    listed = _testing_list(root)
    left_out: dict[str, str] = {}
    videos: list[VideoEntry] = []
    found: set[_Key] = set()
    for folder in folders:
        for file in _videos(root, folder, left_out):
            found.add((folder.name.lower(), file.stem))
            videos.append(_entry(folder.name.lower(), file, listed))
    notes = [*_missing(folders, listed, found), *_other_version(version, listed)]
    testing = testing_file(root)
    kept = account(root, videos, left_out, [testing] if testing else [])
    return Inventory(
        kept, {}, left_out, tuple(notes), LABELS, SPLIT_RULE, LICENSE, without_val=True
    )


def _tops(root: Path) -> list[Path]:
    there = [one for one in folders_in(root) if one.name.lower() in _FOLDERS]
    return sorted(there, key=lambda one: list(_FOLDERS).index(one.name.lower()))


def families_in(root: Path) -> list[Path]:
    """Return the folders of the families of Celeb-DF++ in Celeb-synthesis, in their order."""
    known = [one.lower() for one in FAMILIES]
    return [
        inner
        for folder in folders_in(root)
        if folder.name.lower() == "celeb-synthesis"
        for inner in folders_in(folder)
        if inner.name.lower() in known
    ]


def _videos(root: Path, folder: Path, left_out: dict[str, str]) -> Iterator[Path]:
    """Yield the videos directly inside a folder or inside its subfolder videos."""
    for file in walk(root, left_out, folder):
        inside = file.relative_to(folder).parts[:-1]
        if file.suffix.lower() in VIDEOS and inside in ((), ("videos",)):
            yield file


def _entry(folder: str, file: Path, listed: Mapping[_Key, int] | None) -> VideoEntry:
    label = _FOLDERS[folder]
    people = celeb_people(file.stem) if folder != "youtube-real" else None
    people = people or People("")
    split = ""
    if listed is not None:
        split = "test" if (folder, file.stem) in listed else "train"
    return VideoEntry(
        dataset="celebdf",
        video=file.stem,
        media=VideoFile(file),
        label=label,
        method="celebdf" if label == FAKE else "real",
        split=split,
        identity=people.identity,
        source=people.source,
        original=f"celebdf/{people.original}" if people.original else "",
    )


def _testing_list(root: Path) -> Mapping[_Key, int] | None:
    """Return the labels (fake = 1) of listed videos by folder and stem; None without a list."""
    file = testing_file(root)
    if file is None:
        return None
    listed: dict[_Key, int] = {}
    for number, line in enumerate(list_lines(file), 1):
        match = re.fullmatch(r"([01])\s+(.+)", line)
        path = match[2].replace("\\", "/").split("/") if match else []
        folder = path[0].lower() if path else ""
        if match is None or len(path) < 2 or folder not in _FOLDERS:
            raise DatasetError(
                f"Line {number} of {str(file)!r} is {line!r}; it must be a label and a path, "
                'such as "1 Celeb-real/id0_0000.mp4". Restore the official list.'
            )
        label = FAKE if match[1] == "0" else REAL
        if label != _FOLDERS[folder]:
            raise DatasetError(
                f"Line {number} of {str(file)!r}, {line!r}, contradicts the folder: the list says "
                f"{('real', 'fake')[label]} (where 1 is real), the folder the other. Restore the "
                "official list, or move the video."
            )
        listed[folder, Path(path[-1]).stem] = label
    return listed


def testing_file(root: Path) -> Path | None:
    """Return the testing list: in the root, else in one of its other folders, in any case."""
    for folder in (root, *(one for one in folders_in(root) if one.name.lower() not in _FOLDERS)):
        for file in sorted(folder.iterdir()):
            if file.name.lower() == TESTING_LIST.lower() and file.is_file():
                return file
    return None


def list_lines(file: Path) -> list[str]:
    """Return the lines of an official list without blank ones; raise if it cannot be read."""
    try:
        content = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The list {str(file)!r} cannot be read ({error}). Restore the official list."
        ) from error
    return [line.strip() for line in content.splitlines() if line.strip()]


def _missing(folders: list[Path], listed: Mapping[_Key, int] | None, found: set[_Key]) -> list[str]:
    there = {one.name.lower() for one in folders}
    notes = [f"The folder {name} is missing." for name in _FOLDERS if name not in there]
    if listed is None:
        return [*notes, f"{TESTING_LIST} is missing: no split is known."]
    absent = sorted(listed.keys() - found)
    if absent:
        first = ", ".join("/".join(one) for one in absent[:3])
        notes.append(
            f"{len(absent)} of the {len(listed)} videos of {TESTING_LIST} are missing, such as "
            f"{first}."
        )
    return notes


def _other_version(version: str, listed: Mapping[_Key, int] | None) -> list[str]:
    other = {length: name for name, length in LENGTHS.items()}.get(len(listed or ()))
    if other in (None, version):
        return []
    return [
        f"{TESTING_LIST} has {len(listed or ())} lines, as that of {other}; {version} was read."
    ]


def _recognize(root: Path, version: str) -> str | None:
    there = [one.name for one in _tops(root)]
    classes = {_FOLDERS[name.lower()] for name in there}
    # Folders of reals alone may be half of another tree, as in real/Celeb-real.
    halves = len({name.lower() for name in there}) < 2 or families_in(root)
    if halves or (len(classes) < 2 and not _length(root)):
        return None
    shape = f"it holds {' and '.join(there[:2])}"
    length = _length(root)
    for name, lines in LENGTHS.items():
        if length == lines:
            why = f"{shape}, and {TESTING_LIST} has {lines} lines"
            return why if name == version else None
    named = [name for name in LENGTHS if name in root.resolve().name.lower()]
    if len(named) == 1:
        return f"{shape}, and its name says {version}" if named == [version] else None
    return f"{shape}, which fits {' and '.join(f'celebdf-{name}' for name in LENGTHS)} alike"


def _length(root: Path) -> int:
    try:
        file = testing_file(root)
        return len(list_lines(file)) if file else 0
    except DatasetError:
        return 0


def _layout(version: str, title: str) -> Layout:
    return Layout(
        name=f"celebdf-{version}",
        title=title,
        read=lambda root, options: _read(root, version),
        recognize=lambda root: _recognize(root, version),
        shape=f"Celeb-real, YouTube-real and Celeb-synthesis, with {TESTING_LIST}",
    )


CELEBDF_V1 = LAYOUTS.register("celebdf-v1")(
    _layout("v1", "Celeb-DF, version 1 (Li et al. 2020, arXiv:1909.12962)")
)
CELEBDF_V2 = LAYOUTS.register("celebdf-v2")(
    _layout("v2", "Celeb-DF, version 2 (Li et al. 2020, arXiv:1909.12962)")
)
