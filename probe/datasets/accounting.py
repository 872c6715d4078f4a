"""Nothing goes missing in silence: every file under a root is taken, a list, or left out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from probe.datasets.layouts import VideoEntry
from probe.datasets.media import ImageFiles, Media, TarImages, VideoFile
from probe.datasets.walking import printable

__all__ = ["NO_PART", "account", "inside", "relative"]

NO_PART = "it is no part of what this layout takes"


def relative(file: Path | str, root: Path) -> str:
    """Name a file in a report: relative to the root, or whole where it lies elsewhere."""
    # Text where that is enough: lists of a million images are common.
    name, prefix = str(file), f"{root}/"
    if not name.startswith(prefix) and Path(file).is_relative_to(root):
        name, prefix = Path(file).relative_to(root).as_posix(), ""
    return printable(name.removeprefix(prefix))


def inside(base: Path, given: str) -> Path | None:
    """Resolve a path that a list gives, whichever slashes it is written with.

    Parameters
    ----------
    base : pathlib.Path
        Folder that relative paths start from.
    given : str
        The path. An absolute one is taken as it is.

    Returns
    -------
    pathlib.Path or None
        None for a relative path that leads out of `base` by "..", and for one with a null byte.
    """
    path = given.replace("\\", "/")
    if "\0" in path:
        return None
    if path.startswith("/"):
        return Path(path)
    normal = os.path.normpath(path)
    return None if normal.split("/")[0] == ".." else base / normal


def account(
    root: Path,
    videos: Iterable[VideoEntry],
    left_out: dict[str, str],
    lists: Iterable[Path] = (),
    sweep: bool = True,
) -> tuple[VideoEntry, ...]:
    """Make sure that every file under a root is accounted for, and every key stands once.

    Parameters
    ----------
    root : pathlib.Path
        Folder that the names in `left_out` are relative to.
    videos : iterable of VideoEntry
        What the reader found, in its order. Of two with one key the first is kept.
    left_out : dict
        Gets every file that is neither of a video nor a list, and is put in order. Of a folder
        that holds nothing else, the folder alone stands there, with a slash at its end.
    lists : iterable of pathlib.Path
        Files that the reader read.
    sweep : bool, default True
        Whether the root is looked through; not where a list, not the folder, says what there is.

    Returns
    -------
    tuple of VideoEntry
        Those kept. An ``original`` that is not among them is emptied.
    """
    kept: dict[str, VideoEntry] = {}
    for video in videos:
        if kept.setdefault(video.key, video) is not video:
            for name in _names(video.media, root):
                left_out[name] = f"another file is the video {video.key} already"
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


def _files(media: Media | None) -> tuple[Path, ...]:
    if isinstance(media, ImageFiles):
        return media.files
    if isinstance(media, TarImages):
        return (media.archive,)
    return (media.file,) if isinstance(media, VideoFile) else ()


def _names(media: Media, root: Path) -> list[str]:
    names = [relative(file, root) for file in _files(media)]
    if isinstance(media, TarImages):
        return [f"{names[0]}::{member}" for member in media.members]
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
