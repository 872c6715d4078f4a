"""One video into a folder of images: the unit of work, of parallelism and of resuming."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2

from probe.datasets.cutting import cut_faces, take_whole
from probe.datasets.faces import Face
from probe.datasets.frames import open_frames, source_bytes
from probe.datasets.layouts import VideoEntry
from probe.datasets.report import CutRule, VideoReport
from probe.errors import DatasetError

__all__ = [
    "CLIP_FILE",
    "Clip",
    "ClipTask",
    "cut_clip",
    "one_thread",
    "read_clip",
    "remove_clip",
    "safe_name",
    "sound_clip",
    "take_clip",
]

CLIP_FILE = "clip.json"

#: Names on most file systems may have 255 bytes; some room is left for suffixes.
LONGEST_NAME = 200


@dataclass(frozen=True)
class ClipTask:
    """What to do with one video.

    Attributes
    ----------
    entry : VideoEntry
        The video.
    folder : pathlib.Path
        Where its images and its record go; made whole or not at all.
    rule : CutRule
        Which frames, and what is cut out of them.
    boxes : mapping or None
        Given face boxes by frame, where the rule asks for them.
    stamp : str
        Of an entry of the crop cache: the state of the files whose content names the folder.
    """

    entry: VideoEntry
    folder: Path
    rule: CutRule
    boxes: Mapping[int, Face] | None = None
    stamp: str = ""


@dataclass(frozen=True)
class Clip:
    """A finished video.

    Attributes
    ----------
    report : VideoReport
        What became of its frames.
    rows : tuple of dict
        One an image: ``frame``, ``time`` (seconds; NaN for images), ``file`` and ``mask`` (names
        in its folder, or absolute where images are used as they lie), ``digest``, and for crops
        ``box_x``, ``box_y``, ``box_w``, ``box_h`` (face box), the columns of the region cut, all
        in pixels of the frame, and ``face_score``.
    source : dict
        Facts of the source video: ``source_width``, ``source_height``, ``source_codec``,
        ``source_bitrate``, ``source_fps``.
    source_bytes : int
        Size of what it was made from.
    files : dict
        From each file that was written to its size and its digest.
    """

    report: VideoReport
    rows: tuple[dict[str, Any], ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    source_bytes: int = 0
    files: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Clip:
        """Make one from plain data; raises `KeyError`, `TypeError` or `ValueError` if damaged."""
        report: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in found["report"].items()
        }
        report["conversions"] = {k: tuple(v) for k, v in report["conversions"].items()}
        rows, source = tuple(found["rows"]), dict(found["source"])
        files = dict(found.get("files", {}))
        return cls(VideoReport(**report), rows, source, int(found["source_bytes"]), files)


def safe_name(name: str) -> str:
    """Turn any name into one that every file system takes, different ones into different ones.

    Parameters
    ----------
    name : str
        Such as the name of a video, which may hold slashes, quotes or line breaks.

    Returns
    -------
    str
        The name with all but letters, digits and ``_-~.`` percent-encoded; shortened, with a
        hash, where that is too long.
    """
    safe = quote(name, safe="")
    if safe.startswith("."):
        safe = "%2E" + safe[1:]
    if len(safe) > LONGEST_NAME:
        mark = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        safe = f"{safe[: LONGEST_NAME - 17].rpartition('%')[0] or safe[:64]}-{mark}"
    return safe


def cut_clip(task: ClipTask) -> Clip:
    """Make the images of one video.

    The folder appears under its name when it is complete. A video that cannot be read at all
    leaves none, so that a later run tries it again.

    Parameters
    ----------
    task : ClipTask
        What to do.

    Returns
    -------
    Clip
        What became of it; read errors are in its report, not raised.

    Raises
    ------
    DatasetError
        If the face detector is not there.
    """
    partial = task.folder.with_name(f".{task.folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    clip = _make(task, partial)
    if not clip.report.decoded:
        shutil.rmtree(partial)
        return clip
    clip = replace(clip, files={one.name: _written(one) for one in sorted(partial.iterdir())})
    text = json.dumps(asdict(clip), indent=1)
    (partial / CLIP_FILE).write_text(text + "\n", encoding="utf-8")
    old = task.folder.with_name(f".{task.folder.name}.old")
    if task.folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        task.folder.rename(old)
    partial.replace(task.folder)
    shutil.rmtree(old, ignore_errors=True)
    return clip


def _written(file: Path) -> list[Any]:
    content = file.read_bytes()
    return [len(content), hashlib.blake2b(content, digest_size=16).hexdigest()]


def remove_clip(task: ClipTask, why: str) -> Clip:
    """Take a finished video away again; returns one that holds nothing but the reason."""
    shutil.rmtree(task.folder, ignore_errors=True)
    entry = task.entry
    return Clip(VideoReport(entry.dataset, entry.video, entry.split, error=why))


def take_clip(task: ClipTask) -> Clip:
    """Look through images that are used as they lie; nothing is written.

    Parameters
    ----------
    task : ClipTask
        Whose media are image files and whose rule cuts nothing out.

    Returns
    -------
    Clip
        What was found.
    """
    return _make(task, task.folder)


def _make(task: ClipTask, folder: Path) -> Clip:
    entry = task.entry
    size = source_bytes(entry.media)
    try:
        frames = open_frames(entry.media)
    except (DatasetError, OSError) as error:
        report = VideoReport(entry.dataset, entry.video, entry.split, error=str(error))
        return Clip(report, source_bytes=size)
    make = cut_faces if task.rule.crop else take_whole
    made = make(entry, frames, task.rule, folder, task.boxes)
    facts = {f"source_{k}": _plain(v) for k, v in asdict(frames.facts).items() if k != "bytes"}
    return Clip(made.report, made.rows, facts, size)


def _plain(value: Any) -> Any:
    # JSON knows no NaN.
    return None if isinstance(value, float) and math.isnan(value) else value


def read_clip(folder: Path) -> Clip | None:
    """Read back a finished video, or return None where there is none.

    Raises
    ------
    DatasetError
        If its record is damaged.
    """
    file = folder / CLIP_FILE
    if not file.is_file():
        return None
    try:
        return Clip.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"The record {str(file)!r} is damaged ({error}). Remove its folder and run again; "
            "only that video is cut anew."
        ) from error


def sound_clip(folder: Path) -> Clip | None:
    """Read back a finished video, and see whether its files are as they were written.

    A file is read again only where it has changed after the record was written.

    Raises
    ------
    DatasetError
        If a file is missing or another.
    """
    clip = read_clip(folder)
    if clip is None:
        return None
    written = (folder / CLIP_FILE).stat().st_mtime_ns
    for name, (size, digest) in clip.files.items():
        file = folder / name
        try:
            found = file.stat()
            same = found.st_size == size
            if same and found.st_mtime_ns > written:
                same = _written(file)[1] == digest
        except OSError:
            same = False
        if not same:
            raise DatasetError(f"The file {str(file)!r} is missing or not as it was written.")
    return clip


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: videos run in parallel, and bytes must not depend on threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
