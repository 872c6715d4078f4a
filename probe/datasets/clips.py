"""Images of one video in a folder: the unit of work, of parallelism and of resuming."""

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
from probe.datasets.layouts import VideoEntry
from probe.datasets.report import CutRule, VideoReport
from probe.datasets.video import open_frames, source_bytes
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

#: Most file systems allow names of 255 bytes; this leaves room for suffixes.
LONGEST_NAME = 200


@dataclass(frozen=True)
class ClipTask:
    """The task of making the images of one video.

    Attributes
    ----------
    entry : VideoEntry
        The video.
    folder : pathlib.Path
        Output folder for its images and its record; written completely or not at all.
    rule : CutRule
        Which frames are used and how faces are cropped.
    boxes : mapping or None
        Face boxes by frame, if the rule uses given boxes.
    stamp : str
        For an entry of the crop cache: the state of the source files when their content was
        hashed; else empty.
    """

    entry: VideoEntry
    folder: Path
    rule: CutRule
    boxes: Mapping[int, Face] | None = None
    stamp: str = ""


@dataclass(frozen=True)
class Clip:
    """The result of a finished video.

    Attributes
    ----------
    report : VideoReport
        Outcome for its frames.
    rows : tuple of dict
        One per image: ``frame``, ``time`` (seconds; NaN for images), ``file`` and ``mask`` (names
        in its folder, or absolute paths of images used in place), ``digest``, and for crops
        ``box_x``, ``box_y``, ``box_w``, ``box_h`` (face box) and the columns of the cropped
        region, all in pixels of the frame, and ``face_score``.
    source : dict
        Metadata of the source video: ``source_width``, ``source_height``, ``source_codec``,
        ``source_bitrate``, ``source_fps``.
    source_bytes : int
        Size of the source files in bytes.
    files : dict
        Name of each written file to its size in bytes and its digest.
    """

    report: VideoReport
    rows: tuple[dict[str, Any], ...] = ()
    source: dict[str, Any] = field(default_factory=dict)
    source_bytes: int = 0
    files: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Clip:
        """Return a clip from plain data; raise KeyError, TypeError or ValueError if damaged."""
        report: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in found["report"].items()
        }
        report["conversions"] = {k: tuple(v) for k, v in report["conversions"].items()}
        rows, source = tuple(found["rows"]), dict(found["source"])
        files = dict(found.get("files", {}))
        return cls(VideoReport(**report), rows, source, int(found["source_bytes"]), files)


def safe_name(name: str) -> str:
    """Convert a name to one that every file system allows; different names stay different.

    Parameters
    ----------
    name : str
        Any name, such as that of a video; it may contain slashes, quotes or line breaks.

    Returns
    -------
    str
        The name with all characters except letters, digits and ``_-~.`` percent-encoded;
        shortened and ended by a hash if it is too long.
    """
    safe = quote(name, safe="")
    if safe.startswith("."):
        safe = "%2E" + safe[1:]
    if len(safe) > LONGEST_NAME:
        mark = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
        safe = f"{safe[: LONGEST_NAME - 17].rpartition('%')[0] or safe[:64]}-{mark}"
    return safe


def cut_clip(task: ClipTask) -> Clip:
    """Write the images of one video.

    The folder gets its final name when it is complete. A video that cannot be read at all leaves
    no folder, so that a later run tries it again.

    Parameters
    ----------
    task : ClipTask
        Video, output folder and rule.

    Returns
    -------
    Clip
        Result for the video; read errors are in its report, not raised.

    Raises
    ------
    DatasetError
        If the face detector is not available.
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
    """Delete a finished video; return a clip without images whose report holds the reason."""
    shutil.rmtree(task.folder, ignore_errors=True)
    entry = task.entry
    return Clip(VideoReport(entry.dataset, entry.video, entry.split, error=why))


def take_clip(task: ClipTask) -> Clip:
    """Check images that are used in place; nothing is written.

    Parameters
    ----------
    task : ClipTask
        Task whose media are image files and whose rule does not crop.

    Returns
    -------
    Clip
        Result for the video.
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
    # JSON has no NaN.
    return None if isinstance(value, float) and math.isnan(value) else value


def read_clip(folder: Path) -> Clip | None:
    """Return the record of a finished video, or None if there is none.

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
            "only that video is cropped again."
        ) from error


def sound_clip(folder: Path) -> Clip | None:
    """Return the record of a finished video, or None, and check that its files are unchanged.

    A file is read only if it was modified after the record was written.

    Raises
    ------
    DatasetError
        If a file is missing or has changed.
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
            raise DatasetError(f"The file {str(file)!r} is missing or has changed.")
    return clip


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenCV to one thread, since videos run in parallel and bytes must not vary."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
