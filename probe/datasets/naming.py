"""What names say: who is seen, whose face was put in, and which frame of which video it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from probe.datasets.media import ImageFiles
from probe.datasets.walking import natural

__all__ = [
    "People",
    "celeb_people",
    "dfd_people",
    "ff_people",
    "frame_number",
    "image_files",
    "masks_of",
    "video_of",
    "without_frame",
]

#: Longer runs of digits are dates or hashes, no frame numbers.
_MOST_DIGITS = 9

_FF = re.compile(r"([0-9]{3})(?:_([0-9]{3}))?")
_CELEB = re.compile(r"(id[0-9]+)(?:_(id[0-9]+))?_([0-9]+)")
_DFD = re.compile(r"([0-9]{2})(?:_([0-9]{2}))?__(.+?)(?(2)__[0-9A-Za-z]{8}|)")


@dataclass(frozen=True)
class People:
    """Who a video shows, by its name.

    Attributes
    ----------
    identity : str
        Who is seen.
    source : str
        Whose face was put in or who drives it; empty for real videos.
    original : str
        Name of the real video it was made from; empty for real videos.
    """

    identity: str
    source: str = ""
    original: str = ""


def ff_people(name: str) -> People | None:
    """Read a name of FaceForensics++, "000" or "000_003"; None if it is none."""
    match = _FF.fullmatch(name)
    return match and People(match[1], match[2] or "", match[1] if match[2] else "")


def celeb_people(name: str) -> People | None:
    """Read a name of Celeb-DF, "id0_0000" or "id0_id1_0000"; None if it is none."""
    match = _CELEB.fullmatch(name)
    return match and People(match[1], match[2] or "", f"{match[1]}_{match[3]}" if match[2] else "")


def dfd_people(name: str) -> People | None:
    """Read a name of DeepFakeDetection, "01__scene" or "01_02__scene__ABCDEFGH"; None if none."""
    match = _DFD.fullmatch(name)
    return match and People(match[1], match[2] or "", f"{match[1]}__{match[3]}" if match[2] else "")


def frame_number(stem: str) -> int | None:
    """Read the digits that a name ends with; None if it ends with none, or with too many."""
    digits = stem[len(stem.rstrip("0123456789")) :]
    return int(digits) if 0 < len(digits) <= _MOST_DIGITS else None


def without_frame(stem: str) -> str:
    """Take the frame number off a name, where what is left still names a video.

    Parameters
    ----------
    stem : str
        Name of an image without its suffix.

    Returns
    -------
    str
        "id0_0001" for "id0_0001_00023". The whole name where nothing with a digit in it is left,
        as of "00023" and "img_7": such an image stands alone.
    """
    left = stem.rstrip("0123456789")
    if left == stem or len(stem) - len(left) > _MOST_DIGITS:
        return stem
    left = left.rstrip("_-. ")
    return left if any(one in "0123456789" for one in left) else stem


def video_of(path: PurePosixPath) -> str:
    """Name the video that an image belongs to.

    Parameters
    ----------
    path : pathlib.PurePosixPath
        Relative to the folder that videos lie in.

    Returns
    -------
    str
        The folder it lies in; for an image in no folder its name `without_frame`.
    """
    folder = path.parent.as_posix()
    return without_frame(path.stem) if folder == "." else folder


def image_files(files: Iterable[Path]) -> ImageFiles:
    """Put the images of one video in order: by the numbers they end with, else by name.

    Parameters
    ----------
    files : iterable of pathlib.Path
        In any order.

    Returns
    -------
    ImageFiles
        With the numbers as frames where every image has one of its own.
    """
    ordered = sorted(files, key=lambda file: (natural(file.name), str(file)))
    numbers = {file: frame_number(file.stem) for file in ordered}
    known = {number for number in numbers.values() if number is not None}
    if len(known) < len(ordered):
        return ImageFiles(tuple(ordered))
    ordered.sort(key=lambda file: numbers[file] or 0)
    return ImageFiles(tuple(ordered), tuple(sorted(known)))


def masks_of(images: ImageFiles, masks: Mapping[Path, Path]) -> ImageFiles | None:
    """Put the masks of one video in the order of its images, under the same frames.

    Parameters
    ----------
    images : ImageFiles
        The images of the video.
    masks : mapping
        From images to their masks; those without one are not in it.

    Returns
    -------
    ImageFiles or None
        None if no image has a mask.
    """
    numbers = images.frames or range(len(images.files))
    pairs = [(n, masks[one]) for n, one in zip(numbers, images.files, strict=True) if one in masks]
    if not pairs:
        return None
    return ImageFiles(tuple(mask for _, mask in pairs), tuple(number for number, _ in pairs))
