"""Input of the checks: samples of all datasets and facts about every file; registry of checks."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.audit.report import Finding, Measure
from probe.datasets.dataset import Dataset, Samples
from probe.datasets.decoding import decode
from probe.datasets.work import worker_pool
from probe.errors import DatasetError
from probe.progress import progress_bar
from probe.registry import Registry

__all__ = [
    "CHECKS",
    "Check",
    "Context",
    "Facts",
    "FileFacts",
    "THUMB_SIDE",
    "contents",
    "jpeg_quality",
    "look",
    "look_at_all",
    "named",
    "originals_of",
]

#: Perceptual hashes have 8 × 8 bits: with more bits, those of smooth images depend on noise.
HASH_SIDE = 8

#: Side in pixels of the gray thumbnails that confirm near duplicates.
THUMB_SIDE = 16

#: Images per job of a worker process.
CHUNK = 256

#: Luminance table of the JPEG standard (ITU-T T.81, table K.1); sorted, as orders differ in files.
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
    """Return the tables of qualities 1 to 100 of the Independent JPEG Group, shape (100, 64)."""
    quality = np.arange(1, 101)
    factor = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: NDArray[np.int64] = np.clip((_LUMINANCE * factor[:, None] + 50) // 100, 1, 255)
    return tables


_TABLES = _tables()


@dataclass(frozen=True)
class FileFacts:
    """Facts about one image file, from its bytes and its header.

    Attributes
    ----------
    problem : str
        "missing", or why the file cannot be decoded; empty if it can.
    digest : str
        BLAKE2b hash of the file, 16 bytes in hexadecimal.
    bytes : int
        Size of the file in bytes.
    width, height : int
        Size of the image in pixels, as stored.
    format, mode : str
        Image format and mode, such as "JPEG" and "RGB".
    quality : float
        Estimated JPEG quality, 1 to 100; NaN for other formats.
    subsampling : str
        Sampling factors of a JPEG's components ("2x2,1x1,1x1"); empty for other formats.
    sharpness : float
        Variance of the Laplacian of the gray image, at its own size; NaN if there is a problem.
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
    sharpness: float = math.nan


@dataclass(frozen=True)
class Facts:
    """Facts about many files.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per file, with the columns of `FileFacts`.
    hashes : numpy.ndarray
        Perceptual hashes of 64 bits, shape (n,); zero if there is a problem.
    thumbs : numpy.ndarray
        Gray thumbnails, 0 to 255, shape (n, 256).
    """

    table: pd.DataFrame
    hashes: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]


_Look = tuple[FileFacts, np.uint64, NDArray[np.uint8]]


def look(file: Path) -> _Look:
    """Return the facts, perceptual hash and thumbnail of one image file.

    Parameters
    ----------
    file : pathlib.Path
        Image file.

    Returns
    -------
    FileFacts
        Facts about the file; problems are recorded in it, not raised.
    numpy.uint64
        Perceptual hash (Zauner 2010: signs of the lowest DCT coefficients relative to their
        median), computed by the package ImageHash.
    numpy.ndarray
        Gray thumbnail, shape (256,).
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
    facts = replace(_header(data, digest), sharpness=_sharpness(pixels))
    return facts, np.packbits(bits).view(np.uint64)[0], np.asarray(thumb).ravel()


def _sharpness(pixels: NDArray[np.uint8]) -> float:
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def contents(file: Path) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    OSError
        If the file cannot be read, its path is invalid, or it is not a regular file: opening a
        pipe would wait forever.
    """
    try:
        plain = stat.S_ISREG(os.stat(file).st_mode)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error
    if not plain:
        raise OSError(errno.EINVAL, "it is not a regular file")
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
    """Estimate the quality of a JPEG from its luminance table.

    Parameters
    ----------
    table : sequence of int
        The 64 entries of the quantization table, in any order.

    Returns
    -------
    float
        Quality from 1 to 100 on the scale of the Independent JPEG Group; for tables of other
        encoders, the nearest quality on that scale.
    """
    distance = np.abs(_TABLES - np.sort(table)).sum(axis=1)
    # Several qualities may have the same table; their mean is returned.
    return float(np.mean(1 + np.flatnonzero(distance == distance.min())))


