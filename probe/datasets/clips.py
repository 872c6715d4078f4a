"""One video into a folder of face crops: the unit of work, of parallelism and of resuming."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.faces import Face, FaceFinder, Square, crop_square, cut, follow
from probe.datasets.layouts import VideoEntry
from probe.datasets.report import VideoReport
from probe.datasets.video import Timeline, evenly_spaced, read_frames, read_timeline
from probe.errors import DatasetError

__all__ = ["CLIP_FILE", "Clip", "ClipTask", "cut_clip", "one_thread", "read_clip", "source_bytes"]

CLIP_FILE = "clip.json"


@dataclass(frozen=True)
class ClipTask:
    """What to do with one video.

    Attributes
    ----------
    entry : VideoEntry
        The video.
    folder : pathlib.Path
        Where its crops go; made whole or not at all.
    frames, size : int
        Frames to take, and side of the crops in pixels.
    margin : float
        Side of the square over the longer side of the face box.
    """

    entry: VideoEntry
    folder: Path
    frames: int
    size: int
    margin: float


@dataclass(frozen=True)
class Clip:
    """A finished video.

    Attributes
    ----------
    report : VideoReport
        What became of its frames.
    rows : tuple of dict
        One a crop: ``frame``, ``time`` (seconds), ``file``, ``mask``, ``digest``, ``box_x``,
        ``box_y``, ``box_w``, ``box_h`` (face box), ``crop_x``, ``crop_y``, ``crop_side`` (square
        cut), all in pixels of the video, and ``face_score``.
    source_bytes : int
        Size of the video file it was made from.
    """

    report: VideoReport
    rows: tuple[dict[str, Any], ...]
    source_bytes: int


@dataclass(frozen=True)
class _Candidate:
    """A face with its crop, cut at once so that no frame is held."""

    face: Face
    square: Square
    crop: NDArray[np.uint8]


@dataclass(frozen=True)
class _Look:
    """What was seen in one frame."""

    index: int
    time: float
    candidates: tuple[_Candidate, ...]


def cut_clip(task: ClipTask) -> Clip:
    """Decode a video, find and follow its face, write the crops.

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
    report, looks = _look(task)
    size = source_bytes(task.entry)
    if not report.decoded:
        return Clip(report, (), size)
    partial = task.folder.with_name(f".{task.folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    track = follow([[one.face for one in look.candidates] for look in looks])
    picked = {
        look.index: (look, look.candidates[choice])
        for look, choice in zip(looks, track.chosen, strict=True)
        if choice is not None
    }
    rows = tuple(_write(partial, look, candidate) for look, candidate in picked.values())
    masks, mask_error = _write_masks(task, partial, {i: c.square for i, (_, c) in picked.items()})
    report = replace(
        report,
        written=len(rows),
        no_face=tuple(look.index for look in looks if not look.candidates),
        jumps=tuple(looks[i].index for i in track.jumps),
        no_mask=tuple(i for i in picked if i not in masks) if task.entry.mask_file else (),
        mask_error=mask_error,
    )
    rows = tuple({**row, "mask": masks.get(row["frame"], "")} for row in rows)
    clip = Clip(report, rows, size)
    (partial / CLIP_FILE).write_text(json.dumps(asdict(clip), indent=1) + "\n", encoding="utf-8")
    partial.replace(task.folder)
    return clip


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
        found = json.loads(file.read_text(encoding="utf-8"))
        report: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in found["report"].items()
        }
        return Clip(VideoReport(**report), tuple(found["rows"]), int(found["source_bytes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"The record {str(file)!r} is damaged ({error}). Remove its folder and run again; "
            "only that video is cut anew."
        ) from error


def source_bytes(entry: VideoEntry) -> int:
    """Size of the video's file in bytes, 0 where there is none (a broken link)."""
    return entry.file.stat().st_size if entry.file.is_file() else 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: videos run in parallel, and bytes must not depend on threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _look(task: ClipTask) -> tuple[VideoReport, list[_Look]]:
    entry = task.entry
    report = VideoReport(entry.dataset, entry.video, entry.split, task.frames)
    looks: list[_Look] = []
    indices: Sequence[int] = ()
    finder = FaceFinder()
    try:
        timeline = read_timeline(entry.file)
        report = replace(report, available=len(timeline), error=_cut_off(timeline))
        indices = evenly_spaced(len(timeline), task.frames).tolist()
        for frame in read_frames(entry.file, timeline, indices):
            found = _candidates(frame.image, finder.find(frame.image), task)
            looks.append(_Look(frame.index, frame.time, found))
    except DatasetError as error:
        report = replace(report, error=f"{report.error} {error}".strip())
    decoded = {look.index for look in looks}
    missing = tuple(i for i in indices if i not in decoded)
    return replace(report, decoded=len(looks), not_decoded=missing), looks


def _cut_off(timeline: Timeline) -> str:
    if not timeline.lost:
        return ""
    return (
        f"The file is cut off: it announces {len(timeline) + timeline.lost} frames and holds "
        f"{len(timeline)}; the frames were chosen among these."
    )


def _candidates(
    image: NDArray[np.uint8], faces: Sequence[Face], task: ClipTask
) -> tuple[_Candidate, ...]:
    height, width = image.shape[:2]
    squares = [crop_square(face, task.margin, width, height) for face in faces]
    return tuple(
        _Candidate(face, square, cut(image, square, task.size))
        for face, square in zip(faces, squares, strict=True)
    )


def _write(folder: Path, look: _Look, candidate: _Candidate) -> dict[str, Any]:
    file = folder / f"{look.index:06d}.png"
    Image.fromarray(candidate.crop).save(file)
    face, square = candidate.face, candidate.square
    return {
        "frame": look.index,
        "time": round(look.time, 6),
        "file": file.name,
        "digest": hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest(),
        "box_x": face.x,
        "box_y": face.y,
        "box_w": face.width,
        "box_h": face.height,
        "crop_x": square.x,
        "crop_y": square.y,
        "crop_side": square.side,
        "face_score": face.score,
    }


def _write_masks(
    task: ClipTask, folder: Path, squares: dict[int, Square]
) -> tuple[dict[int, str], str]:
    """Cut the mask video by the same squares; returns the files by frame, and what went wrong."""
    names: dict[int, str] = {}
    source = task.entry.mask_file
    if source is None or not squares:
        return names, ""
    try:
        timeline = read_timeline(source)
        there = [i for i in sorted(squares) if i < len(timeline)]
        for frame in read_frames(source, timeline, there):
            square = squares[frame.index]
            _require_inside(frame.image, square)
            name = f"{frame.index:06d}.mask.png"
            grey = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
            Image.fromarray(cut(grey, square, task.size)).save(folder / name)
            names[frame.index] = name
    except DatasetError as error:
        return names, str(error)
    return names, ""


def _require_inside(image: NDArray[np.uint8], square: Square) -> None:
    height, width = image.shape[:2]
    if square.x + square.side > width or square.y + square.side > height:
        raise DatasetError(
            f"The mask video's frames are {width}×{height}, smaller than the video's: its masks "
            "do not belong to it."
        )
