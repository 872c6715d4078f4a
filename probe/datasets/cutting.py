"""The frames of one video into images: faces cut out, or taken whole as they lie."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.faces import FINDERS, Face, Finder, follow
from probe.datasets.frames import FrameSource, open_frames
from probe.datasets.layouts import VideoEntry
from probe.datasets.media import ImageFiles, VideoFile
from probe.datasets.regions import Region, Whole, align, crop_square
from probe.datasets.report import VideoReport
from probe.datasets.rules import BOXES, CutRule
from probe.datasets.video import Frame
from probe.errors import DatasetError

__all__ = ["Made", "cut_faces", "take_whole"]

#: Images with a shorter side hold no face that a detector could judge.
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Made:
    """Images of one video: what became of its frames, and one row an image."""

    report: VideoReport
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Candidate:
    """A face whose crop is written already under a passing name, so that no frame is held."""

    face: Face
    region: Region
    file: Path
    digest: str
    outside: float


@dataclass(frozen=True)
class _Look:
    """What was seen in one frame."""

    position: int
    number: int
    time: float
    candidates: tuple[_Candidate, ...]


def cut_faces(
    entry: VideoEntry,
    frames: FrameSource,
    rule: CutRule,
    folder: Path,
    boxes: Mapping[int, Face] | None = None,
) -> Made:
    """Find and follow a face, and write its crops and their masks.

    Parameters
    ----------
    entry : VideoEntry
        The video.
    frames : FrameSource
        Its frames.
    rule : CutRule
        Which frames, and how they are cut.
    folder : pathlib.Path
        Where crops go; an existing folder.
    boxes : mapping, optional
        Face boxes by frame, instead of a face detector.

    Returns
    -------
    Made
        Report and rows.
    """
    cutter = _Cutter(rule, folder, _finder(rule, boxes))
    wanted = rule.positions(len(frames))
    looks, too_small = [], []
    for frame in frames.read(wanted):
        number = frames.numbers[frame.index]
        if min(frame.image.shape[:2]) < SMALLEST_SIDE:
            too_small.append(number)
        else:
            looks.append(cutter.look(frame, number))
    track = follow([[one.face for one in look.candidates] for look in looks])
    picked = {
        look.position: (look, look.candidates[choice])
        for look, choice in zip(looks, track.chosen, strict=True)
        if choice is not None
    }
    rows = [_keep(look, one, folder) for look, one in picked.values()]
    for left in folder.glob("*.face*"):
        left.unlink()
    regions = {position: one.region for position, (_, one) in picked.items()}
    masks, mask_error = _write_masks(entry, frames, folder, regions, rule.size)
    report = replace(
        _report(entry, frames, wanted),
        decoded=len(looks) + len(too_small),
        written=len(rows),
        no_face=tuple(look.number for look in looks if not look.candidates),
        jumps=tuple(looks[i].number for i in track.jumps),
        too_small=tuple(too_small),
        no_mask=_without_mask(entry, rows, masks),
        mask_error=mask_error,
    )
    return Made(report, tuple({**row, "mask": masks.get(row["frame"], "")} for row in rows))


class _Cutter:
    """Looks at frames: finds faces and writes the crop of each under a passing name."""

    def __init__(self, rule: CutRule, folder: Path, finder: Finder | Mapping[int, Face]) -> None:
        self.rule, self.folder, self.finder = rule, folder, finder

    def look(self, frame: Frame, number: int) -> _Look:
        faces = self._faces(frame.image, number)
        candidates = tuple(self._cut(frame.image, face, number, k) for k, face in enumerate(faces))
        return _Look(frame.index, number, frame.time, candidates)

    def _faces(self, image: NDArray[np.uint8], number: int) -> Sequence[Face]:
        if isinstance(self.finder, Mapping):
            return [self.finder[number]] if number in self.finder else []
        return self.finder.find(image)

    def _cut(self, image: NDArray[np.uint8], face: Face, number: int, k: int) -> _Candidate:
        height, width = image.shape[:2]
        region: Region
        if self.rule.align:
            region = align(face.points, self.rule.margin)
        else:
            region = crop_square(face, self.rule.margin, width, height)
        file = self.folder / f"{number:06d}.face{k}"
        digest = _write_png(region.cut(image, self.rule.size), file)
        return _Candidate(face, region, file, digest, region.outside(width, height))


def _finder(rule: CutRule, boxes: Mapping[int, Face] | None) -> Finder | Mapping[int, Face]:
    return boxes or {} if rule.finder == BOXES else FINDERS[rule.finder]()


def _write_png(pixels: NDArray[np.uint8], file: Path) -> str:
    """Write an image and return the hash of the file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    file.write_bytes(buffer.getbuffer())
    return hashlib.blake2b(buffer.getbuffer(), digest_size=16).hexdigest()


def _keep(look: _Look, candidate: _Candidate, folder: Path) -> dict[str, Any]:
    file = candidate.file.rename(folder / f"{look.number:06d}.png")
    face = candidate.face
    return {
        "frame": look.number,
        "time": _rounded(look.time),
        "file": file.name,
        "digest": candidate.digest,
        "box_x": face.x,
        "box_y": face.y,
        "box_w": face.width,
        "box_h": face.height,
        **candidate.region.columns(),
        "outside": candidate.outside,
        "face_score": None if np.isnan(face.score) else face.score,
    }


