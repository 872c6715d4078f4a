"""Layout of WildDeepfake as distributed: archives of face sequences, in place (Zi et al. 2020)."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from probe.datasets.layouts import (
    ARCHIVES,
    IMAGES,
    LAYOUTS,
    Inventory,
    Layout,
    LayoutOptions,
    TarImages,
    VideoEntry,
)
from probe.datasets.layouts.files import account, is_text, natural, printable, relative, walk
from probe.errors import DatasetError
from probe.progress import track
from probe.schema import FAKE, REAL

__all__ = ["WILDDEEPFAKE"]

_FOLDERS = {
    "real_train": (REAL, "train"),
    "fake_train": (FAKE, "train"),
    "real_test": (REAL, "test"),
    "fake_test": (FAKE, "test"),
}
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError)

_TWICE = "its name occurs twice; the last is used"

LABELS = "folders real_* and fake_* → 0 real, 1 fake"
SPLIT_RULE = "The folders *_train and *_test are the official splits; there is no official val."
LICENSE = "WildDeepfake terms: research use"
CROP = "face crops as distributed with WildDeepfake; how they were cut is not stated there"
PERSONS = (
    "WildDeepfake names no identities, and sequences of one archive may come from one video: "
    "intervals treat the sequences as independent."
)


def _read(root: Path, options: LayoutOptions) -> Inventory:
    left_out: dict[str, str] = {}
    archives = [
        file
        for name in _FOLDERS
        if (root / name).is_dir()
        for file in sorted(walk(root, left_out, root / name), key=lambda one: natural(one.name))
        if _is_archive(file) and file.parent == root / name
    ]
    if not archives:
        raise DatasetError(
            f"{str(root)!r} is not a WildDeepfake tree: none of {', '.join(_FOLDERS)} holds an "
            "archive. Give the folder that holds them, as downloaded: archives are read in place."
        )
    videos: list[VideoEntry] = []
    for file in track(archives, "listing archives"):
        name = relative(file, root)
        try:
            members, others = _members(file)
        except _DAMAGE as error:
            left_out[name] = f"the archive is damaged ({type(error).__name__}: {error})"
            continue
        left_out.update({f"{name}::{member}": why for member, why in others.items()})
        videos += _entries(file, members)
    notes = [f"The folder {one} is missing." for one in _FOLDERS if not (root / one).is_dir()]
    kept = account(root, videos, left_out)
    return Inventory(
        kept, {}, left_out, (PERSONS, *notes), LABELS, SPLIT_RULE, LICENSE, CROP, without_val=True
    )


def _is_archive(file: Path) -> bool:
    return file.name.lower().endswith(ARCHIVES)


def _entries(archive: Path, members: list[str]) -> Iterator[VideoEntry]:
    """Yield one video for each folder in an archive."""
    label, split = _FOLDERS[archive.parent.name]
    folders: dict[str, list[str]] = {}
    for member in members:
        folders.setdefault(PurePosixPath(member).parent.as_posix(), []).append(member)
    stem = re.sub(r"\.(tar|tar\.gz|tgz)$", "", archive.name, flags=re.IGNORECASE)
    for folder, inside in sorted(folders.items(), key=lambda one: natural(one[0])):
        path = PurePosixPath(archive.parent.name, stem, folder)
        yield VideoEntry(
            dataset="wilddeepfake",
            video=path.as_posix(),
            media=TarImages(archive, tuple(sorted(inside, key=lambda one: (natural(one), one)))),
            label=label,
            method="wilddeepfake" if label == FAKE else "real",
            split=split,
            identity="",
        )


def _members(archive: Path) -> tuple[list[str], dict[str, str]]:
    """Return the images in an archive, and its other members with the reason; all or nothing."""
    images: dict[str, None] = {}
    others: dict[str, str] = {}
    with _open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            reason = _reason(member)
            if reason or member.name in images:
                others[printable(member.name)] = reason or _TWICE
            elif not member.isdir():
                images[member.name] = None
        _require_end(stream, tar.offset)
    return list(images), others


def _open(archive: Path) -> IO[bytes]:
    if archive.suffix.lower() == ".tar":
        return archive.open("rb")
    return cast(IO[bytes], gzip.open(archive, "rb"))


def _reason(member: tarfile.TarInfo) -> str:
    """Return why a member is left out; empty for an image or a folder."""
    path = PurePosixPath(member.name.replace("\\", "/"))
    if member.isdir():
        return ""
    if path.is_absolute() or ".." in path.parts:
        return "its path leads out of the archive"
    if not member.isfile():
        return "it is a link or a device; these are not followed"
    if not is_text(member.name):
        return "its name is not valid text"
    if path.suffix.lower() not in IMAGES:
        return "it is not an image"
    return ""


def _require_end(stream: IO[bytes], offset: int) -> None:
    """Raise unless the archive ends properly: tarfile mistakes a broken header for the end."""
    stream.seek(offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends too early")
    if block.count(0) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"the header at byte {offset} is broken")
    while stream.read(1 << 20):
        pass  # Read to the end, where gzip verifies its checksum.


def _recognize(root: Path) -> str | None:
    for name in _FOLDERS:
        folder = root / name
        if folder.is_dir() and any(_is_archive(file) for file in folder.iterdir()):
            return f"it holds archives in {name}"
    return None


WILDDEEPFAKE = LAYOUTS.register("wilddeepfake")(
    Layout(
        name="wilddeepfake",
        title="WildDeepfake (Zi et al. 2020, arXiv:2101.01456)",
        read=_read,
        recognize=_recognize,
        shape=f"archives in {', '.join(_FOLDERS)}",
    )
)
