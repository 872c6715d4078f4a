"""Figures of a detector under a setting: values, cluster resamples, distance to given scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.datasets.dataset import Dataset, Samples
from probe.datasets.open import part_of
from probe.errors import ProbeError
from probe.reproduction.evidence import Figure, ScoreFile
from probe.reproduction.scores import Rows
from probe.reproduction.settings import ROWS, Setting
from probe.stats import MIN_CLUSTERS, Floats, Ranked, cluster_counts, sigmoid

__all__ = ["LEVEL_OPTIONS", "Figures", "Part", "ScoreMatch", "aggregate", "level_of"]

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Options of the factor ``level``: frames, or videos by an aggregation of their frames.
LEVEL_OPTIONS = ("frame", "video by mean", "video by mean logit", "video by maximum")


@dataclass(frozen=True)
class Part:
    """The rows that a figure is of, and their clusters.

    Attributes
    ----------
    rows : numpy.ndarray
        Whether a row belongs to it, shape (n,), bool.
    cluster : numpy.ndarray
        Codes of clusters, shape (n,); −1 elsewhere.
    names : tuple of str
        Identity (else video) of each cluster: parts with the same are resampled together.
    """

    rows: Mask
    cluster: Integers
    names: tuple[str, ...]

    @classmethod
    def of(cls, data: Dataset, name: str) -> Part:
        """Return a part by its name, with its originals; "" is all of the data."""
        part = part_of(data, name) if name else data
        places = {file: i for i, file in enumerate(data.files())}
        where = np.array([places[file] for file in part.files()], dtype=np.int64)
        rows, cluster = np.zeros(len(data), dtype=bool), np.full(len(data), -1)
        table = part.samples.table
        # Fakes and the originals that they share with other parts are of the same people.
        reals = dict(part.card.get("reals", {}))
        joined = Samples(table.assign(dataset=table["dataset"].replace(reals)))
        rows[where], cluster[where] = True, joined.clusters
        keys = table["identity"].where(table["identity"] != "", table["video"])
        first = np.unique(joined.clusters, return_index=True)[1]
        return cls(rows, cluster, tuple(keys.iloc[first]))


def level_of(figure: Figure, option: str, levels: Iterable[str]) -> tuple[str, str]:
    """Return the level of a figure and the aggregation of frames under an option of ``level``.

    Where figures of both levels were published, an option changes only the aggregation.
    """
    if not option:
        return figure.level, "mean"
    if option == "frame" or (figure.level == "frame" and "video" in set(levels)):
        return "frame", "mean"
    return "video", option.removeprefix("video by ")


def aggregate(logit: Floats, video: Integers, how: str) -> tuple[Integers, Floats]:
    """Return P(fake) of videos from the logits of their frames.

    Parameters
    ----------
    logit, video : numpy.ndarray
        Fake logits of frames and codes of their videos, shape (n,).
    how : {"mean", "mean logit", "maximum"}
        Mean of P(fake), P(fake) of the mean logit, or the maximum.

    Returns
    -------
    first : numpy.ndarray
        Position of the first frame of each video, shape (videos,).
    score : numpy.ndarray
        P(fake) in [0, 1], shape (videos,).
    """
    _, first, code = np.unique(video, return_index=True, return_inverse=True)
    count = np.bincount(code)
    if how == "mean logit":
        return first, sigmoid(np.bincount(code, logit) / count)
    score = sigmoid(logit)
    if how == "maximum":
        highest = np.zeros(len(first))
        np.maximum.at(highest, code, score)
        return first, highest
    return first, np.bincount(code, score) / count


class Figures:
    """Computes published figures from scores.

    Parameters
    ----------
    rows : Rows
        Columns of the sample table.
    figures : sequence of Figure
        Figures to compute.
    parts : mapping
        Name of a dataset ("" for all) to its rows.
    n_resamples, seed : int
        Number of cluster resamples, and their seed.
    """

    def __init__(
        self,
        rows: Rows,
        figures: Sequence[Figure],
        parts: Mapping[str, Part],
        n_resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        self.rows, self.figures, self.parts = rows, tuple(figures), parts
        self.n_resamples, self.seed = n_resamples, seed
        self.levels = frozenset(one.level for one in figures)
        self._counts: dict[tuple[str, ...], Floats] = {}
        self._rows: dict[tuple[str, Setting], Integers] = {}

    def values(self, logits: Floats, setting: Setting, within: Mask | None = None) -> Floats:
        """Return the figures under a setting, shape (figures,).

        Parameters
        ----------
        logits : numpy.ndarray
            Fake logits of all rows, shape (n,); rows with NaN are left out.
        setting : Setting
            Which rows count, and the level.
        within : numpy.ndarray, optional
            Rows to which the figures are limited, shape (n,), bool.
        """
        out = np.full(len(self.figures), np.nan)
        for places, label, score, _ in self._scored(logits, setting, within):
            if 0 < label.sum() < len(label):
                ranked, one = Ranked.of(label, score), np.zeros(len(label), dtype=np.int64)
                out[places] = ranked.measured(self._metrics(places), one, np.ones((1, 1)))[:, 0]
        return out

    def draws(self, logits: Floats, setting: Setting, within: Mask | None = None) -> Floats:
        """Return the figures on cluster resamples, shape (resamples, figures).

        NaN where there are fewer than five clusters, or a resample lacks a class. Settings are
        resampled alike, and so are parts of the same people.
        """
        out = np.full((self.n_resamples, len(self.figures)), np.nan)
        for places, label, score, cluster in self._scored(logits, setting, within):
            part = self.parts[self.figures[places[0]].dataset]
            names = np.unique(part.cluster[self._split_rows(part, setting)])
            if len(names) < MIN_CLUSTERS or not len(label):
                continue
            counts = self._counts_of(tuple(part.names[code] for code in names))
            codes, ranked = np.searchsorted(names, cluster), Ranked.of(label, score)
            out[:, places] = ranked.measured(self._metrics(places), codes, counts).T
        return out

    def _metrics(self, places: Sequence[int]) -> list[str]:
        return [self.figures[k].metric for k in places]

    def steps(self, logits: Floats, setting: Setting) -> Floats:
        """Return by how much one image (or video) of the smaller class can change each figure."""
        out = np.zeros(len(self.figures))
        for places, label, _, _ in self._scored(logits, setting, None):
            out[places] = 1 / max(1, min(int(label.sum()), int((1 - label).sum())))
        return out

    def counted(self, logits: Floats, setting: Setting) -> tuple[int, int]:
        """Return the number of images and of clusters under a setting, of the first figure."""
        name = self.figures[0].dataset
        where = self._where(logits, name, setting, None)
        return len(where), len(np.unique(self.parts[name].cluster[where]))

    def _counts_of(self, names: tuple[str, ...]) -> Floats:
        if names not in self._counts:
            seed = self.seed + len(self._counts)
            self._counts[names] = cluster_counts(len(names), self.n_resamples, seed)
        return self._counts[names]

    def _split_rows(self, part: Part, setting: Setting) -> Integers:
        return self.rows.chosen([one for one in setting if one.factor == "split"], part.rows)

    def _level(self, k: int, setting: Setting) -> tuple[str, str]:
        option = next((one.option for one in setting if one.factor == "level"), "")
        return level_of(self.figures[k], option, self.levels)

    def _where(self, logits: Floats, name: str, setting: Setting, within: Mask | None) -> Integers:
        key = name, tuple(one for one in setting if one.factor in ROWS)
        if key not in self._rows:
            self._rows[key] = self.rows.chosen(setting, self.parts[name].rows)
        where = self._rows[key]
        if within is not None:
            # The videos of a subset are whole, so that their frames are chosen alike.
            where = where[within[where]]
        return where[np.isfinite(logits[where])]

    def _scored(
        self, logits: Floats, setting: Setting, within: Mask | None
    ) -> Iterator[tuple[list[int], Integers, Floats, Integers]]:
        """Yield numbers, labels, scores and clusters of figures that share them."""
        groups: dict[tuple[str, str, str], list[int]] = {}
        for k, figure in enumerate(self.figures):
            groups.setdefault((figure.dataset, *self._level(k, setting)), []).append(k)
        for (name, level, how), places in groups.items():
            where = self._where(logits, name, setting, within)
            score = sigmoid(logits[where])
            if level == "video":
                first, score = aggregate(logits[where], self.rows.video[where], how)
                where = where[first]
            yield places, self.rows.label[where], score, self.parts[name].cluster[where]


class ScoreMatch:
    """Compares scores under a setting with scores that the authors released.

    Parameters
    ----------
    rows : Rows
        Columns of the sample table.
    data : Dataset
        The images.
    given : ScoreFile
        The authors' scores.

    Raises
    ------
    ProbeError
        If fewer than half of the names in the file are images or videos of the data.
    """

    def __init__(self, rows: Rows, data: Dataset, given: ScoreFile) -> None:
        self.rows, self.by = rows, given.by
        units = _by_video(data) if given.by == "video" else _by_image(data, given.scores.index)
        places = pd.Series(units).map(given.scores)
        self.theirs = places.to_numpy(float)
        self.unknown = int((~given.scores.index.isin(units)).sum())
        self.n = len(given.scores)
        if self.unknown > self.n / 2:
            raise ProbeError(
                f"{self.unknown} of {self.n} names in the scores are no {given.by} of this "
                f"dataset, the first {given.scores.index[~given.scores.index.isin(units)][0]!r}. "
                f"Its names are like {str(units[0])!r}."
            )

    def distance(
        self, logits: Floats, setting: Setting, within: Mask | None = None
    ) -> tuple[float, float]:
        """Return the root mean square difference of P(fake), and the share of common names.

        The share is of the names that the authors or the setting have.
        """
        among = np.ones(len(logits), dtype=bool) if within is None else within
        where = self.rows.chosen(setting, among)
        where = where[np.isfinite(logits[where])]
        option = next((one.option for one in setting if one.factor == "level"), "")
        ours, first = sigmoid(logits[where]), where
        if self.by == "video":
            how = option.removeprefix("video by ") if option.startswith("video") else "mean"
            places, ours = aggregate(logits[where], self.rows.video[where], how)
            first = where[places]
        theirs = self.theirs[first]
        both = np.isfinite(theirs)
        if not both.any():
            return float("inf"), 0.0
        rms = float(np.sqrt(np.mean((ours[both] - theirs[both]) ** 2)))
        return rms, float(both.sum() / (len(first) + self._named(among) - both.sum()))

    def _named(self, among: Mask) -> int:
        """Return how many of the authors' names are in these rows, and how many are unknown."""
        named = np.isfinite(self.theirs) & among
        known = len(np.unique(self.rows.video[named])) if self.by == "video" else int(named.sum())
        return known + (self.unknown if among.all() else 0)


def _by_image(data: Dataset, names: pd.Index) -> NDArray[np.object_]:
    """Return the name of each image as the file names it: its id, or the end of its path."""
    samples = data.samples.table["sample"].to_numpy(dtype=object)
    if np.isin(names.to_numpy(dtype=object), samples).mean() > 0.5:
        return samples
    parts = [file.replace(os.sep, "/").split("/") for file in data.files()]
    for depth in range(1, 8):
        ends = np.array(["/".join(one[-depth:]) for one in parts], dtype=object)
        if len(set(ends)) == len(set(map(tuple, parts))):
            theirs = ["/".join(str(one).replace("\\", "/").split("/")[-depth:]) for one in names]
            back = dict(zip(theirs, names, strict=True))
            return np.array([back.get(one, one) for one in ends], dtype=object)
    return samples


def _by_video(data: Dataset) -> NDArray[np.object_]:
    table = data.samples.table
    kinds = table.groupby(["video", "dataset", "method", "label"]).ngroups
    alone = kinds == table["video"].nunique()
    names = table["video"] if alone else table["method"] + "/" + table["video"]
    return names.to_numpy(dtype=object)
