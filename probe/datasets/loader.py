"""`Images`: the images of datasets at a detector's input size, decoded ahead by workers."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset, resize
from probe.datasets.decoding import read_image
from probe.datasets.work import worker_pool
from probe.errors import DatasetError
from probe.progress import note

__all__ = ["Images", "decoding_by", "first_rows"]

Pixels = NDArray[np.uint8]

#: An array, or the file and shape of a memory-mapped array.
_Place = Pixels | tuple[str, tuple[int, ...]]

#: Bytes up to which decoded images are kept in memory; above, in a temporary file.
MEMORY = 1024**3

#: Images that a worker decodes at a time, and number of such portions queued per worker.
PORTION, AHEAD = 16, 4

#: Total pixels up to which threads decode: processes take a second or two to start.
FEW = 1 << 28

_n_workers: ContextVar[int | None] = ContextVar("n_workers", default=None)


@contextmanager
def decoding_by(n_workers: int | None) -> Iterator[None]:
    """Set the number of decoding workers while the context is open; None means one per core."""
    token = _n_workers.set(n_workers)
    try:
        yield
    finally:
        _n_workers.reset(token)


class Images:
    """The images of datasets at one size, decoded in advance by workers.

    Values and order are those of `Dataset.array`. A file shared by several samples or datasets
    counts as one image. Many images are decoded by processes, which do not import the caller's
    script; few images by threads.

    Parameters
    ----------
    datasets : Dataset or sequence of Dataset
        Datasets whose images can be read; batches can be taken from any part of them.
    size : int
        Side in pixels of the square that images are resized to.
    keep : bool, default False
        Whether to keep decoded images, so that each is decoded only once: in memory if there are
        few, else in a temporary file.
    n_workers : int, optional
        Number of decoding workers; by default as set by `decoding_by`, else one per core.
    memory : int, default 1 GiB
        Bytes up to which kept images stay in memory; above, they are in a temporary file.

    Examples
    --------
    >>> images = Images(data, 256)  # doctest: +SKIP
    >>> for where, pixels in images.batches(data, 64):  # doctest: +SKIP
    ...     print(where, pixels.shape)
    """

    def __init__(
        self,
        datasets: Dataset | Sequence[Dataset],
        size: int,
        *,
        keep: bool = False,
        n_workers: int | None = None,
        memory: int = MEMORY,
    ) -> None:
        those = [datasets] if isinstance(datasets, Dataset) else list(datasets)
        self.size, self.n_workers = size, n_workers or _n_workers.get() or os.cpu_count() or 1
        self._files = list(dict.fromkeys(file for one in those for file in one.files()))
        self._rows = {file: i for i, file in enumerate(self._files)}
        self._many = self.n_workers > 1 and len(self._files) * size * size > FEW
        self._kept: _Space | None = None
        if keep and _fits(len(self._files), size, memory):
            self._kept = _Space(len(self._files), size, self._many, memory)
            self._filled = np.zeros(len(self._files), dtype=bool)

    def batches(
        self,
        data: Dataset,
        batch_size: int | Sequence[int],
        order: NDArray[np.int64] | None = None,
    ) -> Iterator[tuple[slice, Pixels]]:
        """Iterate over batches of images.

        Parameters
        ----------
        data : Dataset
            One of the datasets, or a part of them.
        batch_size : int or sequence of int
            Images per batch, of which the last may be smaller; or the sizes of all batches.
        order : numpy.ndarray, optional
            Positions in `data`, in the order to read them; all samples in order by default.

        Yields
        ------
        slice
            Positions of the batch in `order`.
        numpy.ndarray
            Images of shape (batch, size, size, 3), RGB, 0 to 255; a copy that may be changed.

        Raises
        ------
        ImageError
            If an image cannot be read; the message names it.
        DatasetError
            If a worker process was killed.
        """
        rows = np.array([self._rows[file] for file in data.files()], dtype=np.int64)
        rows = rows if order is None else rows[order]
        if isinstance(batch_size, int):
            ends = [*range(batch_size, len(rows), batch_size), len(rows)] if len(rows) else []
        else:
            ends = list(itertools.accumulate(batch_size))
        wheres = list(map(slice, [0, *ends], ends))
        take = self._passing if self._kept is None else self._keeping
        return take(rows, wheres)

    def _keeping(
        self, rows: NDArray[np.int64], wheres: list[slice]
    ) -> Iterator[tuple[slice, Pixels]]:
        """Yield batches from the kept images, decoding those that are missing."""
        assert self._kept is not None
        space, filled = self._kept, self._filled
        todo = np.fromiter(dict.fromkeys(rows[~filled[rows]].tolist()), dtype=np.int64)
        step = _portion(wheres)
        with self._ahead(space, ((part, part) for part in _portions(todo, step)), step) as next_one:
            for where in wheres:
                while not filled[rows[where]].all():
                    filled[next_one(None)] = True
                yield where, space.take(rows[where])

    def _passing(
        self, rows: NDArray[np.int64], wheres: list[slice]
    ) -> Iterator[tuple[slice, Pixels]]:
        """Yield batches through a ring buffer of images decoded in advance."""
        batch, step = max((one.stop - one.start for one in wheres), default=0), _portion(wheres)
        room = -(-batch // step) + 1 + AHEAD * self.n_workers
        room = min(room, -(-len(rows) // step)) * step
        space = _Space(room, self.size, self._many)
        places = np.arange(len(rows)) % max(len(space), 1)
        portions = ((part, rows[part]) for part in _portions(np.arange(len(rows)), step))
        targets = ((places[part], those) for part, those in portions)
        done = 0
        with self._ahead(space, targets, step) as next_one:
            for where in wheres:
                while done < where.stop:
                    # A slot is overwritten only after its image was yielded.
                    done += len(next_one(where.start + len(space) - done))
                yield where, space.take(places[where])

    @contextmanager
    def _ahead(
        self,
        space: _Space,
        portions: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]],
        step: int,
    ) -> Iterator[Callable[[int | None], NDArray[np.int64]]]:
        """Decode portions in advance, in order; yield a function that waits for the next one."""
        waiting: deque[tuple[Future[None], NDArray[np.int64]]] = deque()
        with _workers(self.n_workers, self._many) as pool:

            def next_one(room: int | None) -> NDArray[np.int64]:
                most = AHEAD * self.n_workers
                if room is not None:
                    most = max(1, min(most, room // step))
                for targets, rows in itertools.islice(portions, max(0, most - len(waiting))):
                    files = [self._files[row] for row in rows]
                    waiting.append(
                        (pool.submit(_decode, space.place, targets, files, self.size), targets)
                    )
                future, targets = waiting.popleft()
                try:
                    future.result()
                except (CancelledError, BrokenExecutor) as error:
                    raise DatasetError(
                        "A worker that decodes images was killed, perhaps for lack of memory. Run "
                        "again, with n_workers=1 if it happens again."
                    ) from error
                return targets

            try:
                yield next_one
            finally:
                for future, _ in waiting:
                    future.cancel()


class _Space:
    """Storage for decoded images: an array, or a mapped file if it is large or shared."""

    def __init__(self, count: int, size: int, shared: bool, memory: int = MEMORY) -> None:
        shape = (count, size, size, 3)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.place: _Place
        if count and (shared or count * size * size * 3 > memory):
            self._folder = tempfile.TemporaryDirectory(prefix="probe-images-")
            file = str(Path(self._folder.name) / "pixels")
            _reserve(file, count * size * size * 3)
            self._pixels: Pixels = np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
            self.place = (file, shape)
        else:
            self.place = self._pixels = np.empty(shape, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._pixels)

    def take(self, rows: NDArray[np.int64]) -> Pixels:
        """Return a copy of the images in these rows."""
        return np.asarray(self._pixels[rows])


def _reserve(file: str, size: int) -> None:
    """Create a file of this size on disk: writing to a map of a sparse file could crash."""
    try:
        with open(file, "wb") as new:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(new.fileno(), 0, size)
            else:
                new.truncate(size)
    except OSError as error:
        raise DatasetError(
            f"{size / 1e6:,.0f} MB for decoded images cannot be allocated in "
            f"{tempfile.gettempdir()!r} ({error.strerror}). Free disk space there, or set the "
            "variable TMPDIR to another folder."
        ) from error


def _decode(place: _Place, targets: NDArray[np.int64], files: list[str], size: int) -> None:
    """Decode files into an array or a memory-mapped file."""
    if isinstance(place, tuple):
        place = np.memmap(place[0], dtype=np.uint8, mode="r+", shape=place[1])
    for target, file in zip(targets, files, strict=True):
        place[target] = resize(read_image(Path(file)).pixels, size)


@contextmanager
def _workers(count: int, processes: bool) -> Iterator[Executor]:
    if not processes:
        with ThreadPoolExecutor(count) as threads:
            yield threads
        return
    with worker_pool(count) as pool:
        yield pool


def first_rows(data: Dataset) -> NDArray[np.int64]:
    """Return for each sample the position of the first sample with the same file, shape (n,)."""
    codes, files = pd.factorize(np.array(data.files(), dtype=object))
    first = np.full(len(files), len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    return np.asarray(first[codes])


def _portions(rows: NDArray[np.int64], step: int) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _portion(wheres: Sequence[slice]) -> int:
    """Return the images per portion: at most a batch, so that a bad image stops only its batch."""
    return min(PORTION, max((one.stop - one.start for one in wheres), default=1))


def _fits(count: int, size: int, memory: int) -> bool:
    """Whether decoded images can be kept; prints a note if the disk has no room for them."""
    need = count * size * size * 3
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if need <= memory or need < 0.8 * free:
        return True
    note(
        f"{count} decoded images take {need / 1e9:.1f} GB, and {tempfile.gettempdir()} has "
        f"{free / 1e9:.1f} GB free: they are decoded again for each pass. Set the variable TMPDIR "
        "to use another folder."
    )
    return False
