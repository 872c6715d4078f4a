"""Batches for training: images decoded once where they fit in memory, in a seeded order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.compute import to_device
from probe.datasets.dataset import Dataset
from probe.datasets.loader import Images

__all__ = ["Feeder", "Stream"]

#: Decoded images are held in memory up to this many bytes a dataset; beyond, in a temporary file.
CACHE_BYTES = 2 * 1024**3


class Feeder:
    """A dataset as tensors of one size; each image is decoded once, ahead of its use.

    Parameters
    ----------
    dataset : Dataset
        Where images come from.
    size : int
        Side of the square that they are resized to.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.dataset, self.labels = dataset, dataset.labels
        self.images = Images(dataset, size, keep=True, memory=CACHE_BYTES)

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(
        self,
        batch_size: int | Sequence[int],
        device: torch.device,
        order: NDArray[np.int64] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over images, shape (n, 3, size, size) in [0, 1], and labels, shape (n,).

        Parameters
        ----------
        batch_size, order
            As in `Images.batches`.
        device : torch.device
            Where to.
        """
        labels = (self.labels if order is None else self.labels[order]).astype(np.float32)
        for where, pixels in self.images.batches(self.dataset, batch_size, order):
            yield to_device(pixels, device), torch.from_numpy(labels[where]).to(device)


class Stream:
    """Shuffled batches of one feeder, or of several in turn.

    Parameters
    ----------
    feeders : sequence of Feeder
        Batch k comes from feeder k modulo their number.
    batch_size : int
        Images a batch.
    steps : int or None
        Batches an epoch; None for as many whole batches as the largest feeder fills. What an
        epoch's random order has left over waits for another epoch's.
    seed : int
        Seed of the order.
    """

    def __init__(
        self, feeders: Sequence[Feeder], batch_size: int, steps: int | None, seed: int
    ) -> None:
        self.feeders, self.batch_size, self.seed = tuple(feeders), batch_size, seed
        largest = max(len(feeder) for feeder in feeders)
        self._steps = steps or len(feeders) * max(1, largest // batch_size)

    def __len__(self) -> int:
        return self._steps

    def epoch(
        self, epoch: int, device: torch.device, flip: bool, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches of an epoch; the same for the same seed and epoch.

        Of each batch, a process of rank r among w gets every w-th image from the r-th on.
        """
        rank, world = shard
        mine = len(range(rank, self.batch_size, world))
        batches = []
        for number, feeder in enumerate(self.feeders):
            count = len(range(number, self._steps, len(self.feeders)))
            order = itertools.islice(self._order(number, epoch), count * self.batch_size)
            own = np.fromiter(order, dtype=np.int64).reshape(count, -1)[:, rank::world]
            batches.append(feeder.batches([mine] * count, device, own.ravel()))
        coin = np.random.default_rng((self.seed, epoch, 2))
        for step in range(self._steps):
            images, labels = next(batches[step % len(self.feeders)])
            if flip and coin.random() < 0.5:
                images = images.flip(-1)
            yield images, labels

    def _order(self, number: int, epoch: int) -> Iterator[int]:
        """Yield indices without end: one random order after another."""
        rng = np.random.default_rng((self.seed, epoch, number, 1))
        while True:
            yield from rng.permutation(len(self.feeders[number])).tolist()
