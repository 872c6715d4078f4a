"""Layout of any tree of real and fake folders, such as {train,val,test}/{real,fake}."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    celeb_people,
    dfd_people,
    ff_people,
    folders_in,
    frame_number,
    image_files,
    lacks_val,
    natural,
    relative,
    unread,
    video_pattern,
    walk,
)
from probe.datasets.layouts.names import Reading, read_names
from probe.datasets.layouts.words import (
    EVAL,
    ClassWord,
    class_word,
    names_no_video,
    split_word,
)
from probe.errors import DatasetError
from probe.schema import FAKE, REAL

__all__ = ["BOTH_CLASSES", "FOLDER", "NO_CLASS"]

#: Depth to which class folders are searched.
_DEPTH = 4

LABELS = (
    "folders named real or fake (or a common word for it) → 0 real, 1 fake; numbers that a "
    "training library assigns to folders by their order, such as fake = 0, do not matter"
)
SPLIT_RULE = "Folders named train, val or test are the splits; where there is none, none is known."
SINGLES = (
    "{} images have no known video: their names do not tell which belong together. Intervals treat "
    "them as independent, and frames of one video may be in different splits; group them with the "
    "option video_pattern."
)
MOSTLY_SINGLE = (
    "{} of {} videos have one image, as read from names such as {!r} (video {!r}). If some belong "
    "together, group them with the option video_pattern."
)
READ = (
    "{:,} names of images were read as {}: {} is of the video {!r}; there are {:,} videos. If that "
    "is wrong, group them with the option video_pattern."
)

NO_CLASS = "no folder above it says real or fake"
BOTH_CLASSES = "folders above it say both real and fake"


@dataclass(frozen=True)
class _Place:
    """What the folders above a file say about it."""

    dataset: str
    split: str
    label: int
    inside: PurePosixPath
    method: str = ""


@dataclass
class _Group:
    """The images of one video."""

    place: _Place
    identity: str = ""
    source: str = ""
    reading: Reading | None = None
    original: str = ""
    files: list[Path] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)


#: Image to its video, and to what its name says; None where that is not which video.
_Names = dict[PurePosixPath, tuple[str, Reading | None]]
_Key = tuple[str, str, int, str]


def _read(root: Path, options: LayoutOptions) -> Inventory:
    pattern = video_pattern(options.video_pattern)
    left_out: dict[str, str] = {}
    groups: dict[_Key, _Group] = {}
    videos: list[VideoEntry] = []
    images: dict[Path, _Place] = {}
    files = {
        file: PurePosixPath(file.relative_to(root).as_posix()) for file in walk(root, left_out)
    }
    tree = _Tree(files.values(), options.fake_label)
    for file, path in files.items():
        suffix = file.suffix.lower()
        place = tree.place(path)
        if suffix not in IMAGES | VIDEOS:
            left_out[relative(file, root)] = unread(suffix)
        elif isinstance(place, str):
            left_out[relative(file, root)] = place
        elif suffix in VIDEOS:
            name = place.inside.with_suffix("").as_posix()
            videos.append(_entry(name, _Group(place, files=[file]), VideoFile(file)))
        else:
            images[file] = place
    names = _names(images.values()) if pattern is None else {}
    for file, place in images.items():
        if not _add(groups, place, file, pattern, names):
            left_out[relative(file, root)] = "its path does not match video_pattern"
    if pattern is None:
        _name_people(groups)
    ordered = sorted(groups.items(), key=lambda one: (one[0][:3], natural(one[0][3])))
    videos += [_entry(key[3], group, _images(group)) for key, group in ordered]
    if not videos:
        raise DatasetError(
            f"{str(root)!r} holds no images or videos in folders named real or fake"
            f"{_unknown(left_out)}. Known are {', '.join(_WORDS)} and others, alone or with words "
            "such as images, train or a method. Rename the folders, give the name of the folder of "
            "fakes as the option fake_label, or list the files in a manifest."
        )
    notes = (*_notes(groups), *tree.notes()) if pattern is None else tree.notes()
    kept = account(root, videos, left_out)
    lacks = lacks_val(kept)
    return Inventory(kept, {}, left_out, notes, LABELS, SPLIT_RULE, without_val=lacks)


_WORDS = """
real original pristine genuine authentic nature youtube fake deepfake manipulated altered tampered
synthetic generated ai df faceswap
""".split()


def _unknown(left_out: Mapping[str, str]) -> str:
    """Return the folders of files whose class is not known, for an error message."""
    names = Counter(
        one.rpartition("/")[0] or "." for one, why in left_out.items() if why == NO_CLASS
    )
    if not names:
        return ""
    shown = ", ".join(f"{name!r} ({n})" for name, n in names.most_common(5))
    return f"; its files are in {shown}{' and more' if len(names) > 5 else ''}"


class _Tree:
    """The folders of a tree, and what their names say about class and split."""

    def __init__(self, paths: Collection[PurePosixPath], fake: str | None = None) -> None:
        self._fake = fake.strip().lower() if fake else None
        self._inner: dict[tuple[str, ...], set[str]] = defaultdict(set)
        folders = {path.parent.parts for path in paths}
        for parts in folders:
            for k, name in enumerate(parts):
                self._inner[parts[:k]].add(name)
        self._require_fake()
        self._places = {parts: self._at(parts) for parts in folders}
        self._evals = self._eval_splits()

    def _require_fake(self) -> None:
        names = sorted({name for inner in self._inner.values() for name in inner})
        if self._fake and self._fake not in {name.lower() for name in names}:
            raise DatasetError(
                f"fake_label={self._fake!r} was given, which is no folder of the tree; it has "
                f"{', '.join(names[:10])}. Give the name of a folder of fakes."
            )

    def place(self, path: PurePosixPath) -> _Place | str:
        """Return what the folders above a file say, or the reason why they are not sufficient."""
        found = self._places[path.parent.parts]
        if isinstance(found, str):
            return found
        split = self._evals.get(found.dataset, "test") if found.split == EVAL else found.split
        return replace(found, split=split, inside=found.inside / path.name)

    def notes(self) -> tuple[str, ...]:
        """Say how folders named eval were read."""
        return tuple(
            f"Folders of {name} that are named eval are {split}."
            for name, split in sorted(self._evals.items())
        )

    def _eval_splits(self) -> dict[str, str]:
        """Return what eval means in each dataset: val where there is a test and no val."""
        found: dict[str, set[str]] = defaultdict(set)
        for one in self._places.values():
            if isinstance(one, _Place):
                found[one.dataset].add(one.split)
        return {
            name: "val" if "test" in splits and "val" not in splits else "test"
            for name, splits in found.items()
            if EVAL in splits
        }

    def _at(self, parts: tuple[str, ...]) -> _Place | str:
        words = [self._word(parts, k) for k in range(len(parts))]
        at = self._class(parts, words)
        if at is None:
            return NO_CLASS
        word = words[at] if at >= 0 else None
        if word is None:
            return BOTH_CLASSES
        splits = {
            i: found for i in range(min(at + 2, len(parts))) if (found := split_word(parts[i]))
        }
        if len(set(splits.values())) > 1 or len(splits) > 1 and at not in splits:
            return "folders above it name several splits"
        below = at + 2 if at + 1 in splits else at + 1
        names = [
            one
            for i, one in enumerate(parts[:at])
            if i not in splits and one.lower() not in _CONTAINERS
        ]
        return _Place(
            dataset="-".join(names).lower() or "folder",
            split=next(iter(splits.values()), ""),
            label=word.label,
            inside=PurePosixPath(*parts[below:]),
            method=word.method,
        )

    def _word(self, parts: tuple[str, ...], k: int) -> ClassWord | None:
        """Return what one folder says; beside the one named by fake_label all others are real."""
        if self._fake is None:
            return class_word(parts[k])
        beside = {one.lower() for one in self._inner[parts[:k]]}
        if self._fake not in beside or split_word(parts[k]) and class_word(parts[k]) is None:
            return None
        return ClassWord(FAKE if parts[k].lower() == self._fake else REAL, True)

    def _class(self, parts: tuple[str, ...], words: Sequence[ClassWord | None]) -> int | None:
        """Return the index of the folder that names the class; None without one, -1 on conflict."""
        found = [i for i, one in enumerate(words) if one is not None]
        plain = [i for i in found if (one := words[i]) is not None and one.plain]
        labels = {one.label for i in found if (one := words[i]) is not None}
        if not plain:
            # A dataset may be named deepfakes; beside its fakes lie its reals.
            beside = [i for i in found if self._both_beside(parts[:i])]
            if beside:
                return beside[-1]
            return None if not found else found[0] if len(labels) == 1 else -1
        # Plain words take precedence for the same reason; folders below them must agree.
        first = words[plain[0]]
        below = {one.label for i in found if i >= plain[0] and (one := words[i]) is not None}
        return plain[0] if first is not None and below == {first.label} else -1

    def _both_beside(self, above: tuple[str, ...]) -> bool:
        """Whether the folders inside a folder say both real and fake."""
        words = [class_word(name) for name in self._inner[above]]
        return {one.label for one in words if one is not None} == {REAL, FAKE}


#: Folders that hold the classes of FaceForensics++ and name no dataset.
_CONTAINERS = frozenset({"original_sequences", "manipulated_sequences"})


def _names(places: Collection[_Place]) -> _Names:
    """Return the video of every image, by its folder or else by its name."""
    folders: dict[tuple[str, int, str], dict[PurePosixPath, None]] = defaultdict(dict)
    for place in places:
        key = place.dataset, place.label, place.inside.parent.as_posix()
        folders[key][place.inside] = None
    out: _Names = {}
    for (_, _, folder), paths in folders.items():
        read = read_names(path.stem for path in paths)
        by_name = folder == "." or _holds_videos(folder, read)
        for path in paths:
            one = read[path.stem]
            name = one.video or path.stem if folder == "." else folder
            if by_name and folder != ".":
                name = f"{folder}/{one.video}"
            out[path] = name, one if one.video or folder != "." else None
    return out


def _holds_videos(folder: str, read: Mapping[str, Reading]) -> bool:
    """Whether a folder such as "faces" holds images of several videos, by their names."""
    videos = {one.video for one in read.values()}
    return len(videos) > 1 and "" not in videos and names_no_video(folder.rpartition("/")[2])


def _add(
    groups: dict[_Key, _Group],
    place: _Place,
    file: Path,
    pattern: re.Pattern[str] | None,
    names: _Names,
) -> bool:
    """Add an image to its video; return False if the pattern does not match."""
    said: dict[str, str] = {}
    if pattern is None:
        name, reading = names[place.inside]
        number = reading.frame if reading is not None else None
    else:
        match = pattern.search(place.inside.as_posix())
        if match is None or not match["video"]:
            return False
        said = {key: value or "" for key, value in match.groupdict().items()}
        name, reading = said["video"], Reading(said["video"])
        number = frame_number(said.get("frame", ""))
    people = said.get("identity", ""), said.get("source", "")
    key = (place.dataset, place.split, place.label, name)
    group = groups.setdefault(key, _Group(place, *people, reading))
    if (group.identity, group.source) != people:
        raise DatasetError(
            f"video_pattern gives the video {name!r} two identities or sources: "
            f"{(group.identity, group.source)} and, at {place.inside.as_posix()!r}, {people}. "
            "Include what distinguishes them in the group video."
        )
    group.files.append(file)
    if number is not None:
        group.frames.append(number)
    return True


def _name_people(groups: Mapping[_Key, _Group]) -> None:
    """Fill in the identities of crops of known datasets, if all videos are named as there."""
    names = {key: PurePosixPath(key[3]).name for key in groups}
    if {key[2] for key in names} != {REAL, FAKE}:
        return
    for parse in (ff_people, celeb_people, dfd_people):
        people = {key: parse(name) for key, name in names.items()}
        # Fakes name two persons there, and reals one.
        if all(one and bool(one.source) == (key[2] == FAKE) for key, one in people.items()):
            for key, one in people.items():
                if one is not None:
                    group = groups[key]
                    group.identity, group.source = one.identity, one.source
                    parts = (f"{key[0]}/{key[1]}" if key[1] else key[0], "real", one.original)
                    group.original = "/".join(parts) if one.original else ""
            return


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
        method=(place.method or place.dataset) if place.label == FAKE else "real",
        split=place.split,
        identity=group.identity,
        source=group.source,
        original=group.original,
    )


def _notes(groups: Mapping[_Key, _Group]) -> tuple[str, ...]:
    notes = []
    alone = [one for one in groups.values() if one.reading is None]
    if alone:
        notes.append(SINGLES.format(len(alone)))
    places = Counter((key[0], *key[2:]) for key, one in groups.items() if one.reading)
    torn = [key for key, count in places.items() if count > 1]
    if torn:
        notes.append(
            f"{len(torn)} names of videos occur in several splits, such as {torn[0][-1]!r}: check "
            "whether they are the same videos."
        )
    return (*notes, *_readings(groups))


def _readings(groups: Mapping[_Key, _Group]) -> Iterator[str]:
    """Say how names were read: where that is not plain, and where most videos have one image."""
    read = [
        (key[3], group, group.reading)
        for key, group in groups.items()
        if group.reading is not None and len(group.place.inside.parts) == 1
    ]
    single = [(name, group) for name, group, _ in read if len(group.files) == 1]
    if 2 * len(single) > len(read):
        name, group = single[0]
        yield MOSTLY_SINGLE.format(len(single), len(read), group.files[0].name, name)
    odd = [(name, group, one) for name, group, one in read if _odd(one)]
    if odd:
        name, group, one = odd[0]
        form = "<video>, <frame>" + (" and <face>" if one.face is not None else "")
        images = sum(len(group.files) for _, group, _ in read)
        yield READ.format(images, form, group.files[0].name, name, len(read))


def _odd(one: Reading) -> bool:
    return bool(one.video) and (one.face is not None or not any(c.isdigit() for c in one.video))


def _recognize(root: Path) -> str | None:
    """Recognize a tree with folders of both classes; one class alone is not sufficient."""
    found: dict[int, str] = {}
    for folder, word in _class_folders(root, _DEPTH):
        found.setdefault(word.label, folder.relative_to(root).as_posix())
        if len(found) == 2:
            return f"it holds {found[REAL]} and {found[FAKE]}"
    return None


def _class_folders(folder: Path, depth: int) -> Iterator[tuple[Path, ClassWord]]:
    for inner in folders_in(folder):
        word = class_word(inner.name)
        if word is not None:
            yield inner, word
        # Folders real and fake hold the videos; but a dataset may be named deepfakes.
        if depth > 1 and not (word is not None and word.plain):
            yield from _class_folders(inner, depth - 1)


FOLDER = LAYOUTS.register("folder")(
    Layout(
        name="folder",
        title="a tree of real and fake folders",
        read=_read,
        recognize=_recognize,
        shape="folders named real and fake, perhaps in train, val and test",
        takes=frozenset({"video_pattern", "fake_label"}),
        generic=True,
        may_lie=True,
    )
)