def look_at_all(files: Sequence[Path], n_workers: int = 1) -> Facts:
    """Return the facts of many image files, with a progress bar.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Image files.
    n_workers : int, default 1
        Number of processes.
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


@dataclass(frozen=True)
class Context:
    """The samples of all datasets in one table, with the facts about their files.

    Attributes
    ----------
    table : pandas.DataFrame
        The columns of `Samples` and of the ingest, and: ``file`` (full path), ``mask_file``,
        ``row`` (row of the file in `facts`), ``space`` (dataset whose identity names are used:
        that of the shared originals, else the dataset itself), ``given`` (index of the dataset
        among those given), ``problem`` and ``content`` (hash of the file on disk).
    facts : Facts
        One row per file; a file used by several samples has one row.
    reals : mapping
        Forgery dataset to the dataset of its originals.
    """

    table: pd.DataFrame
    facts: Facts
    reals: Mapping[str, str]

    @cached_property
    def readable(self) -> pd.DataFrame:
        """The samples whose file can be decoded."""
        return self.table[self.table["problem"] == ""]

    def parts(self, table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
        """Yield the datasets in a table with their names, fakes together with their originals."""
        names = list(dict.fromkeys(table["dataset"]))
        originals = {real for fake, real in self.reals.items() if fake in names}
        for name in names:
            own = table[table["dataset"] == name]
            if name in self.reals:
                shared = (table["dataset"] == self.reals[name]) & (table["label"] == 0)
                yield name, pd.concat([table[shared], own])
            elif name not in originals:
                yield name, own


def gather(datasets: Sequence[Dataset], n_workers: int) -> Context:
    """Read all files of the datasets and return the input of the checks."""
    tables, reals = [], dict[str, str]()
    for position, one in enumerate(datasets):
        shared = originals_of(one)
        reals |= dict(one.card.get("reals") or {})
        table = one.samples.table.copy()
        table["given"] = position
        table["file"] = [str(one.root / path) for path in table["path"]]
        table["space"] = [shared.get(name, name) for name in table["dataset"]]
        table["mask_file"] = [str(one.root / mask) if mask else "" for mask in table["mask"]]
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    rows, files = pd.factorize(table["file"])
    facts = look_at_all([Path(file) for file in files], n_workers)
    table["row"] = rows
    table["problem"] = facts.table["problem"].to_numpy()[rows]
    table["content"] = facts.table["digest"].to_numpy()[rows]
    return Context(table, facts, reals)


def originals_of(data: Dataset) -> dict[str, str]:
    """Return for each dataset the dataset of its shared originals, also for joined data.

    In a joined table, the originals have the name of the forgery dataset. The card of the source
    still names their dataset, so that shared originals are not reported as copies.
    """
    if "parts" not in data.card:
        return dict(data.card.get("reals") or {})
    out = {}
    for name, card in data.card["parts"].items():
        shared = dict(card.get("reals") or {})
        # A dataset renamed by the study has the originals shared by all parts of its source.
        common = set(shared.values())
        found = shared.get(name) or (common.pop() if len(common) == 1 else "")
        if found:
            out[str(name)] = str(found)
    return out


def clusters(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the cluster codes of samples: by identity where it is known, else by video."""
    return Samples(table.assign(sample=np.arange(len(table)).astype(str))).clusters


def named(values: Iterable[Any], most: int = 5) -> tuple[str, ...]:
    """Return the first few distinct values as text."""
    return tuple(dict.fromkeys(str(value) for value in values))[:most]


#: Function from a context to findings and measures.
Check = Callable[[Context], Iterator[Finding | Measure]]

#: Checks by name, in the order in which they are run.
CHECKS: Registry[Check] = Registry("check")
