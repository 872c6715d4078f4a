"""The samples at both ends of a unit, at most one frame a video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Ends", "VideoGroups"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ends:
    """Samples of one dataset at both ends of some values.

    Attributes
    ----------
    dataset : str
        Which.
    most, least : numpy.ndarray
        Rows of the sample table: the highest value first; the lowest first.
    n_videos : int
        How many videos they were chosen from.
    """

    dataset: str
    most: Integers
    least: Integers
    n_videos: int


@dataclass(frozen=True)
class VideoGroups:
    """Samples by dataset and video, so that one pass finds the extreme frame of every video.

    Neighboring frames look alike, so a video stands for itself by its extreme frame.

    Attributes
    ----------
    order : numpy.ndarray
        Samples sorted by dataset and video, shape (sample,).
    group : numpy.ndarray
        Video of each in that order, shape (sample,).
    starts : numpy.ndarray
        Where each video begins in it, shape (video,).
    datasets : tuple of (str, int, int)
        Name, first video and the one after the last, in the order of the sample table.
    """

    order: Integers
    group: Integers
    starts: Integers
    datasets: tuple[tuple[str, int, int], ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> VideoGroups:
        """Sort a sample table with the columns ``dataset, method, video, label``."""
        # A video key may hold both classes where a layout names them alike.
        names = [table[name].astype(str) for name in ("dataset", "method", "video", "label")]
        codes = [pd.factorize(name)[0] for name in names]
        order = np.lexsort(codes[::-1])
        sorted_codes = np.stack([code[order] for code in codes])
        new = np.ones(len(order), dtype=bool)
        new[1:] = (sorted_codes[:, 1:] != sorted_codes[:, :-1]).any(axis=0)
        starts = np.flatnonzero(new)
        of_group = codes[0][order][starts]
        bounds = np.searchsorted(of_group, np.arange(of_group[-1] + 2))
        labels = pd.unique(names[0])
        return cls(
            order=order,
            group=np.cumsum(new) - 1,
            starts=starts,
            datasets=tuple(
                (str(name), int(bounds[i]), int(bounds[i + 1])) for i, name in enumerate(labels)
            ),
        )

    def ends(self, values: NDArray[np.floating], each: int) -> tuple[Ends, ...]:
        """Find the samples at both ends of every dataset, at most one a video.

        Parameters
        ----------
        values : numpy.ndarray
            Shape (sample,), finite, in the order of the table.
        each : int
            Samples at each end.
        """
        ordered = values[self.order]
        highest, last = self._ends(ordered, np.maximum)
        lowest, first = self._ends(ordered, np.minimum)
        found = []
        for name, start, stop in self.datasets:
            part = slice(start, stop)
            down = np.lexsort((last[part], highest[part]))[::-1][:each]
            up = np.lexsort((first[part], lowest[part]))[:each]
            found.append(Ends(name, last[part][down], first[part][up], stop - start))
        return tuple(found)

    def _ends(
        self, ordered: NDArray[np.floating], end: np.ufunc
    ) -> tuple[NDArray[np.floating], Integers]:
        """Return each video's extreme value and its sample: of equals the one at that end."""
        value = end.reduceat(ordered, self.starts)
        outside = -1 if end is np.maximum else len(ordered)
        there = np.where(ordered == value[self.group], self.order, outside)
        return value, end.reduceat(there, self.starts)
