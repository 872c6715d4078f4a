"""The six forgery methods as pipelines of named artifacts, each with a dose from 0 to 1.

At dose 0 an artifact has no effect, and a forgery with all doses 0 is the real frame. One artifact,
the resampling of a decoder, is shared by all six methods: it is the ground truth for universal
neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from probe.datasets.lab.head import load_basis
from probe.datasets.lab.rendering import Rendering

__all__ = ["ARTIFACTS", "FORGERIES", "Forgery", "compose", "masks_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forgery:
    """A forgery method.

    Attributes
    ----------
    area : str
        Part of the face that is replaced: "face" or "mouth".
    edge : float
        Width of the mask's soft edge in decimeters on the mean head; small values give a hard
        seam.
    doses : mapping
        Artifact to dose, in the order of application.
    decode : float
        Ratio of the image's resolution to that of the decoder.
    """

    area: str
    edge: float
    doses: Mapping[str, float]
    decode: float


#: Forgeries by dataset. ``identity`` and ``expression`` are rendered; all others are image
#: operations.
FORGERIES = {
    "celebdf": Forgery(
        "face", 0.16, {"identity": 1.0, "resampling": 0.75, "color": 0.25, "poisson": 1.0}, 1.7
    ),
    "deepfakes": Forgery(
        "face", 0.22, {"identity": 1.0, "resampling": 1.0, "color": 1.0, "feather": 1.0}, 2.6
    ),
    "face2face": Forgery(
        "face", 0.14, {"expression": 1.0, "resampling": 0.7, "smoothing": 1.0}, 1.8
    ),
    "faceswap": Forgery(
        "face",
        0.015,
        {"identity": 1.0, "warp": 1.0, "resampling": 0.6, "transfer": 1.0, "seam": 1.0},
        1.8,
    ),
    "neuraltextures": Forgery(
        "mouth", 0.10, {"resampling": 0.8, "lowpass": 1.0, "checkerboard": 1.0}, 1.8
    ),
    "dfd": Forgery(
        "face", 0.20, {"identity": 1.0, "resampling": 0.9, "color": 0.5, "halo": 1.0}, 2.2
    ),
}


@dataclass(frozen=True)
class Masks:
    """Weight maps of a forgery, each of shape (size, size), in [0, 1].

    Attributes
    ----------
    inside : numpy.ndarray
        Weight of the forged content.
    edge : numpy.ndarray
        Rim of the replaced area.
    lower : numpy.ndarray
        Lower part of the face.
    """

    inside: Floats
    edge: Floats
    lower: Floats

    @property
    def support(self) -> NDArray[np.bool_]:
        """Pixels that the forgery may change, shape (size, size), bool."""
        return np.asarray((self.inside > 0) | (self.edge > 0))


#: Function from (content, masks, dose, decode factor, random generator) to content.
Artifact = Callable[[Floats, Masks, float, float, np.random.Generator], Floats]


def masks_of(target: Rendering, forgery: Forgery) -> Masks:
    """Return the masks of a forgery for a rendering, by the pixels' positions on the mean head."""
    x, y, z = np.nan_to_num(target.canonical, nan=9.0).transpose(2, 0, 1)
    if forgery.area == "mouth":
        distance = 0.30 * (1 - np.hypot(x / 0.40, (z + 0.74) / 0.25))
    else:
        distance = 0.55 * (1 - np.hypot(x / 0.62, (z + 0.34) / 0.74))
    # The inside of the mouth is deep in the head, but belongs to the face.
    front = (y < 0.45) | (target.region == load_basis().region("mouth"))
    distance = np.where(front, distance, -1.0)
    inside = np.clip(distance / forgery.edge, 0, 1)
    rim = np.clip(1 - np.abs(distance - forgery.edge / 2) / (0.5 * forgery.edge + 0.018), 0, 1)
    return Masks(inside, np.where(distance > -0.02, rim, 0.0), np.clip((-0.15 - z) / 0.2, 0, 1))


