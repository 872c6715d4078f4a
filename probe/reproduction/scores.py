"""Scores of a detector under changed settings, computed once and kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from probe.datasets.dataset import Dataset
from probe.datasets.subset import VIDEO
from probe.datasets.video import evenly_spaced
from probe.detectors.detector import Detector
from probe.progress import progress_bar
from probe.reproduction.settings import (
    Change,
    Options,
    Setting,
    changed_input,
    changed_module,
    changed_pixels,
    image_part,
    own_normalization,
    takes,
)

__all__ = ["Material", "Rows", "Scorer"]

Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]

#: Batches whose images are decoded ahead.
AHEAD = 2

#: Factors that change pixels before they become the network's input.
PIXELS = ("decoder", "crop", "jpeg", "size", "interpolation")


@dataclass(frozen=True)
class Rows:
    """Columns of a sample table as arrays, and which rows count under which choice of rows.

    Attributes
    ----------
    label, cluster, video, frame : numpy.ndarray
        Shape (n,): 1 for fake; codes of cluster and video; index of the frame.
    split : numpy.ndarray
        Shape (n,), names.
    given : numpy.ndarray
        Whether a row is in the split that was given, shape (n,), bool.
    repeated : numpy.ndarray
        Whether an earlier row has the same image, shape (n,), bool.
    """

    label: Integers
    cluster: Integers
    video: Integers
    frame: Integers
    split: NDArray[np.object_]
    given: NDArray[np.bool_]
    repeated: NDArray[np.bool_]

    @classmethod
    def of(cls, data: Dataset, split: str | None) -> Rows:
        """Return the rows of a dataset; `split` is the given one, or None for all."""
        table = data.samples.table
        split_of = table["split"].to_numpy(dtype=object)
        keys = pd.Series(_contents(data))
        return cls(
            np.asarray(data.labels, dtype=np.int64),
            data.samples.clusters,
            np.asarray(table.groupby(VIDEO).ngroup(), dtype=np.int64),
            np.asarray(table["frame"], dtype=np.int64),
            split_of,
            np.ones(len(table), dtype=bool) if split is None else split_of == split,
            keys.duplicated().to_numpy(),
        )

    def chosen(self, setting: Iterable[Change], among: NDArray[np.bool_]) -> Integers:
        """Return the positions of the rows that count under a setting.

        Parameters
        ----------
        setting : Setting
            Only changes of ``split``, ``frames`` and ``duplicates`` matter.
        among : numpy.ndarray
            Rows of the dataset that a figure is of, shape (n,), bool.
        """
        changes = {one.factor: one.option for one in setting}
        kept = among & self.given
        if "split" in changes:
            name = changes["split"]
            kept = among & ((self.split == name) if name != "all" else True)
        if "duplicates" in changes:
            kept = kept & ~self.repeated
        rows = np.flatnonzero(kept)
        return self._frames(rows, changes["frames"]) if "frames" in changes else rows

    def _frames(self, rows: Integers, rule: str) -> Integers:
        """Keep some frames of each video: "first N", or "N evenly spaced"."""
        words = rule.split()
        first, count = words[0] == "first", int(words[1] if words[0] == "first" else words[0])
        order = rows[np.lexsort((self.frame[rows], self.video[rows]))]
        kept = np.zeros(len(order), dtype=bool)
        for start, end in self._videos(order):
            # A frame that is there twice is one frame.
            frames = np.unique(self.frame[order[start:end]])
            chosen = frames[:count] if first else frames[evenly_spaced(len(frames), count)]
            kept[start:end] = np.isin(self.frame[order[start:end]], chosen)
        return np.sort(order[kept])

    def _videos(self, order: Integers) -> Iterator[tuple[int, int]]:
        """Yield first and last (exclusive) position of each video in rows sorted by video."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.video[order]) != 0])
        yield from zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True)

    def most_frames(self) -> int:
        """Return the largest number of different frames of a given video."""
        pairs = np.unique(np.stack([self.video, self.frame])[:, self.given], axis=1)
        return int(np.bincount(pairs[0]).max(initial=0))


def _contents(data: Dataset) -> list[str]:
    """Return a key per image that is equal for equal files: its digest where known, else path."""
    table = data.samples.table
    known = table["digest"].fillna("").astype(str) if "digest" in table else [""] * len(table)
    return [one or file for one, file in zip(known, data.files(), strict=True)]


@dataclass(frozen=True)
class Material:
    """A detector, its images, and what can be varied on them.

    Attributes
    ----------
    detector : Detector
        The detector.
    data : Dataset
        All images that a setting may need, of all splits.
    rows : Rows
        Columns of `data`.
    options : Options
        What can be varied.
    recut : dict
        Option of ``crop`` to the dataset of other crops, and the position in it of each row of
        `data` (−1 where there is none).
    batch_size, seed : int
        Images a batch (batch statistics depend on it), and seed of initialized weights.
    """

    detector: Detector
    data: Dataset
    rows: Rows
    options: Options
    recut: Mapping[str, tuple[Dataset, Integers]] = field(default_factory=dict)
    batch_size: int = 32
    seed: int = 0

    @cached_property
    def flexible(self) -> frozenset[str]:
        """The sizes that the network takes as its input."""
        sizes = [one.option for one in self.options.changes if one.factor == "size"]
        module, device = self.detector.module, self.detector.device
        return frozenset(side for side in sizes if takes(module, int(side), device))


