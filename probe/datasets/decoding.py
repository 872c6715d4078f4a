"""Decoding of images to 8-bit RGB by one documented rule; every conversion is reported."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from probe.errors import ImageError

__all__ = ["DECODE_RULE", "FORMATS", "Decoded", "decode", "missing_image", "read_image"]

#: Formats that are read, detected by content, not by file name.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")

DECODE_RULE = (
    "Pillow to 8-bit RGB. The EXIF orientation is applied; 16-bit values are divided by 257; gray "
    "is repeated in three channels; CMYK and palettes are converted; an alpha channel is dropped "
    "without blending; of several pages or frames in one file the first is taken."
)

_REMEDY = "No other image is used instead: restore the file, or remove its row from the table."

_SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes
    ----------
    pixels : numpy.ndarray
        Pixels of shape (height, width, 3), RGB, 0 to 255.
    format : str
        Format of the file, one of `FORMATS`.
    conversions : tuple of str
        Conversions that were applied ("16-bit gray to 8-bit RGB"); empty for 8-bit RGB.
    """

    pixels: NDArray[np.uint8]
    format: str
    conversions: tuple[str, ...] = ()


def decode(data: bytes, name: str) -> Decoded:
    """Decode an image to 8-bit RGB, as described in `DECODE_RULE`.

    Parameters
    ----------
    data : bytes
        Content of the file.
    name : str
        Name of the file, for messages; the format is not taken from its suffix.

    Returns
    -------
    Decoded
        Pixels, format and conversions.

    Raises
    ------
    ImageError
        If the file is empty, truncated, of another format or larger than Pillow's safe limit.
    """
    if not data:
        raise ImageError(f"The image {name!r} is empty (zero bytes).")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            return _decoded(image, name)
    # Pillow's readers raise many kinds of exception for damaged files.
    except Exception as error:
        raise ImageError(f"The image {name!r} cannot be decoded ({_said(error)}).") from error


def read_image(file: Path) -> Decoded:
    """Read and decode an image file.

    Raises
    ------
    ImageError
        If the file is missing or cannot be decoded. No other image is used instead.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise missing_image(file, error) from error
    try:
        return decode(data, str(file))
    except ImageError as error:
        raise ImageError(f"{error} {_REMEDY}") from error


def missing_image(file: Path, error: OSError) -> ImageError:
    """Return the error for an image file that cannot be opened."""
    state = "cannot be read" if file.exists() else "is missing"
    return ImageError(f"The image {str(file)!r} {state} ({error.strerror}). {_REMEDY}")


def _said(error: Exception) -> str:
    # Pillow's message contains the buffer's address, which differs between runs.
    text = str(error).split(" <_io.BytesIO")[0]
    return text or type(error).__name__


def _decoded(image: Image.Image, name: str) -> Decoded:
    found = str(image.format)
    conversions = []
    expected = _SUFFIXES.get(Path(name).suffix.lower())
    if expected and expected != found:
        conversions.append(f"named {Path(name).suffix}, but {found}")
    if getattr(image, "n_frames", 1) > 1:
        conversions.append("first of several frames")
    upright = ImageOps.exif_transpose(image)
    if upright.size != image.size or _turned(image):
        conversions.append("turned by its EXIF orientation")
    pixels, how = _to_rgb(upright)
    return Decoded(pixels, found, (*conversions, how) if how else tuple(conversions))


def _turned(image: Image.Image) -> bool:
    return image.getexif().get(0x0112, 1) not in (0, 1)


def _to_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """Return the pixels as 8-bit RGB and the conversion that was applied, or ""."""
    if image.mode == "RGB":
        return np.asarray(image), ""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("integers beyond 16 bits are not gray levels")
        gray = ((values + 128) // 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2), "16-bit gray to 8-bit RGB"
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if "transparency" in image.info and image.mode != "RGBA":
        image = image.convert("RGBA")
    how = "alpha dropped" if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") else ""
    return np.asarray(image.convert("RGB")), how or f"{image.mode} to RGB"
