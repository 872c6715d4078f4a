"""Files of layouts: walk folders, parse names, and account for every file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from probe.datasets.layouts import (
    ImageFiles,
    Media,
    ParquetImages,
    TarImages,
    VideoEntry,
    VideoFile,
)
from probe.datasets.layouts.names import read_names
from probe.errors import DatasetError

__all__ = [
    "NO_PART",
    "People",
    "Places",
    "account",
    "celeb_people",
    "dfd_people",
    "ff_people",
    "folders_in",
    "frame_number",
    "image_files",
    "inside",
    "is_text",
    "lacks_val",
    "masks_of",
    "natural",
    "printable",
    "relative",
    "unread",
    "video_of",
    "video_pattern",
    "walk",
    "without_frame",
]


def walk(root: Path, left_out: dict[str, str], below: Path | None = None) -> Iterator[Path]:
    """Yield the files under a folder, depth first, sorted by name.

    Links to folders are followed, since datasets are often spread over disks by links; a link to
    a folder that contains it is not followed.

    Parameters
    ----------
    root : pathlib.Path
        Folder that the names in `left_out` are relative to.
    left_out : dict
        Receives what could not be listed: relative name to reason.
    below : pathlib.Path, optional
        Folder to start from; `root` by default.

    Yields
    ------
    pathlib.Path
        Regular files and links to them. Names that begin with a dot, and ``__MACOSX``, are
        skipped: they are files of the operating system.
    """
    below = below or root
    between = [one for one in below.parents if one.is_relative_to(root)]
    states = [one.stat() for one in between if one.exists()]
    above = tuple((state.st_dev, state.st_ino) for state in states)
    yield from _walk(below, root, left_out, above)


def _walk(
    folder: Path, root: Path, left_out: dict[str, str], above: tuple[tuple[int, int], ...]
) -> Iterator[Path]:
    def leave_out(path: str | Path, why: str) -> None:
        left_out[printable(Path(path).relative_to(root).as_posix())] = why

    try:
        state = folder.stat()
        here = (state.st_dev, state.st_ino)
        if here in above:
            leave_out(folder, "it is a link to a folder that contains it")
            return
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        leave_out(folder, f"it cannot be listed ({error.strerror})")
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if not is_text(entry.name):
            leave_out(entry.path, "its name is not valid UTF-8, which tables need; rename it")
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:
            leave_out(entry.path, f"it cannot be read ({error.strerror})")
            continue
        if is_folder:
            yield from _walk(Path(entry.path), root, left_out, (*above, here))
        elif is_file:
            yield Path(entry.path)
        else:
            leave_out(entry.path, "it is a broken link or not a regular file")


def is_text(name: str) -> bool:
    """Whether a file name is valid text; file systems allow other bytes, but tables do not."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """Return a name that can be printed, with invalid bytes as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def folders_in(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, with links, sorted by name; none if it is not a folder."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts "frame2" before "frame10".

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    tuple
        The runs of digits, compared as numbers, and the runs of other characters.
    """
    return tuple(_run(run) for run in re.findall(r"[0-9]+|[^0-9]+", name))


def _run(run: str) -> tuple[int, int, str]:
    if run[0] not in "0123456789":
        return (1, 0, run)
    # Comparing length, then digits, orders numbers of any length.
    digits = run.lstrip("0")
    return (0, len(digits), digits)


NO_PART = "it is not part of this layout"

#: Photographs that Pillow does not decode, by suffix; they are named, never dropped in silence.
_UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".jxl": "JPEG XL",
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "raw camera"),
    **dict.fromkeys((".exr", ".hdr"), "floating-point"),
    **dict.fromkeys((".psd", ".svg", ".ico", ".tga", ".pcx"), "graphics"),
}


def unread(suffix: str) -> str:
    """Return why a file that is neither an image nor a video by its suffix is left out."""
    kind = _UNREAD.get(suffix.lower())
    if kind is None:
        return "it is neither an image nor a video"
    return f"{kind} images are not decoded here; convert it to PNG or JPEG"


def relative(file: Path | str, root: Path) -> str:
    """Return a file's name for reports: relative to the root, or absolute if outside it."""
    # String operations where possible, since lists of a million images are common.
    name, prefix = str(file), f"{root}/"
    if not name.startswith(prefix) and Path(file).is_relative_to(root):
        name, prefix = Path(file).relative_to(root).as_posix(), ""
    return printable(name.removeprefix(prefix))


def inside(base: Path, given: str) -> Path | None:
    """Resolve a path from a list, with forward or backward slashes.

    Parameters
    ----------
    base : pathlib.Path
        Folder that relative paths start from.
    given : str
        Path as listed; an absolute path is not changed.

    Returns
    -------
    pathlib.Path or None
        The path; None for a relative path that leads out of `base` by "..", or with a null byte.
    """
    path = given.replace("\\", "/")
    if "\0" in path:
        return None
    if path.startswith("/"):
        return Path(path)
    normal = os.path.normpath(path)
    return None if normal.split("/")[0] == ".." else base / normal


class Places:
    """Folders that the paths of a list start from.

    Lists travel with absolute paths, drives, backslashes or folders of another machine. Of such a
    path the longest ending that exists in one of the folders is used, and the beginning
    that it replaces is kept for all paths that share it.

    Parameters
    ----------
    bases : sequence of pathlib.Path
        Folders to look in, the most likely one first.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self.bases = tuple(bases)
        self._rules: dict[tuple[str, ...], tuple[Path, int]] = {}
        self._absent: set[tuple[str, ...]] = set()
        self._flat: dict[Path, tuple[str, ...]] = {}

    def find(self, given: str) -> Path | None:
        """Return the existing file of a listed path; None if there is none."""
        parts = _parts_of(given)
        for key, (base, start) in self._rules.items():
            if parts[: len(key)] == key:
                return self._own(base.joinpath(*parts[start:]), parts, start)
        foreign = re.match(r"[\\/]|[A-Za-z]:", given) is not None
        for base in self.bases[:1] if foreign else self.bases:
            direct = inside(base, given)
            if direct is not None and direct.is_file():
                return direct
        if ".." in parts or parts[:-1] in self._absent:
            return None
        return self._search(parts, len(parts) if foreign else len(parts) - 1)

    def _search(self, parts: tuple[str, ...], end: int) -> Path | None:
        # By its bare name only a path is found that is not of this machine.
        for start in range(end):
            for base in self.bases:
                if (found := self._own(base.joinpath(*parts[start:]), parts, start)) is not None:
                    last = len(parts) - 1
                    self._rules[parts[: min(start + 1, last)]] = base, start
                    return found
        self._absent.add(parts[:-1])
        return None

    def _own(self, file: Path, parts: tuple[str, ...], start: int) -> Path | None:
        """Return an existing file; by its bare name it may stand for one listed path only."""
        if not file.is_file():
            return None
        if start == len(parts) - 1 and self._flat.setdefault(file, parts) != parts:
            return None
        return file

    def notes(self) -> tuple[str, ...]:
        """Say which beginnings of paths were replaced."""
        return tuple(
            f"Listed paths that begin with {'/'.join(key[:start])!r} were looked for in "
            f"{str(base)!r}, where their endings exist."
            for key, (base, start) in list(self._rules.items())[:5]
            if start
        )


def _parts_of(given: str) -> tuple[str, ...]:
    """Return the parts of a path of any machine, without drive and root."""
    path = re.sub(r"^[A-Za-z]:", "", given.replace("\\", "/"))
    return tuple(one for one in path.split("/") if one not in ("", "."))


def account(
    root: Path,
    videos: Iterable[VideoEntry],
    left_out: dict[str, str],
    lists: Iterable[Path] = (),
    sweep: bool = True,
) -> tuple[VideoEntry, ...]:
    """Account for every file under a root, and keep one video per key.

    Parameters
    ----------
    root : pathlib.Path
        Folder that the names in `left_out` are relative to.
    videos : iterable of VideoEntry
        Videos that the reader found. Of two videos with one key, the first is kept.
    left_out : dict
        Receives every file that belongs neither to a video nor to `lists`, and is sorted. A folder
        without any used file is listed as a whole, with a slash at its end.
    lists : iterable of pathlib.Path
        List files that the reader read.
    sweep : bool, default True
        Whether to search the root for unused files; not if a list defines the content.

    Returns
    -------
    tuple of VideoEntry
        The videos that were kept. An ``original`` that is not among them is set to "".
    """
    kept: dict[str, VideoEntry] = {}
    for video in videos:
        if kept.setdefault(video.key, video) is not video:
            for name in _names(video.media, root):
                left_out[name] = f"another file is already used as the video {video.key}"
    claimed = {relative(file, root) for file in lists}
    for video in kept.values():
        for media in (video.media, video.masks):
            claimed.update(relative(file, root) for file in _files(media))
    if sweep:
        _sweep(root, claimed, left_out)
    ordered = sorted(left_out.items())
    left_out.clear()
    left_out.update(ordered)
    return tuple(
        video if video.original in kept else replace(video, original="") for video in kept.values()
    )


def lacks_val(videos: Iterable[VideoEntry]) -> bool:
    """Whether the videos of a dataset have a train split and no val."""
    found: dict[str, set[str]] = {}
    for video in videos:
        found.setdefault(video.dataset, set()).add(video.split)
    return any("train" in splits and "val" not in splits for splits in found.values())


def _files(media: Media | None) -> tuple[Path, ...]:
    if isinstance(media, ImageFiles):
        return media.files
    if isinstance(media, TarImages):
        return (media.archive,)
    return (media.file,) if isinstance(media, VideoFile | ParquetImages) else ()


def _names(media: Media, root: Path) -> list[str]:
    names = [relative(file, root) for file in _files(media)]
    if isinstance(media, TarImages):
        return [f"{names[0]}::{member}" for member in media.members]
    if isinstance(media, ParquetImages):
        return [f"{names[0]}::row {row}" for row in media.rows]
    return names


def _sweep(root: Path, claimed: set[str], left_out: dict[str, str]) -> None:
    known = claimed | left_out.keys()
    above = _folders_above(known)
    folders = [root]
    while folders:
        folder = folders.pop()
        for entry in _entries(folder, root, left_out):
            name = relative(entry.path, root)
            if name in known or entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if not entry.is_dir():
                left_out[name] = NO_PART
            elif name in above:
                folders.append(Path(entry.path))
            else:
                left_out[name + "/"] = NO_PART


def _folders_above(names: Iterable[str]) -> set[str]:
    above: set[str] = set()
    for name in names:
        while (name := os.path.dirname(name)) not in above:
            above.add(name)
    return above


def _entries(folder: Path, root: Path, left_out: dict[str, str]) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        left_out[relative(folder, root)] = f"it cannot be listed ({error.strerror})"
        return []


#: Longer runs of digits are dates or hashes, not frame numbers.
_MOST_DIGITS = 9

_FF = re.compile(r"([0-9]{3})(?:_([0-9]{3}))?")
_CELEB = re.compile(r"(id[0-9]+)(?:_(id[0-9]+))?_([0-9]+)")
_DFD = re.compile(r"([0-9]{2})(?:_([0-9]{2}))?__(.+?)(?(2)__[0-9A-Za-z]{8}|)")


@dataclass(frozen=True)
class People:
    """The identities of a video, parsed from its name.

    Attributes
    ----------
    identity : str
        Person shown.
    source : str
        Person whose face or motion was used for the forgery; empty for real videos.
    original : str
        Name of the real video it was made from; empty for real videos.
    """

    identity: str
    source: str = ""
    original: str = ""


def ff_people(name: str) -> People | None:
    """Parse a name of FaceForensics++, "000" or "000_003"; return None for other names."""
    match = _FF.fullmatch(name)
    return match and People(match[1], match[2] or "", match[1] if match[2] else "")


def celeb_people(name: str) -> People | None:
    """Parse a name of Celeb-DF, "id0_0000" or "id0_id1_0000"; return None for other names."""
    match = _CELEB.fullmatch(name)
    return match and People(match[1], match[2] or "", f"{match[1]}_{match[3]}" if match[2] else "")


def dfd_people(name: str) -> People | None:
    """Parse a name of DeepFakeDetection, "01__scene" or "01_02__scene__ABCDEFGH", or give None."""
    match = _DFD.fullmatch(name)
    return match and People(match[1], match[2] or "", f"{match[1]}__{match[3]}" if match[2] else "")


def frame_number(stem: str) -> int | None:
    """Return the number at the end of a name; None if there is none, or it is too long."""
    digits = stem[len(stem.rstrip("0123456789")) :]
    return int(digits) if 0 < len(digits) <= _MOST_DIGITS else None


def without_frame(stem: str) -> str:
    """Remove the frame number from a name, if the rest still identifies a video.

    Parameters
    ----------
    stem : str
        Name of an image without its suffix.

    Returns
    -------
    str
        "id0_0001" for "id0_0001_00023". The whole name if the rest contains no digit, as for
        "00023" and "img_7": such an image cannot be assigned to a video.
    """
    left = stem.rstrip("0123456789")
    if left == stem or len(stem) - len(left) > _MOST_DIGITS:
        return stem
    left = left.rstrip("_-. ")
    return left if any(one in "0123456789" for one in left) else stem


def video_of(path: PurePosixPath) -> str:
    """Return the name of the video that an image belongs to.

    Parameters
    ----------
    path : pathlib.PurePosixPath
        Path of the image, relative to the folder of the videos.

    Returns
    -------
    str
        The image's folder; for an image that is in no folder, its name `without_frame`.
    """
    folder = path.parent.as_posix()
    return without_frame(path.stem) if folder == "." else folder


def image_files(files: Iterable[Path]) -> ImageFiles:
    """Sort the images of one video by the numbers at the end of their names, else by name.

    Parameters
    ----------
    files : iterable of pathlib.Path
        Images in any order.

    Returns
    -------
    ImageFiles
        The sorted images, with the numbers as frame indices if every image has a different one.
    """
    ordered = sorted(files, key=lambda file: (natural(file.name), str(file)))
    numbers = {file: frame_number(file.stem) for file in ordered}
    known = {number for number in numbers.values() if number is not None}
    if len(known) < len(ordered):
        # The last number may be that of a face: "v_12_0", "frame12_face0".
        read = read_names(file.stem for file in ordered)
        numbers = {file: read[file.stem].frame for file in ordered}
        known = {number for number in numbers.values() if number is not None}
    if len(known) < len(ordered):
        return ImageFiles(tuple(ordered))
    ordered.sort(key=lambda file: numbers[file] or 0)
    return ImageFiles(tuple(ordered), tuple(sorted(known)))


def masks_of(images: ImageFiles, masks: Mapping[Path, Path]) -> ImageFiles | None:
    """Return the masks of one video in the order of its images, with the same frame indices.

    Parameters
    ----------
    images : ImageFiles
        The images of the video.
    masks : mapping
        Image to its mask; images without a mask are not in it.

    Returns
    -------
    ImageFiles or None
        The masks; None if no image has one.
    """
    numbers = images.frames or range(len(images.files))
    pairs = [(n, masks[one]) for n, one in zip(numbers, images.files, strict=True) if one in masks]
    if not pairs:
        return None
    return ImageFiles(tuple(mask for _, mask in pairs), tuple(number for number, _ in pairs))


def video_pattern(given: str | None) -> re.Pattern[str] | None:
    """Return the option `video_pattern` compiled; raise if it has no group named video."""
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
