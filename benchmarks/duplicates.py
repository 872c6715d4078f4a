"""Near duplicates: how far copies and strangers are apart, and the search against all pairs."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from probe.datasets import Dataset, open_dataset
from probe.datasets.audit.duplicates import CORRELATION, RADIUS, near_pairs
from probe.datasets.audit.facts import THUMB_SIDE
from probe.datasets.lab import make


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def save(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

    return save


def resized(factor: float) -> Callable[[Image.Image], Image.Image]:
    def resize(image: Image.Image) -> Image.Image:
        size = round(image.width * factor), round(image.height * factor)
        return image.resize(size, Image.Resampling.BICUBIC)

    return resize


def brighter(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) * 0.9 + 20).clip(0, 255).astype(np.uint8))


COPIES = {
    "JPEG 95": jpeg(95),
    "JPEG 75": jpeg(75),
    "JPEG 40": jpeg(40),
    "JPEG 20": jpeg(20),
    "half the size": resized(0.5),
    "twice the size": resized(2),
    "brighter": brighter,
}


@dataclass(frozen=True)
class Measured:
    """Distances of copies and strangers, and seconds for the search.

    Attributes
    ----------
    images, searched : int
        How many images, and how many hashes the search was timed on.
    copies : dict
        How a copy was made to the largest distance in bits and the least correlation.
    strangers : tuple of float
        Pairs across splits within the radius, and the largest correlation among them and at all.
    brute, ours : float
        Seconds to find all near pairs: by comparing all with all, and by bands.
    """

    images: int
    searched: int
    copies: dict[str, tuple[int, float]]
    strangers: tuple[int, float, float]
    brute: float
    ours: float


def run(tiny: bool) -> None:
    if not tiny:
        show(measure(open_dataset("lab"), 40_000))
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = {"train": 8, "val": 8, "test": 8}
        show(measure(make(Path(folder) / "lab", size=32, counts=counts, n_workers=1), 2_000))


def measure(data: Dataset, searched: int, repeats: int = 1) -> Measured:
    """Measure on a dataset whose splits share nothing; the search on so many hashes."""
    images = [Image.fromarray(data.image(k)) for k in range(len(data))]
    hashes = np.array([_hash(image) for image in images])
    thumbs = np.stack([_thumb(image) for image in images])
    sides = np.unique(data.samples.table["split"], return_inverse=True)[1]
    copies = {}
    for name, change in COPIES.items():
        chosen = range(0, len(images), max(1, len(images) // 400))
        made = [(k, change(images[k])) for k in chosen]
        bits = max(int(np.bitwise_count(_hash(image) ^ hashes[k])) for k, image in made)
        copies[name] = bits, min(float(_thumb(image) @ thumbs[k]) for k, image in made)
    near = [float(thumbs[a] @ thumbs[b]) for a, b in near_pairs(hashes, sides, RADIUS)]
    across = (thumbs @ thumbs.T)[sides[:, None] != sides[None, :]]
    strangers = len(near), max(near, default=float("nan")), float(across.max())
    # For the search more of the same: the hashes with some bits turned over.
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(hashes), searched)
    many = hashes[drawn] ^ (
        rng.integers(0, 2**63, searched, dtype=np.uint64)
        & rng.integers(0, 2**63, searched, dtype=np.uint64)
    )
    brute_pairs, brute = _timed(lambda: all_pairs(many, sides[drawn], RADIUS), repeats)
    pairs, ours = _timed(lambda: near_pairs(many, sides[drawn], RADIUS), repeats)
    np.testing.assert_array_equal(pairs, brute_pairs)
    return Measured(len(images), searched, copies, strangers, brute, ours)


def _hash(image: Image.Image) -> np.uint64:
    bits = imagehash.phash(image, hash_size=8).hash.ravel()
    return np.packbits(bits).view(np.uint64)[0]


def _thumb(image: Image.Image) -> NDArray[np.float64]:
    small = image.convert("L").resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BILINEAR)
    gray = np.asarray(small, dtype=np.float64).ravel()
    gray = gray - gray.mean()
    return gray / max(float(np.linalg.norm(gray)), 1e-12)


def all_pairs(
    hashes: NDArray[np.uint64], sides: NDArray[np.int64], radius: int
) -> NDArray[np.int64]:
    """Compare every image with all that follow, a row at a time."""
    found = [np.empty((0, 2), np.int64)]
    for k in range(len(hashes)):
        near = np.bitwise_count(hashes[k + 1 :] ^ hashes[k]) <= radius
        others = k + 1 + np.flatnonzero(near & (sides[k + 1 :] != sides[k]))
        found.append(np.column_stack([np.full(len(others), k), others]))
    return np.concatenate(found)


def _timed(work: Callable[[], NDArray[np.int64]], repeats: int) -> tuple[NDArray[np.int64], float]:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return result, statistics.median(seconds)


def show(measured: Measured) -> None:
    console = Console(width=90)
    table = Table(title=f"{measured.images} images, copies against their originals")
    for heading in ("copy", "largest distance (of 64 bits)", "least correlation"):
        table.add_column(heading, justify="left" if heading == "copy" else "right")
    for name, (bits, correlation) in measured.copies.items():
        table.add_row(name, str(bits), f"{correlation:.4f}")
    console.print(table)
    count, near, highest = measured.strangers
    console.print(
        f"different images across splits: {count} pairs within {RADIUS} bits, correlation at most "
        f"{near:.3f} (of all pairs {highest:.3f}); the same from {CORRELATION}"
    )
    search = Table(title=f"all pairs of {measured.searched} hashes within {RADIUS} bits")
    for heading in ("", "seconds", "ratio"):
        search.add_column(heading, justify="right" if heading else "left")
    search.add_row("every image with all others", f"{measured.brute:.3f}", "1")
    ratio = measured.brute / measured.ours
    search.add_row("probe, by bands", f"{measured.ours:.3f}", f"{ratio:.1f}")
    console.print(search)
