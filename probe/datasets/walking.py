"""Listing folders in a fixed order, through symbolic links but never around in circles."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["folders_in", "is_text", "natural", "printable", "walk"]


def walk(root: Path, left_out: dict[str, str], below: Path | None = None) -> Iterator[Path]:
    """Iterate over the files under a folder, depth first, names sorted.

    Linked folders are followed, since datasets are often spread over disks by links; a link
    that leads back into a folder it lies in is not.

    Parameters
    ----------
    root : pathlib.Path
        Folder that the names in `left_out` are relative to.
    left_out : dict
        Gets what could not be listed: relative name to reason.
    below : pathlib.Path, optional
        Where to start, `root` by default.

    Yields
    ------
    pathlib.Path
        Regular files and links to them. Names that begin with a dot, and ``__MACOSX``, are
        passed over: they are the file system's own.
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
            leave_out(folder, "it is a link to a folder that it lies in")
            return
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        leave_out(folder, f"it cannot be listed ({error.strerror})")
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if not is_text(entry.name):
            leave_out(entry.path, "its name is no valid UTF-8, which tables cannot hold; rename it")
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
            leave_out(entry.path, "it is a broken link or no regular file")


def is_text(name: str) -> bool:
    """Whether a name is text: file systems also hold bytes that are none, and tables cannot."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """Write a name so that it can be printed: bytes that are no text as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def folders_in(folder: Path) -> list[Path]:
    """List the folders directly inside one, links included, by name; none if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts "frame2" before "frame10".

    Parameters
    ----------
    name : str
        Any text.

    Returns
    -------
    tuple
        Its runs of digits, compared as numbers, between its other runs.
    """
    return tuple(_run(run) for run in re.findall(r"[0-9]+|[^0-9]+", name))


def _run(run: str) -> tuple[int, int, str]:
    if run[0] not in "0123456789":
        return (1, 0, run)
    # By length, then digit by digit: the order of numbers, for runs of any length.
    digits = run.lstrip("0")
    return (0, len(digits), digits)
