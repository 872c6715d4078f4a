"""What an audit has to know of every image: one look at the file, a few hundred bytes kept."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.decoding import decode
from probe.datasets.workers import worker_pool
from probe.errors import DatasetError
from probe.progress import progress_bar

__all__ = ["THUMB_SIDE", "Facts", "FileFacts", "contents", "jpeg_quality", "look", "look_at_all"]

#: Perceptual hashes have 8 × 8 bits: with more, noise decides those of smooth images.
HASH_SIDE = 8

#: Side of the gray thumbnails by which near duplicates are confirmed.
THUMB_SIDE = 16

#: Images looked at in one job of a worker process.
CHUNK = 256

#: Luminance table of the JPEG standard (ITU-T T.81, table K.1), sorted: files differ in the order.
_LUMINANCE = np.sort(
    [
        16,
        11,
        10,
        16,
        24,
        40,
        51,
        61,
        12,
        12,
        14,
        19,
        26,
        58,
        60,
        55,
        14,
        13,
        16,
        24,
        40,
        57,
        69,
        56,
        14,
        17,
        22,
        29,
        51,
        87,
        80,
        62,
        18,
        22,
        37,
        56,
        68,
        109,
        103,
        77,
        24,
        35,
        55,
        64,
        81,
        104,
        113,
        92,
        49,
        64,
        78,
        87,
        103,
        121,
        120,
        101,
        72,
        92,
        95,
        98,
        112,
        100,
        103,
        99,
    ]
)


def _tables() -> NDArray[np.int64]:
    """Compute the tables of qualities 1 to 100, shape (100, 64), as the group's encoder does."""
    quality = np.arange(1, 101)
    factor = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: NDArray[np.int64] = np.clip((_LUMINANCE * factor[:, None] + 50) // 100, 1, 255)
    return tables


_TABLES = _tables()


@dataclass(frozen=True)
class FileFacts:
    """What the header and the bytes of one image file say.

    Attributes
    ----------
    problem : str
        "missing", or why it cannot be decoded; empty if it can.
    digest : str
        BLAKE2b hash of the file, 16 bytes in hexadecimal.
    bytes : int
        Size of the file.
    width, height : int
        In pixels, as stored.
    format, mode : str
        Such as "JPEG" and "RGB".
    quality : float
        Estimated JPEG quality, 1 to 100; NaN for other formats.
    subsampling : str
        Sampling factors of a JPEG's components ("2x2,1x1,1x1"); empty for other formats.
    """

    problem: str = ""
    digest: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    quality: float = math.nan
    subsampling: str = ""


@dataclass(frozen=True)
class Facts:
    """Facts of many files, row by row.

    Attributes
    ----------
    table : pandas.DataFrame
        The columns of `FileFacts`, one row a file.
    hashes : numpy.ndarray
        Shape (n,), perceptual hashes of 64 bits; zero where there is a problem.
    thumbs : numpy.ndarray
        Shape (n, 256), gray thumbnails, 0 to 255.
    """

    table: pd.DataFrame
    hashes: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]


_Look = tuple[FileFacts, np.uint64, NDArray[np.uint8]]


def look(file: Path) -> _Look:
    """Read one file.

    Parameters
    ----------
    file : pathlib.Path
        An image.

    Returns
    -------
    FileFacts
        With the problem, where there is one; nothing is raised.
    numpy.uint64
        The perceptual hash (Zauner 2010: signs of the lowest DCT coefficients
        against their median), by the package ImageHash.
    numpy.ndarray
        Shape (256,), the gray thumbnail.
    """
    nothing = np.uint64(0), np.zeros(THUMB_SIDE**2, np.uint8)
    try:
        data = contents(file)
    except (FileNotFoundError, NotADirectoryError):
        return FileFacts("missing"), *nothing
    except OSError as error:
        return FileFacts(f"it cannot be read ({error.strerror})"), *nothing
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    try:
        pixels = decode(data, file.name).pixels
    except DatasetError as error:
        return FileFacts(str(error), digest, len(data)), *nothing
    image = Image.fromarray(pixels)
    bits = imagehash.phash(image, hash_size=HASH_SIDE).hash.ravel()
    thumb = image.convert("L").resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BILINEAR)
    return _header(data, digest), np.packbits(bits).view(np.uint64)[0], np.asarray(thumb).ravel()


def contents(file: Path) -> bytes:
    """Read a plain file.

    Raises
    ------
    OSError
        Also of a path that no system accepts, and of what is no plain file: opening a pipe would
        wait for ever.
    """
    try:
        plain = stat.S_ISREG(os.stat(file).st_mode)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error
    if not plain:
        raise OSError(errno.EINVAL, "it is no plain file")
    return file.read_bytes()


def _header(data: bytes, digest: str) -> FileFacts:
    with Image.open(io.BytesIO(data)) as image:
        tables = getattr(image, "quantization", None) or {}
        layers = getattr(image, "layer", None) or []
        return FileFacts(
            "",
            digest,
            len(data),
            *image.size,
            str(image.format),
            image.mode,
            jpeg_quality(tables[0]) if 0 in tables else math.nan,
            ",".join(f"{horizontal}x{vertical}" for _, horizontal, vertical, _ in layers),
        )


def jpeg_quality(table: Sequence[int]) -> float:
    """Estimate the quality that a JPEG was saved with from its luminance table.

    Parameters
    ----------
    table : sequence of int
        64 divisors, in any order.

    Returns
    -------
    float
        1 to 100 on the scale of the Independent JPEG Group; for other encoders' tables the
        nearest of that scale.
    """
    distance = np.abs(_TABLES - np.sort(table)).sum(axis=1)
    # Several qualities may give one table; the middle of them is meant.
    return float(np.mean(1 + np.flatnonzero(distance == distance.min())))


def look_at_all(files: Sequence[Path], n_workers: int = 1) -> Facts:
    """Read many files, with a progress bar.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Images.
    n_workers : int, default 1
        Processes.
    """
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    rows: list[FileFacts] = []
    hashes = np.zeros(len(files), np.uint64)
    thumbs = np.zeros((len(files), THUMB_SIDE**2), np.uint8)
    with progress_bar("audit", len(files)) as advance:
        for looks in _looks(chunks, min(n_workers, len(chunks))):
            for facts, bits, thumb in looks:
                hashes[len(rows)], thumbs[len(rows)] = bits, thumb
                rows.append(facts)
            advance(len(looks))
    names = [one.name for one in fields(FileFacts)]
    return Facts(pd.DataFrame([astuple(row) for row in rows], columns=names), hashes, thumbs)


def _looks(chunks: Sequence[Sequence[Path]], n_workers: int) -> Iterator[list[_Look]]:
    if n_workers <= 1:
        yield from map(_look_at, chunks)
        return
    with worker_pool(n_workers) as pool:
        yield from pool.map(_look_at, chunks)


def _look_at(files: Sequence[Path]) -> list[_Look]:
    return [look(file) for file in files]
