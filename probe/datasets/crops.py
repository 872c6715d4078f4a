"""The crop cache: crops of a source file by one rule are made once and shared by all runs.

An entry is a folder, ``crops/<rule>/<first two digits>/<digest>``: the images of one video, its
masks and ``clip.json``. The digest depends on the content of the video's and masks' files, not on
their paths. The rule's folder is named by everything else that determines the images: frames, crop,
size, margin, face detector, alignment, and the versions of the packages that decode, detect and
crop.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from probe.datasets.cache import cache_folder
from probe.datasets.layouts import (
    ImageFiles,
    Media,
    ParquetImages,
    TarImages,
    VideoEntry,
    VideoFile,
)
from probe.datasets.report import BOXES, CutRule
from probe.datasets.work import Job, Placed, run_jobs
from probe.errors import DatasetError
from probe.progress import progress_bar

if TYPE_CHECKING:
    from probe.datasets.clips import Clip, ClipTask
    from probe.datasets.faces import Face

__all__ = ["crops_folder", "cut_once", "make_once", "parse_sources"]

#: File with the content hash of each source file by its path, size and modification time.
SOURCES_FILE = "sources.txt"
RULE_FILE = "rule.json"

#: Version of the cropping code; to be increased with every change that changes crops.
CUTTING = 2

_BLOCK = 2**20

Boxes = Mapping[str, Mapping[int, "Face"]]


def crops_folder() -> Path:
    """Return the folder of the crop cache; it may not exist yet."""
    return cache_folder() / "crops"


def cut_once(
    videos: Sequence[VideoEntry],
    rule: CutRule,
    n_workers: int,
    text: str,
    boxes: Boxes | None = None,
) -> Iterator[Placed]:
    """Yield the images of videos from the crop cache, and add those that are missing.

    Parameters
    ----------
    videos : sequence of VideoEntry
        Videos to crop.
    rule : CutRule
        Which frames are used and how faces are cropped.
    n_workers : int
        Number of processes, and of threads that read source files.
    text : str
        Description of the progress bar.
    boxes : mapping, optional
        Face boxes by video key and frame, if the rule uses given boxes.

    Yields
    ------
    Placed
        One per video, in the order of `videos`, with absolute paths.

    Raises
    ------
    DatasetError
        If the cache cannot be written.
    """
    from probe.datasets.clips import ClipTask

    root = _rule_folder(rule)
    lie = [not rule.crop and isinstance(one.media, ImageFiles) for one in videos]
    cut = [one for one, stays in zip(videos, lie, strict=True) if not stays]
    contents = _Contents(crops_folder())
    contents.read(cut, n_workers)
    tasks = []
    for entry, stays in zip(videos, lie, strict=True):
        given = (boxes or {}).get(entry.key, {}) if rule.finder == BOXES else None
        mark = "" if stays else contents.mark(entry, given)
        stamp = "" if stays else _stamp(_files(entry))
        tasks.append(ClipTask(entry, root / mark[:2] / mark, rule, given, stamp))
    yield from run_jobs(Job.of(tasks, root, shared=True), n_workers, text)


def make_once(task: ClipTask) -> Clip:
    """Add one video to the cache, unless another process has done so, holding a lock.

    A damaged entry stays until the new one replaces it.
    """
    from probe.datasets.clips import cut_clip, remove_clip, sound_clip

    with _locked(task.folder.with_name(f".{task.folder.name}.lock")):
        with contextlib.suppress(DatasetError):
            there = sound_clip(task.folder)
            if there is not None:
                return there
        clip = cut_clip(task)
        if _stamp(_files(task.entry)) != task.stamp:
            # The source changed, so the images do not belong to the digest.
            return remove_clip(task, "It was changed while it was read; run again.")
        return clip


def _rule_folder(rule: CutRule) -> Path:
    """Return the folder of a rule, created with a file that describes the rule."""
    content = {**rule.deciding(), "versions": rule.versions(), "cutting": CUTTING}
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    mark = hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    frames = f"every{rule.every}" if rule.every else f"{rule.frames or 'all'}frames"
    how = f"{rule.size}px" if rule.crop else "whole"
    folder = crops_folder() / f"{frames}-{how}-{mark}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RULE_FILE).is_file():
            partial = folder / f"{RULE_FILE}.{os.getpid()}.part"
            partial.write_text(text, encoding="utf-8")
            partial.replace(folder / RULE_FILE)
    except OSError as error:
        raise DatasetError(
            f"The crop cache {str(folder)!r} cannot be written ({error}). Free disk space, or set "
            "the variable PROBE_CACHE to another folder."
        ) from error
    return folder


def parse_sources(text: str) -> dict[str, str]:
    """Return the content hashes in a sources file by file state, skipping incomplete lines."""
    known: dict[str, str] = {}
    for line in text.splitlines():
        stamp, _, rest = line.partition(" ")
        content, _, check = rest.partition(" ")
        # Interrupted or simultaneous writes may leave broken lines.
        if check == _check(stamp, content):
            known[stamp] = content
    return known


class _Contents:
    """Content hashes of files by path, size and modification time, so each is read only once."""

    def __init__(self, root: Path) -> None:
        self.file = root / SOURCES_FILE
        self.known = dict[str, str]()
        with contextlib.suppress(FileNotFoundError):
            self.known = parse_sources(self.file.read_text(encoding="utf-8", errors="replace"))

    def read(self, videos: Sequence[VideoEntry], n_workers: int) -> None:
        """Hash the files that are new or changed, with a progress bar."""
        sets = {files for one in videos for files in (_media_files(one.media), _masks(one))}
        stamps = {_stamp(files): files for files in sets - {()}}
        new = {stamp: files for stamp, files in stamps.items() if stamp not in self.known}
        if not new:
            return
        with (
            progress_bar("read sources", len(new)) as advance,
            ThreadPoolExecutor(n_workers) as pool,
            self.file.open("a", encoding="utf-8") as out,
        ):
            running = {pool.submit(_digest, files): stamp for stamp, files in new.items()}
            try:
                for done in as_completed(running):
                    stamp, content = running[done], done.result()
                    # Not recorded if the file changed meanwhile.
                    if _stamp(new[stamp]) == stamp and content:
                        out.write(f"{stamp} {content} {_check(stamp, content)}\n")
                        out.flush()
                    self.known[stamp] = content or stamp
                    advance(1)
            finally:
                pool.shutdown(cancel_futures=True)

    def mark(self, entry: VideoEntry, boxes: Mapping[int, Face] | None) -> str:
        """Return the digest that names a video's entry in the cache."""
        parts: list[object] = []
        for media in (entry.media, entry.masks):
            parts.append(type(media).__name__)
            if media is not None:
                stamp = _stamp(_media_files(media))
                # Without a hash, the entry is only for this state of the files.
                parts.append(self.known.get(stamp, stamp))
            if isinstance(media, TarImages):
                parts.append(media.members)
            if isinstance(media, ParquetImages):
                parts.append((media.column, media.rows))
            if isinstance(media, ImageFiles):
                parts.append(media.frames or len(media.files))
        if boxes is not None:
            parts.append(sorted(boxes.items()))
        return hashlib.blake2b(
            repr(parts).encode("utf-8", "surrogateescape"), digest_size=16
        ).hexdigest()


