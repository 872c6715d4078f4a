"""Where the parts of a face lie in images: exactly in the lab, by five landmarks elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.dataset import Dataset
from probe.datasets.faces import FINDERS
from probe.datasets.lab import FORGERIES, Clip
from probe.datasets.lab.anatomy import FACE_REGIONS
from probe.errors import DatasetError, UnknownNameError

__all__ = ["BY_LANDMARKS", "SOURCES", "FaceRegions", "face_regions", "landmark_regions"]

SOURCES = ("auto", "lab", "landmarks")

#: Regions that five landmarks place, in the order of tables; the last is all that is no face.
BY_LANDMARKS = ("eyes", "brows", "nose", "mouth", "cheeks", "forehead", "chin", "outside")

#: Regions of the lab, the background last.
BY_DRAWING = (*FACE_REGIONS, "background")

#: How far a frame drawn again may be from the one on disk, in gray levels: another machine rounds.
ROUNDING = 2

LANDMARK_RULE = (
    "Coordinates u and v: the middle between the eyes is (0, 0), the eyes lie at u = −0.5 and 0.5, "
    "the middle between the corners of the mouth at v = 1, so that u counts inter-ocular "
    "distances. Eyes: ellipses of half axes 0.29 and 0.14 around the eyes. Mouth: an ellipse "
    "around (0, 1.1), half as wide as the corners are apart, plus 0.1, and 0.2 high. Brows: "
    "ellipses of half axes 0.42 and 0.13 around v = −0.34 above the eyes. Nose: a wedge along the "
    "line to the tip, from 0.1 to 1.3 of it, 0.12 + 0.18 t wide on either side at t of it. "
    "Face: an ellipse around (0, 0.3) of half axes 1.1 and 1.4; of what is left in it, forehead "
    "above v = −0.3, chin below v = 0.9, cheeks between. What comes first in this list has a pixel."
)


@dataclass(frozen=True)
class FaceRegions:
    """A way to say which region of the face each pixel of a dataset's images shows.

    Attributes
    ----------
    source : str
        "lab" or "landmarks".
    names : tuple of str
        Names of the regions; the last is all that is no face.
    find : callable
        From (position in the dataset, height, width) to an index into `names` a pixel, shape
        (height, width); None where no face was found.
    rule : str
        How regions are placed, in words.
    """

    source: str
    names: tuple[str, ...]
    find: Callable[[int, int, int], NDArray[np.int8] | None]
    rule: str


def face_regions(data: Dataset, source: str = "auto") -> FaceRegions:
    """Choose how the regions of a dataset's images are found.

    Parameters
    ----------
    data : Dataset
        Images.
    source : {"auto", "lab", "landmarks"}
        "lab" draws each frame again and reads off what each pixel shows: exact. "landmarks" finds
        five landmarks on each image by YuNet and places regions by `LANDMARK_RULE`. "auto" takes
        the first where the card says that the lab made the data.

    Raises
    ------
    UnknownNameError
        If the source is not known.
    DatasetError
        If the lab is asked for and did not make the data, or made it by another version.
    """
    if source not in SOURCES:
        raise UnknownNameError("source of regions", source, SOURCES)
    plan = _lab_plan(data)
    if source == "landmarks" or (source == "auto" and plan is None):
        return FaceRegions("landmarks", BY_LANDMARKS, _by_landmarks(data), LANDMARK_RULE)
    if plan is None:
        raise DatasetError(
            f"Regions of the lab were asked for, but the card of {data.name!r} does not say that "
            "the lab made it. Use source='landmarks'."
        )
    return FaceRegions("lab", BY_DRAWING, _by_drawing(data, plan), "drawn again from the plan")


def _lab_plan(data: Dataset) -> Mapping[str, Any] | None:
    """Read the one plan by which the lab made the data, joined or not; None if there is none."""
    cards: Sequence[Any] = list(data.card.get("parts", {}).values()) or [data.card]
    plans = [card.get("plan") if card.get("layout") == "lab" else None for card in cards]
    return plans[0] if plans[0] and all(plan == plans[0] for plan in plans) else None


def _by_drawing(
    data: Dataset, plan: Mapping[str, Any]
) -> Callable[[int, int, int], NDArray[np.int8] | None]:
    rows = data.samples.table[["dataset", "split", "video", "frame", "label"]].to_dict("records")
    background = len(BY_DRAWING) - 1

    # Frames of one video follow each other, and a video's scene is drawn once.
    @lru_cache(maxsize=2)
    def clip_of(dataset: str, split: str, video: int) -> Clip:
        return Clip.of_plan(plan, dataset, split, video)

    def drawn(index: int) -> tuple[Clip, int, bool, dict[str, float]]:
        row = rows[index]
        name, number = str(row["dataset"]), re.search(r"-(\d+)-(?:real|fake)$", str(row["video"]))
        if number is None:
            raise DatasetError(f"{row['video']!r} is no name of a video of the lab.")
        own = {k: dose for k, dose in plan["doses"].items() if k in FORGERIES[name].doses}
        clip = clip_of(name, str(row["split"]), int(number[1]))
        return clip, int(row["frame"]), bool(row["label"]), own

    def find(index: int, height: int, width: int) -> NDArray[np.int8]:
        clip, number, fake, doses = drawn(index)
        found = clip.regions(number, fake=fake, doses=doses)
        return _resized(np.where(found < 0, background, found).astype(np.int8), height, width)

    clip, number, fake, doses = drawn(0)
    frame = clip.frame(number, doses)
    _check_same(data, frame.fake if fake else frame.real)
    return find


def _check_same(data: Dataset, again: NDArray[np.uint8]) -> None:
    kept = data.image(0)
    if kept.shape != again.shape or np.abs(kept.astype(int) - again).max() > ROUNDING:
        raise DatasetError(
            f"{data.samples.table['sample'].iloc[0]!r} drawn again is not the image on disk: "
            "another version made the lab's data. Make it again, or use source='landmarks'."
        )


def _resized(labels: NDArray[np.int8], height: int, width: int) -> NDArray[np.int8]:
    if labels.shape == (height, width):
        return labels
    picture = Image.fromarray(labels.astype(np.uint8))
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)).astype(np.int8)


def _by_landmarks(data: Dataset) -> Callable[[int, int, int], NDArray[np.int8] | None]:
    finder = FINDERS["yunet"]()

    def find(index: int, height: int, width: int) -> NDArray[np.int8] | None:
        image = data.image(index)
        faces = finder.find(image)
        if not faces:
            return None
        # Detectors see the whole image stretched to their size; so are the landmarks.
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        return landmark_regions(np.array(faces[0].points) * scale, height, width)

    return find


def landmark_regions(
    points: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int8] | None:
    """Place regions around five landmarks, by `LANDMARK_RULE`.

    Parameters
    ----------
    points : numpy.ndarray
        Shape (5, 2), x and y in pixels: the eyes on the left and right of the image, the tip of
        the nose, the corners of the mouth on the left and right.
    height, width : int
        Size of the image in pixels.

    Returns
    -------
    numpy.ndarray or None
        Shape (height, width), index into `BY_LANDMARKS`; None where eyes and mouth lie on one
        line, so that they place nothing.
    """
    left, right, tip, *corners = np.asarray(points, dtype=np.float64)
    origin, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    frame = np.column_stack([right - left, mouth - origin])
    if abs(np.linalg.det(frame)) < 1:
        return None
    back = np.linalg.inv(frame)
    y, x = np.mgrid[:height, :width]
    u, v = np.tensordot(back, np.stack([x + 0.5 - origin[0], y + 0.5 - origin[1]]), axes=1)
    corner, (tip_u, tip_v) = back @ (corners[1] - corners[0]), back @ (tip - origin)
    along = v / max(tip_v, 0.3)
    side = np.abs(u) - 0.5
    face = (u / 1.1) ** 2 + ((v - 0.3) / 1.4) ** 2 <= 1
    where = {
        "eyes": (side / 0.29) ** 2 + (v / 0.14) ** 2 <= 1,
        "mouth": (u / (abs(corner[0]) / 2 + 0.1)) ** 2 + ((v - 1.1) / 0.2) ** 2 <= 1,
        "brows": (side / 0.42) ** 2 + ((v + 0.34) / 0.13) ** 2 <= 1,
        "nose": (np.abs(u - along * tip_u) <= 0.12 + 0.18 * along) & (along > 0.1) & (along < 1.3),
        "forehead": face & (v < -0.3),
        "chin": face & (v > 0.9),
        "cheeks": face,
    }
    codes = [BY_LANDMARKS.index(name) for name in where]
    outside = BY_LANDMARKS.index("outside")
    return np.select(list(where.values()), codes, outside).astype(np.int8)
