"""Frames by index: one interface for video files, image files and images in archives."""

from __future__ import annotations

import bisect
import contextlib
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Protocol

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from probe.datasets.decoding import decode
from probe.datasets.layouts import ImageFiles, Media, ParquetImages, TarImages, VideoFile
from probe.datasets.parquet import close_columns, image_column
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
        Index in display order, from 0.
    time : float
        Seconds after the first frame.
    image : numpy.ndarray
        Pixels of shape (height, width, 3), RGB, 0 to 255, upright.
    turned : int
        Degrees, counterclockwise, by which the frame was turned, as its container asks.
    """

    index: int
    time: float
    image: NDArray[np.uint8]
    turned: int = 0


@dataclass(frozen=True)
class Timeline:
    """Timestamps of a video, read from its packets without decoding where these can be relied on.

    Attributes
    ----------
    stamps : tuple of int
        Presentation timestamps, ascending, one per frame.
    keys : tuple of int
        Timestamps of key frames, at which decoding can start.
    lost : int
        Number of frames that the container announces but the file, being truncated or damaged,
        lacks.
    counted : bool
        Whether the frames were counted by decoding, since packets of this container (AVI, MPEG
        streams and others) state the time of decoding or none. Frames are then read from the start.
    """

    stamps: tuple[int, ...]
    keys: tuple[int, ...]
    lost: int = 0
    counted: bool = False

    def __len__(self) -> int:
        return len(self.stamps)


def evenly_spaced(available: int, wanted: int) -> NDArray[np.int64]:
    """Return the indices of evenly spaced frames: the middles of `wanted` equal parts of a video.

    Parameters
    ----------
    available : int
        Number of frames in the video.
    wanted : int
        Number of frames to choose; all are chosen if there are fewer.

    Returns
    -------
    numpy.ndarray
        Distinct indices in ascending order, shape (min(available, wanted),).
    """
    count = min(available, wanted)
    return (2 * np.arange(count, dtype=np.int64) + 1) * available // max(2 * count, 1)


def announced_frames(file: Path) -> int:
    """Return the frame count stated in a video's container; 0 if it states none."""
    try:
        with av.open(str(file)) as container:
            return int(container.streams.video[0].frames) if container.streams.video else 0
    except (av.FFmpegError, OSError):
        return 0


#: Containers whose packets state when a frame is shown, in the order of FFmpeg's names.
_TIMED = ("mov", "matroska")


def read_timeline(file: Path) -> Timeline:
    """Read the timestamps of a video.

    Raises
    ------
    DatasetError
        If the file cannot be opened, or has no video stream or no frames.
    """
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(file, container.streams.video)
            packets = [p for p in container.demux(stream) if p.size]
            lost = max(0, stream.frames - len(packets))
            shown = [p for p in packets if not p.is_discard]
            stamps = [(p.pts, p.is_keyframe) for p in shown if p.pts is not None]
            timed = container.format.name.startswith(_TIMED)
            if timed and stamps and len({pts for pts, _ in stamps}) == len(shown):
                return Timeline(
                    tuple(sorted(pts for pts, _ in stamps)),
                    tuple(sorted(pts for pts, key in stamps if key)),
                    lost,
                )
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"The video {file.name!r} cannot be opened: {error}.") from error
    return _counted(file, stream.frames, len(shown))


def _counted(file: Path, announced: int, packets: int) -> Timeline:
    """Count the frames of a video by decoding it once; those behind damage are lost."""
    stamps: list[int] = []
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(file, container.streams.video)
            stream.codec_context.thread_count = 1
            step = 1 / float(stream.average_rate or 25) / float(stream.time_base or 1 / 25)
            for frame in container.decode(stream):
                given = frame.pts if frame.pts is not None else -1
                later = stamps[-1] + max(1, round(step)) if stamps else 0
                stamps.append(given if not stamps or given > stamps[-1] else later)
    except (av.FFmpegError, OSError):
        announced = max(announced, packets)
    if not stamps:
        raise DatasetError(
            f"The video {file.name!r} cannot be opened: no frame of it can be decoded."
        )
    return Timeline(tuple(stamps), (), max(0, announced - len(stamps)), counted=True)


