"""Jobs of an ingest: units of work, their distribution to processes, and finished work."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.datasets.layouts import ImageFiles, ParquetImages, TarImages, VideoEntry
from probe.datasets.report import BOXES, CutRule
from probe.errors import DatasetError
from probe.progress import note, progress_bar

if TYPE_CHECKING:
    from probe.datasets.clips import Clip, ClipTask
    from probe.datasets.faces import Face

__all__ = ["CROPS_FOLDER", "Job", "Placed", "foreign_clip", "run_jobs", "worker_pool"]

CROPS_FOLDER = "crops"
TAKEN_FOLDER = "taken"

#: Images in place that are checked per job: enough to make the overhead of jobs negligible, few
#: enough that an interruption loses only seconds.
IMAGES_A_JOB = 500


@dataclass(frozen=True)
class Placed:
    """A finished video and the folder of its files, relative to the dataset's root or absolute."""

    clip: Clip
    folder: str

    def path(self, file: str) -> str:
        """Return a path relative to the dataset's root, or absolute for a file used in place."""
        return file if os.path.isabs(file) else f"{self.folder}/{file}"


@dataclass(frozen=True)
class Job:
    """Videos that one worker processes one after another.

    Attributes
    ----------
    first : int
        Position of the first video among all videos.
    tasks : tuple of ClipTask
        Tasks of the videos. The videos of one archive form one job, so that it is opened once.
    record : pathlib.Path or None
        For images used in place, the file that stores the result of the whole job; such a job
        writes nothing else.
    shared : bool
        Whether the results are entries of the crop cache: several processes may write the same
        entry, and existing entries are verified.
    """

    first: int
    tasks: tuple[ClipTask, ...]
    record: Path | None = None
    shared: bool = False

    @classmethod
    def plan(
        cls,
        videos: Sequence[VideoEntry],
        out: Path,
        rule: CutRule,
        boxes: Mapping[str, Mapping[int, Face]] | None = None,
    ) -> list[Job]:
        """Divide the videos into jobs, in their order."""
        from probe.datasets.clips import ClipTask, safe_name

        crops = out / CROPS_FOLDER
        tasks = [
            ClipTask(
                entry,
                crops / safe_name(entry.dataset) / safe_name(entry.video),
                rule,
                (boxes or {}).get(entry.key, {}) if rule.finder == BOXES else None,
            )
            for entry in videos
        ]
        return cls.of(tasks, out)

    @classmethod
    def of(cls, tasks: Sequence[ClipTask], out: Path, shared: bool = False) -> list[Job]:
        """Divide tasks into jobs, in their order; records of images in place go to `out`."""
        jobs = []
        for first, last in _groups(tasks):
            those = tuple(tasks[first:last])
            record = _record(out, those) if _lies(those[0]) else None
            jobs.append(cls(first, those, record, shared))
        return jobs


def _lies(task: ClipTask) -> bool:
    """Whether the task is about images that are used in place."""
    return not task.rule.crop and isinstance(task.entry.media, ImageFiles)


def _groups(tasks: Sequence[ClipTask]) -> Iterator[tuple[int, int]]:
    """Yield first and last (exclusive) position of the videos of each job."""
    first, images = 0, 0
    for i, task in enumerate(tasks):
        media = task.entry.media
        before = tasks[i - 1].entry.media if i > first else None
        together = False
        if isinstance(media, TarImages):
            together = isinstance(before, TarImages) and before.archive == media.archive
        elif isinstance(media, ParquetImages):
            # Rows of one group are read together, however many they are.
            together = (
                isinstance(before, ParquetImages)
                and before.file == media.file
                and (images < IMAGES_A_JOB or before.group == media.group)
            )
        elif _lies(task):
            together = isinstance(before, ImageFiles) and images < IMAGES_A_JOB
        if i > first and not together:
            yield first, i
            first, images = i, 0
        if isinstance(media, ImageFiles | ParquetImages):
            images += len(media.files if isinstance(media, ImageFiles) else media.rows)
    if tasks:
        yield first, len(tasks)


def _record(out: Path, tasks: Sequence[ClipTask]) -> Path:
    """Return the path of a job's record, named by its videos, masks and the state of its files."""
    digest = hashlib.blake2b(digest_size=16)
    for task in tasks:
        media = task.entry.media
        assert isinstance(media, ImageFiles)
        digest.update(repr((task.entry.key, media.frames, task.entry.masks)).encode())
        for file in media.files:
            digest.update(f"{file!s}\x1f{_state(file)}\x1e".encode())
    return out / TAKEN_FOLDER / f"{digest.hexdigest()}.json"