class Scorer:
    """Scores of a detector under settings; each is computed once.

    Parameters
    ----------
    material : Material
        What is scored.
    """

    def __init__(self, material: Material) -> None:
        self.material = material
        self.n = len(material.data)
        self.passes = 0
        self._known: dict[Setting, NDArray[np.float64]] = {}
        # Rows that were scored: where a crop could not be made again, they stay NaN.
        self._done: dict[Setting, NDArray[np.bool_]] = {}
        self._module = lru_cache(maxsize=4)(self._changed)

    def adopt(self, other: Scorer) -> None:
        """Share the scores of another scorer of the same detector and images."""
        self._known, self._done = other._known, other._done

    def logits(self, setting: Setting) -> NDArray[np.float64]:
        """Return fake logits under a setting, shape (n,); NaN where not scored."""
        found = self._known.get(image_part(setting))
        if found is None:
            return np.full(self.n, np.nan)
        inverted = any(one.factor == "polarity" for one in setting)
        return -found if inverted else found

    def score(self, settings: Sequence[Setting], rows: Integers, text: str) -> None:
        """Score rows under settings, as far as they are not scored yet; shows a progress bar.

        Raises
        ------
        ImageError
            If an image cannot be read.
        """
        for parts, todo in self._missing(settings, rows):
            with progress_bar(text, len(todo) * len(parts)) as advance:
                for where, images in self._images(todo, {self._crop(one) for one in parts}):
                    for _ in self._score(parts, where, images):
                        self.passes += len(where)
                        advance(len(where))

    def _missing(
        self, settings: Sequence[Setting], rows: Integers
    ) -> Iterator[tuple[list[Setting], Integers]]:
        """Yield settings that lack the same rows together, so that images are decoded once."""
        groups: dict[bytes, tuple[list[Setting], Integers]] = {}
        for part in dict.fromkeys(image_part(one) for one in settings):
            if part not in self._known:
                self._known[part] = np.full(self.n, np.nan)
                self._done[part] = np.zeros(self.n, dtype=bool)
            lacking = rows[~self._done[part][rows]]
            # Batch statistics depend on the batch, so these rows are scored together.
            if len(lacking) and any(one.factor == "batchnorm" for one in part):
                lacking = rows
            if len(lacking):
                groups.setdefault(lacking.tobytes(), ([], lacking))[0].append(part)
        yield from groups.values()

    def _images(
        self, rows: Integers, crops: set[str]
    ) -> Iterator[tuple[Integers, dict[str, list[Pixels | None]]]]:
        """Yield batches of rows with their images by crop option, decoded ahead."""
        starts = list(range(0, len(rows), self.material.batch_size))
        # Batch statistics of a single image are none, so it joins the batch before.
        if len(starts) > 1 and len(rows) - starts[-1] == 1:
            starts.pop()
        batches = np.split(rows, starts[1:])
        waiting: deque[tuple[Integers, dict[str, list[Future[Pixels | None]]]]] = deque()
        with ThreadPoolExecutor(2) as pool:
            for batch in [*batches, *[None] * AHEAD]:
                if batch is not None:
                    reads = {c: [pool.submit(self._read, c, row) for row in batch] for c in crops}
                    waiting.append((batch, reads))
                if waiting and (batch is None or len(waiting) > AHEAD):
                    where, futures = waiting.popleft()
                    yield where, {c: [one.result() for one in f] for c, f in futures.items()}

    def _read(self, crop: str, row: int) -> Pixels | None:
        if not crop:
            return self.material.data.image(int(row))
        data, places = self.material.recut[crop]
        return data.image(int(places[row])) if places[row] >= 0 else None

    def _score(
        self, parts: Sequence[Setting], rows: Integers, images: Mapping[str, list[Pixels | None]]
    ) -> Iterator[Setting]:
        """Score a batch under all settings; what they share is changed once."""
        shared: dict[Setting, list[Setting]] = {}
        for part in parts:
            shared.setdefault(tuple(one for one in part if one.factor in PIXELS), []).append(part)
        for pixels, those in shared.items():
            there, x = self._input(pixels, images[self._crop(pixels)])
            for part in those:
                if there.any():
                    self._known[part][rows[there]] = self._run(part, x)
                self._done[part][rows] = True
                yield part

    def _crop(self, setting: Setting) -> str:
        """Return the option of ``crop`` that needs other images; empty for the given ones."""
        found = next((one.option for one in setting if one.factor == "crop"), "")
        return found if found in self.material.recut else ""

    def _input(
        self, setting: Setting, images: Sequence[Pixels | None]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which images there are, and their array of shape (m, 3, side, side) in [0, 1]."""
        changes = {one.factor: one.option for one in setting}
        size = self.material.detector.spec.input_size
        share = self.material.options.shares.get(changes.get("crop", ""), 1.0)
        flexible = changes.get("size", "") in self.material.flexible
        there = np.array([one is not None for one in images], dtype=bool)
        made = [
            changed_pixels(one, changes, size, share=share, flexible=flexible)
            for one in images
            if one is not None
        ]
        if not made:
            return there, np.zeros((0, 3, size, size), dtype=np.float32)
        return there, np.stack(made).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)

    def _run(self, setting: Setting, x: NDArray[np.float32]) -> NDArray[np.float64]:
        changes = {one.factor: one.option for one in setting}
        own = own_normalization(self.material.detector.module)
        module = self._module(changes.get("weights", ""), changes.get("batchnorm", ""))
        given = changed_input(torch.from_numpy(x), changes, own)
        with torch.inference_mode():
            out = module(given.to(self.material.detector.device))
        return np.asarray(out.float().cpu().numpy(), dtype=np.float64)

    def _changed(self, weights: str, batchnorm: str) -> nn.Module:
        changes = {"weights": weights, "batchnorm": batchnorm}
        given = {key: value for key, value in changes.items() if value}
        return changed_module(self.material.detector.module, given, self.material.seed)
