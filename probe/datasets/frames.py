"""Frames by their index, whatever they come from: one interface over all media."""

from __future__ import annotations

import bisect
import contextlib
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from probe.datasets.decoding import decode
from probe.datasets.layouts import ImageFiles, Media, TarImages, VideoFile
from probe.errors import DatasetError, ImageError

__all__ = [
    "Frame",
    "FrameSource",
    "SourceFacts",
    "Timeline",
    "announced_frames",
    "close_archive",
    "evenly_spaced",
    "open_frames",
    "read_frames",
    "read_timeline",
    "source_bytes",
]


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes
    ----------
    index : int
        Position in the order of display, from 0.
    time : float
        Seconds after the first frame.
    image : numpy.ndarray
        Shape (height, width, 3), RGB, 0 to 255.
    """

    index: int
    time: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Timeline:
    """Time stamps of a video, read from its packets without decoding.

    Attributes
    ----------
    stamps : tuple of int
        Presentation stamps, ascending; their number is the number of frames.
    keys : tuple of int
        Those at which decoding can start.
    lost : int
        Frames that the container announces and the file does not hold: it was cut off.
    """

    stamps: tuple[int, ...]
    keys: tuple[int, ...]
    lost: int = 0

    def __len__(self) -> int:
        return len(self.stamps)


def evenly_spaced(available: int, wanted: int) -> NDArray[np.int64]:
    """Choose the frames in the middle of `wanted` equal parts of a video.

    Parameters
    ----------
    available : int
        Frames in the video.
    wanted : int
        Frames asked for; all are taken if there are fewer.

    Returns
    -------
    numpy.ndarray
        Shape (min(available, wanted),), ascending, distinct.
    """
    count = min(available, wanted)
    return (2 * np.arange(count, dtype=np.int64) + 1) * available // max(2 * count, 1)


def announced_frames(file: Path) -> int:
    """Return how many frames a video's container says it has; 0 where it does not."""
    try:
        with av.open(str(file)) as container:
            return int(container.streams.video[0].frames) if container.streams.video else 0
    except (av.FFmpegError, OSError):
        return 0


def read_timeline(file: Path) -> Timeline:
    """Read the time stamps of a video.

    Raises
    ------
    DatasetError
        If the file cannot be opened, or has no video stream or no stamps.
    """
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(file, container.streams.video)
            packets = [p for p in container.demux(stream) if p.size]
            lost = max(0, stream.frames - len(packets))
            shown = [p for p in packets if not p.is_discard]
            stamps = [(p.pts, p.is_keyframe) for p in shown if p.pts is not None]
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"The video {file.name!r} cannot be opened: {error}.") from error
    if not stamps or len(stamps) < len(shown):
        raise DatasetError(
            f"The video {file.name!r} has {len(shown)} packets, {len(stamps)} of them with a "
            "time stamp; frames are found by it. Remux it, for example into .mp4."
        )
    return Timeline(
        tuple(sorted(pts for pts, _ in stamps)),
        tuple(sorted(pts for pts, key in stamps if key)),
        lost,
    )


def read_frames(file: Path, timeline: Timeline, indices: Sequence[int]) -> Iterator[Frame]:
    """Decode the frames at some indices, holding one at a time.

    Decoding runs on from frame to frame; it jumps ahead only where a later key frame lies
    between here and the next frame wanted, so that nothing is decoded twice.

    Parameters
    ----------
    file : pathlib.Path
        The video.
    timeline : Timeline
        Its time stamps.
    indices : sequence of int
        Which frames, ascending.

    Yields
    ------
    Frame
        In the order of `indices`. A frame that the decoder does not deliver or marks as corrupt
        is left out; compare indices.

    Raises
    ------
    DatasetError
        If decoding breaks off; frames before that have been yielded.
    """
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(file, container.streams.video)
            # One thread a video: videos are what runs in parallel.
            stream.codec_context.thread_count = 1
            base = float(stream.time_base or 1)
            for index, frame in _decoded(container, stream, timeline, indices):
                time = (timeline.stamps[index] - timeline.stamps[0]) * base
                image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                yield Frame(index, time, image)
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"Decoding {file.name!r} broke off: {error}.") from error


