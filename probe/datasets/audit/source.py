"""Check of a source folder before it is ingested: empty folders, lists against files, copies."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe.datasets.audit.facts import named
from probe.datasets.audit.report import ERROR, NOTE, WARNING, Finding
from probe.datasets.layouts import (
    IMAGES,
    LAYOUTS,
    VIDEOS,
    ImageFiles,
    Inventory,
    VideoFile,
)
from probe.datasets.layouts.files import natural, relative, walk
from probe.datasets.layouts.recognition import recognize
from probe.errors import DatasetError
from probe.schema import REAL

__all__ = ["check_source"]

#: Share of train that is in test from which nothing is left to train on.
SAME = 0.8

#: Compression levels of DeepfakeBench's lists, between split and videos.
_LEVELS = frozenset({"raw", "c23", "c40"})

#: Folders that listed paths may start from, below the source folder.
_BASES = (".", "rgb", "datasets", "datasets/rgb")


@dataclass
class _List:
    """One group of a list in DeepfakeBench's form: the frames of each video, by split."""

    file: str
    group: str
    splits: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.file}: {self.group}"

    @property
    def is_real(self) -> bool:
        return self.group.lower().endswith(("_real", "-real"))


def check_source(root: Path) -> tuple[int, list[Finding]]:
    """Check a source folder, or a list with the folder around it.

    Parameters
    ----------
    root : pathlib.Path
        Folder of a dataset as distributed, such as DF40's, or one of its lists.

    Returns
    -------
    int
        Number of images and videos on disk.
    list of Finding
        What is wrong with it.
    """
    folder = root if root.is_dir() else root.parent
    files = list(walk(folder, {}))
    media = [one for one in files if one.suffix.lower() in IMAGES | VIDEOS]
    broken: dict[str, str] = {}
    lists = list(_lists([root] if root.is_file() else files, folder, broken))
    found = [*_empty_folders(folder, files), *_missing(folder, lists), *_repeated(lists)]
    found += [*_equal_splits(lists), *_unreadable(folder, broken), *_as_read(root)]
    return len(media), found


def _lists(files: list[Path], folder: Path, broken: dict[str, str]) -> Iterator[_List]:
    """Yield the groups of all lists in DeepfakeBench's form among the files."""
    for file in files:
        if file.suffix.lower() != ".json":
            continue
        name = relative(file, folder)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            broken[name] = str(error)
            continue
        for groups in _mappings(content).values():
            for group, splits in _mappings(groups).items():
                one = _List(name, group, {k: _videos(v) for k, v in _mappings(splits).items()})
                if any(one.splits.values()):
                    yield one


def _mappings(content: object) -> Mapping[str, Mapping[str, Any]]:
    """Return the values of a mapping that are mappings; nothing of anything else."""
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, dict)}


