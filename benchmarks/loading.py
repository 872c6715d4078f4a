"""Training on images that no cache in memory holds: against decoding alone and steps alone."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from probe.datasets import Dataset, loader
from probe.datasets.lab import make
from probe.datasets.loader import Images
from probe.detectors import load_detector
from probe.detectors import training as feeding
from probe.detectors.architectures import find_architecture
from probe.detectors.training import Feeder, Stream

BATCH = 32
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Measured:
    """Images a second, medians of alternated repeats.

    Attributes
    ----------
    name, images, size : str, int, int
        Network, number of images, side in pixels.
    decode, steps : float
        Decoding on all cores with nothing else to do; training steps on one batch in memory.
    first, later : float
        Training while images are decoded, and once they lie decoded in the temporary file.
    """

    name: str
    images: int
    size: int
    decode: float
    steps: float
    first: float
    later: float

    @property
    def best(self) -> float:
        """The slower of the two alone: what no training exceeds."""
        return min(self.decode, self.steps)

    @property
    def shared(self) -> float:
        """What is left where both want the same cores all the time."""
        return 1 / (1 / self.decode + 1 / self.steps)


def run(tiny: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        side, count = (64, 64) if tiny else (256, 384)
        counts = {"train": count // 2}
        data = make(Path(folder), size=side, counts=counts, datasets=["deepfakes", "dfd"])
        # The heavier the network, the fewer images: they go through it nine times.
        sizes = (
            {"meso4": count} if tiny else {"meso4": count, "mesoinception4": 192, "xception": 64}
        )
        repeats = 1 if tiny else 3
        show([measure(name, data.take(range(n)), side, repeats) for name, n in sizes.items()])


def measure(name: str, data: Dataset, size: int, repeats: int) -> Measured:
    """Alternate decoding, steps, and training beyond the cache, first and later epochs."""
    step = _step(name, size)
    batch = next(Feeder(data, size).batches(BATCH, CPU))
    count = len(data) // BATCH * BATCH
    held = feeding.CACHE_BYTES, loader.FEW
    # No image is kept in memory, and processes decode, as for a dataset of real size.
    feeding.CACHE_BYTES = loader.FEW = 0
    seconds: dict[str, list[float]] = {"decode": [], "steps": [], "first": [], "later": []}
    try:
        # The workers are running already, as they are from the second call on.
        list(Images(data, size).batches(data, BATCH))
        for _ in range(repeats):
            stream = Stream([Feeder(data, size)], BATCH, None, seed=0)
            works: dict[str, Callable[[], object]] = {
                "decode": lambda: list(Images(data, size).batches(data, BATCH)),
                "steps": lambda: [step(*batch) for _ in range(count // BATCH)],
                "first": lambda stream=stream: [step(*b) for b in stream.epoch(0, CPU, False)],
                "later": lambda stream=stream: [step(*b) for b in stream.epoch(1, CPU, False)],
            }
            for key, work in works.items():
                began = time.perf_counter()
                work()
                seconds[key].append(
                    (time.perf_counter() - began) / (len(data) if key == "decode" else count)
                )
    finally:
        feeding.CACHE_BYTES, loader.FEW = held
    rates = {key: 1 / statistics.median(each) for key, each in seconds.items()}
    return Measured(name, len(data), size, **rates)


def _step(name: str, size: int) -> Callable[[torch.Tensor, torch.Tensor], float]:
    module = load_detector(name, input_size=size).module.train()
    recipe = find_architecture(name).recipe
    optimizer = torch.optim.Adam(module.parameters(), lr=recipe.rate)

    def step(images: torch.Tensor, labels: torch.Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(module(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def show(measured: list[Measured]) -> None:
    table = Table(
        "network",
        "decode",
        "steps",
        "first epoch",
        "later",
        "first ratio",
        "first ratio, shared",
        "later ratio",
        title=f"images a second at {measured[0].size}², {torch.get_num_threads()} threads",
    )
    for one in measured:
        rates = (one.decode, one.steps, one.first, one.later)
        ratios = (one.first / one.best, one.first / one.shared, one.later / one.best)
        table.add_row(
            one.name, *(f"{rate:,.0f}" for rate in rates), *(f"{ratio:.2f}" for ratio in ratios)
        )
    Console(width=120).print(table)
    Console(width=120).print(
        "ratio: to the slower of decoding on all cores and steps, each alone; shared: to what is "
        "left where both want the same cores all the time, 1/(1/decode + 1/steps).",
        highlight=False,
    )
