"""Does a map lie on the forged area? Checks on plain arrays, one value an image.

All take maps of shape (n, height, width), positive towards fake, and masks of the same shape, True
where the image is forged. Pixels of one value tie: each check gives its expectation over all ways
of breaking the tie, or says what it gives instead. So the order of pixels in memory, which decides
where ``argsort`` or ``argmax`` are used, never counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from probe.stats import Floats, auroc

__all__ = [
    "MASK_CHECKS",
    "area_share",
    "fit_mask",
    "mask_auroc",
    "mask_chance",
    "mask_iou",
    "mask_mass",
    "pointing",
]

Bools = NDArray[np.bool_]


def area_share(masks: ArrayLike) -> Floats:
    """Share of pixels inside each mask, shape (n,), in [0, 1]."""
    inside = np.asarray(masks, dtype=bool)
    return np.asarray(inside.mean(axis=(1, 2)), dtype=np.float64)


def pointing(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """Whether the largest attribution lies inside the mask (Zhang et al. 2018, arXiv:1608.00507).

    There is no tolerance around the mask (the paper grants 15 pixels for boxes and points).

    Returns
    -------
    numpy.ndarray
        Shape (n,): 1 inside, 0 outside; where k pixels share the largest value, the share of them
        that lies inside, which for a constant map is the mask's area share.
    """
    a, m = _flat(maps, masks)
    top = a == a.max(axis=1, keepdims=True)
    return np.asarray((top & m).sum(axis=1) / top.sum(axis=1))


def mask_mass(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """Positive attribution inside the mask over all of it (Arras et al. 2022, arXiv:2003.07258).

    Negative attribution speaks for "real" and does not count.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1]; the mask's area share where nothing is positive: such a map points
        nowhere.
    """
    a, m = _flat(maps, masks)
    # Scaled first: sums of very small or very large maps would leave the range of floats.
    largest = a.max(axis=1, keepdims=True)
    positive = np.divide(np.maximum(a, 0), largest, out=np.ones_like(a), where=largest > 0)
    return np.asarray((positive * m).sum(axis=1) / positive.sum(axis=1))


def mask_iou(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """IoU of the mask and the top pixels of the map, as many as the mask has.

    With areas matched no threshold is chosen. Of m pixels, h inside, IoU = h / (2m − h); h / m is
    the relevance rank accuracy of Arras et al. 2022.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1]; pixels that tie with the last one taken count with the share of them
        that is taken, so that h is its expectation. NaN for an empty mask.
    """
    a, m = _flat(maps, masks)
    out = np.full(len(a), np.nan)
    for row, (values, inside) in enumerate(zip(a, m, strict=True)):
        size = int(inside.sum())
        if size:
            hits = _expected_hits(values, inside, size)
            out[row] = hits / (2 * size - hits)
    return out


def _expected_hits(values: Floats, inside: Bools, size: int) -> float:
    last = np.partition(values, len(values) - size)[len(values) - size]
    above, tied = values > last, values == last
    share = (size - above.sum()) / tied.sum()
    return float((above & inside).sum() + share * (tied & inside).sum())


def mask_auroc(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """AUROC of attributions for telling pixels inside from outside; ties count one half.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1]; 0.5 for a constant map; NaN if the mask is empty or holds all.
    """
    a, m = _flat(maps, masks)
    return np.array([auroc(y, s)[0] for s, y in zip(a, m, strict=True)], dtype=np.float64)


#: The mask checks by name.
MASK_CHECKS: dict[str, Callable[[ArrayLike, ArrayLike], Floats]] = {
    "pointing": pointing,
    "mask_mass": mask_mass,
    "mask_iou": mask_iou,
    "mask_auroc": mask_auroc,
}


def mask_chance(name: str, masks: ArrayLike) -> Floats:
    """Return what a constant map gets in a check, and a random one in expectation; shape (n,).

    For the IoU of a random map this is the IoU of the expected overlap.
    """
    share = area_share(masks)
    if name == "mask_auroc":
        return np.full(len(share), 0.5)
    return share / (2 - share) if name == "mask_iou" else share


def fit_mask(mask: NDArray[np.uint8], height: int, width: int) -> Bools:
    """Resize a mask, 0 to 255, to a map's size, each pixel as its nearest; above 127 is inside."""
    if mask.shape != (height, width):
        resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
        mask = np.asarray(resized)
    return np.asarray(mask > 127)


def _flat(maps: ArrayLike, masks: ArrayLike) -> tuple[Floats, Bools]:
    a, m = np.asarray(maps, dtype=np.float64), np.asarray(masks, dtype=bool)
    if a.ndim != 3 or a.shape != m.shape:
        raise ValueError(
            f"maps {a.shape} and masks {m.shape} do not belong together; both need shape (n, h, w)"
        )
    flat = (len(a), a.shape[1] * a.shape[2])
    return a.reshape(flat), m.reshape(flat)
