"""`render_doses`: the same faces of the lab with one artifact at a time turned up."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.lab import ARTIFACTS, COUNTS, FORGERIES, FRAMES, Clip
from probe.datasets.lab.clip import identity_name
from probe.datasets.lab.rendering import Rendering
from probe.datasets.workers import worker_pool
from probe.errors import ProbeError, UnknownNameError
from probe.progress import progress_bar
from probe.schema import DATASETS, SPLITS

__all__ = ["DOSES", "OTHERS", "DosedImages", "check_videos", "render_doses"]

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)

#: Videos a dataset: few enough that one large detector takes well under a minute on two cores.
VIDEOS = 12

#: What the artifacts that are not turned up are at: nought, or the video's own doses.
OTHERS = ("none", "own")

#: Stands in the column ``artifact`` for the real image.
REAL_IMAGE = ""


@dataclass(frozen=True)
class DosedImages:
    """Rendered images, and which of them shows which artifact at which dose.

    Attributes
    ----------
    images : numpy.ndarray
        Shape (n, size, size, 3), RGB, 0 to 255.
    table : pandas.DataFrame
        One row a question: ``dataset, identity, video, frame, artifact, dose`` and ``image``, the
        position in `images`. ``artifact`` is "" for the real image. Where all others are at nought,
        dose 0 of every artifact is one image.
    attrs : dict
        ``others, split, frames, doses, artifacts, videos, lab_seed, lab_size``.
    """

    images: NDArray[np.uint8]
    table: pd.DataFrame
    attrs: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _KeptClip(Clip):
    """A clip that renders each head once, whatever is then done to the picture of it."""

    kept: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def _real(self, number: int) -> Rendering:
        key = ("real", number)
        if key not in self.kept:
            self.kept[key] = super()._real(number)
        return self.kept[key]  # type: ignore[no-any-return]

    def _content(
        self, number: int, doses: Mapping[str, float], real: Rendering
    ) -> NDArray[np.float64]:
        key = (number, doses["identity"], doses["expression"])
        if key not in self.kept:
            self.kept[key] = super()._content(number, doses, real)
        return self.kept[key]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Job:
    """One frame of one video, with all its artifacts and doses."""

    clip: _KeptClip
    number: int
    artifacts: tuple[str, ...]
    doses: tuple[float, ...]
    others: str

    @property
    def identity(self) -> str:
        return identity_name(self.clip.dataset, self.clip.split, self.clip.target)

    @property
    def base(self) -> dict[str, float]:
        """What all artifacts are at that are not turned up."""
        own = FORGERIES[self.clip.dataset].doses
        return dict.fromkeys(own, 0.0) if self.others == "none" else {}


def render_doses(
    datasets: Sequence[str] = DATASETS,
    artifacts: Sequence[str] | None = None,
    doses: Sequence[float] = DOSES,
    *,
    others: str = "none",
    split: str = "test",
    videos: int | None = VIDEOS,
    frames: Sequence[int] = (0,),
    size: int = 128,
    seed: int = 0,
    n_workers: int | None = None,
) -> DosedImages:
    """Render faces of the lab with one artifact's dose turned up, all else held.

    Scene, motion, the camera's noise and the doses of the other artifacts stay the same, so that
    what changes between two images of a question is the artifact alone. Render once for any number
    of detectors.

    Parameters
    ----------
    datasets : sequence of str
        Which of the lab's six.
    artifacts : sequence of str, optional
        Which artifacts, each where the dataset's method has it; all by default.
    doses : sequence of float
        Ascending from 0, in [0, 1].
    others : {"none", "own"}
        The artifacts that are not turned up: nought (each artifact by itself on the real frame), or
        the video's own doses (each artifact in the company it comes in).
    split : {"train", "val", "test"}
        Whose people.
    videos : int or None, default 12
        Videos a dataset, each of another identity; None for all of the split (25 in test). The lab
        draws each of its own seed, so that none is like the one before it, and any will do. With 12
        and all six datasets, 1,248 images are rendered where all others are at nought.
    frames : sequence of int
        Which frames of each video, from 0 to 3.
    size : int, default 128
        Side of the images in pixels.
    seed : int, default 0
        Seed of the lab.
    n_workers : int, optional
        Processes; all cores by default.

    Returns
    -------
    DosedImages

    Raises
    ------
    UnknownNameError
        If a dataset, artifact or split is not known.
    ProbeError
        If an argument is out of range, or no dataset has an artifact.
    """
    _check_names(datasets, artifacts, split, others)
    pool = COUNTS[split] // (2 * FRAMES)
    count = pool if videos is None else videos
    check_videos(split, count)
    _check_numbers(doses, frames, n_workers)
    wanted = tuple(artifacts if artifacts is not None else ARTIFACTS)
    steps = tuple(map(float, doses))
    jobs = [
        _Job(_KeptClip(name, split, video, pool, size, seed), frame, own, steps, others)
        for name in datasets
        if (own := tuple(a for a in wanted if a in FORGERIES[name].doses))
        for video in range(count)
        for frame in frames
    ]
    _check_found(jobs, datasets, wanted, artifacts is not None)
    pictures, rows = _rendered(jobs, n_workers or os.cpu_count() or 1)
    shown = [a for a in wanted if any(a in job.artifacts for job in jobs)]
    attrs = {
        "others": others,
        "split": split,
        "frames": list(map(int, frames)),
        "doses": list(steps),
        "artifacts": shown,
        "lab_seed": seed,
        "lab_size": size,
        "videos": count,
    }
    return DosedImages(pictures, rows, attrs)


def _rendered(jobs: list[_Job], n_workers: int) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    pictures: list[NDArray[np.uint8]] = []
    tables: list[pd.DataFrame] = []
    done = 0
    with progress_bar("render doses", len(jobs)) as advance:
        for images, table in _run(jobs, n_workers):
            pictures.append(images)
            tables.append(table.assign(image=table["image"] + done))
            done += len(images)
            advance(1)
    return np.concatenate(pictures), pd.concat(tables, ignore_index=True)


def _run(jobs: list[_Job], n_workers: int) -> Iterator[tuple[NDArray[np.uint8], pd.DataFrame]]:
    n_workers = min(n_workers, len(jobs))
    if n_workers <= 1:
        yield from map(_render, jobs)
        return
    with worker_pool(n_workers) as pool:
        yield from pool.map(_render, jobs, chunksize=2)


def _render(job: _Job) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """Render one frame at all artifacts and doses; equal doses are one image."""
    clip = job.clip
    real = clip.frame(job.number, dict.fromkeys(FORGERIES[clip.dataset].doses, 0.0)).real
    images, rows, known = [real], [(REAL_IMAGE, 0.0, 0)], {}
    for artifact, dose in itertools.product(job.artifacts, job.doses):
        used = {**job.base, artifact: dose}
        key = tuple(sorted(used.items()))
        if key not in known:
            known[key] = len(images)
            images.append(clip.frame(job.number, used).fake)
        rows.append((artifact, dose, known[key]))
    table = pd.DataFrame(rows, columns=["artifact", "dose", "image"])
    table = table.assign(
        dataset=clip.dataset, identity=job.identity, video=clip.video, frame=job.number
    )
    # Renderings were only good for this frame.
    clip.kept.clear()
    return np.stack(images), table


def _check_names(
    datasets: Sequence[str], artifacts: Sequence[str] | None, split: str, others: str
) -> None:
    chosen: list[tuple[str, Sequence[str], Sequence[str]]] = [
        ("lab dataset", datasets, DATASETS),
        ("artifact", artifacts or (), ARTIFACTS),
        ("split", [split], SPLITS),
        ("choice of others", [others], OTHERS),
    ]
    for kind, given, allowed in chosen:
        if isinstance(given, str) or len(set(given)) < len(given):
            raise ProbeError(f"{given!r} was given; it takes a list in which each stands once.")
        for name in given:
            if name not in allowed:
                raise UnknownNameError(kind, name, allowed)


def check_videos(split: str, videos: int) -> None:
    """Raise `ProbeError` for a number of videos that a split of the lab does not have."""
    pool = COUNTS[split] // (2 * FRAMES)
    if not 1 <= videos <= pool:
        raise ProbeError(
            f"videos={videos} was given; the split has {pool} of each dataset, one an identity."
        )


def _check_numbers(doses: Sequence[float], frames: Sequence[int], n_workers: int | None) -> None:
    steps = list(doses)
    if len(steps) < 2 or steps[0] != 0 or steps != sorted({*steps}) or steps[-1] > 1:
        raise ProbeError(
            f"doses={steps} was given; a response takes two or more, ascending from 0 to at most 1."
        )
    if not len(frames) or not {*frames} <= {*range(FRAMES)} or len({*frames}) < len(frames):
        raise ProbeError(
            f"frames={list(frames)} was given; a video has frames 0 to {FRAMES - 1}, and one or "
            "more are needed, each once."
        )
    if n_workers is not None and n_workers < 1:
        raise ProbeError(f"n_workers={n_workers} was given; allowed are 1 and above, or None.")


def _check_found(
    jobs: list[_Job], datasets: Sequence[str], wanted: tuple[str, ...], named: bool
) -> None:
    found = {artifact for job in jobs for artifact in job.artifacts}
    lacking = [artifact for artifact in wanted if artifact not in found]
    if not jobs or (named and lacking):
        own = dict.fromkeys(a for name in datasets for a in FORGERIES[name].doses)
        raise ProbeError(
            f"Artifacts {', '.join(lacking)} were asked for in {', '.join(datasets) or 'none'}, "
            f"which cannot have them. Allowed are {', '.join(own) or 'those of a dataset'}."
        )
