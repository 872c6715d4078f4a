"""Images of one video: faces cropped, or frames kept whole."""

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

from probe.datasets.faces import FINDERS, Face, Finder, follow, mask_shares
from probe.datasets.layouts import ImageFiles, TarImages, VideoEntry, VideoFile
from probe.datasets.report import BOXES, CutRule, VideoReport
from probe.datasets.video import Frame, FrameSource, open_frames
from probe.errors import DatasetError

__all__ = [
    "ALIGN_RULE",
    "CROP_RULE",
    "Made",
    "Region",
    "Similarity",
    "Square",
    "TEMPLATE",
    "Whole",
    "align",
    "crop_square",
    "cut_faces",
    "take_whole",
]

CROP_RULE = (
    "A square with the face box's center and margin × its longer side, rounded to whole pixels. "
    "Where it would leave the frame it is moved inside, and where it is larger than the frame it "
    "is made as large as the frame allows, so that nothing is padded. It is resized by area "
    "averaging when it shrinks, bilinearly when it grows. The face: the largest of the video, "
    "tracked from there in both directions by overlap; where none overlaps, the largest of that "
    "frame, reported as a jump. Where forgery masks tell several faces apart, only faces that hold "
    "a quarter of the mask are tracked, and a frame without one counts as without a face."
)

ALIGN_RULE = (
    "A similarity transform (rotation, scale, shift) that maps five landmarks to a template in the "
    "least squares sense, with margin - 1 of the size added around it, bilinear; pixels outside "
    "the frame are black, and their share is recorded for every crop. The face is tracked as in "
    "crops without alignment."
)

#: Where the five landmarks of `Face` go in a crop of side 1 without margin. These are the points
#: of a 112-pixel template for faces 96 wide (Deng et al. 2019, arXiv:1801.07698), as in
#: DeepfakeBench's alignment (Yan et al. 2023, arXiv:2307.01426).
TEMPLATE = (
    np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ]
    )
    / 112.0
)


@dataclass(frozen=True)
class Square:
    """A square inside a frame: left edge, upper edge and side, in whole pixels."""

    x: int
    y: int
    side: int

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Crop the square and resize it.

        Parameters
        ----------
        image : numpy.ndarray
            Image of shape (height, width) or (height, width, channels), 0 to 255.
        size : int
            Side of the result in pixels.

        Returns
        -------
        numpy.ndarray
            Shape (size, size) or (size, size, channels), 0 to 255.
        """
        part = image[self.y : self.y + self.side, self.x : self.x + self.side]
        how = cv2.INTER_AREA if self.side > size else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (size, size), interpolation=how), dtype=np.uint8)

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size contains the square."""
        return self.x + self.side <= width and self.y + self.side <= height

    def outside(self, width: int, height: int) -> float:
        """Return the share of the region outside the frame: always 0."""
        return 0.0

    def columns(self) -> Mapping[str, float]:
        """Return the region's columns of the sample table, in pixels of the frame."""
        return {"crop_x": self.x, "crop_y": self.y, "crop_side": self.side}


@dataclass(frozen=True)
class Similarity:
    """A rotated square: a point (x, y) of the frame maps to (a·x - b·y + u, b·x + a·y + v).

    Attributes
    ----------
    a, b, u, v : float
        Coefficients of the transform from pixels of the frame to a crop of side 1.
    """

    a: float
    b: float
    u: float
    v: float

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Rotate the region upright and crop it; see `Square.cut`. Outside the frame is black."""
        # Pixel centers are at half-integers in these coordinates, at integers in OpenCV's.
        linear = np.array([[self.a, -self.b], [self.b, self.a]]) * size
        shift = np.array([self.u, self.v]) * size
        shift = shift + linear @ np.array([0.5, 0.5]) - 0.5
        matrix = np.column_stack([linear, shift])
        return np.asarray(
            cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8
        )

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size allows the region: always, since it may exceed the frame."""
        return True

    @property
    def side(self) -> float:
        """Side of the square in pixels of the frame."""
        return float(1 / np.hypot(self.a, self.b))

    def corners(self) -> NDArray[np.float64]:
        """Return the corners in pixels of the frame, shape (4, 2), in order from the upper left."""
        linear = np.array([[self.a, -self.b], [self.b, self.a]])
        unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
        return np.asarray(np.linalg.solve(linear, (unit - [self.u, self.v]).T).T)

    def outside(self, width: int, height: int) -> float:
        """Return the share of the region, in [0, 1], outside a frame of this size."""
        inside = self.corners()
        for axis, sign, bound in ((0, 1, 0), (0, -1, width), (1, 1, 0), (1, -1, height)):
            inside = _half(inside, sign * inside[:, axis] - sign * bound)
        x, y = inside.T
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        return float(np.clip(1 - area / self.side**2, 0, 1))

    def columns(self) -> Mapping[str, float]:
        """Return the region's columns of the sample table."""
        return {
            "align_a": self.a,
            "align_b": self.b,
            "align_u": self.u,
            "align_v": self.v,
            "crop_side": self.side,
        }


