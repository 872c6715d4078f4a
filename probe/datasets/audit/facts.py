"""What the checks look at: samples of all datasets, one look at every file, and the registry."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.audit.report import Finding, Measure
from probe.datasets.dataset import Dataset, Samples
from probe.datasets.decoding import decode
from probe.datasets.workers import worker_pool
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


@dataclass(frozen=True)
class Context:
    """Samples of all datasets in one table.

    Attributes
    ----------
    table : pandas.DataFrame
        The columns of `Samples`, those that ingest added, and ``file`` (whole path), ``row``
        (position of the file among the facts), ``space`` (whose names its persons have: the
        dataset's own, or that of the originals it shares), ``given`` (which of the datasets
        given it is of, by position), ``problem``, ``content`` (hash of the bytes as they are).
    facts : Facts
        One row a file; a file that several samples use stands once.
    reals : mapping
        From datasets of fakes to the dataset of their originals.
    """

    table: pd.DataFrame
    facts: Facts
    reals: Mapping[str, str]

    @cached_property
    def readable(self) -> pd.DataFrame:
        """The samples whose file can be decoded."""
        return self.table[self.table["problem"] == ""]

    def parts(self, table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
        """Iterate over the datasets in a table, fakes together with their originals."""
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
    """Look at all files of some datasets."""
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
    """Say of each dataset whose originals it shares, also where data were joined of sources.

    A joined table holds a dataset's originals under the dataset's own name; the card of its source
    still says where they are from, so that shared originals are not taken for copies.
    """
    if "parts" not in data.card:
        return dict(data.card.get("reals") or {})
    out = {}
    for name, card in data.card["parts"].items():
        shared = dict(card.get("reals") or {})
        # A dataset that the study renamed has the originals that all parts of its source share.
        common = set(shared.values())
        found = shared.get(name) or (common.pop() if len(common) == 1 else "")
        if found:
            out[str(name)] = str(found)
    return out


def clusters(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return cluster codes of some samples: the identity where it is known, else the video."""
    return Samples(table.assign(sample=np.arange(len(table)).astype(str))).clusters


def named(values: Iterable[Any], most: int = 5) -> tuple[str, ...]:
    """Return the first few different values as text."""
    return tuple(dict.fromkeys(str(value) for value in values))[:most]


#: From the context to findings and to the numbers behind them.
Check = Callable[[Context], Iterator[Finding | Measure]]

#: Checks by name, in the order in which they are run.
CHECKS: Registry[Check] = Registry("check")
