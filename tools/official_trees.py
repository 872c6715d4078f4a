"""Write official FaceForensics++, Celeb-DF v2 and DFD trees of any size from the lab's heads.

A maintainer's script, from the repository's root::

    python tools/official_trees.py runs/trees --people 60 24 20 --frames 8 --size 288

The videos are h264 in mp4 under the official names, with the official lists and splits in
proportion; every fake is the lab's forgery of that method, on its own original. Videos that are
there are kept, so an interrupted run goes on; the seed decides the rest.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av
import click
import cv2
import numpy as np
from numpy.typing import NDArray

from probe.datasets.lab.clip import CAMERA, CLIP, DRIVER, FORGE, MOTION, Clip
from probe.datasets.lab.forgery import ARTIFACTS, FORGERIES, compose
from probe.datasets.lab.person import Motion, draw_motion
from probe.datasets.lab.scene import DOMAINS, capture
from probe.datasets.work import worker_pool
from probe.progress import progress_bar
from probe.schema import DATASETS

FFPP, CELEBDF = "FaceForensics++", "Celeb-DF-v2"
MANIPULATED = {
    "deepfakes": "Deepfakes",
    "face2face": "Face2Face",
    "faceswap": "FaceSwap",
    "neuraltextures": "NeuralTextures",
}
SCENES = ("walking_outside_cafe_disgusted", "kitchen_pan")
RATE = 25
#: Share of a frame's side that the head's picture takes, at the bottom in the middle.
HEAD = 0.72


@dataclass(frozen=True)
class Shot(Clip):
    """One original video of any length, forged by any method; `dataset` is how it was filmed."""

    frames: int = 4

    def fake(self, method: str, source: int) -> Forged:
        """Give a forgery of this video."""
        own = (self.dataset, self.split, self.video, self.pool, self.size, self.seed, self.frames)
        return Forged(*own, method=method, source=source)

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """Film the original."""
        for number in range(self.frames):
            yield self._filmed(self._real(number).image, number)

    def _filmed(self, image: NDArray[np.float64], number: int) -> NDArray[np.uint8]:
        return capture(image, DOMAINS[self.dataset], self._rng(CAMERA, number))

    @cached_property
    def _motions(self) -> list[Motion]:
        return draw_motion(self._rng(MOTION), self.frames)


@dataclass(frozen=True)
class Forged(Shot):
    """A forged video, its face or its expression from another person."""

    method: str = "deepfakes"
    source: int = 0

    @property
    def other(self) -> int:
        """Number of the person who gives the face, or the expression."""
        return self.source

    @cached_property
    def doses(self) -> dict[str, float]:
        """Doses of the method, up to a fifth lower."""
        rng, given = self._rng(CLIP, 1 + DATASETS.index(self.method)), FORGERIES[self.method].doses
        shares = {name: rng.uniform(0.8, 1.0) for name in ARTIFACTS}
        return {name: float(given.get(name, 0.0) * share) for name, share in shares.items()}

    def pairs(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Film the forgery, with its masks."""
        for number in range(self.frames):
            real = self._real(number)
            content, rng = self._content(number, self.doses, real), self._rng(FORGE)
            image, support = compose(real, content, FORGERIES[self.method], self.doses, rng)
            mask = np.repeat(support.astype(np.uint8)[..., None] * 255, 3, axis=2)
            yield self._filmed(image, number), mask

    @cached_property
    def _driver(self) -> list[Motion]:
        return draw_motion(self._rng(DRIVER, self.source), self.frames)


@dataclass(frozen=True)
class Job:
    """An original video and its forgeries: method, source, file, and file of masks or None."""

    shot: Shot
    side: int
    file: Path
    fakes: Sequence[tuple[str, int, Path, Path | None]] = field(default=())

    def files(self) -> Iterator[Path]:
        """List what it writes."""
        yield self.file
        for *_, file, masks in self.fakes:
            yield from (one for one in (file, masks) if one)


def make_job(job: Job) -> None:
    """Write the videos of a job that are not there."""
    if not job.file.is_file():
        write_video(job.file, (_framed(one, job.side) for one in job.shot.images()))
    for method, source, file, masks in job.fakes:
        if file.is_file() and (masks is None or masks.is_file()):
            continue
        images, supports = zip(*job.shot.fake(method, source).pairs(), strict=True)
        if masks is not None:
            write_video(masks, (_framed(one, job.side, cv2.BORDER_CONSTANT) for one in supports))
        write_video(file, (_framed(one, job.side) for one in images))


def _framed(image: NDArray[np.uint8], side: int, border: int = cv2.BORDER_REPLICATE) -> NDArray:
    """Put a head's picture at the bottom of a frame, in the middle."""
    room = side - len(image)
    left = room // 2
    return np.asarray(cv2.copyMakeBorder(image, room, 0, left, room - left, border))


