"""Decoding of images to 8-bit RGB by one documented rule; every conversion is reported."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from probe.errors import ImageError

__all__ = ["DECODE_RULE", "FORMATS", "Decoded", "decode", "missing_image", "read_image"]

#: Formats that are read, detected by content, not by file name.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

#: Formats that are read only under their own suffix.
_NAMED_FORMATS = {".gif": "GIF"}

DECODE_RULE = (
    "Pillow to 8-bit RGB. The EXIF orientation is applied; 16-bit values are divided by 257 and "
    "rounded, of gray and of color; gray is repeated in three channels; CMYK, LAB and palettes are "
    "converted, without color profiles; an alpha channel is dropped without blending; of several "
    "pages or frames in one file the first is taken."
)

_REMEDY = "No other image is used instead: restore the file, or remove its row from the table."

_SUFFIXES = {
    **dict.fromkeys((".png", ".apng"), ("PNG",)),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi"), ("JPEG", "MPO")),
    **dict.fromkeys((".pjpeg", ".pjp", ".mpo"), ("JPEG", "MPO")),
    ".webp": ("WEBP",),
    **dict.fromkeys((".bmp", ".dib"), ("BMP", "DIB")),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF",)),
    ".gif": ("GIF",),
    **dict.fromkeys((".avif", ".avifs"), ("AVIF",)),
    **dict.fromkeys((".jp2", ".j2k", ".jpx", ".jpf"), ("JPEG2000",)),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)),
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
        with Image.open(io.BytesIO(data), formats=_formats(name)) as image:
            # A TIFF is turned while it is loaded, and forgets that it was.
            turned = _turned_tiff(image)
            image.load()
            return _decoded(data, image, name, turned)
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


@functools.cache
def _readable() -> tuple[str, ...]:
    """Return the formats that this build of Pillow can open."""
    Image.init()
    return tuple(one for one in FORMATS if one in Image.OPEN)


def _formats(name: str) -> tuple[str, ...]:
    own = _NAMED_FORMATS.get(Path(name).suffix.lower())
    return (*_readable(), own) if own else _readable()


def _decoded(data: bytes, image: Image.Image, name: str, turned: bool) -> Decoded:
    found = str(image.format)
    conversions = []
    suffix = Path(name).suffix
    expected = _SUFFIXES.get(suffix.lower())
    if expected and found not in expected:
        conversions.append(f"named {suffix}, but {found}")
    if getattr(image, "n_frames", 1) > 1:
        conversions.append("first of several frames")
    if turned or _turned(image):
        conversions.append("turned by its EXIF orientation")
    if _deep_color(data, image):
        image, hows = _eight_bits(data, image)
    else:
        hows = ()
    pixels, how = _to_rgb(ImageOps.exif_transpose(image))
    return Decoded(pixels, found, (*conversions, *hows, *((how,) if how else ())))


def _turned_tiff(image: Image.Image) -> bool:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return image.tag_v2.get(0x0112, 1) not in (0, 1)


def _turned(image: Image.Image) -> bool:
    return image.getexif().get(0x0112, 1) not in (0, 1)


def _deep_color(data: bytes, image: Image.Image) -> bool:
    """Whether an image has 16-bit color, of which Pillow reads the upper bytes only."""
    if image.format == "PNG":
        # Bit depth and color type of the header; 0 is gray, which Pillow reads in full.
        return data[24:25] == b"\x10" and data[25:26] in (b"\x02", b"\x04", b"\x06")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        depth = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))
        return 16 in np.atleast_1d(depth) and image.mode in ("RGB", "RGBA", "RGBX", "LA")
    return False


def _eight_bits(data: bytes, image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an image of 16-bit color with 8 bits, and the conversions."""
    # Imported here because only these images need it.
    import cv2

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError("its 16-bit color cannot be read")
    pixels = ((values[..., 2::-1].astype(np.int64) + 128) // 257).astype(np.uint8)
    out = Image.fromarray(pixels)
    # OpenCV leaves the orientation; a TIFF was turned by Pillow already, and states none.
    out.info.update({key: image.info[key] for key in ("exif", "xmp") if key in image.info})
    if image.size != out.size and not _turned(out):
        raise ValueError("its 16-bit color is turned, which cannot be read")
    hows = ["16-bit color to 8-bit RGB"]
    return out, (*hows, "alpha dropped") if values.shape[2] == 4 else tuple(hows)


def _to_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], str]:
    """Return the pixels as 8-bit RGB and the conversion that was applied, or ""."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image), ""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("integers beyond 16 bits are not gray levels")
        gray = ((values + 128) // 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2), "16-bit gray to 8-bit RGB"
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.asarray(
            ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        ), "LAB to RGB"
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    clear = "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    how = "alpha dropped" if clear or image.mode in ("RGBA", "LA", "PA") else ""
    if clear and image.mode == "P":
        # A palette's colors, also of its transparent entries.
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB")), how or f"{image.mode} to RGB"
