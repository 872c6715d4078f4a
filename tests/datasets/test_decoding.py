"""Odd images: what is made of them, and that nothing but an ImageError comes of broken ones."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from probe.datasets.decoding import decode, read_image
from probe.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_plain_rgb_is_left_alone() -> None:
    found = decode(encoded(RGB), "a.png")
    np.testing.assert_array_equal(found.pixels, RGB)
    assert (found.format, found.conversions) == ("PNG", ())


def test_sixteen_bits_become_eight() -> None:
    """The full range: 0 stays 0, 65535 becomes 255, the middle the middle."""
    levels = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    found = decode(encoded(levels), "a.png")
    np.testing.assert_array_equal(found.pixels[..., 0], np.round(levels / 257))
    assert (found.pixels[..., 0] == found.pixels[..., 2]).all()
    assert found.conversions == ("16-bit gray to 8-bit RGB",)


@pytest.mark.parametrize(
    ("image", "kind", "how"),
    [
        (Image.fromarray(RGB[..., 0]), "PNG", "L to RGB"),
        (Image.fromarray(RGB).convert("P"), "PNG", "P to RGB"),
        (Image.fromarray(RGB).convert("1"), "PNG", "1 to RGB"),
        (Image.fromarray(RGB).convert("CMYK"), "JPEG", "CMYK to RGB"),
        (Image.fromarray(RGB).convert("LA"), "PNG", "alpha dropped"),
        (Image.fromarray(RGB).convert("RGBA"), "WEBP", "alpha dropped"),
    ],
)
def test_other_modes_are_converted_and_said(image: Image.Image, kind: str, how: str) -> None:
    if "A" in image.mode:
        image.putalpha(100)
    found = decode(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})), "a")
    assert found.pixels.shape == (20, 24, 3) and found.pixels.dtype == np.uint8
    assert found.conversions == (how,)


def test_alpha_is_dropped_without_blending() -> None:
    image = Image.fromarray(np.dstack([RGB, np.full(RGB.shape[:2], 1, np.uint8)]))
    np.testing.assert_array_equal(decode(encoded(image), "a.png").pixels, RGB)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(turn: int) -> None:
    """As the standard defines the eight values: where row 0 and column 0 are."""
    exif = Image.Exif()
    exif[0x0112] = turn
    shown = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1),
        7: np.rot90(RGB, 2).swapaxes(0, 1),
        8: np.rot90(RGB),
    }[turn]
    found = decode(encoded(RGB, exif=exif), "a.png")
    np.testing.assert_array_equal(found.pixels, shown)
    assert bool(found.conversions) == (turn != 1)


def test_a_wrong_extension_is_read_by_content_and_said() -> None:
    found = decode(encoded(RGB, "JPEG"), "face.png")
    assert found.format == "JPEG" and found.conversions == ("named .png, but JPEG",)


def test_one_pixel() -> None:
    assert decode(encoded(RGB[:1, :1]), "a.png").pixels.shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"not an image", "cannot be decoded"),
        (encoded(RGB)[:200], "cannot be decoded"),
        (encoded(RGB, "JPEG")[:300], "cannot be decoded"),
        (encoded(RGB, "GIF"), "cannot be decoded"),
        (encoded(RGB.astype(np.float32)[..., 0], "TIFF"), "floating-point"),
    ],
)
def test_broken_and_foreign_files(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        decode(data, "a.png")


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"cannot be decoded \(Image size"):
        decode(encoded(RGB), "a.png")


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=6),
)
def test_damage_gives_an_image_or_an_image_error(
    kind: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(encoded(RGB, kind))
    for where, mask in flips:
        data[int(where * (len(data) - 1))] ^= mask
    try:
        found = decode(bytes(data[: int(cut * len(data))]), "a.png")
    except ImageError as error:
        assert "a.png" in str(error)
    else:
        assert found.pixels.dtype == np.uint8 and found.pixels.shape[2] == 3


def test_messages_say_what_stands_in(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is missing .*No other image is used instead"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"zero bytes.*No other image is used instead"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)


DEEP = np.random.default_rng(1).integers(0, 65536, (20, 24, 4)).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_color_are_rounded_and_counted(suffix: str, channels: int) -> None:
    bgr = np.dstack([DEEP[..., 2::-1], DEEP[..., 3]])[..., :channels]
    data = bytes(cv2.imencode(suffix, bgr)[1])
    found = decode(data, f"a{suffix}")
    np.testing.assert_array_equal(found.pixels, np.round(DEEP[..., :3] / 257))
    dropped = ("alpha dropped",) if channels == 4 else ()
    assert found.conversions == ("16-bit color to 8-bit RGB", *dropped)


def test_big_endian_gray_and_few_gray_levels() -> None:
    gray = DEEP[..., 0]
    image = Image.fromarray(gray.astype(">u2"))
    np.testing.assert_array_equal(
        decode(encoded(image, "TIFF"), "a.tif").pixels[..., 1], np.round(gray / 257)
    )
    for bits, top in ((1, 1), (2, 3), (4, 15)):
        levels = np.arange(16, dtype=np.uint8).reshape(4, 4) % (top + 1)
        data = gray_png(levels, bits)
        np.testing.assert_array_equal(decode(data, "a.png").pixels[..., 0], levels * (255 // top))


def gray_png(levels: np.ndarray, bits: int) -> bytes:
    """A PNG of fewer than eight bits, written by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = levels.shape
    rows = [[f"{v:0{bits}b}" for v in row] for row in levels]
    packed = b"".join(
        b"\0"
        + bytes(
            int("".join(row).ljust(-(-width * bits // 8) * 8, "0")[k : k + 8], 2)
            for k in range(0, width * bits, 8)
        )
        for row in rows
    )
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(packed)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("transparency", [0, bytes([0] * 256), (3, 3, 3)])
def test_transparency_without_an_alpha_channel(transparency: object) -> None:
    mode = "RGB" if isinstance(transparency, tuple) else "P"
    image = Image.fromarray(RGB).convert(mode)
    found = decode(encoded(image, transparency=transparency), "a.png")
    np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert found.conversions == ("alpha dropped",)


@pytest.mark.parametrize(
    ("kind", "name", "how"),
    [
        ("JPEG", "a.jfif", ()),
        ("JPEG", "a.JPE", ()),
        ("AVIF", "a.avif", ()),
        ("JPEG2000", "a.jp2", ()),
        ("PPM", "a.ppm", ()),
        ("GIF", "a.gif", ("P to RGB",)),
        ("AVIF", "a.jpg", ("named .jpg, but AVIF",)),
    ],
)
def test_formats_of_cameras_and_web_pages(kind: str, name: str, how: tuple[str, ...]) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without AVIF")
    found = decode(encoded(RGB, kind), name)
    assert found.pixels.shape == RGB.shape and found.conversions == how


def test_a_turned_tiff_is_counted_though_pillow_turns_it_itself() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encoded(RGB, "TIFF", exif=exif), "a.tif")
    np.testing.assert_array_equal(found.pixels, np.rot90(RGB, -1))
    assert found.conversions == ("turned by its EXIF orientation",)


def test_sixteen_bits_of_color_that_are_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    data = bytes(cv2.imencode(".png", np.ascontiguousarray(DEEP[..., 2::-1]))[1])
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + body))
    found = decode(data[:33] + chunk + data[33:], "a.png")
    np.testing.assert_array_equal(found.pixels, np.rot90(np.round(DEEP[..., :3] / 257)))
    assert "turned by its EXIF orientation" in found.conversions
