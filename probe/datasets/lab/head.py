"""The head basis: mean shape, identity components, facial actions, triangles, regions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HeadBasis", "load_basis"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeadBasis:
    """A linear model of heads, made by ``tools/make_head_basis.py``.

    Attributes
    ----------
    mean : numpy.ndarray
        Shape (vertex, 3), decimeters: x to the subject's left, y backwards, z upwards; the origin
        lies between the eyes.
    identity : numpy.ndarray
        Shape (component, vertex, 3), one standard deviation each.
    expression : numpy.ndarray
        Shape (action, vertex, 3), full activation each.
    triangles : numpy.ndarray
        Shape (triangle, 3), vertex indices.
    regions : numpy.ndarray
        Shape (triangle,), index into `region_names`.
    region_names, expression_names : tuple of str
        Names.
    """

    mean: Floats
    identity: Floats
    expression: Floats
    triangles: NDArray[np.int64]
    regions: NDArray[np.int64]
    region_names: tuple[str, ...]
    expression_names: tuple[str, ...]

    def shape(self, identity: Floats, expression: Floats) -> Floats:
        """Return vertices, shape (vertex, 3), of an identity with an expression."""
        # Written as one sum a vertex, in this order on every machine, not as a BLAS product.
        out = self.mean.copy()
        for weight, part in zip(identity, self.identity, strict=True):
            out += weight * part
        for weight, part in zip(expression, self.expression, strict=True):
            if weight:
                out += weight * part
        return out

    def region(self, name: str) -> int:
        """Return the index of a region."""
        return self.region_names.index(name)


@cache
def load_basis() -> HeadBasis:
    """Read the basis that is shipped with the package."""
    source = files("probe.datasets.lab") / "assets" / "head_basis.npz"
    with source.open("rb") as stream, np.load(stream) as data:
        found: dict[str, Any] = {name: data[name] for name in data.files}
    return HeadBasis(
        mean=found["mean"].astype(np.float64),
        identity=found["identity"].astype(np.float64),
        expression=found["expression"].astype(np.float64),
        triangles=found["triangles"].astype(np.int64),
        regions=found["regions"].astype(np.int64),
        region_names=tuple(map(str, found["region_names"])),
        expression_names=tuple(map(str, found["expression_names"])),
    )
