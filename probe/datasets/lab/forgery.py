"""The six forgeries as pipelines of named artifacts, each with a dose from 0 to 1.

At dose 0 an artifact does nothing, and a forgery whose doses are all 0 is the real frame. One
artifact, the resampling deficit of a decoder, is shared by all six: it is the truth that
universal neurons are judged by.
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
    """How one method makes its fakes.

    Attributes
    ----------
    area : str
        Which part of the face it replaces: "face" or "mouth".
    edge : float
        Width of the mask's edge, decimeters on the mean head; small is a hard seam.
    doses : mapping
        Artifact to dose, in the order in which they are applied.
    decode : float
        Factor by which its decoder's resolution is below the image's.
    """

    area: str
    edge: float
    doses: Mapping[str, float]
    decode: float


#: ``identity`` and ``expression`` are re-rendered; all others are image operations.
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
    """Where a forgery works, each of shape (size, size), in [0, 1].

    Attributes
    ----------
    inside : numpy.ndarray
        Weight of the forged content.
    edge : numpy.ndarray
        The rim of the replaced area.
    lower : numpy.ndarray
        The lower face within it.
    """

    inside: Floats
    edge: Floats
    lower: Floats

    @property
    def support(self) -> NDArray[np.bool_]:
        """Every pixel that the forgery may change."""
        return np.asarray((self.inside > 0) | (self.edge > 0))


#: From (content, masks, dose, decode factor, seed) to content.
Artifact = Callable[[Floats, Masks, float, float, np.random.Generator], Floats]


def masks_of(target: Rendering, forgery: Forgery) -> Masks:
    """Lay the replaced area over a rendering, by where pixels lie on the mean head."""
    x, y, z = np.nan_to_num(target.canonical, nan=9.0).transpose(2, 0, 1)
    if forgery.area == "mouth":
        distance = 0.30 * (1 - np.hypot(x / 0.40, (z + 0.74) / 0.25))
    else:
        distance = 0.55 * (1 - np.hypot(x / 0.62, (z + 0.34) / 0.74))
    # The inside of the mouth lies deep in the head, and belongs to the face all the same.
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
    """Put forged content into a frame.

    Parameters
    ----------
    target : Rendering
        The real frame.
    content : numpy.ndarray
        Shape (size, size, 3): the re-rendered head, with the forged identity or expression.
    forgery : Forgery
        The method.
    doses : mapping
        Artifact to dose.
    rng : numpy.random.Generator
        Draws what differs between videos, such as the direction of a color mismatch.

    Returns
    -------
    image : numpy.ndarray
        Shape (size, size, 3), linear light.
    support : numpy.ndarray
        Shape (size, size), the pixels that may differ from the target.
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
    """Decode at a lower resolution: high frequencies are lost and partly folded back."""
    size = c.shape[0]
    low = max(8, round(size / decode))
    small = cv2.resize(c, (low, low), interpolation=cv2.INTER_LINEAR)
    large = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(c + dose * (np.clip(large, 0, 1) - c))


def _color(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Miss the target's color, in one direction a video."""
    level, tint = rng.choice([-1, 1]) * rng.uniform(0.10, 0.22), rng.uniform(-0.12, 0.12, 3)
    return np.asarray(np.clip(c * (1 + dose * (level + tint)), 0, 1))


def _transfer(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Transfer color statistics: the face loses contrast towards its mean."""
    weight = m.inside[..., None]
    mean = (c * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-9)
    return np.asarray(c + 0.30 * dose * (mean - c))


def _warp(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Warp by landmarks that are a little off."""
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
    """Re-render the lower face without its fine texture."""
    soft = cv2.GaussianBlur(c, (0, 0), 1.6 * c.shape[0] / 128)
    return np.asarray(c + dose * m.lower[..., None] * (soft - c))


def _lowpass(c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Lose high frequencies."""
    soft = cv2.GaussianBlur(c, (0, 0), 1.1 * c.shape[0] / 128)
    return np.asarray(c + dose * (soft - c))


def _checkerboard(
    c: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator
) -> Floats:
    """Leave the pattern of a transposed convolution, two pixels wide."""
    step = max(1, c.shape[0] // 128)
    rows, columns = np.indices(c.shape[:2]) // step
    board = (((rows // 2) % 2) ^ ((columns // 2) % 2)) * 2.0 - 1.0
    return np.asarray(np.clip(c * (1 + 0.13 * dose * board[..., None]), 0, 1))


def _poisson(mixed: Floats, content: Floats, target: Floats, m: Masks, dose: float) -> Floats:
    """Blend gradients instead of colors (Pérez et al. 2003, doi:10.1145/882262.882269)."""
    solid = (m.inside > 0.35).astype(np.uint8) * 255
    rows, columns = np.nonzero(solid)
    # Near the frame's edge the library's solver has no room.
    inner = np.zeros_like(solid)
    inner[2:-2, 2:-2] = solid[2:-2, 2:-2]
    rows, columns = np.nonzero(inner)
    if not dose or len(rows) < 64:
        return mixed
    box = (int(columns.min() + columns.max() + 1) // 2, int(rows.min() + rows.max() + 1) // 2)
    # The solver takes 8 bits; the square root keeps their steps small in the shadows.
    front, back = (
        np.rint(255 * np.sqrt(np.clip(i, 0, 1))).astype(np.uint8) for i in (content, target)
    )
    # A copy: the library overwrites the mask that it is given.
    cloned = cv2.seamlessClone(front, back, inner.copy(), box, cv2.NORMAL_CLONE)
    change = (cloned.astype(np.float64) ** 2 - back.astype(np.float64) ** 2) / 255**2
    blended = target + change * (inner > 0)[..., None]
    return np.asarray(np.clip(mixed + dose * (blended - mixed), 0, 1))


def _feather(i: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Blur across the rim, where two faces were averaged."""
    soft = cv2.GaussianBlur(i, (0, 0), 1.4 * i.shape[0] / 128)
    return np.asarray(i + dose * m.edge[..., None] * (soft - i))


def _seam(i: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Leave a dark or bright line along the rim."""
    sign = rng.choice([-1.0, 1.0])
    return np.asarray(np.clip(i * (1 + 0.28 * dose * sign * m.edge[..., None]), 0, 1))


def _halo(i: Floats, m: Masks, dose: float, decode: float, rng: np.random.Generator) -> Floats:
    """Sharpen afterwards, which overshoots at edges.

    As sharpening filters do, it leaves alone what differs little from its surroundings: texture
    that the decoder lost is not given back, or the artifact would undo the shared one.
    """
    detail = i - cv2.GaussianBlur(i, (0, 0), 1.2 * i.shape[0] / 128)
    strong = detail - np.clip(detail, -0.04, 0.04)
    return np.asarray(np.clip(i + 1.1 * dose * m.inside[..., None] * strong, 0, 1))


#: Applied to the content before it is put in.
BEFORE: dict[str, Artifact] = {
    "warp": _warp,
    "resampling": _resampling,
    "color": _color,
    "transfer": _transfer,
    "smoothing": _smoothing,
    "lowpass": _lowpass,
    "checkerboard": _checkerboard,
}
#: Applied to the frame after that.
AFTER: dict[str, Artifact] = {"feather": _feather, "seam": _seam, "halo": _halo}

#: All artifacts, in the order of the sample table's columns.
ARTIFACTS = ("identity", "expression", *BEFORE, "poisson", *AFTER)
