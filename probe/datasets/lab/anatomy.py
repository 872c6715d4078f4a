"""Regions of the lab's faces: those of the head's surface, with the skin divided by place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probe.datasets.lab.basis import load_basis
from probe.datasets.lab.rendering import Rendering

__all__ = ["FACE_REGIONS", "face_regions"]

#: What `face_regions` counts by; the background is −1.
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

#: Parts of the head's surface that are a region as they are; skin is divided.
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

#: Heights on the mean head, decimeters above the middle between the eyes: where the forehead
#: begins, the line between the lips and the nose's base, and the lower edge of the jaw.
FOREHEAD, CHIN, JAW = 0.25, -0.60, -1.00
#: The nose: from its bridge to its base, this wide on either side at either end.
NOSE_TOP, NOSE_BASE, NARROW, WIDE = 0.08, -0.47, 0.09, 0.20


def face_regions(rendering: Rendering) -> NDArray[np.int8]:
    """Say which region of the face each pixel shows.

    Eyes with their lids, brows, mouth (lips and what lies between), ears and scalp are labeled
    on the head's surface. Skin is divided by where a pixel lies on the mean head: forehead above
    the brows' lower edge, the nose a wedge from bridge to base, chin and jaw below the line
    between nose and lips, neck below the jaw, and cheeks all else. Hair is the scalp; the strip
    in which hair is painted on the forehead's edge counts as forehead.

    Parameters
    ----------
    rendering : Rendering
        A drawn head.

    Returns
    -------
    numpy.ndarray
        Shape (size, size), index into `FACE_REGIONS`, −1 for the background.
    """
    basis = load_basis()
    # The last entry is what the background, −1, looks up.
    table = np.full(len(basis.region_names) + 1, -1, dtype=np.int8)
    for name, region in PARTS.items():
        table[basis.region(name)] = FACE_REGIONS.index(region)
    out = table[rendering.region]
    skin = rendering.region == basis.region("skin")
    out[skin] = _divided(rendering.canonical[skin])
    return np.asarray(out, dtype=np.int8)


def _divided(where: NDArray[np.float64]) -> NDArray[np.int8]:
    """Divide skin, shape (pixel, 3) in decimeters on the mean head, into regions."""
    across, height = np.abs(where[:, 0]), where[:, 2]
    half = NARROW + (WIDE - NARROW) * (NOSE_TOP - height) / (NOSE_TOP - NOSE_BASE)
    nose = (height <= NOSE_TOP) & (height >= NOSE_BASE) & (across <= half)
    names = ["forehead", "nose", "neck", "chin"]
    tests = [height > FOREHEAD, nose, height < JAW, height < CHIN]
    codes = [FACE_REGIONS.index(name) for name in names]
    return np.asarray(np.select(tests, codes, FACE_REGIONS.index("cheeks")), dtype=np.int8)
