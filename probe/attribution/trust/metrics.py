"""Checks on plain arrays, one value per image: masks, similarity, noise, and reference maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage, stats

from probe.stats import Floats, auroc

__all__ = [
    "LIKENESS",
    "MASK_CHECKS",
    "N_BINS",
    "area_share",
    "edge_maps",
    "fit_mask",
    "histogram_entropy",
    "mask_auroc",
    "mask_chance",
    "mask_iou",
    "mask_mass",
    "pointing",
    "random_maps",
    "relative_changes",
    "sensitivity",
    "shifted_maps",
    "spearman",
    "ssim",
]

#: Number of bins of the histogram entropy (Hedström et al. 2024).
N_BINS = 100


def ssim(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the structural similarity of maps (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    Magnitudes are compared, each divided by its largest value, so that scale and sign do not
    count: a map whose signs are reversed by a random head has the same structure. Uniform windows
    of 7 × 7, range 1.

    Parameters
    ----------
    first, second : array_like
        Shape (n, height, width).

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [−1, 1]; 1 for equal maps, including two that are all 0; NaN if a map is not
        finite.
    """
    from skimage.metrics import structural_similarity

    similarity: Any = structural_similarity
    out = []
    for a, b in _pairs(first, second):
        side = min(7, *a.shape)
        window = side - 1 + side % 2
        out.append(similarity(_scaled(a), _scaled(b), win_size=window, data_range=1.0))
    return _where_finite(out, first, second)


def spearman(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the rank correlation of the magnitudes of maps; ties share their mean rank.

    Parameters and result as in `ssim`; 1 for two constant maps, 0 if only one is constant.
    """
    out = [_correlation(np.abs(a).ravel(), np.abs(b).ravel()) for a, b in _pairs(first, second)]
    return _where_finite(out, first, second)


#: Similarities by the name used in checks.
LIKENESS: dict[str, Callable[[ArrayLike, ArrayLike], Floats]] = {"ssim": ssim, "spearman": spearman}


def histogram_entropy(maps: ArrayLike, n_bins: int = N_BINS) -> Floats:
    """Return the entropy of the histogram of each map's values, in nats (Hedström et al. 2024).

    Bins have equal width, from the map's smallest to its largest value, so that scale and offset do
    not count.

    Parameters
    ----------
    maps : array_like
        Shape (n, height, width).
    n_bins : int, default 100
        Number of bins.

    Returns
    -------
    numpy.ndarray
        Shape (n,), from 0 (constant) to ln n_bins; NaN if a map is not finite.
    """
    out = []
    for values in np.asarray(maps, dtype=np.float64):
        clean = np.nan_to_num(values.ravel(), nan=0.0, posinf=0.0, neginf=0.0)
        low, span = clean.min(), np.ptp(clean)
        # numpy.histogram rejects ranges that are small relative to the offset.
        place = (clean - low) / span * n_bins if span > 0 else np.zeros_like(clean)
        bins = np.minimum(place.astype(np.int64), n_bins - 1)
        out.append(float(stats.entropy(np.bincount(bins))))
    return _where_finite(out, maps, maps)


def _pairs(first: ArrayLike, second: ArrayLike) -> list[tuple[Floats, Floats]]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"maps {a.shape} and {b.shape} were given; both need shape (n, h, w)")
    return list(zip(a, b, strict=True))


def _scaled(values: Floats) -> Floats:
    clean = np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
    largest = clean.max()
    return clean / largest if largest > 0 else clean


def _correlation(a: Floats, b: Floats) -> float:
    constant = [bool((one == one[0]).all()) for one in (a, b)]
    if any(constant):
        return 1.0 if all(constant) else 0.0
    ranks = [stats.rankdata(np.nan_to_num(one)) for one in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _where_finite(values: list[float], *of: ArrayLike) -> Floats:
    out = np.asarray(values, dtype=np.float64)
    for maps in of:
        finite = np.isfinite(np.asarray(maps, dtype=np.float64))
        out = np.where(finite.reshape(len(finite), -1).all(axis=1), out, np.nan)
    return out


Bools = NDArray[np.bool_]


def area_share(masks: ArrayLike) -> Floats:
    """Return the share of pixels inside each mask, shape (n,), in [0, 1]."""
    inside = np.asarray(masks, dtype=bool)
    return np.asarray(inside.mean(axis=(1, 2)), dtype=np.float64)


def pointing(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """Return whether the largest value is inside the mask (Zhang et al. 2018, arXiv:1608.00507).

    There is no tolerance around the mask (the paper allows 15 pixels for boxes and points).

    Returns
    -------
    numpy.ndarray
        Shape (n,): 1 inside, 0 outside. If k pixels share the largest value, the share of them that
        is inside, which for a constant map is the mask's area share.
    """
    a, m = _flat(maps, masks)
    top = a == a.max(axis=1, keepdims=True)
    return np.asarray((top & m).sum(axis=1) / top.sum(axis=1))


def mask_mass(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """Return the share of positive attribution in the mask (Arras et al. 2022, arXiv:2003.07258).

    Negative attribution is evidence for "real" and is not used.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1]; the mask's area share if nothing is positive, because such a map
        points nowhere.
    """
    a, m = _flat(maps, masks)
    # Scaled first, because sums of very small or very large maps would overflow or underflow.
    largest = a.max(axis=1, keepdims=True)
    positive = np.divide(np.maximum(a, 0), largest, out=np.ones_like(a), where=largest > 0)
    return np.asarray((positive * m).sum(axis=1) / positive.sum(axis=1))


def mask_iou(maps: ArrayLike, masks: ArrayLike) -> Floats:
    """Return the IoU of the mask and equally many top pixels of the map.

    With equal areas no threshold is needed. With m pixels, h of them inside, IoU = h / (2m − h);
    h / m is the relevance rank accuracy of Arras et al. 2022.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1]. Pixels tied with the last top pixel count with the share of them that
        is taken, so that h is an expectation. NaN for an empty mask.
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
    """Return the AUROC of attributions for pixels inside against outside; ties count one half.

    Returns
    -------
    numpy.ndarray
        Shape (n,), in [0, 1]; 0.5 for a constant map; NaN if the mask is empty or covers all.
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
    """Return the value of a constant map, and the expected value of a random map; shape (n,).

    For the IoU of a random map this is the IoU of the expected overlap.
    """
    share = area_share(masks)
    if name == "mask_auroc":
        return np.full(len(share), 0.5)
    return share / (2 - share) if name == "mask_iou" else share


def fit_mask(mask: NDArray[np.uint8], height: int, width: int) -> Bools:
    """Resize a mask (0 to 255) to a map's size by nearest neighbor; above 127 is inside."""
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


