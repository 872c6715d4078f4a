"""What is cut out of a frame: an upright square, or a face turned to a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from probe.datasets.faces import Face

__all__ = [
    "ALIGN_RULE",
    "CROP_RULE",
    "TEMPLATE",
    "Region",
    "Similarity",
    "Square",
    "Whole",
    "align",
    "crop_square",
]

CROP_RULE = (
    "A square with the face box's center and margin × its longer side, rounded to whole pixels. "
    "Where it would leave the frame it is moved inside, and where it is larger than the frame it "
    "is made as large as the frame allows: every pixel is one of the video, none is made up. It is "
    "resized by area averaging when it shrinks, bilinearly when it grows. The face: the largest of "
    "the video, followed from there in both directions by overlap; where none overlaps, the "
    "largest of that frame, reported as a jump."
)

ALIGN_RULE = (
    "A similarity transform (turn, scale, shift) that takes five landmarks to a template in the "
    "least squares sense, with margin - 1 of the size added around it, bilinear; what lies outside "
    "the frame is black, and its share is told for every crop. The face is followed as in crops "
    "without alignment."
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
    """A square inside a frame: left and upper edge and side, in whole pixels."""

    x: int
    y: int
    side: int

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Cut it out and resize it.

        Parameters
        ----------
        image : numpy.ndarray
            Shape (height, width) or (height, width, channels), 0 to 255.
        size : int
            Side of the result.

        Returns
        -------
        numpy.ndarray
            Shape (size, size) or (size, size, channels), 0 to 255.
        """
        part = image[self.y : self.y + self.side, self.x : self.x + self.side]
        how = cv2.INTER_AREA if self.side > size else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (size, size), interpolation=how), dtype=np.uint8)

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size holds it."""
        return self.x + self.side <= width and self.y + self.side <= height

    def outside(self, width: int, height: int) -> float:
        """Return the share of it that lies outside a frame: none."""
        return 0.0

    def columns(self) -> Mapping[str, float]:
        """Return what the sample table says of it, in pixels of the frame."""
        return {"crop_x": self.x, "crop_y": self.y, "crop_side": self.side}


@dataclass(frozen=True)
class Similarity:
    """A turned square: a point (x, y) of the frame goes to (a·x - b·y + u, b·x + a·y + v).

    Attributes
    ----------
    a, b, u, v : float
        From pixels of the frame to the crop of side 1.
    """

    a: float
    b: float
    u: float
    v: float

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Turn it upright and cut it out; see `Square.cut`. Outside the frame is black."""
        # Centers of pixels lie at halves in the coordinates here, at whole numbers in OpenCV's.
        linear = np.array([[self.a, -self.b], [self.b, self.a]]) * size
        shift = np.array([self.u, self.v]) * size
        shift = shift + linear @ np.array([0.5, 0.5]) - 0.5
        matrix = np.column_stack([linear, shift])
        return np.asarray(
            cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8
        )

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size can hold it: it reaches beyond frames anyway."""
        return True

    @property
    def side(self) -> float:
        """Side of the square in pixels of the frame."""
        return float(1 / np.hypot(self.a, self.b))

    def corners(self) -> NDArray[np.float64]:
        """Return its corners in pixels of the frame, shape (4, 2), around it from upper left."""
        linear = np.array([[self.a, -self.b], [self.b, self.a]])
        unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
        return np.asarray(np.linalg.solve(linear, (unit - [self.u, self.v]).T).T)

    def outside(self, width: int, height: int) -> float:
        """Return the share of it, in [0, 1], that lies outside a frame of this size."""
        inside = self.corners()
        for axis, sign, bound in ((0, 1, 0), (0, -1, width), (1, 1, 0), (1, -1, height)):
            inside = _half(inside, sign * inside[:, axis] - sign * bound)
        x, y = inside.T
        area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        return float(np.clip(1 - area / self.side**2, 0, 1))

    def columns(self) -> Mapping[str, float]:
        """Return what the sample table says of it."""
        return {
            "align_a": self.a,
            "align_b": self.b,
            "align_u": self.u,
            "align_v": self.v,
            "crop_side": self.side,
        }


def _half(corners: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the part of a convex polygon, shape (n, 2), whose depth behind a line is positive."""
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
    """The whole frame, at its own size."""

    def cut(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """Return the image itself."""
        return image

    def fits(self, width: int, height: int) -> bool:
        """Whether a frame of this size can be taken: any can."""
        return True

    def outside(self, width: int, height: int) -> float:
        """Return the share of it that lies outside a frame: none."""
        return 0.0

    def columns(self) -> Mapping[str, float]:
        """Return what the sample table says of it: nothing."""
        return {}


Region = Square | Similarity | Whole


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


def align(points: Sequence[tuple[float, float]], margin: float) -> Similarity:
    """Fit the similarity transform that takes five landmarks to the template.

    Parameters
    ----------
    points : sequence of (float, float)
        Landmarks as in `Face`, in pixels of the frame.
    margin : float
        Side of the crop over that of the template: 1.3 leaves .15 of the template on each side.

    Returns
    -------
    Similarity
        The least squares fit (Umeyama 1991, doi:10.1109/34.88573, without reflection).
    """
    source = np.asarray(points, dtype=np.float64)
    target = (TEMPLATE + (margin - 1) / 2) / margin
    # Linear in (a, b, u, v), so that plain least squares is the exact fit.
    ones, zeros = np.ones(len(source)), np.zeros(len(source))
    x, y = source.T
    rows = np.concatenate(
        [np.column_stack([x, -y, ones, zeros]), np.column_stack([y, x, zeros, ones])]
    )
    a, b, u, v = np.linalg.lstsq(rows, target.T.reshape(-1), rcond=None)[0]
    return Similarity(float(a), float(b), float(u), float(v))