def _rounded(time: float) -> float | None:
    return None if np.isnan(time) else round(time, 6)


def _report(entry: VideoEntry, frames: FrameSource, wanted: Sequence[int]) -> VideoReport:
    """Report what is known of every video once its frames were read."""
    missing = sorted(frames.errors)
    conversions: dict[str, list[int]] = {}
    for position, hows in sorted(frames.conversions.items()):
        for how in hows:
            conversions.setdefault(how, []).append(frames.numbers[position])
    return VideoReport(
        entry.dataset,
        entry.video,
        entry.split,
        asked=len(wanted),
        available=len(frames),
        not_decoded=tuple(frames.numbers[i] for i in missing),
        reasons={str(frames.numbers[i]): frames.errors[i] for i in missing},
        conversions={how: tuple(numbers) for how, numbers in sorted(conversions.items())},
        error=frames.note,
    )


def _without_mask(
    entry: VideoEntry, rows: Iterable[Mapping[str, Any]], masks: Mapping[int, str]
) -> tuple[int, ...]:
    if entry.masks is None:
        return ()
    return tuple(row["frame"] for row in rows if row["frame"] not in masks)


def _write_masks(
    entry: VideoEntry,
    frames: FrameSource,
    folder: Path,
    regions: Mapping[int, Region],
    size: int,
) -> tuple[dict[int, str], str]:
    """Cut the masks by the same regions; returns the files by frame, and what went wrong."""
    names: dict[int, str] = {}
    if entry.masks is None or not regions:
        return names, ""
    try:
        source = open_frames(entry.masks)
        places = {number: position for position, number in enumerate(source.numbers)}
        numbers = {
            places[n]: (n, r) for p, r in regions.items() if (n := frames.numbers[p]) in places
        }
        for frame in source.read(sorted(numbers)):
            number, region = numbers[frame.index]
            _require_inside(frame.image, region)
            name = f"{number:06d}.mask.png"
            gray = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
            _write_png(region.cut(gray, size), folder / name)
            names[number] = name
    except DatasetError as error:
        return names, str(error)
    return names, source.note


def _require_inside(image: NDArray[np.uint8], region: Region) -> None:
    height, width = image.shape[:2]
    if not region.fits(width, height):
        raise DatasetError(
            f"The masks are {width}×{height}, smaller than the video's frames: they do not belong "
            "to it."
        )


def take_whole(
    entry: VideoEntry,
    frames: FrameSource,
    rule: CutRule,
    folder: Path,
    boxes: Mapping[int, Face] | None = None,
) -> Made:
    """Take frames whole: image files stay where they lie, the others are written as they are.

    Every image is decoded once, to know that it can be.

    Parameters
    ----------
    entry, frames, rule, folder, boxes
        As in `cut_faces`; boxes and all of the rule but the choice of frames mean nothing here.

    Returns
    -------
    Made
        Report and rows.
    """
    wanted = rule.positions(len(frames))
    decoded, taken = 0, []
    rows: list[dict[str, Any]] = []
    too_small: list[int] = []
    for frame in frames.read(wanted):
        decoded += 1
        number = frames.numbers[frame.index]
        if min(frame.image.shape[:2]) < SMALLEST_SIDE:
            too_small.append(number)
            continue
        file, digest = _whole(entry, frames, frame, folder)
        time = _rounded(frame.time)
        rows.append({"frame": number, "time": time, "file": file, "digest": digest})
        taken.append(frame.index)
    masks, mask_error = _masks_whole(entry, frames, taken, folder)
    report = replace(
        _report(entry, frames, wanted),
        decoded=decoded,
        written=len(rows),
        too_small=tuple(too_small),
        no_mask=_without_mask(entry, rows, masks),
        mask_error=mask_error,
    )
    return Made(report, tuple({**row, "mask": masks.get(row["frame"], "")} for row in rows))


def _whole(entry: VideoEntry, frames: FrameSource, frame: Frame, folder: Path) -> tuple[str, str]:
    """Name and hash of a whole frame; written into the folder unless it lies somewhere."""
    number = frames.numbers[frame.index]
    if isinstance(entry.media, VideoFile):
        name = f"{number:06d}.png"
        return name, _write_png(frame.image, folder / name)
    data = frames.encoded(frame.index)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if isinstance(entry.media, ImageFiles):
        return str(entry.media.files[frame.index].resolve()), digest
    name = f"{number:06d}{Path(entry.media.members[frame.index]).suffix.lower()}"
    (folder / name).write_bytes(data)
    return name, digest


def _masks_whole(
    entry: VideoEntry, frames: FrameSource, positions: Sequence[int], folder: Path
) -> tuple[dict[int, str], str]:
    """Take masks whole: files where they lie, frames of a mask video written."""
    if isinstance(entry.masks, ImageFiles):
        numbers = entry.masks.frames or range(len(entry.masks.files))
        files = dict(zip(numbers, entry.masks.files, strict=True))
        return {n: str(file.resolve()) for n, file in files.items() if file.is_file()}, ""
    return _write_masks(entry, frames, folder, dict.fromkeys(positions, Whole()), 0)
