"""Drawing a person in a scene: geometry, procedural skin, eyes, brows, lips, hair, light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from probe.datasets.lab.basis import HeadBasis, load_basis
from probe.datasets.lab.person import Motion, Person
from probe.datasets.lab.raster import grain, rasterize, vertex_normals
from probe.datasets.lab.scene import Scene

__all__ = ["Rendering", "backdrop", "render"]

Floats = NDArray[np.float64]

#: Each pixel is the mean of this many by this many.
SUPERSAMPLING = 2
#: Distance of the camera, decimeters.
DISTANCE = 9.0


@dataclass(frozen=True)
class Rendering:
    """A drawn head.

    Attributes
    ----------
    image : numpy.ndarray
        Shape (size, size, 3), linear light, in [0, 1].
    canonical : numpy.ndarray
        Shape (size, size, 3): where on the mean head each pixel lies, decimeters; NaN elsewhere.
    region : numpy.ndarray
        Shape (size, size), index of the region, -1 for the background.
    """

    image: Floats
    canonical: Floats
    region: NDArray[np.int64]


def render(
    person: Person, motion: Motion, scene: Scene, size: int, behind: Floats | None = None
) -> Rendering:
    """Draw a person in a scene.

    Parameters
    ----------
    person, motion, scene
        Who, doing what, where.
    size : int
        Side of the image in pixels.
    behind : numpy.ndarray, optional
        What `backdrop` gave for the same scene and size, so that a video draws it once.
    """
    basis, fine = load_basis(), size * SUPERSAMPLING
    vertices = basis.shape(person.shape, motion.expression)
    vertices = vertices + _hair_thickness(basis, person)
    turned = vertices @ _rotation(motion).T
    normals = vertex_normals(turned, basis.triangles)
    screen, depth = _project(turned, scene, fine)
    attributes = np.concatenate([basis.mean, normals], axis=1)
    face, values = rasterize(screen, depth, basis.triangles, attributes, fine)
    seen = face >= 0
    region = basis.regions[face[seen]]
    image = (backdrop(scene, person, size) if behind is None else behind).copy()
    drawn = values[seen]
    where, normal = drawn[:, :3], drawn[:, 3:]
    albedo, gloss = _albedo(basis, person, where, region)
    image[seen] = _lit(albedo, gloss, normal, where, region, basis, scene)
    # One of each pixel's samples stands for where it lies.
    coarse = (slice(None, None, SUPERSAMPLING),) * 2
    canonical = np.where(seen[coarse][..., None], values[coarse][..., :3], np.nan)
    regions = np.where(seen[coarse], basis.regions[face[coarse]], -1)
    return Rendering(_averaged(image), canonical, regions)


def _averaged(fine: Floats) -> Floats:
    """Average each pixel's samples; several times faster than a mean over two axes."""
    steps = [(i, j) for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)]
    parts = [fine[i::SUPERSAMPLING, j::SUPERSAMPLING] for i, j in steps]
    return np.asarray(sum(parts[1:], parts[0]) / len(parts))


def _rotation(motion: Motion) -> Floats:
    cy, sy = np.cos(motion.yaw), np.sin(motion.yaw)
    cp, sp = np.cos(motion.pitch), np.sin(motion.pitch)
    cr, sr = np.cos(motion.roll), np.sin(motion.roll)
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return np.asarray(roll @ pitch @ yaw)


def _project(vertices: Floats, scene: Scene, size: int) -> tuple[Floats, Floats]:
    """Perspective, the face filling the frame as in a crop of margin 1.3."""
    depth = DISTANCE + vertices[:, 1]
    scale = scene.zoom * size * DISTANCE / (depth * 2.75)
    x = size * (0.5 + scene.shift[0]) + scale * vertices[:, 0]
    y = size * (0.47 + scene.shift[1]) - scale * (vertices[:, 2] + 0.08)
    return np.stack([x, y], axis=1), depth


@cache
def _mean_normals() -> Floats:
    basis = load_basis()
    return np.asarray(vertex_normals(basis.mean, basis.triangles))


def _hair_thickness(basis: HeadBasis, person: Person) -> Floats:
    """Lift the scalp along its normals, by nothing at the hairline."""
    normals = _mean_normals()
    lift = person.volume * np.clip(_hair(basis.mean, person) * 2, 0, 1)
    return np.asarray(normals * lift[:, None])