def _state(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def run_jobs(jobs: Sequence[Job], n_workers: int, text: str) -> Iterator[Placed]:
    """Run the unfinished jobs, with a progress bar, and yield all videos in their order.

    Raises
    ------
    DatasetError
        If writing fails or a worker is killed; finished videos are kept.
    """
    from probe.datasets.clips import read_clip

    lost: dict[int, Clip] = {}
    pending = [job for job in jobs if not _is_done(job)]
    total = sum(len(job.tasks) for job in jobs)
    with progress_bar(text, total) as advance:
        advance(total - sum(len(job.tasks) for job in pending))
        try:
            for job, clips in _run(pending, min(n_workers, len(pending))):
                # Videos without a record are kept here, since they cannot be read back.
                if job.record is None:
                    lost |= {
                        job.first + k: clip
                        for k, clip in enumerate(clips)
                        if not clip.report.decoded
                    }
                advance(len(job.tasks))
        except OSError as error:
            raise DatasetError(
                f"Writing the dataset failed: {error}. Finished videos are kept; free disk space "
                "or choose another folder, and run again."
            ) from error
    for job in jobs:
        kept = _read_record(job.record) if job.record else []
        for k, task in enumerate(job.tasks):
            clip = kept[k] if kept else lost.get(job.first + k) or read_clip(task.folder)
            if clip is None:
                raise DatasetError(
                    f"The folder {str(task.folder)!r} was removed while it was needed. Run again."
                )
            # Entries of the cache are outside the dataset that uses them.
            yield Placed(clip, str(task.folder) if job.shared else "/".join(task.folder.parts[-3:]))


def _is_done(job: Job) -> bool:
    from probe.datasets.clips import CLIP_FILE

    if job.shared:
        return _is_sound(job)
    if job.record is not None:
        return job.record.is_file()
    return all((task.folder / CLIP_FILE).is_file() for task in job.tasks)


def _is_sound(job: Job) -> bool:
    """Whether the whole job is in the cache; a note says which entries are damaged."""
    from probe.datasets.clips import sound_clip

    try:
        if job.record is not None:
            return job.record.is_file() and bool(_read_record(job.record))
        return all([sound_clip(task.folder) is not None for task in job.tasks])
    except DatasetError as why:
        note(f"{why} It is made again.")
        return False


def _run(pending: Sequence[Job], n_workers: int) -> Iterator[tuple[Job, list[Clip]]]:
    if n_workers <= 1:
        for job in pending:
            yield job, _do(job)
        return
    with worker_pool(n_workers) as pool:
        # A few jobs at a time, since queued jobs take memory.
        left, running = iter(pending), dict[Future[list["Clip"]], Job]()
        for job in left:
            running[pool.submit(_do, job)] = job
            if len(running) >= 4 * n_workers:
                yield from _collect(running)
        while running:
            yield from _collect(running)


def _collect(
    running: dict[Future[list[Clip]], Job],
) -> Iterator[tuple[Job, list[Clip]]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        yield running.pop(future), future.result()


def _do(job: Job) -> list[Clip]:
    from probe.datasets.clips import cut_clip, one_thread, read_clip, take_clip
    from probe.datasets.crops import make_once
    from probe.datasets.video import close_archive

    with one_thread():
        if job.record is None:
            try:
                if job.shared:
                    return [make_once(task) for task in job.tasks]
                return [read_clip(task.folder) or cut_clip(task) for task in job.tasks]
            finally:
                close_archive()
        clips = [take_clip(task) for task in job.tasks]
    text = json.dumps([asdict(clip) for clip in clips])
    job.record.parent.mkdir(parents=True, exist_ok=True)
    partial = job.record.with_suffix(f".{os.getpid()}.part")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(job.record)
    return []


def _read_record(file: Path) -> list[Clip]:
    from probe.datasets.clips import Clip

    try:
        found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return [Clip.from_dict(one) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"The record {str(file)!r} is damaged ({error}). Remove it and run again."
        ) from error


def foreign_clip(out: Path, jobs: Sequence[Job]) -> str:
    """Return a finished video in a folder that does not belong to these jobs; empty if none."""
    from probe.datasets.clips import CLIP_FILE, read_clip
    from probe.datasets.video import source_bytes

    known = {task.folder: task.entry for job in jobs for task in job.tasks}
    for file in sorted((out / CROPS_FOLDER).glob(f"*/*/{CLIP_FILE}")):
        clip, entry = read_clip(file.parent), known.get(file.parent)
        if entry is None or (clip and clip.source_bytes != source_bytes(entry.media)):
            return f"{file.parent.parent.name}/{file.parent.name}"
    return ""


#: Seconds after which idle processes end; until then they are reused.
IDLE = 60

#: Variable of the growth in bytes that loky takes for a leak; rendering faces keeps above 300 MB.
GROWTH = "LOKY_MAX_MEMORY_LEAK_SIZE"


@contextmanager
def worker_pool(n_workers: int) -> Iterator[Executor]:
    """Open a pool of worker processes with one OpenCV thread each.

    Scripts and notebooks do not need ``if __name__ == "__main__":``.

    Parameters
    ----------
    n_workers : int
        Number of processes.

    Yields
    ------
    concurrent.futures.Executor
        The pool. If the context is left by an error, its processes are ended and pending work is
        dropped.

    Raises
    ------
    DatasetError
        If a worker process was killed.
    """
    # Imported here, since most calls have few images and need no processes.
    from loky import get_reusable_executor

    pool = get_reusable_executor(
        max_workers=n_workers,
        timeout=IDLE,
        initializer=_begin,
        # Relative paths are those of the caller: processes of another folder are not used again.
        initargs=(os.getcwd(),),
        env={GROWTH: "4e9"},
    )
    try:
        yield pool
    except BrokenExecutor as error:
        raise DatasetError(
            "A worker process was killed, perhaps for lack of memory. Finished videos are kept: "
            "run again, with fewer workers (n_workers) if memory is short."
        ) from error
    except GeneratorExit:
        # The consumer stopped iterating; its iterator cancels the pending work.
        raise
    except BaseException:
        pool.shutdown(wait=True, kill_workers=True)
        raise


def _begin(folder: str) -> None:
    import cv2

    os.chdir(folder)
    cv2.setNumThreads(1)
    # On an interrupt, the main process ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    # Without this, an idle worker would notice late that its parent was killed.
    threading.Thread(target=watch, daemon=True).start()
