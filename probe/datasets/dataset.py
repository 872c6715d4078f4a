"""`Samples` and `Dataset`: a sample table, its image files, and a card with their provenance."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.decoding import missing_image, read_image
from probe.errors import DatasetError
from probe.schema import SAMPLE_COLUMNS, SPLITS

__all__ = [
    "CARD_FILE",
    "Dataset",
    "SAMPLES_FILE",
    "Samples",
    "by_name",
    "concatenate",
    "read_native",
    "write_native",
]


@dataclass(frozen=True)
class Samples:
    """A table of images with their labels, splits, identities and file paths.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per image. Columns: ``sample`` (unique id), ``dataset``, ``split`` (train, val,
        test), ``label`` (0 real, 1 fake), ``method`` (forgery method; "real" for real images),
        ``video`` (unique within dataset and method), ``identity`` (person shown; empty if
        unknown), ``source`` (person whose face or motion was used for the forgery; empty if real
        or unknown), ``frame`` (index in the video), ``path`` and ``mask`` (relative to the
        dataset's root; the mask is empty if there is none). Readers may add columns; the lab adds
        doses and pairs.

    Raises
    ------
    DatasetError
        If a column is missing, a sample id is repeated, or a label or split is not allowed.

    Examples
    --------
    >>> import probe
    >>> probe.open_dataset("crops").samples
    <Samples: 336 images of deepfakes, faceswap, neuraltextures, 168 real, 168 fake>
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [name for name in SAMPLE_COLUMNS if name not in self.table.columns]
        if missing:
            raise DatasetError(
                f"The sample table has no column {', '.join(map(repr, missing))}. It needs "
                f"{', '.join(SAMPLE_COLUMNS)}; add what is missing (empty text where unknown)."
            )
        object.__setattr__(self, "table", _normalized(self.table))
        _check_values(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        """Say how many images of which datasets there are."""
        return f"<Samples: {self._said()}>"

    def _said(self) -> str:
        names = [str(name) for name in self.table["dataset"].unique()]
        fakes = int(self.labels.sum())
        of = f" of {', '.join(names[:6])}{', …' if len(names) > 6 else ''}" if names else ""
        return f"{len(self):,} images{of}, {len(self) - fakes:,} real, {fakes:,} fake"

    def where(self, **equal: Any) -> Samples:
        """Return the rows whose columns equal the given values (each a scalar or a collection)."""
        keep = np.ones(len(self), dtype=bool)
        for column, wanted in equal.items():
            values = [wanted] if isinstance(wanted, str | int) else list(wanted)
            keep &= self.table[column].isin(values).to_numpy()
        return Samples(self.table[keep])

    @property
    def labels(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        """Labels, shape (n,): 0 for real, 1 for fake."""
        return np.asarray(self.table["label"], dtype=np.int8)

    @property
    def clusters(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Cluster codes, shape (n,): by identity where it is known, else by video.

        Frames of one video and videos of one identity are not independent. Every confidence
        interval and every cross-validation is grouped by these clusters.
        """
        identity = self.table["identity"].to_numpy(dtype=object)
        video = self.table["video"].to_numpy(dtype=object)
        dataset = self.table["dataset"].to_numpy(dtype=object)
        keys = [
            f"{d}|id|{i}" if i else f"{d}|video|{v}"
            for d, i, v in zip(dataset, identity, video, strict=True)
        ]
        return np.asarray(pd.factorize(np.asarray(keys, dtype=object))[0], dtype=np.int64)

    def counts(self) -> Mapping[str, int]:
        """Return the number of images for each "dataset/split/label" that occurs."""
        rows = zip(*(self.table[name] for name in ("dataset", "split", "label")), strict=True)
        return dict(
            sorted(Counter(f"{d}/{s}/{'fake' if y else 'real'}" for d, s, y in rows).items())
        )


def _normalized(table: pd.DataFrame) -> pd.DataFrame:
    out = table.reset_index(drop=True).copy()
    for name, dtype in SAMPLE_COLUMNS.items():
        if dtype == "str":
            out[name] = out[name].fillna("").astype(str)
        else:
            out[name] = out[name].to_numpy().astype(np.dtype(dtype))
    return out


def _check_values(table: pd.DataFrame) -> None:
    twice = table["sample"][table["sample"].duplicated()]
    if len(twice):
        raise DatasetError(
            f"Sample id {twice.iloc[0]!r} occurs {1 + int((twice == twice.iloc[0]).sum())} times "
            f"({len(twice)} repeats in all). Ids must be unique; prefix them with the dataset. If "
            "two datasets of one name were joined, open one as open_dataset(..., name=...) or "
            "NAME=FOLDER."
        )
    wrong = sorted(set(table["label"]) - {0, 1})
    if wrong:
        raise DatasetError(f"Labels {wrong} were given; allowed are 0 (real) and 1 (fake).")
    splits = sorted(set(table["split"]) - set(SPLITS))
    if splits:
        raise DatasetError(f"Splits {splits} were given; allowed are {', '.join(SPLITS)}.")


SAMPLES_FILE = "samples.parquet"
CARD_FILE = "dataset.json"


@dataclass(frozen=True)
class Dataset:
    """Images on disk under one root folder, described by `Samples` and a card.

    Attributes
    ----------
    name : str
        Name under which it was opened, such as "lab:faceswap".
    samples : Samples
        Sample table with one row per image.
    root : pathlib.Path
        Folder that ``path`` and ``mask`` are relative to.
    card : mapping
        Provenance, stored with every result: ``layout``, ``label_convention``, ``crop`` (how
        faces were cropped), ``license``, ``simulated``, versions.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> data
    <Dataset 'lab': 240 images of deepfakes, faceswap, neuraltextures, 120 real, 120 fake>
    >>> data.select(dataset="faceswap", label=1)
    <Dataset 'lab': 40 images of faceswap, 0 real, 40 fake>
    >>> data.image(0).shape
    (64, 64, 3)
    """

    name: str
    samples: Samples
    root: Path
    card: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Say how many images of which datasets there are."""
        return f"<Dataset {self.name!r}: {self.samples._said()}>"

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> NDArray[np.int8]:
        """Labels, shape (n,): 0 for real, 1 for fake."""
        return self.samples.labels

    def select(self, **equal: Any) -> Dataset:
        """Return the samples whose columns equal the given values, such as ``split="test"``.

        Raises
        ------
        DatasetError
            If no sample matches.
        """
        kept = self.samples.where(**equal)
        if not len(kept):
            wanted = ", ".join(f"{key}={value!r}" for key, value in equal.items())
            raise DatasetError(
                f"Dataset {self.name!r} has no sample with {wanted}. It holds: "
                f"{', '.join(f'{k} ({n})' for k, n in self.samples.counts().items())}."
            )
        return replace(self, samples=kept)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """Return the samples at these positions, in this order."""
        return replace(self, samples=Samples(self.samples.table.iloc[list(indices)]))

    def by_dataset(self) -> dict[str, Dataset]:
        """Split by the column ``dataset``, in order of first appearance.

        Datasets that were joined by `concatenate` get their own cards back.
        """
        names = list(dict.fromkeys(self.samples.table["dataset"]))
        own = {name: _card_of(self.card, name) or self.card for name in names}
        return {
            name: replace(self.select(dataset=name), name=name, card=own[name]) for name in names
        }

    def files(self) -> list[str]:
        """Return the absolute path of every image, in the order of the samples."""
        root = os.path.abspath(self.root)
        return [os.path.join(root, str(path)) for path in self.samples.table["path"]]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read one image, shape (height, width, 3), RGB, 0 to 255, decoded as in `DECODE_RULE`.

        Raises
        ------
        ImageError
            If the file is missing or cannot be decoded. No other image is used instead.
        """
        return read_image(self._file("path", index)).pixels

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Read one forgery mask, shape (height, width), 0 to 255; None where there is none."""
        if not self.samples.table["mask"].iloc[index]:
            return None
        pixels = read_image(self._file("mask", index)).pixels
        return np.asarray(Image.fromarray(pixels).convert("L"))

    def batches(self, size: int, batch_size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Iterate over batches of images in the format of a detector's input.

        Parameters
        ----------
        size : int
            Side of the square input in pixels; images of other sizes are resized by `resize`.
        batch_size : int
            Images per batch; the last batch may be smaller.

        Yields
        ------
        slice
            Positions of the batch's samples.
        numpy.ndarray
            Shape (batch, 3, size, size), RGB, in [0, 1].
        """
        for start in range(0, len(self), batch_size):
            where = slice(start, min(start + batch_size, len(self)))
            yield where, self.array(range(where.start, where.stop), size)

    def array(self, indices: Sequence[int] | range, size: int) -> NDArray[np.float32]:
        """Read images into one array, shape (n, 3, size, size), RGB, in [0, 1]."""
        out = np.empty((len(indices), 3, size, size), dtype=np.float32)
        for row, index in enumerate(indices):
            out[row] = resize(self.image(index), size).transpose(2, 0, 1)
        out /= 255.0
        return out

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the samples: ids, datasets, splits, labels, identities, videos and file bytes."""
        table = self.samples.table
        digest = hashlib.blake2b(digest_size=16)
        known = table["digest"].fillna("").astype(str) if "digest" in table else [""] * len(self)
        # Joined tables may hold the digests of only some files.
        digests = [given or self._digest(i) for i, given in enumerate(known)]
        for row in zip(
            table["sample"],
            table["dataset"],
            table["split"],
            table["label"],
            table["identity"],
            table["video"],
            digests,
            strict=True,
        ):
            digest.update("\x1f".join(map(str, row)).encode() + b"\x1e")
        return digest.hexdigest()

    def _digest(self, index: int) -> str:
        file = self._file("path", index)
        try:
            return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
        except OSError as error:
            raise missing_image(file, error) from error

    def _file(self, column: str, index: int) -> Path:
        return self.root / str(self.samples.table[column].iloc[index])


def _card_of(card: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the card of a joined dataset, searched through nested joins; None if there is none."""
    parts = card.get("parts") or {}
    if name in parts:
        return dict(parts[name])
    return next((found for one in parts.values() if (found := _card_of(one, name))), None)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize the whole image to a square: bilinear with antialiasing, without cropping.

    Parameters
    ----------
    image : numpy.ndarray
        Image of shape (height, width, 3), 0 to 255.
    size : int
        Side of the square in pixels.

    Returns
    -------
    numpy.ndarray
        Shape (size, size, 3), 0 to 255; the input array itself if it has this size already.
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def read_native(root: Path, name: str | None = None) -> Dataset:
    """Open a dataset folder that was written by `write_native`, `ingest` or the lab.

    Raises
    ------
    DatasetError
        If the folder or one of its two files is missing or cannot be read.
    """
    root = Path(root)
    for file in (root / SAMPLES_FILE, root / CARD_FILE):
        if not file.is_file():
            raise DatasetError(
                f"{str(root)!r} is not a dataset: {file.name} is missing. A dataset is a folder "
                f"with {SAMPLES_FILE} and {CARD_FILE}, as `probe ingest` and `probe lab make` "
                "write it; run one of them first (`probe ingest auto FOLDER OUT`, with --splits "
                "none for images that are only to be tested)."
            )
    try:
        card = json.loads((root / CARD_FILE).read_text(encoding="utf-8"))
        table = pd.read_parquet(root / SAMPLES_FILE)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The dataset in {str(root)!r} is damaged: {error}. Create it again in an empty folder."
        ) from error
    return Dataset(name or str(card.get("name", root.name)), Samples(table), root, card)


def write_native(dataset: Dataset) -> None:
    """Write the sample table and the card to the dataset's root.

    The card is written last, so that an interrupted write leaves no folder that looks complete.
    """
    dataset.root.mkdir(parents=True, exist_ok=True)
    partial = dataset.root / (SAMPLES_FILE + ".part")
    dataset.samples.table.to_parquet(partial, index=False)
    partial.replace(dataset.root / SAMPLES_FILE)
    text = json.dumps({"name": dataset.name, **dataset.card}, indent=2, sort_keys=True)
    partial = dataset.root / (CARD_FILE + ".part")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(dataset.root / CARD_FILE)


#: Names of datasets that may be given; they become part of file names.
NAME = re.compile(r"[\w.+-]+(?: [\w.+-]+)*")


def require_name(name: str) -> None:
    """Raise `DatasetError` unless a name that was given to a dataset can be used."""
    if not NAME.fullmatch(name) or set(name) <= {"."}:
        raise DatasetError(
            f"The name {name!r} was given to a dataset; allowed are letters, digits, spaces and "
            "_-.+ (it becomes part of file names)."
        )


def moved(original: str, names: Mapping[str, str]) -> str:
    """Return the key of an original video, "dataset/video", after datasets were renamed."""
    dataset, sign, video = original.partition("/")
    return f"{names.get(dataset, dataset)}/{video}" if sign else original


def by_name(datasets: Dataset | Iterable[Dataset]) -> dict[str, Dataset]:
    """Return the single datasets that the given datasets consist of, keyed by name.

    Raises
    ------
    DatasetError
        If a name occurs twice.
    """
    parts: dict[str, Dataset] = {}
    for dataset in [datasets] if isinstance(datasets, Dataset) else datasets:
        for name, part in dataset.by_dataset().items():
            if name in parts:
                raise DatasetError(
                    f"Dataset {name!r} was given twice. Give each once, or one split of it; if "
                    "these are two sets of one name, open one as open_dataset(..., name=...) or "
                    "NAME=FOLDER."
                )
            parts[name] = part
    return parts


def concatenate(datasets: Sequence[Dataset], name: str) -> Dataset:
    """Join datasets into one named `name`; paths become absolute, so the roots may differ."""
    tables = []
    for one in datasets:
        table = one.samples.table.copy()
        for column in ("path", "mask"):
            table[column] = [str(one.root.resolve() / p) if p else "" for p in table[column]]
        tables.append(table)
    card = {"parts": {one.name: dict(one.card) for one in datasets}}
    return Dataset(name, Samples(pd.concat(tables, ignore_index=True)), Path("/"), card)