def _hair(where: Floats, person: Person) -> Floats:
    """Depth into the hair, decimeters; positive behind the hairline."""
    x, y, z = where.T
    front = z - person.hairline - 0.10 * np.cos(3.2 * x)
    behind = 1.25 * (y - 0.55) + 0.9 * (z + 0.35)
    sides = np.where(z > -0.55, np.minimum(behind, y - 0.30), -1.0)
    return np.asarray(np.maximum(front, sides))


def _albedo(
    basis: HeadBasis, person: Person, where: Floats, region: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Color, shape (pixel, 3), and gloss, shape (pixel,), of what is seen."""
    x, y, z = where.T
    color = np.broadcast_to(person.skin, (len(where), 3)).copy()
    flush = np.exp(-(((np.abs(x) - 0.42) / 0.2) ** 2 + ((z + 0.42) / 0.22) ** 2))
    flush += 0.8 * np.exp(-((x / 0.14) ** 2 + ((z + 0.38) / 0.14) ** 2))
    color *= 1 + flush[:, None] * np.array([0.05, -0.05, -0.05])
    color *= 1 + 0.075 * _grain(person.texture, x, z)[:, None]
    gloss = np.full(len(where), 0.05)
    lips = region == basis.region("lips")
    color[lips] = person.lips * (1 + 0.05 * _grain(person.texture, 2 * x[lips], z[lips])[:, None])
    gloss[lips] = 0.09
    lid = np.exp(-(((np.abs(x) - 0.31) / 0.17) ** 2 + ((z - 0.03) / 0.06) ** 2)) * (y < 0.1)
    color *= 1 - 0.25 * lid[:, None] * (region != basis.region("eyes"))[:, None]
    _paint_brows(color, person, x, y, z, region, basis)
    _paint_eyes(color, gloss, person, where, region == basis.region("eyes"))
    mouth = region == basis.region("mouth")
    teeth = mouth & (y < -0.15)
    color[mouth] = [0.07, 0.012, 0.010]
    color[teeth] = [0.42, 0.37, 0.29]
    _paint_hair(color, gloss, person, where, region, basis)
    return color, gloss


def _paint_brows(
    color: Floats,
    person: Person,
    x: Floats,
    y: Floats,
    z: Floats,
    region: NDArray[np.int64],
    basis: HeadBasis,
) -> None:
    # Beyond these bounds the weight is below the precision of the colors.
    near = (np.abs(x) < 0.61) & (np.abs(z - 0.26) < 0.27) & (y < 0.3)
    near &= region != basis.region("eyes")
    x, y, z = x[near], y[near], z[near]
    side = np.abs(x)
    arch = 0.235 + 0.05 * np.sin(np.clip((side - 0.1) / 0.42, 0, 1) * 2.4)
    thickness = 0.05 * person.brow * np.clip((0.66 - side) / 0.4, 0.25, 1)
    inside = np.exp(-(((z - arch) / thickness) ** 4))
    inside *= np.clip((side - 0.09) / 0.05, 0, 1) * np.clip((0.60 - side) / 0.06, 0, 1)
    strands = 0.75 + 0.25 * _grain(person.texture, 6 * x + 3 * z, 5 * z)
    weight = (0.85 * inside * np.clip(strands, 0, 1))[:, None]
    color[near] += weight * (0.7 * person.hair + 0.004 - color[near])


def _paint_eyes(
    color: Floats, gloss: Floats, person: Person, where: Floats, eyes: NDArray[np.bool_]
) -> None:
    x, _, z = where[eyes].T
    radius = np.hypot(np.abs(x) - 0.315, z + 0.012)
    white = np.array([0.50, 0.46, 0.44]) * (1 - 0.35 * np.clip(radius / 0.16, 0, 1))[:, None]
    iris = np.clip((0.072 - radius) / 0.008, 0, 1)[:, None]
    pupil = np.clip((0.030 - radius) / 0.006, 0, 1)[:, None]
    rim = np.clip((radius - 0.052) / 0.018, 0, 1)[:, None]
    painted = white + iris * (person.iris * (1 - 0.5 * rim) - white)
    color[eyes] = painted * (1 - pupil) + 0.004 * pupil
    gloss[eyes] = 0.10


def _paint_hair(
    color: Floats,
    gloss: Floats,
    person: Person,
    where: Floats,
    region: NDArray[np.int64],
    basis: HeadBasis,
) -> None:
    skin = (region == basis.region("skin")) | (region == basis.region("scalp"))
    x, y, z = where.T
    edge = _hair(where, person) + 0.025 * _grain(person.texture, 3 * x, 3 * z + y)
    weight = np.clip(edge / 0.05, 0, 1) * skin
    angle = np.arctan2(x, 0.6 + y)
    strands = 1 + 0.28 * _grain(person.texture, 4.5 * angle, 0.6 * z) + 0.1 * np.sin(60 * angle)
    color += weight[:, None] * (person.hair * strands[:, None] - color)
    gloss += weight * (0.06 - gloss)


def _grain(texture: Floats, u: Floats, v: Floats) -> Floats:
    """Smooth noise of two scales, read from the person's grid; about unit variance."""
    return np.asarray(grain(texture, np.ascontiguousarray(u), np.ascontiguousarray(v)))


def _lit(
    albedo: Floats,
    gloss: Floats,
    normal: Floats,
    where: Floats,
    region: NDArray[np.int64],
    basis: HeadBasis,
    scene: Scene,
) -> Floats:
    """Lambert's law softened at the terminator, a highlight, and shade in hollows."""
    # Camera space: x right, y away from the viewer, z up; the light's y points to the viewer.
    towards = scene.light * np.array([1.0, -1.0, 1.0])
    length = np.maximum(np.linalg.norm(normal, axis=1), 1e-9)
    unit = normal / length[:, None]
    direct = np.clip((unit @ towards + 0.25) / 1.25, 0, 1)
    half = towards + np.array([0.0, -1.0, 0.0])
    half /= np.linalg.norm(half)
    shine = gloss * np.clip(unit @ half, 0, 1) ** 24
    x, y, z = where.T
    sockets = np.exp(-(((np.abs(x) - 0.28) / 0.16) ** 2 + ((z - 0.07) / 0.09) ** 2)) * (y < 0.2)
    below = np.exp(-(((z + 1.02) / 0.10) ** 2)) * (y > -0.15)
    neck = np.clip((-z - 1.0) / 0.5, 0, 1)
    shade = 1 - 0.30 * sockets - 0.25 * below - 0.35 * neck
    shade = shade * np.where(region == basis.region("mouth"), 0.55, 1.0)
    light = scene.ambient * (0.75 + 0.25 * unit[:, 2]) + scene.key * direct
    out = albedo * (light * shade)[:, None] * scene.color + (scene.key * shine)[:, None]
    return np.asarray(np.clip(out, 0, 1))


def backdrop(scene: Scene, person: Person, size: int) -> Floats:
    """Draw the background with a hint of neck and shoulders.

    Returns
    -------
    numpy.ndarray
        Shape (2 size, 2 size, 3), linear light: at the resolution of the rasterizer.
    """
    fine = size * SUPERSAMPLING
    out = cv2.resize(scene.background, (fine, fine), interpolation=cv2.INTER_LINEAR)
    grid = (np.arange(fine) + 0.5) / fine
    x, y = np.meshgrid(grid - 0.5 - scene.shift[0], grid - scene.shift[1])
    column = np.clip((0.155 - np.abs(x)) * 0.25 * fine, 0, 1) * np.clip((y - 0.62) * 20, 0, 1)
    skin = person.skin * scene.color * (0.30 + 0.25 * np.cos(8 * x))[..., None]
    out = out + column[..., None] * (skin - out)
    shoulders = 0.885 + 0.9 * x**2 + 1.5 * np.clip(np.abs(x) - 0.40, 0, None)
    inside = np.clip((y - shoulders) * 0.25 * fine, 0, 1)[..., None]
    fold = (
        1 - 0.25 * np.abs(x)[..., None] - 0.3 * np.clip(1 - (y - shoulders) * 12, 0, 1)[..., None]
    )
    return np.asarray(out + inside * (scene.cloth * fold * scene.color - out))
