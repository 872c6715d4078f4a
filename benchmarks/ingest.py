"""Ingest against the bare work, and seeking against decoding everything."""

from __future__ import annotations

import io
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from probe.datasets import LAYOUTS
from probe.datasets import ingest as ingest_dataset
from probe.datasets.faces import FaceFinder
from probe.datasets.layouts import VideoFile
from probe.datasets.video import evenly_spaced, read_frames, read_timeline

FRAMES, SIZE, MARGIN = 32, 256, 1.3
WORKERS = 2


@dataclass(frozen=True)
class Measured:
    """Seconds for the same work.

    Attributes
    ----------
    videos, frames : int
        How many videos, and crops of all of them together.
    bare, ours : float
        Seconds: the most direct loop in as many processes, and `ingest`.
    sequential, seeking : float
        Seconds to decode the frames wanted in one process: by plain decoding from the start, and
        as ingest does.
    """

    videos: int
    frames: int
    bare: float
    ours: float
    sequential: float
    seeking: float

    @property
    def ratio(self) -> float:
        """Speed of `ingest` as a share of that of the bare work."""
        return self.bare / self.ours

    @property
    def seeking_ratio(self) -> float:
        """How many times faster seeking is."""
        return self.sequential / self.seeking


def run(tiny: bool) -> None:
    with videos(tiny) as root:
        show(measure(root, 4 if tiny else FRAMES, 1 if tiny else 3))


@contextmanager
def videos(tiny: bool) -> Iterator[Path]:
    """Give FaceForensics++ videos: true ones if ``PROBE_REAL_DATA`` has them, else noise."""
    real = Path(os.environ.get("PROBE_REAL_DATA", "")) / "ffpp-mini"
    if not tiny and real.is_dir():
        yield real
        return
    with tempfile.TemporaryDirectory() as folder:
        for k in range(2 if tiny else 8):
            _write_noise(Path(folder), k, 24 if tiny else 300)
        yield Path(folder)


def _write_noise(root: Path, number: int, frames: int) -> None:
    file = root / "original_sequences/youtube/c23/videos" / f"{number:03d}.mp4"
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        scene = cv2.resize(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8), (640, 480))
        for k in range(frames):
            image = np.ascontiguousarray(np.roll(scene, 2 * k, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def measure(root: Path, frames: int = FRAMES, repeats: int = 3) -> Measured:
    """Do the work both ways, in turn, and take the medians.

    Parameters
    ----------
    root : pathlib.Path
        A FaceForensics++ tree.
    frames : int, default 32
        Frames a video.
    repeats : int, default 3
        How often each way is timed.
    """
    found = LAYOUTS["faceforensics"].inventory(root)
    files = [one.media.file for one in found.videos if isinstance(one.media, VideoFile)]
    bare, ours, counts = [], [], set()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            seconds, _ = _timed(lambda out=Path(folder): _bare(files, out, frames))
            bare.append(seconds)
        with tempfile.TemporaryDirectory() as folder:
            seconds, count = _timed(lambda out=Path(folder): _ours(root, out / "out", frames))
            ours.append(seconds)
            counts.add(count)
    sequential, _ = _timed(lambda: [_sequential(file, frames) for file in files])
    seeking, _ = _timed(lambda: [_seeking(file, frames) for file in files])
    crops = counts.pop()
    return Measured(
        len(files), crops, statistics.median(bare), statistics.median(ours), sequential, seeking
    )


def _timed(work: Callable[[], object]) -> tuple[float, int]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result if isinstance(result, int) else 0


def _ours(root: Path, out: Path, frames: int) -> int:
    options = {"crop": True, "frames": frames, "size": SIZE, "margin": MARGIN}
    try:
        return ingest_dataset("faceforensics", root, out, n_workers=WORKERS, **options).written
    except ValueError:  # Noise has no face: the work was done all the same.
        return 0


def _bare(files: Sequence[Path], out: Path, frames: int) -> int:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        return sum(pool.map(bare_video, files, [out] * len(files), [frames] * len(files)))


def bare_video(file: Path, out: Path, frames: int) -> int:
    """Decode, detect, crop, write: nothing else."""
    cv2.setNumThreads(1)
    finder, written = FaceFinder(), 0
    timeline = read_timeline(file)
    wanted = [int(i) for i in evenly_spaced(len(timeline), frames)]
    for frame in read_frames(file, timeline, wanted):
        for face in finder.find(frame.image)[:1]:
            side = int(min(MARGIN * max(face.width, face.height), *frame.image.shape[:2]))
            x = int(max(0, min(face.x + (face.width - side) / 2, frame.image.shape[1] - side)))
            y = int(max(0, min(face.y + (face.height - side) / 2, frame.image.shape[0] - side)))
            how = cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR
            crop = cv2.resize(
                frame.image[y : y + side, x : x + side], (SIZE, SIZE), None, 0, 0, how
            )
            buffer = io.BytesIO()
            Image.fromarray(crop).save(buffer, "PNG")
            (out / f"{file.parts[-4]}-{file.stem}-{frame.index}.png").write_bytes(buffer.getvalue())
            written += 1
    return written


def _sequential(file: Path, frames: int) -> int:
    wanted = set(evenly_spaced(len(read_timeline(file)), frames).tolist())
    count = 0
    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                count += frame.to_ndarray(format="rgb24").size > 0
            if index == max(wanted):
                break
    return count


def _seeking(file: Path, frames: int) -> int:
    timeline = read_timeline(file)
    wanted = [int(i) for i in evenly_spaced(len(timeline), frames)]
    return sum(frame.image.size > 0 for frame in read_frames(file, timeline, wanted))


def show(measured: Measured) -> None:
    table = Table(title=f"{measured.videos} videos, {measured.frames} crops, {WORKERS} processes")
    for heading in ("", "seconds", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("bare loop: decode, detect, crop, write", f"{measured.bare:.2f}", "1")
    table.add_row("probe ingest", f"{measured.ours:.2f}", f"{measured.ratio:.2f}")
    table.add_row("decode from the start (1 process)", f"{measured.sequential:.2f}", "1")
    table.add_row("decode with seeking", f"{measured.seeking:.2f}", f"{measured.seeking_ratio:.2f}")
    Console(width=90).print(table)
