"""Trees of damaged, odd and hostile files: no crash, no hang, and every file accounted for."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from probe.datasets import ingest, open_dataset
from probe.datasets.layouts import LAYOUTS
from probe.errors import DatasetError
from tests.datasets.drawing import draw_face, moving, write_video

FACE = draw_face(60, 60, 28, 128, 128)


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(FACE).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = write_video(tmp_path_factory.mktemp("video") / "v.mp4", moving(12), faststart=True)
    return file.read_bytes()


def files_under(root: Path) -> set[str]:
    return {
        str(Path(where, name).relative_to(root))
        for where, _, names in os.walk(root)
        for name in names
    }


MAKERS: dict[str, Callable[[], bytes]] = {
    "truncated.png": lambda: encoded("PNG")[:900],
    "truncated.jpg": lambda: encoded("JPEG")[:900],
    "zero.png": bytes,
    "text.png": lambda: b"not an image at all",
    "jpeg.png": lambda: encoded("JPEG"),
    "onepixel.png": lambda: tiny(1, 1),
    "line.png": lambda: tiny(200, 1),
    "gray.png": lambda: of(Image.fromarray(FACE).convert("L")),
    "deep.png": lambda: of(Image.fromarray(FACE[..., 0].astype(np.uint16) * 257)),
    "cmyk.jpg": lambda: of(Image.fromarray(FACE).convert("CMYK"), "JPEG"),
    "alpha.png": lambda: of(Image.fromarray(FACE).convert("RGBA")),
    "turned.jpg": lambda: turned(),
    "huge.png": lambda: huge(),
}


def of(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def tiny(width: int, height: int) -> bytes:
    return of(Image.new("RGB", (width, height)))


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def huge() -> bytes:
    """A header that announces 60,000 × 60,000 pixels, and no pixels."""
    head = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + len(head).to_bytes(4, "big")
        + chunk
        + (zlib.crc32(chunk).to_bytes(4, "big"))
    )


def test_odd_images_are_each_accounted_for(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for kind in ("real", "fake"):
        for k, (name, make) in enumerate(MAKERS.items()):
            file = root / kind / f"clip{k}_{name}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(make())
    report = ingest("folder", root, tmp_path / "out", n_workers=1)
    good = {"jpeg", "gray", "deep", "cmyk", "alpha", "turned"}
    taken = {Path(p).stem.split("_")[1] for p in open_dataset(report.out).samples.table["path"]}
    assert taken == good and report.written == 2 * len(good)
    assert len(report.incomplete) == 2 * (len(MAKERS) - len(good))
    assert set(report.conversions()) == {
        "16-bit gray to 8-bit RGB",
        "CMYK to RGB",
        "L to RGB",
        "alpha dropped",
        "named .png, but JPEG",
        "turned by its EXIF orientation",
    }
    assert all(one.failures() for one in report.incomplete)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=8)
)
def test_damaged_videos_end_in_the_report(
    video: bytes,
    tmp_path_factory: pytest.TempPathFactory,
    cut: float,
    flips: list[tuple[float, int]],
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    data = bytearray(video)
    for where, mask in flips:
        data[int(where * (len(data) - 1))] ^= mask
    folder = root / "ffpp/original_sequences/youtube/c23/videos"
    folder.mkdir(parents=True)
    (folder / "000.mp4").write_bytes(bytes(data[: int(cut * len(data))]))
    (folder / "001.mp4").write_bytes(video)
    before = files_under(root)
    report = ingest("faceforensics", root / "ffpp", root / "out", frames=3, size=32, n_workers=1)
    found = {one.video: one for one in report.videos}
    assert set(found) == {"000", "001"} and found["001"].complete
    one = found["000"]
    assert one.error or one.asked == one.decoded + len(one.not_decoded)
    after = {name for name in files_under(root) if not name.startswith("out/")}
    assert before == after
    shutil.rmtree(root)


def test_links_in_circles_end(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for kind in ("real", "fake"):
        (root / kind).mkdir(parents=True)
        (root / kind / "a1_0.png").write_bytes(encoded("PNG"))
    (root / "real" / "again").symlink_to(root)
    (root / "fake" / "itself").symlink_to("itself")
    (root / "fake" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    other = tmp_path / "other"
    other.mkdir()
    (other / "b1_0.png").write_bytes(encoded("PNG"))
    (root / "fake" / "linked").symlink_to(other)
    report = ingest("folder", root, tmp_path / "out", n_workers=1)
    assert report.written == 3
    assert set(report.left_out) >= {"real/again", "fake/itself", "fake/gone.png"}


@pytest.mark.parametrize("layout", ["folder", "manifest", "deepfakebench", "auto"])
def test_a_root_that_is_a_circle_or_a_file(tmp_path: Path, layout: str) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    plain = tmp_path / "plain.txt"
    plain.write_text("text")
    for root in (loop, plain, tmp_path / "gone"):
        with pytest.raises(DatasetError):
            ingest(layout, root, tmp_path / "out", n_workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_hundred_thousand_files(tmp_path: Path) -> None:
    """Hard links to a few images: listed and opened in place, and every one is there."""
    root = tmp_path / "tree"
    for kind in ("real", "fake"):
        (root / "test" / kind).mkdir(parents=True)
        for k in range(50_000):
            if k % 10_000 == 0:  # A file takes so many links and no more.
                image = tmp_path / f"{kind}-{k}.png"
                image.write_bytes(tiny(32, 32))
            os.link(image, root / "test" / kind / f"v{k // 100:03d}_{k % 100:03d}.png")
    start = time.monotonic()
    data = open_dataset("folder", root=root)
    assert time.monotonic() - start < 120
    assert len(data) == 100_000 and data.samples.table["video"].nunique() == 1000
    shutil.rmtree(root)


def test_tar_members_that_lead_out(tmp_path: Path) -> None:
    root = tmp_path / "wild"
    (root / "real_test").mkdir(parents=True)
    with tarfile.open(root / "real_test/1.tar", "w") as tar:
        for name in ("1/real/0/0.png", "../up.png", "/abs.png", "1/../../../up2.png"):
            info = tarfile.TarInfo(name)
            data = encoded("PNG")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("1/real/0/1.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        device = tarfile.TarInfo("1/real/0/2.png")
        device.type = tarfile.CHRTYPE
        tar.addfile(device)
    report = ingest("wilddeepfake", root, tmp_path / "out", n_workers=1)
    assert report.written == 1 and len(report.left_out) == 5
    outside = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file()
        and not path.is_relative_to(tmp_path / "out")
        and not path.is_relative_to(root)
    ]
    assert not outside


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), name=st.sampled_from(["a.json", "manifest.csv", "x.parquet"]))
def test_lists_of_nonsense(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    root = tmp_path_factory.mktemp("lists")
    (root / name).write_bytes(data)
    for layout in LAYOUTS:
        for place in (root, root / name):
            try:
                LAYOUTS[layout].recognize(place)
                LAYOUTS[layout].inventory(place)
            except DatasetError as error:
                assert len(str(error)) > 20
    shutil.rmtree(root)
