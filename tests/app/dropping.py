"""Files that visitors drop: images of every kind, and what is none."""

from __future__ import annotations

import base64
import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)


def encoded(form: str = "PNG", image: Image.Image | None = None, **more: Any) -> bytes:
    out = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(out, form, **more)
    return out.getvalue()


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that claims a size, whatever it holds."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join([chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(bytes(99)))])
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def frames(form: str) -> bytes:
    pages = [Image.new("RGB", (32, 24), (i * 90, 20, 20)) for i in range(3)]
    return encoded(form, pages[0], save_all=True, append_images=pages[1:], lossless=True)


REFUSED = {
    "html": (b"<html><script>alert(1)</script>", "no PNG, JPEG or WebP"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "no PNG, JPEG or WebP"),
    "pdf": (b"%PDF-1.7\n1 0 obj\n<<>>\nendobj", "no PNG, JPEG or WebP"),
    "pickle": (pickle.dumps({"a": 1}), "no PNG, JPEG or WebP"),
    "gif": (frames("GIF"), "no PNG, JPEG or WebP"),
    "tiff": (encoded("TIFF"), "no PNG, JPEG or WebP"),
    "bomb": (png_of(60_000, 60_000), "far more pixels than the 40 million"),
    "large": (png_of(8_000, 6_000), "at most 40 million"),
    "line": (png_of(65_535, 1), "both sides need at least 16"),
    "dot": (encoded(image=Image.new("RGB", (1, 1))), "both sides need at least 16"),
    "truncated png": (encoded()[:-900], "cannot be decoded"),
    "truncated jpeg": (encoded("JPEG")[:-400], "cannot be decoded"),
    "hollow": (png_of(64, 64), "cannot be decoded"),
    "head only": (encoded()[:20], "no PNG, JPEG or WebP"),
    "text bomb": (
        png_of(32, 32, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3_000_000)))),
        "no PNG, JPEG or WebP|cannot be decoded",
    ),
}
