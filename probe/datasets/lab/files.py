"""Writing of the lab to disk: parallel over videos, resumable, equal for any number of workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.cache import cache_folder
from probe.datasets.dataset import CARD_FILE, Dataset, Samples, read_native, write_native
from probe.datasets.lab.clip import FRAMES, Clip, check_doses, identity_name
from probe.datasets.lab.forgery import ARTIFACTS, FORGERIES
from probe.datasets.work import worker_pool
from probe.errors import DatasetError, UnknownNameError
from probe.progress import progress_bar
from probe.schema import DATASETS, FAKE, REAL, SPLITS

__all__ = ["COUNTS", "make", "open_lab"]

#: Images per dataset and split, real and fake together.
COUNTS = {"train": 400, "val": 104, "test": 200}
PARTS = "parts"
PLAN_FILE = "making.json"


@dataclass(frozen=True)
class _Job:
    """One video to render."""

    clip: Clip
    doses: Mapping[str, float]
    root: Path

    @property
    def key(self) -> str:
        return f"{self.clip.dataset}-{self.clip.split}-{self.clip.video:04d}"

    @property
    def part(self) -> Path:
        return self.root / PARTS / f"{self.key}.json"


def make(
    out: Path,
    *,
    size: int = 128,
    identities: int | None = None,
    seed: int = 0,
    datasets: Sequence[str] = DATASETS,
    doses: Mapping[str, float] | None = None,
    counts: Mapping[str, int] | None = None,
    n_workers: int | None = None,
) -> Dataset:
    """Render lab datasets to disk.

    Parameters
    ----------
    out : path
        Output folder. A finished one with the same plan is opened, an interrupted one completed.
    size : int, default 128
        Side of the images in pixels, an even number from 32.
    identities : int, optional
        Total number of identities; by default one per video. Each dataset and split has at least
        two.
    seed : int, default 0
        Random seed. The same seed and versions give the same bytes on one machine, and the same
        images within one gray level on others.
    datasets : sequence of str
        Datasets to render; all six by default.
    doses : mapping, optional
        Artifact to dose in [0, 1], replacing the videos' own doses; 0 switches the artifact off.
        A dose applies to methods that have the artifact; it is always 0 for others.
    counts : mapping, optional
        Split to number of images per dataset, rounded up to whole videos of 8 images (4 real, 4
        fake); 400, 104 and 200 for train, val and test by default.
    n_workers : int, optional
        Number of processes; one per core by default.

    Returns
    -------
    Dataset
        The lab datasets as one.

    Raises
    ------
    UnknownNameError
        If a dataset, split or artifact is not known.
    DatasetError
        If an argument is out of range, or `out` holds another plan.
    """
    out = Path(out)
    plan = _plan(size, identities, seed, datasets, doses, counts)
    if n_workers is not None and n_workers < 1:
        raise DatasetError(f"n_workers={n_workers} was given; allowed are 1 and above, or None.")
    if (out / CARD_FILE).is_file():
        return _finished(out, plan)
    _begin(out, plan)
    jobs = _jobs(out, plan)
    left = [job for job in jobs if not job.part.is_file()]
    with progress_bar("make the lab", len(jobs)) as advance:
        advance(len(jobs) - len(left))
        for _ in _run(left, n_workers or os.cpu_count() or 1):
            advance(1)
    rows = [row for job in jobs for row in json.loads(job.part.read_text(encoding="utf-8"))]
    dataset = Dataset("lab", Samples(pd.DataFrame(rows)), out, _card(plan))
    write_native(dataset)
    shutil.rmtree(out / PARTS)
    return dataset


def open_lab(
    name: str,
    split: str | None = None,
    root: Path | None = None,
    size: int = 128,
    seed: int = 0,
) -> Dataset:
    """Open the lab, and render it first if it does not exist.

    Parameters
    ----------
    name : str
        "lab" for all six datasets, "lab:faceswap" for one of them.
    split : str, optional
        Split to keep; all splits by default.
    root : path, optional
        Folder to keep it in; the user's cache by default (or ``PROBE_CACHE``).
    size, seed : int
        As in `make`.

    Raises
    ------
    UnknownNameError
        If there is no such lab dataset or split.
    """
    _, _, part = name.partition(":")
    if part and part not in DATASETS:
        raise UnknownNameError("lab dataset", part, DATASETS, remedy="All six are `lab`.")
    if split is not None and split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    where = root or cache_folder() / f"lab-{size}-{seed}-{version('deepfake-probe')}"
    data = make(where, size=size, seed=seed)
    equal: dict[str, Any] = {"dataset": part} if part else {}
    equal |= {"split": split} if split else {}
    kept = data.select(**equal) if equal else data
    return Dataset(name, kept.samples, kept.root, kept.card)


def _plan(
    size: int,
    identities: int | None,
    seed: int,
    datasets: Sequence[str],
    doses: Mapping[str, float] | None,
    counts: Mapping[str, int] | None,
) -> dict[str, Any]:
    _check_choice(datasets, counts or COUNTS)
    if size < 32 or size % 2:
        raise DatasetError(f"size={size} was given; allowed are even numbers from 32.")
    if seed < 0:
        raise DatasetError(f"seed={seed} was given; allowed are 0 and above.")
    if identities is not None and identities < 2 * len(SPLITS) * len(datasets):
        raise DatasetError(
            f"identities={identities} was given; at least {2 * len(SPLITS) * len(datasets)} are "
            "needed, two for each dataset and split, since a swap takes two."
        )
    check_doses(doses or {}, *datasets)
    return {
        "size": size,
        "identities": identities,
        "seed": seed,
        "datasets": list(datasets),
        "doses": dict(doses or {}),
        "counts": {s: (counts or COUNTS).get(s, 0) for s in SPLITS},
        "version": version("deepfake-probe"),
    }


def _check_choice(datasets: Sequence[str], counts: Mapping[str, int]) -> None:
    for name in datasets:
        if name not in DATASETS:
            raise UnknownNameError("lab dataset", name, DATASETS)
    if not datasets or len(set(datasets)) < len(datasets):
        raise DatasetError(
            f"datasets={list(datasets)} was given; give at least one, and each once. Allowed are "
            f"{', '.join(DATASETS)}."
        )
    for name in counts:
        if name not in SPLITS:
            raise UnknownNameError("split", name, SPLITS)
    if min(counts.values(), default=0) < 0 or not sum(counts.values()):
        raise DatasetError(
            f"counts={dict(counts)} was given; allowed are 0 or more images per split, and at "
            "least one image in total."
        )


def _begin(out: Path, plan: Mapping[str, Any]) -> None:
    file = out / PLAN_FILE
    if file.is_file():
        _require_same(out, json.loads(file.read_text(encoding="utf-8")), plan)
    elif out.is_dir() and any(out.iterdir()):
        raise DatasetError(f"{str(out)!r} holds something else. Give an empty folder or a new one.")
    (out / PARTS).mkdir(parents=True, exist_ok=True)
    _write(file, json.dumps(plan, indent=2, sort_keys=True).encode() + b"\n")


def _finished(out: Path, plan: Mapping[str, Any]) -> Dataset:
    dataset = read_native(out, "lab")
    _require_same(out, dataset.card.get("plan", {}), plan)
    return dataset


def _require_same(out: Path, found: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    differ = [key for key in plan if found.get(key) != plan[key]]
    if differ:
        raise DatasetError(
            f"{str(out)!r} holds a dataset that differs in {', '.join(differ)} "
            f"({', '.join(f'{key} {found.get(key)}' for key in differ)}). Choose another folder, "
            "or remove this one."
        )


def _jobs(out: Path, plan: Mapping[str, Any]) -> list[_Job]:
    videos = {split: -(-count // (2 * FRAMES)) for split, count in plan["counts"].items()}
    jobs = []
    for dataset in plan["datasets"]:
        own = {k: dose for k, dose in plan["doses"].items() if k in FORGERIES[dataset].doses}
        for split, count in videos.items():
            for video in range(count):
                jobs.append(_Job(Clip.of_plan(plan, dataset, split, video), own, out))
    return jobs


def _run(jobs: Sequence[_Job], n_workers: int) -> Iterator[None]:
    n_workers = min(n_workers, len(jobs))
    if n_workers <= 1:
        yield from map(_make_video, jobs)
        return
    with worker_pool(n_workers) as pool:
        yield from pool.map(_make_video, jobs, chunksize=2)


def _make_video(job: _Job) -> None:
    rows = [row for number in range(FRAMES) for row in _make_frame(job, number)]
    _write(job.part, json.dumps(rows).encode())


def _make_frame(job: _Job, number: int) -> Iterator[dict[str, Any]]:
    clip = job.clip
    frame = clip.frame(number, job.doses)
    ids = {label: f"{job.key}-{number}-{name}" for label, name in ((REAL, "real"), (FAKE, "fake"))}
    folder = f"{clip.dataset}/{clip.split}"
    mask = f"masks/{folder}/{ids[FAKE]}.png"
    _write_png(job.root / mask, frame.mask)
    doses = {**clip.doses, **job.doses}
    for label, image in ((REAL, frame.real), (FAKE, frame.fake)):
        path = f"images/{folder}/{ids[label]}.png"
        digest = _write_png(job.root / path, image[..., ::-1])
        yield {
            **_row(clip, number, label),
            "sample": ids[label],
            "pair": ids[1 - label],
            "path": path,
            "mask": mask if label == FAKE else "",
            "digest": digest,
            **{f"dose_{name}": doses[name] if label == FAKE else 0.0 for name in ARTIFACTS},
        }


def _row(clip: Clip, number: int, label: int) -> dict[str, Any]:
    target, other = (identity_name(clip.dataset, clip.split, n) for n in (clip.target, clip.other))
    swapped = "identity" in FORGERIES[clip.dataset].doses
    driven = "expression" in FORGERIES[clip.dataset].doses
    fake = label == FAKE
    return {
        "dataset": clip.dataset,
        "split": clip.split,
        "label": label,
        "method": clip.dataset if fake else "real",
        "video": f"{clip.split}-{clip.video:04d}-{'fake' if fake else 'real'}",
        "identity": target,
        "source": other if fake and swapped else "",
        "driver": other if fake and driven else target,
        "frame": number,
    }


def _write_png(path: Path, image: NDArray[np.uint8]) -> str:
    packed = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()
    _write(path, packed)
    return hashlib.blake2b(packed, digest_size=16).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)


def _card(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "layout": "lab",
        "plan": dict(plan),
        "simulated": True,
        "label_convention": "0 real, 1 fake, by construction",
        "crop": {"rule": "rendered as a crop of margin 1.3; nothing is cut", "size": plan["size"]},
        "license": "CC0-1.0 (head shapes: MakeHuman, CC0); nobody's likeness",
        "forgeries": {name: dict(FORGERIES[name].doses) for name in plan["datasets"]},
        "frames_per_video": FRAMES,
    }
