"""Rendering of a person in a scene: z-buffer, procedural skin, eyes, brows, lips, hair, light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from probe.datasets.lab.head import HeadBasis, load_basis
from probe.datasets.lab.person import Motion, Person
from probe.datasets.lab.scene import Scene

__all__ = [
    "FACE_REGIONS",
    "Rendering",
    "backdrop",
    "face_regions",
    "grain",
    "rasterize",
    "render",
    "vertex_normals",
]

Floats = NDArray[np.float64]


# Without fastmath, sums keep their order, so that results are equal on all machines.
@njit(cache=True)
def rasterize(
    screen: Any, depth: Any, triangles: Any, attributes: Any, size: int
) -> tuple[Any, Any]:
    """Rasterize triangles with a z-buffer.

    Parameters
    ----------
    screen : numpy.ndarray
        Positions in pixels, x and y with y downwards, shape (vertex, 2).
    depth : numpy.ndarray
        Distance from the camera, shape (vertex,); the nearest triangle is visible.
    triangles : numpy.ndarray
        Vertex indices, shape (triangle, 3); triangles facing away are skipped.
    attributes : numpy.ndarray
        Attributes to interpolate over the triangles, shape (vertex, k).
    size : int
        Side of the image in pixels.

    Returns
    -------
    face : numpy.ndarray
        Index of the visible triangle, shape (size, size); -1 for none.
    values : numpy.ndarray
        Interpolated attributes, shape (size, size, k); 0 where no triangle is visible.
    """
    face = np.full((size, size), -1, dtype=np.int64)
    nearest = np.full((size, size), np.inf)
    channels = attributes.shape[1]
    values = np.zeros((size, size, channels))
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bx, by = screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        # y points downwards, so triangles that are clockwise on the screen face the camera.
        if area >= -1e-9:
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        right = min(size - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        bottom = min(size - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                z = u * depth[a] + v * depth[b] + w * depth[c]
                if z < nearest[row, column]:
                    nearest[row, column] = z
                    face[row, column] = t
                    for k in range(channels):
                        values[row, column, k] = (
                            u * attributes[a, k] + v * attributes[b, k] + w * attributes[c, k]
                        )
    return face, values


@njit(cache=True)
def vertex_normals(vertices: Any, triangles: Any) -> Any:
    """Return the mean normal of the triangles around each vertex, weighted by area.

    Parameters
    ----------
    vertices : numpy.ndarray
        Positions, shape (vertex, 3).
    triangles : numpy.ndarray
        Vertex indices, shape (triangle, 3).

    Returns
    -------
    numpy.ndarray
        Normals of unit length, shape (vertex, 3).
    """
    out = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        e, f = vertices[b] - vertices[a], vertices[c] - vertices[a]
        nx = e[1] * f[2] - e[2] * f[1]
        ny = e[2] * f[0] - e[0] * f[2]
        nz = e[0] * f[1] - e[1] * f[0]
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 0:
            out[i] /= length
    return out


@njit(cache=True)
def grain(grid: Any, u: Any, v: Any) -> Any:
    """Sample smooth noise of two scales from a periodic grid.

    Parameters
    ----------
    grid : numpy.ndarray
        Independent normal values, shape (n, n).
    u, v : numpy.ndarray
        Coordinates, shape (point,).

    Returns
    -------
    numpy.ndarray
        Noise of about unit variance, shape (point,).
    """
    n = grid.shape[0]
    out = np.zeros(u.shape[0])
    for p in range(u.shape[0]):
        for scale in (11.0, 29.0):
            x, y = scale * u[p] + 31.5, scale * v[p] + 31.5
            i, j = int(np.floor(x)), int(np.floor(y))
            a, b = x - i, y - j
            i, j = i % n, j % n
            k, m = (i + 1) % n, (j + 1) % n
            top = grid[i, j] * (1 - b) + grid[i, m] * b
            bottom = grid[k, j] * (1 - b) + grid[k, m] * b
            out[p] += 0.75 * (top * (1 - a) + bottom * a)
    return out


#: Samples per pixel along each axis.
SUPERSAMPLING = 2
#: Distance of the camera in decimeters.
DISTANCE = 9.0


@dataclass(frozen=True)
class Rendering:
    """A rendered head.

    Attributes
    ----------
    image : numpy.ndarray
        Image in linear light, in [0, 1], shape (size, size, 3).
    canonical : numpy.ndarray
        Position of each pixel on the mean head in decimeters, shape (size, size, 3); NaN for the
        background.
    region : numpy.ndarray
        Index of the region of each pixel, shape (size, size); -1 for the background.
    """

    image: Floats
    canonical: Floats
    region: NDArray[np.int64]


def render(
    person: Person, motion: Motion, scene: Scene, size: int, behind: Floats | None = None
) -> Rendering:
    """Render a person in a scene.

    Parameters
    ----------
    person : Person
        Appearance of the identity.
    motion : Motion
        Expression and pose.
    scene : Scene
        Light, background and placement.
    size : int
        Side of the image in pixels.
    behind : numpy.ndarray, optional
        Result of `backdrop` for the same scene and size, to compute it only once per video.
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
    # The position and region of a pixel are those of one of its samples.
    coarse = (slice(None, None, SUPERSAMPLING),) * 2
    canonical = np.where(seen[coarse][..., None], values[coarse][..., :3], np.nan)
    regions = np.where(seen[coarse], basis.regions[face[coarse]], -1)
    return Rendering(_averaged(image), canonical, regions)