def _decoded(
    container: av.container.InputContainer,
    stream: VideoStream,
    timeline: Timeline,
    indices: Sequence[int],
) -> Iterator[tuple[int, VideoFrame]]:
    frames = container.decode(stream)
    here = timeline.stamps[0]
    frame: VideoFrame | None = None
    for index in indices:
        wanted = timeline.stamps[index]
        before = bisect.bisect_right(timeline.keys, wanted)
        if before and timeline.keys[before - 1] > here:
            container.seek(timeline.keys[before - 1], stream=stream)
            frames = container.decode(stream)
        while frame is None or frame.pts is None or frame.pts < wanted:
            frame = next(frames, None)
            if frame is None:
                return
            here = frame.pts if frame.pts is not None else here
        if frame.pts == wanted and not frame.is_corrupt:
            yield index, frame


def _video_stream(file: Path, streams: Sequence[VideoStream]) -> VideoStream:
    if not streams:
        raise DatasetError(f"The file {file.name!r} has no video stream.")
    return streams[0]


#: A gzipped archive of images that unpacks to more times its size is a trap.
MOST_INFLATION = 100


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a video before it is decoded, for the audit's controls.

    Attributes
    ----------
    width, height : int
        Of its frames in pixels; 0 where unknown (images of their own sizes).
    codec : str
        Name of the video codec, or empty.
    bitrate : float
        Bits a second of the video stream; NaN where unknown.
    fps : float
        Frames a second; NaN where unknown.
    bytes : int
        Size of the file, or of all its images.
    """

    width: int = 0
    height: int = 0
    codec: str = ""
    bitrate: float = float("nan")
    fps: float = float("nan")
    bytes: int = 0


class FrameSource(Protocol):
    """Frames of one video.

    Frames are asked for by position, 0 to ``len`` - 1; ``numbers`` are their indices in the video
    that they come from. ``facts`` say what is known before decoding, ``note`` what is wrong with
    the whole, and ``errors`` and ``conversions`` fill while frames are read: position to what
    happened.
    """

    facts: SourceFacts
    note: str
    errors: dict[int, str]
    conversions: dict[int, tuple[str, ...]]

    @property
    def numbers(self) -> Sequence[int]:
        """Index in the video of every position, ascending."""
        ...

    def __len__(self) -> int: ...

    def read(self, positions: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames that can be read, in order; the others are in ``errors``."""
        ...

    def encoded(self, position: int) -> bytes:
        """Return the file that a still image is; for frames of a video an error."""
        ...


def open_frames(media: Media) -> FrameSource:
    """Open a video, a series of image files or images in an archive.

    Raises
    ------
    DatasetError
        If it cannot be opened at all.
    """
    if isinstance(media, VideoFile):
        return _VideoFrames(media.file)
    if isinstance(media, ImageFiles):
        return _image_frames(media)
    return _tar_frames(media)


def source_bytes(media: Media) -> int:
    """Size in bytes of what a video is made from; files that are not there count nothing."""
    if isinstance(media, VideoFile):
        return _size(media.file)
    if isinstance(media, TarImages):
        return _size(media.archive)
    return sum(map(_size, media.files))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


@dataclass
class _VideoFrames:
    file: Path
    facts: SourceFacts = field(init=False)
    note: str = field(init=False)
    errors: dict[int, str] = field(default_factory=dict)
    conversions: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._timeline: Timeline = read_timeline(self.file)
        self.facts = _video_facts(self.file)
        self.note = _cut_off(self._timeline)

    @property
    def numbers(self) -> Sequence[int]:
        return range(len(self))

    def __len__(self) -> int:
        return len(self._timeline)

    def read(self, positions: Sequence[int]) -> Iterator[Frame]:
        left = dict.fromkeys(positions)
        try:
            for frame in read_frames(self.file, self._timeline, positions):
                del left[frame.index]
                yield frame
        except DatasetError as error:
            self.note = f"{self.note} {error}".strip()
        for position in left:
            self.errors[position] = "the decoder did not deliver it whole"

    def encoded(self, position: int) -> bytes:
        raise DatasetError(f"Frame {position} of a video is no file of its own.")