def _videos(content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the frames of each video of a split, of all compression levels."""
    levels = content.values() if content and set(content) <= _LEVELS else [content]
    return {
        name: tuple(one for one in video["frames"] if isinstance(one, str))
        for level in levels
        for name, video in _mappings(level).items()
        if isinstance(video.get("frames"), list)
    }


def _empty_folders(folder: Path, files: list[Path]) -> Iterator[Finding]:
    used = {parent for file in files for parent in file.parents}
    empty = sorted(one for one in _folders(folder) if one not in used)
    tops = [one for one in empty if one.parent not in set(empty)]
    if tops:
        yield Finding(
            "empty-folder",
            WARNING,
            folder.name,
            f"{len(tops)} folders hold no file at all. What was meant to be in them is not used; "
            "download or unpack it again.",
            len(tops),
            named(relative(one, folder) for one in tops[:5]),
        )


def _folders(folder: Path) -> Iterator[Path]:
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
            yield inner
            yield from _folders(inner)


class _Disk:
    """Files on disk, found by the longest ending of a listed path that exists."""

    def __init__(self, folder: Path) -> None:
        self.bases = [base for one in (folder, *list(folder.parents)[:2]) for base in _under(one)]
        self._names: dict[Path, frozenset[str]] = {}

    def has(self, given: str) -> bool:
        parts = given.replace("\\", "/").split("/")
        # A name alone is not sufficient: every method has a folder 000 with a 000.png.
        endings = [parts[i:] for i in range(max(1, len(parts) - 2))]
        return any(
            ending[-1] in self._inside(base.joinpath(*ending[:-1]))
            for ending in endings
            for base in self.bases
        )

    def _inside(self, folder: Path) -> frozenset[str]:
        if folder not in self._names:
            try:
                names = frozenset(one.name for one in folder.iterdir())
            except OSError:
                names = frozenset()
            self._names[folder] = names
        return self._names[folder]


def _under(folder: Path) -> list[Path]:
    return [folder / one for one in _BASES]


def _missing(folder: Path, lists: list[_List]) -> Iterator[Finding]:
    disk = _Disk(folder)
    for one in lists:
        frames = dict.fromkeys(f for v in one.splits.values() for fs in v.values() for f in fs)
        gone = [frame for frame in frames if not disk.has(frame)]
        if gone:
            yield Finding(
                "missing-file",
                WARNING,
                one.name,
                f"{len(gone)} of {len(frames)} listed files are not on disk. They are left out: "
                "results are not those of the whole list.",
                len(gone),
                named(gone[:5]),
            )


def _repeated(lists: list[_List]) -> Iterator[Finding]:
    """Find reals that one list names several times in one split: they count several times."""
    files: dict[tuple[str, str], Counter[str]] = {}
    for one in lists:
        if one.is_real:
            for split, videos in one.splits.items():
                counts = files.setdefault((one.file, split), Counter())
                counts.update(frame for frames in videos.values() for frame in frames)
    for (file, split), counts in files.items():
        twice = [frame for frame, count in counts.items() if count > 1]
        if twice:
            yield Finding(
                "duplicated-real",
                WARNING,
                f"{file}: {split}",
                f"{len(twice)} of {len(counts)} real files are listed several times in {split}. "
                "Who follows the list counts them several times; probe uses each once.",
                len(twice),
                named(twice[:5]),
            )


def _equal_splits(lists: list[_List]) -> Iterator[Finding]:
    """Find groups whose train and test list the same files, or share some."""
    for one in lists:
        train, test = (
            {frame for frames in one.splits.get(split, {}).values() for frame in frames}
            for split in ("train", "test")
        )
        both = train & test
        if not both:
            continue
        equal = len(both) >= SAME * len(train)
        yield Finding(
            "train-equals-test" if equal else "train-in-test",
            # Real videos in every split are how these lists are made, and probe uses each once.
            NOTE if one.is_real or not equal else ERROR,
            one.name,
            f"{len(both)} of {len(train)} files of train are among the {len(test)} of test. Who "
            "trains on this list tests on the same files; probe uses them in test alone"
            + (", so that little or nothing is left for training." if equal else "."),
            len(both),
            named(sorted(both)[:5]),
        )


def _unreadable(folder: Path, broken: Mapping[str, str]) -> Iterator[Finding]:
    for name, why in broken.items():
        yield Finding(
            "unreadable-list", ERROR, name, f"It is no JSON ({why}). Download it again.", 1, (name,)
        )


def _as_read(root: Path) -> Iterator[Finding]:
    """Find what the layout leaves out, and real videos that occur twice."""
    try:
        name, why = recognize(root)
        found = LAYOUTS[name].inventory(root)
    except DatasetError as error:
        yield Finding("not-read", ERROR, root.name, str(error))
        return
    yield Finding("layout", NOTE, root.name, f"Read as {name}: {why}.", len(found.videos))
    reasons = Counter(found.left_out.values())
    for reason, count in reasons.most_common(5):
        examples = [one for one, said in found.left_out.items() if said == reason]
        text = f"{count} files or folders are left out: {reason}."
        yield Finding("left-out", NOTE, root.name, text, count, named(examples[:5]))
    yield from _copied_reals(found, root)


def _copied_reals(found: Inventory, root: Path) -> Iterator[Finding]:
    """Find real videos whose first file is the same, byte for byte, in several places."""
    firsts: dict[Path, str] = {}
    for video in found.videos:
        if video.label == REAL and isinstance(video.media, ImageFiles | VideoFile):
            media = video.media
            file = media.files[0] if isinstance(media, ImageFiles) else media.file
            # One file in several lists is no copy: methods share their reals.
            firsts.setdefault(file.resolve(), video.key)
    places: dict[str, list[str]] = {}
    for file, key in firsts.items():
        places.setdefault(_digest(file), []).append(key)
    several = {mark: keys for mark, keys in places.items() if mark and len(keys) > 1}
    if several:
        count = sum(map(len, several.values()))
        datasets = sorted({key.split("/")[0] for keys in several.values() for key in keys})
        pairs = sorted((" = ".join(sorted(keys)[:3]) for keys in several.values()), key=natural)
        yield Finding(
            "duplicated-real",
            WARNING,
            ", ".join(named(datasets)),
            f"{count} real videos are copies of {len(several)}: their first files are the same. "
            "Together they count several times, and results on these datasets are not independent.",
            count,
            named(pairs[:5]),
        )


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "blake2b").hexdigest()
    except OSError:
        return ""