def read_frames(file: Path, timeline: Timeline, indices: Sequence[int]) -> Iterator[Frame]:
    """Decode the frames at given indices, keeping one in memory at a time.

    Decoding proceeds frame by frame. It seeks only if there is a later key frame before the next
    wanted frame, so that nothing is decoded twice.

    Parameters
    ----------
    file : pathlib.Path
        The video.
    timeline : Timeline
        Its timestamps.
    indices : sequence of int
        Indices of the frames, ascending.

    Yields
    ------
    Frame
        Frames in the order of `indices`. Frames that the decoder does not deliver or marks as
        corrupt are left out; compare their indices.

    Raises
    ------
    DatasetError
        If decoding fails; the frames before have been yielded.
    """
    try:
        with av.open(str(file)) as container:
            stream = _video_stream(file, container.streams.video)
            # One thread per video, since videos run in parallel.
            stream.codec_context.thread_count = 1
            base = float(stream.time_base or 1)
            for index, frame in _decoded(container, stream, timeline, indices):
                time = (timeline.stamps[index] - timeline.stamps[0]) * base
                image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                turned = int(frame.rotation) % 360
                if turned % 90 == 0 and turned:
                    image = np.ascontiguousarray(np.rot90(image, turned // 90))
                yield Frame(index, time, image, turned if turned % 90 == 0 else 0)
    except (av.FFmpegError, OSError) as error:
        raise DatasetError(f"Decoding of {file.name!r} failed: {error}.") from error


def _decoded(
    container: av.container.InputContainer,
    stream: VideoStream,
    timeline: Timeline,
    indices: Sequence[int],
) -> Iterator[tuple[int, VideoFrame]]:
    if timeline.counted:
        wanted_indices = set(indices)
        for index, decoded in enumerate(container.decode(stream)):
            if index in wanted_indices and not decoded.is_corrupt:
                yield index, decoded
            if index >= max(indices, default=-1):
                return
        return
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
    # A cover picture is a stream too.
    films = [one for one in streams if not one.disposition & Disposition.attached_pic]
    return (films or list(streams))[0]


#: Maximum ratio of unpacked to packed size of an archive, as a protection against zip bombs.
MOST_INFLATION = 100


@dataclass(frozen=True)
class SourceFacts:
    """Metadata of a source video, for the audit's check of confounds.

    Attributes
    ----------
    width, height : int
        Size of the frames in pixels; 0 if unknown (images).
    codec : str
        Name of the video codec; empty if unknown.
    bitrate : float
        Bit rate of the video stream in bits per second; NaN if unknown.
    fps : float
        Frames per second; NaN if unknown.
    bytes : int
        Size in bytes of the file, or of all images.
    """

    width: int = 0
    height: int = 0
    codec: str = ""
    bitrate: float = float("nan")
    fps: float = float("nan")
    bytes: int = 0


class FrameSource(Protocol):
    """The frames of one video.

    Frames are read by position, 0 to ``len`` - 1; ``numbers`` holds their indices in the original
    video. ``facts`` is the metadata known before decoding, and ``note`` describes a problem of the
    whole video. ``errors`` and ``conversions`` map positions to errors and conversions of frames;
    they are filled while frames are read.
    """

    facts: SourceFacts
    note: str
    errors: dict[int, str]
    conversions: dict[int, tuple[str, ...]]

    @property
    def numbers(self) -> Sequence[int]:
        """Index in the original video of every position, ascending."""
        ...

    def __len__(self) -> int: ...

    def read(self, positions: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames that can be read, in order; the others are added to ``errors``."""
        ...

    def encoded(self, position: int) -> bytes:
        """Return the encoded file of an image; raise `DatasetError` for frames of a video."""
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
    if isinstance(media, ParquetImages):
        return _parquet_frames(media)
    return _tar_frames(media)


def source_bytes(media: Media) -> int:
    """Return the size in bytes of a video's source files; missing files count as 0."""
    if isinstance(media, VideoFile | ParquetImages):
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
                if frame.turned:
                    how = f"turned by {frame.turned}° counterclockwise, as its container asks"
                    self.conversions[frame.index] = (how,)
                    height, width = frame.image.shape[:2]
                    self.facts = replace(self.facts, width=width, height=height)
                yield frame
        except DatasetError as error:
            self.note = f"{self.note} {error}".strip()
        for position in left:
            self.errors[position] = "the decoder did not deliver it intact"

    def encoded(self, position: int) -> bytes:
        raise DatasetError(f"Frame {position} of a video has no file of its own.")


def _cut_off(timeline: Timeline) -> str:
    if not timeline.lost:
        return ""
    return (
        f"The file is truncated or damaged: it announces {len(timeline) + timeline.lost} frames "
        f"and holds {len(timeline)}; frames were chosen among these."
    )


def _video_facts(file: Path) -> SourceFacts:
    with av.open(str(file)) as container:
        stream = _video_stream(file, container.streams.video)
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
    """Frames that are image files or members of an archive."""

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
        """Return the content of the image file."""
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


def _parquet_frames(media: ParquetImages) -> _StillFrames:
    column = image_column(media.file, media.column)
    return _StillFrames(
        [f"row {row} of {media.file.name}" for row in media.rows],
        (),
        lambda position: column.bytes_of(media.rows[position]),
        SourceFacts(bytes=source_bytes(media)),
    )


class _Archive:
    """A tar archive with random access to its members; gzip is unpacked into a temporary file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stream: IO[bytes] = file.open("rb") if file.suffix == ".tar" else _unzipped(file)
        try:
            with tarfile.open(fileobj=self._stream, mode="r:") as tar:
                # Members are read by offset: nothing is extracted under a member's name.
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


#: The open archive, at most one: all videos of an archive are read before the next archive.
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
    """Close the open archive and tables, if any; called at the end of a job."""
    close_columns()
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
                        "its size, which compressed images never do; it was not read."
                    )
        out.seek(0)
        # Unpacked completely: from here on the archive object closes it.
        stack.pop_all()
    return out
