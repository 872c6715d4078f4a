"""Frames of a video by their index, decoded with PyAV, one at a time."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from probe.errors import DatasetError

__all__ = ["Frame", "Timeline", "announced_frames", "evenly_spaced", "read_frames", "read_timeline"]


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