def write_video(file: Path, images: Iterator[NDArray[np.uint8]]) -> None:
    """Encode images as H.264 in MP4; the file is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".part")
    with av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for number, image in enumerate(images):
            if not number:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    partial.replace(file)


def split_pairs(people: int) -> dict[str, list[list[str]]]:
    """Divide ids into pairs and splits: 720, 140, 140 of 1000; of few people, more for the rest."""
    share = max(round(0.14 * people), min(people // 4, 12)) // 2
    ids = [f"{k:03}" for k in range(people - people % 2)]
    pairs = [[ids[k], ids[k + 1]] for k in range(0, len(ids), 2)]
    train = len(pairs) - 2 * share
    return {
        "train": pairs[:train],
        "val": pairs[train : train + share],
        "test": pairs[train + share :],
    }


def faceforensics(root: Path, people: int, frames: int, size: int, seed: int) -> Iterator[Job]:
    """List the youtube originals with four forgeries each; write the splits."""
    splits = split_pairs(people)
    for name, pairs in splits.items():
        _write(root / f"splits/{name}.json", json.dumps(pairs))
    partner = {
        a: b for one, two in itertools.chain(*splits.values()) for a, b in ((one, two), (two, one))
    }
    for target, source in partner.items():
        shot = Shot("deepfakes", "train", int(target), people, _head(size), seed, frames)
        fakes = []
        for method, folder in MANIPULATED.items():
            here, name = root / "manipulated_sequences" / folder, f"{target}_{source}.mp4"
            files = here / "c23/videos" / name, here / "masks/videos" / name
            fakes.append((method, int(source), *files))
        original = root / f"original_sequences/youtube/c23/videos/{target}.mp4"
        yield Job(shot, size, original, fakes)


def dfd(root: Path, people: int, frames: int, size: int, seed: int) -> Iterator[Job]:
    """List the actors' videos, a forgery each, in every scene."""
    for number, actor in itertools.product(range(len(SCENES)), range(people)):
        shot = Shot("dfd", "train", number * people + actor, people, _head(size), seed, frames)
        source = (actor + 1 + number) % people
        scene, folder = SCENES[number], root / "manipulated_sequences/DeepFakeDetection"
        code = "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[k] for k in shot._rng(CLIP).integers(0, 26, 8))
        name = f"{actor + 1:02}_{source + 1:02}__{scene}__{code}.mp4"
        fake = ("dfd", source, folder / "c23/videos" / name, folder / "masks/videos" / name)
        original = f"original_sequences/actors/c23/videos/{actor + 1:02}__{scene}.mp4"
        yield Job(shot, size, root / original, [fake])


def celebdf(root: Path, people: int, frames: int, size: int, seed: int) -> Iterator[Job]:
    """List two videos a person, two forgeries each, and some of unnamed people; write the list."""
    listed = []
    for number, person in itertools.product(range(2), range(people)):
        shot = Shot("celebdf", "train", number * people + person, people, _head(size), seed, frames)
        real = f"Celeb-real/id{person}_{number:04}.mp4"
        sources = [(person + step) % people for step in (1 + 2 * number, 5 + 2 * number)]
        fakes = [f"Celeb-synthesis/id{person}_id{one}_{number:04}.mp4" for one in sources]
        # Persons hang together, and stand in training and in testing alike, as in the official.
        if (person + number) % 4 == 0:
            listed += [f"1 {real}", *(f"0 {fake}" for fake in fakes)]
        forged = [
            ("celebdf", one, root / fake, None) for one, fake in zip(sources, fakes, strict=True)
        ]
        yield Job(shot, size, root / real, forged)
    for number in range(people // 8):
        real = f"YouTube-real/{number:05}.mp4"
        listed += [f"1 {real}"] if number % 4 == 0 else []
        own = Shot("celebdf", "val", number, max(2, people // 3), _head(size), seed, frames)
        yield Job(own, size, root / real)
    _write(root / "List_of_testing_videos.txt", "\n".join(listed) + "\n")


def _head(size: int) -> int:
    return 2 * round(HEAD * size / 2)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def make_trees(
    out: Path, people: tuple[int, int, int], frames: int, size: int, seed: int, n_workers: int
) -> Mapping[str, Path]:
    """Write the three trees; give their roots by the name that studies use."""
    roots = {"FFPP_ROOT": out / FFPP, "CELEBDF_ROOT": out / CELEBDF}
    made = [
        faceforensics(roots["FFPP_ROOT"], people[0], frames, size, seed),
        celebdf(roots["CELEBDF_ROOT"], people[1], frames, size, seed),
        dfd(roots["FFPP_ROOT"], people[2], frames, size, seed),
    ]
    jobs = [job for one in made for job in one]
    left = [job for job in jobs if not all(file.is_file() for file in job.files())]
    with progress_bar("official trees", len(jobs)) as advance:
        advance(len(jobs) - len(left))
        if left:
            with worker_pool(n_workers) as pool:
                for _ in pool.map(make_job, left):
                    advance(1)
    return roots


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--people",
    nargs=3,
    type=int,
    default=(60, 24, 20),
    show_default=True,
    help="Of FaceForensics++, Celeb-DF and DFD.",
)
@click.option("--frames", default=8, show_default=True, help="Frames a video.")
@click.option("--size", default=288, show_default=True, help="Side of the frames in pixels; even.")
@click.option("--seed", default=0, show_default=True)
@click.option("--n-workers", type=int, default=os.cpu_count() or 1)
def main(
    out: Path, people: tuple[int, int, int], frames: int, size: int, seed: int, n_workers: int
) -> None:
    """Write the trees, and say what `probe run studies/paper.toml` needs."""
    for name, root in make_trees(out, people, frames, size, seed, n_workers).items():
        click.echo(f"export {name}={root.resolve()}")


if __name__ == "__main__":
    main()
