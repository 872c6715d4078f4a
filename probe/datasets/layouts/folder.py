"""Layout of any tree of real and fake folders, such as {train,val,test}/{real,fake}."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

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
from probe.datasets.layouts.files import (
    account,
    folders_in,
    frame_number,
    image_files,
    natural,
    relative,
    video_of,
    walk,
    without_frame,
)
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["FOLDER"]

_PLAIN = {
    "real": REAL,
    "reals": REAL,
    "0_real": REAL,
    "fake": FAKE,
    "fakes": FAKE,
    "1_fake": FAKE,
}
_CLASSES = {
    **_PLAIN,
    **dict.fromkeys(("original", "originals", "pristine", "genuine"), REAL),
    **dict.fromkeys(("deepfake", "deepfakes", "manipulated", "synthesized", "synthesis"), FAKE),
}
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

#: Depth to which class folders are searched.
_DEPTH = 4

LABELS = (
    "folders named real or fake (or a common word for it) → 0 real, 1 fake; numbers that a "
    "training library assigns to folders by their order, such as fake = 0, do not matter"
)
SPLIT_RULE = "Folders named train, val or test are the splits; where there is none, none is known."
SINGLES = (
    "{} images have no known video: their names do not tell which belong together. Intervals treat "
    "them as independent; group them with the option video_pattern."
)


@dataclass(frozen=True)
class _Place:
    """What the folders above a file say about it."""

    dataset: str
    split: str
    label: int
    inside: PurePosixPath


@dataclass
class _Group:
    """The images of one video."""

    place: _Place
    identity: str = ""
    source: str = ""
    files: list[Path] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)


_Key = tuple[str, str, int, str]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    pattern = _pattern(options.video_pattern)
    left_out: dict[str, str] = {}
    groups: dict[_Key, _Group] = {}
    videos: list[VideoEntry] = []
    for file in walk(root, left_out):
        suffix = file.suffix.lower()
        place = _place(PurePosixPath(file.relative_to(root).as_posix()))
        if suffix not in IMAGES | VIDEOS:
            left_out[relative(file, root)] = "it is neither an image nor a video"
        elif isinstance(place, str):
            left_out[relative(file, root)] = place
        elif suffix in VIDEOS:
            name = place.inside.with_suffix("").as_posix()
            videos.append(_entry(name, _Group(place, files=[file]), VideoFile(file)))
        elif not _add(groups, place, file, pattern):
            left_out[relative(file, root)] = "its path does not match video_pattern"
    ordered = sorted(groups.items(), key=lambda one: (one[0][:3], natural(one[0][3])))
    videos += [_entry(key[3], group, _images(group)) for key, group in ordered]
    if not videos:
        raise DatasetError(
            f"{str(root)!r} holds no images or videos in folders named real or fake (known: "
            f"{', '.join(_CLASSES)}). Rename the folders, or list the files in a manifest."
        )
    notes = _notes(groups) if pattern is None else ()
    kept = account(root, videos, left_out)
    return Inventory(kept, {}, left_out, notes, LABELS, SPLIT_RULE)


def _place(path: PurePosixPath) -> _Place | str:
    """Return what the folders above a file say, or the reason why they are not sufficient."""
    folders = [one.lower() for one in path.parts[:-1]]
    at = _class(folders)
    if at is None:
        return "no folder above it says real or fake"
    if at < 0:
        return "folders above it say both real and fake"
    splits = [i for i, one in enumerate(folders[: at + 2]) if one in _SPLITS]
    if len(splits) > 1:
        return "folders above it name several splits"
    below = at + 2 if splits and splits[0] == at + 1 else at + 1
    names = [one for i, one in enumerate(path.parts[:at]) if i not in splits]
    return _Place(
        dataset="-".join(names).lower() or "folder",
        split=_SPLITS[folders[splits[0]]] if splits else "",
        label=_CLASSES[folders[at]],
        inside=PurePosixPath(*path.parts[below:]),
    )


def _class(folders: list[str]) -> int | None:
    """Return the index of the folder that names the class; None without one, -1 on conflict."""
    found = [i for i, one in enumerate(folders) if one in _CLASSES]
    plain = [i for i in found if folders[i] in _PLAIN]
    if not plain:
        alike = {_CLASSES[folders[i]] for i in found}
        return None if not found else found[0] if len(alike) == 1 else -1
    # A dataset may itself be named deepfakes, so plain words take precedence; folders below them
    # must agree.
    label = _PLAIN[folders[plain[0]]]
    below = [i for i in found if i > plain[0]]
    return plain[0] if all(_CLASSES[folders[i]] == label for i in below) else -1


def _add(
    groups: dict[_Key, _Group], place: _Place, file: Path, pattern: re.Pattern[str] | None
) -> bool:
    """Add an image to its video; return False if the pattern does not match."""
    name, said = video_of(place.inside), {}
    if pattern is not None:
        match = pattern.search(place.inside.as_posix())
        if match is None or not match["video"]:
            return False
        said = {key: value or "" for key, value in match.groupdict().items()}
        name = said["video"]
    people = said.get("identity", ""), said.get("source", "")
    key = (place.dataset, place.split, place.label, name)
    group = groups.setdefault(key, _Group(place, *people))
    if (group.identity, group.source) != people:
        raise DatasetError(
            f"video_pattern gives the video {name!r} two identities or sources: "
            f"{(group.identity, group.source)} and, at {place.inside.as_posix()!r}, {people}. "
            "Include what distinguishes them in the group video."
        )
    group.files.append(file)
    number = frame_number(said.get("frame", ""))
    if number is not None:
        group.frames.append(number)
    return True


def _images(group: _Group) -> ImageFiles:
    if len(set(group.frames)) < len(group.files):
        return image_files(group.files)
    ordered = sorted(zip(group.frames, group.files, strict=True))
    return ImageFiles(tuple(file for _, file in ordered), tuple(frame for frame, _ in ordered))


def _entry(name: str, group: _Group, media: ImageFiles | VideoFile) -> VideoEntry:
    place = group.place
    kind = "fake" if place.label == FAKE else "real"
    return VideoEntry(
        dataset=place.dataset,
        video="/".join(filter(None, (place.split, kind, name))),
        media=media,
        label=place.label,
        method=place.dataset if place.label == FAKE else "real",
        split=place.split,
        identity=group.identity,
        source=group.source,
    )


def _notes(groups: Mapping[_Key, _Group]) -> tuple[str, ...]:
    notes = []
    alone = [one for one in groups.values() if _alone(one)]
    if alone:
        notes.append(SINGLES.format(len(alone)))
    places = Counter((key[0], *key[2:]) for key, one in groups.items() if not _alone(one))
    torn = [key for key, count in places.items() if count > 1]
    if torn:
        notes.append(
            f"{len(torn)} names of videos occur in several splits, such as {torn[0][-1]!r}: check "
            "whether they are the same videos."
        )
    return tuple(notes)


def _alone(group: _Group) -> bool:
    inside = group.place.inside
    return len(inside.parts) == 1 and without_frame(inside.stem) == inside.stem


def _pattern(given: str | None) -> re.Pattern[str] | None:
    if given is None:
        return None
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise DatasetError(
            f"video_pattern={given!r} is not a regular expression ({error}). Give one with a group "
            "named video, such as '(?P<video>.+)_(?P<frame>[0-9]+)'."
        ) from error
    if "video" not in pattern.groupindex:
        raise DatasetError(
            f"video_pattern={given!r} has no group named video. Give one, such as "
            "'(?P<video>.+)_(?P<frame>[0-9]+)'; groups identity, source and frame are optional."
        )
    return pattern


def _recognize(root: Path) -> str | None:
    """Recognize a tree with folders of both classes; one class alone is not sufficient."""
    found: dict[int, str] = {}
    for folder in _class_folders(root, _DEPTH):
        found.setdefault(_CLASSES[folder.name.lower()], folder.relative_to(root).as_posix())
        if len(found) == 2:
            return f"it holds {found[REAL]} and {found[FAKE]}"
    return None


def _class_folders(folder: Path, depth: int) -> Iterator[Path]:
    for inner in folders_in(folder):
        if inner.name.lower() in _CLASSES:
            yield inner
        # Folders real and fake hold the videos; but a dataset may be named deepfakes.
        if depth > 1 and inner.name.lower() not in _PLAIN:
            yield from _class_folders(inner, depth - 1)


FOLDER = LAYOUTS.register("folder")(
    Layout(
        name="folder",
        title="a tree of real and fake folders",
        read=_read,
        recognize=_recognize,
        shape="folders named real and fake, perhaps in train, val and test",
        takes=frozenset({"video_pattern"}),
        generic=True,
        may_lie=True,
    )
)