def _media_files(media: Media) -> tuple[Path, ...]:
    if isinstance(media, VideoFile | ParquetImages):
        return (media.file,)
    return (media.archive,) if isinstance(media, TarImages) else media.files


def _masks(entry: VideoEntry) -> tuple[Path, ...]:
    return _media_files(entry.masks) if entry.masks is not None else ()


def _files(entry: VideoEntry) -> tuple[Path, ...]:
    return (*_media_files(entry.media), *_masks(entry))


def _stamp(files: Sequence[Path]) -> str:
    """Return a hash of paths, sizes and modification times; of a missing file only the path."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(os.fsencode(os.path.abspath(file)))
        with contextlib.suppress(OSError):
            found = file.stat()
            digest.update(f"\x1f{found.st_size} {found.st_mtime_ns}\x1e".encode())
    return digest.hexdigest()


def _digest(files: Sequence[Path]) -> str:
    """Return a hash of the files' content; empty if one cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        for file in files:
            own = hashlib.blake2b(digest_size=16)
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    own.update(block)
            digest.update(own.digest())
    except OSError:
        return ""
    return digest.hexdigest()


def _check(stamp: str, content: str) -> str:
    return hashlib.blake2b(f"{stamp} {content}".encode(), digest_size=4).hexdigest()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Wait for a lock and hold it; the kernel releases it if this process is killed."""
    try:
        import fcntl
    except ImportError:
        # Windows has no fcntl; two processes may then crop one video twice.
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == file.stat().st_ino:
                break
        # The previous holder has removed this lock file, so the lock is void; try again.
        os.close(descriptor)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)
