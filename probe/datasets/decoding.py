"""Still images into 8-bit RGB, by one stated rule, with a word on every conversion."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from probe.errors import ImageError

__all__ = ["DECODE_RULE", "FORMATS", "Decoded", "decode", "missing_image", "read_image"]

#: Formats that are read, by content and whatever the file's name says.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")

DECODE_RULE = (
    "Pillow to 8-bit RGB. The EXIF orientation is applied; 16-bit values are divided by 257; gray "
    "is repeated in three channels; CMYK and palettes are converted; an alpha channel is dropped "
    "without blending; of several pages or frames in one file the first is taken."
)

_REMEDY = "Nothing stands in for it: restore the file, or take its row out of the sample table."

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
        Shape (height, width, 3), RGB, 0 to 255.
    format : str
        What the file holds, one of `FORMATS`.
    conversions : tuple of str
        What had to be done to get there ("16-bit to 8-bit"); empty for 8-bit RGB.
    """

    pixels: NDArray[np.uint8]
    format: str
    conversions: tuple[str, ...] = ()


def decode(data: bytes, name: str) -> Decoded:
    """Decode an image; `DECODE_RULE` states how.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        Its name, for messages; its suffix decides nothing.

    Returns
    -------
    Decoded
        Pixels and what was converted.

    Raises
    ------
    ImageError
        If it is empty, truncated, of another format or larger than Pillow's safe limit.
    """
    if not data:
        raise ImageError(f"The image {name!r} is empty (zero bytes).")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            return _decoded(image, name)
    # Pillow's readers meet damaged files with a dozen kinds of exception.
    except Exception as error:
        raise ImageError(f"The image {name!r} cannot be decoded ({_said(error)}).") from error


def read_image(file: Path) -> Decoded:
    """Read and decode an image file.

    Raises
    ------
    ImageError
        If it is missing or cannot be decoded. Nothing stands in for it.
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
    # Pillow names the buffer's address here, which differs from run to run.
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
    """Convert, and say from what; nothing for 8-bit RGB."""
    if image.mode == "RGB":
        return np.asarray(image), ""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("integers beyond 16 bits are no gray levels")
        gray = ((values + 128) // 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2), "16-bit gray to 8-bit RGB"
    if image.mode == "F":
        raise ValueError("floating-point pixels have no stated range")
    if "transparency" in image.info and image.mode != "RGBA":
        image = image.convert("RGBA")
    how = "alpha dropped" if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") else ""
    return np.asarray(image.convert("RGB")), how or f"{image.mode} to RGB"
