"""A z-buffer rasterizer: which triangle each pixel sees, and where on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["grain", "rasterize", "vertex_normals"]

Floats = NDArray[np.float64]


# Without fastmath: sums keep their order, so that machines agree.
@njit(cache=True)
def rasterize(
    screen: Any, depth: Any, triangles: Any, attributes: Any, size: int
) -> tuple[Any, Any]:
    """Draw triangles into a z-buffer.

    Parameters
    ----------
    screen : numpy.ndarray
        Shape (vertex, 2), x and y in pixels, y downwards.
    depth : numpy.ndarray
        Shape (vertex,), distance from the camera; the nearest wins.
    triangles : numpy.ndarray
        Shape (triangle, 3); those facing away are left out.
    attributes : numpy.ndarray
        Shape (vertex, k), interpolated over the triangles.
    size : int
        Side of the image in pixels.

    Returns
    -------
    face : numpy.ndarray
        Shape (size, size), index of the triangle seen, -1 for none.
    values : numpy.ndarray
        Shape (size, size, k), interpolated attributes, 0 where nothing is seen.
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
        # y points down, so what turns clockwise on the screen faces the camera.
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
    """Average the normals of the triangles around each vertex, weighted by area.

    Parameters
    ----------
    vertices : numpy.ndarray
        Shape (vertex, 3).
    triangles : numpy.ndarray
        Shape (triangle, 3).

    Returns
    -------
    numpy.ndarray
        Shape (vertex, 3), of unit length.
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
    """Read smooth noise of two scales from a periodic grid.

    Parameters
    ----------
    grid : numpy.ndarray
        Shape (n, n), independent normal values.
    u, v : numpy.ndarray
        Shape (point,), coordinates.

    Returns
    -------
    numpy.ndarray
        Shape (point,), about unit variance.
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