def compose(
    target: Rendering,
    content: Floats,
    forgery: Forgery,
    doses: Mapping[str, float],
    rng: np.random.Generator,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Compose forged content into a real frame.

    Parameters
    ----------
    target : Rendering
        The real frame.
    content : numpy.ndarray
        Rendered head with the forged identity or expression, shape (size, size, 3).
    forgery : Forgery
        The forgery method.
    doses : mapping
        Artifact to dose.
    rng : numpy.random.Generator
        Generator of the variation between videos, such as the direction of a color mismatch.

    Returns
    -------
    image : numpy.ndarray
        The forged frame in linear light, shape (size, size, 3).
    support : numpy.ndarray
        Pixels that may differ from the target, shape (size, size), bool.
    """
    masks = masks_of(target, forgery)
    names = [name for name in forgery.doses if name in BEFORE]
    for name in names:
        content = BEFORE[name](content, masks, doses[name], forgery.decode, rng)
    weight = masks.inside[..., None]
    image = target.image + weight * (content - target.image)
    if "poisson" in forgery.doses:
        image = _poisson(image, content, target.image, masks, doses["poisson"])
    for name in (name for name in forgery.doses if name in AFTER):
        image = AFTER[name](image, masks, doses[name], forgery.decode, rng)
    support = masks.support
    return np.where(support[..., None], image, target.image), support


def _resampling(
    c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator
) -> Floats:
    """Decode at a lower resolution: high frequencies are lost and partly aliased."""
    size = c.shape[0]
    low = max(8, round(size / decode))
    small = cv2.resize(c, (low, low), interpolation=cv2.INTER_LINEAR)
    large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(c + dose * (np.clip(large, 0, 1) - c))


def _color(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Shift colors away from the target's, in one direction per video."""
    level, tint = rng.choice([-1, 1]) * rng.uniform(0.10, 0.22), rng.uniform(-0.12, 0.12, 3)
    return np.asarray(np.clip(c * (1 + dose * (level + tint)), 0, 1))


def _transfer(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Transfer color statistics: the face loses contrast towards its mean."""
    weight = m.inside[..., None]
    mean = (c * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-9)
    return np.asarray(c + 0.30 * dose * (mean - c))


def _warp(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Warp as by slightly wrong landmarks."""
    size = c.shape[0]
    grid = np.arange(size, dtype=np.float64) / size
    x, y = np.meshgrid(grid, grid)
    phase, amount = rng.uniform(0, 2 * np.pi, 4), 0.014 * size * dose
    dx = amount * np.sin(2 * np.pi * (1.3 * y + 0.6 * x) + phase[0])
    dy = amount * np.sin(2 * np.pi * (1.2 * x - 0.7 * y) + phase[1])
    where_x, where_y = (x * size + dx).astype(np.float32), (y * size + dy).astype(np.float32)
    out = cv2.remap(c, where_x, where_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, dtype=np.float64)


def _smoothing(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Remove the fine texture of the lower face."""
    soft = cv2.GaussianBlur(c, (0, 0), 1.6 * c.shape[0] / 128)
    return np.asarray(c + dose * m.lower[..., None] * (soft - c))


def _lowpass(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Attenuate high frequencies."""
    soft = cv2.GaussianBlur(c, (0, 0), 1.1 * c.shape[0] / 128)
    return np.asarray(c + dose * (soft - c))


def _checkerboard(
    c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator
) -> Floats:
    """Add the checkerboard pattern of a transposed convolution, with squares of two pixels."""
    step = max(1, c.shape[0] // 128)
    rows, columns = np.indices(c.shape[:2]) // step
    board = (((rows // 2) % 2) ^ ((columns // 2) % 2)) * 2.0 - 1.0
    return np.asarray(np.clip(c * (1 + 0.13 * dose * board[..., None]), 0, 1))


def _poisson(mixed: Floats, content: Floats, target: Floats, m: Masks, dose: float) -> Floats:
    """Blend gradients instead of colors (Pérez et al. 2003, doi:10.1145/882262.882269)."""
    solid = (m.inside > 0.35).astype(np.uint8) * 255
    rows, columns = np.nonzero(solid)
    # OpenCV's solver needs a margin at the frame's edge.
    inner = np.zeros_like(solid)
    inner[2:-2, 2:-2] = solid[2:-2, 2:-2]
    rows, columns = np.nonzero(inner)
    if not dose or len(rows) < 64:
        return mixed
    box = (int(columns.min() + columns.max() + 1) // 2, int(rows.min() + rows.max() + 1) // 2)
    # The solver needs 8-bit images; the square root gives finer steps in the shadows.
    front, back = (
        np.rint(255 * np.sqrt(np.clip(i, 0, 1))).astype(np.uint8) for i in (content, target)
    )
    # A copy, since OpenCV overwrites the given mask.
    cloned = cv2.seamlessClone(front, back, inner.copy(), box, cv2.NORMAL_CLONE)
    change = (cloned.astype(np.float64) ** 2 - back.astype(np.float64) ** 2) / 255**2
    blended = target + change * (inner > 0)[..., None]
    return np.asarray(np.clip(mixed + dose * (blended - mixed), 0, 1))


def _feather(i: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Blur the rim, as from averaging two faces."""
    soft = cv2.GaussianBlur(i, (0, 0), 1.4 * i.shape[0] / 128)
    return np.asarray(i + dose * m.edge[..., None] * (soft - i))


def _seam(i: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Add a dark or bright line along the rim."""
    sign = rng.choice([-1.0, 1.0])
    return np.asarray(np.clip(i * (1 + 0.28 * dose * sign * m.edge[..., None]), 0, 1))


def _halo(i: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Sharpen the result, which overshoots at edges.

    Like sharpening filters with a threshold, it does not change pixels that differ little from
    their surroundings. Otherwise it would restore texture and partly undo the shared artifact.
    """
    detail = i - cv2.GaussianBlur(i, (0, 0), 1.2 * i.shape[0] / 128)
    strong = detail - np.clip(detail, -0.04, 0.04)
    return np.asarray(np.clip(i + 1.1 * dose * m.inside[..., None] * strong, 0, 1))


#: Artifacts applied to the content before it is composed into the frame.
BEFORE: dict[str, Artifact] = {
    "warp": _warp,
    "resampling": _resampling,
    "color": _color,
    "transfer": _transfer,
    "smoothing": _smoothing,
    "lowpass": _lowpass,
    "checkerboard": _checkerboard,
}
#: Artifacts applied to the frame after that.
AFTER: dict[str, Artifact] = {"feather": _feather, "seam": _seam, "halo": _halo}

#: All artifacts, in the order of the sample table's columns.
ARTIFACTS = ("identity", "expression", *BEFORE, "poisson", *AFTER)