def _half(corners: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clip a convex polygon, shape (n, 2), to the side of a line where `depth` is positive."""
    kept = []
    for k, here in enumerate(corners):
        before, last, now = corners[k - 1], depth[k - 1], depth[k]
        if (last < 0) != (now < 0):
            kept.append(before + (here - before) * last / (last - now))
        if now >= 0:
            kept.append(here)
    return np.array(kept).reshape(-1, 2)


@dataclass(frozen=True)
class Whole:
    """The whole frame at its own size."""

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Return the image itself."""
        return image

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size allows the region: always."""
        return True

    def outside(self, width: int, height: int) -> float:
        """Return the share of the region outside the frame: always 0."""
        return 0.0

    def columns(self) -> Mapping[str, float]:
        """Return the region's columns of the sample table: none."""
        return {}


Region = Square | Similarity | Whole


def crop_square(face: Face, margin: float, width: int, height: int) -> Square:
    """Return the square to crop around a face, as described in `CROP_RULE`.

    Parameters
    ----------
    face : Face
        Face box.
    margin : float
        Ratio of the square's side to the longer side of the box.
    width, height : int
        Size of the frame in pixels.

    Returns
    -------
    Square
        A square entirely inside the frame.
    """
    side = max(1, min(round(margin * max(face.width, face.height)), width, height))
    x = round(face.x + face.width / 2 - side / 2)
    y = round(face.y + face.height / 2 - side / 2)
    return Square(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def align(points: Sequence[tuple[float, float]], margin: float) -> Similarity:
    """Fit the similarity transform that maps five landmarks to the template.

    Parameters
    ----------
    points : sequence of (float, float)
        Landmarks as in `Face`, in pixels of the frame.
    margin : float
        Ratio of the crop's side to the template's: 1.3 adds .15 of the template on each side.

    Returns
    -------
    Similarity
        The least squares fit (Umeyama 1991, doi:10.1109/34.88573, without reflection).
    """
    source = np.asarray(points, dtype=np.float64)
    target = (TEMPLATE + (margin - 1) / 2) / margin
    # The problem is linear in (a, b, u, v), so ordinary least squares solves it.
    ones, zeros = np.ones(len(source)), np.zeros(len(source))
    x, y = source.T
    rows = np.concatenate(
        [np.column_stack([x, -y, ones, zeros]), np.column_stack([y, x, zeros, ones])]
    )
    a, b, u, v = np.linalg.lstsq(rows, target.T.reshape(-1), rcond=None)[0]
    return Similarity(float(a), float(b), float(u), float(v))


#: Minimum side of an image in pixels; smaller images are not used.
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Made:
    """Images of one video: its report, and one row per image."""

    report: VideoReport
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Candidate:
    """A detected face; its crop is in a temporary file, so that no frame is kept in memory."""

    face: Face
    region: Region
    file: Path
    digest: str
    outside: float


@dataclass(frozen=True)
class _Look:
    """The faces detected in one frame."""

    position: int
    number: int
    time: float
    candidates: tuple[_Candidate, ...]
    #: Height and width of the frame.
    size: tuple[int, ...]


def cut_faces(
    entry: VideoEntry,
    frames: FrameSource,
    rule: CutRule,
    folder: Path,
    boxes: Mapping[int, Face] | None = None,
) -> Made:
    """Detect and track the face of a video, and write its crops and their masks.

    Parameters
    ----------
    entry : VideoEntry
        The video.
    frames : FrameSource
        Its frames.
    rule : CutRule
        Which frames are used and how faces are cropped.
    folder : pathlib.Path
        Existing folder for the crops.
    boxes : mapping, optional
        Face boxes by frame, used instead of a face detector.

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
    faces = [[one.face for one in look.candidates] for look in looks]
    track = follow(faces, _forged(entry, looks))
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
        no_face=tuple(look.number for look in looks if look.position not in picked),
        jumps=tuple(looks[i].number for i in track.jumps),
        too_small=tuple(too_small),
        no_mask=_without_mask(entry, rows, masks),
        mask_error=mask_error,
    )
    return Made(report, tuple({**row, "mask": masks.get(row["frame"], "")} for row in rows))


def _forged(entry: VideoEntry, looks: Sequence[_Look]) -> list[tuple[float, ...]] | None:
    """Return the share of each frame's mask in each face; None where there is nothing to choose."""
    if entry.masks is None or all(len(look.candidates) < 2 for look in looks):
        return None
    shares = {look.number: tuple[float, ...]() for look in looks}
    there = {look.number: look for look in looks}
    try:
        source = open_frames(entry.masks)
        wanted = [i for i, number in enumerate(source.numbers) if number in there]
        for frame in source.read(wanted):
            number = source.numbers[frame.index]
            gray = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
            # A mask of another size says nothing of boxes; the report names it.
            if gray.shape == there[number].size:
                faces = [one.face for one in there[number].candidates]
                shares[number] = mask_shares(gray, faces)
    except (DatasetError, OSError):
        # The error is in the report, since the masks themselves are read again.
        return None
    return [shares[look.number] for look in looks]


class _Cutter:
    """Detects the faces of frames and writes the crop of each to a temporary file."""

    def __init__(self, rule: CutRule, folder: Path, finder: Finder | Mapping[int, Face]) -> None:
        self.rule, self.folder, self.finder = rule, folder, finder

    def look(self, frame: Frame, number: int) -> _Look:
        faces = self._faces(frame.image, number)
        candidates = tuple(self._cut(frame.image, face, number, k) for k, face in enumerate(faces))
        return _Look(frame.index, number, frame.time, candidates, frame.image.shape[:2])

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
    """Write an image as PNG and return the hash of the file."""
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
    """Return the parts of a report that are known for every video after its frames were read."""
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
    """Crop the masks to the same regions; return the files by frame, and an error or note."""
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
            f"The masks are {width}×{height}, smaller than the frames of the video, so they do not "
            "match it."
        )


def take_whole(
    entry: VideoEntry,
    frames: FrameSource,
    rule: CutRule,
    folder: Path,
    boxes: Mapping[int, Face] | None = None,
) -> Made:
    """Keep frames whole: image files are used in place, other frames are written unchanged.

    Every image is decoded once, to check that it can be.

    Parameters
    ----------
    entry, frames, rule, folder, boxes
        As in `cut_faces`; `boxes` and all settings of the rule except the choice of frames are
        ignored.

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
    """Return name and hash of a whole frame; written into the folder unless it is an image file."""
    number = frames.numbers[frame.index]
    if isinstance(entry.media, VideoFile):
        name = f"{number:06d}.png"
        return name, _write_png(frame.image, folder / name)
    data = frames.encoded(frame.index)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if isinstance(entry.media, ImageFiles):
        return str(entry.media.files[frame.index].resolve()), digest
    suffix = _suffix(data)
    if isinstance(entry.media, TarImages):
        suffix = Path(entry.media.members[frame.index]).suffix.lower()
    name = f"{number:06d}{suffix}"
    (folder / name).write_bytes(data)
    return name, digest


def _suffix(data: bytes) -> str:
    """Return the usual suffix of an encoded image that has no name."""
    with Image.open(io.BytesIO(data)) as image:
        return f".{str(image.format).lower()}".replace("jpeg", "jpg")


def _masks_whole(
    entry: VideoEntry, frames: FrameSource, positions: Sequence[int], folder: Path
) -> tuple[dict[int, str], str]:
    """Return the masks of whole frames: files in place, frames of a mask video written."""
    if isinstance(entry.masks, ImageFiles):
        numbers = entry.masks.frames or range(len(entry.masks.files))
        files = dict(zip(numbers, entry.masks.files, strict=True))
        return {n: str(file.resolve()) for n, file in files.items() if file.is_file()}, ""
    return _write_masks(entry, frames, folder, dict.fromkeys(positions, Whole()), 0)
