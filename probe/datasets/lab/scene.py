"""Light, background and camera of a video, drawn from the capture domain of its dataset."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DOMAINS", "Domain", "Scene", "capture", "draw_scene"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Domain:
    """Capture conditions of a dataset; the same for its real and its fake images.

    Attributes
    ----------
    warmth : tuple of float
        Range of the light's color temperature, -1 (blue) to 1 (orange).
    ambient : tuple of float
        Range of the strength of ambient light.
    side : float
        Maximum angle of the key light to either side, in radians.
    background : str
        "studio" (even), "room" (blobs and edges) or "street" (many blobs).
    noise : float
        Standard deviation of the sensor noise in gray levels.
    blur : float
        Standard deviation of the lens blur in pixels of a 128-pixel image.
    quality : tuple of int
        Range of JPEG quality.
    """

    warmth: tuple[float, float]
    ambient: tuple[float, float]
    side: float
    background: str
    noise: float
    blur: float
    quality: tuple[int, int]


DOMAINS = {
    "celebdf": Domain((-0.2, 0.5), (0.45, 0.65), 0.5, "room", 1.6, 0.35, (84, 92)),
    "deepfakes": Domain((-0.3, 0.3), (0.40, 0.60), 0.7, "room", 2.0, 0.40, (80, 90)),
    "face2face": Domain((-0.3, 0.3), (0.40, 0.60), 0.7, "street", 2.2, 0.40, (78, 88)),
    "faceswap": Domain((-0.4, 0.2), (0.35, 0.55), 0.8, "room", 2.4, 0.45, (78, 88)),
    "neuraltextures": Domain((-0.3, 0.4), (0.40, 0.60), 0.7, "street", 2.0, 0.40, (80, 90)),
    "dfd": Domain((-0.1, 0.1), (0.60, 0.80), 0.3, "studio", 1.4, 0.55, (86, 94)),
}


@dataclass(frozen=True)
class Scene:
    """The scene of one video.

    Attributes
    ----------
    light : numpy.ndarray
        Unit vector towards the key light: x to the viewer's right, y to the viewer, z up.
    color : numpy.ndarray
        Color of the light, shape (3,).
    ambient, key : float
        Strength of the ambient and of the key light.
    background : numpy.ndarray
        Background in linear light, in [0, 1], shape (size, size, 3).
    cloth : numpy.ndarray
        Color of the clothes, shape (3,).
    zoom : float
        Relative scale of the head in the image.
    shift : tuple of float
        Offset of the head, x and y, as fractions of the image side.
    """

    light: Floats
    color: Floats
    ambient: float
    key: float
    background: Floats
    cloth: Floats
    zoom: float
    shift: tuple[float, float]


def draw_scene(domain: Domain, rng: np.random.Generator, size: int) -> Scene:
    """Draw the random scene of a video."""
    side = rng.uniform(-domain.side, domain.side)
    up = rng.uniform(0.15, 0.7)
    light = np.array([np.sin(side) * np.cos(up), np.cos(side) * np.cos(up), np.sin(up)])
    warmth = rng.uniform(*domain.warmth)
    color = np.array([1 + 0.12 * warmth, 1.0, 1 - 0.12 * warmth])
    ambient = rng.uniform(*domain.ambient)
    return Scene(
        light,
        color,
        ambient,
        key=rng.uniform(1.35, 1.6) - ambient,
        background=_background(domain.background, rng, size),
        cloth=(rng.uniform(0.0, 0.18, 3) + rng.uniform(0.12, 0.5)) ** 2.2,
        zoom=rng.uniform(0.92, 1.06),
        shift=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.03, 0.03))),
    )


def _background(kind: str, rng: np.random.Generator, size: int) -> Floats:
    grid = np.linspace(0, 1, size)
    x, y = np.meshgrid(grid, grid)
    base = rng.uniform(0.3, 0.7) * (1 + rng.uniform(-0.07, 0.07, 3))
    tilt = rng.uniform(-0.5, 0.5, 2)
    out = base * (1 + tilt[0] * (x - 0.5) + tilt[1] * (y - 0.5))[..., None]
    for _ in range({"studio": 1, "room": 5, "street": 11}[kind]):
        cx, cy, w, h = *rng.uniform(0, 1, 2), *rng.uniform(0.05, 0.35, 2)
        shade = rng.uniform(0.65, 1.3) * (1 + rng.uniform(-0.08, 0.08, 3))
        soft = rng.uniform(0.01, 0.05)
        inside = _step(w - np.abs(x - cx), soft) * _step(h - np.abs(y - cy), soft)
        out *= 1 + inside[..., None] * (shade - 1)
    return np.asarray(np.clip(out, 0.05, 0.95) ** 2.2)


def _step(value: Floats, soft: float) -> Floats:
    return np.asarray(np.clip(value / soft + 0.5, 0, 1))


def capture(image: Floats, domain: Domain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Simulate a camera: lens blur, gamma, sensor noise, 8 bits and JPEG.

    Parameters
    ----------
    image : numpy.ndarray
        Image in linear light, in [0, 1], shape (size, size, 3).
    domain : Domain
        Capture conditions.
    rng : numpy.random.Generator
        Generator with the same seed for both frames of a pair, so that only the forgery differs.

    Returns
    -------
    numpy.ndarray
        Image of shape (size, size, 3), RGB, 0 to 255.
    """
    size = image.shape[0]
    soft = cv2.GaussianBlur(image, (0, 0), domain.blur * size / 128)
    gray = 255 * np.power(np.clip(soft, 0, 1), 1 / 2.2)
    noise = rng.normal(0, domain.noise, (size, size, 3))
    pixels = np.rint(np.clip(gray + noise, 0, 255)).astype(np.uint8)
    quality = int(rng.integers(*domain.quality, endpoint=True))
    _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