def sensitivity(
    explain: Callable[[NDArray[np.float32]], ArrayLike],
    images: NDArray[np.float32],
    maps: ArrayLike,
    *,
    samples: ArrayLike | None = None,
    radius: float = 0.02,
    n_draws: int = 5,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Return largest and mean relative change under noise (Yeh et al. 2019, arXiv:1901.09392).

    Noise is uniform in [−radius, radius], independent per value, and images stay in [0, 1].
    Changes are relative, ‖Φ(x + δ) − Φ(x)‖ / ‖Φ(x)‖; in the paper they are absolute. The largest
    of `n_draws` is a lower bound of the maximum within the radius. A random method is run with the
    same seed each time, so that its own noise does not count.

    Parameters
    ----------
    explain : callable
        Maps images, shape (n, 3, height, width), to maps, shape (n, height, width).
    images, maps : array_like
        The images, and the result of `explain` for them.
    samples : array_like of int, optional
        Positions of the images in their dataset, which determine the noise of each image.
    radius : float, default 0.02
        Half-width of the noise; 0.02 is 5 of 255 gray levels.
    n_draws : int, default 5
        Number of noisy copies.
    seed : int, default 0
        Seed of the noise.

    Returns
    -------
    tuple of numpy.ndarray
        Largest and mean change, each of shape (n,), at least 0; NaN for a map that is all 0.
    """
    positions = np.arange(len(images)) if samples is None else np.asarray(samples)
    changes = []
    for draw in range(n_draws):
        noisy = np.stack(
            [
                image
                + np.random.default_rng((seed, draw, int(i))).uniform(-radius, radius, image.shape)
                for i, image in zip(positions, images, strict=True)
            ]
        )
        moved = explain(np.clip(noisy, 0, 1).astype(np.float32))
        changes.append(relative_changes(maps, moved))
    return np.max(changes, axis=0), np.mean(changes, axis=0)


def relative_changes(maps: ArrayLike, moved: ArrayLike) -> Floats:
    """Return Euclidean distances of maps / norm of the first; shape (n,), NaN for norm 0."""
    a, b = (np.asarray(one, dtype=np.float64) for one in (maps, moved))
    length = np.sqrt((a**2).sum(axis=(1, 2)))
    change = np.sqrt(((b - a) ** 2).sum(axis=(1, 2)))
    out: Floats = np.divide(change, length, out=np.full(len(a), np.nan), where=length > 0)
    return out


#: Luma weights of R, G and B (ITU-R BT.601), as used by Pillow.
LUMA = (0.299, 0.587, 0.114)


def edge_maps(images: ArrayLike) -> NDArray[np.float32]:
    """Return the magnitude of the Sobel gradient of the gray image.

    Parameters
    ----------
    images : array_like
        Shape (n, 3, height, width), RGB, in [0, 1].

    Returns
    -------
    numpy.ndarray
        Shape (n, height, width), not negative; borders are mirrored.
    """
    gray = np.tensordot(np.asarray(images, dtype=np.float64), LUMA, axes=(1, 0))
    # Filtered image by image; a filter over the whole array would mix images.
    slopes = [[ndimage.sobel(one, axis=axis, mode="reflect") for axis in (0, 1)] for one in gray]
    return np.asarray([np.hypot(dy, dx) for dy, dx in slopes], dtype=np.float32)


def random_maps(
    samples: ArrayLike, height: int, width: int, *, seed: int, draw: int = 0
) -> NDArray[np.float32]:
    """Return uniform noise in [0, 1), shape (n, height, width).

    Parameters
    ----------
    samples : array_like of int
        Positions of the images in their dataset. The noise of an image depends on its position,
        not on its batch.
    height, width : int
        Size of a map, in pixels.
    seed, draw : int
        Seed, and number of the draw.
    """
    return np.stack(
        [
            np.random.default_rng((seed, draw, int(i))).random((height, width), dtype=np.float32)
            for i in np.asarray(samples)
        ]
    )


def shifted_maps(
    maps: NDArray[np.float32], samples: ArrayLike, *, seed: int, draw: int = 0
) -> NDArray[np.float32]:
    """Shift each map cyclically by a random distance, down and to the right.

    The shift per axis is a quarter to three quarters of the side. Values, smoothness and number of
    peaks do not change, so that the result shows what smoothness alone achieves.

    Parameters
    ----------
    maps : numpy.ndarray
        Shape (n, height, width).
    samples, seed, draw
        As in `random_maps`.
    """
    out = np.empty_like(maps)
    for row, i in enumerate(np.asarray(samples)):
        rng = np.random.default_rng((seed, draw, int(i), 1))
        by = [int(rng.integers(side // 4, side - side // 4 + 1)) for side in maps.shape[1:]]
        out[row] = np.roll(maps[row], by, axis=(0, 1))
    return out
