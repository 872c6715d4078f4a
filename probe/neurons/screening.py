"""`top_units`: the most important units of a large layer, without a full sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probe.compute import on_device
from probe.datasets.dataset import Dataset
from probe.datasets.loader import Images
from probe.detectors.detector import Detector
from probe.errors import ProbeError
from probe.hooks import compile_suffix, trace
from probe.neurons.importance import default_layer
from probe.neurons.sweep import base_logits, unit_values
from probe.progress import progress_bar
from probe.results import Provenance
from probe.stats import Floats, sigmoid
from probe.tables import export_frame

__all__ = ["Race", "TopUnits", "top_units"]

#: Upper limit of the bet of the confidence sequence; it must be below 1, where log(1 − bet) ends.
LARGEST_BET = 0.75


class Race:
    """Confidence sequences for the means of many units, sampled without replacement.

    One predictable plug-in empirical-Bernstein sequence per unit (Waudby-Smith and Ramdas 2020,
    arXiv:2006.04347; 2024, doi:10.1093/jrsssb/qkad009). The bounds hold simultaneously: with
    probability 1 − delta, no unit's mean is outside its bounds at any time.

    Parameters
    ----------
    units : int
        Number of units.
    total : int
        Number of samples in the finite population.
    k : int
        Number of largest means to find.
    delta : float
        Error probability over all units and times.
    """

    def __init__(self, units: int, total: int, k: int, delta: float) -> None:
        self.total, self.k = total, k
        self.seen = 0
        self.sums, self.squares = np.zeros(units), np.zeros(units)
        self.low, self.high = np.zeros(units), np.ones(units)
        self.alive, self.accepted = np.ones(units, bool), np.zeros(units, bool)
        self.counts = np.zeros(units, dtype=np.int64)
        self._threshold = np.log(2 * units / delta)
        self._center, self._weight, self._spread = (np.zeros(units) for _ in range(3))

    @property
    def open(self) -> NDArray[np.int64]:
        """Units that are neither accepted nor rejected yet."""
        return np.flatnonzero(self.alive & ~self.accepted)

    def update(self, values: Floats) -> None:
        """Add the next samples of the open units, shape (n, open units), in [0, 1]."""
        which, n = self.open, len(values)
        mean = (0.5 + self.sums[which]) / (1 + self.seen)
        variance = (0.25 + self.squares[which]) / (1 + self.seen)
        steps = max(1, self.seen + n)
        bet = np.sqrt(2 * self._threshold / (variance * steps * np.log1p(steps)))
        bet = np.minimum(bet, LARGEST_BET)
        left = self.total - self.seen - np.arange(n)
        before = self.sums[which] + np.vstack([np.zeros(len(which)), values.cumsum(axis=0)[:-1]])
        self._center[which] += bet * (values + before / left[:, None]).sum(axis=0)
        self._weight[which] += bet * (self.total / left).sum()
        self._spread[which] += (-np.log1p(-bet) - bet) * ((values - mean) ** 2).sum(axis=0)
        self.sums[which] += values.sum(axis=0)
        self.squares[which] += ((values - mean) ** 2).sum(axis=0)
        self.seen += n
        self.counts[which] = self.seen
        self._bound(which)
        self._decide()

    def _bound(self, which: NDArray[np.int64]) -> None:
        if self.seen >= self.total:
            self.low[which] = self.high[which] = self.sums[which] / self.total
            return
        half = (self._threshold + self._spread[which]) / self._weight[which]
        middle = self._center[which] / self._weight[which]
        self.low[which] = np.maximum(self.low[which], middle - half)
        self.high[which] = np.minimum(self.high[which], middle + half)

    def _decide(self) -> None:
        """Accept units certain to be among the top k, and reject units certain not to be."""
        if self.seen >= self.total:
            # Ties are in order of units; units accepted earlier stay accepted.
            order = [u for u in np.argsort(-self.low, kind="stable") if self.alive[u]]
            ranked = [u for u in order if self.accepted[u]]
            ranked += [u for u in order if not self.accepted[u]]
            self.accepted[ranked[: self.k]] = True
            self.alive[ranked[self.k :]] = False
            return
        if self.alive.sum() > self.k:
            floor = np.sort(self.low[self.alive])[-self.k]
            self.alive &= (self.high >= floor) | self.accepted
            ceiling = np.sort(self.high[self.alive])[::-1]
            if self.alive.sum() > self.k:
                self.accepted |= self.alive & (self.low > ceiling[self.k])
        if self.alive.sum() <= self.k:
            self.accepted |= self.alive


@dataclass(frozen=True)
class TopUnits:
    """The most important units, and the cost of finding them.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row per unit of the layer: ``unit, chosen, gain`` (mean over the images it was run on),
        ``low, high`` (simultaneous bounds), ``images`` (number of images it was run on).
    attrs : dict
        ``k, delta, passes`` (images × units that were run), ``full`` (the same for a full sweep),
        ``saved`` (their difference), settings and the provenance.
    """

    frame: pd.DataFrame
    attrs: dict[str, Any]

    @property
    def units(self) -> NDArray[np.int64]:
        """The chosen units, largest gain first."""
        chosen = self.frame[self.frame["chosen"]].sort_values("gain", ascending=False)
        return chosen["unit"].to_numpy(np.int64)

    def export(self, path: str | Path) -> Path:
        """Write the frame as ``.csv``, ``.parquet``, ``.tex`` or ``.md``."""
        return export_frame(self.frame, path, {**{str(k): v for k, v in self.attrs.items()}})


def top_units(
    detector: Detector,
    data: Dataset,
    layer: str | None = None,
    *,
    k: int,
    delta: float = 0.05,
    positions: bool = False,
    batch_size: int = 64,
    seed: int = 0,
) -> TopUnits:
    """Find the k units with the largest gain for detection, by successive elimination.

    A unit's gain on an image is P(fake) − P(fake) without the unit (set to its mean over the first
    batch), with the sign reversed on real images. Units are ranked by the mean gain over the
    dataset. Images come in random order. After each batch, units that are certain to be among the
    top k, or certain not to be, are no longer run. With probability 1 − delta the result equals
    that of a full sweep.

    Parameters
    ----------
    detector : Detector
        Detector to measure.
    data : Dataset
        Dataset to measure on; a large one saves the most.
    layer : str, optional
        Layer of the units; the architecture's unit layer by default.
    k : int
        Number of units to find, from 1 to one fewer than the layer has.
    delta : float, default 0.05
        Upper bound of the probability of a wrong result, between 0 and 1.
    positions : bool, default False
        Whether each position of a map is a unit of its own.
    batch_size : int, default 64
        Number of images between two decisions.
    seed : int, default 0
        Seed of the order of images.

    Returns
    -------
    TopUnits
        The units with their bounds, and the number of forward passes saved.

    Raises
    ------
    ProbeError
        If `k` or `delta` is out of range.

    Examples
    --------
    >>> import probe
    >>> data = probe.open_dataset("crops", split="test")
    >>> detector = probe.load_detector("meso4", input_size=64)
    >>> probe.top_units(detector, data, "leaky", k=3).frame.columns[:3].tolist()
    ['unit', 'chosen', 'gain']
    """
    path = trace(detector).resolve(layer or default_layer(detector))
    program = compile_suffix(detector, path, positions=positions)
    if not 0 < k < program.units or not 0 < delta < 1:
        raise ProbeError(
            f"k={k} and delta={delta} were given; k is from 1 to {program.units - 1}, one fewer "
            "than the layer has units, and delta a probability between 0 and 1."
        )
    race = Race(program.units, len(data), k, delta)
    shuffled = data.take(np.random.default_rng(seed).permutation(len(data)))
    reference: Any = None
    signs = np.where(shuffled.labels == 1, 1.0, -1.0)
    with progress_bar(f"race {detector.name} {path}", len(data)) as advance:
        images = Images(shuffled, program.input_size).batches(shuffled, batch_size)
        for where, state in on_device(images, detector.device, program.state):
            if reference is None:
                reference = unit_values(program, state).mean(dim=(0, 2)).cpu().double().numpy()
            which = race.open
            without = program.sweep(state, reference[which][:, None], which)[:, :, 0]
            lost = sigmoid(base_logits(program, state))[:, None] - sigmoid(without)
            race.update((1 + signs[where, None] * lost) / 2)
            advance(where.stop - where.start)
            if not len(race.open):
                break
    return _told(race, detector, data, path, delta, seed)


def _told(
    race: Race, detector: Detector, dataset: Dataset, path: str, delta: float, seed: int
) -> TopUnits:
    frame = pd.DataFrame(
        {
            "unit": np.arange(len(race.sums)),
            "chosen": race.accepted,
            "gain": 2 * race.sums / np.maximum(race.counts, 1) - 1,
            "low": 2 * race.low - 1,
            "high": 2 * race.high - 1,
            "images": race.counts,
        }
    )
    full, passes = len(dataset) * len(race.sums), int(race.counts.sum())
    return TopUnits(
        frame,
        {
            "k": race.k,
            "delta": delta,
            "passes": passes,
            "full": full,
            "saved": full - passes,
            "layer": path,
            **Provenance.made([detector], [dataset], seed=seed).attrs(),
        },
    )
