"""Thumbnails of a run's images in the run folder, shown where the images are not available."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from probe.datasets.dataset import Dataset
from probe.datasets.decoding import decode
from probe.errors import ImageError, StoreError
from probe.images import token_of
from probe.progress import progress_bar

__all__ = ["SIDE", "Thumbnails", "write_thumbnails"]

#: Longest side in pixels: twice the size shown in rows of pages, for high-density screens.
SIDE = 256

#: WebP quality: 6 to 10 kB per image of a face.
QUALITY = 80

#: Maximum size of a member that is read, in bytes; thumbnails are far smaller.
_MOST_BYTES = 1_000_000


class Thumbnails:
    """Thumbnails of images and masks: an uncompressed ZIP file of WebP and PNG files by token.

    Parameters
    ----------
    file : pathlib.Path
        The ZIP file; a missing file counts as empty.

    Raises
    ------
    StoreError
        If the file is damaged.
    """

    def __init__(self, file: Path) -> None:
        self._archive: zipfile.ZipFile | None = None
        if file.is_file():
            try:
                self._archive = zipfile.ZipFile(file)
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise StoreError(
                    f"The thumbnails {str(file)!r} are damaged ({error}). Remove the file, and "
                    "run the command of the run again."
                ) from error
        self._members: Mapping[str, zipfile.ZipInfo] = (
            {one.filename: one for one in self._archive.infolist()} if self._archive else {}
        )

    def __len__(self) -> int:
        return sum(name.endswith(".webp") for name in self._members)

    def __contains__(self, token: str) -> bool:
        return f"{token}.webp" in self._members

    def image(self, token: str) -> NDArray[np.uint8] | None:
        """Return the thumbnail of an image, at most `SIDE` pixels a side, RGB; None without one.

        Raises
        ------
        ImageError
            If it cannot be decoded.
        """
        return self._read(f"{token}.webp")

    def mask(self, token: str) -> NDArray[np.uint8] | None:
        """Return the forgery mask, 0 or 255, at the thumbnail's size; None if there is none.

        Raises
        ------
        ImageError
            If it cannot be decoded.
        """
        pixels = self._read(f"{token}.png")
        return None if pixels is None else pixels[..., 0]

    def _read(self, name: str) -> NDArray[np.uint8] | None:
        one = self._members.get(name)
        if one is None or self._archive is None:
            return None
        # A run from an untrusted source may hold a zip bomb.
        if one.compress_type != zipfile.ZIP_STORED or one.file_size > _MOST_BYTES:
            raise ImageError(f"The thumbnail {name!r} was not written by a study.")
        try:
            content = self._archive.read(one)
        except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as e:
            raise ImageError(f"The thumbnail {name!r} is damaged ({e}).") from e
        return decode(content, name).pixels


def write_thumbnails(file: Path, data: Dataset, rows: Sequence[int]) -> int:
    """Write thumbnails of images completely or not at all; a file that holds them all is kept.

    Parameters
    ----------
    file : pathlib.Path
        Output file; its content is replaced by these images.
    data : Dataset
        The images.
    rows : sequence of int
        Positions of the images in `data`.

    Returns
    -------
    int
        Number of images that were decoded; 0 if the file was kept.

    Raises
    ------
    ImageError
        If an image cannot be read.
    """
    names = data.samples.table["sample"]
    wanted = {token_of(str(names.iloc[row])): row for row in rows}
    there, made = Thumbnails(file), 0
    if len(there) == len(wanted) and all(token in there for token in wanted):
        return 0
    partial = file.with_name(file.name + ".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive,
        progress_bar("write thumbnails", len(wanted)) as advance,
    ):
        for token, row in wanted.items():
            archive.writestr(f"{token}.webp", _small(Image.fromarray(data.image(row)), "WEBP"))
            mask = data.mask(row)
            if mask is not None:
                outlined = Image.fromarray(mask).point(lambda value: 255 * (value > 127))
                archive.writestr(f"{token}.png", _small(outlined.convert("1"), "PNG"))
            made += 1
            advance(1)
    partial.replace(file)
    return made


def _small(image: Image.Image, format: str) -> bytes:
    # Nearest neighbor keeps masks black and white.
    how = Image.Resampling.NEAREST if format == "PNG" else Image.Resampling.LANCZOS
    image.thumbnail((SIDE, SIDE), how)
    out = BytesIO()
    image.save(out, format, **({"quality": QUALITY} if format == "WEBP" else {}))
    return out.getvalue()