def _cut_off(timeline: Timeline) -> str:
    if not timeline.lost:
        return ""
    return (
        f"The file is cut off: it announces {len(timeline) + timeline.lost} frames and holds "
        f"{len(timeline)}; the frames were chosen among these."
    )


def _video_facts(file: Path) -> SourceFacts:
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        duration = float(stream.duration or 0) * float(stream.time_base or 0)
        rate = stream.bit_rate or (_size(file) * 8 / duration if duration else None)
        return SourceFacts(
            width=stream.width,
            height=stream.height,
            codec=stream.codec_context.name,
            bitrate=float(rate) if rate else float("nan"),
            fps=float(stream.average_rate) if stream.average_rate else float("nan"),
            bytes=_size(file),
        )


class _StillFrames:
    """Images that are one file, or one archive member, a frame."""

    note = ""

    def __init__(
        self,
        names: Sequence[str],
        numbers: Sequence[int],
        bytes_of: Callable[[int], bytes],
        facts: SourceFacts,
    ) -> None:
        self.facts, self.numbers = facts, numbers or range(len(names))
        self.errors: dict[int, str] = {}
        self.conversions: dict[int, tuple[str, ...]] = {}
        self._names, self._bytes_of = names, bytes_of

    def __len__(self) -> int:
        return len(self._names)

    def encoded(self, position: int) -> bytes:
        """Return the file as it is."""
        return self._bytes_of(position)

    def read(self, positions: Sequence[int]) -> Iterator[Frame]:
        for position in positions:
            try:
                found = decode(self._bytes_of(position), self._names[position])
            except OSError as error:
                self.errors[position] = f"it cannot be read ({error.strerror or error})"
            except DatasetError as error:
                self.errors[position] = str(error)
            else:
                if found.conversions:
                    self.conversions[position] = found.conversions
                yield Frame(position, float("nan"), found.pixels)


def _image_frames(media: ImageFiles) -> _StillFrames:
    return _StillFrames(
        [file.name for file in media.files],
        media.frames,
        lambda position: media.files[position].read_bytes(),
        SourceFacts(bytes=source_bytes(media)),
    )


def _tar_frames(media: TarImages) -> _StillFrames:
    archive = _open_archive(media.archive)
    return _StillFrames(
        media.members,
        (),
        lambda position: archive.bytes_of(media.members[position]),
        SourceFacts(bytes=source_bytes(media)),
    )


class _Archive:
    """A tar archive with its regular members at hand; gzip is undone into a nameless file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stream: IO[bytes] = file.open("rb") if file.suffix == ".tar" else _unzipped(file)
        try:
            with tarfile.open(fileobj=self._stream, mode="r:") as tar:
                # Where data begin, not names on disk: nothing is written by a member's name.
                self._places = {one.name: (one.offset_data, one.size) for one in tar if one.isreg()}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._stream.close()

    def bytes_of(self, member: str) -> bytes:
        if member not in self._places:
            raise ImageError(f"The archive {self.file.name!r} has no file {member!r}.")
        offset, size = self._places[member]
        self._stream.seek(offset)
        data = self._stream.read(size)
        if len(data) < size:
            raise ImageError(f"The archive {self.file.name!r} ends inside {member!r}.")
        return data


#: The archive that is open: its videos are read one after another, and then the next one's.
_open: list[_Archive] = []


def _open_archive(file: Path) -> _Archive:
    if not (_open and _open[0].file == file):
        close_archive()
        try:
            _open.append(_Archive(file))
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise DatasetError(f"The archive {file.name!r} cannot be read: {error}.") from error
    return _open[0]


def close_archive() -> None:
    """Close the archive that was read last, if one is open; a finished job does."""
    while _open:
        _open.pop().close()


def _unzipped(file: Path) -> IO[bytes]:
    limit = MOST_INFLATION * _size(file) + 2**20
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(tempfile.TemporaryFile())
        with gzip.open(file) as packed:
            while block := packed.read(2**20):
                out.write(block)
                if out.tell() > limit:
                    raise DatasetError(
                        f"The archive {file.name!r} unpacks to more than {MOST_INFLATION} times "
                        "its size, which compressed images do not; it was not read."
                    )
        out.seek(0)
        # Whole: from here on it is the archive that closes it.
        stack.pop_all()
    return out
