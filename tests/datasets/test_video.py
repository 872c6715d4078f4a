from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.datasets.layouts import VideoFile
from probe.datasets.video import evenly_spaced, open_frames, read_frames, read_timeline
from probe.errors import DatasetError
from tests.datasets.drawing import moving, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A video of 40 frames with a key frame every 7, and all its frames decoded one by one."""
    file = write_video(tmp_path_factory.mktemp("video") / "clip.mp4", moving(40), gop=7)
    with av.open(str(file)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return file, plain


@given(available=st.integers(0, 3000), wanted=st.integers(1, 400))
def test_evenly_spaced(available: int, wanted: int) -> None:
    found = evenly_spaced(available, wanted)
    assert len(found) == min(available, wanted)
    if len(found):
        assert found[0] >= 0 and found[-1] < available
        # Each stands in its own equal part, at the middle rounded down.
        part = available / len(found)
        np.testing.assert_array_equal(found, np.floor((np.arange(len(found)) + 0.5) * part + 1e-9))
    if len(found) > 1:
        assert np.ptp(np.diff(found)) <= 1 and np.diff(found).min() >= 1


def test_evenly_spaced_by_hand() -> None:
    assert evenly_spaced(10, 2).tolist() == [2, 7]
    assert evenly_spaced(3, 32).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "indices", [[0], [39], [0, 39], [6, 7, 8], [13, 14, 30], list(range(40)), [5, 20, 21, 36]]
)
def test_frames_equal_those_of_plain_decoding(
    clip: tuple[Path, list[np.ndarray]], indices: list[int]
) -> None:
    """Jumping to key frames gives the very frames that decoding from the start gives."""
    file, plain = clip
    timeline = read_timeline(file)
    assert len(timeline) == len(plain) == 40 and len(timeline.keys) >= 5
    frames = list(read_frames(file, timeline, indices))
    assert [frame.index for frame in frames] == indices
    for frame in frames:
        np.testing.assert_array_equal(frame.image, plain[frame.index])
        assert frame.time == pytest.approx(frame.index / 25)


def test_only_what_is_needed_is_decoded(
    clip: tuple[Path, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = clip
    timeline = read_timeline(file)
    sought: list[int] = []

    class Watched:
        def __init__(self, inner: object) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def seek(self, offset: int, **how: object) -> None:
            sought.append(offset)
            self.inner.seek(offset, **how)  # type: ignore[attr-defined]

        def __enter__(self) -> Watched:
            self.inner.__enter__()  # type: ignore[attr-defined]
            return self

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)  # type: ignore[attr-defined]

    opened = av.open
    monkeypatch.setattr(av, "open", lambda *args, **more: Watched(opened(*args, **more)))
    list(read_frames(file, timeline, [1, 2, 38]))
    assert sought == [timeline.keys[-1]]
    assert timeline.keys[-1] <= timeline.stamps[38]


def test_a_broken_end_keeps_what_came_before(tmp_path: Path) -> None:
    file = write_video(tmp_path / "whole.mp4", moving(40), gop=7, faststart=True)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    timeline = read_timeline(file)
    assert timeline.lost == 40 - len(timeline) > 0
    seen = []
    try:
        for frame in read_frames(file, timeline, range(len(timeline))):
            seen.append(frame.index)
    except DatasetError as error:
        assert "failed" in str(error)
    assert 0 < len(seen) < 40 and seen == sorted(seen)


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.mp4"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"The video 'bad.mp4' cannot be opened"):
        read_timeline(file)


def test_sound_only(tmp_path: Path) -> None:
    file = tmp_path / "sound.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), "fltp", "mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DatasetError, match="has no video stream"):
        read_timeline(file)


def write_numbered(file: Path, codec: str, count: int = 24) -> Path:
    """Frames that show their number in binary, encoded with frames that are stored out of order."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 48, "yuv420p"
        stream.options = {} if codec in ("wmv2", "ffv1") else {"bf": "2"}
        for number in range(count):
            bits = [235 if number >> bit & 1 else 16 for bit in range(5)]
            row = np.repeat(np.array(bits, np.uint8), 32)
            image = np.broadcast_to(row[None, :, None], (48, 160, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def number_of(image: np.ndarray) -> int:
    return sum(
        1 << bit for bit in range(5) if image[8:40, 32 * bit + 8 : 32 * bit + 24].mean() > 128
    )


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.avi", "mpeg4"),
        ("b.avi", "libx264"),
        ("c.mpg", "mpeg2video"),
        ("d.ts", "libx264"),
        ("e.mkv", "libx264"),
        ("f.m2v", "mpeg2video"),
        ("g.wmv", "wmv2"),
        ("h.h264", "libx264"),
    ],
)
@pytest.mark.parametrize("indices", [range(24), (3, 11, 22)])
def test_frames_are_those_of_plain_decoding_in_any_container(
    tmp_path: Path, name: str, codec: str, indices: Sequence[int]
) -> None:
    file = write_numbered(tmp_path / name, codec)
    timeline = read_timeline(file)
    assert len(timeline) == 24 and timeline.lost == 0
    frames = list(read_frames(file, timeline, indices))
    assert [frame.index for frame in frames] == list(indices)
    assert [number_of(frame.image) for frame in frames] == list(indices)
    times = [frame.time for frame in frames]
    assert times == pytest.approx([index / 25 for index in indices], abs=0.05)


@pytest.mark.parametrize(("codec", "left"), [("ffv1", 12), ("mpeg4", 21)])
def test_frames_that_damage_takes_are_counted_as_lost(
    tmp_path: Path, codec: str, left: int
) -> None:
    file = write_numbered(tmp_path / "a.avi", codec)
    with av.open(str(file)) as container:
        packet = [one for one in container.demux(video=0) if one.size][12]
        start, size = packet.pos + 8, packet.size
    content = bytearray(file.read_bytes())
    content[start : start + size] = bytes(size)
    file.write_bytes(content)
    timeline = read_timeline(file)
    assert (len(timeline), timeline.lost) == (left, 24 - left)
    assert f"announces 24 frames and holds {left}" in open_frames(VideoFile(file)).note


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_of_the_container_is_applied_and_counted(tmp_path: Path, degrees: int) -> None:
    """The matrix of the track header, as phones write it."""
    file = tmp_path / "phone.mp4"
    upright = np.zeros((48, 80, 3), np.uint8)
    upright[:24] = 255
    coded = np.rot90(upright, degrees // 90)
    write_video(file, [np.ascontiguousarray(coded)] * 3)
    data = bytearray(file.read_bytes())
    start = data.index(b"tkhd") + 4
    matrix = start + (32 if data[start] else 20) + 16 + 4
    one = 1 << 16
    cosine, sine = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    data[matrix : matrix + 36] = struct.pack(
        ">9i", cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30
    )
    file.write_bytes(bytes(data))
    source = open_frames(VideoFile(file))
    (frame,) = source.read([1])
    assert frame.image.shape == (48, 80, 3)
    assert frame.image[:20].mean() > 200 and frame.image[28:].mean() < 60
    (how,) = source.conversions[1]
    assert "as its container asks" in how
    assert (source.facts.width, source.facts.height) == (80, 48)
