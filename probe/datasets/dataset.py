"""`Samples` and `Dataset`: a table, the images behind it, and the card that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
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
    """A table of images: what they show, where they lie, which clusters they belong to.

    Attributes
    ----------
    table : pandas.DataFrame
        One row an image. Columns: ``sample`` (unique id), ``dataset``, ``split`` (train, val,
        test), ``label`` (0 real, 1 fake), ``method`` (the forgery; "real" for real images),
        ``video`` (unique over dataset and method), ``identity`` (who is seen; empty if unknown),
        ``source`` (who gave the face or drove it; empty if real or unknown), ``frame`` (index in
        the video), ``path`` and ``mask`` (relative to the dataset's root; empty mask if none).
        Readers may add columns; the lab adds doses and pairs.

    Raises
    ------
    DatasetError
        If a column is missing, a sample id stands twice, or a label or split is out of range.
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

    def where(self, **equal: Any) -> Samples:
        """Keep the rows whose columns equal the values given (a scalar or a collection)."""
        keep = np.ones(len(self), dtype=bool)
        for column, wanted in equal.items():
            values = [wanted] if isinstance(wanted, str | int) else list(wanted)
            keep &= self.table[column].isin(values).to_numpy()
        return Samples(self.table[keep])

    @property
    def labels(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        """Labels, shape (n,), 0 real and 1 fake."""
        return np.asarray(self.table["label"], dtype=np.int8)

    @property
    def clusters(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Cluster codes, shape (n,): the identity where it is known, else the video.

        Frames of one video and videos of one identity are not independent; every interval and
        every cross-validation is grouped by this.
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
        """Count the images of each "dataset/split/label" that occurs."""
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
            f"Sample id {twice.iloc[0]!r} stands {1 + int((twice == twice.iloc[0]).sum())} times "
            f"({len(twice)} repeats in all). Ids have to be unique; prefix them by dataset."
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
    """Images on disk under one root, described by `Samples` and a card.

    Attributes
    ----------
    name : str
        What the user called it ("lab:faceswap").
    samples : Samples
        One row an image.
    root : pathlib.Path
        Folder that ``path`` and ``mask`` are relative to.
    card : mapping
        Provenance that travels with every result: ``layout``, ``label_convention``, ``crop``
        (the rule by which faces were cut), ``license``, ``simulated``, versions.
    """

    name: str
    samples: Samples
    root: Path
    card: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> NDArray[np.int8]:
        """Labels, shape (n,), 0 real and 1 fake."""
        return self.samples.labels

    def select(self, **equal: Any) -> Dataset:
        """Keep the samples whose columns equal the values given, such as ``split="test"``.

        Raises
        ------
        DatasetError
            If nothing is left.
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
        """Keep the samples at these positions, in this order."""
        return replace(self, samples=Samples(self.samples.table.iloc[list(indices)]))

    def by_dataset(self) -> dict[str, Dataset]:
        """Split into the datasets it is composed of, in order of first appearance.

        Those that were joined have their own cards again.
        """
        names = list(dict.fromkeys(self.samples.table["dataset"]))
        own = {name: _card_of(self.card, name) or self.card for name in names}
        return {
            name: replace(self.select(dataset=name), name=name, card=own[name]) for name in names
        }

    def files(self) -> list[str]:
        """Return the whole path of every image, in the order of the samples."""
        root = os.path.abspath(self.root)
        return [os.path.join(root, str(path)) for path in self.samples.table["path"]]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read one image, shape (height, width, 3), RGB, 0 to 255, decoded by `DECODE_RULE`.

        Raises
        ------
        ImageError
            If the file is missing or cannot be decoded. Never replaced by another image.
        """
        return read_image(self._file("path", index)).pixels

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Read one forgery mask, shape (height, width), 0 to 255; None where there is none."""
        if not self.samples.table["mask"].iloc[index]:
            return None
        pixels = read_image(self._file("mask", index)).pixels
        return np.asarray(Image.fromarray(pixels).convert("L"))

    def batches(self, size: int, batch_size: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Iterate over images as detectors take them.

        Parameters
        ----------
        size : int
            Side of the square that detectors see; other sizes are resized by `resize`.
        batch_size : int
            Images a batch; the last may be smaller.

        Yields
        ------
        slice
            Positions of the batch.
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
        """Hash of what the samples are: ids, labels, splits, clusters and the files' bytes."""
        table = self.samples.table
        digest = hashlib.blake2b(digest_size=16)
        known = table["digest"].fillna("").astype(str) if "digest" in table else [""] * len(self)
        # Joined tables know the hash of some files only.
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
    """Find the card of a dataset that was joined, maybe more than once; None where it has none."""
    parts = card.get("parts") or {}
    if name in parts:
        return dict(parts[name])
    return next((found for one in parts.values() if (found := _card_of(one, name))), None)


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize to a square, stated rule: the whole image, bilinear with antialiasing, no crop.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (height, width, 3), 0 to 255.
    size : int
        Side of the square.

    Returns
    -------
    numpy.ndarray
        Shape (size, size, 3), 0 to 255; the same array where the size fits already.
    """
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def read_native(root: Path, name: str | None = None) -> Dataset:
    """Open a dataset that `write_native`, an ingest or the lab has written.

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
                "write it; run one of them first."
            )
    try:
        card = json.loads((root / CARD_FILE).read_text(encoding="utf-8"))
        table = pd.read_parquet(root / SAMPLES_FILE)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The dataset in {str(root)!r} is damaged: {error}. Make it again into an empty folder."
        ) from error
    return Dataset(name or str(card.get("name", root.name)), Samples(table), root, card)


def write_native(dataset: Dataset) -> None:
    """Write the samples and the card beside the images; the card last, so a kill leaves none."""
    dataset.root.mkdir(parents=True, exist_ok=True)
    partial = dataset.root / (SAMPLES_FILE + ".part")
    dataset.samples.table.to_parquet(partial, index=False)
    partial.replace(dataset.root / SAMPLES_FILE)
    text = json.dumps({"name": dataset.name, **dataset.card}, indent=2, sort_keys=True)
    partial = dataset.root / (CARD_FILE + ".part")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(dataset.root / CARD_FILE)


def by_name(datasets: Dataset | Iterable[Dataset]) -> dict[str, Dataset]:
    """Take datasets apart into those they are composed of, by name.

    Raises
    ------
    DatasetError
        If one stands twice.
    """
    parts: dict[str, Dataset] = {}
    for dataset in [datasets] if isinstance(datasets, Dataset) else datasets:
        for name, part in dataset.by_dataset().items():
            if name in parts:
                raise DatasetError(
                    f"Dataset {name!r} was given twice. Give each once, or one split of it."
                )
            parts[name] = part
    return parts


def concatenate(datasets: Sequence[Dataset], name: str) -> Dataset:
    """Join datasets into one; their paths become absolute, so roots may differ."""
    tables = []
    for one in datasets:
        table = one.samples.table.copy()
        for column in ("path", "mask"):
            table[column] = [str(one.root.resolve() / p) if p else "" for p in table[column]]
        tables.append(table)
    card = {"parts": {one.name: dict(one.card) for one in datasets}}
    return Dataset(name, Samples(pd.concat(tables, ignore_index=True)), Path("/"), card)
