"""Images that visitors drop: what is refused, and what is kept."""

from __future__ import annotations

import base64
import io
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app import uploads
from app.uploads import MOST_BYTES, take_in
from probe.errors import ImageError
from tests.app.dropping import PIXELS, REFUSED, encoded, frames, png_of, url


def shown(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(take_in(url(data)).png)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_or_too_large_is_refused(name: str) -> None:
    data, why = REFUSED[name]
    with pytest.raises(ImageError, match=why):
        take_in(url(data))


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (None, "no file"),
        (7, "no file"),
        (["data:image/png;base64,AAAA"], "no file"),
        ({"a": 1}, "no file"),
        ("/etc/passwd", "no file"),
        ("file:///etc/passwd", "no file"),
        ("data:image/png;base64", "cannot be read"),
        ("data:image/png,abc", "cannot be read"),
        ("data:" + "x" * 250 + ";base64,AAAA", "cannot be read"),
        ("data:image/png;base64,@@@@", "damaged"),
        ("data:image/png;base64,AAA", "damaged"),
        ("data:image/png;base64,", "empty"),
    ],
)
def test_what_is_no_data_url_is_refused(contents: object, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        take_in(contents)


def test_length_is_bounded_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", None)
    with pytest.raises(ImageError, match="larger than 10 MB"):
        take_in("data:image/png;base64," + "A" * (4 * MOST_BYTES // 3 + 400))


def test_size_is_bounded_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "decode", None)
    with pytest.raises(ImageError, match="at most 40 million"):
        take_in(url(png_of(10_000, 5_000)))


def test_pixels_alone_are_kept() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "secret" * 1000)
    exif = Image.Exif()
    exif[0x010F], exif[0x8825] = "secret maker", {1: "N"}
    for data in (
        encoded(pnginfo=text, exif=exif),
        encoded("WEBP", lossless=True, exif=exif),
        encoded() + b"<script>secret</script>PK\x03\x04",
    ):
        taken = take_in(url(data, "text/html"))
        assert b"secret" not in taken.png and (taken.width, taken.height) == (40, 30)
        kept = Image.open(io.BytesIO(taken.png))
        assert not kept.info and not kept.getexif()
        assert (np.asarray(kept) == PIXELS).all()


def test_orientation_is_applied_and_said() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    taken = take_in(url(encoded(exif=exif)))
    assert (taken.width, taken.height) == (30, 40)
    assert "turned by its EXIF orientation" in taken.conversions
    assert (shown(encoded(exif=exif)) == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encoded(image=Image.fromarray(PIXELS).convert("RGBA")), "alpha dropped"),
        (encoded(image=Image.fromarray(PIXELS).convert("P")), "P to RGB"),
        (encoded(image=Image.fromarray(PIXELS).convert("L")), "L to RGB"),
        (encoded("JPEG", Image.fromarray(PIXELS).convert("CMYK")), "CMYK to RGB"),
        (encoded(image=Image.new("I;16", (40, 30), 65_535)), "16-bit gray to 8-bit RGB"),
        (frames("WEBP"), "first of several frames"),
        (frames("PNG"), "first of several frames"),
    ],
)
def test_other_kinds_are_converted_and_it_is_said(data: bytes, said: str) -> None:
    taken = take_in(url(data))
    assert said in taken.conversions
    image = Image.open(io.BytesIO(taken.png))
    assert image.mode == "RGB" and getattr(image, "n_frames", 1) == 1


def test_many_at_once_are_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, most = [], []
    plain = uploads.decode

    def slow(data: bytes, name: str) -> Any:
        busy.append(1)
        most.append(len(busy))
        time.sleep(0.02)
        busy.pop()
        return plain(data, name)

    monkeypatch.setattr(uploads, "decode", slow)
    threads = [threading.Thread(target=take_in, args=(url(encoded()),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and len(most) == 4
