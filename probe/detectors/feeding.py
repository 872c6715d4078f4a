"""Batches for training: images decoded once where they fit in memory, in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probe.datasets.dataset import Dataset, resize

__all__ = ["Feeder", "Stream"]

#: Decoded images are kept up to this many bytes a dataset; beyond, each use decodes again.
CACHE_BYTES = 2 * 1024**3


class Feeder:
    """A dataset as tensors of one size.

    Parameters
    ----------
    dataset : Dataset
        Where images come from.
    size : int
        Side of the square that they are resized to.
    """

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.dataset, self.size = dataset, size
        self.labels = dataset.labels
        fits = len(dataset) * 3 * size * size <= CACHE_BYTES
        self._cache = np.empty((len(dataset), size, size, 3), np.uint8) if fits else None
        self._filled = np.zeros(len(dataset), dtype=bool)

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return images, shape (n, 3, size, size) in [0, 1], and labels, shape (n,)."""
        pixels = np.stack([self._image(int(i)) for i in indices])
        # NHWC memory seen as NCHW: channels-last without a copy.
        images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        labels = torch.from_numpy(self.labels[indices].astype(np.float32)).to(device)
        return images, labels

    def batches(self, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate once in the order of the samples."""
        for start in range(0, len(self), batch_size):
            yield self.batch(np.arange(start, min(start + batch_size, len(self))), device)

    def _image(self, index: int) -> NDArray[np.uint8]:
        if self._cache is None:
            return resize(self.dataset.image(index), self.size)
        if not self._filled[index]:
            self._cache[index] = resize(self.dataset.image(index), self.size)
            self._filled[index] = True
        image: NDArray[np.uint8] = self._cache[index]
        return image


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
        orders = [self._order(number, epoch) for number in range(len(self.feeders))]
        coin = np.random.default_rng((self.seed, epoch, 2))
        for step in range(self._steps):
            number = step % len(self.feeders)
            indices = np.array([next(orders[number]) for _ in range(self.batch_size)])
            images, labels = self.feeders[number].batch(indices[rank::world], device)
            if flip and coin.random() < 0.5:
                images = images.flip(-1)
            yield images, labels

    def _order(self, number: int, epoch: int) -> Iterator[int]:
        """Yield indices without end: one random order after another."""
        rng = np.random.default_rng((self.seed, epoch, number, 1))
        while True:
            yield from rng.permutation(len(self.feeders[number])).tolist()