def _averaged(fine: Floats) -> Floats:
    """Return the mean of each pixel's samples; several times faster than a mean over two axes."""
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
    """Project in perspective, with the face filling the frame as in a crop of margin 1.3."""
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
    """Return the displacement of the scalp along its normals, zero at the hairline."""
    normals = _mean_normals()
    lift = person.volume * np.clip(_hair(basis.mean, person) * 2, 0, 1)
    return np.asarray(normals * lift[:, None])


def _hair(where: Floats, person: Person) -> Floats:
    """Return the distance behind the hairline in decimeters; positive inside the hair."""
    x, y, z = where.T
    front = z - person.hairline - 0.10 * np.cos(3.2 * x)
    behind = 1.25 * (y - 0.55) + 0.9 * (z + 0.35)
    sides = np.where(z > -0.55, np.minimum(behind, y - 0.30), -1.0)
    return np.asarray(np.maximum(front, sides))


def _albedo(
    basis: HeadBasis, person: Person, where: Floats, region: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return color, shape (pixel, 3), and gloss, shape (pixel,), of the visible surface."""
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
    # Outside these bounds the weight is below the precision of the colors.
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
    """Sample smooth noise of two scales from the person's grid, of about unit variance."""
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
    """Shade by Lambert's law softened at the terminator, a highlight, and dark hollows."""
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
    """Render the background with a simple neck and shoulders.

    Returns
    -------
    numpy.ndarray
        Image in linear light at the rasterizer's resolution, shape (2 size, 2 size, 3).
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


#: Names of the regions in `face_regions`; the background is −1.
FACE_REGIONS = (
    "eyes",
    "brows",
    "nose",
    "mouth",
    "cheeks",
    "forehead",
    "chin",
    "ears",
    "hair",
    "neck",
)

#: Parts of the head's surface and their regions; skin is divided by position.
PARTS = {
    "eyes": "eyes",
    "eyelids": "eyes",
    "brows": "brows",
    "lips": "mouth",
    "mouth": "mouth",
    "ears": "ears",
    "scalp": "hair",
    "neck": "neck",
}

#: Heights on the mean head in decimeters above the middle between the eyes: lower edge of the
#: forehead, upper edge of the chin (between lips and base of the nose), lower edge of the jaw.
FOREHEAD, CHIN, JAW = 0.25, -0.60, -1.00
#: The nose: heights of bridge and base, and half widths at bridge and base, in decimeters.
NOSE_TOP, NOSE_BASE, NARROW, WIDE = 0.08, -0.47, 0.09, 0.20


def face_regions(rendering: Rendering) -> NDArray[np.int8]:
    """Return the region of the face that each pixel shows.

    Eyes with lids, brows, mouth (lips and inside), ears and scalp are labeled on the head's
    surface. Skin is divided by the position on the mean head: forehead above the lower edge of the
    brows, the nose as a wedge from bridge to base, chin and jaw below the line between nose and
    lips, neck below the jaw, and cheeks elsewhere. Hair is the scalp; the strip of painted hair at
    the edge of the forehead counts as forehead.

    Parameters
    ----------
    rendering : Rendering
        A rendered head.

    Returns
    -------
    numpy.ndarray
        Index into `FACE_REGIONS`, shape (size, size); −1 for the background.
    """
    basis = load_basis()
    # The last entry is for the background, whose index is −1.
    table = np.full(len(basis.region_names) + 1, -1, dtype=np.int8)
    for name, region in PARTS.items():
        table[basis.region(name)] = FACE_REGIONS.index(region)
    out = table[rendering.region]
    skin = rendering.region == basis.region("skin")
    out[skin] = _divided(rendering.canonical[skin])
    return np.asarray(out, dtype=np.int8)


def _divided(where: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the regions of skin, by positions of shape (pixel, 3) in decimeters."""
    across, height = np.abs(where[:, 0]), where[:, 2]
    half = NARROW + (WIDE - NARROW) * (NOSE_TOP - height) / (NOSE_TOP - NOSE_BASE)
    nose = (height <= NOSE_TOP) & (height >= NOSE_BASE) & (across <= half)
    names = ["forehead", "nose", "neck", "chin"]
    tests = [height > FOREHEAD, nose, height < JAW, height < CHIN]
    codes = [FACE_REGIONS.index(name) for name in names]
    return np.asarray(np.select(tests, codes, FACE_REGIONS.index("cheeks")), dtype=np.int8)
